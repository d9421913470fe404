#!/bin/sh
# Loads the batches of a folder into PostgreSQL: load_postgres.sh FOLDER. Where to is what psql reads: PGHOST, PGDATABASE ...
# Needs psql, and wayside on the PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sql() { psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 "$@"; }

wayside schema --for postgres | sql
# one line in a row: with characters that JSON text never holds as quote and delimiter; what does not verify lies in bad/
find "$1" -name '*.ndjson.gz' ! -path '*/bad/*' -exec gzip -dc {} + |
    sql --command "COPY lines FROM STDIN WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')"
wayside schema --for postgres --fill | sql
sql --file "$here/postgres.sql" --file "$here/views.sql"
for name in events visits; do
    printf '%s %s\n' "$name" "$(sql --tuples-only --no-align --command "SELECT count(*) FROM $name")"
done
