#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""TAP: what the lab judges by, against records made here: each kind of loss must be found, and only that."""

import copy
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "talker")]
sys.dont_write_bytecode = True

import seqcheck     # noqa: E402  pylint: disable=wrong-import-position

BEGIN, END = 1000.0, 11000.0
count = failed = 0


def ok(condition, text, detail=""):
    global count, failed    # pylint: disable=global-statement
    count += 1
    failed += not condition
    print(f"{'ok' if condition else 'not ok'} {count} - {text}" + ("" if condition else f" ({detail})"), flush=True)


def stream(**changes):
    return {"boot": "b1", "received": 99000, "first": 1, "last": 99000, "lost": 0, "reordered": 0, "duplicated": 0,
            "first_t": BEGIN, "last_t": END - 0.1, "silence": 0.4, "silence_t": BEGIN + 5, **changes}


def connection(**changes):
    return {"boot": "b1", "conn": 1, "peer": "10.99.0.12", "open_t": BEGIN, "close_t": None, "last_t": END - 0.1,
            "received": 99000, "last": 99000, "lost": 0, "silence": 0.4, **changes}


def summary(**kinds):
    """A run of 10,000 s in which nothing was wrong, but for the kinds named."""
    tcp = kinds.pop("tcp", [connection()])
    return {"t": END, "guests": {"web2": {"kinds": {kind: kinds.get(kind, [stream()]) for kind in seqcheck.KINDS}, "tcp": tcp}}}


def found(data, word, text, **kw):
    problems = seqcheck.lossless(data, "web2", **kw)
    ok(len(problems) == 1 and word in problems[0], f"lossless: {text}", problems)


def lossless():
    ok(seqcheck.lossless(summary(), "web2") == [], "lossless: a good run has no problem", seqcheck.lossless(summary(), "web2"))
    for kind in seqcheck.KINDS:
        found(summary(**{kind: [stream(last_t=BEGIN + 5, received=50, last=50)]}), f"{kind}: nothing in the last 9995",
              f"{kind} that died after 5 s of 10,000 s is found")
        found(summary(**{kind: []}), f"{kind}: nothing received", f"{kind} that never came is found")
        found(summary(**{kind: [stream(lost=1)]}), "1 lost", f"a lost {kind} is found")
        found(summary(**{kind: [stream(duplicated=1)]}), "1 doubled", f"a doubled {kind} is found")
        found(summary(**{kind: [stream(silence=60.0)]}), "silent for 60", f"a silence of {kind} is found")
        found(summary(**{kind: [stream(), stream(boot="b2")]}), "started 2 times", f"a second boot in {kind} is found")
    found(summary(tcp=[connection(last_t=BEGIN + 5)]), "tcp: nothing in the last 9995", "TCP that fell silent is found")
    found(summary(tcp=[connection(close_t=END - 0.05)]), "tcp: closed 0.050 s", "TCP that was closed is found")
    found(summary(tcp=[]), "no connection", "no TCP is found")
    found(summary(tcp=[connection(lost=2)]), "2 records missing", "a record missing in TCP is found")
    found(summary(tcp=[connection(silence=60.0)]), "silent for 60", "a silence of TCP is found")
    found(summary(tcp=[connection(), connection(conn=2)]), "the first one broke", "a second connection is found")
    found(summary(tcp=[connection(last_t=None, received=0)]), "carried nothing", "a connection without a record is found")
    found(summary(udp4=[stream(silence=0.6)]), "silent for 0.6", "a limit of one's own counts", max_silence=0.5)
    ok(seqcheck.lossless(summary(), "db1") == ["nothing received from db1"], "lossless: a guest that never spoke is found")
    twice = summary(tcp=[connection(close_t=END - 500), connection(conn=1, boot="b2")],
                    **{kind: [stream(), stream(boot="b2")] for kind in seqcheck.KINDS})
    ok(seqcheck.lossless(twice, "web2", reboots=1) == [], "lossless: a reboot that is allowed is no problem",
       seqcheck.lossless(twice, "web2", reboots=1))


def dead_and_silent():
    data = summary(tcp=[connection(last_t=2000.0)])
    ok(seqcheck.dead(data, "web2", 1, 2000.5) == [], "dead: a connection that ended before is dead")
    ok(seqcheck.dead(data, "web2", 1, 1999.5) == ["connection 1 carried data until 0.500 s after"], "dead: half a second is found")
    ok(seqcheck.dead(data, "web2", 2, 2000.5) == ["web2 had no TCP connection 2"], "dead: no connection is a problem")
    records = [{"guest": "web2", "t": 1.0}, {"guest": "web2", "t": 3.0, "event": "close"}, {"guest": "db1", "t": 3.0}]
    ok(seqcheck.silent(copy.deepcopy(records), "web2", 2.0, 4.0) == [], "silent: a close, or another guest, is no sound")
    ok(len(seqcheck.silent(records, "web2", 0.5, 4.0)) == 1, "silent: a record is")


lossless()
dead_and_silent()
print(f"1..{count}")
sys.exit(1 if failed else 0)
