#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's clock is set forward and back while things are pending (libfaketime): TAP.

Only the wall clock steps, as when somebody sets it: the monotonic clock goes on.
"""
import datetime
import json
import os
import subprocess
import sys
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, OTHER, SANITIZED, WEB1, bundle, guest, ok, report, same

FAKE = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
HOUR, DAY = 3600, 86400
SLACK = 5 if SANITIZED else 2


class Clock:
    """Seconds that the server's clock is off."""

    def __init__(self, s):
        self.path = os.path.join(s.work, "faketime")
        self.off = 0
        self.set(0)
        self.env = {"LD_PRELOAD": FAKE, "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "FAKETIME_DONT_RESET": "1"}
        if SANITIZED:
            self.env["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")

    def set(self, off):
        self.off = off
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(f"{off:+d}s\n")
        os.rename(self.path + ".new", self.path)

    def now(self):
        return time.time() + self.off


def stamp(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_it_works(s, clock):
    """The server sees the fake clock, and each process of it."""
    for off in (0, DAY, -HOUR, 0):
        clock.set(off)
        s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]})
        seen = s.call(ADMIN, "GET", "/v1/clients").json["clients"][0]["last_seen_ms"] / 1000
        ok(abs(seen - clock.now()) < 30, f"the server's clock is {off} s off", seen - clock.now())


def test_polls(s, clock):
    """A poll that waits ends when it should, by the monotonic clock."""
    for off in (DAY, 0, -HOUR, 400 * DAY):
        h = s.connect(OTHER)
        s.call(OTHER, "GET", "/v1/offers", connection=h)
        began, answers = time.monotonic(), []
        waiting = threading.Thread(target=lambda h=h, a=answers: a.append(s.call(
            OTHER, "GET", "/v1/offers?cursor=0&wait_s=3", connection=h)))
        waiting.start()
        time.sleep(0.3)
        clock.set(off)
        waiting.join(30)
        took = time.monotonic() - began
        status = answers[0].status if answers else None
        wanted = 403 if off > 300 * DAY else 200    # its certificate is over by then
        ok(status == wanted and 2.9 <= took < 3 + SLACK, f"a poll over a step to {off:+d} s ends in its time", (status, took))
        h.close()
        if wanted == 403:
            clock.set(0)


