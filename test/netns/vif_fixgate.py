#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""vif-fixgate with a xenstore of files: armed before the real script runs, refused when it cannot be."""
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nslib import BIN, UUID, UUID2, Filter, Ns, Tap, need_root  # noqa: E402

GM = "02:00:00:00:00:01"
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "netback-filter", "vif-fixgate")
BACKEND = "/local/domain/0/backend/vif/1/0"
READ = """#!/bin/sh
[ ! -e "$XS/hangs" ] || exec cat "$XS/hangs"
for last; do :; done
case "$last" in /*) p=$last ;; *) p=/local/domain/0/$last ;; esac
cat "$XS$p" 2>/dev/null || { echo "xenstore-read: couldn't read path $last" >&2; exit 1; }
"""
WRITE = """#!/bin/sh
while [ $# -ge 2 ]; do
	case "$1" in /*) p=$1 ;; *) p=/local/domain/0/$1 ;; esac
	mkdir -p "$XS${p%/*}"; printf %s "$2" >"$XS$p"; shift 2
done
"""
# what vif-common.sh and vif-bridge do, as far as it matters here
BRIDGE = """#!/bin/sh
echo "$@" >>"$XS/calls"
netback-filter list >>"$XS/seen"
case "$2" in type_if=tap) dev=$INTERFACE ;; *) dev=$vif ;; esac
new=$(xenstore-read "$XENBUS_PATH/vifname" 2>/dev/null)
[ -n "$new" ] && [ "$2" = type_if=tap ] && new=$new-emu
if [ -n "$new" ] && { [ "$1" = online ] || [ "$1" = add ]; } && ! ip link show "$new" >/dev/null 2>&1; then
	ip link set "$dev" name "$new" || exit 1
fi
exit "${BRIDGE_EXIT:-0}"
"""


class Case:
    """A vif of domain 1 in a namespace of its own."""

    def __init__(self, vifname=None, mark=True, conf="script = my-bridge\n", xs=()):
        self.dir = tempfile.TemporaryDirectory()
        self.d, self.g = Ns("dom0"), Ns("guest")
        for dev, peer in (("vif1.0", "eth0"), ("vif1.0-emu", "eth1")):
            self.d.ip("link", "add", dev, "type", "veth", "peer", "name", peer, "netns", self.g.name)
        self.bin, self.xs, self.marks = (os.path.join(self.dir.name, x) for x in ("bin", "xs", "marks"))
        for p in (self.bin, self.xs, self.marks):
            os.mkdir(p)
        self.file("bin/xenstore-read", READ), self.file("bin/xenstore-write", WRITE), self.file("bin/my-bridge", BRIDGE)
        for name in ("ovs", "route"):
            self.file("bin/my-" + name, "#!/bin/sh\necho \"$@\" >>\"$XS/calls-%s\"\n" % name)
        more = "mark_dir=%s\nknown=%s/known\nrun_dir=%s/strict\n" % (self.marks, self.dir.name, self.dir.name)
        self.file("vif.conf", conf + more if conf is not None else "")
        with open(SCRIPT) as f:
            self.file("bin/vif-fixgate", f.read())
        store = {BACKEND + "/frontend-id": "1", "/local/domain/1/vm": "/vm/" + UUID, "/vm/%s/uuid" % UUID: UUID.upper(),
                 BACKEND + "/mac": GM}
        if vifname:
            store[BACKEND + "/vifname"] = vifname
        store.update(xs)
        for key, value in store.items():
            if value is not None:
                self.file("xs" + key, value)
        if mark:
            self.file("marks/%s.json" % UUID, json.dumps({"uuid": UUID, "closed": True, "devs": [{"mac": GM}]}))
        self.filter = Filter(self.d)

    def file(self, name, text):
        path = os.path.join(self.dir.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o755)

    def read(self, name):
        try:
            with open(os.path.join(self.xs, name.lstrip("/"))) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def call(self, command, type_if="vif", **env):
        given = {"vif": "vif1.0", "INTERFACE": "vif1.0-emu", "XENBUS_PATH": BACKEND, "XS": self.xs, "script": "x",
                 "FIXGATE_VIF_CONF": os.path.join(self.dir.name, "vif.conf"),
                 "PATH": ":".join((self.bin, BIN, "/usr/sbin:/usr/bin:/sbin:/bin"))}
        given.update(env)
        return self.d.run("env", *("%s=%s" % kv for kv in given.items()), os.path.join(self.bin, "vif-fixgate"),
                          command, "type_if=" + type_if, check=False)

    def devs(self):
        return sorted(d["dev"] for g in json.loads(self.filter.ok("list", "--json"))["guests"] for d in g["devs"])


