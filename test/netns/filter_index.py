#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests: what one guest has is found by name.  The index that leads there is always right, or it is not believed."""
import os
import random
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nslib import FILTER, UUID, UUID2, Filter, Ns, Tap, need_root  # noqa: E402

OTHERS = 12
MAC = "02:00:00:00:00:01"
SERVER = ["--mac", MAC, "--server", "10.0.0.1:443", "--server", "[2001:db8::1]:443"]
CALLS = "sendto,recvmsg,recvfrom"


def uuid(i):
    return "%08x-0000-4000-8000-000000000000" % i


def open_args(guest, *devs):
    return ["--guest", guest, "--dev", ",".join(devs)] + SERVER


def closed_args(guest, *devs):
    return ["--guest", guest, "--dev", ",".join(devs), "--mac", MAC, "--closed"]


def taps(d, names):
    d.run("ip", "-batch", "-", stdin="".join("tuntap add dev %s mode tap\n" % n for n in names))


def chains(d):
    """{name: comment} of the table"""
    text = d.run("nft", "list", "chains", "netdev", check=False)[1]
    text = d.run("nft", "list", "table", "netdev", "fixgate", check=False)[1] if "fixgate" in text else ""
    return dict(re.findall(r'chain (\S+) \{\n\t\tcomment "([^"]*)"', text)), len(re.findall(r"\tchain ", text))


def wrong(d):
    """What the index says that the chains do not, or the other way round; "" if it is right.  Worked out from nft's list only."""
    named, n = chains(d)
    want, have = {}, {k: v for k, v in named.items() if re.match(r"guest-|dev-|fixgate-index", k)}
    places = {}
    for name, comment in named.items():
        m = re.fullmatch(r"guest (\S+) mac \S+ ifindex (\d+) dev (\S+)", comment)
        if not m:
            continue
        places.setdefault(m[1], set()).add((m[2], m[3]))
        if re.fullmatch(r"(in|out)-.*-%s" % m[2], name):
            want["dev-" + m[2]] = "guest " + m[1]
    said = {}
    for name, comment in have.items():
        m = re.fullmatch(r"guest-(.{36})(-\d+)?", name)
        if m:
            words = comment.split()[1:]
            more = words[-1] == "more"
            said.setdefault(m[1], set()).update(zip(words[0:-1 if more else None:2], words[1::2]))
            after = "guest-%s-%d" % (m[1], int((m[2] or "-0")[1:]) + 1)
            if more != (after in have):
                return "%s: %s" % (name, comment)
    if said != places:
        return "guests: %s, chains: %s" % (said, places)
    devs = {k: v for k, v in have.items() if k.startswith("dev-")}
    if devs != want:
        return "devices: %s, hooks: %s" % (devs, want)
    if n and have.get("fixgate-index") != "%d chains" % n:
        return "%s, there are %d" % (have.get("fixgate-index"), n)
    return ""


def calls(d, *argv):
    with tempfile.NamedTemporaryFile("r") as log:
        rc, out = d.run("env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-qq", "-o", log.name, "-e", "trace=" + CALLS, FILTER,
                        *argv, check=False)
        lines = log.readlines()
        return rc, sum(1 for x in lines if x.startswith("recv")), any("NLM_F_DUMP" in x for x in lines)


def others(tap, d, f):
    """The same calls whether 12 or 60 others are isolated."""
    seen = []
    for first, last in ((0, OTHERS), (OTHERS, 5 * OTHERS)):
        taps(d, ["o%d" % i for i in range(first, last)])
        for i in range(first, last):
            f.ok("isolate", *(open_args if i % 2 else closed_args)(uuid(i), "o%d" % i))
        tap.ok(wrong(d) == "", "%d guests: the index says what there is" % last, wrong(d))
        for verb in ("isolate", "isolate", "verify", "release"):
            args = ["--guest", UUID] if verb == "release" else open_args(UUID, "vif1.0", "vif1.0-emu")
            rc, received, dump = calls(d, verb, *args)
            # rules are read chain by chain, which is a dump too
            tap.ok(rc == 0 and (verb == "verify" or not dump), "%s among %d: %d answers" % (verb, last, received), dump)
            seen.append(received)
        tap.ok(wrong(d) == "", "the index says what there is", wrong(d))
    tap.ok(seen[:4] == seen[4:], "with five times as many others it asks no more", seen)
    for i in range(OTHERS, 5 * OTHERS):
        f.ok("release", "--guest", uuid(i))
    tap.ok(wrong(d) == "", "released one by one: the index says what there is", wrong(d))


