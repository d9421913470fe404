#!/usr/bin/env bash
# Made the files of this folder, once, with age 1.1.1. Run again it makes others, with other keys: then the tests read those.
#   key.txt, other.txt   secret keys
#   *.age                encrypted with `age -r`: to one, to two, to the other one; of lengths around a chunk of 64 KiB
# The plain text of all is the numbers from 1 on, one a line, cut at the length in the name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
rm -f -- *.age key.txt other.txt
age-keygen -o key.txt 2>/dev/null
age-keygen -o other.txt 2>/dev/null
to=$(age-keygen -y key.txt)
other=$(age-keygen -y other.txt)
plain() { (seq 1 100000 || true) 2>/dev/null | head -c "$1" || true; }
for length in 0 1 65535 65536 65537 200000; do
    plain "$length" | age -r "$to" -o "to-one-$length.age"
done
plain 1000 | age -r "$other" -r "$to" -o to-two-1000.age
plain 1000 | age -r "$other" -o to-other-1000.age
chmod 644 key.txt other.txt
