"""Loads the batches of a folder into pandas: load_pandas.py FOLDER [EVENTS.csv]. Needs the package pandas, and wayside on the PATH."""

import glob
import gzip
import json
import subprocess
import sys

import pandas

folder = sys.argv[1]
printed = subprocess.run(["wayside", "schema", "--for", "pandas"], check=True, capture_output=True, text=True).stdout
known = {}
exec(printed, known)  # COLUMNS: kind -> column -> dtype
COLUMNS = known["COLUMNS"]

lines = {kind: [] for kind in COLUMNS}
# what does not verify lies in bad/
for name in [name for name in glob.glob(f"{folder}/**/*.ndjson.gz", recursive=True) if "/bad/" not in name]:
    with gzip.open(name, "rt", encoding="utf-8", newline="\n") as batch:
        for text in batch:
            line = json.loads(text)
            lines.get(line["kind"], []).append(line)


def frame(kind):
    table = pandas.DataFrame(lines[kind], columns=list(COLUMNS[kind]))
    for column, dtype in COLUMNS[kind].items():
        if dtype.startswith("datetime64"):
            table[column] = pandas.to_datetime(table[column], utc=True, format="ISO8601")
        else:
            table[column] = table[column].astype(dtype)
    return table


tables = {kind: frame(kind) for kind in COLUMNS}

erased_visitors = {line["visitor_ref"] for line in lines["erasure"] if "visitor_ref" in line}
erased_rows = [row for line in lines["erasure"] for row in line["rows"]]
superseded = {(line["visitor_ref"], line["edge"], seq) for line in lines["rectification"] for seq in line["superseded"]}
replaced = {
    (line.get("replaces_edge", line["edge"]), line.get("replaces_epoch", line["epoch"]), line["replaces"])
    for line in lines["event"]
    if "replaces" in line
}
floors = {}
for line in lines["withdrawal"]:
    if line["purposes"] & 1:
        floors[line["visitor_ref"]] = max(line["floor_seq"], floors.get(line["visitor_ref"], 0))
restricted = set()
for line in sorted(lines["decision"], key=lambda line: line["decision_seq"]):
    if line["action"] in ("restrict", "release"):
        (restricted.add if line["action"] == "restrict" else restricted.discard)(line["visitor_ref"])


def counts(line, first):
    origin = (line["edge"], line["epoch"], line["seq"])
    return not (
        line["visitor_ref"] in erased_visitors
        or line["visitor_ref"] in restricted
        or floors.get(line["visitor_ref"], 0) >= first
        or origin in replaced
        or (line["visitor_ref"], line["edge"], line["seq"]) in superseded
        or any(
            (row["edge"], row["epoch"]) == origin[:2] and row["first_seq"] <= line["seq"] <= row["last_seq"]
            for row in erased_rows
        )
    )


# each event once: by its origin, then by the site's event_id; each visit as it was told last
events = tables["event"].loc[[counts(line, line["seq"]) for line in lines["event"]]]
events = events.sort_values(["received_at", "edge", "epoch", "seq"])
events = events.drop_duplicates(["edge", "epoch", "seq", "event_id"]).drop_duplicates(["site", "event_id"])
visits = tables["visit"].loc[[counts(line, line["first_seq"]) for line in lines["visit"]]]
visits = visits.sort_values(["received_at", "seq"]).drop_duplicates(["edge", "visit_id"], keep="last")
if len(sys.argv) > 2:
    events.to_csv(sys.argv[2], index=False)
print("events", len(events))
print("visits", len(visits))
