# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job as `make demo` shows it, and what must hold after it: owner, configuration, reboot, nothing twice."""

import os
import time

import mainjob
import pcapread
from fglab import GUESTS, wait_for


def main(lab):
    tap = lab
    out = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))),
                       "build", "main-job")
    config = lab.dom0("cat /etc/xen/web1.cfg").stdout
    xml = lab.dom0("virsh -c xen:///system dumpxml --inactive db1").stdout
    scene = mainjob.run(lab, out, say=lambda text, at=None: print(f"# {text}", flush=True))
    for ok, text in mainjob.checks(out):
        tap.ok(ok, text)
    fix_vm_is_heard_by_the_server_only(scene, tap, out)
    tap.ok(scene.leftovers() == [], f"nothing is left behind {scene.leftovers()}")

    lab.capture_start("forbidden", os.path.join(out, "later.pcap"))
    same_again(scene, tap)
    owners(scene, tap, config, xml)


def fix_vm_is_heard_by_the_server_only(scene, tap, out):
    """Frames with the guest's MAC at the server while the fix VM runs: some before `verified`, none after it."""
    for name in ("web1", "db1"):
        guest = GUESTS[name]
        job = scene.events_of(name)[0]["job"]
        verified = scene.step_time(job, "closed")
        stopped = scene.wait_event(name, {"stopped"}, 1)["t"]
        released = scene.wait_event(name, {"released"}, 1)["t"]
        at_server = pcapread.sent_by(os.path.join(out, "server.pcap"), {guest.mac}, stopped, verified)
        tap.ok(bool(at_server), f"{name}: the fix VM was heard by the server ({len(at_server)} frames)")
        after = pcapread.sent_by(os.path.join(out, "server.pcap"), {guest.mac}, verified, released)
        tap.ok(not after, f"{name}: and by nobody after the NIC was closed ({len(after)} frames)")


def same_again(scene, tap):
    """The same fix offered again: not-needed from the ledger, the guest keeps its network and its life."""
    lab = scene.lab
    domid = lab.domid("web1")
    after = scene.now()
    scene.offer(mainjob.FIX, ["web1"], force=True)
    end = scene.wait_end("web1", 60, fix=mainjob.FIX, after=after)
    tap.ok(end["state"] == "not-needed", f"offered again: {end['state']} ({end.get('reason')})")
    tap.ok(lab.domid("web1") == domid, "web1 was not restarted")
    again = [e for e in scene.events_of("web1", mainjob.FIX) if e["t"] >= after]
    tap.ok(not any(e["state"] == "isolated" for e in again), "web1 was not isolated")
    tap.ok(scene.status("web1", mainjob.FIX)["status"] == "fixed", "the server still lists web1 as fixed")


def owners(scene, tap, config, xml):
    """Same definition as before; web1's daemon reboots it when it reboots itself; libvirt runs db1."""
    lab = scene.lab
    tap.ok(lab.dom0("cat /etc/xen/web1.cfg").stdout == config, "web1's configuration file is what it was")
    tap.ok(lab.dom0("virsh -c xen:///system dumpxml --inactive db1").stdout == xml, "db1's definition is what it was")
    tap.ok("running" in lab.dom0("virsh -c xen:///system domstate db1").stdout, "libvirt says db1 runs")
    for name in ("web1", "db1"):
        guest = GUESTS[name]
        domid = lab.domid(name)
        uuid = lab.dom0(f"xenstore-read /local/domain/{domid}/vm").stdout.strip().rsplit("/", 1)[-1]
        mac = lab.dom0(f"xenstore-read /local/domain/0/backend/vif/{domid}/0/mac").stdout.strip()
        tap.ok(uuid == guest.uuid and mac == guest.mac, f"{name} has its UUID and MAC")
    old = lab.domid("web1")
    began = time.time()
    lab.guest("web1", "(sleep 1; reboot) >/dev/null 2>&1 &", check=False)
    wait_for(lambda: lab.domid("web1") not in (None, old), 180, "web1 to come back after `reboot` inside it")
    wait_for(lambda: lab.banner("web1") == "fixed 1.1", 120, "web1 to answer after its reboot")
    tap.ok(True, f"`reboot` inside web1 works: its xl daemon made a new domain ({time.time() - began:.0f} s)")
