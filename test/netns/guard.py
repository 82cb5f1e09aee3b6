#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of isolated guests on the real kernel: NICs that appear by any way, rules that somebody takes away."""
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nslib import BIN, UUID, UUID2, Filter, Ns, Raw, Tap, need_root, without_nft_part  # noqa: E402

PROBE = os.path.join(BIN, "..", "test", "probe", "fixgate-guard-probe")
GM, GM2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
BYSTANDER = "02:00:00:00:00:99"
PATIENCE_S = 20


class Host:
    """A dom0 of its own: domain 1 is UUID, domain 2 is UUID2; a probe watches it."""

    def __init__(self, start=True, probe=PROBE):
        self.probe = probe
        self.dir = tempfile.TemporaryDirectory()
        self.d, self.g = Ns("dom0"), Ns("guest")
        self.filter = Filter(self.d)
        self.p, self.buf, self.said = None, b"", []
        os.mkdir(self.path("guests"))
        self.domain(1, UUID, GM)
        self.domain(2, UUID2, BYSTANDER)
        if start:
            self.start()

    def path(self, *names):
        return os.path.join(self.dir.name, *names)

    def file(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as f:
            f.write(text)

    def domain(self, domid, uuid, mac, devid=0):
        backend = "xs/local/domain/0/backend/vif/%d/%d/" % (domid, devid)
        self.file(backend + "frontend-id", str(domid))
        self.file(backend + "mac", mac)
        self.file("xs/local/domain/%d/vm" % domid, "/vm/" + uuid)
        self.file("xs/vm/%s/uuid" % uuid, uuid)

    def guest(self, uuid, *nics):
        """What the toolstack knows: (netdev, mac[, address])…"""
        self.file("guests/" + uuid, "".join(" ".join(n) + "\n" for n in nics))

    def start(self):
        with self.d:
            self.p = subprocess.Popen([self.probe, self.dir.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=open(self.path("log"), "a"))
        self.until("ready")

    def stop(self):
        if self.p:
            self.p.stdin.close()
            rc = self.p.wait(PATIENCE_S)
            self.p.stdout.close()
            self.p = None
            return rc
        return 0

    def close(self):
        try:
            return self.stop()
        finally:
            self.d.remove()
            self.g.remove()

    def log(self):
        with open(self.path("log")) as f:
            return f.read()

    def line(self, deadline):
        while b"\n" not in self.buf:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.p.stdout], [], [], left)[0]:
                raise RuntimeError("nothing said; so far %s; log: %s" % (self.said, self.log()))
            data = os.read(self.p.stdout.fileno(), 65536)
            if not data:
                raise RuntimeError("the probe ended: %s" % self.log())
            self.buf += data
        line, self.buf = self.buf.split(b"\n", 1)
        said = json.loads(line)
        self.said.append(said)
        return said

    def until(self, *keys):
        """The next line that has one of the keys."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            said = self.line(deadline)
            if any(k in said for k in keys):
                return said

    def ask(self, *words):
        self.p.stdin.write((" ".join(words) + "\n").encode())
        self.p.stdin.flush()

    def settle(self):
        """All that happened until now was heard: the evidence of nobody is asked for after it."""
        n = len(self.said)
        for _ in range(2):  # what is read from the command pipe may overtake what is read from netlink, once
            self.ask("evidence", "00000000-0000-4000-8000-000000000000")
            self.until("evidence")
        return self.said[n:]

    def isolate(self, uuid=UUID):
        self.ask("isolate", uuid)
        return self.until("isolated", "error")

    def vif(self, name, peer, *more):
        self.d.ip("link", "add", name, *more, "type", "veth", "peer", "name", peer, "netns", self.g.name)

    def devs(self, uuid=UUID):
        guests = json.loads(self.filter.ok("list", "--json"))["guests"]
        return sorted(d["dev"] for g in guests if g["uuid"] == uuid for d in g["devs"])


def windows(said):
    return [s for s in said if "window" in s]


def hears_nothing(h, dev, peer):
    """A broadcast that the guest sends is counted by the filter, so it is dropped there."""
    h.g.ip("link", "set", peer, "up")
    h.d.ip("link", "set", dev, "up")
    before = h.filter.counters(dev=dev)
    raw = Raw(h.g, peer)
    deadline = time.monotonic() + PATIENCE_S
    counted = False
    while not counted and time.monotonic() < deadline:  # a device that has just come up drops what it is given
        raw.send(bytes.fromhex("ffffffffffff" + "020000000001" + "88b5") + b"x" * 50)
        raw.receive(0.01)
        counted = sum(h.filter.counters(dev=dev).values()) > sum(before.values())
    raw.close()
    return counted


def appearing(tap):
    h = Host()
    h.guest(UUID)
    tap.ok("isolated" in h.isolate() and h.devs() == [], "a guest without a NIC is isolated: it has a mark", h.said)
    with open(h.path("marks", UUID + ".json")) as f:
        tap.ok(json.load(f)["devs"] == [], "which names no device")
    h.vif("vif1.0", "eth0")
    h.guest(UUID, ("vif1.0", GM))
    h.until("look")
    tap.ok(h.devs() == ["vif1.0"], "a NIC that is attached later is filtered by the time anybody is asked", h.devs())
    said = h.settle()
    tap.ok(not windows(h.said), "it was never up before: there was no window", h.said)
    tap.ok(hears_nothing(h, "vif1.0", "eth0"), "it passes nothing", said)
    h.vif("vif1.0-emu", "eth1", "up")
    w = h.until("window")
    tap.ok(w["window"] == UUID and w["dev"] == "vif1.0-emu" and w["cause"] == "appeared" and w["ended"] == "filtered" and
           0 <= w["ms"] < 5000 and w["frames"] >= 0, "one that comes up at once had a window, with its length", w)
    h.settle()
    tap.ok(h.devs() == ["vif1.0", "vif1.0-emu"], "both are filtered", h.devs())
    h.vif("vif2.0", "eth2", "up")
    h.d.ip("link", "add", "vif1.7", "type", "bridge")
    n = len(h.said)
    h.settle()
    tap.ok(h.devs(UUID2) == [] and h.devs() == ["vif1.0", "vif1.0-emu"] and not windows(h.said[n:]),
           "another guest's NIC and a bridge are let alone", h.said[n:])
    tap.ok(h.close() == 0, "the probe ends in order")


def known_by_others(tap):
    h = Host()
    h.vif("vif1.0", "eth0")
    h.guest(UUID, ("vif1.0", GM), ("web1", GM2))
    h.isolate()
    h.settle()
    h.vif("web1", "eth1", "up")  # a name that says nothing: the toolstack knows it
    w = h.until("window")
    tap.ok(w["dev"] == "web1" and w["cause"] == "appeared" and w["ms"] >= 0, "vifname=: found by the toolstack's list", w)
    h.settle()
    tap.ok(h.devs() == ["vif1.0", "web1"], "and filtered", h.devs())

    h.d.ip("tuntap", "add", "dev", "vnet3", "mode", "tap")
    h.d.ip("link", "set", "vnet3", "address", "fe:" + GM[3:])
    n = len(h.said)
    h.d.ip("link", "set", "vnet3", "up")
    h.settle()
    tap.ok("vnet3" in h.devs(), "a tap of libvirt: found by its MAC", (h.devs(), h.said[n:]))

    h.file("xs/broken", "")
    n = len(h.said)
    h.guest(UUID, ("vif1.0", GM), ("web1", GM2), ("vif1.1", GM2))
    h.vif("vif1.1", "eth2")
    h.settle()
    tap.ok({"look": ""} in h.said[n:] and "vif1.1" in h.devs(), "xenstore does not answer: the toolstacks are asked", h.said[n:])
    h.close()


def renamed(tap):
    h = Host()
    h.vif("vif1.0", "eth0")
    h.guest(UUID, ("vif1.0", GM))
    h.isolate()
    h.d.ip("link", "set", "vif1.0", "up")
    h.settle()
    n = len(h.said)
    h.guest(UUID, ("web1", GM))
    if h.d.ip("link", "set", "vif1.0", "name", "web1", check=False)[0] != 0:  # older kernels: not while it is up
        for words in (["vif1.0", "down"], ["vif1.0", "name", "web1"], ["web1", "up"]):
            h.d.ip("link", "set", *words)
    h.settle()
    w = windows(h.said[n:])
    tap.ok(h.devs() == ["web1"], "renamed: filtered under the new name", (h.devs(), h.said[n:]))
    rc, out = h.filter("verify", "--guest", UUID, "--dev", "web1", "--mac", GM, "--server", "10.99.0.2:8443")
    tap.ok(rc == 0, "as it has to be", out)
    with open("/proc/sys/kernel/osrelease") as f:
        loses = [int(x) for x in f.read().split("-")[0].split(".")[:2]] >= [6, 16]
    tap.ok(not loses or (len(w) == 1 and w[0]["cause"] == "renamed" and w[0]["ms"] >= 0),
           "a kernel that takes the hook off: a window", w)
    tap.ok(hears_nothing(h, "web1", "eth0"), "it passes nothing")
    h.close()


def namespaces_and_bridges(tap):
    h = Host()
    elsewhere = Ns("elsewhere")
    h.guest(UUID)
    h.isolate()
    elsewhere.ip("link", "add", "vif1.0", "type", "veth", "peer", "name", "eth0", "netns", h.g.name)
    h.settle()
    h.guest(UUID, ("vif1.0", GM))
    elsewhere.ip("link", "set", "vif1.0", "netns", h.d.name)
    h.settle()
    tap.ok(h.devs() == ["vif1.0"], "from another namespace: filtered", (h.devs(), h.said))
    for br in ("br0", "br1"):
        h.d.ip("link", "add", br, "type", "bridge")
        h.d.ip("link", "set", br, "up")
        h.d.ip("link", "set", "vif1.0", "master", br)
        h.settle()
    tap.ok(h.devs() == ["vif1.0"] and not windows(h.said) and hears_nothing(h, "vif1.0", "eth0"),
           "moved to a bridge and to another: still filtered, no window", h.said)
    h.settle()
    n = len(h.said)
    h.d.ip("link", "set", "vif1.0", "netns", elsewhere.name)
    w = h.until("window")
    state = json.loads(elsewhere.ip("-j", "link", "show", "vif1.0"))[0]["flags"]
    tap.ok(w["cause"] == "moved" and w["dev"] == "vif1.0" and w["ended"] == "set-down" and "UP" not in state,
           "into another namespace: set down there, and told", (h.said[n:], state))
    h.settle()
    n = len(h.said)
    elsewhere.ip("link", "set", "vif1.0", "netns", h.d.name)
    h.settle()
    tap.ok(h.devs() == ["vif1.0"] and not windows(h.said[n:]), "and back: filtered before it is up", (h.devs(), h.said[n:]))
    h.d.ip("link", "set", "vif1.0", "up")
    racing = subprocess.run(["ip", "-n", h.d.name, "-batch", "-"], input="link set vif1.0 netns %s\n" % elsewhere.name,
                            text=True)
    elsewhere.ip("link", "set", "vif1.0", "up", check=False)
    h.settle()
    tap.ok(racing.returncode == 0 and windows(h.said[n:])[-1]["cause"] == "moved", "again, and set up at once: told", h.said[n:])
    h.close()
    elsewhere.remove()


def rules(tap):
    h = Host()
    h.vif("vif1.0", "eth0")
    h.vif("vif2.0", "eth2")
    h.guest(UUID, ("vif1.0", GM))
    h.guest(UUID2, ("vif2.0", BYSTANDER))
    h.isolate()
    h.isolate(UUID2)
    h.settle()
    tap.ok(not windows(h.said), "isolating makes no window", h.said)

    def chain(direction):
        out = h.d.run("nft", "list", "chains", "netdev")
        return [w for w in out.split() if w.startswith(direction + "-vif1.0-") and w.count("-") == 2][0]

    def verify(uuid=UUID, dev="vif1.0", mac=GM):
        return h.filter("verify", "--guest", uuid, "--dev", dev, "--mac", mac, "--server", "10.99.0.2:8443")

    for text, script in (
            ("the table is deleted", "delete table netdev fixgate"),
            ("the table is put to sleep", "add table netdev fixgate { flags dormant; }"),
            ("all rules are flushed", "flush table netdev fixgate"),
            ("a rule that accepts is put in front", "insert rule netdev fixgate %s accept"),
            ("a chain's policy is changed", "add chain netdev fixgate %s { policy accept; }")):
        n = len(h.said)
        h.d.run("nft", script % chain("in") if "%s" in script else script)
        w = h.until("window")
        while w["window"] != UUID:      # the other guest's was put back first
            w = h.until("window")
        rc, out = verify()
        tap.ok(rc == 0 and
               "dormant" not in h.d.run("nft", "list", "ruleset") and w["cause"] == "rules-changed" and 0 <= w["ms"] < 5000 and "by nft" in w["detail"],
               "%s: put back at once, and told" % text, (w, out))
        h.settle()
        seen = windows(h.said[n:])
        both = "table" in script
        rc, out = verify(UUID2, "vif2.0", BYSTANDER)
        tap.ok(rc == 0 and len([x for x in seen if x["window"] == UUID2]) == (1 if both else 0),
               "of the other guest: %s" % ("as well" if both else "nothing to tell"), (seen, out))
    n = len(h.said)
    h.filter.ok("release", "--guest", UUID)
    w = h.until("window")
    tap.ok(verify()[0] == 0, "the command releases a guest that stays marked: put back", w)
    n = len(h.said)
    h.settle()
    h.d.run("nft", "add table netdev other; add chain netdev other c; delete table netdev other")
    h.filter.ok("arm", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--mark-dir", h.path("marks"))
    h.settle()
    tap.ok(not windows(h.said[n:]), "another table, and vif-fixgate's arming, are no window", h.said[n:])
    h.ask("release", UUID)
    h.until("released")
    n = len(h.said)
    h.settle()
    tap.ok(h.devs() == [] and not windows(h.said[n:]), "released: stays so", h.said[n:])
    h.close()


def before_the_guard(tap):
    h = Host(start=False)
    h.file("marks/%s.json" % UUID, json.dumps({"uuid": UUID, "closed": True, "devs": [{"mac": GM}]}))
    h.vif("vif1.0", "eth0", "up")
    h.vif("vif1.0-emu", "eth1")
    h.start()
    h.settle()
    w = windows(h.said)
    tap.ok(h.devs() == ["vif1.0", "vif1.0-emu"], "NICs that are there when the guard starts are filtered", (h.devs(), h.said))
    tap.ok(len(w) == 1 and w[0]["dev"] == "vif1.0" and "ms" not in w[0], "one was up: a window of unknown length", w)
    h.stop()
    h.filter.ok("list")
    n = len(h.said)
    h.start()
    h.settle()
    tap.ok(not windows(h.said[n:]) and h.devs() == ["vif1.0", "vif1.0-emu"], "the next start finds all in order", h.said[n:])
    h.close()


def killed(tap):
    h = Host()
    h.vif("vif1.0", "eth0", "up")
    h.guest(UUID, ("vif1.0", GM))
    h.isolate()
    h.settle()
    os.kill(h.p.pid, 9)
    h.p.wait(PATIENCE_S)
    h.p.stdin.close()
    h.p.stdout.close()
    h.p = None
    tap.ok(h.devs() == ["vif1.0"] and hears_nothing(h, "vif1.0", "eth0"), "kill -9: the filter stands", h.devs())
    h.vif("vif1.0-emu", "eth1", "up")
    n = len(h.said)
    h.start()
    h.settle()
    w = windows(h.said[n:])
    tap.ok(h.devs() == ["vif1.0", "vif1.0-emu"] and [x["dev"] for x in w] == ["vif1.0-emu"] and "ms" not in w[0],
           "a NIC that came while nobody watched is filtered by the next start, and told", (h.devs(), w))
    h.close()


def beside_vif_fixgate(tap):
    """libxl's order: the vif is made, the script arms it, then it comes up.  Both arm at the same time."""
    h = Host()
    h.guest(UUID)
    h.isolate()
    h.settle()
    n = len(h.said)
    for i in range(10):
        name = "vif1.%d" % i
        h.domain(1, UUID, GM, i)
        h.vif(name, "g%d" % i)
        h.filter.ok("arm", "--guest", UUID, "--dev", name, "--mac", GM, "--mark-dir", h.path("marks"))
        h.d.ip("link", "set", name, "up")
    h.settle()
    tap.ok(len(h.devs()) == 10 and not windows(h.said[n:]), "ten vifs, armed by script and guard: no window", h.said[n:])
    h.close()


