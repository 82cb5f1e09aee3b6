# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of fixgated in each state in which a guest is touched: it stays isolated until `released`, and the job ends well."""

import os
import time

import fgbeacon
import pcapread
from fglab import GUESTS, wait_for
from fgscene import Scene

FIX = "fgdemo-1.1"
ISOLATED = ("isolated", "stopped", "fixing", "fixed")
CLOCKS = 0.5        # seconds: so well are dom0's clock and ours compared
STATES = ISOLATED + ("released", "rebooting")


def main(lab):
    fgbeacon.alone(lab, "web1")
    # What looking first, without touching, does is for main_job: here it is one more VM for each job.
    with Scene.started(lab, inspect="no") as scene:
        capture = lab.capture_start("forbidden")
        lab.forbidden_start()
        guest = GUESTS["web1"]
        wait_for(lambda: pcapread.sent_by(capture, {guest.mac}, 0, time.time()), 60, "web1 to be heard")
        scene.publish(scene.bundle(FIX))
        killer = scene.agent_signal("KILL", "web1", FIX, STATES[0])
        scene.offer(FIX, ["web1"])
        for state, following in zip(STATES, STATES[1:] + (None,)):
            killed_in(lab, scene, killer, state)
            killer = scene.agent_signal("KILL", "web1", FIX, following) if following else None
            scene.agent_start()
        end = scene.wait_end("web1", 600, fix=FIX)
        lab.ok(end["state"] == "done", f"after {len(STATES)} kills the job ends: {end['state']} ({end.get('reason')})")
        silent_while_isolated(lab, scene, capture, guest)
        lab.wait_for(lambda: lab.banner("web1") == "fixed 1.1", 120, "web1 to answer 'fixed 1.1'")
        lab.ok(True, "web1 answers 'fixed 1.1'")
        lab.ok(scene.free("web1"), "it has its network back")
        lab.ok(scene.leftovers() == [], f"nothing is left behind {scene.leftovers()}")
        scene.wait_status("web1", FIX, {"fixed"}, 60)
        done = [e for e in scene.ctl_json("events") if e["guest"] == "web1" and e["state"] == "done"]
        lab.ok(len(done) == 1, f"it is done once ({len(done)})")
        os.remove(lab.capture_stop("forbidden"))


def killed_in(lab, scene, killer, state):
    """What holds while no agent lives."""
    wait_for(lambda: killer.poll() is not None, 400, f"the agent to be killed in {state}")
    domains = [d for d in lab.domains() if d.startswith(("web1", "fixgate-"))]
    journal = scene.journal_states().get("web1")
    lab.ok(journal == state, f"killed in {state}: so says the journal", f"it says {journal}")
    filtered, marked, runs = scene.isolation("web1")
    if state in ISOLATED:
        lab.ok(marked and (filtered or not runs), f"killed in {state}: the guest stays isolated",
               f"filter {filtered}, mark {marked}, runs {runs}")
    else:
        lab.ok(not filtered and not marked, f"killed in {state}: the guest stays released", f"filter {filtered}, mark {marked}")
    lab.ok(len(domains) <= 1, f"killed in {state}: at most one domain has its disks ({domains})")


def silent_while_isolated(lab, scene, capture, guest):
    """From the agent's own times: that of `released` was read when the agent was dead already."""
    offset = scene.clock_offset()
    at = {e["state"]: e["at_ms"] / 1000 + offset for e in scene.ctl_json("events") if e["guest"] == guest.name and e["fix"] == FIX}
    begin, end = at["isolated"] + CLOCKS, at["released"] - CLOCKS
    heard = pcapread.sent_by(capture, {guest.mac}, begin - 10, begin)
    lab.ok(bool(heard), f"web1 was heard before it was isolated ({len(heard)} frames in 10 s)")
    leaked = pcapread.sent_by(capture, {guest.mac, guest.ip4, guest.ip6}, begin, end)
    lab.ok(not leaked, f"the forbidden host saw no frame of it in {end - begin:.0f} s ({len(leaked)})", "\n".join(map(str, leaked[:5])))
