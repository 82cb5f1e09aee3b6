# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter under guests that reboot, and under other back ends than a bridge: Open vSwitch, a routed vif.

idle1's disk and NIC are used throughout: what changes is how it is run. From `isolate` to `release` the forbidden host must
not see one frame, whatever the guest does; that the guest did try is read from the filter's counters.
"""

import json
import os
import time

import pcapread
from fglab import DOM0_4, GUESTS, wait_for
from fgscene import Scene

GUEST = GUESTS["idle1"]
WHO = {GUEST.mac, GUEST.ip4, GUEST.ip6}
REBOOTS = int(os.environ.get("FG_REBOOTS", "10"))
DISK = f"format=raw,vdev=xvda,access=rw,target={GUEST.disk}"


def main(lab, steps=None):
    with Scene.started(lab) as scene:
        capture = lab.capture_start("forbidden")
        lab.forbidden_start()
        lab.dom0("echo 'vif.default.script=\"vif-fixgate\"' >>/etc/xen/xl.conf")
        for step in steps or (reboots, openvswitch, routed):
            print(f"# {step.__name__}", flush=True)
            step(lab, scene, capture)
        os.remove(lab.capture_stop("forbidden"))


# --- what all of them need ----------------------------------------------------------------------------------------

def start(lab, capture, vif, script="vif-bridge", **settings):
    """idle1 anew, with another definition; returns when the forbidden host has heard it."""
    lab.dom0("xl destroy idle1", check=False)
    wait_for(lambda: lab.domid("idle1") is None, 60, "idle1 to be gone")
    lines = {"name": '"idle1"', "uuid": f'"{GUEST.uuid}"', "type": '"pv"', "memory": "192", "vcpus": "1", "tsc_mode": '"native"',
             "kernel": '"/var/lib/xen/kernels/vmlinux"', "ramdisk": '"/var/lib/xen/kernels/guest-initrd.img"',
             "extra": '"root=/dev/xvda1 rw console=hvc0 quiet net.ifnames=0"', "disk": f'[ "{DISK}" ]',
             "vif": f'[ "mac={GUEST.mac},ip={GUEST.ip4},{vif}" ]', "on_poweroff": '"destroy"', "on_reboot": '"restart"',
             "on_crash": '"destroy"', **settings}
    lab.put_text("".join(f"{key} = {value}\n" for key, value in lines.items()), "/etc/xen/idle1.cfg")
    lab.put_text(f"script = {script}\n", "/etc/fixgate/vif.conf")
    began = time.time()
    lab.dom0("xl create /etc/xen/idle1.cfg", timeout=180)
    heard(lab, capture, began)


def heard(lab, capture, since):
    wait_for(lambda: pcapread.sent_by(capture, WHO, since, time.time()), 240, "idle1 to be heard")


def counters(lab):
    """(netdevs of idle1 in the kernel's filter, frames from it that the filter has dropped there)."""
    listed = json.loads(lab.dom0("netback-filter list --json").stdout)
    mine = next((g for g in listed["guests"] if g["uuid"] == GUEST.uuid), {"devs": []})
    dropped = 0
    for dev in mine["devs"]:
        dropped += sum(n["frames"] for reason, n in dev["from_guest"].items() if not reason.startswith("pass-"))
    return [dev["dev"] for dev in mine["devs"]], dropped


def tried(lab, old):
    """Wait for a new domain that is filtered and has tried to send; its netdevs."""
    wait_for(lambda: lab.domid("idle1") not in (None, old), 120, "idle1 to be a new domain")
    wait_for(lambda: counters(lab)[1] > 20, 240, "the new domain's frames to be dropped", every=0.5)
    return counters(lab)[0]


def isolate(lab, scene, what):
    scene.ctl("isolate", "idle1", timeout=120)
    begin = time.time()
    before = counters(lab)[1]
    wait_for(lambda: counters(lab)[1] > before, 60, "frames of the isolated guest to be dropped")
    lab.ok(True, f"{what}: isolated while it runs, its frames are dropped")
    return begin


def silent(lab, capture, begin, what):
    leaked = pcapread.sent_by(capture, WHO, begin, time.time())
    lab.ok(not leaked, f"{what}: the forbidden host saw no frame in {time.time() - begin:.0f} s ({len(leaked)})",
           "\n".join(map(str, leaked[:5])))


def release(lab, scene, capture, what):
    began = time.time()
    scene.ctl("release", "idle1", timeout=120)
    heard(lab, capture, began)
    lab.ok(counters(lab)[0] == [], f"{what}: released, it is heard again and no rule is left")


def reboot_inside(lab):
    old = lab.domid("idle1")

    def said():
        lab.guest_console("idle1", "(sleep 1; reboot -f) >/dev/null 2>&1 &", check=False, timeout=20)
        return True
    wait_for(said, 120, "a shell on idle1's console")
    return old


# --- steps --------------------------------------------------------------------------------------------------------

def reboots(lab, scene, capture):
    start(lab, capture, "bridge=xenbr0")
    begin = isolate(lab, scene, "reboots")
    seen = set()
    for n in range(REBOOTS):
        devs = tried(lab, reboot_inside(lab))
        seen.update(devs)
        print(f"# reboot {n + 1}: {' '.join(devs)}", flush=True)
    lab.ok(len(seen) == REBOOTS, f"{len(seen)} new vifs in {REBOOTS} reboots inside the guest, each filtered ({sorted(seen)})")
    silent(lab, capture, begin, f"{REBOOTS} reboots")
    release(lab, scene, capture, "reboots")


def openvswitch(lab, scene, capture):
    lab.dom0("systemctl -q unmask openvswitch-switch ovs-vswitchd ovsdb-server && systemctl start openvswitch-switch && "
             "ovs-vsctl add-br ovs0 && ip link set ovs0 up && ip link add ovs-x type veth peer name ovs-y && "
             "ip link set ovs-x up && ip link set ovs-y master xenbr0 up && ovs-vsctl add-port ovs0 ovs-x", timeout=180)
    start(lab, capture, "bridge=ovs0", script="vif-openvswitch")
    vif = lab.vif("idle1")
    lab.ok(vif in lab.dom0("ovs-vsctl list-ports ovs0").stdout.split(), f"Open vSwitch: {vif} is a port of it")
    begin = isolate(lab, scene, "Open vSwitch")
    devs = tried(lab, reboot_inside(lab))
    lab.ok(devs == [lab.vif("idle1")] and devs[0] in lab.dom0("ovs-vsctl list-ports ovs0").stdout.split(),
           f"Open vSwitch: after a reboot {devs} is filtered, and a port of it")
    silent(lab, capture, begin, "Open vSwitch")
    release(lab, scene, capture, "Open vSwitch")


def routed(lab, scene, capture):
    # vif-route takes dom0's address from eth0, which is a port of xenbr0 here.
    lab.dom0(f"sysctl -q net.ipv4.ip_forward=1 net.ipv4.conf.xenbr0.proxy_arp=1; ip addr add {DOM0_4}/32 dev eth0")
    start(lab, capture, "script=vif-fixgate", script="vif-route")
    vif = lab.vif("idle1")
    lab.ok(f"dev {vif}" in lab.dom0(f"ip route show {GUEST.ip4}").stdout, f"routed: the guest is behind {vif}")
    begin = isolate(lab, scene, "routed")
    devs = tried(lab, reboot_inside(lab))
    lab.ok(devs == [lab.vif("idle1")], f"routed: after a reboot {devs} is filtered")
    silent(lab, capture, begin, "routed")
    release(lab, scene, capture, "routed")