def windows(tap):
    """PV drivers of Windows connect twice: the script is called again for a vif that has its new name already."""
    c = Case(vifname="web1")
    for n in range(3):
        rc, out = c.call("online")
        tap.ok(rc == 0 and c.devs() == ["web1"], "online, time %d: armed under its new name" % (n + 1), (rc, out, c.devs()))
    rc, out = c.filter("verify", "--guest", UUID, "--dev", "web1", "--mac", GM, "--closed")
    tap.ok(rc == 0 and c.read("calls").count("online") == 3, "as it has to be, and handed over each time", out)
    for n in range(2):
        rc, out = c.call("add", "tap")
        tap.ok(rc == 0 and c.devs() == ["web1", "web1-emu"], "the emulated NIC, time %d" % (n + 1), (rc, out, c.devs()))
    rc, out = c.call("remove", "tap")
    c.d.ip("link", "del", "web1-emu")
    tap.ok(rc == 0 and c.devs() == ["web1"], "its drivers took over: the emulated NIC goes", (rc, out, c.devs()))
    c.d.ip("link", "add", "vif1.0-emu", "type", "veth", "peer", "name", "eth2", "netns", c.g.name)
    rc, out = c.call("add", "tap")
    tap.ok(rc == 0 and c.devs() == ["web1", "web1-emu"], "and comes again at its next boot: armed", (rc, out, c.devs()))
    c.d.ip("link", "del", "web1")
    rc, out = c.call("online")
    tap.ok(rc != 0, "neither the old nor the new name is there: refused", (rc, out))


def handing_over(tap):
    conf = "script = my-bridge\nscript.ovsbr0 = my-ovs\nscript_unbridged = my-route\n"
    for bridge, file, text in (("ovsbr0", "calls-ovs", "vif-openvswitch"), ("xenbr0", "calls", "vif-bridge"),
                               (None, "calls-route", "vif-route")):
        c = Case(conf=conf, xs={BACKEND + "/bridge": bridge})
        for command in ("online", "offline"):
            rc, out = c.call(command)
            tap.ok(rc == 0 and c.read(file).endswith(command + " type_if=vif\n"),
                   "bridge %s: %s goes to %s" % (bridge, command, text), (rc, out, c.read(file)))
        tap.ok(c.devs() == ["vif1.0"], "and the vif is armed", c.devs())
    c = Case(conf=conf, xs={BACKEND + "/frontend-id": None})
    rc, out = c.call("online")
    tap.ok(rc != 0 and not c.read("calls-route"), "which bridge it is for cannot be read: refused", (rc, out))
    rc, out = c.call("offline")
    tap.ok(rc == 0, "on the way down it is handed over all the same", (rc, out))
    for line in ("script. = x", "script.br0 =", "strict = perhaps", "seconds = 40", "seconds = 0", "seconds = x"):
        c = Case(conf="script = my-bridge\n%s\n" % line)
        rc, out = c.call("online")
        tap.ok(rc != 0 and not c.read("calls") and "cannot make sense" in out, "'%s' in the configuration: refused" % line, out)


def strict(tap):
    conf = "script = my-bridge\nstrict = yes\n"
    c = Case(conf=conf, mark=False, vifname="web1")
    for n in range(2):
        rc, out = c.call("online")
        closed = [d["closed"] for g in json.loads(c.filter.ok("list", "--json"))["guests"] for d in g["devs"]]
        tap.ok(rc == 0 and c.devs() == ["web1"] and closed == [True] and c.read("calls"),
               "strict: a vif of a stranger is closed and handed over (time %d)" % (n + 1), (rc, out, c.devs()))
    rc, out = c.filter("verify", "--guest", UUID, "--dev", "web1", "--mac", GM, "--closed")
    tap.ok(rc == 0, "nothing passes", out)
    tap.ok(not os.listdir(c.marks), "no mark is made of it: it is no quarantine")
    rc, out = c.call("add", "tap")
    tap.ok(rc == 0 and c.devs() == ["web1", "web1-emu"], "nor by its emulated NIC", (rc, out, c.devs()))
    for text, good in (("# all of ours\n%s  # web1\n" % UUID.upper(), True), (UUID2 + "\n", False), ("", False),
                       (UUID + "0\n", False), ("." * 36 + "\n", False)):
        c = Case(conf=conf, mark=False)
        c.file("known", text)
        rc, out = c.call("online")
        tap.ok(rc == 0 and (c.devs() == []) == good, "known-guests '%s': %s" % (text[:12].strip(), "open" if good else "closed"),
               (rc, out, c.devs()))
        tap.ok(os.path.exists(os.path.join(c.dir.name, "strict", UUID + ".json")) != good, "and so it is kept for a restore")
    c.file("known", UUID + "\n")
    rc, out = c.call("online")
    tap.ok(rc == 0 and not os.listdir(os.path.join(c.dir.name, "strict")), "known since: forgotten", (rc, out))
    c = Case(conf=conf)
    c.file("known", UUID + "\n")
    rc, out = c.call("online")
    tap.ok(rc == 0 and c.devs() == ["vif1.0"], "strict: a known guest that is isolated is armed", (rc, out))
    c = Case(conf=conf, mark=False)
    c.file("strict", "")  # a file where the folder should be
    rc, out = c.call("online")
    tap.ok(rc != 0 and not c.read("calls"), "strict: a stranger's vif that cannot be closed is refused", (rc, out))


