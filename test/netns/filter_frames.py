#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Hostile and legitimate frames, raw, both directions, through the filter on a real kernel:

    guest --eth0/vif1.0-- dom0: bridge --srv0-- server
                                       --oth0-- other

One line a frame: (name, frame, what becomes of it).  "other" must not see one of them.
"""
import fcntl
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frame_kinds import *  # noqa: E402,F403
from nslib import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, UUID, UUID2, Filter, Ns, Offload, Raw, Tap, need_root, pin, until_carrying  # noqa: E402


TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454ca, 0x0002, 0x1000, 0x4000  # linux/if_tun.h

SANITIZED = bool(os.environ.get("FG_SANITIZED"))  # the kernel is the same: there the counts of every tenth frame are read


class World:
    def __init__(self):
        self.dom0, self.guest, self.server, self.other = Ns("dom0"), Ns("guest"), Ns("server"), Ns("other")
        ends = (("vif1.0", self.guest, GM), ("srv0", self.server, SM), ("oth0", self.other, OM))
        for dev, ns_, addr in ends:
            self.dom0.ip("link", "add", dev, "type", "veth", "peer", "name", "eth0", "netns", ns_.name)
            ns_.ip("link", "set", "eth0", "address", ":".join("%02x" % b for b in addr), "up")
        self.dom0.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0", "ageing_time", "0")
        for dev, _, addr in ends:
            self.dom0.ip("link", "set", dev, "master", "br0", "up")
            self.dom0.ip("link", "set", dev, "type", "bridge_slave", "learning", "off")
            self.dom0.run("bridge", "fdb", "replace", ":".join("%02x" % b for b in addr), "dev", dev, "master", "static")
        self.dom0.ip("link", "set", "br0", "up")
        for key in ("iptables", "ip6tables", "arptables"):  # br_netfilter would drop some of them on its own
            self.dom0.sysctl("net/bridge/bridge-nf-call-" + key, "0", check=False)
        for dev, ns_, _ in ends:
            until_carrying(self.dom0, dev)
            until_carrying(ns_, "eth0")
        self.g, self.s, self.o = Raw(self.guest, "eth0"), Raw(self.server, "eth0"), Raw(self.other, "eth0")
        self.filter = Filter(self.dom0)
        self.serial = 0

    def sentinel_out(self):
        self.serial += 1
        return e4(ip4(G4, MARKER4, 6, tcp(G4, MARKER4, 50000, MARKER_PORT, seq=self.serial)))

    def sentinel_in(self):
        self.serial += 1
        return e4(ip4(MARKER4, G4, 6, tcp(MARKER4, G4, MARKER_PORT, 50000, seq=self.serial)), GM, SM)

    def send_out(self, frame, by=None):
        """(seen at the server, seen at the other host)"""
        self.s.pending(), self.o.pending()
        (by or self.g).send(frame)
        s = self.sentinel_out()
        self.g.send(s)
        return self.s.until(s), self.o.pending()

    def send_in(self, frame, by):
        self.g.pending()
        by.send(frame)
        s = self.sentinel_in()
        self.s.send(s)
        return self.g.until(s)


def expected_reason(known, frame, reason):
    """Where no MAC is known, all that goes to one MAC, and all of TCP, is dropped before its addresses are looked at."""
    if known or reason not in ("wrong-mac", "spoofed-address", "not-the-guest"):
        return reason
    if is_tcp(frame):
        return "mac-unknown"
    one = frame[6:12] == GM and not frame[0] & 1
    return {b"\x08\x06": "arp", b"\x86\xdd": "neighbour"}[frame[12:14]] if one else reason


def more(side, before, now):
    return [k[1] for k in now if now[k] > before.get(k, 0) and k[0] == side and not k[1].startswith("pass-")]


class Counted:
    """Under which reason each of many frames was counted"""

    def __init__(self, w, side):
        self.w, self.side, self.before, self.expected = w, side, w.filter.counters(), []

    def once(self, reason, last):
        """(as expected, what has grown); None: under any reason or none.  What is not read is read with a later frame."""
        self.expected.append(reason)
        if SANITIZED and not last and len(self.expected) < 10:
            return True, []
        now, wanted = self.w.filter.counters(), set(self.expected)
        grown_ = more(self.side, self.before, now)
        good = set(grown_) == wanted if None not in wanted else wanted - {None} <= set(grown_)
        self.before, self.expected = now, []
        return good, grown_


def outward(tap, w, known):
    tag = "MACs known" if known else "MACs unknown"
    frames = from_guest_hostile() + (from_guest_known() if known else from_guest_unknown())
    counted = Counted(w, "from")
    for name, frame, reason in frames:
        reason = expected_reason(known, frame, reason)
        at_server, at_other = w.send_out(frame)
        good, grown_ = counted.once(reason, frame is frames[-1][1])
        tap.ok(good and not at_server and not at_other, "from the guest, %s: %s%s" % (tag, name, " (%s)" % reason if reason else ""),
               "server: %s\nother: %s\ncounted: %s" % ([f.hex() for f in at_server], [f.hex() for f in at_other], grown_))
    for name, frame, expected in from_guest_legit(known):
        at_server, at_other = w.send_out(frame)
        # the bridge may cut off what is behind the IP packet
        tap.ok(at_server in ([expected], [expected[:-6]] if "padded" in name else [expected]) and (not at_other or (not known and frame[0] & 1)),
               "from the guest, %s: passes: %s" % (tag, name),
               "server: %s\nwanted: %s\nother: %s" % ([f.hex() for f in at_server], expected.hex(), [f.hex() for f in at_other]))


def inward(tap, w, known):
    tag = "MACs known" if known else "MACs unknown"
    counted = Counted(w, "to")
    frames = to_guest_hostile() + (to_guest_known() if known else to_guest_unknown())
    for name, frame, reason in frames:
        reason = expected_reason(known, frame, reason)
        by = w.s if frame[6:12] == SM else w.o
        seen = w.send_in(frame, by)
        good, grown_ = counted.once(reason, frame is frames[-1][1])
        tap.ok(good and not seen, "to the guest, %s: %s%s" % (tag, name, " (%s)" % reason if reason else ""),
               "seen: %s\ncounted: %s" % ([f.hex() for f in seen], grown_))
    for name, frame in to_guest_legit(known):
        seen = w.send_in(frame, w.s)
        tap.ok(seen == [frame], "to the guest, %s: passes: %s" % (tag, name), "seen: %s" % [f.hex() for f in seen])


def grown(w, side, before):
    return more(side, before, w.filter.counters())


def by_host(tap, w):
    w.filter.ok("isolate", *GUEST, *KNOWN)
    host = Raw(w.dom0, "vif1.0")
    for name, frame, reason in to_guest_by_host():
        before = w.filter.counters()
        seen = w.send_in(frame, host)
        tap.ok(not seen and grown(w, "to", before) == [reason], "to the guest, sent by the host: %s (%s)" % (name, reason), [f.hex() for f in seen])
    host.close()


def partial(src, dst, proto, head, data, at):
    """A transport packet whose checksum covers the pseudo header only, as with checksum offload"""
    c = ~checksum(pseudo(src, dst, proto, len(head) + len(data))) & 0xffff
    return head[:at] + struct.pack("!H", c) + head[at + 2:] + data


def big(src, dst, sport, dport, n, proto=6, **kw):
    """An IP packet with n bytes of data"""
    if proto == 6:
        head, at = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 5 << 4, 0x18, 8192, 0, 0), 16
    else:
        head, at = struct.pack("!HHHH", sport, dport, 8 + n, 0), 6
    build = ip6 if ":" in src else ip4
    return build(src, dst, proto, partial(src, dst, proto, head, b"\xa5" * n, at), **kw)


def offloads(tap, w):
    """Checksum offload, and segmentation offload: one frame of up to 64 KiB, as virtio and Xen's netfront hand it over."""
    w.filter.ok("isolate", *GUEST, *KNOWN)
    g, s = Offload(w.guest, "eth0"), Offload(w.server, "eth0")
    out = [  # name, frame, what it is, reason; None = it passes
        ("TCP, 30,000 bytes", e4(big(G4, S4, 40000, PORT, 30000)), GSO_TCPV4, None),
        ("TCP, 65,000 bytes", e4(big(G4, S4, 40000, PORT, 65000)), GSO_TCPV4, None),
        ("TCP over IPv6, 30,000 bytes", e6(big(G6, S6, 40000, PORT, 30000)), GSO_TCPV6, None),
        ("checksum only", e4(big(G4, S4, 40000, PORT, 100)), 0, None),
        ("checksum only, IPv6", e6(big(G6, S6, 40000, PORT, 100)), 0, None),
        ("TCP, 30,000 bytes, wrong port", e4(big(G4, S4, 40000, 22, 30000)), GSO_TCPV4, "wrong-port"),
        ("TCP, 30,000 bytes, wrong address", e4(big(G4, O4, 40000, PORT, 30000), OM), GSO_TCPV4, "wrong-address"),
        ("TCP, 30,000 bytes, another's MAC", e4(big(G4, S4, 40000, PORT, 30000), OM), GSO_TCPV4, "wrong-mac"),
        ("TCP, 30,000 bytes, another's source", e4(big(O4, S4, 40000, PORT, 30000)), GSO_TCPV4, "spoofed-address"),
        ("TCP, 30,000 bytes, another's source MAC", e4(big(G4, S4, 40000, PORT, 30000), SM, XM), GSO_TCPV4, "spoofed-mac"),
        ("TCP over IPv6, 30,000 bytes, wrong port", e6(big(G6, S6, 40000, 22, 30000)), GSO_TCPV6, "wrong-port"),
        ("TCP over IPv6, 30,000 bytes, wrong address", e6(big(G6, O6, 40000, PORT, 30000), OM), GSO_TCPV6, "wrong-address"),
        ("UDP, 30,000 bytes", e4(big(G4, S4, 40000, PORT, 30000, 17)), GSO_UDP_L4, "protocol"),
        ("UDP over IPv6, 30,000 bytes", e6(big(G6, S6, 40000, PORT, 30000, 17)), GSO_UDP_L4, "protocol"),
        ("UDP, checksum only", e4(big(G4, S4, 40000, PORT, 100, 17)), 0, "protocol"),
        ("checksum only, wrong port", e4(big(G4, S4, 40000, 22, 100)), 0, "wrong-port"),
    ]

    def back(f):
        """The same the other way: addresses and ports swapped"""
        name, frame, gso, reason = f
        n = 20 if frame[12:14] == b"\x08\0" else 40
        a, b = (slice(26, 30), slice(30, 34)) if n == 20 else (slice(22, 38), slice(38, 54))
        ports = frame[14 + n:18 + n]
        frame = frame[6:12] + frame[:6] + frame[12:a.start] + frame[b] + frame[a] + ports[2:] + ports[:2] + frame[18 + n:]
        reason = {"spoofed-address": "not-the-guest", "wrong-mac": "wrong-mac"}.get(reason, reason)
        return (name, frame, gso, None if reason == "spoofed-mac" else reason)
    inward_ = [back(f) for f in out if f[3] != "spoofed-mac"]
    for side, raw, frames, send in (("from", g, out, w.send_out), ("to", s, inward_, w.send_in)):
        for name, frame, gso, reason in frames:
            before, n = w.filter.counters(), 20 if frame[12:14] == b"\x08\0" else 40
            udp_ = frame[23 if n == 20 else 20] == 17
            try:
                sender = Sender(raw, gso, 14 + n, 6 if udp_ else 16)
                seen = w.send_out(frame, sender)[0] if side == "from" else w.send_in(frame, sender)
            except OSError as e:
                tap.ok(True, "%s the guest, offload: %s # SKIP this kernel takes no such frame: %s" % (side, name, e))
                continue
            what = "passes" if reason is None else reason
            tap.ok(seen == ([frame] if reason is None else []) and grown(w, side, before) == ([reason] if reason else []),
                   "%s the guest, offload: %s: %s" % (side, name, what), (grown(w, side, before), [f.hex()[:120] for f in seen]))
    g.close(), s.close()