def many_devices(tap, d, f):
    """More than one comment names."""
    names = ["x%d" % i for i in range(64)]
    taps(d, names)
    for n in (4, 5, 9, 64):
        f.ok("isolate", *open_args(UUID, *names[:n]))
        rc, out = f("verify", *open_args(UUID, *names[:n]))
        tap.ok(rc == 0 and wrong(d) == "", "a guest with %d devices" % n, out + wrong(d))
    f.ok("isolate", *open_args(UUID, names[3]))
    tap.ok(f("verify", *open_args(UUID, *names))[0] == 0, "all stay when one is named")
    for n in names[4:]:
        d.ip("link", "del", n)
    f.ok("isolate", *open_args(UUID, names[3]))
    rc, out = f("verify", *open_args(UUID, *names[:4]))
    tap.ok(rc == 0 and wrong(d) == "", "what devices left that are gone goes with the next isolate", out + wrong(d))
    f.ok("release", "--guest", UUID)
    tap.ok(UUID not in str(chains(d)) and wrong(d) == "", "release leaves nothing of it", wrong(d))
    for n in names[:4]:
        d.ip("link", "del", n)


def damages(d):
    index = d.ifindex("vif1.0")
    table = ["netdev", "fixgate"]
    return [
        ("the count is deleted", [["delete", "chain", *table, "fixgate-index"]], True),
        ("the guest's entry is deleted", [["delete", "chain", *table, "guest-" + UUID]], True),
        ("the device's entry is deleted", [["delete", "chain", *table, "dev-%d" % index]], True),
        ("another guest's entry is deleted", [["delete", "chain", *table, "guest-" + uuid(1)]], True),
        ("all of the index is deleted", [["delete", "chain", *table, n] for n in chains(d)[0] if re.match("guest-|dev-|fixgate-index", n)], True),
        ("the count is a lie", [["delete", "chain", *table, "fixgate-index"], ["add", "chain", *table, "fixgate-index", '{ comment "7 chains"; }']], True),
        ("a chain is added", [["add", "chain", *table, "extra"]], False),
        ("a chain is added, an entry deleted: the count is right", [
            ["delete", "chain", *table, "dev-%d" % index], ["add", "chain", *table, "extra"]], False),
        ("the device is said to be another's", [["delete", "chain", *table, "dev-%d" % index], [
            "add", "chain", *table, "dev-%d" % index, '{ comment "guest %s"; }' % UUID2]], True),
        ("the guest is said to have another's device", [["delete", "chain", *table, "guest-" + UUID], [
            "add", "chain", *table, "guest-" + UUID, '{ comment "devices %d o1"; }' % d.ifindex("o1")]], True),
        ("the guest's entry has no sense", [["delete", "chain", *table, "guest-" + UUID], [
            "add", "chain", *table, "guest-" + UUID, '{ comment "devices"; }']], True),
        ("the device's entry says nothing", [["delete", "chain", *table, "dev-%d" % index], ["add", "chain", *table, "dev-%d" % index]], True),
        ("the count says nothing", [["delete", "chain", *table, "fixgate-index"], ["add", "chain", *table, "fixgate-index"]], True),
        ("a set is added", [["add", "set", *table, "extra", "{ type ether_addr; }"]], True),
    ]


def damaged(tap, d, f):
    for i in range(len(damages(d))):
        f.ok("isolate", *open_args(UUID, "vif1.0", "vif1.0-emu"))
        name, edits, stands = damages(d)[i]
        for verb in ("isolate", "release"):
            f.ok("isolate", *open_args(UUID, "vif1.0", "vif1.0-emu"))
            for argv in edits:
                d.run("nft", *argv)
            rc, out = f("verify", *open_args(UUID, "vif1.0"))
            tap.ok(rc == (0 if stands else 5), "%s: verify says %d" % (name, rc), out)
            rc, out = f("isolate", *open_args(UUID2, "vif1.0"))
            tap.ok(rc == 4 and UUID in out, "the device is still not another guest's", out)
            f.ok(verb, *(open_args(UUID, "vif1.0-emu") if verb == "isolate" else ["--guest", UUID]))
            d.run("nft", "delete", "chain", "netdev", "fixgate", "extra", check=False)
            d.run("nft", "delete", "set", "netdev", "fixgate", "extra", check=False)
            if not stands:  # it was never counted, and is not there any more
                f.ok(verb, *(open_args(UUID, "vif1.0-emu") if verb == "isolate" else ["--guest", UUID]))
            if verb == "release":
                left = {n: c for n, c in chains(d)[0].items() if UUID in n + c}
                tap.ok(not left, "release leaves nothing of the guest", left)
            else:
                rc, out = f("verify", *open_args(UUID, "vif1.0", "vif1.0-emu"))
                tap.ok(rc == 0, "both its devices are isolated after it", out)
            tap.ok(wrong(d) == "", "%s mends the index" % verb, wrong(d))
        rc, out = f("verify", *open_args(uuid(1), "o1"))
        tap.ok(rc == 0, "the others are untouched", out)
    f.ok("release", "--guest", UUID)


