#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's clock is set forward and back while fixgate-net works: what it takes and refuses; TAP.

Only the wall clock steps: the monotonic clock goes on.
"""
import hashlib
import os
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from netkit import GUEST, JOB, SANITIZED, Agent, Tap, World  # noqa: E402

HOUR, DAY = 3600, 86400
tap = Tap()


class Clock:
    """Seconds that fixgate-net's clock is off, in a file that it has mapped."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "clock")
        self.library = os.path.join(folder, "fakeclock.so")
        with open(self.path, "wb") as f:
            f.write(bytes(8))
        os.chmod(self.path, 0o644)
        subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", self.library,
                        os.path.join(os.path.dirname(os.path.abspath(__file__)), "fakeclock.c")], check=True)

    def set(self, off):
        with open(self.path, "r+b") as f:
            f.write(struct.pack("=q", off))

    def agent(self, world, port, **more):
        """It alone sees this clock."""
        kept = dict(os.environ)
        os.environ.update({"LD_PRELOAD": self.library, "FAKECLOCK": self.path})
        if SANITIZED:
            os.environ["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + kept.get("ASAN_OPTIONS", "")
        try:
            return Agent(world, port, **more)
        finally:
            os.environ.clear()
            os.environ.update(kept)


def offer_of(data, fix="net-fix", version=3):
    return {"fix": fix, "version": version, "digest": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


question = 0


def ask(agent, data):
    """What becomes of a question for the head of this bundle."""
    global question
    question += 1
    agent.send(type="head", id=question, offer=offer_of(data))
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for i, m in enumerate(agent.queue):
            if m.get("id") == question:
                return agent.queue.pop(i)
        agent.queue.append(agent.receive(end - time.monotonic()))
    raise TimeoutError


def polls(server, agent, clock):
    """Offers, reports: by the connection and by number, not by the clock."""
    seq = 0
    for off in (DAY // 2, -DAY // 2, 400 * DAY, -400 * DAY, 0):
        seq += 1
        with tap.case("a poll that waits over a step to %+d s still brings the offer at once" % off):
            server.wait_requests(lambda r, s=seq: r.path == "/v1/offers" and r.query["cursor"] == str(s - 1) and
                                 r.query["wait_s"] == "50")
            clock.set(off)
            began = time.monotonic()
            server.offer(seq=seq, guest=GUEST, fix="net-fix", version=3, digest="0" * 64, bytes=1000)
            m = agent.expect("offers", cursor=seq)
            assert time.monotonic() - began < 5 and m["offers"][0]["seq"] == seq, m
        with tap.case("and a report is acknowledged, in its order"):
            agent.send(type="report", report={"seq": seq, "job": JOB, "guest": GUEST, "fix": "net-fix", "version": 3,
                                              "state": "offered", "at_ms": 1, "isolator": "vmm"})
            agent.expect("acked", seq=seq)
            assert sorted(server.reports) == list(range(1, seq + 1))


def catalogues(world, clock):
    data = world.bundle
    for text, off, says in (("a clock that is right", 0, None), ("a clock that is a minute ahead", 60, None),
                            ("a clock two days behind: the online key's certificate is of the future", -2 * DAY, "not yet valid"),
                            ("a clock ahead by more than the catalogue's time: it has expired", 2 * HOUR, "expired")):
        server = world.server()
        server.blobs[hashlib.sha256(data).hexdigest()] = data
        server.catalogue = world.pki.catalogue(5)
        clock.set(0)
        agent = clock.agent(world, server.port)
        with tap.case("a head with " + text):
            agent.expect("online", online=True)
            clock.set(off)
            m = ask(agent, data)
            if says:
                assert m["type"] == "failed" and says in m["text"], m
            else:
                assert m["type"] == "head-verified", m
        if says:
            with tap.case("put right again, it is taken"):
                clock.set(0)
                m = ask(agent, data)
                assert m["type"] == "head-verified", m
        with tap.case("it ends in order"):
            assert agent.close() == 0, agent.text()
        server.close()
    server = world.server()
    server.blobs[hashlib.sha256(data).hexdigest()] = data
    server.catalogue = world.pki.catalogue(5)
    agent = clock.agent(world, server.port)
    with tap.case("a catalogue that was taken before counts no more when its time is over"):
        agent.expect("online", online=True)
        assert ask(agent, data)["type"] == "head-verified"
        clock.set(2 * HOUR)
        m = ask(agent, data)
        assert m["type"] == "failed" and "expired" in m["text"], m
    with tap.case("a fix that is over is refused, whatever the catalogue says"):
        clock.set(0)
        over = world.build("net-fix", 4, expires=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600)))
        server.catalogue = world.pki.catalogue(6)
        server.blobs[hashlib.sha256(over).hexdigest()] = over
        clock.set(1200)
        global question
        question += 1
        agent.send(type="head", id=question, offer=offer_of(over, version=4))
        m = agent.expect("failed", id=question)
        assert m["code"] == "untrusted" and "expired" in m["text"], m
    clock.set(0)
    agent.close()
    server.close()


def certificates(world, clock):
    """The server's certificate is good for a day."""
    clock.set(0)
    server = world.server()
    agent = clock.agent(world, server.port)
    with tap.case("with the clock right it connects"):
        agent.expect("online", online=True)
    for off in (2 * DAY, -2 * DAY):
        with tap.case("a new connection at %+d s is refused: the server's certificate is not valid then" % off):
            clock.set(off)
            before = len(server.failures)
            server.drop_connections()
            agent.expect("online", online=False)
            end = time.monotonic() + 20
            while len(server.failures) == before and time.monotonic() < end:
                agent.none("online", 0.2)
            assert len(server.failures) > before, agent.text()
        with tap.case("and put right, it comes back by itself, as soon as the back-off is over"):
            clock.set(0)
            agent.expect("online", online=True, timeout=70)
    assert agent.close() == 0, agent.text()
    server.close()


def main():
    world = World()
    try:
        clock = Clock(world.dir)
        server = world.server()
        agent = clock.agent(world, server.port)
        agent.expect("online", online=True)
        polls(server, agent, clock)
        with tap.case("it ends in order"):
            assert agent.close() == 0, agent.text()
        server.close()
        catalogues(world, clock)
        certificates(world, clock)
    finally:
        world.close()
    tap.end()


main()
