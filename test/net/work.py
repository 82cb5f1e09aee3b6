#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""fixgate-net at its work, against a well-behaved server: start, sandbox, offers, inventory, reports, heads, tokens."""
import hashlib
import json
import os
import pwd
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from netkit import BIN, GUEST, JOB, SANITIZED, USER, Agent, Tap, World, reply  # noqa: E402

tap = Tap()


def offer_of(data, fix="net-fix", version=3):
    return {"fix": fix, "version": version, "digest": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def sandbox(agent):
    uid = str(pwd.getpwnam(USER).pw_uid)
    with tap.case("it runs as the configured user, in no group, without capabilities"):
        assert agent.status("Uid").split() == [uid] * 4, agent.status("Uid")
        assert agent.status("Groups") == "", agent.status("Groups")
        assert int(agent.status("CapEff"), 16) == 0 and int(agent.status("CapPrm"), 16) == 0
        assert agent.status("NoNewPrivs") == "1"
    if SANITIZED:
        return
    with tap.case("seccomp filter, limits of memory, processes, descriptors and core"):
        assert agent.status("Seccomp") == "2"
        with open("/proc/%d/limits" % agent.process.pid) as f:
            limits = {line[:26].strip(): line[26:].split()[0] for line in f}
        assert limits["Max processes"] == "0" and limits["Max core file size"] == "0", limits
        assert limits["Max open files"] == "64" and limits["Max address space"] == str(768 << 20), limits
    with tap.case("it stands in its folder, which is its own and nobody else's"):
        state = os.path.join(agent.dir, "state")
        assert os.readlink("/proc/%d/cwd" % agent.process.pid) == state + "/net"
        st = os.stat(state + "/net")
        assert (st.st_uid, st.st_mode & 0o777) == (int(uid), 0o700), st
        assert os.stat(state).st_uid == 0
    with tap.case("only its descriptors: log, fixgated, event loop, the server"):
        fds = os.listdir("/proc/%d/fd" % agent.process.pid)
        assert len(fds) < 16, fds


def offers(server, agent):
    with tap.case("an offer arrives at once during the long poll, with the cursor"):
        server.wait_requests(lambda r: r.query.get("wait_s") == "50")
        began = time.monotonic()
        server.offer(seq=5, guest=GUEST, fix="net-fix", version=3, digest="0" * 64, bytes=1000, future="key")
        m = agent.expect("offers")
        assert m["cursor"] == 5 and m["offers"] == [{"seq": 5, "guest": GUEST, "fix": "net-fix", "version": 3,
                                                     "digest": "0" * 64, "bytes": 1000}], m
        assert time.monotonic() - began < 3
    with tap.case("the next poll asks after that cursor"):
        server.wait_requests(lambda r: r.path == "/v1/offers" and r.query["cursor"] == "5")


def cancelled(world):
    """What the server says of offers that are no more: passed on where it is well formed, and only that."""
    good = {"seq": 3, "guest": GUEST, "fix": "net-fix", "version": 3}
    bad = [{**good, "seq": 0}, {**good, "seq": "3"}, {**good, "seq": -1}, {**good, "guest": "x"}, {**good, "guest": GUEST + "0"},
           {**good, "fix": ""}, {**good, "fix": "../x"}, {**good, "fix": "x" * 200}, {"seq": 3}, [], "x", 3, None]
    answers = [
        ("an empty answer with a cancellation is passed on", {"cursor": 4, "offers": [], "cancelled": [good]}, [good]),
        ("keys that are not known are not", {"cursor": 5, "offers": [], "cancelled": [{**good, "future": 1}]}, [good]),
        ("of %d malformed ones none is, and the good one among them is" % len(bad),
         {"cursor": 6, "offers": [], "cancelled": bad[:7] + [good] + bad[7:]}, [good]),
        ("a list that is none is none", {"cursor": 7, "offers": [], "cancelled": {"0": good}}, None),
        ("the next offer comes all the same", {"cursor": 8, "offers": [{**good, "seq": 8, "digest": "0" * 64, "bytes": 1000}],
                                               "cancelled": [good]}, [good]),
    ]
    server, at = world.server(), [0]

    def override(r, sock):
        if r.path != "/v1/offers" or r.query.get("wait_s") == "0" or at[0] >= len(answers):
            return None
        at[0] += 1
        reply(sock, 200, answers[at[0] - 1][1])
        return True
    server.override = override
    agent = Agent(world, server.port, cursor=3)
    for text, answer, wanted in answers:
        with tap.case("cancelled: " + text):
            m = agent.expect("offers", cursor=answer["cursor"])
            got = m.get("cancelled")
            if wanted is None:
                assert not got, m
            else:
                assert got == [{k: w[k] for k in ("seq", "guest", "fix")} for w in wanted], m
            assert len(m["offers"]) == len(answer["offers"]), m
    with tap.case("and it is alive and polls on"):
        server.wait_requests(lambda r: r.path == "/v1/offers" and r.query["cursor"] == "8")
        assert agent.close() == 0, agent.text()
    server.close()


def inventory(server, agent):
    guests = [{"uuid": GUEST, "name": "web1", "toolstack": "xl", "state": "running", "nics": [], "identity": "config"}]
    puts = lambda r: r.method == "PUT"  # noqa: E731
    with tap.case("the inventory reaches the server as it was said"):
        agent.send(type="guests", guests=guests)
        server.wait_requests(puts)
        assert server.guests == guests, server.guests
    with tap.case("it is sent again when it changes, and only then"):
        agent.send(type="guests", guests=guests)
        agent.send(type="guests", guests=guests + [dict(guests[0], name="web2")])
        server.wait_requests(puts, 2)
        agent.send(type="request", id=1, guest=GUEST, fix="net-fix")
        agent.expect("requested", id=1)
        assert len(server.wait_requests(puts)) == 2 and len(server.guests) == 2


def report(seq, **more):
    return {"seq": seq, "job": JOB, "guest": GUEST, "fix": "net-fix", "version": 3, "state": "offered", "at_ms": 1,
            "isolator": "vmm", **more}


def reports(server, agent):
    with tap.case("600 reports arrive in order, in batches of at most 256, and are acknowledged"):
        for seq in range(1, 601):
            agent.send(type="report", report=report(seq))
        m = agent.expect("acked", seq=600)
        assert sorted(server.reports) == list(range(1, 601)), m
        sizes = [len(json.loads(r.body)["reports"]) for r in server.requests if r.path == "/v1/reports"]
        assert max(sizes) <= 256 and len(sizes) < 300, sizes
    with tap.case("they carry the name of the journal"):
        assert {json.loads(r.body).get("journal") for r in server.requests if r.path == "/v1/reports"} == {"j-1"}
    with tap.case("evidence that is too long for the server is left out, the outcome is not"):
        agent.send(type="report", report=report(601, evidence={"log": "x" * 600000}))
        agent.expect("acked", seq=601)
        assert "evidence" not in server.reports[601]
    with tap.case("a report said twice is sent once"):
        agent.send(type="report", report=report(601))
        agent.send(type="report", report=report(602))
        agent.expect("acked", seq=602)


def heads(world, server, agent):
    data, offer = world.bundle, offer_of(world.bundle)
    server.blobs[offer["digest"]] = data
    with tap.case("a head is fetched, verified and left in a file"):
        agent.send(type="head", id=7, offer=offer)
        m = agent.expect("head-verified", id=7)
        path = os.path.join(agent.heads(), offer["digest"] + ".head")
        assert m["path"] == path, m
        with open(path, "rb") as f:
            head = f.read()
        assert data.startswith(head) and m["head_digest"] == head[48:80].hex(), m
        assert m["manifest"]["id"] == "net-fix" and m["manifest"]["version"] == 3, m
        assert m["manifest"]["payload_bytes"] == len(data) - len(head), m
        assert m["catalogue"]["generation"] == 1 and m["catalogue"]["version"] > 0, m
        assert sorted(m["manifest"]) == ["context", "expires_s", "id", "payload_bytes", "severity", "timeout_s", "title",
                                         "version"], m
    with tap.case("only the head's bytes were asked for"):
        ranges = [r.headers.get("range") for r in server.requests if r.path.startswith("/v1/blobs/")]
        assert ranges == ["bytes=0-79", "bytes=80-%d" % (len(head) - 1)], ranges
    with tap.case("the same bundle for 20 more guests is not fetched again"):
        for i in range(20):
            agent.send(type="head", id=100 + i, offer=offer)
        for i in range(20):
            agent.expect("head-verified", id=100 + i)
        assert len([r for r in server.requests if r.path.startswith("/v1/blobs/")]) == 2


def bad_heads(world, server, agent):
    data = world.bundle
    head_len = 80 + int.from_bytes(data[16:24], "big") + int.from_bytes(data[24:32], "big")
    other = subprocess.run([os.path.join(BIN, "fixgate-fix"), "keygen", "--out", world.dir + "/other"],
                           stdout=subprocess.DEVNULL, check=True) and world.build("net-fix", 4, keys="other")

    def flipped(at):
        b = bytearray(data)
        b[at] ^= 1
        return bytes(b)

    huge = bytearray(data)
    huge[16:24] = (1 << 40).to_bytes(8, "big")
    cases = [
        ("a bundle of another publisher", other, offer_of(other, version=4), {"untrusted"}),
        ("an expired fix", world.build("old-fix", 1, expires="2021-01-01T00:00:00Z"), None, {"untrusted"}),
        ("a flipped bit of the magic", flipped(1), None, {"format"}),
        ("a flipped bit of the signature", flipped(200), None, {"format", "untrusted"}),
        ("a flipped bit of the head digest", flipped(50), None, {"format", "untrusted"}),
        ("a flipped bit of the last hash", flipped(head_len - 1), None, {"format", "untrusted"}),
        ("lengths beyond the limits", bytes(huge), None, {"limit", "format"}),
        ("another version than offered", data, offer_of(data, version=2), {"untrusted"}),
        ("another fix than offered", data, offer_of(data, fix="other-fix"), {"untrusted"}),
        ("another length than offered", data, dict(offer_of(data), bytes=len(data) + 1), {"format"}),
        ("a bundle cut short", data[:head_len + 10], None, {"format"}),
        ("a bundle with something after it", data + b"x", None, {"format"}),
        ("zeros", bytes(200), None, {"format"}),
    ]
    for n, (text, blob, offer, codes) in enumerate(cases):
        with tap.case("rejected: " + text):
            offer = offer or offer_of(blob, "old-fix" if "expired" in text else "net-fix",
                                      1 if "expired" in text else 3)
            # Under a name of its own, so that nothing comes from an earlier file.
            offer = dict(offer, digest=hashlib.sha256(b"%d" % n).hexdigest())
            server.blobs[offer["digest"]] = blob
            agent.send(type="head", id=200 + n, offer=offer)
            m = agent.expect("failed", id=200 + n)
            assert m["code"] in codes, m
            assert not os.path.exists(os.path.join(agent.heads(), offer["digest"] + ".head"))
    with tap.case("a blob that is not there is no reason to reject"):
        agent.send(type="head", id=300, offer=dict(offer_of(data), digest="f" * 64))
        m = agent.expect("failed", id=300)
        assert m["code"] == "not-found", m


def questions(agent):
    with tap.case("a token"):
        agent.send(type="token", id=20, job=JOB, guest=GUEST, digest="0" * 64)
        m = agent.expect("token", id=20)
        assert m["token"] == "ab" * 32 and m["expires_ms"] == 1900000000000, m
    with tap.case("a request that the server refuses comes back with its words"):
        agent.send(type="request", id=21, guest=GUEST, fix="unknown-fix")
        m = agent.expect("failed", id=21)
        assert m["code"] == "not-found" and "no such fix" in m["text"], m
    with tap.case("a malformed question is answered, not sent"):
        agent.send(type="request", id=22, guest=GUEST, fix="../x")
        m = agent.expect("failed", id=22)
        assert m["code"] == "format", m


def ipv6(world):
    with tap.case("the server may have an IPv6 address"):
        server = world.server(files=world.pki.server("six", "::1"), address="::1")
        agent = Agent(world, server.port, address="::1")
        agent.expect("online", online=True)
        assert agent.close() == 0
        server.close()


def start_mistakes(world):
    def run(argv, **kw):
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, **kw)

    program = os.path.join(BIN, "fixgate-net")
    with tap.case("without a socket on descriptor 3 it says who starts it"):
        r = run([program, "--config", "/nonexistent"])
        assert r.returncode == 2 and "started by fixgated" in r.stderr, r
    with tap.case("--no-sandbox is refused to root"):
        r = run([program, "--no-sandbox"])
        assert r.returncode == 2 and "refused to root" in r.stderr, r
    for text, files, says in [
            ("a key that does not belong to the certificate", {"key": world.pki.ca_key}, "do not belong together"),
            ("a missing certificate", {"cert": "/nonexistent.pem"}, "/nonexistent.pem"),
            ("a CA file without a certificate", {"ca": "/etc/passwd"}, "no certificate in it")]:
        with tap.case("refused at start: " + text):
            agent = Agent(world, 1, start=False, **files)
            status = agent.process.wait(20)
            assert status != 0 and says in agent.text(), agent.text()
            agent.close()
    with tap.case("a key that everybody can read is refused"):
        agent_key = world.path_of_open_key()
        agent = Agent(world, 1, start=False, key=agent_key)
        assert agent.process.wait(20) == 4 and "chmod 600" in agent.text(), agent.text()
        agent.close()


