# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter under guests with hardware virtualisation: PVH, HVM. FG_STEPS picks one of the steps.

QEMU's emulation of nested paging is unreliable for a kernel that boots (README), so the PVH guest, web2, is not rebooted, and
the HVM guest has only its firmware, which asks for a boot server for ever: real frames through its real device model and tap,
from the first moment of each new domain.
"""

import json
import os
import socket
import time

import fgbeacon
from fgbeacon import Beacon, backend, ended
from fglab import FORBIDDEN4, FORBIDDEN_MAC, GUESTS, wait_for

STEPS = "pvh,hvm"


def main(lab):
    fgbeacon.steps(lab, globals(), os.environ.get("FG_STEPS", STEPS))


def pvh(lab, scene, capture):
    """web2 with its talkers, as it ran in the snapshot."""
    web2 = GUESTS["web2"]
    guest = Beacon(lab, "web2", web2.number, capture)
    lab.dom0("xl unpause web2")
    began = time.time()
    lab.forbidden_start()
    guest.heard(began)
    lab.ok(lab.dom0("xl list -l web2 | grep -c '\"type\": \"pvh\"'", check=False).stdout.strip() == "1", "web2 is a PVH guest")
    begin = guest.isolate(scene)
    wait_for(lambda: sum(guest.netdevs().get(guest.vif, {}).values()) > 50, 120, "50 frames of web2 to be dropped", every=0.5)
    lab.ok(list(guest.netdevs()) == [guest.vif], "PVH: isolated while it runs, its frames are dropped", guest.netdevs())
    guest.ok_silent(begin, "PVH")
    guest.ok_released(scene, "PVH")
    ended(guest)


def hvm(lab, scene, capture):
    """It has two netdevs: vifD.N and, for the emulated NIC, vifD.N-emu. What its PV drivers do later, PV guests show."""
    backend(lab, "vif-bridge")
    guest = Firmware(lab, "hvm1", 24, capture)
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
    guest.ok_to_guest()
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
    ended(guest)


# --- an HVM guest ---------------------------------------------------------------------------------------------------

DISK = "/var/lib/xen/images/hvm1.img"     # empty: the firmware goes on to the network
HVM = {"type": '"hvm"', "kernel": "", "ramdisk": "", "extra": "", "boot": '"n"', "vga": '"none"', "memory": "96",
       "disk": f'[ "format=raw,vdev=hda,access=rw,target={DISK}" ]',
       "device_model_override": '"/usr/libexec/xen-qemu-system-i386"'}


class Firmware(Beacon):
    """An HVM guest that has only its firmware."""

    def __init__(self, lab, name, number, capture):
        super().__init__(lab, name, number, capture)
        self.who = {self.mac}
        lab.dom0(f"truncate -s 1M {DISK}")

    def new(self):
        """From nothing; returns when the domain is there."""
        ended(self)
        self.create("bridge=xenbr0,model=e1000", **HVM)

    def both(self):
        return {self.vif, self.vif + "-emu"}

    def asks(self, heard):
        """Wait until its firmware has sent something; returns what heard() does."""
        return wait_for(heard, 150, f"{self.name} to ask for a boot server", every=0.5)

    def to_guest(self):
        """Frames to it that were dropped on its emulated NIC's netdev."""
        listed = self.lab.dom0("netback-filter list --json").stdout
        mine = next(g for g in json.loads(listed)["guests"] if g["uuid"] == self.uuid)
        dev = next(d for d in mine["devs"] if d["dev"] == self.vif + "-emu")
        return sum(n["frames"] for why, n in dev["to_guest"].items() if not why.startswith("pass-"))

    def ok_to_guest(self):
        """A broadcast of the forbidden host, which every port of the bridge gets."""
        mac = bytes.fromhex(FORBIDDEN_MAC.replace(":", ""))
        frame = (b"\xff" * 6 + mac + b"\x08\x06" + b"\0\1\x08\0\6\4\0\1" + mac + socket.inet_aton(FORBIDDEN4) + b"\0" * 6 +
                 socket.inet_aton(self.ip4))
        before = self.to_guest()
        with self.lab.ns_socket("forbidden", socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            for _ in range(20):
                raw.send(frame)
        wait_for(lambda: self.to_guest() >= before + 20, 30, "20 frames to the guest to be dropped")
        self.lab.ok(True, f"HVM: 20 frames to it are dropped on {self.vif}-emu")
