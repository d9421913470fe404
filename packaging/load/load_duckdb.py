"""Loads the batches of a folder into DuckDB: load_duckdb.py FOLDER DATABASE. Needs the package duckdb, and wayside on the PATH."""

import glob
import pathlib
import subprocess
import sys

import duckdb

folder, database = sys.argv[1:3]
here = pathlib.Path(__file__).parent


def schema(*more):
    return subprocess.run(["wayside", "schema", "--for", "duckdb", *more], check=True, capture_output=True, text=True).stdout


# what does not verify lies in bad/
files = [name for name in glob.glob(f"{folder}/**/*.ndjson.gz", recursive=True) if "/bad/" not in name]
db = duckdb.connect(database)
db.execute(schema())
if files:
    db.execute("INSERT INTO lines SELECT json FROM read_ndjson_objects(?)", [files])
    db.execute(schema("--fill"))
db.execute((here / "duckdb.sql").read_text())
db.execute((here / "views.sql").read_text())
for name in ["events", "visits"]:
    print(name, db.execute(f"SELECT count(*) FROM {name}").fetchone()[0])