def open_key(world):
    path = os.path.join(world.dir, "open-key")
    with open(world.agent_files[1], "rb") as src, open(path, "wb") as dst:
        dst.write(src.read())
    os.chmod(path, 0o644)
    return path


def main():
    world = World()
    world.path_of_open_key = lambda: open_key(world)
    server = world.server()
    try:
        agent = Agent(world, server.port, journal="j-1")
        with tap.case("it comes online"):
            assert agent.expect("online")["online"] is True
        sandbox(agent)
        offers(server, agent)
        inventory(server, agent)
        reports(server, agent)
        heads(world, server, agent)
        bad_heads(world, server, agent)
        questions(agent)
        with tap.case("all of that used few connections"):
            assert server.connections <= 8, server.connections
        with tap.case("it ends in order when fixgated hangs up"):
            assert agent.close() == 0, agent.text()
        with tap.case("started again, it goes on from cursor and acked, and the old heads are gone"):
            agent = Agent(world, server.port, cursor=5, acked=602)
            agent.expect("online", online=True)
            agent.send(type="report", report=report(602))
            agent.send(type="report", report=report(603))
            agent.expect("acked", seq=603)
            assert os.listdir(agent.heads()) == []
        with tap.case("a message that is none ends it with an error"):
            agent.send(type="nonsense")
            assert agent.process.wait(20) == 17, agent.text()
            agent.close()
        cancelled(world)
        ipv6(world)
        start_mistakes(world)
    finally:
        server.close()
        world.close()
    tap.end()


main()
