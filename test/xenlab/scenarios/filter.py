# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter under PV guests that reboot and never stop to send (fgbeacon.py): a bridge, a NIC that is plugged in, Open vSwitch, a routed
vif. FG_STEPS picks some of the steps.

From `isolate` to `release` the forbidden host must not see one frame, whatever the guest does; that the guest did try is read
from the filter's counters.
"""

import os
import time

import fgbeacon
from fgbeacon import Beacon, backend, ended, isolated, started
from fglab import DOM0_4, wait_for

REBOOTS = int(os.environ.get("FG_REBOOTS", "10"))
STEPS = "reboots,hotplug,openvswitch,routed"


def main(lab):
    fgbeacon.steps(lab, globals(), os.environ.get("FG_STEPS", STEPS))


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
