#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Random and mutated frames, the same ones at each run: what the kernel does with each is what simulate says, down to the
reason it is counted under and the bytes that come out.

    guest --eth0/vif1.0-- dom0 --oth0/eth0-- other

From the guest: seen by sockets for IP and ARP on vif1.0, which stand behind the ingress hook (taps for all protocols stand
before it).  To the guest: sent on vif1.0 by the host, a tag in the frame; and by the other host through a bridge, a tag
beside it.  FG_RANDOM_FRAMES and FG_RANDOM_SEED for longer runs.
"""
import json
import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frame_kinds import *  # noqa: E402,F403
from nslib import FILTER, UUID, Filter, Ns, Raw, Tap, need_root, pin, until_carrying  # noqa: E402

SEED = int(os.environ.get("FG_RANDOM_SEED", "20261124"))
FRAMES = int(os.environ.get("FG_RANDOM_FRAMES", "6000" if os.environ.get("FG_SANITIZED") else "18000"))
LONGEST = 1514
GUEST_MAC = ["--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01"]
MANY = ["--rate", "1000000"]  # the limit goes by the clock: never reach it
CONFIGS = [
    ("MACs known", GUEST + KNOWN + ["--dhcp", D4] + MANY),
    ("MACs unknown", GUEST + MANY),
    ("addresses unknown, server behind the gateway", GUEST_MAC + MANY + [
        "--server", "192.0.2.1:443", "--server", "%s:%d" % (S4, PORT), "--server", "[%s]:%d" % (S6, PORT), "--gateway", W4,
        "--gateway", W6, "--gateway-mac", "02:00:00:00:00:fe", "--dhcp", W4]),
    ("IPv4 only", GUEST_MAC + MANY + ["--ip", G4, "--server", "%s:%d" % (S4, PORT), "--server-mac", "02:00:00:00:00:09"]),
    ("IPv6 only", GUEST_MAC + MANY + ["--ip", G6, "--server", "[%s]:%d" % (S6, PORT)]),
    ("closed", GUEST_MAC + ["--closed"]),
]
MACS = [GM, SM, WM, OM, XM, BROADCAST, Z, mac("33:33:ff:00:00:01"), mac("01:00:5e:00:00:01"), mac("03:00:00:00:00:01")]
V4 = [G4, S4, W4, O4, "0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "192.0.2.1"]
V6 = [G6, S6, W6, O6, GL, SL, "::", "ff02::1", solicited(G6), solicited(S6), "fe80::ff:fe00:fe"]
TYPES = [0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x8847, 0x8864, 0x88cc, 0x0005, 0x05ff, 0x0600, 0xffff]
NEXT = [0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135, 255]


def put(frame, at, data):
    return frame[:at] + data + frame[at + len(data):] if at + len(data) <= len(frame) else frame


def behind_tag(frame):
    return 18 if frame[12:14] in (b"\x81\x00", b"\x88\xa8") else 14


def chain(r, src, dst):
    """A packet with a random chain of IPv6 headers, most of them well formed."""
    kinds = [r.choice(NEXT) for _ in range(r.randrange(4))] + [r.choice((6, 6, 17, 58, 59))]
    out = {6: tcp(src, dst, 40000, PORT), 17: udp(src, dst, 68, 67, b"x" * 20), 58: ns(src, dst, S6, option(1, GM))}.get(kinds[-1], b"")
    for kind, after in reversed(list(zip(kinds, kinds[1:]))):
        if kind == 44:
            out = struct.pack("!BBHI", after, 0, r.choice((0, 0, 1, 8, 9, 0xfff8, 6)), 1) + out
        elif kind == 51:
            out = struct.pack("!BBH", after, r.choice((4, 1, 0, 200)), 0) + b"\0" * 20 + out
        else:
            n = r.choice((0, 0, 0, 1, 2, 255))
            out = struct.pack("!BB", after, n) + b"\x01\x04" + b"\0" * r.choice((4, 4, n * 8 + 4)) + out
    return ip6(src, dst, kinds[0], out, hops=r.choice((64, 255)))


def field(r, frame):
    """One field set to something that matters to a filter."""
    n = behind_tag(frame)
    k = r.randrange(16)
    if k == 0:
        return put(frame, 0, r.choice(MACS))
    if k == 1:
        return put(frame, 6, r.choice(MACS))
    if k == 2:
        return put(frame, n - 2, struct.pack("!H", r.choice(TYPES)))
    if k == 3:
        return put(frame, n, bytes([r.choice((0x45, 0x44, 0x46, 0x4f, 0x55, 0x60, 0x65, 0x6f, 0x40, r.randrange(256)))]))
    if k == 4:  # a length, of either family
        return put(frame, n + r.choice((2, 4)), struct.pack("!H", r.choice((0, 19, 20, 24, 31, 32, 33, 39, 40, 41, 65535,
                                                                           len(frame) - n + r.randint(-2, 2) & 0xffff,
                                                                           len(frame) - n - 40 + r.randint(-2, 2) & 0xffff))))
    if k == 5:
        return put(frame, n + 6, struct.pack("!H", r.choice((0, 0x4000, 0x2000, 0x8000, 1, 0x1fff, 0x2001, 0xc000, 0xff))))
    if k == 6:
        return put(frame, n + r.choice((9, 6)), bytes([r.choice(NEXT)]))
    if k == 7:
        return put(frame, n + r.choice((12, 16, 14, 24)), a4(r.choice(V4)))
    if k == 8:
        return put(frame, n + r.choice((8, 24)), a6(r.choice(V6)))
    if k == 9:  # a port, behind either header
        return put(frame, n + r.choice((20, 22, 40, 42)), struct.pack("!H", r.choice((PORT, 443, 67, 68, 53, 0, 40000))))
    if k == 10:
        return put(frame, n + 7, bytes([r.choice((255, 254, 64, 0, 1, 2))]))
    if k == 11:  # ARP: head, operation, link addresses
        return put(frame, n + r.choice((0, 2, 4)), struct.pack("!H", r.choice((0, 1, 6, 0x0800, 0x0604, 0x0806))))
    if k == 12:
        return put(frame, n + 6, struct.pack("!H", r.randrange(5)))
    if k == 13:
        return put(frame, n + r.choice((8, 18)), r.choice(MACS))
    if k == 14:  # neighbour discovery: type, code, flags, target, option
        at, data = r.choice(((40, bytes([r.choice((133, 134, 135, 136, 137)), r.choice((0, 0, 0, 1))])),
                             (44, bytes([r.choice((0, 0x60, 0x80, 0xe0))])), (48, a6(r.choice(V6))),
                             (64, bytes([r.choice((1, 2, 3)), r.choice((0, 1, 2))])), (66, r.choice(MACS))))
        return put(frame, n + at, data)
    at, data = r.choice(((28, bytes([r.choice((1, 2)), r.choice((1, 1, 6)), r.choice((6, 6, 16))])), (264, b"\x63\x82\x53\x63"),
                         (264, b"abcd"), (56, r.choice(MACS))))  # BOOTP: head, magic cookie, client's address
    return put(frame, n + at, data)


def mutate(r, frame, seeds):
    k = r.randrange(14)
    if k < 7:
        return field(r, frame)
    if k == 7:
        at = r.randrange(min(len(frame), 90))
        return put(frame, at, bytes([frame[at] ^ 1 << r.randrange(8)]))
    if k == 8:
        return frame[:r.randrange(14, len(frame) + 1)]
    if k == 9:
        return frame + bytes(r.randrange(256) for _ in range(r.choice((1, 2, 6, 18, 60, 400))))
    if k == 10:
        return tagged(frame, *[(r.choice((0x8100, 0x88a8, 0x9100)), r.choice((0, 1, 5, 0xe000, 0xffff)))
                               for _ in range(r.choice((1, 1, 1, 2)))])
    if k == 11:  # the head of one, the rest of another
        at, other = r.choice((6, 12, 14, 34, 54, 62)), r.choice(seeds)
        return frame[:at] + other[at:]
    if k == 12:
        return frame[:14] + chain(r, r.choice((G6, S6, r.choice(V6))), r.choice((S6, G6, r.choice(V6))))
    return frame[:14] + bytes(r.randrange(256) for _ in range(r.choice((0, 1, 10, 20, 28, 40, 46, 64, 200))))


def generate(r, seeds, n):
    out = list(seeds)
    while len(out) < n:
        frame = r.choice(seeds)
        for _ in range(r.choice((1, 1, 1, 2, 2, 3, 5))):
            frame = mutate(r, frame, seeds)
        if 14 <= len(frame) <= LONGEST:
            out.append(frame)
    return out[:n]


def simulate(argv, direction, frames):
    """[(passes, reason, frame that comes out)]; run without any capability"""
    cap = struct.pack("=IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 65536, 1) + b"".join(
        struct.pack("=IIII", i // 1000, i % 1000 * 1000000, len(f), len(f)) + f for i, f in enumerate(frames))
    p = subprocess.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", FILTER, "simulate", *argv, "--direction", direction,
                        "--json", "-"], input=cap, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = p.stdout.decode().splitlines()
    if p.returncode != 0 or len(lines) != len(frames) + 1:
        raise RuntimeError("simulate: %d %s" % (p.returncode, lines[-1:]))
    out = []
    for line, f in zip(lines, frames):
        v = json.loads(line)
        out.append((v["verdict"] == "pass", v["reason"], mac(v["rewritten_to"]) + f[6:] if "rewritten_to" in v else f))
    return out


def at_least(sock, n):
    """All that has come, and what is on its way up to n"""
    out = sock.pending()
    while len(out) < n:
        frame = sock.receive(0.5)
        if frame is None:
            break
        out.append(frame)
    return out


class World:
    def __init__(self):
        self.dom0, self.guest, self.other = Ns("dom0"), Ns("guest"), Ns("other")
        for dev, peer, addr in (("vif1.0", self.guest, GM), ("oth0", self.other, OM)):
            self.dom0.ip("link", "add", dev, "type", "veth", "peer", "name", "eth0", "netns", peer.name)
            peer.ip("link", "set", "eth0", "address", ":".join("%02x" % b for b in addr), "up")
            self.dom0.ip("link", "set", dev, "up")
        self.g, self.h, self.o = Raw(self.guest, "eth0"), Raw(self.dom0, "vif1.0"), Raw(self.other, "eth0")
        self.behind = {t: Raw(self.dom0, "vif1.0", t) for t in (0x0800, 0x86dd, 0x0806)}
        self.filter = Filter(self.dom0)

    def bridge(self):
        for key in ("iptables", "ip6tables", "arptables"):  # br_netfilter looks at IP headers on its own
            self.dom0.sysctl("net/bridge/bridge-nf-call-" + key, "0", check=False)
        self.dom0.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0", "ageing_time", "0")
        for dev in ("vif1.0", "oth0"):
            self.dom0.ip("link", "set", dev, "master", "br0")
            self.dom0.ip("link", "set", dev, "type", "bridge_slave", "learning", "off")
        self.dom0.ip("link", "set", "br0", "up")
        until_carrying(self.dom0, "vif1.0", "oth0")

    def flush(self):
        for s in (self.g, self.h, self.o, *self.behind.values()):
            s.pending()

    def from_guest(self, frames, wanted):
        """The frames behind the hook, by protocol"""
        for f in frames:
            self.g.send(f)
        return {t: at_least(s, len(wanted[t])) for t, s in self.behind.items()}

    def to_guest(self, frames, by, n):
        for f in frames:
            by.send(f)
        return at_least(self.g, n)


def counted(w, side):
    return {why: n for (way, why), n in w.filter.counters().items() if way == side and n}


def expected(verdicts):
    out = {}
    for _, why, _ in verdicts:
        if why != "runt":  # the kernel drops it before it counts
            out[why] = out.get(why, 0) + 1
    return out


def run(w, side, by, frames, verdicts):
    """None if the kernel agrees, else what differs"""
    before, grown = counted(w, side), {}
    if side == "from":
        wanted = {t: [f for ok, _, f in verdicts if ok and f[12:14] == struct.pack("!H", t)] for t in w.behind}
    else:
        wanted = [f for ok, _, f in verdicts if ok]
    seen = w.from_guest(frames, wanted) if side == "from" else w.to_guest(frames, by, len(wanted))
    for _ in range(10):  # what is on its way on a busy machine is counted by then
        grown = {k: n - before.get(k, 0) for k, n in counted(w, side).items() if n > before.get(k, 0)}
        if sum(grown.values()) >= sum(expected(verdicts).values()):
            break
    if grown == expected(verdicts) and seen == wanted:
        return None
    return "kernel %s, simulate %s%s" % (grown, expected(verdicts), "" if seen == wanted else "; other frames come out")


def culprits(w, side, by, frames, verdicts, limit=8):
    """Halve until single frames are left."""
    out, work = [], [(0, len(frames))]
    while work and len(out) < limit:
        a, b = work.pop()
        what = run(w, side, by, frames[a:b], verdicts[a:b])
        if what and b - a == 1:
            out.append("%s: %s" % (frames[a].hex(), what))
        elif what:
            work += [((a + b) // 2, b), (a, (a + b) // 2)]
    return "\n".join(out) or "only together with others"


def compare(tap, w, r, name, argv, side, by, seeds, n, forwarded=lambda f: True):
    frames = [f for f in generate(r, seeds, n) if forwarded(f)]
    verdicts = simulate(argv, side + "-guest", frames)
    w.filter.ok("isolate", *argv)
    w.flush()
    what = run(w, side, by, frames, verdicts)
    passed = sum(1 for v in verdicts if v[0])
    tap.ok(what is None, "%s: %d frames, %d pass, %d reasons: the kernel does what simulate says" %
           (name, len(frames), passed, len(expected(verdicts))),
           what and "%s\n%s" % (what, culprits(w, side, by, frames, verdicts)))
    if "closed" not in name:
        tap.ok(passed > 0, "%s: the generator makes frames that pass" % name)


def control(tap, w, r, seeds):
    """simulate with other arguments than the kernel's: the test can fail."""
    argv, frames = GUEST + KNOWN + MANY, generate(r, seeds, 600)
    w.filter.ok("isolate", *argv)
    w.flush()
    for name, change in (("another port", lambda a: a.replace("0.1:443", "0.1:444")), ("another address", lambda a: O4 if a == G4 else a)):
        verdicts = simulate([change(a) for a in argv], "from-guest", frames)
        tap.ok(run(w, "from", w.g, frames, verdicts) is not None, "control: simulate for %s differs from the kernel" % name)


