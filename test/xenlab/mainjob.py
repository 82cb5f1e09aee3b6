# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on the emulated Xen: enrol, publish, begin a rollout, and from there nobody touches anything.

run() does it and leaves the artefacts; checks() looks at the artefacts only. `test/xenlab/demo` shows it to a person,
the scenario main_job runs it as a test.
"""

import glob
import json
import os
import shlex
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "talker"))

import fglab
import pcapread
import seqcheck
from fglab import GUESTS, wait_for
from fgscene import TOP, Scene

FIX = "fgdemo-1.1"
OFFERED = ("web1", "web2", "db1")
WAVES = "1,100%"            # web1, whose UUID is the first, then the others
FIXED = ["offered", "isolated", "stopped", "fixing", "fixed", "released", "rebooting", "done"]
CLOCKS = 0.5                # seconds: so well are dom0's clock and ours compared
WANTED = {"web1": {"fixed"}, "web2": {"not-needed", "not-applicable"}, "db1": {"fixed"}}
CAPTURES = ("forbidden", "server", "sw")    # sw: all that leaves or reaches dom0
BYSTANDERS = ("web2", "idle1")


def identities(guest):
    return {guest.mac, guest.ip4, guest.ip6}


def run(lab, out, say=lambda text: None, progress=lambda text: None, when_done=lambda scene: None):
    """The whole job; artefacts in `out`. Returns the Scene, with the lab still up and the captures stopped.

    when_done is called when the rollout is done, before the guests are rebooted to measure how long that takes.
    """
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    scene = Scene(lab, os.path.join(out, "work"))
    for which in CAPTURES:
        lab.capture_start(which, os.path.join(out, which + ".pcap"))
    near = {name: near_start(lab, name) for name in BYSTANDERS}
    lab.forbidden_start(out)
    say("the guests talk to the forbidden host and to each other")
    wait_for(lambda: all(pcapread.sent_by(os.path.join(out, "forbidden.pcap"), {g.mac}, 0, time.time())
                         for g in GUESTS.values()), 60, "all four guests to be heard at the forbidden host")

    say("fix server: keys, certificates, database")
    scene.server_init()
    scene.server_start()
    say("agent: installed in dom0, enrolled with a one-time code, started")
    scene.install()
    scene.agent_start()
    wait_for(lambda: len([c for c in scene.clients() if c["name"] in GUESTS]) == 4, 90, "the server to know all guests")
    path = scene.bundle(FIX)
    shutil.copy(path, out)
    shutil.copytree(scene.trust, os.path.join(out, "trust"))
    scene.publish(path)
    say(f"fix: built, signed, verified, published; {scene.admin('catalogue').stdout.splitlines()[0]}")
    banners = {name: lab.banner(name) for name in GUESTS}
    say("before: " + ", ".join(f"{n} answers '{b}'" for n, b in sorted(banners.items())))
    began = time.time()
    rollout = scene.rollout(FIX, OFFERED, WAVES)
    say(f"rollout {rollout}: {', '.join(OFFERED)} in waves of {WAVES}; from here nobody touches anything")
    _follow(scene, began, say, progress)
    wait_for(lambda: scene.rollout_show(rollout)["state"] == "done", 30, "the rollout to be done")
    say(f"rollout {rollout} is done", time.time() - began)
    with open(os.path.join(out, "rollout.json"), "w", encoding="utf-8") as f:
        json.dump(scene.rollout_show(rollout), f, indent=1)
    result = {name: lab.banner(name) for name in GUESTS}
    wait_for(lambda: all("fixed" in lab.banner(n) for n in ("web1", "db1")), 120, "web1 and db1 to answer 'fixed'")
    result = {name: lab.banner(name) for name in GUESTS}
    say("after: " + ", ".join(f"{n} answers '{b}'" for n, b in sorted(result.items())))
    ended = time.time()
    when_done(scene)
    owners = [daemons(lab, "web1")]
    baseline = {name: _plain_reboot(lab, out, name, say) for name in ("web1", "db1")}
    owners.append(daemons(lab, "web1"))

    clients = scene.clients()
    with open(os.path.join(out, "clients.json"), "w", encoding="utf-8") as f:
        json.dump({"clients": clients}, f, indent=1)
    for which in CAPTURES:
        lab.capture_stop(which)
    for name, process in near.items():
        near_stop(lab, name, process, os.path.join(out, f"near-{name}.pcap"))
    lab.forbidden_stop()
    _write_timeline(scene, out)
    _write_summary(scene, out, began, ended, banners, result, baseline, owners)
    return scene


def _follow(scene, began, say, progress):
    """Tell each change of state as it comes, until the server lists what is wanted."""
    shown, last_poll, done = 0, 0.0, False
    deadline = began + 900
    while not done:
        fglab.check_emulator()
        with scene._news:
            scene._news.wait(1.0)
            fresh, shown = scene.events[shown:], len(scene.events)
        for e in fresh:
            reason = f"  ({e['reason']})" if e.get("reason") else ""
            say(f"{e['guest']:6} {e['state']}{reason}", e["t"] - began)
            if e["state"] in ("failed", "rejected", "rolled-back", "held") and e["guest"] in OFFERED:
                raise fglab.LabError(f"{e['guest']} is {e['state']}: {e.get('reason')}\n{scene.failure()}")
        if not fresh:
            latest = {}
            for e in scene.events:
                latest[e["guest"]] = e["state"]
            progress(f"{time.time() - began:6.1f} s  " + ", ".join(f"{g} {s}" for g, s in sorted(latest.items())))
        if time.time() - last_poll > 2:
            last_poll = time.time()
            done = all(scene.status(n, FIX).get("status") in s for n, s in WANTED.items())
        if time.time() > deadline:
            raise fglab.LabError(f"no end within 900 s\n{scene.failure()}")
    say("the server lists web1 and db1 as fixed, web2 as not needed", time.time() - began)


def silence(out, guest, begin, end):
    """Longest time between two frames of the guest at the forbidden host, in seconds."""
    times = [begin] + [f.time for f in pcapread.sent_by(os.path.join(out, "forbidden.pcap"), {guest.mac}, begin, end)] + [end]
    return max(b - a for a, b in zip(times, times[1:]))


def near_start(lab, name):
    """Capture what a neighbour on dom0's own bridge gets from the guests that are to be fixed; it never comes out of dom0."""
    who = " or ".join(f"ether src {GUESTS[guest].mac}" for guest in WANTED if guest not in BYSTANDERS)
    process = lab.dom0_popen(f"exec tcpdump -i {lab.vif(name)} -U -n -s 96 -Z root -w /root/near-{name}.pcap {shlex.quote(who)} 2>&1",
                             stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "listening on" in line:
            return process
    raise fglab.LabError(f"tcpdump on the vif of {name} ended at once")


def near_stop(lab, name, process, path):
    lab.dom0(f"pkill -INT -f 'tcpdump.*near-{name}[.]pcap'")
    process.wait(20)
    lab.get(f"/root/near-{name}.pcap", path)


def daemons(lab, name):
    """Process ids in dom0 that are xl, each with the `create` of the guest on its command line."""
    return lab.dom0("for p in /proc/[0-9]*; do case $(readlink $p/exe) in */xl) "
                    f"tr '\\0' ' ' <$p/cmdline | grep -q 'create.*{name}.cfg' && basename $p ;; esac; done; true").stdout.split()


def _plain_reboot(lab, out, name, say):
    """Reboot the guest the ordinary way and measure how long the forbidden host hears nothing of it.

    web1 by `reboot` inside it, which its xl daemon must follow; db1 by libvirt.
    """
    guest = GUESTS[name]
    capture = os.path.join(out, "forbidden.pcap")
    old = lab.domid(name)
    begin = time.time()
    if guest.owner == "xl":
        lab.guest(name, "(sleep 1; reboot) >/dev/null 2>&1 &")
    else:
        lab.dom0(f"virsh -c xen:///system reboot {name}")
    wait_for(lambda: lab.domid(name) not in (None, old), 180, f"{name} to be a new domain")
    fresh = time.time()
    wait_for(lambda: pcapread.sent_by(capture, {guest.mac}, fresh, time.time()), 180, f"{name} to be heard again")
    wait_for(lambda: lab.banner(name), 120, f"{name}'s daemon to answer")
    seconds = silence(out, guest, begin, time.time())
    say(f"{name}: a plain reboot takes {seconds:.1f} s of network")
    return seconds


def _write_timeline(scene, out):
    with open(os.path.join(out, "timeline.jsonl"), "w", encoding="utf-8") as f:
        for e in scene.events:
            f.write(json.dumps({"t": round(e["t"], 3), "guest": e["guest"], "uuid": e["uuid"], "job": e["job"],
                                "state": e["state"]}) + "\n")


def _write_summary(scene, out, began, ended, before, after, baseline, owners):
    offset = scene.clock_offset()
    jobs = {}
    for name in OFFERED:
        events = scene.events_of(name, FIX)
        states = {}
        for e, following in zip(events, events[1:] + [None]):
            spent = (following["t"] if following else e["t"]) - e["t"]
            states[e["state"]] = round(states.get(e["state"], 0) + spent, 3)
        jobs[name] = {"job": events[0]["job"], "uuid": events[0]["uuid"], "outcome": events[-1]["state"],
                      "seconds_in_state": states, "total_seconds": round(events[-1]["t"] - events[0]["t"], 3)}
        if name in baseline:
            jobs[name]["fix_vm_verified_t"] = round(scene.step_time(events[0]["job"], "fix VM: verified"), 3)
            down = silence(out, GUESTS[name], began, ended)
            jobs[name].update(downtime_seconds=round(down, 3), plain_reboot_downtime_seconds=round(baseline[name], 3),
                              downtime_over_plain_reboot=round(down / baseline[name], 2))
    with open(os.path.join(out, "summary.json"), "w", encoding="utf-8") as f:
        json.dump({"fix": FIX, "seconds": round(ended - began, 3), "before": before, "after": after, "jobs": jobs,
                   "xl_daemons_around_reboot": owners, "dom0_clock_offset": offset}, f, indent=1)


def timeline(out):
    with open(os.path.join(out, "timeline.jsonl"), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def when(events, name, state):
    return next((e["t"] for e in events if e["guest"] == name and e["state"] == state), None)


def checks(out):
    """(ok, text) for each promise that the artefacts can show."""
    events = timeline(out)
    with open(os.path.join(out, "summary.json"), encoding="utf-8") as f:
        summary = json.load(f)
    forbidden = os.path.join(out, "forbidden.pcap")
    for name in ("web1", "db1"):
        begin, end = when(events, name, "isolated"), when(events, name, "released")
        yield begin is not None and end is not None, f"{name} was isolated and released"
        if begin is None or end is None:
            continue
        leaked = pcapread.sent_by(forbidden, identities(GUESTS[name]), begin, end)
        yield not leaked, (f"{name}: the forbidden host saw no frame of it in {end - begin:.1f} s of isolation"
                           + (f", but {len(leaked)}, the first: {leaked[0]}" if leaked else ""))
        heard = pcapread.sent_by(forbidden, {GUESTS[name].mac}, begin - 5, begin)
        yield bool(heard), f"{name}: it was heard until it was isolated ({len(heard)} frames in the 5 s before)"
        back = pcapread.sent_by(forbidden, {GUESTS[name].mac}, end, end + 3600)
        yield bool(back), f"{name}: it is heard again after the release"
    yield from _neighbours(out, events, summary)
    yield from _cut(out, events)
    yield from _fix_vm(out, events, summary)
    yield when(events, "web2", "isolated") is None, "web2 was never isolated"
    yield not any(e["guest"] == "idle1" for e in events), "idle1 has no job"
    with open(os.path.join(out, "clients.json"), encoding="utf-8") as f:
        clients = {c["name"]: c for c in json.load(f)["clients"]}
    for name, wanted in WANTED.items():
        status = clients.get(name, {}).get("fixes", {}).get(FIX, {}).get("status")
        yield status in wanted, f"the server lists {name} as {status}"
    for name, guest in GUESTS.items():
        client = clients.get(name, {})
        yield (client.get("name"), client.get("uuid"), client.get("mac")) == (name, guest.uuid, guest.mac), \
            f"the list has {name} with its UUID and MAC"
    with open(os.path.join(out, "rollout.json"), encoding="utf-8") as f:
        rollout = json.load(f)
    yield (rollout["state"], rollout["waves"]) == ("done", [{"ok": 1}, {"ok": 2}]), f"the rollout: {rollout['waves']}"
    first = {name: when(events, name, "offered") for name in OFFERED}
    yield first["web1"] and all(first[n] and first[n] >= when(events, "web1", "done") for n in ("web2", "db1")), \
        "the second wave began when web1 was done"
    yield summary["after"] == {"web1": "fixed 1.1", "web2": "fixed 1.1", "db1": "fixed 1.1", "idle1": "vulnerable 1.0"}, \
        f"the daemons answer: {summary['after']}"
    with open(os.path.join(out, "forbidden-summary.json"), encoding="utf-8") as f:
        heard = json.load(f)
    yield from _lossless(heard)
    yield from _times(events, summary)
    before, after = summary["xl_daemons_around_reboot"]
    yield len(before) == 1 and after == before, f"web1: `reboot` inside it: the same xl daemon made a new domain ({before} {after})"
    yield from _bundle(out)


def _neighbours(out, events, summary):
    """What a neighbour on the same bridge in dom0 got from guest and fix VM, on dom0's clock."""
    offset = summary["dom0_clock_offset"]
    for name in ("web1", "db1"):
        begin, end = when(events, name, "isolated") - offset, when(events, name, "released") - offset
        for neighbour in BYSTANDERS:
            capture = os.path.join(out, f"near-{neighbour}.pcap")
            heard = pcapread.sent_by(capture, {GUESTS[name].mac}, begin - 10, begin)
            leaked = pcapread.sent_by(capture, {GUESTS[name].mac}, begin + CLOCKS, end - CLOCKS)
            yield bool(heard) and not leaked, (
                f"{name}: its neighbour {neighbour} on dom0's bridge heard it before ({len(heard)} frames in 10 s), and neither it nor its "
                "fix VM while it was isolated" + (f", but {len(leaked)}: {leaked[0]}" if leaked else ""))


def _fix_vm(out, events, summary):
    """Who hears the fix VM, which has the guest's MAC: the server, until it says that the download is verified; then nobody."""
    for name in ("web1", "db1"):
        mac = {GUESTS[name].mac}
        stopped, released = when(events, name, "stopped"), when(events, name, "released")
        verified = summary["jobs"][name].get("fix_vm_verified_t")
        if None in (stopped, released, verified):
            yield False, f"{name}: the fix VM said that the download is verified"
            continue
        at_server = pcapread.sent_by(os.path.join(out, "server.pcap"), mac, stopped, verified + CLOCKS)
        yield bool(at_server), f"{name}: the fix VM was heard by the server ({len(at_server)} frames)"
        wire = os.path.join(out, "sw.pcap")
        others = [f for f in pcapread.sent_by(wire, identities(GUESTS[name]), stopped, released - CLOCKS) if f.dst != fglab.SERVER_MAC]
        yield not others, f"{name}: on the wire no frame of it to anybody else" + (f", but {len(others)}: {others[0]}" if others else "")
        after = pcapread.sent_by(wire, identities(GUESTS[name]), verified + CLOCKS, released - CLOCKS)
        yield not after, (f"{name}: on the wire no frame of it in the {released - verified:.1f} s from verified to released"
                          + (f", but {len(after)}: {after[0]}" if after else ""))


def _times(events, summary):
    """The timeline tells each job from its offer to its end, in order; the summary has how long each state took."""
    whole = all(isinstance(e.get("t"), float) and all(e.get(k) for k in ("guest", "uuid", "job", "state")) for e in events)
    yield whole and bool(events), f"each of the {len(events)} lines of the timeline has t, guest, uuid, job and state"
    for name in OFFERED:
        mine = [e for e in events if e["guest"] == name]
        job = summary["jobs"][name]
        states = [e["state"] for e in mine]
        wanted = FIXED if name in ("web1", "db1") else ["offered", "not-needed"]
        yield [s for s in states if s != "queued"] == wanted, f"{name}: {' -> '.join(states)}"
        yield ({(e.get("uuid"), e.get("job")) for e in mine} == {(GUESTS[name].uuid, job["job"])} and
               [e["t"] for e in mine] == sorted(e["t"] for e in mine)), f"{name}: one job, with the guest's UUID, in order"
        spent = job["seconds_in_state"]
        yield (set(spent) == set(states) and all(s >= 0 for s in spent.values()) and
               abs(sum(spent.values()) - job["total_seconds"]) < 0.1), f"{name}: seconds in each state: {spent}"
    for name in ("web1", "db1"):
        job = summary["jobs"][name]
        down, plain = job.get("downtime_seconds", 0), job.get("plain_reboot_downtime_seconds", 0)
        yield down > 0 and plain > 0, f"{name}: {down} s without network, a plain reboot takes {plain} s"


def _bundle(out):
    found = glob.glob(os.path.join(out, "*.fix"))
    yield len(found) == 1, "the bundle is there"
    for path in found:
        argv = [os.path.join(os.environ.get("FG_BIN", os.path.join(TOP, "build/bin")), "fixgate-fix"), "verify", "--trust",
                os.path.join(out, "trust"), path]
        result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        yield result.returncode == 0, f"{os.path.basename(path)} is verified by the trust beside it" + result.stderr.strip()


def _cut(out, events):
    """The TCP connections that were open when a guest was isolated carried nothing from that moment on."""
    with open(os.path.join(out, "forbidden-summary.json"), encoding="utf-8") as f:
        heard = json.load(f)
    for name in ("web1", "db1"):
        at = when(events, name, "isolated")
        opened = [c for c in heard["guests"].get(name, {"tcp": []})["tcp"] if at and c["open_t"] < at]
        problems = [p for c in opened for p in seqcheck.dead(heard, name, c["conn"], at, boot=c["boot"])]
        yield bool(opened) and not problems, (f"{name}: its long TCP connection was dead at once"
                                              + (f": {problems}" if problems else "" if opened else ": there was none"))


def _lossless(heard):
    for name in BYSTANDERS:
        problems = seqcheck.lossless(heard, name)
        yield not problems, f"{name}: its talkers lost nothing" + (f": {problems}" if problems else "")
