#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""netback-filter restore: after a reboot (no table, the marks are there) the quarantine stands again."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nslib import BIN, FILTER, UUID, UUID2, Filter, Ns, Tap, need_root, without_nft_part  # noqa: E402

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
UNITS = os.path.join(TOP, "dom0-agent", "systemd")
GM, GM2, GM3 = "02:00:00:00:00:01", "02:00:00:00:00:02", "52:54:00:00:00:03"
READ = """#!/bin/sh
[ ! -e "$XS/broken" ] || exit 127
cat "$XS$1" 2>/dev/null || exit 1
"""


class Case:
    """A dom0: domain 1 is UUID, domain 2 is UUID2, domain 3 is nobody's."""

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory()
        self.d, self.g = Ns("dom0"), Ns("guest")
        self.filter = Filter(self.d)
        self.marks = os.path.join(self.dir.name, "marks")
        self.file("bin/xenstore-read", READ)
        for domid, devid, uuid, mac in ((1, 0, UUID, GM), (1, 1, UUID, GM2), (2, 0, UUID2, "02:00:00:00:00:22"),
                                        (3, 0, "33333333-3333-4333-8333-333333333333", "02:00:00:00:00:33")):
            backend = "xs/local/domain/0/backend/vif/%d/%d/" % (domid, devid)
            self.file(backend + "frontend-id", "%d\n" % domid)
            self.file(backend + "mac", mac + "\n")
            self.file("xs/local/domain/%d/vm" % domid, "/vm/%s\n" % uuid)
            self.file("xs/vm/%s/uuid" % uuid, uuid + "\n")

    def file(self, name, text):
        path = os.path.join(self.dir.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o755)

    def mark(self, uuid, *macs, text=None):
        self.file("marks/%s.json" % uuid, text or json.dumps({
            "uuid": uuid, "closed": False, "devs": [{"mac": m} for m in macs], "addresses": [],
            "servers": [{"address": "10.99.0.2", "port": 8443}], "gateways": []}))

    def vif(self, n, *names):
        for i, name in enumerate(names):
            self.d.ip("link", "add", name, "type", "veth", "peer", "name", "p%d-%d" % (n, i), "netns", self.g.name)

    def restore(self, *more):
        return self.d.run("env", "PATH=%s:%s:/usr/sbin:/usr/bin:/sbin:/bin" % (os.path.join(self.dir.name, "bin"), BIN),
                          "XS=" + os.path.join(self.dir.name, "xs"), "netback-filter", "restore", "--mark-dir", self.marks,
                          *more, check=False)

    def devs(self):
        return {g["uuid"]: sorted(d["dev"] for d in g["devs"]) for g in json.loads(self.filter.ok("list", "--json"))["guests"]}

    def up(self):
        return sorted(x["ifname"] for x in json.loads(self.d.ip("-j", "link")) if "UP" in x["flags"] and "vif" in x["ifname"])


def restores(tap):
    c = Case()
    rc, out = c.restore()
    tap.ok(rc == 0 and "0 guests" in out, "no folder of marks: nothing to do", out)
    c.mark(UUID, GM, GM2)
    c.mark(UUID2)
    rc, out = c.restore()
    tap.ok(rc == 0 and "2 guests are marked, 0 devices" in out and c.devs() == {}, "no device is there yet", out)
    c.vif(1, "vif1.0", "vif1.0-emu", "vif1.1")
    c.vif(2, "vif2.0")
    c.vif(3, "vif3.0", "eth0")
    c.d.ip("tuntap", "add", "dev", "vnet0", "mode", "tap")
    c.d.ip("link", "set", "vnet0", "address", "fe:" + GM2[3:])
    c.d.ip("link", "add", "vif1.9", "type", "bridge")
    rc, out = c.restore()
    want = {UUID: ["vif1.0", "vif1.0-emu", "vif1.1", "vnet0"], UUID2: ["vif2.0"]}
    tap.ok(rc == 0 and c.devs() == want, "each device of a marked guest is filtered, and no other", (rc, out, c.devs()))
    tap.ok("5 devices" in out, "and counted", out)
    rc, out = c.filter("verify", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--dev", "vif1.1", "--mac", GM2,
                       "--server", "10.99.0.2:8443")
    tap.ok(rc == 0, "as the mark says", out)
    c.d.run("nft", "flush", "ruleset")
    tap.ok(c.devs() == {}, "nft flush ruleset, as nftables.service does")
    rc, out = c.restore("--json")
    tap.ok(rc == 0 and c.devs() == want and json.loads(out) == {"ok": True}, "again; --json", out)
    rc, out = c.restore()
    tap.ok(rc == 0 and c.devs() == want, "twice: the same", out)


