# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles that were tampered with, a fix that fails, a fix that hangs, rollouts that are cancelled in time and too late."""

import json
import os

import fgbeacon
from fglab import GUESTS, wait_for
from fgscene import CHECK_OK, END_STATES, RUN_OK, Scene

EXIT_1 = "#!/bin/sh\necho 'changing the disk before failing'\ndd if=/dev/zero of=/root/junk bs=1M count=4\nexit 1\n"
# Before the agent makes a guest anew, what is on its disk? The guest cannot run before this ends.
XL = """#!/bin/sh
case " $* " in
*" create -p "*"{cfg} "*) {digest} | cut -d' ' -f1 >>{out} ;;
esac
exec /usr/sbin/xl "$@"
"""
RESTARTS = "/root/web1-restarts"
HANGS = "#!/bin/sh\necho begun\ntouch /root/junk\nexec sleep 3600\n"


def tamper(scene, digest, offset):
    """Flip one bit of the blob in the server's store, as a thief of the server could. Returns what puts it back."""
    path = next(os.path.join(d, f) for d, _, files in os.walk(scene.server_dir) for f in files if digest in f)
    with open(path, "r+b") as f:
        f.seek(offset)
        old = f.read(1)
        f.seek(offset)
        f.write(bytes([old[0] ^ 0x10]))
    return path, offset, old


def mend(path, offset, old):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(old)


def lengths(path):
    """(head, file) lengths of a bundle, from its header (include/fixgate/bundle.h)."""
    with open(path, "rb") as f:
        header = f.read(80)
    cms, hashes, payload = (int.from_bytes(header[o:o + 8], "big") for o in (16, 24, 32))
    return 80, cms, hashes, payload


