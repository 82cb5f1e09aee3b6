#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions about what the forbidden host received (its summary, or its records), with pass or fail as the answer.

    seqcheck.py SUMMARY.json lossless GUEST [--max-silence SECONDS]     default: 10
    seqcheck.py SUMMARY.json dead GUEST CONN T      connection number CONN carried nothing after epoch second T
    seqcheck.py RECORDS.jsonl silent GUEST FROM TO  nothing of the guest was received between two epoch seconds

Exit 0 and "ok ...", or 1 and "not ok ...: why". The functions are used by scenarios directly.
"""

import json
import sys

KINDS = ("udp4", "udp6", "icmp4", "icmp6")


MAX_SILENCE = 10.0      # seconds; see lossless()


def lossless(summary, guest, max_silence=MAX_SILENCE, reboots=0):
    """Problems (a list, empty is good): this guest's talkers lost nothing, did not start anew, and spoke to the end of the run.

    max_silence: no longer time than that between two records, nor between the last one and the end ("t" of the summary).
    The talkers speak ten times a second, or once; the limit is what an emulator on a crowded machine may take.
    """
    data = summary["guests"].get(guest)
    if not data:
        return [f"nothing received from {guest}"]
    problems = []
    for kind in KINDS:
        streams = data["kinds"].get(kind, [])
        if not streams:
            problems.append(f"{kind}: nothing received")
        if len(streams) > reboots + 1:
            problems.append(f"{kind}: the talker was started {len(streams)} times")
        for s in streams:
            if s["lost"] or s["duplicated"]:
                problems.append(f"{kind}: {s['lost']} lost, {s['duplicated']} doubled of {s['received']}")
            problems += _silences(kind, s, max_silence)
        problems += _to_the_end(kind, streams, summary["t"], max_silence)
    if not data["tcp"]:
        problems.append("tcp: no connection")
    if len(data["tcp"]) > reboots + 1:
        problems.append(f"tcp: {len(data['tcp'])} connections, the first one broke")
    for c in data["tcp"]:
        if c["lost"]:
            problems.append(f"tcp: connection {c['conn']}: {c['lost']} records missing")
        problems += _silences(f"tcp: connection {c['conn']}", c, max_silence)
    if data["tcp"] and data["tcp"][-1]["close_t"] is not None:
        problems.append(f"tcp: closed {summary['t'] - data['tcp'][-1]['close_t']:.3f} s before the end")
    problems += _to_the_end("tcp", data["tcp"], summary["t"], max_silence)
    return problems


def _silences(what, stream, most):
    if stream["silence"] <= most:
        return []
    return [f"{what} silent for {stream['silence']} s" + (f" from {stream['silence_t']:.3f}" if "silence_t" in stream else "")]


def _to_the_end(what, streams, end, most):
    """The newest one's last record against the end of the run: what was never sent leaves no gap in the numbers."""
    if not streams:
        return []
    last = streams[-1]["last_t"]
    if last is None:
        return [f"{what}: the last connection carried nothing"]
    return [f"{what}: nothing in the last {end - last:.3f} s"] if end - last > most else []


def dead(summary, guest, conn, t, boot=None):
    """Problems: connection number conn (of the first boot seen, or of the named one) carried nothing after t."""
    data = summary["guests"].get(guest, {"tcp": []})
    found = [c for c in data["tcp"] if c["conn"] == conn and boot in (None, c["boot"])]
    if not found:
        return [f"{guest} had no TCP connection {conn}"]
    c = found[0]
    if c["last_t"] is None:
        return [f"connection {conn} never carried anything"]
    return [f"connection {conn} carried data until {c['last_t'] - t:.3f} s after"] if c["last_t"] > t else []


def silent(records, guest, begin, end):
    """Problems: records (an iterable of dicts) hold nothing of the guest between two times."""
    hits = [r for r in records if r["guest"] == guest and begin <= r["t"] <= end and r.get("event") != "close"]
    return [f"{len(hits)} records, the first {hits[0]}"] if hits else []


def main(argv):
    if len(argv) < 4 or argv[2] not in ("lossless", "dead", "silent"):
        print(__doc__, file=sys.stderr)
        return 2
    path, verb, guest = argv[1:4]
    with open(path, encoding="ascii") as f:
        if verb == "silent":
            problems = silent((json.loads(line) for line in f), guest, float(argv[4]), float(argv[5]))
        elif verb == "dead":
            problems = dead(json.load(f), guest, int(argv[4]), float(argv[5]))
        else:
            problems = lossless(json.load(f), guest, float(argv[5]) if "--max-silence" in argv else MAX_SILENCE)
    print(("not ok " if problems else "ok ") + f"{verb} {guest}" + (": " + "; ".join(problems) if problems else ""))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
