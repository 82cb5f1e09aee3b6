#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""TAP: what the lab judges by, against records made here: each kind of loss must be found, and only that."""

import copy
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "talker")]
sys.dont_write_bytecode = True

import fglab        # noqa: E402  pylint: disable=wrong-import-position
import mainjob      # noqa: E402  pylint: disable=wrong-import-position
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


# --- checks() of the main job -----------------------------------------------------------------------------------------

TIMES = {"web1": 1100.0, "web2": 1200.0, "db1": 1200.0}
STATES = {name: mainjob.FIXED if name != "web2" else ["offered", "queued", "not-needed"] for name in TIMES}
FIXGATE_FIX = os.path.join(os.environ.get("FG_BIN", os.path.join(mainjob.TOP, "build/bin")), "fixgate-fix")


def pcap(path, sent):
    """sent: (time, sender's MAC, receiver's MAC)"""
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for t, src, dst in sent:
            frame = bytes.fromhex((dst + src).replace(":", "")) + b"\x08\x00" + b"\0" * 50
            f.write(struct.pack("<IIII", int(t), int(t % 1 * 1e6), len(frame), len(frame)) + frame)


class Artefacts:
    """What a good run of the main job leaves; a test spoils one thing of it."""

    def __init__(self):
        self.events = sorted(({"t": TIMES[name] + 10.0 * i, "guest": name, "uuid": fglab.GUESTS[name].uuid, "job": "job-" + name,
                               "state": state} for name, states in STATES.items() for i, state in enumerate(states)),
                             key=lambda e: e["t"])
        self.jobs = {name: {"job": "job-" + name, "uuid": fglab.GUESTS[name].uuid, "outcome": states[-1],
                            "seconds_in_state": {s: 10.0 if s != states[-1] else 0.0 for s in states},
                            "total_seconds": 10.0 * (len(states) - 1)} for name, states in STATES.items()}
        self.sw, self.near, self.offset = [], {name: [] for name in mainjob.BYSTANDERS}, 3.0
        self.daemons = [["700"], ["700"]]
        for name in ("web1", "db1"):
            at, mac = TIMES[name], fglab.GUESTS[name].mac
            self.jobs[name].update(fix_vm_verified_t=at + 35.0, downtime_seconds=60.0, plain_reboot_downtime_seconds=20.0)
            for heard in self.near.values():
                heard += [(at + 5, mac, fglab.DOM0_MAC), (at + 80, mac, fglab.DOM0_MAC)]
            self.sw += [(at + 5, mac, fglab.FORBIDDEN_MAC), (at + 32, mac, fglab.SERVER_MAC), (at + 80, mac, fglab.FORBIDDEN_MAC)]
        self.clients = [{"name": n, "uuid": g.uuid, "mac": g.mac, "fixes": {}} for n, g in fglab.GUESTS.items()]
        for client in self.clients:
            if client["name"] in mainjob.WANTED:
                client["fixes"] = {mainjob.FIX: {"status": sorted(mainjob.WANTED[client["name"]])[-1]}}
        self.heard = {"t": END, "guests": {}}
        for name in fglab.GUESTS:
            closed = [connection(close_t=TIMES[name] + 30, last_t=TIMES[name] + 9)] if name in ("web1", "db1") else [connection()]
            self.heard["guests"][name] = {"kinds": {kind: [stream()] for kind in seqcheck.KINDS}, "tcp": closed}

    def write(self, out):
        wanted = {"web1": "fixed 1.1", "web2": "fixed 1.1", "db1": "fixed 1.1", "idle1": "vulnerable 1.0"}
        for name, content in (("summary", {"after": wanted, "jobs": self.jobs, "dom0_clock_offset": self.offset,
                                           "xl_daemons_around_reboot": self.daemons}), ("clients", {"clients": self.clients}),
                              ("rollout", {"state": "done", "waves": [{"ok": 1}, {"ok": 2}]}), ("forbidden-summary", self.heard)):
            with open(os.path.join(out, name + ".json"), "w", encoding="utf-8") as f:
                json.dump(content, f)
        with open(os.path.join(out, "timeline.jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(e) + "\n" for e in self.events)
        for which, to in (("forbidden", fglab.FORBIDDEN_MAC), ("server", fglab.SERVER_MAC), ("sw", None)):
            pcap(os.path.join(out, which + ".pcap"), [s for s in self.sw if to in (None, s[2])])
        for name, heard in self.near.items():       # on dom0's clock
            pcap(os.path.join(out, f"near-{name}.pcap"), [(t - self.offset, src, dst) for t, src, dst in sorted(heard)])


def bundle(folder):
    """A signed bundle and the trust that verifies it."""
    payload = os.path.join(folder, "payload")
    os.mkdir(payload)
    with open(os.path.join(payload, "run"), "w", encoding="ascii") as f:
        f.write("#!/bin/sh\n")
    os.chmod(f.name, 0o755)
    manifest = {"format": 1, "id": "demo", "version": 1, "title": "demo", "severity": "low", "cves": [],
                "published": "2026-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z",
                "applies_to": {"os": [{"id": "debian", "version": "12"}], "arch": ["amd64"]},
                "entry": "run", "context": "chroot", "timeout_s": 60, "tools": []}
    with open(os.path.join(folder, "manifest.json"), "w", encoding="utf-8") as f:
        json.dump(manifest, f)
    keys = os.path.join(folder, "keys")
    for argv in (["keygen", "--out", keys],
                 ["build", payload, "--manifest", f.name, "-o", os.path.join(folder, "demo.fix"), "--key",
                  os.path.join(keys, "publisher.key"), "--cert", os.path.join(keys, "publisher.pem")]):
        subprocess.run([FIXGATE_FIX, *argv], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60)
    shutil.copytree(os.path.join(keys, "trust"), os.path.join(folder, "trust"))


def main_job(signed):
    def bad(artefacts, damage=None):
        with tempfile.TemporaryDirectory(prefix="fixgate-selftest-") as out:
            shutil.copy(os.path.join(signed, "demo.fix"), out)
            shutil.copytree(os.path.join(signed, "trust"), os.path.join(out, "trust"))
            artefacts.write(out)
            if damage:
                damage(out)
            return [text for good, text in mainjob.checks(out) if not good]

    def spoilt(text, word, spoil, damage=None):
        artefacts = Artefacts()
        spoil(artefacts)
        problems = bad(artefacts, damage)
        ok(any(word in p for p in problems), f"main job: {text} is found", problems)

    problems = bad(Artefacts())
    ok(not problems, "main job: a good run passes every check", problems)
    web1, mac = TIMES["web1"], fglab.GUESTS["web1"].mac
    for at, to, who in ((36, fglab.SERVER_MAC, "the server"), (40, fglab.GUESTS["idle1"].mac, "a neighbour")):
        spoilt(f"a frame of the fix VM to {who} after verified", "from verified to released",
               lambda a, at=at, to=to: a.sw.append((web1 + at, mac, to)))
    spoilt("a frame of the fix VM to a neighbour before verified", "to anybody else",
           lambda a: a.sw.append((web1 + 31, mac, fglab.GUESTS["idle1"].mac)))
    spoilt("a frame to a neighbour in dom0", "its neighbour idle1", lambda a: a.near["idle1"].append((web1 + 31, mac, fglab.DOM0_MAC)))
    spoilt("a neighbour in dom0 that heard nothing before", "its neighbour web2", lambda a: a.near["web2"].clear())
    spoilt("another xl daemon", "the same xl daemon", lambda a: a.daemons.append(a.daemons.pop() + ["701"]))
    spoilt("a fix VM that never said verified", "the fix VM said", lambda a: a.jobs["web1"].pop("fix_vm_verified_t"))
    spoilt("a frame to the forbidden host", "the forbidden host saw no frame", lambda a: a.sw.append((web1 + 20, mac, fglab.FORBIDDEN_MAC)))
    spoilt("a state that is missing", "web1: offered", lambda a: a.events.remove(next(e for e in a.events if e["state"] == "fixed")))
    spoilt("a line without its job", "each of the", lambda a: a.events[0].pop("job"))
    spoilt("a job of another guest's UUID", "web2: one job", lambda a: [e.update(uuid="x") for e in a.events if e["guest"] == "web2"])
    spoilt("a state's seconds that are missing", "db1: seconds", lambda a: a.jobs["db1"]["seconds_in_state"].pop("fixing"))
    spoilt("a downtime of nothing", "db1: 0 s without network", lambda a: a.jobs["db1"].update(downtime_seconds=0))
    spoilt("no plain reboot to compare with", "web1: 60.0 s without", lambda a: a.jobs["web1"].pop("plain_reboot_downtime_seconds"))
    spoilt("a client without its MAC", "the list has idle1", lambda a: a.clients[3].pop("mac"))
    spoilt("a bystander that fell silent", "idle1: its talkers", lambda a: a.heard["guests"]["idle1"]["tcp"][0].update(last_t=1005.0))
    spoilt("a bundle that was changed", "is verified by the trust", lambda a: None, flip)


def flip(out):
    path = os.path.join(out, "demo.fix")
    with open(path, "r+b") as f:
        f.seek(-20, os.SEEK_END)
        byte = f.read(1)[0]
        f.seek(-20, os.SEEK_END)
        f.write(bytes([byte ^ 1]))


# --- the digest of a disk -----------------------------------------------------------------------------------------------

def disk(path, size, *pieces):
    """A sparse file: (offset, bytes) each written, also if they are zeros."""
    with open(path, "wb") as f:
        for at, data in pieces:
            f.seek(at)
            f.write(data)
        f.truncate(size)
    return subprocess.run([sys.executable, os.path.join(HERE, "diskdigest.py"), path], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


def digests(folder):
    path, mib = os.path.join(folder, "disk"), 1 << 20
    size, text = 8 * mib, b"x" * 5000
    base = disk(path, size, (3 * mib + 70000, text))
    ok(disk(path, size, (3 * mib + 70000, text)) == base, "digest: the same disk, the same digest")
    ok(disk(path, size, (0, bytes(2 * mib)), (3 * mib + 70000, text)) == base, "digest: zeros are what a hole is")
    ok(disk(path, size, (3 * mib, bytes(70000) + text)) == base, "digest: also in the block that has data")
    for name, other in (("a byte that is another", [(3 * mib + 70000, b"y" + text[1:])]),
                        ("the same data a block later", [(3 * mib + 70000 + 65536, text)]),
                        ("one byte in what was a hole", [(3 * mib + 70000, text), (6 * mib + 1, b"\1")]),
                        ("one byte in the last one", [(3 * mib + 70000, text), (size - 1, b"\1")]),
                        ("data that is gone", [])):
        ok(disk(path, size, *other) != base, f"digest: {name} is seen")
    ok(disk(path, size + 512, (3 * mib + 70000, text)) != base, "digest: a longer disk is seen")
    ok(disk(path, size) != disk(path, 0), "digest: a disk of zeros is not a file of nothing")


lossless()
dead_and_silent()
with tempfile.TemporaryDirectory(prefix="fixgate-selftest-", dir="/var/tmp") as disk_folder:
    digests(disk_folder)
with tempfile.TemporaryDirectory(prefix="fixgate-selftest-") as signed_folder:
    bundle(signed_folder)
    main_job(signed_folder)
print(f"1..{count}")
sys.exit(1 if failed else 0)