def unknown(tap):
    """Only a folder that can be read and has no such mark says that the guest is not isolated."""
    def file_instead(c):
        os.rmdir(c.marks)
        c.file("marks", "x")

    def loop(c):
        os.rmdir(c.marks)
        os.symlink("marks", c.marks)

    def dangling(c):
        os.rmdir(c.marks)
        os.symlink("nowhere", c.marks)

    def below_a_file(c):
        os.rmdir(c.marks)
        c.file("marks", "x")
        c.file("vif.conf", "script = my-bridge\nmark_dir = %s/sub/marks\n" % c.marks)

    def mark_loop(c):
        os.symlink(UUID + ".json", os.path.join(c.marks, UUID + ".json"))

    def unreadable(c):
        c.file("bin/ls", "#!/bin/sh\necho 'ls: reading directory: Input/output error' >&2\nexit 2\n")

    def conf_loop(c):
        c.file("marks/%s.json" % UUID, json.dumps({"uuid": UUID, "closed": True, "devs": [{"mac": GM}]}))
        os.unlink(os.path.join(c.dir.name, "vif.conf"))
        os.symlink("vif.conf", os.path.join(c.dir.name, "vif.conf"))
        c.file("bin/vif-bridge", BRIDGE)

    for text, change in (("is a file", file_instead), ("is a loop of links", loop), ("is a link to nowhere", dangling),
                         ("would be below a file", below_a_file), ("has a loop for the mark", mark_loop),
                         ("cannot be listed", unreadable), ("is named by a configuration that cannot be read", conf_loop)):
        c = Case(mark=False)
        change(c)
        rc, out = c.call("online")
        tap.ok(rc != 0 and not c.read("calls"), "the folder of marks %s: refused" % text, (rc, out))
        tap.ok(c.read(BACKEND + "/hotplug-status") == "error", "libxl is told", out)
    for text, conf in (("is not there", "mark_dir = %s/none\n"), ("nor is the one it would be in", "mark_dir = %s/none/none\n")):
        c = Case(mark=False)
        c.file("vif.conf", "script = my-bridge\n" + conf % c.dir.name)
        rc, out = c.call("online")
        tap.ok(rc == 0 and c.read("calls") and c.devs() == [], "the folder of marks %s: nobody is isolated" % text, (rc, out))
    c = Case(mark=False)
    c.file("marks/%s.json" % UUID2, "{")
    rc, out = c.call("online")
    tap.ok(rc == 0 and c.read("calls") and c.devs() == [], "another guest is marked: handed over", (rc, out))
    c = Case()
    os.environ["QUOTING_STYLE"] = "c"
    rc, out = c.call("online")
    del os.environ["QUOTING_STYLE"]
    tap.ok(rc == 0 and c.devs() == ["vif1.0"], "whatever ls is told by the environment", (rc, out))


def bounded(tap):
    """Whatever hangs, libxl gets its answer long before its 40 s are over."""
    for text, prepare in (
            ("xenstore hangs", lambda c: os.mkfifo(os.path.join(c.xs, "hangs"))),
            ("the filter hangs", lambda c: (os.mkfifo(os.path.join(c.xs, "never")),
                                            c.file("bin/slow", "#!/bin/sh\nexec cat \"$XS/never\"\n")))):
        c = Case(conf="script = my-bridge\nseconds = 1\nfilter = slow\n" if "filter" in text else
                 "script = my-bridge\nseconds = 1\n")
        prepare(c)
        begin = time.monotonic()
        rc, out = c.call("online")
        took = time.monotonic() - begin
        tap.ok(rc != 0 and took < 10 and not c.read("calls"), "%s: refused in time" % text, (rc, out, took))
        tap.ok(c.read(BACKEND + "/hotplug-status") == "error", "libxl is told", out)
    c = Case()
    c.file("bin/date", "#!/bin/sh\necho x >>\"$XS/dates\"\nexpr 1000000 + 1000 \\* $(wc -l <\"$XS/dates\")\n")
    rc, out = c.call("online")
    tap.ok(rc == 0 and c.devs() == ["vif1.0"], "the clock of the day is set meanwhile: it is not looked at", (rc, out))


