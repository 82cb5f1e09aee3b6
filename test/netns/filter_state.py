#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter leaves in the kernel: all or nothing, again and again, and what verify sees."""
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames import *  # noqa: E402,F403
from nslib import FILTER, UUID, UUID2, Filter, Ns, Raw, Tap, need_root, ruleset, veth  # noqa: E402

SLOW = 5 if os.environ.get("FG_SANITIZED") else 1  # the sanitizer build looks for other faults: fewer repetitions
GM, GM2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
COMMON = ["--mac", GM, "--ip", "10.0.0.2", "--ip", "2001:db8::2", "--server", "10.0.0.1:443", "--server",
          "[2001:db8::1]:443", "--server-mac", "02:00:00:00:00:09", "--gateway", "10.0.0.254"]
ONE = ["--guest", UUID, "--dev", "vif1.0"] + COMMON
TWO = ["--guest", UUID, "--dev", "vif1.0,vif1.0-emu"] + COMMON


def refusals(tap, d, f):
    for name, kind in (("br9", ["type", "bridge"]), ("dum9", ["type", "dummy"]), ("bond9", ["type", "bond"])):
        rc, out = d.ip("link", "add", name, *kind, check=False)
        if rc != 0:
            tap.ok(True, "%s # SKIP this kernel has none" % name)
            continue
        rc, out = f("isolate", "--guest", UUID, "--dev", name, *COMMON)
        tap.ok(rc == 4 and name in out, "%s device is refused" % kind[1], out)
        rc, out = f("isolate", "--guest", UUID, "--dev", "vif1.0," + name, *COMMON)
        tap.ok(rc == 4 and ruleset(d) == "", "one refused device refuses the request: nothing is changed", ruleset(d))
        d.ip("link", "del", name)
    rc, out = f("isolate", "--guest", UUID, "--dev", "lo", *COMMON)
    tap.ok(rc == 4 and ruleset(d) == "", "loopback is refused", out)
    rc, out = f("isolate", "--guest", UUID, "--dev", "vif9.9", *COMMON)
    tap.ok(rc == 3 and ruleset(d) == "", "a device that is not there: exit status 3", out)
    rc, out = f("isolate", "--guest", UUID, "--dev", "vif1.0,vif9.9", *COMMON)
    tap.ok(rc == 3 and ruleset(d) == "", "one missing device: nothing is changed", out)
    d.run("ip", "tuntap", "add", "tun9", "mode", "tun")
    rc, out = f("isolate", "--guest", UUID, "--dev", "tun9", *COMMON)
    tap.ok(rc == 4, "a tun device is refused", out)
    d.ip("link", "del", "tun9")
    d.run("ip", "tuntap", "add", "tap9", "mode", "tap")
    rc, out = f("isolate", "--guest", UUID, "--dev", "tap9", *COMMON)
    tap.ok(rc == 0, "a tap device is a guest's", out)
    f.ok("release", "--guest", UUID)
    d.ip("link", "del", "tap9")
    rc, out = f("isolate", "--json", "--guest", UUID, "--dev", "lo", *COMMON)
    tap.ok(rc == 4 and json.loads(out)["error"]["code"] == "refused", "--json on errors", out)
    rc, out = f("isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--json")
    tap.ok(rc == 2 and json.loads(out)["error"]["code"] == "usage", "--json on usage errors", out)
    rc, out = f("release", "--guest", UUID)
    tap.ok(rc == 0, "releasing a guest that has nothing is no error", out)
    rc, out = f("verify", *ONE)
    tap.ok(rc == 5, "verify of a guest that is not isolated: exit status 5", out)


CODES = {1: "failed", 2: "usage", 3: "not-found", 4: "refused", 5: "differs", 6: "not-allowed", 8: "format", 9: "limit"}


