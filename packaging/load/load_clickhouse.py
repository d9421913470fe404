"""Loads the batches of a folder into ClickHouse: load_clickhouse.py FOLDER DATABASE. Needs the package chdb (ClickHouse within Python;
to a server the same statements go over its own client), and wayside on the PATH."""

import glob
import gzip
import json
import pathlib
import subprocess
import sys

from chdb import session

folder, database = sys.argv[1:3]
here = pathlib.Path(__file__).parent


def schema(*more):
    return subprocess.run(["wayside", "schema", "--for", "clickhouse", *more], check=True, capture_output=True, text=True).stdout


def statements(text):
    return [one for one in (part.strip() for part in text.split(";\n")) if one]


db = session.Session(database)
for statement in statements(schema()):
    db.query(statement)
# each line of the answer: kind, table, and the settings under which lines of that kind are read
lines = {}
# what does not verify lies in bad/
for name in [name for name in glob.glob(f"{folder}/**/*.ndjson.gz", recursive=True) if "/bad/" not in name]:
    with gzip.open(name, "rt", encoding="utf-8", newline="\n") as batch:
        for text in batch:
            lines.setdefault(json.loads(text)["kind"], []).append(text)
for told in schema("--fill").splitlines():
    kind, rest = told.removeprefix("-- ").split(": into ")
    table, settings = rest.split(" with ")[0], rest.split(" and SET ")[1]
    if lines.get(kind):
        db.query(f"INSERT INTO {table} SETTINGS {settings} FORMAT JSONEachRow\n" + "".join(lines[kind]))
for statement in statements((here / "clickhouse.sql").read_text()):
    db.query(statement)
for name in ["events", "visits"]:
    print(name, str(db.query(f"SELECT count() FROM {name}")).strip())
db.close()
