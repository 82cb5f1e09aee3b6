# SPDX-License-Identifier: GPL-3.0-or-later
"""Toolstacks, fix VM and layers on the real Xen, operation by operation, with fixgate-toolstack-probe in dom0."""

import json
import os
import shlex

from fglab import GUESTS, LabError, wait_for

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.dirname(os.environ.get("FG_BIN", os.path.join(TOP, "build/bin")))
PROBE = "/root/fixgate-toolstack-probe"
JOB = "aaaaaaaa-0000-4000-8000-000000000001"
LAYERS = "/var/lib/fixgate/layers"
STATE = "/root/state"
LAYER = f"/dev/mapper/fixgate-{JOB}-xvda"
KERNEL, INITRD = "/var/lib/xen/kernels/vmlinux", "/var/lib/xen/kernels/guest-initrd.img"


class Answer:
    """Lines of JSON; the last one with "ok" is the end of the operation."""

    def __init__(self, result):
        self.lines = []
        for line in result.stdout.splitlines():
            if line.startswith("{"):
                self.lines.append(json.loads(line))
        self.text = result.stdout + result.stderr
        self.end = next((line for line in reversed(self.lines) if "ok" in line), {"ok": False, "rc": None})
        self.ok = self.end["ok"]
        self.guests = [line for line in self.lines if "owner" in line]
        self.steps = [line["step"] for line in self.lines if "step" in line]


def probe(lab, *args, timeout=400):
    return Answer(lab.dom0(shlex.join([PROBE, *args]), check=False, timeout=timeout))


def digest(lab, path):
    return lab.dom0(f"sha256sum {path}", timeout=300).stdout.split()[0]


def writable_loops(lab):
    """{loop device: file} of those a guest could be written through."""
    found = json.loads(lab.dom0("losetup --json --list").stdout or '{"loopdevices": []}')
    return {d["name"]: d["back-file"] for d in found["loopdevices"] if not d["ro"]}


def owners(lab):
    xl, libvirt = probe(lab, "xl", "list"), probe(lab, "libvirt", "list")
    for name, guest in GUESTS.items():
        mine, other = (xl, libvirt) if guest.owner == "xl" else (libvirt, xl)
        here = [g for g in mine.guests if g["uuid"] == guest.uuid]
        lab.ok(len(here) == 1 and not [g for g in other.guests if g["uuid"] == guest.uuid],
               f"{name} is {guest.owner}'s alone", mine.text + other.text)
        if here:
            lab.ok(here[0]["nics"][0]["netdevs"] == [lab.vif(name)] and here[0]["nics"][0]["mac"] == guest.mac and
                   here[0]["disks"][0]["target"] == guest.disk and here[0]["refusal"] is None,
                   f"{name}: netdev, MAC and disk", here[0])
    missing = probe(lab, "xl", "find", "00000000-0000-4000-8000-000000000001")
    lab.ok(missing.end["rc"] == -3, "a UUID that nobody has is not found", missing.text)


def save_and_stop(lab, name):
    """Its definition, also as a file in dom0; the guest is stopped, nothing of it is left."""
    guest = GUESTS[name]
    tool = ["xl"] if guest.owner == "xl" else ["libvirt"]
    saved = probe(lab, *tool, "save", guest.uuid)
    definition = next((line for line in saved.lines if "toolstack" in line), None)
    lab.ok(saved.ok and definition, f"{name}: definition saved", saved.text)
    if guest.owner == "xl":
        lab.ok(definition["daemon"] and definition["file"] == f"/etc/xen/{name}.cfg", f"{name}: its daemon and file are known",
               saved.text)
    lab.put_text(json.dumps(definition), f"/root/{name}.json")
    stopped = probe(lab, *tool, "stop", guest.uuid)
    lab.ok(stopped.ok and lab.domid(name) is None, f"{name} stopped ({'; '.join(stopped.steps)})", stopped.text)
    lab.ok(guest.disk not in writable_loops(lab).values(), f"{name}: nothing holds its disk", writable_loops(lab))
    left = lab.dom0(f"ps axww -o args | grep '[b]in/xl create.*{name}'", check=False).stdout
    lab.ok(left == "", f"{name}: no xl process is left", left)
    again = probe(lab, *tool, "stop", guest.uuid)
    lab.ok(again.ok, f"{name}: stopping it again is no error", again.text)
    return tool, definition


def start_paused(lab, name, tool):
    """Returns the operation's answer."""
    started = probe(lab, *tool, "start", f"/root/{name}.json")
    lab.ok(started.ok and started.guests and started.guests[0]["state"] == "paused" and
           started.guests[0]["nics"][0]["netdevs"] == [lab.vif(name)], f"{name} started, paused, with its netdev", started.text)
    return started