def bridged(f):
    """
    A bridge takes no frame from a group or from nobody, keeps 01-80-C2-00-00-0X for itself (IEEE 802.1D, 7.12.6), and looks
    into tags and PPPoE: a frame that ends inside them never gets to the hook.
    """
    whole = len(f) >= 34 or (f[12:14] != b"\x88\x64" and behind_tag(f) == 14)
    return whole and not f[6] & 1 and f[6:12] != Z and f[:5] != b"\x01\x80\xc2\0\0"


def main():
    need_root()
    pin()
    tap = Tap(__file__)
    w, r = World(), random.Random(SEED)
    n = FRAMES // (3 * len(CONFIGS))
    out_seeds = [f for _, f, _ in from_guest_hostile() + from_guest_known()] + [f for _, f, _ in from_guest_legit(True)]
    in_seeds = [f for _, f, _ in to_guest_hostile() + to_guest_known()] + [f for _, f in to_guest_legit(True)]
    out_seeds += dhcp_seeds(GM, "0.0.0.0", "255.255.255.255", BROADCAST, 1) + dhcp_seeds(GM, G4, D4, SM, 1)
    in_seeds += dhcp_seeds(SM, D4, G4, GM, 2) + dhcp_seeds(WM, W4, "255.255.255.255", BROADCAST, 2)
    print("# seed %d" % SEED)
    for name, argv in CONFIGS:
        tap.section(compare, w, r, "from the guest, " + name, argv, "from", w.g, out_seeds, max(n, len(out_seeds) + 100))
        tap.section(compare, w, r, "to the guest, by the host, " + name, argv, "to", w.h, in_seeds, max(n, len(in_seeds) + 100))
    tap.section(control, w, r, out_seeds)
    w.bridge()
    for name, argv in CONFIGS:
        tap.section(compare, w, r, "to the guest, bridged, " + name, argv, "to", w.o, in_seeds, max(n, len(in_seeds) + 100), bridged)
    tap.done()


def dhcp_seeds(link, src, dst, to, op):
    ports = (68, 67) if op == 1 else (67, 68)
    return [e4(ip4(src, dst, 17, udp(src, dst, *ports, dhcp(op, GM))), to, link)] * 3


main()
