#!/usr/bin/env python3
"""Writes access.log, and access-log.expected.json with its totals, which are known by construction: nothing is parsed.

    tests/corpus/make-access-log.py

Each scene below says beside its lines how each counts and how many visits they make. The same bytes every time.
"""
import json
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

HERE = Path(__file__).parent
START = datetime(2026, 3, 2, 8, 0, tzinfo=timezone.utc)
BROWSERS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Android 14; Mobile; rv:139.0) Gecko/139.0 Firefox/139.0",
]
ROBOTS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
]
ENDINGS = ("css js mjs map png jpg jpeg gif svg ico webp avif woff woff2 ttf eot mp4 webm mp3 pdf zip gz tar xml txt "
           "json").split()
chance = random.Random(20260302)
tally = dict.fromkeys(
    "lines malformed page_views assets other_method other_status robots visitors visits duplicates".split(), 0)
written = []  # (when it reached the log, line)


class Scene:
    """The lines of one visitor, in the order they reach the log: a late one comes with the newest before it."""

    def __init__(self, remote, agent, after=0):
        self.remote, self.agent, self.after = remote, agent, after
        self.newest = self.views = 0

    def raw(self, at, key, line):
        self.newest = max(self.newest, at)
        written.append((self.after + self.newest, line if isinstance(line, bytes) else line.encode()))
        tally["lines"] += 1
        tally[key] += 1
        return self

    def put(self, at, key, request, status=200, size="512", referrer="-", agent=None, zone=0, user="-", end=""):
        when = (START + timedelta(seconds=self.after + at)).astimezone(timezone(timedelta(minutes=zone)))
        if key == "page_views":
            self.views += 1
            tally["robots"] += self.agent in ROBOTS
        return self.raw(at, key, f'{self.remote} - {user} [{when:%d/%b/%Y:%H:%M:%S %z}] "{request}" {status} {size} '
                                 f'"{referrer}" "{agent or self.agent}"{end}')

    def view(self, *times, path="/page", **more):
        for at in times:
            self.put(at, "page_views", f"GET {path} HTTP/1.1", **more)
        return self

    def visits(self, count):
        """Closes the scene: its page views are one visitor's, in so many visits."""
        tally["visitors"] += self.views > 0
        tally["visits"] += count


def crowd():
    """Visitors with planned visits: pauses under 20 minutes inside, longer ones between."""
    for n in range(20):
        address = f"2001:db8:{n:x}::{n + 1:x}" if n % 5 == 4 else f"198.51.100.{n + 1}"
        scene = Scene(address, chance.choice(ROBOTS if n % 6 == 5 else BROWSERS), chance.randrange(20_000))
        at, planned = 0, chance.randint(1, 3)
        for _ in range(planned):
            for _ in range(chance.randint(1, 4)):
                scene.view(at, path=f"/shop/{chance.randrange(40)}", referrer=chance.choice(["-", "https://a.example/"]))
                for _ in range(chance.randrange(3)):
                    name = f"/static/{chance.randrange(9)}.{chance.choice(ENDINGS)}"
                    scene.put(at + 1, "assets", f"GET {name} HTTP/1.1", chance.choice([200, 200, 304]))
                at += chance.randint(5, 1_100)
            at += chance.randint(1_300, 9_000)
        scene.visits(planned)


def windows():
    """Pauses at the edge of 20 minutes, and lines that come late."""
    for n, (times, count) in enumerate([
        ([0, 1_199], 1),
        ([0, 1_200], 2),
        ([0, 1_199, 2_398, 3_597], 1),
        ([0, 1_199, 2_399], 2),
        ([0, 600, 300], 1),                        # late, inside the visit
        ([1_199, 0], 1),                           # late, just inside the window before it
        ([1_200, 0], 2),                           # late, just outside: opens a visit before the other
        ([3_600, 0, 100, 3_700], 2),
        ([0, 1_800, 900], 2),                      # as far from both: visits are never merged
        ([0, 1_800, 1_100, 700, 2_999], 2),
        ([7_200, 3_600, 0, 6_100, 4_700], 3),      # backwards, then between
        ([7_200, 3_600, 0, 5_400, 1_800], 5),      # between, and too far from each
        ([0, 0, 0], 1),
    ]):
        Scene(f"203.0.113.{n + 1}", BROWSERS[0], 1_000 * n).view(*times).visits(count)


