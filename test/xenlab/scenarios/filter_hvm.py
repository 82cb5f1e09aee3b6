# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter under an HVM guest, which starts with two netdevs: vifD.N and, for the emulated NIC, vifD.N-emu.

QEMU's emulation of nested paging is unreliable for a kernel (README), so none is booted: the guest's firmware asks for a
boot server (iPXE, from the emulated NIC's ROM), for ever. Those are real frames of an HVM guest, through its real device
model and tap, from the first moment of each new domain. What its PV drivers do later, PV guests show (scenario filter).
"""

import json
import os
import socket
import time

import fgbeacon
from fgbeacon import Beacon
from fglab import FORBIDDEN4, FORBIDDEN_MAC, wait_for
from fgscene import Scene

DISK = "/var/lib/xen/images/hvm1.img"     # empty: the firmware goes on to the network
HVM = {"type": '"hvm"', "kernel": "", "ramdisk": "", "extra": "", "boot": '"n"', "vga": '"none"', "memory": "96",
       "disk": f'[ "format=raw,vdev=hda,access=rw,target={DISK}" ]',
       "device_model_override": '"/usr/libexec/xen-qemu-system-i386"'}
NIC = "bridge=xenbr0,model=e1000"


class Firmware(Beacon):
    """An HVM guest that has only its firmware."""

    def new(self):
        """From nothing; returns when the domain is there."""
        self.lab.dom0(f"xl destroy {self.name}", check=False)
        wait_for(lambda: self.domid is None, 60, f"{self.name} to be gone")
        self.create(NIC, **HVM)

    def both(self):
        return {self.vif, self.vif + "-emu"}

    def asks(self, heard):
        """Make the firmware try again if it has given up; returns what heard() does."""
        return wait_for(heard, 150, f"{self.name} to ask for a boot server", every=0.5)


def main(lab):
    with Scene.started(lab) as scene:
        fgbeacon.alone(lab)
        capture = lab.capture_start("forbidden")
        lab.dom0("echo 'vif.default.script=\"vif-fixgate\"' >>/etc/xen/xl.conf")
        lab.dom0(f"truncate -s 1M {DISK}")
        guest = Firmware(lab, "hvm1", 24, capture)
        guest.who = {guest.mac}
        began = time.time()
        guest.new()
        guest.asks(lambda: guest.sent(began))
        devs = lab.dom0("ls /sys/class/net").stdout.split()
        lab.ok(guest.both() <= set(devs), f"HVM: it has {' and '.join(sorted(guest.both()))}, and is heard")
        begin = guest.isolate(scene)
        lab.ok(set(guest.netdevs()) == guest.both(), "HVM: isolated while it runs, both netdevs are filtered", guest.netdevs())
        for n in range(2):
            guest.new()
            first = set(guest.netdevs())
            lab.ok(first == guest.both(), f"HVM: new domain {n + 1}: both netdevs are filtered before it runs: {sorted(first)}")
            dropped = guest.asks(lambda: guest.netdevs().get(guest.vif + "-emu"))
            lab.ok(dropped, f"HVM: its firmware's frames are dropped on {guest.vif}-emu: {dropped}")
            ok_to_guest(lab, guest)
        guest.ok_silent(begin, "HVM")
        lab.dom0(f"ip link set {guest.vif}-emu down; ip link set {guest.vif}-emu name odd0; ip link set odd0 up")
        wait_for(lambda: "odd0" in guest.netdevs(), 30, "the renamed netdev to be listed under its new name")
        lab.dom0(f"ip link set odd0 down; ip link set odd0 name {guest.vif}-emu; ip link set {guest.vif}-emu up")
        wait_for(lambda: set(guest.netdevs()) == guest.both(), 30, "both netdevs to be listed under their names")
        lab.ok(True, "HVM: a netdev that is renamed, and renamed again, stays filtered")
        guest.release(scene)
        lab.ok(not guest.netdevs(), "HVM: released, no rule is left", guest.netdevs())
        began = time.time()
        guest.new()
        guest.asks(lambda: guest.sent(began))
        lab.ok(True, "HVM: and a new domain of it is heard again")
        os.remove(lab.capture_stop("forbidden"))


def ok_to_guest(lab, guest):
    """A broadcast of the forbidden host, which every port of the bridge gets."""
    def to_guest():
        listed = lab.dom0("netback-filter list --json").stdout
        mine = next(g for g in json.loads(listed)["guests"] if g["uuid"] == guest.uuid)
        dev = next(d for d in mine["devs"] if d["dev"] == guest.vif + "-emu")
        return sum(n["frames"] for why, n in dev["to_guest"].items() if not why.startswith("pass-"))
    mac = bytes.fromhex(FORBIDDEN_MAC.replace(":", ""))
    frame = (b"\xff" * 6 + mac + b"\x08\x06" + b"\0\1\x08\0\6\4\0\1" + mac + socket.inet_aton(FORBIDDEN4) + b"\0" * 6 +
             socket.inet_aton(guest.ip4))
    before = to_guest()
    with lab.ns_socket("forbidden", socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        for _ in range(20):
            raw.send(frame)
    wait_for(lambda: to_guest() >= before + 20, 30, "20 frames to the guest to be dropped")
    lab.ok(True, f"HVM: 20 frames to it are dropped on {guest.vif}-emu")