class Sender:
    def __init__(self, raw, *how):
        self.raw, self.how = raw, how

    def send(self, frame):
        return self.raw.send_offload(frame, *self.how)


def jumbo(tap, w):
    for ns_, dev in ((w.guest, "eth0"), (w.server, "eth0"), (w.other, "eth0"), (w.dom0, "vif1.0"), (w.dom0, "srv0"), (w.dom0, "oth0")):
        ns_.ip("link", "set", dev, "mtu", "9000")
    w.filter.ok("isolate", *GUEST, *KNOWN)
    data = b"\xa5" * 8900
    for name, frame, reason in (
            ("TCP", e4(ip4(G4, S4, 6, tcp(G4, S4, 40000, PORT, data=data))), None),
            ("wrong port", e4(ip4(G4, S4, 6, tcp(G4, S4, 40000, 22, data=data))), "wrong-port"),
            ("UDP", e4(ip4(G4, S4, 17, udp(G4, S4, 40000, PORT, data))), "protocol"),
            ("ARP", ea(arp(1, GM, G4, Z, S4) + data), "arp"),
            ("tagged", tagged(e4(ip4(G4, S4, 6, tcp(G4, S4, 40000, PORT, data=data))), (0x8100, 5)), "vlan"),
            ("experimental ethertype", eth(SM, GM, 0x88b5, data), "ethertype")):
        before = w.filter.counters()
        seen = w.send_out(frame)[0]
        tap.ok(seen == ([] if reason else [frame]) and grown(w, "from", before) == ([reason] if reason else []),
               "from the guest, jumbo frame: %s: %s" % (name, reason or "passes"), [f.hex()[:80] for f in seen])
    g = Offload(w.guest, "eth0")
    frame = e6(big(G6, S6, 40000, PORT, 8900))
    tap.ok(w.send_out(frame, Sender(g, 0, 54, 16))[0] == [frame], "from the guest, jumbo frame: TCP over IPv6: passes")
    g.close()
    for name, frame, reason in (
            ("TCP", e4(ip4(S4, G4, 6, tcp(S4, G4, PORT, 40000, data=data)), GM, SM), None),
            ("wrong port", e4(ip4(S4, G4, 6, tcp(S4, G4, 22, 40000, data=data)), GM, SM), "wrong-port"),
            ("UDP", e4(ip4(S4, G4, 17, udp(S4, G4, PORT, 40000, data)), GM, SM), "protocol"),
            ("ARP", ea(arp(1, SM, S4, Z, G4) + data, GM, SM), "arp")):
        before = w.filter.counters()
        seen = w.send_in(frame, w.s)
        tap.ok(seen == ([] if reason else [frame]) and grown(w, "to", before) == ([reason] if reason else []),
               "to the guest, jumbo frame: %s: %s" % (name, reason or "passes"), [f.hex()[:80] for f in seen])


