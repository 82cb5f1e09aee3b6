#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts on a real server with simulated hosts: TAP.  FG_BIN names the folder of the programs."""
import csv
import hashlib
import io
import json
import os
import sys
import time

import fgserver
from fgserver import ADMIN, AGENT, OPERATOR, OTHER, VIEWER, bundle, guest, ok, run, same

GUESTS = 10
THIRD = "third"
ENDS = ("done", "failed", "rolled-back", "rejected", "not-needed", "held")


def uuid(i):
    return f"aaaaaaaa-0000-4000-8000-{i:012d}"


class Host:
    """What an agent does, a call at a time: it keeps its cursor and its jobs."""

    def __init__(self, server, name, guests):
        self.s, self.name, self.guests = server, name, guests
        self.cursor, self.seq = 0, 0
        self.jobs = {}      # (guest, fix) -> job, while it is open
        self.count = 0

    def inventory(self):
        body = {"guests": [guest(uuid(i), f"g{i}", os={"id": "debian", "version": "12"} if i % 2 else None)
                           for i in self.guests]}
        for g in body["guests"]:
            if g["os"] is None:
                del g["os"]
        same(self.s.call(self.name, "PUT", "/v1/guests", body).status, 200, f"{self.name} has guests")

    def poll(self, wait_s=0):
        """New offers and cancellations, by number of the guest."""
        answer = self.s.call(self.name, "GET", f"/v1/offers?cursor={self.cursor}&wait_s={wait_s}").json
        if answer["cursor"] < self.cursor:
            raise RuntimeError(f"the cursor went back from {self.cursor}: {answer}")
        self.cursor = answer["cursor"]
        for o in answer["offers"]:
            self.count += 1
            self.jobs[o["guest"], o["fix"]] = (f"job-{self.name}-{self.count}", o["version"])
        return ([int(o["guest"][-12:]) for o in answer["offers"]],
                [int(c["guest"][-12:]) for c in answer.get("cancelled", [])])

    def wait(self):
        """Polls until there is something, ten seconds at most."""
        found = self.poll(10)
        return found if found != ([], []) else (f"nothing for {self.name} in ten seconds", [])

    def report(self, i, *states, fix="fix-1", reason=None):
        job, version = self.jobs[uuid(i), fix]
        reports = []
        for state in states:
            self.seq += 1
            one = {"seq": self.seq, "job": job, "guest": uuid(i), "fix": fix, "version": version, "state": state,
                   "at_ms": int(time.time() * 1000), "isolator": "vmm"}
            reports.append({**one, "reason": reason} if reason else one)
        answer = self.s.call(self.name, "POST", "/v1/reports", {"reports": reports})
        if answer.status != 200 or answer.json["acked"] != self.seq or "refused" in answer.json:
            raise RuntimeError(f"report: {answer.body}")
        if states[-1] in ENDS:
            del self.jobs[uuid(i), fix]


def create(s, *args, fix="fix-1"):
    return json.loads(s.admin("rollout", "create", fix, *args, "--json").stdout)


def show(s, rollout):
    return json.loads(s.admin("rollout", "show", str(rollout["id"]), "--json").stdout)


def control(s, rollout, action, check=True):
    return s.admin("rollout", action, str(rollout["id"]), "--json", check=check)