def errors(tap, d, f):
    """Every verb: with --json a failure is one object whose code says the same as the exit status."""
    missing = ["--guest", UUID, "--dev", "vif9.9"] + COMMON
    capture = ["simulate"] + ONE
    uncap = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", FILTER]
    with tempfile.TemporaryDirectory() as t:
        bad = os.path.join(t, "bad.pcap")
        with open(bad, "wb") as out:
            out.write(b"\xd4\xc3\xb2\xa1\2\0\4\0" + b"\0" * 8 + b"\xff\xff\0\0\1\0\0\0" + b"\0" * 8 + b"\xff\xff\xff\x7f" * 2)
        for argv, want in (
                (["isolate", *missing], 3), (["isolate", *ONE, "--rate", "x"], 2), (["isolate", "--guest", UUID, "--dev", "lo", *COMMON], 4),
                (["isolate", "--batch", t + "/none"], 3), (["release"], 2), (["release", "--guest", "x"], 2), (["list", "more"], 2),
                (["verify", *ONE], 5), (["verify", *missing], 3), (["arm", "--guest", UUID, "--dev", "vif1.0", "--mark-dir", t], 3),
                (capture, 2), (capture + [t + "/none"], 3), (capture + ["/dev/null"], 8), (capture + [bad], 9),
                (["frobnicate"], 2), ([], 2)):
            rc, out = f(*argv[:1], "--json", *argv[1:])
            error = json.loads(out.splitlines()[-1])["error"]
            tap.ok(rc == want and error["code"] == CODES[rc] and error["text"], "--json: %s: %s" % (" ".join(argv)[:60], error["code"]), out)
            rc, out = f(*argv)
            tap.ok(rc == want and out.startswith("netback-filter: "), "as text: the same exit status", out)
        for argv in (["isolate", *ONE], ["release", "--guest", UUID], ["list"], ["verify", *ONE]):
            rc, out = d.run(*uncap, argv[0], "--json", *argv[1:], check=False)
            tap.ok(rc == 6 and json.loads(out)["error"]["code"] == "not-allowed", "%s without CAP_NET_ADMIN: exit status 6" % argv[0], out)
    rc, out = d.run("sh", "-c", "%s list --json >/dev/full" % FILTER, check=False)
    tap.ok(rc == 14, "standard output that is full: exit status 14", out)
    tap.ok(ruleset(d) == "", "none of it changed anything", ruleset(d))


def batches(tap, d, f):
    def guest(i, dev="vif1.0", **kw):
        return {"uuid": "%08x-0000-4000-8000-000000000000" % i, "closed": True, "devs": [{"name": dev, "mac": GM}], **kw}
    two = [guest(1), guest(2, "vif2.0")]
    for name, text, want in (
            ("nothing", "", 8), ("no object", "[]", 8), ("another key", json.dumps({"guests": [], "force": True}), 8),
            ("guests that are no list", '{"guests":{}}', 8), ("a guest with another key", json.dumps({"guests": [guest(1, allow="all")]}), 8),
            ("a guest without UUID", json.dumps({"guests": [{"closed": True, "devs": []}]}), 8),
            ("a guest without devices", json.dumps({"guests": [dict(guest(1), devs=[])]}), 2),
            ("the same guest twice", json.dumps({"guests": [guest(1), guest(1, "vif2.0")]}), 2),
            ("the same device twice", json.dumps({"guests": [guest(1), guest(2)]}), 2),
            ("a device that is not there", json.dumps({"guests": two + [guest(3, "vif9.9")]}), 3),
            ("a device that is no guest's", json.dumps({"guests": two + [guest(3, "lo")]}), 4),
            ("65 devices", json.dumps({"guests": [dict(guest(1), devs=guest(1)["devs"] * 65)]}), 9),
            ("16,385 guests", json.dumps({"guests": [guest(i) for i in range(16385)]}), 9),
            ("2,000 brackets", "[" * 2000, 8), ("over 64 MiB", " " * ((64 << 20) + 1), 9)):
        rc, out = f("isolate", "--json", "--batch", "-", stdin=text)
        tap.ok(rc == want and json.loads(out)["error"]["code"] == CODES[rc] and ruleset(d) == "",
               "batch: %s: %s, nothing changed" % (name, CODES.get(rc)), out[:300])
    with tempfile.NamedTemporaryFile("w", suffix=".json") as t:
        json.dump({"guests": two}, t)
        t.flush()
        rc, out = f("isolate", "--json", "--batch", t.name)
        tap.ok(rc == 0 and json.loads(out) == {"ok": True}, "batch: from a file", out)
    for g in two:
        rc, out = f("verify", "--guest", g["uuid"], "--dev", g["devs"][0]["name"], "--mac", GM, "--closed")
        tap.ok(rc == 0, "batch: each guest is verified", out)
        f.ok("release", "--guest", g["uuid"])
    rc, out = f("isolate", "--batch", "-", stdin='{"guests":[]}')
    tap.ok(rc == 0 and ruleset(d) == "", "batch: of no guest: nothing is done", out)