def two_headers(src, dst, smac, dmac, good, bad):
    """IPv6 frames to or from a wrong port; a second TCP header stands where a walk from a wrong next header gets to."""
    for size in (4100, 5000, 6000, 8000):
        for first in (6, 0, 17, 43, 44, 60):
            for units in (0, 1, 2, 7):
                packet = bytearray(tcp(src, dst, 1, 2, data=b"\0" * size))
                packet[(units + 1) * 8:(units + 1) * 8 + 4] = struct.pack("!HH", *good)
                packet[:4] = struct.pack("!HH", first << 8 | units, bad)
                yield e6(ip6(src, dst, 6, bytes(packet)), dmac, smac)


def scattered(tap, w):
    """
    Frames of which only the Ethernet header lies in the linear part of the kernel's buffer.  ipv6_find_hdr then takes the first
    next header from memory that holds something else, often 0, and walks on: the sender chooses where the kernel looks for
    the ports.
    """
    w.filter.ok("isolate", *GUEST, *KNOWN)
    out = list(two_headers(G6, S6, GM, SM, (40000, PORT), 22))
    seen = sum(len(w.send_out(f)[0]) for f in out)
    tap.ok(not seen, "from the guest: %d scattered IPv6 frames with a second TCP header: not one passes" % len(out), seen)
    back = list(two_headers(S6, G6, SM, GM, (PORT, 40000), 40000))
    seen = sum(len(w.send_in(f, w.s)) for f in back)
    tap.ok(not seen, "to the guest: %d scattered IPv6 frames with a second TCP header: not one passes" % len(back), seen)


