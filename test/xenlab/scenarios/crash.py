# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of fixgated in each of isolated, stopped, fixing, fixed: the guest stays isolated, and the job ends well."""

import os

import pcapread
from fglab import GUESTS
from fgscene import Scene

FIX = "fgdemo-1.1"


def main(lab):
    tap = lab
    with Scene.started(lab) as scene:
        capture = lab.capture_start("forbidden")
        lab.forbidden_start()
        guest = GUESTS["web1"]
        scene.publish(scene.bundle(FIX))
        scene.offer(FIX, ["web1"])
        scene.wait_event("web1", {"isolated"}, 240, fix=FIX)
        begin = scene.events_of("web1", FIX)[-1]["t"]
        for state in ("isolated", "stopped", "fixing", "fixed"):
            scene.wait_event("web1", {state}, 300, fix=FIX)
            scene.agent_kill()
            running = [d for d in lab.domains() if d.startswith(("web1", "fixgate-"))]
            tap.ok(scene.isolated("web1"), f"killed in {state}: the guest stays isolated")
            tap.ok(len(running) <= 1, f"killed in {state}: at most one domain has its disks ({running})")
            scene.agent_start()
        end = scene.wait_end("web1", 600, fix=FIX)
        tap.ok(end["state"] == "done", f"after four kills the job ends: {end['state']} ({end.get('reason')})")
        released = scene.wait_event("web1", {"released"}, 1, fix=FIX)["t"]
        leaked = pcapread.sent_by(capture, {guest.mac, guest.ip4, guest.ip6}, begin, released)
        tap.ok(not leaked, f"the forbidden host saw no frame of it in {released - begin:.0f} s ({len(leaked)})")
        lab.wait_for(lambda: lab.banner("web1") == "fixed 1.1", 120, "web1 to answer 'fixed 1.1'")
        tap.ok(True, "web1 answers 'fixed 1.1'")
        tap.ok(not scene.isolated("web1"), "it has its network back")
        tap.ok(scene.leftovers() == [], f"nothing is left behind {scene.leftovers()}")
        scene.wait_status("web1", FIX, {"fixed"}, 60)
        done = [e for e in scene.ctl_json("events") if e["guest"] == "web1" and e["state"] == "done"]
        tap.ok(len(done) == 1, f"it is done once ({len(done)})")
        os.remove(lab.capture_stop("forbidden"))