def flipped_head(scene, tap):
    """A flipped byte in header, signature or hash list: rejected, guest untouched."""
    fix = "flip-1"
    path = scene.bundle(fix)
    scene.publish(path)
    header, cms, hashes, payload = lengths(path)
    digest = next(f["digest"] for f in scene.fixes() if f["fix"] == fix)
    domid = scene.lab.domid("web1")
    places = {"header": 20, "signature": header + cms - 20, "certificate": header + cms // 2,
              "hash list": header + cms + hashes // 2}
    for place, offset in places.items():
        undo = tamper(scene, digest, offset)
        after = scene.now()
        scene.offer(fix, ["web1"], force=True)
        end = scene.wait_end("web1", 120, fix=fix, after=after)
        mend(*undo)
        scene.wait_status("web1", fix, {"rejected"}, 60)    # until then the server says "offered already"
        tap.ok(end["state"] == "rejected", f"flipped byte in the {place}: {end['state']} ({end.get('reason')})")
    tap.ok(scene.lab.domid("web1") == domid and scene.free("web1"), "the guest was not touched")
    tap.ok(not any(e["state"] == "isolated" for e in scene.events_of("web1", fix)), "it was never isolated")
    return fix, digest, header + cms + hashes + payload // 2


def flipped_payload(scene, tap, fix, undo, after):
    """A flipped byte in the payload, offered to idle1: the fix VM sees it, everything is undone."""
    end = scene.wait_end("idle1", 300, fix=fix, after=after)
    mend(*undo)
    tap.ok(end["state"] in ("failed", "rolled-back"), f"flipped byte in the payload: {end['state']} ({end.get('reason')})")
    tap.ok(scene.isolated("idle1"), "idle1 is isolated (on_failure = isolate)")
    scene.ctl("release", "idle1")
    back_as_before(scene, tap, "idle1")
    tap.ok(scene.lab.guest("idle1", "dpkg-query -W -f '${Version}' fgdemo").stdout.strip() == "1.0", "nothing was installed")


def back_as_before(scene, tap, name):
    guest = GUESTS[name]
    wait_for(lambda: scene.lab.banner(name), 120, f"{name} to answer")
    info = scene.lab.dom0(f"xl network-list {name} | tail -n +2; cat /proc/$(pgrep -f 'xl create.*{name}' | head -1)/comm").stdout
    tap.ok(guest.mac in info.lower() and "xl" in info.split()[-1], f"{name} runs again with its MAC and its xl daemon")
    tap.ok(guest.uuid in scene.lab.dom0(f"xl vm-list | grep {name}").stdout, f"{name} has its UUID")


def entry_fails(scene, tap, beside):
    """Exit status 1 after writing to the disk: failed, the disk byte-identical, the guest runs again, isolated by policy."""
    fix = "exit-1"
    scene.publish(scene.bundle(fix, run=EXIT_1))
    scene.lab.put_text(XL.format(cfg="/etc/xen/web1.cfg", digest=scene.digest_command("web1"), out=RESTARTS), "/usr/local/sbin/xl", 0o755)
    tap.ok(scene.lab.dom0("command -v xl").stdout.strip() == "/usr/local/sbin/xl", "the agent's xl looks at web1's disk first")
    halt = scene.agent_signal("STOP", "web1", fix, "stopped")
    after = scene.now()
    scene.offer(fix, ["web1"], force=True)
    before = digest_when_stopped(scene, tap, "web1", fix, halt)
    beside()        # not sooner: libxl in an agent that is halted while it destroys a domain gives up its hot-plug scripts
    cancelled_in_time(scene, tap)
    end = scene.wait_end("web1", 300, fix=fix, after=after)
    tap.ok(end["state"] == "failed" and "1" in (end.get("reason") or ""), f"entry exits 1: {end['state']} ({end.get('reason')})")
    restarts = scene.lab.dom0(f"cat {RESTARTS}; rm /usr/local/sbin/xl").stdout.split()
    tap.ok(restarts == [before], "web1 was made anew once, from a disk that was byte-identical to what it was when it stopped",
           f"{before} {restarts}")
    tap.ok(scene.isolated("web1"), "web1 is isolated (on_failure = isolate)")
    back = scene.guest_state("web1")
    tap.ok(back is not None, "web1 runs again")
    scene.ctl("release", "web1")
    tap.ok(scene.free("web1"), "an operator releases it")
    back_as_before(scene, tap, "web1")
    tap.ok(scene.lab.guest("web1", "test -e /root/junk", check=False).returncode != 0, "what the fix wrote is not there")
    tap.ok(scene.status("web1", fix).get("status") == "failed", "the server lists it as failed")


def digest_when_stopped(scene, tap, name, fix, halt):
    """The agent is halted as soon as it said `stopped`, so that no fix VM runs yet: the disk is what the guest has left."""
    wait_for(lambda: halt.poll() is not None, 300, f"{name} to be stopped, and the agent halted")
    domains = scene.lab.domains()
    fix_vm = domains.get("fixgate-" + scene.events_of(name, fix)[-1]["job"][:8])
    tap.ok(name not in domains and (not fix_vm or "p" in fix_vm["state"]), f"{name} is gone, its fix VM has not run yet", domains)
    digest = scene.digest(name)
    scene.lab.dom0("kill -CONT $(pidof fixgated)")
    return digest


def cancelled_in_time(scene, tap):
    """Two jobs have the two places for fix VMs. A third one waits for a place, and its rollout is cancelled."""
    scene.wait_event("idle1", {"isolated"}, 120)
    domid = scene.lab.domid("db1")
    rollout = scene.rollout("exit-1", ["db1"], "100%")
    scene.wait_event("db1", {"queued"}, 60)
    scene.admin("rollout", "cancel", rollout)
    end = scene.wait_end("db1", 60)
    tap.ok(end["state"] == "rejected" and "cancelled" in (end.get("reason") or ""),
           f"a rollout cancelled before its guest is isolated: {end['state']} ({end.get('reason')})")
    tap.ok(not any(e["state"] == "isolated" for e in scene.events_of("db1")) and scene.lab.domid("db1") == domid and scene.free("db1"),
           "the guest was never isolated, and is what it was")
    wait_for(lambda: scene.rollout_show(rollout)["state"] == "cancelled", 60, "the rollout to be cancelled")
    tap.ok(scene.rollout_show(rollout)["waves"] == [{"cancelled": 1}], f"the rollout counts it: {scene.rollout_show(rollout)['waves']}")


def filter_of(scene, uuid):
    """For each netdev that the filter has for it (a fix VM has its job's UUID): is it closed?"""
    listed = json.loads(scene.lab.dom0("netback-filter list --json").stdout)
    return [dev["closed"] for g in listed["guests"] if g["uuid"] == uuid for dev in g["devs"]]


def byte_identical(scene, tap):
    """A guest that was off: nobody else writes its disk, so the digests before and after the whole job must be equal."""
    scene.lab.dom0("xl shutdown -w idle1", timeout=120)
    wait_for(lambda: scene.client("idle1")["state"] == "off", 120, "the server to list idle1 as off")
    before = scene.digest("idle1")
    hang = "hang-1"
    scene.publish(scene.bundle(hang, run=HANGS, timeout_s=15))
    after = scene.now()
    rollout = scene.rollout(hang, ["idle1"], "100%")
    job = scene.wait_event("idle1", {"fixing"}, 120, fix=hang, after=after)["job"]
    scene.admin("rollout", "cancel", rollout)       # too late for this guest: its job goes on to a safe end
    wait_for(lambda: filter_of(scene, job), 60, "the fix VM's NIC to be filtered")
    wait_for(lambda: all(filter_of(scene, job) or [False]), 60, "dom0 to close the fix VM's NIC while the entry hangs")
    tap.ok(not any(e["state"] in END_STATES and e["t"] >= after for e in scene.events_of("idle1", hang)),
           "dom0 has closed the NIC of the fix VM whose entry hangs")
    end = scene.wait_end("idle1", 300, fix=hang, after=after)
    tap.ok(end["state"] in ("failed", "rolled-back"), f"a fix that hangs: {end['state']} ({end.get('reason')})")
    tap.ok("cancelled" not in (end.get("reason") or ""), "its rollout was cancelled when it was isolated already, and the job went on")
    wait_for(lambda: scene.rollout_show(rollout)["state"] == "cancelled", 60, "the rollout to be cancelled")
    tap.ok(scene.rollout_show(rollout)["waves"] == [{"failed": 1}], f"the rollout counts its end: {scene.rollout_show(rollout)['waves']}")
    tap.ok(scene.digest("idle1") == before, "idle1, off: its disk is byte-identical after the hung fix")
    tap.ok(scene.guest_state("idle1") is None, "it is still off")

    good = "good-off"
    scene.publish(scene.bundle(good, run=RUN_OK, check=CHECK_OK))
    after = scene.now()
    scene.offer(good, ["idle1"], force=True)
    end = scene.wait_end("idle1", 300, fix=good, after=after)
    tap.ok(end["state"] == "done", f"a guest that is off is fixed: {end['state']} ({end.get('reason')})")
    tap.ok(scene.guest_state("idle1") is None, "and is not booted")
    tap.ok(scene.digest("idle1") != before, "its disk has changed")
    tap.ok(scene.leftovers() == [], f"nothing is left behind {scene.leftovers()}")


def main(lab):
    tap = lab
    fgbeacon.alone(lab, "web1", "idle1")
    # What looking first, without touching, does is for main_job: here it is one more VM for each job.
    with Scene.started(lab, inspect="no") as scene:
        fix, digest, offset = flipped_head(scene, tap)
        undo = tamper(scene, digest, offset)
        after = scene.now()
        # Two jobs at the same time: what one guest's fix does is nothing to the other.
        entry_fails(scene, tap, beside=lambda: scene.offer(fix, ["idle1"], force=True))
        flipped_payload(scene, tap, fix, undo, after)
        tap.ok(scene.leftovers() == [], f"nothing is left behind {scene.leftovers()}")
        byte_identical(scene, tap)