def idempotent(tap, d, f):
    f.ok("isolate", *TWO)
    first = ruleset(d)
    f.ok("isolate", *TWO)
    tap.ok(ruleset(d) == first, "isolating again changes nothing")
    f.ok("isolate", "--guest", UUID, "--dev", "vif1.0,vif1.0-emu", "--mac", GM, "--closed")
    rc, out = f("verify", *TWO)
    tap.ok(rc == 5, "verify sees other parameters", out)
    f.ok("isolate", *TWO)
    tap.ok(ruleset(d) == first, "closed and opened again: as before")
    f.ok("isolate", *ONE)
    tap.ok(ruleset(d) == first, "a device that is isolated already stays so when it is not named")
    rc, out = f("verify", *ONE)
    tap.ok(rc == 0, "verify covers it too", out)
    rc, out = f("isolate", "--guest", UUID2, "--dev", "vif1.0", *COMMON)
    tap.ok(rc == 4 and UUID in out and ruleset(d) == first, "a device of another isolated guest is refused", out)
    f.ok("isolate", "--guest", UUID2, "--dev", "vif2.0", *COMMON)
    f.ok("release", "--guest", UUID)
    left = f.ok("list")
    tap.ok(UUID2 in left and UUID not in left, "release takes one guest's only")
    tap.ok(f("verify", "--guest", UUID2, "--dev", "vif2.0", *COMMON)[0] == 0, "the other guest's is untouched")
    f.ok("release", "--guest", UUID2)
    tap.ok(ruleset(d) == "", "nothing is left", ruleset(d))


def verify_sees(tap, d, f):
    index = d.ifindex("vif1.0")
    chain = "in-vif1.0-%d" % index

    def handle(part, what):
        for line in d.run("nft", "-a", "list", "chain", "netdev", "fixgate", chain + part).splitlines():
            if what in line:
                return line.split()[-1]
        raise RuntimeError("no rule %s in %s" % (what, chain + part))

    # What is done, and what verify says that differs.
    changes = [
        ("an added rule", "rule 9 should not be there", ["add", "rule", "netdev", "fixgate", chain, "accept"]),
        ("an inserted rule", chain + "-ip4: rule 1 (ip-options)", ["insert", "rule", "netdev", "fixgate", chain + "-ip4", "accept"]),
        ("a deleted rule", chain + ": rule 2 (spoofed-mac) is missing", lambda: ["delete", "rule", "netdev", "fixgate", chain, "handle", handle("", "spoofed-mac")]),
        ("a deleted last rule", chain + "-ok: rule 11 (spoofed-address) is", lambda: ["delete", "rule", "netdev", "fixgate", chain + "-ok", "handle",
                                         handle("-ok", "spoofed-address")]),
        ("a replaced rule", chain + "-ok: rule 11 (spoofed-address) is", lambda: ["replace", "rule", "netdev", "fixgate", chain + "-ok", "handle",
                                     handle("-ok", "spoofed-address"), "counter", "accept", "comment", "spoofed-address"]),
        ("a flushed chain", chain + "-arp: rule 1 (arp) is missing", ["flush", "chain", "netdev", "fixgate", chain + "-arp"]),
        ("an added chain", "chain extra in table fixgate is not ours", ["add", "chain", "netdev", "fixgate", "extra"]),
        ("an added base chain", "chain extra in table fixgate is not ours", ["add", "chain", "netdev", "fixgate", "extra",
                                 "{ type filter hook ingress device vif1.0 priority -5; }"]),
        ("a changed policy", "ingress: priority or policy of the hook was change", ["add", "chain", "netdev", "fixgate", chain,
                              "{ type filter hook ingress device vif1.0 priority -2147483648; policy accept; }"]),
        ("a flushed table", chain + ": rule 1 is missing", ["flush", "table", "netdev", "fixgate"]),
        ("a deleted table", "vif1.0: ingress: is not isolated", ["delete", "table", "netdev", "fixgate"]),
        ("a flushed ruleset", "vif1.0: ingress: is not isolated", ["flush", "ruleset"]),
    ]
    for name, named, argv in changes:
        f.ok("isolate", *ONE)
        rc, out = f("verify", *ONE)
        tap.ok(rc == 0, "verify before %s" % name, out)
        d.run("nft", *(argv() if callable(argv) else argv))
        rc, out = f("verify", *ONE)
        tap.ok(rc == 5 and named in out, "verify sees %s: %s" % (name, out.strip().rpartition(UUID)[2][2:60]), out)
        f.ok("isolate", *ONE)
        rc, out = f("verify", *ONE)
        if "added" in name and "chain" in name:
            tap.ok(rc == 5, "what is not ours is not deleted", out)
            d.run("nft", "delete", "chain", "netdev", "fixgate", "extra")
            rc, out = f("verify", *ONE)
        tap.ok(rc == 0, "isolating again mends it", out)
    rc, out = f("verify", *ONE, "--rate", "7")
    tap.ok(rc == 5, "verify sees another rate", out)
    rc, out = f("verify", *ONE, "--ip", "10.0.0.99")
    tap.ok(rc == 5, "verify sees another address", out)
    f.ok("release", "--guest", UUID)