def scattered_tap(tap, w):
    """The same from a tap, where the sender asks for a linear part of 14 bytes."""
    with w.dom0:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", b"tap9", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    w.dom0.ip("link", "set", "tap9", "up", "mtu", "9000")
    other = [a.replace("vif1.0", "tap9") if a != UUID else UUID2 for a in GUEST]
    w.filter.ok("isolate", *other, *KNOWN)
    behind = Raw(w.dom0, "tap9", 0x86dd)
    head = struct.pack("=BBHHHH", 0, 0, 14, 0, 0, 0)
    good = e6(t6())
    os.write(fd, head + good)
    tap.ok(behind.receive() == good, "from a tap: TCP to the server passes")
    frames = list(two_headers(G6, S6, GM, SM, (40000, PORT), 22))
    for f in frames:
        os.write(fd, head + f)
    os.write(fd, head + good)
    seen = behind.until(good)
    tap.ok(not seen, "from a tap: %d scattered IPv6 frames with a second TCP header: not one passes" % len(frames), len(seen))
    behind.close()
    os.close(fd)
    w.filter.ok("release", "--guest", UUID2)


def hardware_tags(tap, w):
    """
    A tag that is not in the frame but beside it (skb->vlan_tci), as NICs with VLAN offload deliver it.  Every tag is in that
    form when the ingress hook sees it, and when the egress hook sees what a bridge port received; here also one that was
    never in a frame.
    """
    for ns_, raw in ((w.guest, w.g), (w.server, w.s)):
        rc, out = ns_.run("tc", "qdisc", "add", "dev", "eth0", "clsact", check=False)
        if rc == 0:
            rc, out = ns_.run("tc", "filter", "add", "dev", "eth0", "egress", "protocol", "ip", "matchall",
                              "action", "vlan", "push", "id", "5", check=False)
        if rc != 0:
            tap.ok(True, "tag pushed by the sender's driver # SKIP no act_vlan: %s" % out.strip().replace("\n", " ")[:60])
            continue
        raw.send(e4(t4()) if ns_ is w.guest else e4(ip4(S4, G4, 6, tcp(S4, G4, PORT, 40000)), GM, SM))
        ns_.run("tc", "qdisc", "del", "dev", "eth0", "clsact")
        seen = w.send_out(b"")[0] if ns_ is w.guest else w.send_in(b"", w.s)
        tap.ok(not seen and w.filter.counters()["from" if ns_ is w.guest else "to", "vlan"] > 0,
               "tag pushed by the sender's driver", [f.hex() for f in seen])