def reached(s, rollout, state, seconds=30):
    """Waits for a state that the server comes to by itself."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = show(s, rollout)
        if now["state"] == state:
            return now
        time.sleep(0.05)
    return show(s, rollout)


def test_waves(s, a, b):
    run_label = s.admin("label", "env=prod", *sum((["--guest", f"g{i}"] for i in range(8)), []), "--json")
    same(json.loads(run_label.stdout), {"labelled": 8}, "labels by name")
    r = create(s, "--select", "label:env=prod", "--waves", "1,50%,100%", "--success", "100%")
    same([r["targets"], r["waves"]], [8, [{"waiting": 1}, {"waiting": 3}, {"waiting": 4}]], "eight guests in three waves")
    same(a.wait(), ([0], []), "the first wave is one guest")
    same(b.poll(), ([], []), "and none of the other host")
    a.report(0, "offered", "queued", "isolated", "stopped", "fixing", "fixed", "released", "rebooting")
    same(show(s, r)["waves"][0], {"offered": 1}, "a job at work is no end")
    a.report(0, "done")
    same(a.wait(), ([1, 2, 3], []), "its success brings the second wave")
    same(b.poll(), ([], []), "which is on the first host")
    a.report(1, "done")
    a.report(2, "not-needed")
    same(show(s, r)["wave"], 2, "the third wave waits for all of the second")
    a.report(3, "done")
    same(a.wait(), ([4], []), "the third wave on the first host")
    same(b.wait(), ([5, 6, 7], []), "and on the second")
    a.report(4, "done")
    for i in (5, 6, 7):
        b.report(i, "done")
    same(reached(s, r, "done")["waves"], [{"ok": 1}, {"ok": 3}, {"ok": 4}], "all are done")
    same(control(s, r, "pause", check=False).returncode, 4, "what is done cannot be paused")
    again = create(s, "--select", "all", "--waves", "50%,100%")
    same(a.wait(), ([2], []), "guests that have the fix are not offered it again, who needed none is asked again")
    a.report(2, "not-needed")
    same(b.wait(), ([8, 9], []), "and the others of the second wave")
    b.report(8, "done")
    b.report(9, "done")
    same(reached(s, again, "done")["waves"], [{"ok": 1, "skipped": 4}, {"ok": 2, "skipped": 3}], "those that had it are skipped")


def test_failures(s, a, b):
    r = create(s, "--select", "all", "--waves", "40%,100%", "--success", "75", "--max-failures", "1", fix="fix-2")
    same(a.wait(), ([0, 1, 2, 3], []), "the first wave")
    a.report(0, "failed", fix="fix-2", reason="no space")
    same(show(s, r)["state"], "running", "one may fail")
    a.report(2, "offered", "queued", fix="fix-2")
    a.report(3, "offered", "queued", "isolated", fix="fix-2")
    a.report(1, "rolled-back", fix="fix-2")
    stopped = reached(s, r, "stopped")
    same([stopped["state"], stopped["reason"]], ["stopped", "2 failed, 1 may"], "two stop it")
    same(a.wait(), ([], [2]), "who is not isolated yet is called back, who is goes on")
    a.report(2, "rejected", fix="fix-2", reason="the offer was cancelled")
    a.report(3, "done", fix="fix-2")
    same(show(s, r)["waves"], [{"ok": 1, "failed": 2, "cancelled": 1}, {"waiting": 6}], "each target has its end")
    same(b.poll(), ([], []), "the other host was left alone")
    told = s.admin("rollout", "show", str(r["id"]), "--state", "failed", "--csv").stdout.splitlines()
    same([told[0].split(",")[:2], len(told), told[1].endswith("failed: no space")], [["uuid", "name"], 3, True],
         "failed targets with their reasons")
    control(s, r, "retry")
    same(a.wait(), ([0, 1, 2], []), "retry: those that failed or were cancelled are offered it again")
    for i in (0, 1, 2):
        a.report(i, "done", fix="fix-2")
    same(a.wait(), ([4], []), "and it goes on to the second wave")
    same(b.wait(), ([5, 6, 7, 8, 9], []), "on both hosts")
    b.report(5, "held", fix="fix-2")
    b.report(6, "failed", fix="fix-2")
    same(reached(s, r, "stopped")["waves"][1], {"cancelled": 4, "failed": 2}, "stopped again")
    same([a.wait(), b.wait()], [([], [4]), ([], [7, 8, 9])], "offers that nobody took are called back")
    del a.jobs[uuid(4), "fix-2"]
    b.jobs.clear()
    control(s, r, "resume")
    same([a.wait(), b.wait()], [([4], []), ([7, 8, 9], [])], "resume: the failures are forgiven, the cancelled come again")
    a.report(4, "done", fix="fix-2")
    for i in (7, 8, 9):
        b.report(i, "done", fix="fix-2")
    same(reached(s, r, "done")["waves"], [{"ok": 4}, {"failed": 2, "ok": 4}], "done, with the failures shown")


def test_words(s, a, b):
    r = create(s, "--select", "host=" + AGENT, "--waves", "2,100%", "--success", "50", "--max-failures", "any",
               fix="fix-3")
    same(a.wait(), ([0, 1], []), "a rollout to one host")
    control(s, r, "pause")
    a.report(0, "done", fix="fix-3")
    same([a.poll(), show(s, r)["state"]], [([], []), "paused"], "paused: nothing more is offered")
    control(s, r, "resume")
    same(a.wait(), ([2, 3, 4], []), "resumed: the next wave")
    a.report(2, "offered", "queued", "isolated", fix="fix-3")
    a.report(3, "offered", "queued", fix="fix-3")
    control(s, r, "cancel")
    same(reached(s, r, "cancelled")["waves"], [{"ok": 1, "cancelled": 1}, {"offered": 1, "leaving": 1, "cancelled": 1}],
         "cancelled: one is isolated, one has begun")
    same(a.wait(), ([], [1, 3, 4]), "the host hears of all that are not isolated")
    a.report(3, "rejected", fix="fix-3", reason="the offer was cancelled")
    a.report(2, "stopped", "fixing", "fixed", "released", "rebooting", "done", fix="fix-3")
    same(show(s, r)["waves"][1], {"ok": 1, "cancelled": 2}, "the isolated one went on to a safe end")
    same([control(s, r, w, check=False).returncode for w in ("resume", "retry", "approve", "cancel")], [4, 4, 4, 4],
         "nothing brings it back")
    same(control(s, {"id": 999}, "pause", check=False).returncode, 3, "no such rollout")
    for args in (["--select", "host=nobody"], ["--select", "colour=red"], ["--select", "all", "--waves", "5,2"],
                 ["--select", "all", "--window", "soon"]):
        ok(s.admin("rollout", "create", "fix-1", *args, check=False).returncode != 0, f"refused: {args}")
    a.jobs.clear()
    # one offer, without a rollout
    s.admin("offer", "--fix", "fix-3", "--guest", "g9")
    same(b.wait(), ([9], []), "a single offer")
    same(s.admin("cancel", "--fix", "fix-3", "--guest", "g9").stdout, f"{uuid(9)}: cancelled\n", "is cancelled")
    same(b.wait(), ([], [9]), "and the host hears of it")
    same(s.admin("cancel", "--fix", "fix-3", "--guest", "g9", check=False).returncode, 3, "once")


def test_approval(s, a):
    r = create(s, "--select", "name=g0", "--approval", fix="fix-4")
    same([r["state"], a.poll()], ["awaiting-approval", ([], [])], "nothing is offered before it is approved")
    same(control(s, r, "approve", check=False).returncode, 6, "who made it does not approve it")
    path = f"/v1/rollouts/{r['id']}"
    same([s.call(who, "POST", path, {"action": "approve"}).status for who in (VIEWER, OPERATOR, AGENT)],
         [403, 403, 403], "nor does an operator, a viewer, a host")
    run("fixgate-server", "admin", "bob", "--role", "admin", "--dir", s.dir, "--out", os.path.join(s.work, "bob"))
    bob = [os.path.join(s.work, "bob", f) for f in ("admin.pem", "admin.key")]
    run("fixgate-admin", "--server", f"https://127.0.0.1:{s.port}", "--ca", os.path.join(s.dir, "server-ca.pem"),
        "--cert", bob[0], "--key", bob[1], "rollout", "approve", str(r["id"]))
    same([a.wait(), show(s, r)["approved_by"]], [([0], []), "bob"], "another administrator does")
    a.report(0, "done", fix="fix-4")
    same(reached(s, r, "done")["state"], "done", "and it goes its way")
    same(s.call(OPERATOR, "POST", "/v1/rollouts", {"fix": "fix-4", "select": "name=g1"}).status, 201, "an operator rolls out")
    same(s.call(VIEWER, "POST", "/v1/rollouts", {"fix": "fix-4", "select": "all"}).status, 403, "a viewer does not")
    same(s.call(VIEWER, "GET", "/v1/rollouts").status, 200, "but sees them")
    same(a.wait(), ([1], []), "the operator's is offered")
    a.report(1, "done", fix="fix-4")


def test_time(s, a, b):
    hour = time.gmtime(time.time() + 7200).tm_hour
    shut = create(s, "--select", "name=g2", "--window", f"{hour:02}:00-{(hour + 1) % 24:02}:00", fix="fix-4")
    same([a.poll(1), show(s, shut)["waves"]], [([], []), [{"waiting": 1}]], "outside of its window nothing is offered")
    control(s, shut, "cancel")
    waits = create(s, "--select", "name=g3,name=g4", "--waves", "1,100%", "--wait", "2s", fix="fix-4")
    same(a.wait(), ([3], []), "the first of two waves")
    began = time.monotonic()
    a.report(3, "done", fix="fix-4")
    same(a.wait(), ([4], []), "the second comes by itself")
    ok(1.5 < time.monotonic() - began < 10, "after the wait", time.monotonic() - began)
    a.report(4, "done", fix="fix-4")
    late = create(s, "--select", "name=g8,name=g9", "--timeout", "8s" if fgserver.SANITIZED else "2s", "--max-failures", "1", fix="fix-4")
    same(b.wait(), ([8, 9], []), "with a limit of time")
    b.report(9, "done", fix="fix-4")
    same(reached(s, late, "done")["waves"], [{"ok": 1, "failed": 1}], "who does not answer has failed")
    same(b.wait(), ([], [8]), "and is called back")
    b.jobs.clear()
    same(reached(s, waits, "done")["state"], "done", "the one with the wait is done")
    # a withdrawn fix stops its rollout
    gone = create(s, "--select", "name=g5,name=g6", "--waves", "1,100%", fix="fix-4")
    same(b.wait(), ([5], []), "a fix that will be withdrawn")
    s.admin("withdraw", "fix-4")
    same(b.wait(), ([], [5]), "its offer is called back")
    b.jobs.clear()
    after = reached(s, gone, "stopped")
    same([after["state"], "withdrawn" in after.get("reason", "")], ["stopped", True], "and its rollout stops")


def test_crash(s, a, b):
    r = create(s, "--select", "all", "--waves", "2,4,100%", "--wait", "1s", fix="fix-5")
    same(a.wait(), ([0, 1], []), "a rollout before a crash")
    a.report(0, "done", fix="fix-5")
    s.kill()
    s.start()
    same(show(s, r)["waves"][0], {"ok": 1, "offered": 1}, "after kill -9 it is where it was")
    a.report(1, "done", fix="fix-5")
    s.kill()            # the wait passes while there is no server
    time.sleep(1.2)
    s.start()
    same(a.wait(), ([2, 3], []), "and goes on by itself")
    a.report(2, "done", fix="fix-5")
    a.report(3, "done", fix="fix-5")
    same(a.wait(), ([4], []), "to the third wave")
    same(b.wait(), ([5, 6, 7, 8, 9], []), "on both hosts")
    same(s.query("SELECT COUNT(*) FROM offer WHERE fix = 'fix-5'"), [(10,)], "nothing was offered twice")
    control(s, r, "cancel")
    s.kill()
    s.start()
    same(reached(s, r, "cancelled")["state"], "cancelled", "a cancel outlives a crash")
    same([a.wait(), b.wait()], [([], [4]), ([], [5, 6, 7, 8, 9])], "and reaches the hosts")


def test_lists(s):
    def lines(*args):
        return s.admin(*args).stdout.splitlines()

    told = lines("clients", "--csv", "--fix", "fix-2", "--status", "fixed")
    same([told[0].split(",")[:5], len(told)], [["uuid", "name", "host", "os", "labels"], 9], "clients as CSV, by fix and status")
    same(len(json.loads(s.admin("clients", "--status", "held", "--json").stdout)["clients"]), 1, "by status")
    same([c["name"] for c in json.loads(s.admin("clients", "--label", "env=prod", "--host", OTHER, "--json").stdout)
          ["clients"]], ["g5", "g6", "g7"], "by label and host")
    same([len(json.loads(s.admin("clients", "--os", o, "--json").stdout)["clients"]) for o in
          ("debian", "debian:12", "debian:11")], [5, 5, 0], "by system")
    same(len(lines("clients", "--csv", "--limit", "3", "--after", uuid(4))), 1 + sum(
        len(c["fixes"]) for c in json.loads(s.admin("clients", "--limit", "3", "--after", uuid(4), "--json").stdout)["clients"]),
         "by page")
    same(s.admin("clients", "--status", "happy", check=False).returncode, 8, "an unknown status is refused")
    fixes = {f["fix"]: f["clients"] for f in json.loads(s.admin("fixes", "--json").stdout)["fixes"]}
    same(fixes["fix-2"], {"fixed": 8, "held": 1, "failed": 1}, "counters of a fix")
    history = json.loads(s.admin("history", "g3", "--json").stdout)["events"]
    same([(e["event"], e.get("state")) for e in history if e["fix"] == "fix-3"],
         [("report", "rejected"), ("cancel", None), ("report", "queued"), ("report", "offered"), ("offer", None)],
         "the history of a guest")
    ok(all(x["at_ms"] >= y["at_ms"] for x, y in zip(history, history[1:])), "is newest first")
    same(len(json.loads(s.admin("history", "g3", "--limit", "2", "--json").stdout)["events"]), 2, "as much as one wants")
    same(s.admin("history", "nobody", check=False).returncode, 3, "nobody has none")


NAMES = ("a,b", 'say "hi"', "=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "'quoted'", "plain", ",", '"')
FORMULA = "=+-@\t\r"


def rows(s, *args):
    """A list as CSV, read as a program reads it; what may be read as a formula is kept apart from what is not."""
    text = s.admin(*args, "--csv").stdout
    found = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    same([{len(found[0])} == {len(row) for row in found}, [c for row in found for c in row if c[:1] and c[0] in FORMULA]],
         [True, []], f"{' '.join(args)} as CSV: all lines have the same columns, nothing is a formula")
    plain = [[c[1:] if c[:1] == "'" and c[1:2] and c[1] in FORMULA else c for c in row] for row in found]
    return [dict(zip(plain[0], row)) for row in plain[1:]]


def as_csv(value):
    return {None: "", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, int) or isinstance(value, bool) \
        else str(value)


def test_csv(s):
    """Each list as CSV says what it says as JSON, whatever guests, reasons and titles are called."""
    third = Host(s, THIRD, range(20, 20 + len(NAMES)))
    third.seq = 100    # this host has reported before
    guests = [guest(uuid(i), name) for i, name in zip(third.guests, NAMES)]
    same(s.call(THIRD, "PUT", "/v1/guests", {"guests": guests}).status, 200, "guests with odd names")
    for name in ("two\nlines", "carriage\rreturn", "\ttab", "escape\x1b[2J"):
        same(s.call(THIRD, "PUT", "/v1/guests", {"guests": [guest(uuid(99), name)]}).status, 400, f"{name!r} is no name")
    s.admin("publish", bundle(s.work, "fix-csv", size=1000, title='=1+1, "quoted"')[0])
    s.admin("label", "note==1", *sum((["--guest", name] for name in NAMES[:3]), []))
    s.admin("offer", "--fix", "fix-csv", *sum((["--guest", uuid(i)] for i in third.guests), []))
    third.poll()
    third.report(20, "queued", "failed", fix="fix-csv", reason='=cmd|"/c calc"!A1,\nline')
    third.report(21, "failed", fix="fix-csv", reason="-")
    clients = json.loads(s.admin("clients", "--host", THIRD, "--json").stdout)["clients"]
    told = rows(s, "clients", "--host", THIRD)
    same([(c["uuid"], c["name"], f["status"], f.get("reason") or "") for c in clients for f in c["fixes"].values()],
         [(t["uuid"], t["name"], t["status"], t["reason"]) for t in told], "clients are the same as JSON")
    same({*NAMES} - {t["name"] for t in told}, set(), "all of them are there")
    r = create(s, "--select", f"host={THIRD}", fix="fix-csv")
    control(s, r, "cancel")
    for args, key, columns in ((["fixes"], "fixes", ("fix", "version", "title", "digest", "bytes")),
                               (["offers"], "offers", ("seq", "fix", "guest", "name", "host", "by", "force")),
                               (["history", uuid(20)], "events", ("event", "host", "fix", "version", "by", "job", "state", "reason")),
                               (["audit", "list"], "entries", ("n", "who", "what", "detail", "hash")),
                               (["certificates"], "certificates", ("role", "name", "serial")),
                               (["rollout", "list"], "rollouts", ("id", "fix", "state", "created_by"))):
        wanted = json.loads(s.admin(*args, "--json").stdout)[key]
        got = rows(s, *args)
        same([[t.get(c) for c in columns] for t in got], [[as_csv(w.get(c)) for c in columns] for w in wanted],
             f"{args[0]} says the same as JSON")
    for args in (["catalogue"], ["label", "a=b", "--guest", "plain"], ["audit", "verify"], ["enrol", "x"]):
        same(s.admin(*args, "--csv", check=False).returncode, 2, f"{args[0]} is no list: --csv is refused")
    fixes = {t["fix"]: t for t in rows(s, "fixes")}
    same([fixes["fix-csv"][c] for c in ("title", "failed", "offered", "fixed", "open_offers")],
         ['=1+1, "quoted"', "2", str(len(NAMES) - 2), "0", str(len(NAMES) - 2)], "a fix with its counters")
    same({*NAMES} - {t["name"] for t in rows(s, "rollout", "show", str(r["id"]))}, set(), "targets of a rollout")


def test_audit(s):
    entries = json.loads(s.admin("audit", "list", "--json").stdout)["entries"]
    whats = {e["what"] for e in entries}
    for what in ("publish", "offer", "cancel", "label", "rollout-create", "rollout-wave", "rollout-approve", "rollout-pause",
                 "rollout-resume", "rollout-cancel", "rollout-retry", "rollout-stop", "rollout-done", "withdraw", "outcome"):
        ok(what in whats, f"audited: {what}")
    same({e["who"] for e in entries if e["what"] == "rollout-approve"}, {"bob"}, "with who did it")
    last = json.loads(s.admin("audit", "verify", "--json").stdout)
    same(last["entries"], len(entries), "the log verifies")
    noted = f"{last['entries']}:{last['hash']}"
    same(s.admin("audit", "verify", "--noted", noted).returncode, 0, "also against a hash that was noted")
    row = s.query("SELECT detail FROM audit WHERE n = 5")[0][0]
    s.query("UPDATE audit SET detail = 'nothing' WHERE n = 5")
    bad = s.admin("audit", "verify", check=False)
    same([bad.returncode, "entry 5 was changed" in bad.stderr], [5, True], "a changed entry is named")
    s.query("UPDATE audit SET detail = ? WHERE n = 5", row)
    s.query("DELETE FROM audit WHERE n = ?", last["entries"])
    bad = s.admin("audit", "verify", check=False)
    same([bad.returncode, "cut off" in bad.stderr], [5, True], "so is one that is missing at the end")
    s.query("UPDATE sqlite_sequence SET seq = ? WHERE name = 'audit'", last["entries"] - 1)
    same(s.admin("audit", "verify").returncode, 0, "a log that was cut off with its count still verifies")
    cut = s.admin("audit", "verify", "--noted", noted, check=False)
    same([cut.returncode, "cut off" in cut.stderr], [5, True], "but not against the hash that was noted")


def audit_append(s, detail):
    """An entry with these bytes, as a program before this one wrote them."""
    n, last = s.query("SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1")[0]
    text = b"%s\n%d\n%d\nold\noutcome\n%s" % (last.encode(), n + 1, 1700000000000, detail)
    s.query("INSERT INTO audit (n, at_ms, who, what, detail, hash) VALUES (?, 1700000000000, 'old', 'outcome', "
            "CAST(? AS TEXT), ?)", n + 1, detail, hashlib.sha256(text).hexdigest())
    return n + 1


def test_audit_bytes(s, a):
    """No report hides the rest of the log: neither a long one nor one that was cut within a character."""
    long = "x" + "é" * 999
    s.admin("offer", "--fix", "fix-6", "--guest", "g0", "--force")
    a.wait()
    a.report(0, "failed", fix="fix-6", reason=long)
    detail = s.call(ADMIN, "GET", "/v1/audit").json["entries"][-1]["detail"]
    ok(detail.endswith(": failed: " + long), "a long reason is audited whole", detail[-80:])
    cut = b"job x: failed: \xc3\xa9\xc3"
    n = audit_append(s, cut)
    entry = s.call(ADMIN, "GET", f"/v1/audit?after={n - 1}").json["entries"][0]
    same((entry["n"], bytes.fromhex(entry.get("detail_hex", "")), entry["detail"]), (n, cut, "job x: failed: é?"),
         "one that was cut within a character comes, with its exact bytes")
    same(s.admin("audit", "verify").returncode, 0, "and the chain holds over it")
    ok("job x: failed: é?" in s.admin("audit").stdout, "it is printed")
    # As many as a page has, then the broken one at its very end, and more behind it.
    while audit_append(s, b"filler") < 499:
        pass
    audit_append(s, cut)
    while n < 520:
        n = audit_append(s, b"filler")
    same(json.loads(s.admin("audit", "verify", "--json").stdout)["entries"], 520, "the last of a page ends nothing")
    s.query("UPDATE audit SET detail = 'nothing' WHERE n = 510")
    bad = s.admin("audit", "verify", check=False)
    same([bad.returncode, "entry 510 was changed" in bad.stderr], [5, True], "what comes after it is looked at")
    s.query("UPDATE audit SET detail = 'filler' WHERE n = 510")


def test_backup(s, a, b):
    file = os.path.join(s.work, "backup")
    before = s.query("SELECT COUNT(*) FROM report")
    s.admin("offer", "--fix", "fix-6", "--guest", "g0")
    a.poll()
    done = run("fixgate-admin", "--dir", s.dir, "backup", file)
    ok("checked" in done.stdout, "a backup beside the running server", done.stderr)
    s.admin("offer", "--fix", "fix-6", "--guest", "g9")
    same(b.wait(), ([9], []), "work goes on")
    b.report(9, "done", fix="fix-6")
    same(run("fixgate-admin", "--dir", s.dir, "restore", file, check=False).returncode, 4, "no restore under a server")
    same(s.stop(), 0, "the server is stopped")
    run("fixgate-admin", "--dir", s.dir, "restore", file)
    ok(os.path.exists(os.path.join(s.dir, "fixgate.db.before-restore")), "what was there is kept")
    s.start()
    same(s.query("SELECT COUNT(*) FROM report"), before, "it is as it was then")
    a.jobs.clear()
    same([a.wait(), b.poll()], [([0], []), ([], [])], "hosts go on: what is open comes again, their cursors hold")
    a.report(0, "done", fix="fix-6")
    s.admin("offer", "--fix", "fix-6", "--guest", "g9")
    same(b.wait(), ([9], []), "and new offers come")
    b.report(9, "done", fix="fix-6")
    same(s.admin("audit", "verify").returncode, 0, "the audit log goes on")
    ok(any(e["what"] == "reports-lost" for e in json.loads(s.admin("audit", "--json").stdout)["entries"]),
       "and says which reports were lost")


def test_os(s):
    """What system a guest runs comes with a report, from what a fix VM read on its disks."""
    one, other = (f"dddddddd-0000-4000-8000-00000000000{i}" for i in (1, 2))
    guests = [guest(one, "os1"), guest(other, "os2")]
    s.call(THIRD, "PUT", "/v1/guests", {"guests": guests})
    seq = [0]

    def tell(uuid, system):
        seq[0] += 1
        answer = s.call(THIRD, "POST", "/v1/reports", {"reports": [
            {"seq": seq[0], "job": f"os-{uuid[-1]}", "guest": uuid, "fix": "fix-1", "version": 1, "state": "queued",
             "at_ms": int(time.time() * 1000), "isolator": "vmm", "evidence": {"os": system}}]})
        same((answer.status, answer.json), (200, {"acked": seq[0]}), f"a report with {system!r:.60} is taken")

    def found(os):
        return {c["name"] for c in s.call(VIEWER, "GET", f"/v1/clients?os={os}").json["clients"]}
    same(found("rocky"), set(), "nobody knows the system of a guest that was never looked at")
    tell(one, {"id": "rocky", "version": "9.3"})
    tell(other, {"id": "rocky", "version": "8.9"})
    same(found("rocky"), {"os1", "os2"}, "what a fix VM read on the disks is known from the report")
    same(found("rocky:9.3"), {"os1"}, "with its version")
    for bad in ({"id": "a:b"}, {"id": "x" * 65}, {"id": 5}, {"version": "1"}, "rocky", [], None, {"id": ""}):
        tell(one, bad)
    same(found("rocky:9.3"), {"os1"}, "what is malformed changes nothing")
    s.call(THIRD, "PUT", "/v1/guests", {"guests": guests})
    same(found("rocky:9.3"), {"os1"}, "an inventory without it leaves it")
    path, _, _ = bundle(s.work, "fix-os")
    s.admin("publish", path)
    rollout = create(s, "--select", "os=rocky:9*", fix="fix-os")
    offers = s.call(THIRD, "GET", "/v1/offers?cursor=0&wait_s=10").json["offers"]
    same([o["guest"] for o in offers if o["fix"] == "fix-os"], [one], "a rollout finds the guest by it")
    control(s, rollout, "cancel")
    tell(one, {"id": "rocky", "version": "10.0"})
    same((found("rocky:9.3"), found("rocky:10.0")), (set(), {"os1"}), "after an upgrade the next look tells")


def tests(s):
    for i in range(1, 7):
        s.admin("publish", bundle(s.work, f"fix-{i}", size=1000)[0])
    a, b = Host(s, AGENT, range(5)), Host(s, OTHER, range(5, GUESTS))
    a.inventory()
    b.inventory()
    test_waves(s, a, b)
    test_failures(s, a, b)
    test_words(s, a, b)
    test_approval(s, a)
    test_time(s, a, b)
    test_crash(s, a, b)
    test_lists(s)
    s.enrol(THIRD)
    test_os(s)
    test_csv(s)
    test_backup(s, a, b)
    test_audit_bytes(s, a)
    test_audit(s)


sys.exit(fgserver.main(tests, people=(VIEWER, OPERATOR)))
