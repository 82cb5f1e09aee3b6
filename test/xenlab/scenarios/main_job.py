# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job as `make demo` shows it, and what must hold after it: owner, configuration, reboot, nothing twice."""

import difflib
import json
import os
import re

import mainjob
from fglab import GUESTS


def main(lab):
    tap = lab
    out = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))),
                       "build", "main-job")
    config = lab.dom0("cat /etc/xen/web1.cfg").stdout
    xml = lab.dom0("virsh -c xen:///system dumpxml --inactive db1").stdout
    live = live_definitions(lab)
    scene = mainjob.run(lab, out, say=lambda text, at=None: print(f"# {text}", flush=True),
                        when_done=lambda done: owners(done, tap, config, xml, live))
    for ok, text in mainjob.checks(out):
        tap.ok(ok, text)
    tap.ok(scene.leftovers() == [], f"nothing is left behind {scene.leftovers()}")

    lab.capture_start("forbidden", os.path.join(out, "later.pcap"))
    same_again(scene, tap)


def live_definitions(lab):
    """What web1 and db1 are as they run, without what a new domain of them has anew: numbers of domains and terminals."""
    web1 = json.loads(lab.dom0("xl list -l web1").stdout)[0]
    web1.pop("domid")
    db1 = lab.dom0("virsh -c xen:///system dumpxml db1").stdout
    for changes in (r" id='\d+'", r"/dev/pts/\d+", r"vif\d+\.\d+"):
        db1 = re.sub(changes, "", db1)
    return {"web1": json.dumps(web1, indent=1, sort_keys=True), "db1": db1}


def ok_same(tap, before, after, text):
    difference = "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))
    tap.ok(not difference, text, difference)


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


def owners(scene, tap, config, xml, live):
    """Same definition as before; web1 has its daemon, libvirt runs db1."""
    lab = scene.lab
    tap.ok(lab.dom0("cat /etc/xen/web1.cfg").stdout == config, "web1's configuration file is what it was")
    tap.ok(lab.dom0("virsh -c xen:///system dumpxml --inactive db1").stdout == xml, "db1's definition is what it was")
    for name, definition in live_definitions(lab).items():
        ok_same(tap, live[name], definition, f"{name} runs with the definition it had")
    tap.ok("running" in lab.dom0("virsh -c xen:///system domstate db1").stdout, "libvirt says db1 runs")
    for name in ("web1", "db1"):
        guest = GUESTS[name]
        domid = lab.domid(name)
        uuid = lab.dom0(f"xenstore-read /local/domain/{domid}/vm").stdout.strip().rsplit("/", 1)[-1]
        mac = lab.dom0(f"xenstore-read /local/domain/0/backend/vif/{domid}/0/mac").stdout.strip()
        tap.ok(uuid == guest.uuid and mac == guest.mac, f"{name} has its UUID and MAC")
    owner = mainjob.daemons(lab, "web1")
    agent = lab.dom0("pidof fixgated").stdout.split()
    tap.ok(len(owner) == 1 and owner[0] not in agent, "web1 has one xl daemon, which is not the agent", f"xl {owner}, agent {agent}")