# A bridge keeps 01-80-C2-00-00-0X but STP's for itself, and takes no frame from a group or from nobody (IEEE 802.1D, 7.12.6).
KEPT_BY_BRIDGE = {"LLDP", "EAPOL", "group source MAC", "zero source MAC"}


def control(tap, w):
    """Without the filter the same frames are seen: the test can fail."""
    for way, kept, sent in (("out", KEPT_BY_BRIDGE, [(name, any(w.send_out(f))) for name, f, _ in from_guest_hostile()]),
                            ("in", set(), [(name, bool(w.send_in(f, w.s if f[6:12] == SM else w.o))) for name, f, _ in to_guest_hostile()])):
        lost = {name for name, seen in sent if not seen}
        tap.ok(lost == kept, "control: %d of %d hostile frames get %s where nothing is isolated, not: %s" %
               (len(sent) - len(lost), len(sent), way, ", ".join(sorted(lost)) or "none"), sorted(lost ^ kept))


def closed(tap, w):
    w.filter.ok("isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01", "--closed")
    frames = [f for _, f, _ in from_guest_hostile()] + [f for _, f, _ in from_guest_legit(True)]
    for f in frames:
        w.g.send(f)
    for _, f, _ in to_guest_hostile():
        (w.s if f[6:12] == SM else w.o).send(f)
    for _, f in to_guest_legit(True):
        w.s.send(f)
    flush_in, flush_out = eth(OM, SM, 0x88b6, b"flush" * 10), eth(SM, OM, 0x88b6, b"flush" * 10)
    w.s.send(flush_in)
    w.o.send(flush_out)
    at_other = [f for f in w.o.until(flush_in) if f[6:12] in (GM, XM)]
    at_server = [f for f in w.s.until(flush_out) if f[6:12] in (GM, XM)]
    tap.ok(not at_other and not at_server and not w.g.pending(), "closed: not one frame of %d passes, either way" % len(frames))
    c = w.filter.counters()
    tap.ok(c.get(("from", "closed"), 0) >= len(frames) - 5 and c.get(("to", "closed"), 0) > 40, "closed: all are counted", c)


