#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""fixgate-net with the real fix server: enrolled, online, inventory, a published fix offered, its head, token, reports."""
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from netkit import BIN, GUEST, JOB, Agent, Tap, World  # noqa: E402

tap = Tap()
world = World()
folder = os.path.join(world.dir, "server")


def tool(name, *args):
    r = subprocess.run([os.path.join(BIN, name), *args], capture_output=True, text=True, timeout=60,
                       stdin=subprocess.DEVNULL)
    assert r.returncode == 0, "%s %s: %s%s" % (name, args, r.stdout, r.stderr)
    return r.stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def serve(port):
    with open(os.path.join(world.dir, "server.log"), "ab") as log:
        process = subprocess.Popen([os.path.join(BIN, "fixgate-server"), "serve", "--dir", folder, "--listen",
                                    "127.0.0.1:%d" % port], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    raise AssertionError("fixgate-server does not listen")


def admin(*args):
    return tool("fixgate-admin", "--dir", folder, *args)


def client():
    found = json.loads(admin("clients", "--json"))
    found = found["clients"] if isinstance(found, dict) else found
    return {c["uuid"]: c for c in found}.get(GUEST)


def report(seq, state, **more):
    return {"seq": seq, "job": JOB, "guest": GUEST, "fix": "net-fix", "version": 3, "state": state,
            "at_ms": int(time.time() * 1000), "isolator": "vmm", **more}


def work(agent):
    with tap.case("it comes online"):
        agent.expect("online", online=True)
    with tap.case("the inventory is in the list of clients"):
        agent.send(type="guests", guests=[{"uuid": GUEST, "name": "web1", "toolstack": "xl", "state": "running",
                                           "identity": "config",
                                           "nics": [{"mac": "00:16:3e:99:00:11", "addresses": ["10.99.0.11"]}]}])
        agent.send(type="request", id=1, guest=GUEST, fix="no-such-fix")
        agent.expect("failed", id=1, code="not-found")
        end = time.monotonic() + 10
        while not client() and time.monotonic() < end:
            time.sleep(0.1)
        assert client()["name"] == "web1", client()
    with tap.case("a fix that is offered arrives during the poll"):
        admin("publish", os.path.join(world.dir, "net-fix-3.fix"))
        admin("offer", "--fix", "net-fix", "--guest", "web1")
        m = agent.expect("offers")
        offer = m["offers"][0]
        assert offer["guest"] == GUEST and offer["digest"] == hashlib.sha256(world.bundle).hexdigest(), m
        assert offer["bytes"] == len(world.bundle)
    with tap.case("its head verifies"):
        agent.send(type="head", id=2, offer={k: offer[k] for k in ("fix", "version", "digest", "bytes")})
        assert agent.expect("head-verified", id=2)["manifest"]["id"] == "net-fix"
    with tap.case("a token for it"):
        agent.send(type="token", id=3, job=JOB, guest=GUEST, digest=offer["digest"])
        assert len(agent.expect("token", id=3)["token"]) >= 32
    with tap.case("reports are acknowledged and change the list"):
        for n, state in enumerate(("offered", "queued", "isolated", "stopped", "fixing", "fixed", "released", "rebooting",
                                   "done"), 1):
            agent.send(type="report", report=report(n, state))
        agent.expect("acked", seq=9)
        assert client()["fixes"]["net-fix"]["status"] == "fixed", client()
    return m["cursor"]


def restart(server, port, agent, cursor):
    with tap.case("the server is killed and comes back: nothing is lost, nothing twice"):
        server.kill()
        server.wait()
        agent.expect("online", online=False)
        agent.send(type="report", report=report(10, "done"))
        server = serve(port)
        agent.expect("online", online=True, timeout=70)
        agent.expect("acked", seq=10, timeout=70)
        agent.none("offers", 1)
        assert agent.close() == 0, agent.text()
    with tap.case("started again without cursor, it gets the offer again; fixgated knows it"):
        agent = Agent(world, port, **enrolled())
        assert agent.expect("offers")["cursor"] == cursor
        assert agent.close() == 0
    return server


def cancellation(port):
    """By an administrator, and by a rollout that is cancelled: each reaches fixgated in the poll that waits."""
    agent = Agent(world, port, **enrolled())
    last = agent.expect("offers")["cursor"]

    def calls_back(seq, act):
        act()
        m = agent.expect("offers")
        assert m["offers"] == [] and m["cancelled"] == [{"seq": seq, "guest": GUEST, "fix": "net-fix"}], m
        return m["cursor"]
    with tap.case("an offer that an administrator cancels is called back"):
        admin("offer", "--fix", "net-fix", "--guest", "web1", "--force")
        m = agent.expect("offers")
        assert m["cursor"] > last, m
        calls_back(m["offers"][0]["seq"], lambda: admin("cancel", "--fix", "net-fix", "--guest", "web1"))
    with tap.case("so is that of a rollout that is cancelled"):
        world.build("net-fix", 4)
        admin("publish", os.path.join(world.dir, "net-fix-4.fix"))
        rollout = json.loads(admin("rollout", "create", "net-fix", "--select", "all", "--json"))["id"]
        m = agent.expect("offers")
        assert m["offers"][0]["version"] == 4, m
        calls_back(m["offers"][0]["seq"], lambda: admin("rollout", "cancel", str(rollout)))
        assert agent.close() == 0, agent.text()


def enrolled():
    host = os.path.join(world.dir, "xen1")
    return {"ca": host + "/server-ca.pem", "cert": host + "/agent.pem", "key": host + "/agent.key"}


def main():
    port, server = free_port(), None
    try:
        tool("fixgate-server", "init", "--dir", folder, "--address", "127.0.0.1", "--port", str(port), "--trust", world.trust)
        tool("fixgate-server", "enrol", "xen1", "--dir", folder, "--out", os.path.join(world.dir, "xen1"))
        os.chmod(os.path.join(world.dir, "xen1"), 0o755)
        server = serve(port)
        agent = Agent(world, port, **enrolled())
        cursor = work(agent)
        server = restart(server, port, agent, cursor)
        cancellation(port)
    finally:
        if server:
            server.send_signal(signal.SIGTERM)
            server.wait(20)
        world.close()
    tap.end()


main()
