#!/usr/bin/env python3
"""Verifies a wayside ledger without any wayside code: chain, contents, signed checkpoints, how far it reaches, the clock,
and receipts against it.

    verify-ledger.py DATA_DIR [--against FILE] [--receipt FILE ...] [--key PUBLIC_KEY_HEX ...]

DATA_DIR holds wayside.db and edge.json (the public keys; --key names them instead). --against: a checkpoint kept elsewhere, a
line of the consent lane. --receipt: a receipt in the form json, its signature beside it in FILE.sig.
Needs the Python standard library only. Reads, and changes nothing.
Exit codes: 0 it holds, 2 the chain is broken, 3 a signature does not hold, 4 its end is missing, 5 the clock went back."""
import argparse, datetime, hashlib, json, pathlib, sqlite3, struct, sys, uuid

CONTENT = """d.decision_id, s.name AS site, e.epoch, d.subject_ref, d.action, d.purposes, d.before, d.after, d.current, d.method,
  d.actor, d.notice, d.notice_digest, d.language, d.gpc, d.dnt, d.signal_shown, d.client_at, d.received_at, d.corrected_at,
  d.expires_at, b.bases AS basis, d.salt, d.evidence"""
ROWS = f"""SELECT l.ledger_no, l.seq, l.kind, l.at, l.detail, l.prev, l.leaf, l.hash, c.by_no, d.seq, {CONTENT} FROM ledger l
  LEFT JOIN cleared c USING (ledger_no)
  LEFT JOIN decisions d ON d.seq = l.seq AND d.ledger_no = l.ledger_no AND l.kind = 'decision'
  LEFT JOIN sites s USING (site_id) LEFT JOIN epochs e USING (epoch_id) LEFT JOIN bases b USING (basis_id) ORDER BY 1"""
HOUR_MS = 3_600_000

# Ed25519, RFC 8032 section 5.1, verification only
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
G_Y = 4 * pow(5, P - 2, P) % P
def add(a, b):
    w, x, y, z = (a[1]-a[0])*(b[1]-b[0]) % P, (a[1]+a[0])*(b[1]+b[0]) % P, 2*a[3]*b[3]*D % P, 2*a[2]*b[2] % P
    e, f, g, h = x - w, z - y, z + y, x + w
    return e*f % P, g*h % P, f*g % P, e*h % P
def times(n, point):
    out = (0, 1, 1, 0)
    while n:
        if n & 1: out = add(out, point)
        point, n = add(point, point), n >> 1
    return out
def point(y, sign=0):
    xx = (y*y - 1) * pow(D*y*y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x*x - xx) % P: x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x*x - xx) % P or (x == 0 and sign): return None
    if x & 1 != sign: x = P - x
    return x, y, 1, x*y % P
def decode(data):
    n = int.from_bytes(data, "little")
    return point(n & ((1 << 255) - 1), n >> 255)
def signed_by(key, text, signature):
    if len(key) != 32 or len(signature) != 64: return False
    a, r, s = decode(key), decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L: return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + text).digest(), "little") % L
    one, two = times(s, point(G_Y)), add(r, times(h, a))
    return (one[0]*two[2] - two[0]*one[2]) % P == 0 and (one[1]*two[2] - two[1]*one[2]) % P == 0

# the canonical encoding: every part behind its length (4 bytes, big endian); a value begins with a letter for its type
def part(data): return struct.pack(">I", len(data)) + data
def number(n): return struct.pack(">q", n)
def value(v):
    if v is None: return part(b"n")
    if isinstance(v, int): return part(b"i" + number(v))
    return part(b"t" + v.encode()) if isinstance(v, str) else part(b"b" + v)
def digest(*parts): return hashlib.sha256(b"".join(map(part, parts))).digest()
def leaf(kind, names, values):
    text = part(b"wayside-ledger-leaf-1") + part(kind.encode())
    return hashlib.sha256(text + b"".join(part(n.encode()) + value(v) for n, v in zip(names, values))).digest()
def notice_digest(n):
    c, p, r = n["controller"], n["purposes"], n["recipients"]
    texts = ["wayside-notice-v1", n["version"], n["site"], n["language"]]
    texts += [c[k] for k in "name address email phone url dpo authority jurisdiction privacy_url storage".split()]
    texts += [n[k] for k in "title text withdrawal retention rights complaint".split()]
    texts += [str(len(p))] + [one[k] for one in p for k in "name basis assessment title text".split()]
    texts += [str(len(r))] + [one[k] for one in r for k in "name role country".split()]
    return digest(*(text.encode() for text in texts))
def millis(text): return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)