def dhcp_frames(tap, w):
    bc = "255.255.255.255"

    def ask(src="0.0.0.0", dst=bc, link=BROADCAST, chaddr=GM, op=1, sport=68, dport=67, data=None, behind=b""):
        return e4(ip4(src, dst, 17, udp(src, dst, sport, dport, dhcp(op, chaddr) if data is None else data)) + behind, link)

    def long(n):
        """An IP packet of n bytes"""
        return dhcp(1, GM) + b"\0" * (n - 28 - len(dhcp(1, GM)))

    def head(at, value):
        return dhcp(1, GM)[:at] + value + dhcp(1, GM)[at + len(value):]
    good, other = ask(), ask(G4, D4, OM)
    out = [  # name, frame, what the server sees where its MAC is known, and where not
        ("discover", good, ask(link=SM), good), ("discover of 576 bytes", ask(data=long(576)), ask(link=SM, data=long(576)), ask(data=long(576))),
        ("renewal to the server", ask(G4, D4, SM), ask(G4, D4, SM), None)]
    out += [(name, f, None, None) for name, f in (
        ("renewal to another server", ask(G4, O4, OM)), ("broadcast frame to another server", ask(G4, O4)),
        ("renewal to another host's MAC", other), ("broadcast frame to the server", ask(G4, D4)),
        ("discover to another host's MAC", ask(link=OM)), ("discover to a group", ask(link=mac("01:00:5e:00:00:01"))),
        ("for another MAC", ask(chaddr=OM)), ("as a server", ask(op=2)), ("operation 3", ask(op=3)),
        ("another hardware type", ask(data=head(1, b"\6"))), ("another length of the address", ask(data=head(2, b"\x10"))),
        ("without the magic cookie", ask(data=dhcp(1, GM, magic=b"abcd"))), ("ends before the magic cookie", ask(data=dhcp(1, GM)[:236])),
        ("1,200 bytes of junk behind the head", ask(data=dhcp(1, GM)[:44] + b"x" * 1200)),
        ("577 bytes", ask(data=long(577))), ("1,200 bytes behind the packet", ask(behind=b"x" * 1200)),
        ("from server port to client port", ask(sport=67, dport=68)),
        ("with another's source address", ask(O4, D4, SM)), ("DNS", ask(G4, D4, SM, dport=53)))]
    for known in (True, False):
        w.filter.ok("isolate", *GUEST, *(KNOWN if known else []), "--dhcp", D4)
        for name, f, if_known, if_not in out:
            at_server, at_other = w.send_out(f)
            expected = if_known if known else if_not
            tap.ok(at_server == ([expected] if expected else []) and (not at_other or (not known and at_other == [expected])),
                   "DHCP from the guest, MACs %s: %s %s" % ("known" if known else "unknown", name, "passes" if expected else "is dropped"),
                   "server: %s\nother: %s" % ([x.hex() for x in at_server], [x.hex() for x in at_other]))
    w.filter.ok("isolate", *GUEST, *KNOWN, "--dhcp", D4)

    def offer(src=D4, dst=G4, link=GM, chaddr=GM, op=2, mac_=SM, **kw):
        return e4(ip4(src, dst, 17, udp(src, dst, 67, 68, dhcp(op, chaddr, 2, **kw))), link, mac_)
    for name, f, passes in (
            ("offer", offer(), True), ("broadcast offer", offer(dst=bc, link=BROADCAST), True),
            ("offer to all in a frame to the guest", offer(dst=bc), True), ("offer of an address not known", offer(dst="10.0.0.77"), True),
            ("offer of another server", offer(src=O4, mac_=OM), False), ("offer for another MAC", offer(chaddr=OM), False),
            ("to a group", offer(dst="224.0.0.1"), False), ("to a group, broadcast", offer(dst="224.0.0.1", link=BROADCAST), False),
            ("to a group, group MAC", offer(dst="224.0.0.1", link=mac("01:00:5e:00:00:01")), False),
            ("to the guest, broadcast MAC", offer(link=BROADCAST), False), ("without the magic cookie", offer(magic=b"abcd"), False),
            ("request", offer(op=1), False)):
        seen = w.send_in(f, w.s if f[6:12] == SM else w.o)
        tap.ok((seen == [f]) == passes, "DHCP to the guest: %s %s" % (name, "passes" if passes else "is dropped"),
               [x.hex() for x in seen])