def problems(tap):
    c = Case()
    c.mark(UUID, GM)
    c.mark(UUID2, text="{")
    c.vif(1, "vif1.0")
    c.vif(2, "vif2.0")
    c.vif(3, "vif3.0")
    c.d.ip("tuntap", "add", "dev", "vnet0", "mode", "tap")
    c.d.ip("link", "set", "vnet0", "address", "fe:00:00:00:00:22")
    path = os.path.join(c.marks, UUID2 + ".json")

    def unreadable(text, prepare):
        c.d.run("nft", "flush", "ruleset")
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        prepare()
        rc, out = c.restore()
        tap.ok(rc != 0 and UUID2 + " is closed" in out and c.devs() == {UUID: ["vif1.0"], UUID2: ["vif2.0"]},
               "the mark %s: told; the guest is closed, the others are as they were" % text, (rc, out, c.devs()))
        rc, out = c.filter("verify", "--guest", UUID2, "--dev", "vif2.0", "--mac", "02:00:00:00:00:22", "--closed")
        tap.ok(rc == 0, "nothing passes its device", out)

    unreadable("is malformed", lambda: c.mark(UUID2, text="{"))
    unreadable("is empty", lambda: c.mark(UUID2, text="\n"))
    unreadable("is another guest's", lambda: c.mark(UUID2, text=json.dumps(
        {"uuid": UUID, "closed": True, "devs": [{"mac": "02:00:00:00:00:22"}]})))
    unreadable("is a folder", lambda: os.mkdir(path))
    unreadable("is a link to nowhere", lambda: os.symlink("nowhere", path))
    unreadable("is a loop of links", lambda: os.symlink(path, path))
    c.file("xs/broken", "")
    rc, out = c.restore()
    tap.ok(rc != 0 and "whose is vif1.0" in out and c.devs() == {UUID: ["vif1.0"], UUID2: ["vif2.0"]},
           "xenstore does not answer: told; what is filtered stays so", out)
    c.d.run("nft", "flush", "ruleset")
    c.d.ip("link", "set", "vnet0", "address", "fe:" + GM[3:])
    for dev in ("vif1.0", "vif2.0", "vif3.0"):
        c.d.ip("link", "set", dev, "up")
    rc, out = c.restore()
    tap.ok(rc != 0 and all("whose is " + dev in out for dev in ("vif1.0", "vif2.0", "vif3.0")) and c.devs() == {UUID: ["vnet0"]},
           "nothing is filtered: told; what a mark's MAC names is filtered", (rc, out, c.devs()))
    tap.ok(c.up() == ["vif1.0", "vif2.0", "vif3.0"], "the rest is let alone: it may be anybody's", c.up())
    os.unlink(os.path.join(c.dir.name, "xs/broken"))
    rc, out = c.restore()
    tap.ok(rc != 0 and c.devs() == {UUID: ["vif1.0", "vnet0"], UUID2: ["vif2.0"]}, "it answers again: filtered", (rc, out, c.devs()))
    for words in (["--guest", UUID], ["--dev", "vif1.0"], ["x"], ["--closed"]):
        rc, out = c.restore(*words)
        tap.ok(rc == 2, "restore %s: usage" % words[0], out)
    c.file("marks/readme", "x")
    c.file("marks/%s.json.tmp" % UUID, "x")
    os.unlink(os.path.join(c.marks, UUID2 + ".json"))
    rc, out = c.restore()
    tap.ok(rc == 0 and "1 guests" in out, "other files in the folder are let alone", out)
    for text, to in (("a link to nowhere", "nowhere"), ("a loop of links", "marks"), ("a file", "xs/local/domain/1/vm")):
        shutil.rmtree(c.marks, ignore_errors=True) if not os.path.islink(c.marks) else os.unlink(c.marks)
        os.symlink(to, c.marks)
        rc, out = c.restore()
        tap.ok(rc != 0, "the folder of marks is %s: who is marked is not known" % text, (rc, out))