def let_run(lab, name, tool):
    guest = GUESTS[name]
    lab.ok(probe(lab, *tool, "unpause", guest.uuid).ok, f"{name} runs")
    connected = probe(lab, *tool, "connected", guest.uuid)
    lab.ok(connected.ok, f"{name} is connected", connected.text)
    wait_for(lambda: lab.banner(name), 180, f"{name}'s daemon")
    lab.ok(lab.dom0(f"xl domid {name}").stdout.strip() == str(lab.domid(name)), f"{name} answers")


def libvirt_guest(lab):
    tool, _ = save_and_stop(lab, "db1")
    start_paused(lab, "db1", tool)
    let_run(lab, "db1", tool)


def xl_guest(lab):
    """The file no longer yields the guest: made from the saved definition, not from the file."""
    tool, definition = save_and_stop(lab, "idle1")
    off = probe(lab, "xl", "find", GUESTS["idle1"].uuid)
    lab.ok(off.ok and off.guests[0]["state"] == "off" and off.guests[0]["domid"] == 0, "idle1, off, is known by its file",
           off.text)
    lab.dom0("sed -i.kept 's/^memory *=.*/memory = 128/' /etc/xen/idle1.cfg")
    started = start_paused(lab, "idle1", ["-s", STATE, *tool])
    lab.ok(started.guests[0]["memory_mb"] == definition["config"]["b_info"]["max_memkb"] // 1024,
           "idle1 is made from its saved definition", started.text)
    lab.dom0("mv /etc/xen/idle1.cfg.kept /etc/xen/idle1.cfg")
    let_run(lab, "idle1", tool)
    looked_after(lab, "idle1")


def looked_after(lab, name):
    """It has no xl process. One that has its state, as the agent has, carries out its reboot and its end."""
    mark = f"{STATE}/xl-owned/{GUESTS[name].uuid}.json"
    lab.ok(lab.dom0(f"pgrep -f '[x]l create.*{name}'; ls {mark}", check=False).stdout.strip() == mark, f"{name} has no xl process")
    owner = lab.dom0_popen(shlex.join([PROBE, "-s", STATE, "xl", "watch"]) + " >/root/owner.out 2>&1")
    wait_for(lambda: "looked after" in lab.dom0("cat /root/owner.out").stdout, 60, f"{name} to be looked after")
    old = lab.domid(name)
    lab.guest(name, "(sleep 1; reboot) >/dev/null 2>&1 &")
    wait_for(lambda: lab.domid(name) not in (None, old), 180, f"{name} to be a new domain")
    wait_for(lambda: lab.banner(name), 180, f"{name}'s daemon")
    found = probe(lab, "xl", "find", GUESTS[name].uuid)
    lab.ok(found.ok and found.guests[0]["nics"][0]["mac"] == GUESTS[name].mac, f"`reboot` inside {name}: it is made anew, and answers",
           found.text)
    lab.guest(name, "(sleep 1; poweroff) >/dev/null 2>&1 &")
    wait_for(lambda: lab.domid(name) is None, 120, f"{name} to be off")
    wait_for(lambda: lab.dom0(f"ls {STATE}/xl-owned").stdout == "", 60, f"{name} to be nobody's")
    lab.ok(lab.domid(name) is None, f"`poweroff` inside {name}: it is off, and nobody's")
    lab.dom0("pkill -f '[x]l watch'")
    owner.wait(60)


def pvh(lab):
    """A PVH guest is made anew, and stays paused: its kernel's boot is what the emulator trips over (README)."""
    tool, definition = save_and_stop(lab, "web2")
    start_paused(lab, "web2", tool)
    saved_info, now_info = definition["config"]["b_info"], json.loads(lab.dom0("xl list -l web2").stdout)[0]["config"]["b_info"]
    same = [saved_info.get(key) == now_info.get(key) for key in ("type", "max_memkb", "tsc_mode", "kernel", "cmdline")]
    lab.ok(definition["config"]["c_info"]["type"] == "pvh" and all(same), "web2 is a PVH guest as it was", json.dumps(now_info))
    lab.dom0("xl destroy web2")


def layer(lab, verb, target="/root/disk.img"):
    return probe(lab, "layer", LAYERS, verb, JOB, "xvda", target)