def test_wake(s, clock):
    """An offer reaches a poll that waits, wherever the clock went meanwhile."""
    cursor = s.call(AGENT, "GET", "/v1/offers").json["cursor"]
    for off, n in ((DAY // 2, 1), (-HOUR // 2, 2)):
        answers = []
        waiting = threading.Thread(target=lambda a=answers, c=cursor: a.append(s.call(
            AGENT, "GET", f"/v1/offers?cursor={c}&wait_s=30")))
        waiting.start()
        deadline = time.monotonic() + 10
        while s.metric("fixgate_polls") < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        clock.set(off)
        began = time.monotonic()
        path, _, _ = bundle(s.work, f"wake-{n}")
        same(s.admin("publish", path, check=False).returncode, 0, f"a fix is published with the clock {off:+d} s off")
        s.admin("offer", "--fix", f"wake-{n}", "--guest", WEB1)
        waiting.join(20)
        got = answers[0].json if answers else {"offers": []}
        ok([o["fix"] for o in got["offers"]] == [f"wake-{n}"] and time.monotonic() - began < 15,
           "its offer reaches the poll at once", got)
        ok(got["cursor"] > cursor, "and the cursor goes on, though the clock went back", (cursor, got.get("cursor")))
        cursor = got["cursor"]
    clock.set(0)


def test_tokens(s, clock):
    _, data, digest = bundle(s.work, "token-fix")
    s.admin("publish", os.path.join(s.work, "token-fix-1-100000.fix"))

    s.call(ADMIN, "POST", "/v1/offers", {"fix": "token-fix", "guests": [WEB1]})

    def token():
        return s.call(AGENT, "POST", "/v1/tokens", {"job": "job-t", "guest": WEB1, "digest": digest}).json["token"]

    def fetch(t):
        a = s.call(NOBODY, "GET", f"/v1/blobs/{digest}", headers={"Authorization": "Bearer " + t})
        return a.status if a.status != 200 or a.body == data else "other bytes"
    t = token()
    same(fetch(t), 200, "a token is good")
    clock.set(-60)
    same(fetch(t), 200, "also when the clock is corrected by a minute")
    clock.set(HOUR + 60)
    same(fetch(t), 401, "not when its hour is over")
    late = token()
    same(fetch(late), 200, "one that was made while the clock was ahead is good then")
    clock.set(0)
    same(fetch(late), 401, "and not when the clock is put right: it would be good for longer than an hour")
    same(fetch(token()), 200, "a new one is")


def test_codes(s, clock):
    subprocess.run("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=x -out "
                   f"{s.work}/clock.csr", shell=True, check=True, capture_output=True)
    with open(f"{s.work}/clock.csr", encoding="ascii") as f:
        csr = f.read()

    def code():
        answer = s.call(ADMIN, "POST", "/v1/codes", {"host": "clockhost", "minutes": 10}).json["code"]
        return answer

    def enrol(c):
        return s.call(NOBODY, "POST", "/v1/enrol", {"code": c, "csr": csr}).status
    c = code()
    clock.set(11 * 60)
    same(enrol(c), 401, "a one-time code is over when its minutes are")
    late = code()
    clock.set(0)
    same(enrol(late), 401, "one of the future is not taken")
    same(enrol(code()), 200, "a new one is")


def test_certificates(s, clock):
    h = s.connect(AGENT)
    same(s.call(AGENT, "GET", "/v1/offers", connection=h).status, 200, "a connection that is open")
    clock.set(400 * DAY)
    same(s.call(AGENT, "GET", "/v1/offers", connection=h).status, 403, "has no rights any more when its certificate is over")
    h.close()

    def new(who):
        try:
            return s.call(who, "GET", "/v1/offers").status
        except OSError:
            return "refused"
    same(new(AGENT), "refused", "and no new one is made with it")
    clock.set(-3 * DAY)
    same(new(AGENT), "refused", "nor with one that is of the future")
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "the server lives on")
    clock.set(0)
    same(new(AGENT), 200, "with the clock put right all is as before")


def catalogue(s):
    answer = s.call(ADMIN, "GET", "/v1/catalogue").json["catalogue"]
    return answer["version"], stamp(answer["published"]), stamp(answer["expires"])


def test_catalogue(s, clock):
    last, _, _ = catalogue(s)
    for off in (2 * DAY, 4 * DAY, 20 * DAY, 0, -DAY // 2, 0):
        clock.set(off)
        version, published, expires = catalogue(s)
        ok(published <= clock.now() + DAY and clock.now() < expires, f"at {off:+d} s: the catalogue is valid",
           (published - clock.now(), expires - clock.now()))
        ok(version >= last, "its version never goes back", (last, version))
        last = version
    clock.set(-HOUR * 2)
    same(s.admin("publish", bundle(s.work, "early")[0], check=False).returncode, 7, "a signer of the future does not count")
    clock.set(2 * DAY)
    same(s.admin("publish", bundle(s.work, "late")[0], check=False).returncode, 7, "nor is a fix taken that is over")
    for off in (DAY // 2, 0):
        clock.set(off)
        before = catalogue(s)[0]
        s.admin("publish", bundle(s.work, f"cat-{abs(off)}")[0])
        ok(catalogue(s)[0] > before, f"at {off:+d} s: another fix, a higher version")


def test_reports(s, clock):
    """Order is by number; times are only shown."""
    for seq, off in ((1, DAY), (2, 0), (3, -DAY // 2), (4, 0)):
        clock.set(off)
        r = report(seq, ("isolated", "stopped", "fixing", "done")[seq - 1], job="job-c")
        same(s.call(AGENT, "POST", "/v1/reports", {"journal": "clock", "reports": [r]}).json, {"acked": seq},
             f"report {seq} is taken with the clock {off:+d} s off")
    fixes = s.call(ADMIN, "GET", "/v1/clients").json["clients"][0]["fixes"]
    same((fixes["fix-1"]["status"], fixes["fix-1"]["state"]), ("fixed", "done"), "the last one by number counts")
    same(s.call(AGENT, "POST", "/v1/reports", {"journal": "clock", "reports": [r]}).json, {"acked": 4}, "a duplicate stays one")
    same(s.admin("audit", "verify", check=False).returncode, 0, "the audit log is one chain")
    entries = s.call(ADMIN, "GET", "/v1/audit").json["entries"]
    same([e["n"] for e in entries], list(range(entries[0]["n"], entries[0]["n"] + len(entries))), "in the order of what happened")


def offered(s, rollout):
    got = json.loads(s.admin("rollout", "show", str(rollout), "--targets", "--json").stdout)
    return [t["state"] for t in got["targets"]]


def test_rollouts(s, clock):
    """A window is by the wall clock: nothing is offered outside of it, and something once the clock is in it."""
    s.call(OTHER, "PUT", "/v1/guests", {"guests": [guest("dddddddd-0000-4000-8000-000000000001", "win1")]})
    s.admin("publish", bundle(s.work, "window-fix")[0])
    begin = time.gmtime(time.time() + 6 * HOUR)
    end = time.gmtime(time.time() + 8 * HOUR)
    window = time.strftime("%H:%M", begin) + "-" + time.strftime("%H:%M", end)
    made = json.loads(s.admin("rollout", "create", "window-fix", "--select", "name=win1", "--window", window, "--json").stdout)
    rollout = made["id"]
    same(offered(s, rollout), ["waiting"], "outside of its window a rollout offers nothing")

    def look():
        """Has it look: a clock that is set does so too, one that is faked cannot."""
        s.admin("rollout", "pause", str(rollout), check=False)
        s.admin("rollout", "resume", str(rollout), check=False)
    clock.set(-5 * HOUR)
    look()
    same(offered(s, rollout), ["waiting"], "nor when the clock went back")
    clock.set(9 * HOUR)
    look()
    same(offered(s, rollout), ["waiting"], "nor when it went over the window at once")
    clock.set(7 * HOUR)
    look()
    answer = s.call(OTHER, "GET", "/v1/offers?cursor=0&wait_s=20").json
    same([o["fix"] for o in answer["offers"]], ["window-fix"], "in it the guest is offered the fix")
    clock.set(0)
    look()
    answer = s.call(OTHER, "GET", f"/v1/offers?cursor={answer['cursor']}&wait_s=20").json
    same((answer["offers"], [c["fix"] for c in answer.get("cancelled", [])]), ([], ["window-fix"]),
         "back before the window it is called back: nobody has begun")
    clock.set(7 * HOUR)
    look()
    got = s.call(OTHER, "GET", "/v1/offers?cursor=0&wait_s=20").json["offers"]
    same([o["fix"] for o in got], ["window-fix"], "and in the window again it is there once")
    clock.set(0)


def test_window_by_itself(s, clock):
    """Opened and closed by time alone; the server's clock stands a few seconds before each."""
    s.call(OTHER, "PUT", "/v1/guests", {"guests": [guest("dddddddd-0000-4000-8000-000000000002", "win2")]})
    s.admin("publish", bundle(s.work, "door-fix")[0])
    left = 12 if SANITIZED else 6
    start = (int(time.time()) // 60 + 2) * 60

    def minute(at):
        return time.strftime("%H:%M", time.gmtime(at))
    def told(key, until):
        """Polls until the fix is among what is offered or cancelled; how the clock stood to the time it should be then."""
        while clock.now() < until + 20:
            answer = s.call(OTHER, "GET", f"/v1/offers?cursor={at['cursor']}&wait_s=20").json
            at["cursor"] = answer["cursor"]
            if "door-fix" in [x["fix"] for x in answer.get(key, [])]:
                return clock.now() - until
        return None
    at = {"cursor": s.call(OTHER, "GET", "/v1/offers?cursor=0").json["cursor"]}
    clock.set(start - left - int(time.time()))
    made = json.loads(s.admin("rollout", "create", "door-fix", "--select", "name=win2", "--window",
                              f"{minute(start)}-{minute(start + 600)}", "--json").stdout)
    same(offered(s, made["id"]), ["waiting"], "before its window a rollout offers nothing")
    late = told("offers", start)
    ok(late is not None and -1 <= late < 10, "it opens by itself, when it is time", late)
    clock.set(start + 600 - left - int(time.time()))
    s.admin("rollout", "pause", str(made["id"]))
    s.admin("rollout", "resume", str(made["id"]))    # it looks at the clock, which a fake one cannot make it do
    same(offered(s, made["id"]), ["offered"], "before its end the offer stands")
    late = told("cancelled", start + 600)
    ok(late is not None and -1 <= late < 10, "it closes by itself, and the offer that nobody has begun is called back", late)
    same(offered(s, made["id"]), ["waiting"], "the guest waits for the next one")
    clock.set(0)


def tests(s):
    if not os.path.exists(FAKE):
        ok(False, "libfaketime is there (Debian: faketime)")
        return
    s.stop()
    clock = Clock(s)
    s.start(env=clock.env)
    path, _, _ = bundle(s.work, "fix-1")
    s.admin("publish", path)
    test_it_works(s, clock)
    test_polls(s, clock)
    test_wake(s, clock)
    test_tokens(s, clock)
    test_codes(s, clock)
    test_certificates(s, clock)
    test_catalogue(s, clock)
    test_reports(s, clock)
    test_rollouts(s, clock)
    test_window_by_itself(s, clock)
    same(s.metric("fixgate_worker_restarts_total"), 0, "no process died of it")


sys.exit(fgserver.main(tests))