def main():
    need_root()
    tap = Tap(__file__)

    c = Case()
    rc, out = c.call("online")
    tap.ok(rc == 0 and c.devs() == ["vif1.0"], "online: a marked guest's vif is armed", (rc, out, c.devs()))
    tap.ok(UUID in c.read("seen"), "before the real script runs", c.read("seen"))
    tap.ok(c.read("calls") == "online type_if=vif\n", "the real script gets the same arguments", c.read("calls"))
    rc, out = c.call("add", "tap")
    tap.ok(rc == 0 and c.devs() == ["vif1.0", "vif1.0-emu"], "add of the emulated NIC: both are armed", (rc, out, c.devs()))
    rc, out = c.call("online")
    tap.ok(rc == 0 and c.devs() == ["vif1.0", "vif1.0-emu"], "registered twice: still armed", out)
    rc, out = c.call("offline")
    tap.ok(rc == 0 and c.read("calls").endswith("offline type_if=vif\n"), "offline is handed over", out)

    c = Case(mark=False)
    rc, out = c.call("online")
    tap.ok(rc == 0 and c.devs() == [] and c.read("calls"), "a guest without a mark: handed over, no filter", out)
    rc, out = c.call("online", BRIDGE_EXIT="7")
    tap.ok(rc == 7, "the real script's exit status is ours", rc)

    c = Case(xs={BACKEND + "/frontend-id": "1"})
    rc, out = c.call("online", XENBUS_PATH="backend/vif/1/0")
    tap.ok(rc == 0 and c.devs() == ["vif1.0"], "a xenstore path relative to dom0", out)
    rc, out = c.call("add", "tap", XENBUS_PATH="")
    tap.ok(rc == 0 and c.devs() == ["vif1.0", "vif1.0-emu"], "tap without XENBUS_PATH: found by its name", out)

    c = Case(vifname="web1")
    rc, out = c.call("online")
    tap.ok(rc == 0 and c.devs() == ["web1"], "vifname=: armed over the rename", (out, c.devs()))
    rc, out = c.filter("verify", "--guest", UUID, "--dev", "web1", "--mac", GM, "--closed")
    tap.ok(rc == 0, "verified under the new name", out)
    rc, out = c.call("add", "tap")
    tap.ok(rc == 0 and c.devs() == ["web1", "web1-emu"], "the emulated NIC as well", (out, c.devs()))

    windows(tap)
    handing_over(tap)
    strict(tap)
    unknown(tap)
    bounded(tap)

    for text, change in (
            ("the mark is malformed", {"mark": "{"}),
            ("the mark is another guest's", {"mark": json.dumps({"uuid": UUID[:-1] + "2", "closed": True, "devs": [{"mac": GM}]})}),
            ("the guest's UUID cannot be read", {"xs": {"/local/domain/1/vm": None}}),
            ("the guest's UUID is no UUID", {"xs": {"/local/domain/1/vm": "/vm/x", "/vm/%s/uuid" % UUID: None}}),
            ("the domain cannot be read", {"xs": {BACKEND + "/frontend-id": None}}),
            ("the MAC cannot be read", {"xs": {BACKEND + "/mac": None}}),
            ("the MAC is no MAC", {"xs": {BACKEND + "/mac": "x"}}),
            ("the filter command is missing", {"conf": "script=my-bridge\nfilter=/nonexistent/filter\n"}),
            ("the device is not there", {"env": {"vif": "vif9.9"}}),
            ("the device is no guest's", {"env": {"vif": "lo"}}),
            ("no device is named", {"env": {"vif": ""}}),
            ("the configuration has an unknown line", {"conf": "script=my-bridge\nfoo=bar\n"}),
            ("the real script is missing", {"conf": "script=vif-nonexistent\n"}),
            ("the real script is vif-fixgate", {"conf": "script=vif-fixgate\n"})):
        c = Case(conf=change.get("conf", "script = my-bridge\n"), xs=change.get("xs", {}))
        if "mark" in change:
            c.file("marks/%s.json" % UUID, change["mark"])
        rc, out = c.call("online", **change.get("env", {}))
        tap.ok(rc != 0 and not c.read("calls"), "refused when %s" % text, (rc, out))
        tap.ok(c.read(BACKEND + "/hotplug-status") == "error" and c.read(BACKEND + "/hotplug-error"),
               "libxl is told: %s" % c.read(BACKEND + "/hotplug-error")[:60], out)
    tap.done()


main()