def dormant(tap, d, g, f):
    """A table that is switched off has all its rules."""
    frame = eth(mac(GM), mac(GM2), 0x88b6, b"x" * 50)
    back, out = Raw(g, "eth0"), Raw(d, "vif1.0")

    def passes():
        back.pending()
        out.send(frame)
        return frame in back.pending()
    other = ["--guest", UUID2, "--dev", "vif2.0"] + COMMON
    for name, argv in (("the same", ONE), ("closed", ["--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--closed"]),
                       ("one more device", TWO), ("another MAC", [GM2 if x == GM else x for x in ONE]), ("another guest", other)):
        f.ok("isolate", *ONE)
        d.run("nft", "add", "table", "netdev", "fixgate", "{ flags dormant; }")
        rc, text = f("verify", *ONE)
        tap.ok(rc == 5 and "dormant" in text and passes(), "a dormant table lets all pass, and verify says so", text)
        f.ok("isolate", *argv)
        rc, text = f("verify", *argv)
        tap.ok(rc == 0 and "dormant" not in ruleset(d) and not passes(), "isolate (%s) wakes it" % name, text)
        f.ok("release", "--guest", UUID), f.ok("release", "--guest", UUID2)
        tap.ok(ruleset(d) == "", "nothing is left", ruleset(d))
    back.close(), out.close()


def recreated(tap, d, g, f):
    """A device deleted and made again under the same name is another device."""
    f.ok("isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--closed")
    out, back = Raw(d, "vif1.0"), Raw(g, "eth0")
    frame = eth(mac(GM), mac(GM2), 0x88b6, b"x" * 50)
    out.send(frame)
    tap.ok(not back.pending(), "closed device passes nothing")
    out.close(), back.close()
    d.ip("link", "del", "vif1.0")
    veth(d, "vif1.0", g)
    out, back = Raw(d, "vif1.0"), Raw(g, "eth0")
    out.send(frame)
    tap.ok(back.receive() == frame, "the new one inherits nothing")
    rc, said = f("isolate", "--guest", UUID2, "--dev", "vif1.0", *COMMON)
    tap.ok(rc == 0, "it can be isolated for another guest", said)
    tap.ok(f("verify", "--guest", UUID2, "--dev", "vif1.0", *COMMON)[0] == 0, "and verified")
    out.send(frame)
    tap.ok(not back.pending(), "and is filtered")
    f.ok("release", "--guest", UUID)
    tap.ok(f("verify", "--guest", UUID2, "--dev", "vif1.0", *COMMON)[0] == 0, "releasing the first guest does not touch it")
    f.ok("release", "--guest", UUID2)
    tap.ok(ruleset(d) == "", "nothing is left", ruleset(d))
    out.close(), back.close()


