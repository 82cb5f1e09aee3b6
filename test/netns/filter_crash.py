#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
The command dies, or the kernel refuses it something, at each of its system calls: what is in the kernel is what was there
before or all that was asked for.  And it leaves nothing behind, however often.
"""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nslib import FILTER, UUID, UUID2, Filter, Ns, Tap, need_root, ruleset, veth  # noqa: E402

SANITIZED = bool(os.environ.get("FG_SANITIZED"))
CALLS = ("sendto", "recvfrom") if SANITIZED else ("sendto", "recvmsg", "recvfrom")
SIDE_BY_SIDE = 8
CYCLES = 80 if SANITIZED else 1000
GM = "02:00:00:00:00:01"
DEVS = ["--guest", UUID, "--dev", "vif1.0,vif1.0-emu", "--mac", GM]
OPEN = DEVS + ["--ip", "10.0.0.2", "--ip", "2001:db8::2", "--server", "10.0.0.1:443", "--server", "[2001:db8::1]:443",
               "--server-mac", "02:00:00:00:00:09", "--gateway", "10.0.0.254"]
OTHER = DEVS + ["--ip", "10.0.0.7", "--server", "10.0.0.1:8443", "--rate", "100"]
RELEASE = ["release", "--guest", UUID]
BATCH = os.path.join(tempfile.gettempdir(), "fg-batch-%d.json" % os.getpid())
NEIGHBOUR = ["isolate", "--guest", UUID2, "--dev", "vif2.0", "--mac", GM, "--closed"]

# What it does, what was done before it
SCENARIOS = [
    ("isolate", ["isolate", *OPEN], []),
    ("isolate again, otherwise", ["isolate", *OTHER], [["isolate", *OPEN]]),
    ("close", ["isolate", *DEVS, "--closed"], [["isolate", *OPEN]]),
    ("open what is closed, beside another guest", ["isolate", *OPEN], [NEIGHBOUR, ["isolate", *DEVS, "--closed"]]),
    ("a batch of two guests", ["isolate", "--batch", BATCH], []),
    ("release", RELEASE, [["isolate", *OPEN]]),
    ("release, beside another guest", RELEASE, [NEIGHBOUR, ["isolate", *OPEN]]),
]


def inject(d, argv, call, how):
    """Exit status; ASan cannot look for leaks under ptrace"""
    return d.run("env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                 "inject=%s:%s" % (call, how), FILTER, *argv, check=False)[0]


def count(d, argv, call, how):
    """(calls made, exit status)"""
    with tempfile.NamedTemporaryFile("r") as log:
        rc = d.run("env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-qq", "-o", log.name, "-e", "trace=" + call, "-e",
                   "inject=%s:%s" % (call, how), FILTER, *argv, check=False)[0]
        return sum(1 for line in log if line.startswith(call)), rc


def prepare(f, before):
    for argv in (RELEASE, ["release", "--guest", UUID2], *before):
        f.ok(*argv)


def states(d, f, argv, before):
    prepare(f, before)
    old = ruleset(d)
    f.ok(*argv)
    return old, ruleset(d)


def killed(tap, d, f, name, argv, before):
    """kill -9 on entry of the n-th call of a kind, n = 1, 2 … until it lives to its end"""
    old, new = states(d, f, argv, before)
    seen, other, ended, now = {old: 0, new: 0}, [], [], None
    for call in CALLS:
        for n in range(1, 100):
            if now != old:
                prepare(f, before)
            rc, now = inject(d, argv, call, "signal=KILL:when=%d" % n), ruleset(d)
            if rc == 0:
                ended.append(now == new)
                break
            if now in seen:
                seen[now] += 1
            else:
                other.append((call, n, now))
    tap.ok(ended == [True] * len(CALLS) and not other and seen[old] and seen[new],
           "%s: killed at each of %d calls: %d times as before, %d times all of it, never a part" %
           (name, sum(seen.values()), seen[old], seen[new]), (ended, seen[old], seen[new], other[:1]))


def failing(tap, d, f, name, argv, before, error):
    """
    The n-th call of a kind fails.  Exit status 0: all of it is there.  10, could not ask: one or the other.  Else nothing was
    changed.
    """
    old, new = states(d, f, argv, before)
    bad, statuses, now = [], [], None
    for call in CALLS:
        for n in range(1, 100):
            if now != old:
                prepare(f, before)
            made, rc = count(d, argv, call, "error=%s:when=%d" % (error, n))
            now = ruleset(d)
            if made < n:
                break
            statuses.append(rc)
            if now not in ((new,) if rc == 0 else (old, new) if rc == 10 else (old,)) or rc > 17:
                bad.append((call, n, rc, "old" if now == old else "new" if now == new else now))
    told = sum(1 for rc in statuses if rc)
    tap.ok(not bad and len(statuses) > 5 and (told or error == "EINTR"),
           "%s: %s at each of %d calls: %d times it says so, and is right" % (name, error, len(statuses), told), bad)


def write_batch():
    with open(BATCH, "w", encoding="ascii") as out:
        json.dump({"guests": [{"uuid": uuid, "closed": True, "devs": [{"name": dev, "mac": GM}]}
                              for uuid, dev in ((UUID, "vif1.0"), (UUID2, "vif2.0"))]}, out)


def one_transaction(tap, d, f):
    """However many guests: one message to the kernel begins it, one ends it.  No other program has a part in it."""
    prepare(f, [])
    with tempfile.NamedTemporaryFile("r") as log:
        d.run("env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-f", "-qq", "-o", log.name, "-e",
              "trace=sendto,sendmsg,execve", FILTER, "isolate", "--batch", BATCH)
        lines = log.read().splitlines()
    begun = sum(line.count("NFNL_MSG_BATCH_BEGIN") for line in lines)
    tap.ok(begun == 1, "two guests of a batch are one transaction", [line[:200] for line in lines])
    tap.ok(sum("execve(" in line for line in lines) == 1, "the command starts no other program", lines)


def cycles(tap):
    """Side by side in several namespaces: most of the time goes into waiting for the kernel's grace periods."""
    worlds, left = [], []
    for _ in range(SIDE_BY_SIDE):
        d, g = Ns("cycle"), Ns("peer")
        veth(d, "vif1.0", g)
        veth(d, "vif1.0-emu", g, "eth1")
        with d:
            worlds.append((d, subprocess.Popen(
                ["sh", "-c", 'n=0; while [ $n -lt %d ]; do "$@" && %s %s || exit 1; n=$((n + 1)); done' %
                 (CYCLES // SIDE_BY_SIDE, FILTER, " ".join(RELEASE)), "cycles", FILTER, "isolate", *OPEN])))
    for d, p in worlds:
        left.append((p.wait(), ruleset(d), "fixgate" in d.run("nft", "list", "hooks", "netdev", "device", "vif1.0", check=False)[1]))
    tap.ok(left == [(0, "", False)] * SIDE_BY_SIDE, "%d times isolate and release leave no table, chain, rule or hook" % CYCLES, left)


def main():
    need_root()
    tap = Tap(__file__)
    d, g, h = Ns("dom0"), Ns("guest"), Ns("guest2")
    veth(d, "vif1.0", g)
    veth(d, "vif1.0-emu", g, "eth1")
    veth(d, "vif2.0", h)
    f = Filter(d)
    tap.section(cycles)
    write_batch()
    try:
        tap.section(one_transaction, d, f)
        # What is killed tells a sanitizer nothing: there the first one is enough.
        for name, argv, before in SCENARIOS[:1] if SANITIZED else SCENARIOS:
            tap.section(killed, d, f, name, argv, before)
        for k, error in ((1, "ENOBUFS"), (1, "ENOMEM"), (4, "ENOMEM"), (5, "ENOBUFS"), (0, "EINTR")):
            tap.section(failing, d, f, *SCENARIOS[k], error)
    finally:
        os.unlink(BATCH)
    tap.done()


main()