def no_addresses(tap, w):
    """The guest's addresses are not known: any source but what cannot be a guest's."""
    w.filter.ok("isolate", *[a for a in GUEST if a not in ("--ip", G4, G6)], *KNOWN)
    for name, f, passes in (
            ("any source", e4(t4(src="10.0.0.77")), True), ("any IPv6 source", e6(t6(src="2001:db8::77")), True),
            ("source of the server", e4(t4(src=S4)), False), ("source of the gateway", e4(t4(src=W4)), False),
            ("IPv6 source of the server", e6(t6(src=S6)), False), ("source 0.0.0.0", e4(t4(src="0.0.0.0")), False),
            ("source 127.0.0.1", e4(t4(src="127.0.0.1")), False), ("source multicast", e4(t4(src="224.1.1.1")), False),
            ("source broadcast", e4(t4(src="255.255.255.255")), False), ("IPv6 source ::", e6(t6(src="::")), False),
            ("IPv6 source multicast", e6(t6(src="ff02::1")), False),
            ("ARP as the gateway", ea(arp(2, GM, W4, SM, S4), SM), False),
            ("advertisement of the gateway's address",
             e6(ip6("2001:db8::77", S6, 58, na("2001:db8::77", S6, W6, option(2, GM)), hops=255)), False)):
        at_server, at_other = w.send_out(f)
        tap.ok((at_server == [f]) == passes and not at_other, "addresses unknown: %s %s" %
               (name, "passes" if passes else "is dropped"), [x.hex() for x in at_server])


def rate(tap, w):
    w.filter.ok("isolate", *GUEST, *KNOWN, "--rate", "100")
    for i in range(400):
        w.g.send(e4(ip4(G4, S4, 6, tcp(G4, S4, 60000, PORT, seq=i))))
    flush = eth(SM, OM, 0x88b6, b"flush" * 10)
    w.o.send(flush)
    n = len(w.s.until(flush))
    tap.ok(60 <= n <= 150, "rate: of 400 frames at once %d pass at 100 a second with a burst of 64" % n)
    tap.ok(w.filter.counters().get(("from", "rate"), 0) == 400 - n, "rate: the others are counted")


def flows_before(tap, w):
    for known in (True, False):
        w.filter.ok("isolate", *GUEST, *(KNOWN if known else []))
        rc, out = w.filter("verify", *GUEST, *(KNOWN if known else []))
        tap.ok(rc == 0, "verify after isolate", out)
        tap.section(outward, w, known)
        tap.section(inward, w, known)
        rc, out = w.filter("verify", *GUEST, *(KNOWN if known else []))
        tap.ok(rc == 0, "verify after %s frames" % ("all" if known else "all other"), out)


def main():
    need_root()
    pin()
    tap = Tap(__file__)
    w = World()
    tap.section(control, w)
    tap.section(flows_before, w)
    tap.section(hardware_tags, w)
    tap.section(by_host, w)
    tap.section(offloads, w)
    tap.section(dhcp_frames, w)
    tap.section(no_addresses, w)
    tap.section(rate, w)
    tap.section(closed, w)
    w.filter.ok("release", "--guest", UUID)
    tap.ok("fixgate" not in w.dom0.run("nft", "list", "ruleset"), "nothing is left after release")
    tap.section(control, w)
    tap.section(jumbo, w)
    tap.section(scattered, w)
    tap.section(scattered_tap, w)
    tap.done()


main()
