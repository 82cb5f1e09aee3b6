# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter under each kind of guest and of network: PV guests that reboot and never stop to send, PVH, HVM, Open vSwitch,
a routed vif. FG_STEPS picks some of the steps.

From `isolate` to `release` the forbidden host must not see one frame, whatever the guest does; that the guest did try is read
from the filter's counters. Most guests are beacons (fgbeacon.py); the PVH one is web2. QEMU's emulation of nested paging is
unreliable for a kernel that boots (README), so web2 is not rebooted, and the HVM guest has only its firmware, which asks for
a boot server for ever: real frames through its real device model and tap, from the first moment of each new domain.
"""

import json
import os
import socket
import time

import fgbeacon
from fgbeacon import Beacon
from fglab import DOM0_4, FORBIDDEN4, FORBIDDEN_MAC, GUESTS, wait_for
from fgscene import Scene

REBOOTS = int(os.environ.get("FG_REBOOTS", "10"))
STEPS = "pvh,reboots,hotplug,openvswitch,routed,hvm"


def main(lab):
    steps = os.environ.get("FG_STEPS", STEPS).split(",")
    fgbeacon.alone(lab)
    with Scene.started(lab) as scene:
        capture = lab.capture_start("forbidden")
        lab.dom0("echo 'vif.default.script=\"vif-fixgate\"' >>/etc/xen/xl.conf")
        fgbeacon.install(lab)
        for step in steps:
            began = time.time()
            globals()[step](lab, scene, capture)
            print(f"# {step}: {time.time() - began:.0f} s", flush=True)
        os.remove(lab.capture_stop("forbidden"))


def backend(lab, script):
    """What vif-fixgate hands over to."""
    lab.put_text(f"script = {script}\n", "/etc/fixgate/vif.conf")


def started(guest, vif):
    """A new domain of a beacon that nobody has isolated; returns when the forbidden host has heard it."""
    began = time.time()
    guest.create(vif)
    guest.heard(began)


def isolated(lab, scene, guest, what):
    """Isolate it while it runs; the time from which on it must be silent."""
    begin = guest.isolate(scene)
    lab.ok(guest.filtered(), f"{what}: isolated while it runs, its frames of all kinds are dropped")
    return begin


def ended(guest):
    guest.lab.dom0(f"xl destroy {guest.name}", check=False)
    wait_for(lambda: guest.domid is None, 60, f"{guest.name} to be gone")


# --- steps --------------------------------------------------------------------------------------------------------

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


def reboots(lab, scene, capture):
    guest = Beacon(lab, "bridge1", 21, capture)
    started(guest, "bridge=xenbr0")
    begin = isolated(lab, scene, guest, "reboots")
    seen = set()
    for _ in range(REBOOTS):
        guest.reboot()
        guest.filtered()
        seen.update(guest.netdevs())
    lab.ok(len(seen) == REBOOTS, f"{len(seen)} new vifs in {REBOOTS} reboots inside the guest, each filtered", sorted(seen))
    ended(guest)
    guest.create("bridge=xenbr0")
    lab.ok(guest.filtered() and list(guest.netdevs()) == [guest.vif],
           "a marked guest that was off and is started by libxl, through vif-fixgate, is filtered", guest.netdevs())
    guest.ok_silent(begin, f"{REBOOTS} reboots, a stop and a start")
    guest.ok_released(scene, "reboots")
    ended(guest)


def hotplug(lab, scene, capture):
    """A second NIC comes by a way that does not call vif-fixgate."""
    guest = Beacon(lab, "hot1", 26, capture)
    started(guest, "bridge=xenbr0")
    begin = isolated(lab, scene, guest, "hot-plug")
    second = guest.vif[:-1] + "1"
    mac = "00:16:3e:99:01:26"
    lab.dom0(f"xl network-attach {guest.name} mac={mac} bridge=xenbr0 script=vif-bridge", timeout=120)
    wait_for(lambda: second in guest.netdevs(), 60, "the second NIC to be filtered")
    filtered_from = time.time()
    guest.filtered(dev=second)
    lab.ok(True, f"hot-plug: {second} came by vif-bridge alone, and its frames of all kinds are dropped")
    passed = len(guest.sent(begin, filtered_from, who={mac}))
    told = [line for line in scene.agent_log().splitlines() if second in line and "was not filtered for" in line]
    lab.ok(len(told) <= 1 and (told or not passed), f"hot-plug: {passed} frames passed before; a window is told if there was one",
           "\n".join(told))
    guest.ok_silent(begin, "hot-plug, the first NIC")
    guest.ok_silent(filtered_from, "hot-plug, the second NIC", who={mac})
    guest.ok_released(scene, "hot-plug")
    ended(guest)


def openvswitch(lab, scene, capture):
    lab.dom0("systemctl -q unmask openvswitch-switch ovs-vswitchd ovsdb-server && systemctl start openvswitch-switch && "
             "ovs-vsctl add-br ovs0 && ip link set ovs0 up && ip link add ovs-x type veth peer name ovs-y && "
             "ip link set ovs-x up && ip link set ovs-y master xenbr0 up && ovs-vsctl add-port ovs0 ovs-x", timeout=180)

    def is_port():
        return guest.vif in lab.dom0("ovs-vsctl list-ports ovs0").stdout.split()
    backend(lab, "vif-openvswitch")
    guest = Beacon(lab, "ovs1", 22, capture)
    started(guest, "bridge=ovs0")
    lab.ok(is_port(), f"Open vSwitch: {guest.vif} is a port of it")
    begin = isolated(lab, scene, guest, "Open vSwitch")
    guest.reboot()
    lab.ok(guest.filtered() and is_port(), f"Open vSwitch: after a reboot {guest.vif} is filtered, and a port of it")
    guest.ok_silent(begin, "Open vSwitch")
    guest.ok_released(scene, "Open vSwitch")
    ended(guest)


def routed(lab, scene, capture):
    # vif-route takes dom0's address from eth0, which is a port of xenbr0 here.
    lab.dom0(f"sysctl -q net.ipv4.ip_forward=1 net.ipv4.conf.xenbr0.proxy_arp=1; ip addr add {DOM0_4}/32 dev eth0")
    backend(lab, "vif-route")
    guest = Beacon(lab, "routed1", 23, capture)
    started(guest, "script=vif-fixgate")
    lab.ok(f"dev {guest.vif}" in lab.dom0(f"ip route show {guest.ip4}").stdout, f"routed: the guest is behind {guest.vif}")
    begin = isolated(lab, scene, guest, "routed")
    guest.reboot()
    lab.ok(guest.filtered(), f"routed: after a reboot {guest.vif} is filtered")
    guest.ok_silent(begin, "routed")
    guest.ok_released(scene, "routed")
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
