#!/usr/bin/env python3
"""Makes src/domain/suffixes.txt from a public suffix list (https://publicsuffix.org/list/public_suffix_list.dat).

Usage: make-suffixes.py LIST "WHERE IT COMES FROM, DATE" > src/domain/suffixes.txt
"""
import collections
import sys


def main() -> None:
    below = collections.defaultdict(set)
    for line in open(sys.argv[1], encoding="utf-8"):
        rule = line.split("//")[0].strip()
        if not rule:
            continue
        mark = "!" if rule.startswith("!") else ""
        labels = [label if label == "*" else label.encode("idna").decode() for label in rule.lstrip("!").split(".")]
        below[".".join(labels[1:])].add(mark + labels[0].lower())
    print("# Public suffixes: names below which anybody can register one of their own.")
    print(f"# {sys.argv[2]}; Mozilla Public License 2.0, as its source.")
    print("# Brought into this form by tests/corpus/make-suffixes.py: names in ASCII, sorted as bytes; a line is what stands")
    print("# above, and the names below it. * is any name, ! one that * does not mean. The first line is the top.")
    for above in sorted(below, key=str.encode):
        print(above, *sorted(below[above], key=str.encode))


main()