def renamed(tap, d, g, f):
    frame = eth(mac(GM), mac(GM2), 0x88b6, b"x" * 50)
    back = Raw(g, "eth0")

    def rename(a, b):
        d.ip("link", "set", a, "down")
        d.ip("link", "set", a, "name", b)
        d.ip("link", "set", b, "up")

    def passes(dev):
        out = Raw(d, dev)
        back.pending()
        out.send(frame)
        seen = frame in back.pending()
        out.close()
        return seen
    with tempfile.TemporaryDirectory() as marks:
        with open(os.path.join(marks, UUID + ".json"), "w") as m:
            json.dump({"uuid": UUID, "closed": True, "devs": [{"mac": GM}]}, m)
        f.ok("arm", "--guest", UUID, "--dev", "vif1.0", "--rename-to", "web1", "--mark-dir", marks)
        closed = ["--guest", UUID, "--mac", GM, "--closed"]
        tap.ok(f("verify", "--dev", "vif1.0", *closed)[0] == 0 and not passes("vif1.0"), "armed before a rename")
        rename("vif1.0", "web1")
        tap.ok(not passes("web1"), "armed over the rename: not one frame")
        rc, out = f("verify", "--dev", "web1", *closed)
        tap.ok(rc == 0, "verify finds it under the new name", out)
        rename("web1", "else1")
        f.ok("isolate", "--dev", "else1", *closed)
        rc, out = f("verify", "--dev", "else1", *closed)
        tap.ok(rc == 0 and not passes("else1"), "an unforeseen rename: isolating again follows it", out)
        rename("else1", "vif1.0")
        f.ok("isolate", "--dev", "vif1.0", *closed)
        tap.ok(f("verify", "--dev", "vif1.0", *closed)[0] == 0 and not passes("vif1.0"), "and back")
        f.ok("arm", "--guest", UUID, "--dev", "vif1.0-emu", "--mac", GM, "--mark-dir", marks)
        listed = {x["dev"]: x["closed"] for x in json.loads(f.ok("list", "--json"))["guests"][0]["devs"]}
        tap.ok(listed == {"vif1.0": True, "vif1.0-emu": True}, "arm adds a device to those the guest has", listed)
        for text, rc in (("{", 8), ("{}", 8), ("", 8),
                         ('{"uuid":"%s","closed":true,"devs":[{"mac":"%s"}]}' % (UUID2, GM), 8),
                         ('{"uuid":"%s","closed":true,"open":1,"devs":[{"mac":"%s"}]}' % (UUID, GM), 8)):
            with open(os.path.join(marks, UUID + ".json"), "w") as m:
                m.write(text)
            got, out = f("arm", "--guest", UUID, "--dev", "vif2.0", "--mac", GM, "--mark-dir", marks)
            tap.ok(got == rc, "malformed mark %r: exit status %d" % (text[:40], rc), out)
        got, out = f("arm", "--guest", UUID2, "--dev", "vif2.0", "--mac", GM, "--mark-dir", marks)
        tap.ok(got == 3, "no mark: exit status 3", out)
    f.ok("release", "--guest", UUID)
    tap.ok(ruleset(d) == "", "nothing is left", ruleset(d))
    back.close()


