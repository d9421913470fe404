#!/usr/bin/env python3
"""Counts an access log in the quoted combined format, as `wayside import --json` should: the second opinion of its tests.

    tests/corpus/count-log.py access.log [MORE.gz ...]

Shares no code with wayside: own grammar, own windows. `robots` is null: that depends on the list of robots.
"""
import gzip
import json
import re
import sys
from datetime import datetime, timedelta

QUOTED = rb'"((?:[^"\\]|\\.)*)"'
LINE = re.compile(
    rb"([!-~]+) [!-~]+ [!-~]+ \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    + QUOTED + rb" (\d{3}) (?:\d+|-) " + QUOTED + rb" " + QUOTED + rb"\r?", re.DOTALL)
REQUEST = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+) (?! HTTP/\d\.\d\Z)(.+?)(?: HTTP/\d\.\d)?", re.DOTALL)
ASSET = re.compile(
    rb"\.(?:css|m?js|map|png|jpe?g|gif|svg|ico|webp|avif|woff2?|ttf|eot|mp4|webm|mp3|pdf|zip|gz|tar|xml|txt|json)\Z", re.I)
ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([\"\\ntrbfv]))")
PLAIN = dict(zip(b'"\\ntrbfv', b'"\\\n\t\r\b\f\v'))
WINDOW = timedelta(minutes=20)
LINE_BYTES_MAX = 64 * 1024


def unescape(field):
    """The text a quoted field stands for."""
    byte = lambda m: bytes([int(m[1], 16) if m[1] else PLAIN[m[2][0]]])
    return ESCAPE.sub(byte, field).decode("utf-8", "replace")


def began(visits, at):
    """Puts a page view into its visitor's nearest visit; tells whether it opened one instead."""
    near = [v for v in visits if v[0] - WINDOW < at < v[1] + WINDOW]
    if not near:
        visits.append([at, at])
        return True
    home = min(near, key=lambda v: (max(v[0] - at, at - v[1], timedelta(0)), v[0]))
    home[:] = min(home[0], at), max(home[1], at)
    return False


def judge(raw):
    """The key a line counts under, and who saw the page and when."""
    match = LINE.fullmatch(raw) if len(raw) <= LINE_BYTES_MAX else None
    try:
        at = datetime.strptime(match[2].decode(), "%d/%b/%Y:%H:%M:%S %z") if match else None
    except ValueError:
        at = None
    if at is None:
        return "malformed", None
    request = REQUEST.fullmatch(match[3])
    if not request or request[1] != b"GET":
        return "other_method", None
    if not (match[4].startswith(b"2") or match[4] == b"304"):
        return "other_status", None
    path = unescape(request[2]).encode().split(b"?")[0]
    if ASSET.search(path.split(b"/")[-1]):
        return "assets", None
    return "page_views", ((match[1], unescape(match[6])), at)


def main(paths):
    tally = dict.fromkeys(
        "lines malformed page_views assets other_method other_status robots visitors visits duplicates".split(), 0)
    tally["robots"], people = None, {}
    for path in paths:
        data = open(path, "rb").read()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        for raw in data.removesuffix(b"\n").split(b"\n") if data else []:
            key, view = judge(raw)
            tally["lines"] += 1
            tally[key] += 1
            if view:
                tally["visits"] += began(people.setdefault(view[0], []), view[1])
    tally["visitors"] = len(people)
    print(json.dumps(tally))


if __name__ == "__main__":
    main(sys.argv[1:])