def refused(tap):
    """What cannot be filtered is set down."""
    h = Host()
    h.guest(UUID)
    h.isolate()
    h.file("marks/%s.json" % UUID, "{")  # nobody can say any more what to allow
    os.unlink(h.path("guests", UUID))
    h.vif("vif1.0", "eth0", "up")
    w = h.until("window")
    state = h.d.ip("-j", "link", "show", "vif1.0")
    tap.ok(w["ended"] == "set-down" and w["dev"] == "vif1.0" and "UP" not in json.loads(state)[0]["flags"],
           "a NIC that cannot be filtered is set down, and told", (w, state))
    h.settle()
    n = len(h.said)
    h.d.ip("link", "set", "vif1.0", "up")
    w = h.until("window")
    state = h.d.ip("-j", "link", "show", "vif1.0")
    tap.ok(w["ended"] == "set-down" and "UP" not in json.loads(state)[0]["flags"], "set up by somebody: down again", h.said[n:])
    h.guest(UUID, ("vif1.0", GM))
    h.isolate()  # the mark is whole again
    h.settle()
    state = h.d.ip("-j", "link", "show", "vif1.0")
    tap.ok(h.devs() == ["vif1.0"] and "UP" in json.loads(state)[0]["flags"], "filtered later: up again", state)
    h.close()