def receipt(path, keys, row, folded, fault):
    """Signature, place in the ledger, what it tells of the decision, the notice it names, and its evidence."""
    raw, proof = path.read_bytes(), json.loads(pathlib.Path(f"{path}.sig").read_text())
    if not signed_by(keys.get(proof["key_id"], b""), b"wayside-receipt-v1\n" + raw, bytes.fromhex(proof["signature"])):
        return fault(3, 0, f"receipt {path.name}: its signature does not hold, or its key was never this edge's")
    said = json.loads(raw)
    place = said["wayside:ledger"]
    no, evidence = place["number"], place["evidence"]
    def wrong(what): fault(2, no, f"receipt {path.name}: {what}")
    if evidence and evidence["nonce"] and evidence["commitment"] != digest(
            b"wayside-evidence-v1", bytes.fromhex(evidence["nonce"]), evidence["body"].encode()).hex():
        wrong("its evidence is not what the decision committed to")
    if no <= folded: return print(f"receipt {path.name}: signed by this edge; entry {no} is folded into the anchor at {folded}")
    if row is None: return wrong("its decision has no entry in the ledger")
    seq, kind, prev, own, told, notice = row
    if (kind, seq, prev.hex(), own.hex()) != ("decision", place["seq"], place["previous"], place["hash"]):
        wrong("the entry it names is another one")
    if told is None: return print(f"receipt {path.name}: signed by this edge; entry {no} is there, its content was removed")
    id_ = told["decision_id"] if isinstance(told["decision_id"], str) else str(uuid.UUID(bytes=told["decision_id"]))
    status, text = said["dpv:hasConsentStatus"], lambda value: value and value.hex()
    if (id_, told["subject_ref"].hex(), told["before"], told["after"], told["method"], told["notice"], text(told["notice_digest"]),
            text(told["evidence"]), told["received_at"], [told["epoch"], str(seq)]) != (
            said["dct:isPartOf"]["dct:identifier"], said["dpv:hasDataSubject"]["dct:identifier"], place["before"], place["after"],
            status["dpv:hasIndicationMethod"], said["dpv:hasNotice"]["dct:identifier"], said["dpv:hasNotice"]["schema:sha256"],
            evidence and evidence["commitment"], millis(status["dct:date"]), said["dct:identifier"].split(":")[3:]):
        wrong("it tells otherwise of the decision than the ledger")
    if notice is not None and notice != 1: wrong("the notice it names is not published here with that digest")

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=pathlib.Path)
    parser.add_argument("--against", type=pathlib.Path)
    parser.add_argument("--receipt", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--key", action="append", default=[], type=bytes.fromhex)
    args = parser.parse_args()
    public = args.key or [bytes.fromhex(e["public_key"]) for e in json.loads((args.data_dir / "edge.json").read_text())["epochs"]]
    keys = {hashlib.sha256(key).hexdigest()[:16]: key for key in public}
    db = sqlite3.connect(f"{(args.data_dir / 'wayside.db').resolve().as_uri()}?mode=ro", uri=True)
    db.execute("BEGIN")
    faults = []
    def fault(code, no, what): faults.append((code, no, what))
    def opened(text, signature, no):
        try: read = json.loads(text)
        except ValueError: read = {}
        if read.get("format") != "wayside-checkpoint-1": return fault(3, no, "a checkpoint cannot be read")
        if not signed_by(keys.get(read["key_id"], b""), text.encode(), signature):
            return fault(3, no, "the signature of a checkpoint does not hold, or its key was never this edge's")
        return read
    stored = [(opened(r[3], r[4], r[1]), *r) for r in
              db.execute("SELECT checkpoint_no, ledger_no, anchor, signed, signature, at FROM checkpoints ORDER BY 1")]
    anchor = max([r for r, *_ in stored if r and r["anchor"]], key=lambda r: r["checkpoint_no"], default=None)
    folded = anchor["ledger_no"] if anchor else 0
    at, before, clock, hashes, gone, left, restores = folded, bytes(32), None, {}, {}, [], []
    if anchor: before = bytes.fromhex(anchor["hash"])
    rows = db.execute(ROWS)
    names = [column[0] for column in rows.description][10:]
    for no, seq, kind, when, detail, prev, expected, own, by, there, *content in rows:
        if no <= folded: continue
        if no != at + 1: fault(2, at + 1, f"entries {at + 1} to {no - 1} are missing")
        elif prev != before: fault(2, no, "it does not follow the entry before")
        if digest(b"wayside-ledger-step-1", number(no), number(seq), kind.encode(), number(when), prev, expected) != own:
            fault(2, no, "its hash is not that of what it says")
        if kind != "decision" or there is not None:
            now = leaf(kind, names, content) if kind == "decision" else leaf(kind, ["detail"], [detail])
            if now != expected: fault(2, no, "its content was changed")
        elif by is None: fault(2, no, "its content is gone, and no entry says why")
        else: gone.setdefault(by, []).append((no, expected))
        if kind in ("prune", "erasure"):
            told, seen = json.loads(detail), gone.pop(no, [])
            sum_ = hashlib.sha256(part(b"wayside-ledger-cleared-1") + b"".join(part(number(n)) + part(l) for n, l in seen))
            ends = (seen[0][0], seen[-1][0]) if seen else (0, 0)
            if told["first_no"] <= folded < told["last_no"]: left.append((no, number(no), number(len(seen)), sum_.digest()))
            elif (seen or told["last_no"] > folded) and (told["count"], told["digest"], told["first_no"], told["last_no"]) != (
                    len(seen), sum_.hexdigest(), *ends): fault(2, no, "it names other contents than those that are gone")
        if kind == "erase":
            told = json.loads(detail)
            for (result,) in db.execute("SELECT result FROM erasures WHERE erasure_id = ?", (bytes.fromhex(told["erasure_id"].replace("-", "")),)):
                if hashlib.sha256((result or "").encode()).hexdigest() != told["result_sha256"]:
                    fault(2, no, "the result kept with that erasure is not the one it names")
        if kind == "notice":
            told = json.loads(detail)
            for one in told["languages"]:
                rows_ = db.execute("SELECT digest, origin, body FROM notices JOIN sites USING (site_id) WHERE name = ? AND version = ? "
                                   "AND language = ?", (told["site"], told["version"], one["language"])).fetchall()
                if [(d.hex(), notice_digest(json.loads(b)).hex() if o == "own" else d.hex()) for d, o, b in rows_] != [(one["sha256"],) * 2]:
                    fault(2, no, f"the notice {told['version']} ({one['language']}) is not what was published")
        if kind == "restore": restores.append((no, when, json.loads(detail)["backup_at"]))
        if kind != "clock" and clock is not None and clock - when > HOUR_MS: fault(5, no, "the clock went back, and no entry says so")
        at, before, clock, hashes[no] = no, own, when, own
    for by, list_ in gone.items(): fault(2, list_[0][0], f"its content is gone, and entry {by} does not say why")
    # removals that the anchor cuts through: it signs what is left of them
    cut = digest(b"wayside-ledger-left-1", *(p for _, *parts in left for p in parts)).hex() if left else None
    if cut != (anchor or {}).get("left"): fault(2, left[0][0] if left else folded + 1, "contents are gone that the anchor does not know of")
    for (no,) in db.execute("SELECT d.ledger_no FROM decisions d LEFT JOIN ledger l ON l.ledger_no = d.ledger_no AND l.seq = d.seq "
                            "AND l.kind = 'decision' WHERE l.ledger_no IS NULL LIMIT 1"):
        fault(4 if no > at else 2, no, "a decision lies outside the ledger")
    def placed(read, kept=False):
        no = read["ledger_no"]
        if no in hashes and hashes[no].hex() == read["hash"]: return
        back = next((r for r in restores if kept and r[0] <= no and r[1] >= millis(read["at"]) // 60_000 * 60_000), None)
        if back: fault(4, back[0], f"what was signed from here to {no} is not here: a backup of {back[2]} was restored, and this entry says so")
        elif no > at: fault(4, no, f"the ledger ends at {at}; it had come to {no} when it was signed at {read['at']}")
        elif no in hashes: fault(2, no, f"it is not the entry that was signed at {read['at']}")
    last = None
    for read, number_, ledger_no, anchor, text, _, when in stored:
        if read:
            placed(read)
            if (read["checkpoint_no"], read["ledger_no"], read["anchor"], millis(read["at"])) != (number_, ledger_no, bool(anchor), when):
                fault(3, ledger_no, f"checkpoint {number_}: its columns and its signed text differ")
            follows = (last[0] + 1, last[1]) == (number_, read["previous"]) if last else folded or (number_, read["previous"]) == (1, None)
            if not follows: fault(3, ledger_no, f"checkpoint {number_}: the one before is not there")
        last = (number_, hashlib.sha256(text.encode()).hexdigest())
    if args.against:
        lines = [json.loads(line) for line in args.against.read_text().splitlines() if '"signed"' in line]
        read = opened(lines[-1]["signed"], bytes.fromhex(lines[-1]["signature"]), 0)
        if read: placed(read, kept=True)
    for path in args.receipt:
        no = json.loads(path.read_bytes())["wayside:ledger"]["number"]
        row = db.execute(f"{ROWS.split(' ORDER BY')[0]} WHERE l.ledger_no = ?", (no,)).fetchone()
        told = dict(zip(names, row[10:])) if row and row[9] is not None else None
        there = told and told["notice_digest"] and db.execute("SELECT count(*) FROM notices n JOIN sites s USING (site_id) WHERE "
            "s.name = ? AND version = ? AND digest = ?", (told["site"], told["notice"], told["notice_digest"])).fetchone()[0]
        receipt(path, keys, row and (row[1], row[2], row[5], row[7], told, there), folded, fault)
    for code, no, what in sorted(faults): print(f"entry {no}: {what}")
    print(f"{'ok' if not faults else f'{len(faults)} faults'}: {len(hashes)} entries, {len(stored)} checkpoints, newest entry {at}")
    return min(faults)[0] if faults else 0

if __name__ == "__main__":
    sys.exit(main())