def lost(tap, d, f):
    """Devices that go, come back under their name and number, and are renamed."""
    f.ok("isolate", *closed_args(UUID, "vif1.0", "vif1.0-emu"))
    index = d.ifindex("vif1.0-emu")
    d.ip("link", "del", "vif1.0-emu")
    rc, out = f("verify", *closed_args(UUID, "vif1.0"))
    tap.ok(rc == 0, "a device is gone: the other one is verified", out)
    d.ip("link", "add", "vif1.0-emu", "index", str(index), "type", "veth", "peer", "name", "e9")
    rc, out = f("isolate", *closed_args(UUID2, "vif1.0-emu"))
    held = rc == 4
    tap.ok(rc in (0, 4), "the same number and name, another owner: %s" % ("refused until release" if held else "taken over"), out)
    f.ok("release", "--guest", UUID)
    f.ok("isolate", *closed_args(UUID2, "vif1.0-emu"))
    rc, out = f("verify", *closed_args(UUID2, "vif1.0-emu"))
    left = {n: c for n, c in chains(d)[0].items() if UUID in n + c}
    tap.ok(rc == 0 and not left and wrong(d) == "", "after the release it is the other guest's, nothing of the first is left", (out, left, wrong(d)))
    d.ip("link", "set", "vif1.0-emu", "name", "web9")
    f.ok("isolate", *closed_args(UUID2, "web9"))
    rc, out = f("verify", *closed_args(UUID2, "web9"))
    tap.ok(rc == 0 and wrong(d) == "", "renamed: the stale chains are found", out + wrong(d))
    f.ok("release", "--guest", UUID2)
    tap.ok(UUID2 not in str(chains(d)) and wrong(d) == "", "and released", wrong(d))
    d.ip("link", "set", "web9", "name", "vif1.0-emu")


def at_random(tap, d, f):
    """Everything that may happen, in any order."""
    seed = int(os.environ.get("FG_RANDOM_SEED", "1"))
    steps = int(os.environ.get("FG_RANDOM_STEPS", "60" if os.environ.get("FG_SANITIZED") else "250"))
    r, bad, done = random.Random(seed), [], {}
    devs = {"r%d" % i: None for i in range(8)}  # device: the guest it is isolated for
    taps(d, devs)
    for n in range(steps):
        what = r.choice(("isolate",) * 4 + ("release",) * 3 + ("device", "edit", "tear"))
        dev, guest = r.choice(sorted(devs)), uuid(0x1000 + r.randrange(3))
        owner, text = devs[dev], ""
        if what == "isolate":
            rc, text = f("isolate", *r.choice((open_args, closed_args))(guest, dev))
            if rc == 0 and owner in (None, guest):
                devs[dev] = guest
            elif rc != 4 or owner in (None, guest):
                bad.append((n, what, dev, guest, owner, rc, text))
        elif what == "release":
            f.ok("release", "--guest", guest)
            left = [k for k, v in chains(d)[0].items() if guest in k + v]
            if left:
                bad.append((n, what, guest, left))
            devs = {k: None if v == guest else v for k, v in devs.items()}
        elif what == "device":  # another one under the name; if it was isolated that is over only with the release
            d.ip("link", "del", dev)
            taps(d, [dev])
            devs[dev] = None
        elif what == "edit":
            name = r.choice(sorted(k for k in chains(d)[0] if re.match("guest-|dev-|fixgate-index", k)) or ["none"])
            d.run("nft", "delete", "chain", "netdev", "fixgate", name, check=False)
        else:
            d.run("nft", "add", "chain", "netdev", "fixgate", "extra%d" % n, check=False)
            d.run("nft", "delete", "chain", "netdev", "fixgate", "extra%d" % n, check=False)
        done[what] = done.get(what, 0) + 1
        if what == "isolate" and rc == 0 and wrong(d):
            bad.append((n, what, dev, guest, wrong(d)))
        if bad:
            break
    tap.ok(not bad, "seed %d, %s: what is isolated stays found" % (seed, done), bad)
    for i in range(3):
        f.ok("release", "--guest", uuid(0x1000 + i))
    left = [k for k, v in chains(d)[0].items() if "00001000" in k + v or "00001001" in k + v or "00001002" in k + v]
    tap.ok(not left, "and released nothing is left", left)


def last(tap, d, f):
    for i in range(OTHERS):
        f.ok("release", "--guest", uuid(i))
    text = d.run("nft", "list", "ruleset")
    tap.ok(text == "", "the last release removes the table", text)


def main():
    need_root()
    tap = Tap(__file__)
    d = Ns("dom0")
    d.ip("link", "add", "vif1.0", "type", "veth", "peer", "name", "e0")
    d.ip("link", "add", "vif1.0-emu", "type", "veth", "peer", "name", "e1")
    f = Filter(d)
    for section in (others, many_devices, damaged, lost, at_random, last):
        tap.section(section, d, f)
    tap.done()


main()