def who():
    """Address and user agent together are a visitor."""
    Scene("192.0.2.1", BROWSERS[0]).view(10, 20).visits(1)
    Scene("192.0.2.1", BROWSERS[1]).view(10, 20).visits(1)
    Scene("192.0.2.2", BROWSERS[0]).view(10, 20).visits(1)
    Scene("2001:db8::2", BROWSERS[0]).view(10, 20).visits(1)
    Scene("dialup-7.isp.example", BROWSERS[0]).view(10, 20, user="ann").visits(1)
    Scene("192.0.2.3", BROWSERS[0]).view(5_000, zone=120).view(5_300).view(5_600, zone=-570).visits(1)  # one clock, three zones
    Scene("192.0.2.4", BROWSERS[2]).view(7_000, 7_000, 7_000, path="/same").visits(1)  # identical lines
    Scene("192.0.2.5", ROBOTS[0]).put(9_000, "assets", "GET /robots.txt HTTP/1.1").view(9_010, 9_020).visits(1)
    Scene("192.0.2.6", "-").put(9_100, "assets", "GET /favicon.ico HTTP/1.1").visits(0)
    Scene("192.0.2.7", r"Tool \"quoted\" \\ with\ttab \xc3\xbc \q").view(
        9_200, path=r"/caf\xc3\xa9/\"x\"", referrer=r"http://\xe4\xe5\xe3.example/").visits(1)
    raw = Scene("192.0.2.8", "Bytes").view(9_300).visits
    when, line = written.pop()
    written.append((when, line.replace(b"Bytes", b"Byte\xff\xfe")))
    raw(1)


def requests():
    """What a request may look like; every line here is well formed."""
    scene = Scene("192.0.2.20", BROWSERS[1], 12_000)
    for n, ending in enumerate(ENDINGS):
        scene.put(n, "assets", f"GET /files/a.{ending.upper() if n % 2 else ending}{'?v=1/2' if n % 3 else ''} HTTP/1.1")
    for target in ["/", "/style.css/", "/get?file=a.pdf", "/a.cssx", "/js", "/a.tar.gz.html", "/a.php?x=/y.png", "/%2e.css%20",
                   "http://shop.example/", "/two words", "*"]:
        scene.view(40, path=target)
    scene.put(41, "page_views", "GET /old").put(42, "page_views", "GET /dot.", size="-", end="\r")
    for status in [200, 204, 206, 304]:
        scene.view(43, status=status)
    for status in [100, 199, 300, 301, 302, 303, 305, 400, 403, 404, 500, 503, "000"]:
        scene.put(44, "other_status", "GET /page HTTP/1.1", status)
        scene.put(44, "other_status", "GET /gone.png HTTP/1.1", status) if status == 404 else None
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "get", "GETS"]:
        scene.put(45, "other_method", f"{method} /page HTTP/1.1", 404 if method == "PUT" else 200)
    scene.put(46, "other_method", "HEAD /a.png HTTP/1.1")
    for junk in ["-", "", r"\x16\x03\x01\x02", "GET", "GET ", "GET  HTTP/1.1", r"\"GET / HTTP/1.1", " /"]:
        scene.put(47, "other_method", junk, 200 if junk == "GET" else 400)
    scene.visits(1)


def broken():
    """What is no line of this format. A good line first, to be broken."""
    scene = Scene("192.0.2.30", BROWSERS[1], 15_000).view(0)
    good = written[-1][1].decode()
    scene.visits(1)
    for line in [
        "", " ", good[:-1], good[: len(good) // 2], good[:20], good + " ", good + ' "203.0.113.9"', good + "x", " " + good,
        "shop.example:443 " + good, good.replace("[", ""), good.replace("Mar", "Mrz"), good.replace("02/Mar", "31/Feb"),
        good.replace(":00 +", ":61 +"), good.replace(" 200 ", " 20x "), good.replace(" 200 ", " "),
        good.replace(" 512 ", " 5k "), good.replace("Gecko", 'Ge"cko'), good[:-1] + '\\"', good.replace('"', "'"),
        good.split(' "-" ')[0], "\0\0\0" + good, good + "\r\r", '{"ip": "192.0.2.30", "path": "/"}', good.replace("+0000", "UTC"),
        good.replace("- - [", "- [", 1), good.replace("- - [", "- two words [", 1), good + good,
    ]:
        scene.raw(1, "malformed", line)


for scene_of in [crowd, windows, who, requests, broken]:
    scene_of()
written.sort(key=lambda entry: entry[0])  # stable: each scene keeps its order
(HERE / "access.log").write_bytes(b"".join(line + b"\n" for _, line in written))
(HERE / "access-log.expected.json").write_text(json.dumps(tally, indent=2) + "\n")
