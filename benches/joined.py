"""Small files against joined ones: joined.py [--files 20000] [--lines 10] [--edges 60]. Needs wayside on the PATH; DuckDB where it is.

The same batches twice: each in a file of its own, as `wayside pull` keeps them, and as `--join day` appends them, one file of gzip
members for each edge, lane and day. The lines are the project's example of a page view with other numbers. Read = every line out of
its file, by DuckDB and by Python; load = the project's loading example for the tool, to its end. Speed is printed, never judged; that
both ways bring the same number of events is.
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "packaging/schema/example/pages/000000000001.ndjson"


def batches(files, lines, edges):
    template = next(line for line in map(json.loads, EXAMPLE.open(encoding="utf-8")) if line["kind"] == "event")
    for number in range(files):
        edge, batch_no = number % edges, number // edges + 1
        day = f"2026-01-{batch_no * 7 % 28 + 1:02}"
        out = []
        for n in range(lines):
            seq = batch_no * 1_000 + n
            line = dict(template, edge=f"{edge:032x}", seq=seq, event_id=f"{edge:08x}-0000-7000-8000-{seq:012x}")
            line["received_at"] = f"{day}T{n % 24:02}:00:00.000Z"
            out.append(json.dumps(line, separators=(",", ":")))
        yield f"{edge:032x}", day, batch_no, gzip.compress(("\n".join(out) + "\n").encode(), 2)


def timed(work):
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def names(folder):
    return [str(path) for path in folder.rglob("*.ndjson.gz")]


def by_python(folder):
    return sum(sum(1 for _ in gzip.open(name, "rb")) for name in names(folder))


def by_duckdb(folder):
    import duckdb

    return duckdb.connect().execute("SELECT count(*) FROM read_ndjson_objects(?)", [names(folder)]).fetchone()[0]


def loaded(script):
    def work(folder):
        with tempfile.TemporaryDirectory() as at:
            command = [sys.executable, str(ROOT / "packaging/load" / script), str(folder), at + "/db"]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(told.split("events ")[1].split()[0])

    return work


def main():
    parser = argparse.ArgumentParser()
    for name, default in [("files", 20_000), ("lines", 10), ("edges", 60)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        small, joined = pathlib.Path(at, "small"), pathlib.Path(at, "joined")
        for edge, day, batch_no, data in batches(args.files, args.lines, args.edges):
            one = small / edge / ("0" * 16) / "pages" / f"{batch_no:012}.ndjson.gz"
            one.parent.mkdir(parents=True, exist_ok=True)
            one.write_bytes(data)
            all_day = joined / edge / "pages" / f"{day}.ndjson.gz"
            all_day.parent.mkdir(parents=True, exist_ok=True)
            with all_day.open("ab") as file:
                file.write(data)
        print(f"{args.files} files of {args.lines} lines, {args.edges} edges: joined {len(names(joined))} files")
        ways = [("read, Python", by_python), ("load, SQLite", loaded("load_sqlite.py"))]
        try:
            import duckdb  # noqa: F401

            ways += [("read, DuckDB", by_duckdb), ("load, DuckDB", loaded("load_duckdb.py"))]
        except ImportError:
            print("DuckDB is not here: left out")
        for name, work in ways:
            (slow, one), (fast, other) = timed(lambda: work(small)), timed(lambda: work(joined))
            assert one == other == args.files * args.lines, f"{name}: {one} and {other} events"
            print(f"{name}: small files {slow:.2f} s, joined {fast:.2f} s, {slow / fast:.1f} times")


main()