def missing_part(tap):
    """ENOENT is not only what the kernel says of a device that is gone."""
    with tempfile.TemporaryDirectory() as d:
        h = Host(start=False, probe=os.path.join(d, "probe"))
        without_nft_part(PROBE, h.probe)
        h.start()
        h.guest(UUID)
        h.isolate()
        h.settle()
        h.vif("vif2.0", "eth2", "up")
        h.vif("vif1.0", "eth0", "up")
        h.settle()
        w = windows(h.said)
        up = [x["ifname"] for x in json.loads(h.d.ip("-j", "link")) if "UP" in x["flags"] and "vif" in x["ifname"]]
        tap.ok(len(w) == 1 and w[0]["dev"] == "vif1.0" and w[0]["ended"] == "set-down" and up == ["vif2.0"],
               "a part of nf_tables is missing: the NIC is set down, and told", (w, up))
        h.close()


def storm(tap):
    """More notifications than the queue holds: nothing is missed."""
    h = Host()
    h.guest(UUID)
    h.isolate()
    h.settle()
    os.kill(h.p.pid, 19)  # SIGSTOP: it cannot read
    h.d.ip("link", "add", "br0", "type", "bridge")
    script = "".join("link set br0 mtu %d\n" % (1000 + i % 2) for i in range(12000))
    sub = subprocess.run(["ip", "-n", h.d.name, "-batch", "-"], input=script, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    h.vif("vif1.0", "eth0", "up")
    h.guest(UUID, ("vif1.0", GM))
    os.kill(h.p.pid, 18)  # SIGCONT
    w = h.until("window")
    h.settle()
    tap.ok(h.devs() == ["vif1.0"] and w["dev"] == "vif1.0" and w["ms"] >= 0, "a storm of notifications: filtered", (w, sub.stdout))
    lost = "were lost" in h.log()
    tap.ok(not lost or w.get("at_most"), "the length is %s" % ("an upper bound: some were lost" if lost else "known"), w)
    h.close()


def marks_unreadable(tap):
    """What happens while the marks cannot be read is made good when they can."""
    h = Host()
    h.vif("vif1.0", "eth0")
    h.guest(UUID, ("vif1.0", GM))
    h.isolate()
    h.settle()
    os.rename(h.path("marks"), h.path("elsewhere"))
    h.file("marks", "")
    h.vif("vif1.0-emu", "eth1", "up")
    h.settle()
    tap.ok("marks of isolated guests" in h.log(), "the folder of marks cannot be read: said", h.log())
    os.unlink(h.path("marks"))
    os.rename(h.path("elsewhere"), h.path("marks"))
    n = len(h.said)
    h.d.ip("link", "add", "br0", "type", "bridge")  # any event
    h.settle()
    w = windows(h.said[n:])
    tap.ok(h.devs() == ["vif1.0", "vif1.0-emu"] and len(w) == 1 and w[0]["dev"] == "vif1.0-emu" and w[0]["ms"] >= 0,
           "then the NIC that came meanwhile is filtered and told", (h.devs(), h.said[n:]))
    h.close()


def leak(tap):
    """What a window says about frames is never too little."""
    h = Host()
    h.guest(UUID)
    h.isolate()
    h.d.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    h.d.ip("link", "set", "br0", "up")
    outside = Ns("outside")
    h.d.ip("link", "add", "port", "type", "veth", "peer", "name", "wire", "netns", outside.name)
    h.d.ip("link", "set", "port", "up", "master", "br0")
    outside.ip("link", "set", "wire", "up")
    ear = Raw(outside, "wire")
    h.settle()
    evil = bytes.fromhex("ffffffffffff" + "020000000001" + "88b5") + b"x" * 50
    for n in range(5):
        os.kill(h.p.pid, 19)  # SIGSTOP: the worst case, an agent that is late
        h.vif("vif1.%d" % n, "g%d" % n, "up", "master", "br0")
        h.domain(1, UUID, GM, n)
        h.g.ip("link", "set", "g%d" % n, "up")
        raw = Raw(h.g, "g%d" % n)
        deadline = time.monotonic() + PATIENCE_S
        heard = 0
        while heard < 20 and time.monotonic() < deadline:
            raw.send(evil)
            frame = ear.receive(0.01)
            heard += frame == evil
        os.kill(h.p.pid, 18)
        w = h.until("window")
        for _ in range(20):
            raw.send(evil)
        raw.close()
        h.settle()
        h.d.ip("link", "set", "vif1.%d" % n, "nomaster")
        leaked = heard + ear.pending().count(evil)
        tap.ok(w["frames"] >= leaked >= 20, "vif1.%d: the window tells of %d frames, %d leaked" %
               (n, w["frames"], leaked), w)
    tap.ok(len(h.devs()) == 5, "all are filtered", h.devs())
    h.close()
    outside.remove()


def evidence(tap):
    h = Host()
    h.vif("vif1.0", "eth0")
    h.guest(UUID, ("vif1.0", GM))
    h.isolate()
    tap.ok(hears_nothing(h, "vif1.0", "eth0") and hears_nothing(h, "vif1.0", "eth0"), "two frames are dropped")

    def total(side="from_guest"):
        h.ask("evidence", UUID)
        e = h.until("evidence")["evidence"]
        return sum(c["frames"] for c in e[side].values()), e

    first, e = total()
    tap.ok(first >= 2 and e["devs"] == ["vif1.0"], "what was dropped is counted by reason", e)
    h.isolate()
    tap.ok(total()[0] >= first, "isolating again loses no count", total())
    h.d.run("nft", "delete", "table", "netdev", "fixgate")
    h.until("window")
    hears_nothing(h, "vif1.0", "eth0")
    again, e = total()
    tap.ok(again > 0, "rules that were put back count on", (again, e))
    h.d.ip("link", "set", "vif1.0", "down")
    h.settle()
    h.d.ip("link", "del", "vif1.0")
    h.settle()
    gone, e = total()
    tap.ok(gone >= again and e["devs"] == [], "a NIC that is gone stays counted", (gone, e))
    h.ask("release", UUID)
    h.until("released")
    after, e = total()
    tap.ok(after >= gone, "also after the release, for its report", e)
    h.close()


def reaches_server(h, timeout=5.0):
    with h.g:
        c = socket.socket()
    c.settimeout(timeout)
    try:
        c.connect(("10.99.0.2", 8443))
        return True
    except OSError:
        return False
    finally:
        c.close()


def boot(h):
    """The guest's side of a vif."""
    h.g.ip("link", "set", "eth0", "address", GM, "up")
    h.g.ip("addr", "add", "10.1.0.5/24", "dev", "eth0")
    h.g.ip("route", "add", "default", "via", "10.1.0.1")


def route(h):
    """What vif-route does."""
    h.d.ip("link", "set", "vif1.0", "up")
    h.d.ip("addr", "add", "10.1.0.1/32", "dev", "vif1.0")
    h.d.sysctl("net/ipv4/conf/vif1.0/proxy_arp", "1")
    h.d.ip("route", "add", "10.1.0.5", "dev", "vif1.0", "src", "10.1.0.1")


def routed(tap):
    """No bridge, dom0 routes: the server is reached by the vif's own MAC, also after a reboot of the guest."""
    h, server = Host(), Ns("server")
    h.d.sysctl("net/ipv4/ip_forward", "1")
    h.d.ip("link", "add", "srv0", "type", "veth", "peer", "name", "eth0", "netns", server.name)
    h.d.ip("link", "set", "srv0", "up")
    h.d.ip("addr", "add", "10.99.0.1/24", "dev", "srv0")
    server.ip("link", "set", "eth0", "up")
    server.ip("addr", "add", "10.99.0.2/24", "dev", "eth0")
    server.ip("route", "add", "default", "via", "10.99.0.1")
    with server:
        listener = socket.create_server(("10.99.0.2", 8443))
    h.vif("vif1.0", "eth0", "address", "fe:ff:ff:ff:ff:ff")
    route(h)
    boot(h)
    tap.ok(reaches_server(h), "not isolated: the guest reaches the server")
    h.guest(UUID, ("vif1.0", GM, "10.1.0.5"))
    said = h.isolate()
    tap.ok("isolated" in said and reaches_server(h), "isolated: it still does", (said, h.filter.counters()))
    with open(h.path("marks", UUID + ".json")) as f:
        mark = json.load(f)
    tap.ok(mark.get("routed") is True and mark["gateways"] == [{"address": "10.1.0.1"}], "the mark says that dom0 routes, and its address", mark)
    h.d.ip("link", "del", "vif1.0")
    h.settle()
    h.vif("vif1.0", "eth0", "address", "fe:ff:ff:ff:ff:ff")  # the guest starts again; vif-route has not run
    h.until("look")
    h.isolate()
    h.settle()
    route(h)
    boot(h)
    tap.ok(h.devs() == ["vif1.0"] and reaches_server(h), "a vif that appears before its route: what the mark says stands",
           h.filter.counters())
    h.d.ip("link", "add", "br0", "type", "bridge")
    h.d.ip("link", "set", "vif1.0", "master", "br0")
    h.isolate()
    h.settle()
    with open(h.path("marks", UUID + ".json")) as f:
        mark = json.load(f)
    tap.ok("routed" not in mark and "mac" not in mark["servers"][0], "on a bridge it is not routed any more", mark)
    listener.close()
    tap.ok(h.close() == 0, "the probe ends in order")
    server.remove()


def main():
    need_root()
    tap = Tap(__file__)
    if not os.path.exists(PROBE) or not shutil.which("nft"):
        print("1..0 # SKIP needs %s and nft" % PROBE)
        return
    for section in (appearing, known_by_others, renamed, namespaces_and_bridges, rules, before_the_guard, killed,
                    beside_vif_fixgate, refused, missing_part, storm,
                    marks_unreadable, leak, evidence, routed):
        tap.section(section)
    tap.done()


main()