def no_gap(tap, d, g, f):
    """Forbidden frames all the time while the rules are replaced 200 times."""
    f.ok("isolate", *ONE)
    out, back = Raw(g, "eth0"), Raw(d, "vif1.0")
    src, inward = mac(GM), Raw(g, "eth0")
    forbidden = eth(BROADCAST, src, 0x0800, ip4("10.0.0.2", "10.0.0.3", 6, tcp("10.0.0.2", "10.0.0.3", 1, 443)))
    back.close()
    d.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    d.ip("link", "set", "vif1.0", "master", "br0")
    d.ip("link", "set", "vif2.0", "master", "br0")
    d.ip("link", "set", "br0", "up")
    h = [n for n in Ns.all if n.label == "guest2"][0]
    seen = Raw(h, "eth0")
    from_other = Raw(h, "eth0")
    wire = eth(mac(GM), mac(GM2), 0x88b6, b"x" * 50)
    stop, sent = threading.Event(), [0, 0]

    def flood():
        while not stop.is_set():
            for _ in range(20):
                out.send(forbidden)
                from_other.send(wire)
                sent[0] += 1
            time.sleep(0.0002)
    t = threading.Thread(target=flood)
    seen.pending(), inward.pending()
    t.start()
    try:
        for i in range(200 // SLOW):
            if i % 3 == 0:
                f.ok("isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--closed")
            else:
                f.ok("isolate", *ONE, "--ip", "10.0.1.%d" % (i % 250 + 1))
    finally:
        stop.set()
        t.join()
    leaked = [x for x in seen.pending() if x == forbidden] + [x for x in inward.pending() if x == wire]
    tap.ok(sent[0] > 1000 and not leaked, "no gap: %d forbidden frames each way during %d replacements, none passes" % (sent[0], 200 // SLOW),
           "%d passed" % len(leaked))
    for s in (out, seen, from_other, inward):
        s.close()
    f.ok("release", "--guest", UUID)
    d.ip("link", "del", "br0")


def disturbed(tap, d, f):
    """Another program changes nf_tables all the time: the transaction is computed again, never half applied."""
    argv = ["ip", "netns", "exec", d.name, "sh", "-c",
            "while :; do nft add table ip noise; nft delete table ip noise; done"]
    p = subprocess.Popen(argv, start_new_session=True)
    try:
        for _ in range(15):
            f.ok("isolate", *TWO)
            rc, out = f("verify", *TWO)
            if rc != 0:
                break
            f.ok("list")
    finally:
        os.killpg(p.pid, 9)
        p.wait()
    tap.ok(rc == 0, "15 isolations while another program changes nf_tables", out)
    d.run("nft", "delete", "table", "ip", "noise", check=False)
    f.ok("release", "--guest", UUID)


def many(tap, f_ns):
    """1,000 guests in one transaction."""
    n = 1000 // SLOW
    f = Filter(f_ns)
    f_ns.run("ip", "-batch", "-", stdin="".join("tuntap add dev vif%d.0 mode tap\n" % i for i in range(n)))
    guests = [{"uuid": "%08x-0000-4000-8000-000000000000" % i, "closed": False,
               "devs": [{"name": "vif%d.0" % i, "mac": "02:00:00:00:%02x:%02x" % (i >> 8, i & 255)}],
               "addresses": ["10.%d.%d.2" % (i >> 8, i & 255), "2001:db8::%x" % (i + 16)],
               "servers": [{"address": "10.255.0.1", "port": 443, "mac": "02:00:00:00:ff:09"},
                           {"address": "2001:db8::1", "port": 443, "mac": "02:00:00:00:ff:09"}],
               "gateways": [{"address": "10.255.0.254", "mac": "02:00:00:00:ff:fe"}], "rate": 5000} for i in range(n)]
    began = time.monotonic()
    rc, out = f("isolate", "--batch", "-", stdin=json.dumps({"guests": guests}))
    span = time.monotonic() - began
    tap.ok(rc == 0, "%d guests in one transaction, %.2f s" % (n, span), out)
    listed = json.loads(f.ok("list", "--json"))["guests"]
    tap.ok(len(listed) == n, "all are listed", len(listed))
    g = guests[n // 2]
    rc, out = f("verify", "--guest", g["uuid"], "--dev", g["devs"][0]["name"], "--mac", g["devs"][0]["mac"],
                "--ip", g["addresses"][0], "--ip", g["addresses"][1], "--server", "10.255.0.1:443", "--server",
                "[2001:db8::1]:443", "--server-mac", "02:00:00:00:ff:09", "--gateway", "10.255.0.254",
                "--gateway-mac", "02:00:00:00:ff:fe", "--rate", "5000")
    tap.ok(rc == 0, "one of them verified", out)
    bad = [dict(x) for x in guests]
    bad[-1] = dict(bad[-1], devs=[{"name": "lo", "mac": GM}])
    before = len(listed)
    rc, out = f("isolate", "--batch", "-", stdin=json.dumps({"guests": bad}))
    tap.ok(rc == 4 and len(json.loads(f.ok("list", "--json"))["guests"]) == before, "one bad guest refuses the batch", out)
    began = time.monotonic()
    rc, out = f("isolate", "--batch", "-", stdin=json.dumps({"guests": guests}))
    tap.ok(rc == 0, "all of them replaced in one transaction, %.2f s" % (time.monotonic() - began), out)


def main():
    need_root()
    tap = Tap(__file__)
    d, g, h = Ns("dom0"), Ns("guest"), Ns("guest2")
    for ns, label in ((d, "dom0"), (g, "guest"), (h, "guest2")):
        ns.label = label
    Ns.all = [d, g, h]
    veth(d, "vif1.0", g)
    veth(d, "vif1.0-emu", g, "eth1")
    veth(d, "vif2.0", h)
    f = Filter(d)
    tap.section(refusals, d, f)
    tap.section(errors, d, f)
    tap.section(batches, d, f)
    tap.section(idempotent, d, f)
    tap.section(verify_sees, d, f)
    tap.section(dormant, d, g, f)
    tap.section(recreated, d, g, f)
    tap.section(renamed, d, g, f)
    tap.section(no_gap, d, g, f)
    tap.section(disturbed, d, f)
    tap.section(many, Ns("many"))
    tap.done()


main()