def layers(lab):
    lab.dom0("dd if=/dev/urandom of=/root/disk.img bs=1M count=16 2>&1")
    before = digest(lab, "/root/disk.img")
    made = layer(lab, "create")
    lab.ok(made.ok and made.lines[0]["path"] == LAYER, "layer made", made.text)
    lab.ok(layer(lab, "create").end["rc"] == -13, "made twice is an error")
    lab.dom0(f"dd if=/dev/urandom of={LAYER} bs=64k count=16 seek=50 conv=notrunc,fsync 2>&1")
    lab.ok(digest(lab, "/root/disk.img") == before, "what is written to the layer is not on the disk")
    lab.ok(layer(lab, "drop").ok and digest(lab, "/root/disk.img") == before, "dropped: the disk is byte-identical")
    lab.ok(layer(lab, "drop").ok, "dropping nothing is no error")

    layer(lab, "create")
    lab.dom0(f"dd if=/dev/urandom of={LAYER} bs=64k count=100 seek=20 conv=notrunc,fsync 2>&1")
    lab.dom0(f"dd if=/dev/urandom of={LAYER} bs=4k count=1 seek=4095 conv=notrunc,fsync 2>&1")
    after = digest(lab, LAYER)
    # Killed in the middle of its work, then once more to the end.
    lab.dom0(f"strace -f -e trace=pwrite64 -e inject=pwrite64:signal=SIGKILL:when=40 {PROBE} layer {LAYERS} merge {JOB} xvda "
             "/root/disk.img >/dev/null 2>&1", check=False)
    half = digest(lab, "/root/disk.img")
    lab.ok(half not in (before, after), "kill -9 in the middle of a merge")
    lab.ok(layer(lab, "drop").end["rc"] == -12, "then it cannot be dropped any more")
    lab.ok(layer(lab, "begun").lines[0]["begun"], "and is known to have begun")
    merged = layer(lab, "merge")
    lab.ok(merged.ok and digest(lab, "/root/disk.img") == after, "merged again: the disk is what the layer was", merged.text)
    lab.ok(layer(lab, "merge").ok, "merging what is merged is no error")
    lab.ok(layer(lab, "drop").ok and not lab.dom0(f"ls {LAYERS}").stdout, "nothing is left behind")

    view = layer(lab, "view")
    lab.ok(view.ok and digest(lab, LAYER) == after, "read-only view", view.text)
    lab.ok(lab.dom0(f"dd if=/dev/zero of={LAYER} count=1", check=False).returncode != 0, "nobody can write to it")
    lab.ok(layer(lab, "drop").ok and JOB not in lab.dom0("dmsetup ls").stdout, "view dropped")


def fix_vm(lab):
    made = layer(lab, "create")
    lab.ok(made.ok, "layer for the fix VM", made.text)
    job = "aaaaaaaa-0000-4000-8000-000000000009"
    run = lab.dom0_popen(shlex.join([PROBE, "fixvm", "run", KERNEL, INITRD, "fixgate-aaaaaaaa", job, "xenbr0",
                                     "00:16:3e:99:00:77", LAYER, "xvda"]) + " >/root/fixvm.out 2>&1")
    wait_for(lambda: '"created"' in lab.dom0("cat /root/fixvm.out").stdout, 240, "the fix VM")
    lab.ok(lab.guest_state("fixgate-aaaaaaaa"), "fix VM runs")
    listed = probe(lab, "xl", "list")
    lab.ok(not [g for g in listed.guests if g["uuid"] == job], "it is nobody's guest", listed.text)
    wait_for(lambda: len(lab.dom0("cat /root/fixvm.out").stdout) > 300, 120, "its console")
    lab.ok(True, "its console is heard")
    ended = probe(lab, "fixvm", "destroy", job)
    lab.ok(ended.ok and lab.guest_state("fixgate-aaaaaaaa") is None, "destroyed by its UUID", ended.text)
    run.wait(60)
    out = lab.dom0("cat /root/fixvm.out").stdout
    lab.ok('"gone"' in out, "its end was seen by who made it", out[-1000:])
    lab.ok(probe(lab, "fixvm", "destroy", job).ok, "destroying what is not there is no error")
    lab.ok(layer(lab, "drop").ok, "its layer is free")


def main(lab):
    path = os.path.join(BUILD, "test/probe/fixgate-toolstack-probe")
    if not os.path.exists(path):
        raise LabError(f"{path} is not built: run 'make tests'")
    lab.put(path, PROBE, mode=0o755)
    owners(lab)
    lab.dom0("xl destroy web1")     # two xl guests are enough for the rest
    layers(lab)
    fix_vm(lab)
    libvirt_guest(lab)
    xl_guest(lab)
    pvh(lab)
