"""Loads the batches of a folder into SQLite: load_sqlite.py FOLDER DATABASE. Needs nothing but wayside on the PATH."""

import glob
import gzip
import pathlib
import sqlite3
import subprocess
import sys

folder, database = sys.argv[1:3]
here = pathlib.Path(__file__).parent


def schema(*more):
    return subprocess.run(["wayside", "schema", "--for", "sqlite", *more], check=True, capture_output=True, text=True).stdout


db = sqlite3.connect(database)
db.executescript(schema())
# what does not verify lies in bad/
for name in [name for name in glob.glob(f"{folder}/**/*.ndjson.gz", recursive=True) if "/bad/" not in name]:
    with gzip.open(name, "rt", encoding="utf-8", newline="\n") as lines:
        db.executemany("INSERT INTO lines VALUES (?)", ([line] for line in lines))
db.executescript(schema("--fill"))
db.executescript((here / "sqlite.sql").read_text())
db.executescript((here / "views.sql").read_text())
db.commit()
for name in ["events", "visits"]:
    print(name, db.execute(f"SELECT count(*) FROM {name}").fetchone()[0])