def strangers(tap):
    """What vif-fixgate closed, since nobody knows the guest, is closed again."""
    c = Case()
    strict = os.path.join(c.dir.name, "strict")
    c.vif(1, "vif1.0")
    c.vif(2, "vif2.0")
    c.vif(3, "vif3.0")
    c.file("strict/%s.json" % UUID2, json.dumps({"uuid": UUID2, "closed": True, "devs": []}))
    rc, out = c.restore("--strict-dir", strict)
    tap.ok(rc == 0 and c.devs() == {UUID2: ["vif2.0"]} and "0 guests are marked, 1 devices" in out, "nobody is marked: closed", out)
    c.mark(UUID, GM)
    c.d.run("nft", "flush", "ruleset")
    rc, out = c.restore("--strict-dir", strict)
    tap.ok(rc == 0 and c.devs() == {UUID: ["vif1.0"], UUID2: ["vif2.0"]}, "beside a guest that is marked", (rc, out, c.devs()))
    rc, out = c.filter("verify", "--guest", UUID2, "--dev", "vif2.0", "--mac", "02:00:00:00:00:22", "--closed")
    tap.ok(rc == 0, "nothing passes", out)
    c.file("strict/%s.json" % UUID, json.dumps({"uuid": UUID, "closed": True, "devs": []}))
    rc, out = c.restore("--strict-dir", strict)
    tap.ok(rc == 0 and c.filter("verify", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--server", "10.99.0.2:8443")[0] == 0,
           "a stranger that is isolated: its mark counts", (rc, out))
    c.d.run("nft", "flush", "ruleset")
    rc, out = c.restore("--strict-dir", os.path.join(c.dir.name, "none"))
    tap.ok(rc == 0 and c.devs() == {UUID: ["vif1.0"]}, "no such folder: nobody is strange", (rc, out))


def missing_part(tap):
    """The kernel says ENOENT of a device that is gone, and of a module that it has not."""
    c = Case()
    c.mark(UUID, GM, GM2)
    c.mark(UUID2, "02:00:00:00:00:22")
    c.vif(1, "vif1.0", "vif1.1")
    c.vif(2, "vif2.0")
    c.vif(3, "vif3.0")
    for dev in ("vif1.0", "vif1.1", "vif2.0", "vif3.0"):
        c.d.ip("link", "set", dev, "up")
    without_nft_part(FILTER, os.path.join(c.dir.name, "bin/netback-filter"))
    rc, out = c.restore()
    tap.ok(rc != 0 and c.devs() == {}, "the devices are there, a part of nf_tables is not: it fails", (rc, out))
    tap.ok(all(dev + " was set down" in out for dev in ("vif1.0", "vif1.1", "vif2.0")), "and says so of each device", out)
    tap.ok(c.up() == ["vif3.0"], "what cannot be filtered is set down, and nothing else", c.up())
    os.unlink(os.path.join(c.dir.name, "bin/netback-filter"))
    rc, out = c.restore()
    tap.ok(rc == 0 and c.devs() == {UUID: ["vif1.0", "vif1.1"], UUID2: ["vif2.0"]}, "with all of it: filtered", (rc, out))


def never_the_hosts(tap):
    """A NIC of this machine is refused.  Asked with verify, which changes nothing."""
    names = [n for n in os.listdir("/sys/class/net") if os.path.exists("/sys/class/net/%s/device" % n)]
    if not names:
        tap.ok(True, "a NIC of the host is refused # SKIP this machine has none")
    for name in names:
        p = subprocess.run([os.path.join(BIN, "netback-filter"), "verify", "--guest", UUID, "--dev", name, "--mac", GM,
                            "--closed"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        tap.ok(p.returncode == 4 and "NIC of this host" in p.stdout, "%s of this machine is refused" % name, p.stdout)


def units(tap):
    """systemd takes the units, with the order that the quarantine needs."""
    def read(name):
        with open(os.path.join(UNITS, name)) as f:
            return f.read()

    restore, agent = read("fixgate-restore.service"), read("fixgated.service")
    def order(unit, key):
        return " ".join(line[len(key) + 1:] for line in unit.splitlines() if line.startswith(key + "=")).split()

    before = order(restore, "Before")
    tap.ok(all(x in before for x in ("xendomains.service", "libvirt-guests.service", "fixgated.service")),
           "restored before any guest is started", before)
    after = order(restore, "After")
    tap.ok(all(x in after for x in ("xenstored.service", "nftables.service", "local-fs.target")),
           "and after what would flush it, or is needed for it", after)
    tap.ok("fixgate-restore.service" in order(agent, "After"), "the agent comes after it")
    starters = {"libvirtd.service", "virtqemud.service", "virtxend.service", "libvirt-guests.service", "xendomains.service"}
    tap.ok(starters <= set(order(agent, "Before")) and starters <= set(before),
           "both are there before whatever starts guests at boot: libvirt gives a vif no script, a tap has none",
           (order(agent, "Before"), before))
    waits = set(order(agent, "After") + order(agent, "Wants") + order(agent, "Requires"))
    tap.ok(not waits & (starters | {"network-online.target"}), "and the agent waits for none of them", waits)
    if not shutil.which("systemd-analyze"):
        tap.ok(True, "systemd-analyze accepts the units # SKIP it is not installed")
        return
    with tempfile.TemporaryDirectory() as d:
        for name, text in (("fixgate-restore.service", restore), ("fixgated.service", agent)):
            with open(os.path.join(d, name), "w") as f:
                f.write(text.replace("@sbindir@/netback-filter", "/bin/true").replace("@sbindir@/fixgated", "/bin/true"))
        for name in starters:  # what the machine has not: a cycle is to be seen all the same
            if not os.path.exists("/usr/lib/systemd/system/" + name):
                with open(os.path.join(d, name), "w") as f:
                    f.write("[Unit]\nAfter=network.target libvirtd.service\n[Service]\nExecStart=/bin/true\n")
        p = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"] +
                           [os.path.join(d, n) for n in ("fixgate-restore.service", "fixgated.service")],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    complaints = [line for line in p.stdout.splitlines() if "fixgate" in line]
    tap.ok(p.returncode == 0 and not complaints, "systemd-analyze accepts the units", p.stdout)


def main():
    need_root()
    tap = Tap(__file__)
    for section in (restores, problems, strangers, missing_part, never_the_hosts, units):
        tap.section(section)
    tap.done()


main()
