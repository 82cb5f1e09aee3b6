#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter's rules rest on, asked of this kernel with rules of nft's, without our program: what a match sees of a tagged
frame in each hook, what stands before and behind the hooks, and what the inet family's ingress lets by.  If a line fails here,
docs/filter.md is wrong for this kernel, and so may the rule set be."""
import json
import os
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames as f  # noqa: E402
from nslib import Ns, Raw, Tap, need_root, until_carrying, veth  # noqa: E402

GUEST, HOST, OUTER = "02:00:00:00:00:01", "02:00:00:00:00:fe", "02:00:00:00:00:02"
IP4_GUEST, IP4_OUTER = "10.9.0.1", "10.9.0.2"
IPV4, ARP, VLAN, SVLAN, MARK = 0x0800, 0x0806, 0x8100, 0x88a8, 0x88b5
TAG, PRIORITY, OUTER_TAG = (VLAN, 5), (VLAN, 0), (SVLAN, 7)
DEV = "vif1.0"

# Only frames to one of the two are ours: the stacks of the namespaces send group frames of their own.
# A rule of its own: beside `ether daddr` nft would put `ether type ip`, not `meta protocol ip`, before an address.
NOT_OURS = "ether daddr != { %s, %s } accept" % (GUEST, OUTER)
# A rule each, which counts and goes on.  "by address" is what a person writes; nft puts `meta protocol ip` before it.
MATCHES = {"by address": "ip daddr { %s, %s }" % (IP4_GUEST, IP4_OUTER), "by meta protocol": "meta protocol ip",
           "IPv4 in the frame": "@ll,96,16 0x0800", "802.1Q in the frame": "@ll,96,16 0x8100",
           "802.1ad in the frame": "@ll,96,16 0x88a8"}


class Net:
    """guest -- vif1.0 (host, bridge br0) out1 -- outer"""

    def __init__(self):
        self.host, self.guest, self.outer = Ns("host"), Ns("guest"), Ns("outer")
        self.host.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        self.host.ip("link", "set", "br0", "address", HOST, "up")
        for dev, ns, mac in ((DEV, self.guest, GUEST), ("out1", self.outer, OUTER)):
            veth(self.host, dev, ns)
            ns.ip("link", "set", "eth0", "address", mac)
            self.host.ip("link", "set", dev, "master", "br0")
        for ns, devs in ((self.host, (DEV, "out1", "br0")), (self.guest, ("eth0",)), (self.outer, ("eth0",))):
            for dev in devs:
                ns.sysctl("net/ipv6/conf/%s/disable_ipv6" % dev, "1")
        until_carrying(self.host, DEV, "out1")
        until_carrying(self.guest, "eth0")
        until_carrying(self.outer, "eth0")
        self.from_guest, self.to_guest = Raw(self.guest, "eth0"), Raw(self.host, DEV)
        self.from_outer, self.at_outer, self.at_guest = Raw(self.outer, "eth0"), Raw(self.outer, "eth0"), Raw(self.guest, "eth0")

    def remove(self):
        for raw in (self.from_guest, self.to_guest, self.from_outer, self.at_outer, self.at_guest):
            raw.close()
        for ns in (self.host, self.guest, self.outer):
            ns.remove()

    def has_vlan_devices(self):
        _, made = self.host.ip("link", "add", "link", "out1", "name", "probe", "type", "vlan", "id", "9", check=False)
        self.host.ip("link", "del", "probe", check=False)
        return "Unknown device type" not in made

    def nft(self, text):
        self.host.run("nft", "-f", "-", stdin=text)

    def counters(self):
        """{comment: packets} of all rules"""
        listed = json.loads(self.host.run("nft", "-j", "list", "ruleset"))["nftables"]
        return {r["rule"]["comment"]: next(e["counter"]["packets"] for e in r["rule"]["expr"] if "counter" in e)
                for r in listed if "comment" in r.get("rule", {})}


def table(family, name, where, *rules, policy="accept"):
    """Of one chain; where: hook, device, priority."""
    return "\n".join(["table %s %s {" % (family, name), "chain c {", "type filter hook %s; policy %s" % (where, policy),
                      *([NOT_OURS] if rules else []), *rules, "}", "}", ""])


def at(hook, priority=0):
    return "%s device %s priority %d" % (hook, DEV, priority)


def ipv4(src, dst, mac_src, mac_dst, *tags):
    frame = f.eth(f.mac(mac_dst), f.mac(mac_src), IPV4, f.ip4(src, dst, 17, f.udp(src, dst, 1, 2, b"x" * 30)))
    return f.tagged(frame, *tags)


def from_guest(*tags):
    return ipv4(IP4_GUEST, IP4_OUTER, GUEST, OUTER, *tags)


def to_guest(*tags):
    return ipv4(IP4_OUTER, IP4_GUEST, OUTER, GUEST, *tags)


def mark(net, sender, receiver, src, dst):
    """When this frame is there, what was sent before it has come or never will."""
    frame = f.eth(f.mac(dst), f.mac(src), MARK, b"mark" * 12)
    sender.send(frame)
    return receiver.until(frame)


def seen(net, hook, send):
    """Which of the matches count a frame in the hook."""
    rules = ('%s counter comment "%s"' % (match, name) for name, match in MATCHES.items())
    net.nft("flush ruleset\n" + table("netdev", "facts", at(hook), *rules))
    send()
    return {name for name, n in net.counters().items() if n}


def tags(tap, net):
    def up(*outermost_first):
        def send():
            net.from_guest.send(from_guest(*outermost_first))
            mark(net, net.from_guest, net.at_outer, GUEST, OUTER)
        return send

    def down(*outermost_first):
        def send():
            net.to_guest.send(to_guest(*outermost_first))
            mark(net, net.to_guest, net.at_guest, OUTER, GUEST)
        return send

    def bridged(*outermost_first):
        def send():
            net.from_outer.send(to_guest(*outermost_first))
            mark(net, net.from_outer, net.at_guest, OUTER, GUEST)
        return send

    def vlan_device():
        net.host.ip("link", "add", "link", DEV, "name", "tagged5", "type", "vlan", "id", "5")
        net.host.sysctl("net/ipv6/conf/tagged5/disable_ipv6", "1")
        net.host.ip("link", "set", "tagged5", "up")
        raw = Raw(net.host, "tagged5")
        raw.send(to_guest())
        mark(net, net.to_guest, net.at_guest, OUTER, GUEST)
        raw.close()
        net.host.ip("link", "del", "tagged5")
    l3 = {"by address", "by meta protocol"}
    plain, inner = l3 | {"IPv4 in the frame"}, {"802.1Q in the frame"}
    for hook, what, send, expected in (
            ("ingress", "an untagged frame", up(), plain),
            ("ingress", "a tagged frame: the tag is beside it, IPv4 matches, the frame's field has the tag", up(TAG), l3 | inner),
            ("ingress", "a priority-tagged frame likewise", up(PRIORITY), l3 | inner),
            ("ingress", "a frame with an 802.1ad tag likewise", up(OUTER_TAG), l3 | {"802.1ad in the frame"}),
            ("ingress", "a frame with two tags: one is taken off, IPv4 does not match", up(OUTER_TAG, TAG), {"802.1ad in the frame"}),
            ("egress", "an untagged frame", down(), plain),
            ("egress", "a frame sent with its tag in it: IPv4 does not match", down(TAG), inner),
            ("egress", "a tagged frame that came over the bridge: IPv4 matches", bridged(TAG), l3 | inner),
            ("egress", "a frame of a VLAN device on it: IPv4 matches", vlan_device, l3 | inner)):
        if send is vlan_device and not net.has_vlan_devices():
            tap.ok(True, "%s: %s # SKIP this kernel has no VLAN devices" % (hook, what))
            continue
        found = seen(net, hook, send)
        tap.ok(found == expected, "%s: %s" % (hook, what), "matched %s, expected %s" % (sorted(found), sorted(expected)))


def order(tap, net):
    """A frame that a hook drops: who has seen it?"""
    bridge = table("bridge", "facts", "prerouting priority -300", 'ether type ip counter comment "bridge"')
    for hook, dropped in (("egress", False), ("ingress", True)):
        net.nft("flush ruleset\n" + table("netdev", "facts", at(hook), "ether type ip drop") + bridge)
        net.to_guest.pending()
        net.from_guest.send(from_guest())
        arrived = mark(net, net.from_guest, net.at_outer, GUEST, OUTER)
        tapped = from_guest() in net.to_guest.pending()
        tap.ok(tapped, "ingress %s: a packet tap on the device has seen the frame" % ("drops" if dropped else "passes"))
        tap.ok((from_guest() in arrived) != dropped and (net.counters()["bridge"] > 0) != dropped,
               "ingress %s: the bridge has %sseen it" % (("drops", "not ") if dropped else ("passes", "")), net.counters())
    with net.host:
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))     # ETH_P_ALL: outgoing frames too
        out.bind((DEV, 3))
    out.settimeout(0)

    def outgoing():
        found = []
        while True:
            try:
                found.append(out.recv(2000))
            except BlockingIOError:
                return found
    for hook, dropped in (("ingress", False), ("egress", True)):
        net.nft("flush ruleset\n" + table("netdev", "facts", at(hook), "ether type ip drop"))
        outgoing()
        net.from_outer.send(to_guest())
        arrived = mark(net, net.from_outer, net.at_guest, OUTER, GUEST)
        tap.ok((to_guest() in arrived) != dropped and (to_guest() in outgoing()) != dropped,
               "egress %s: %s" % (("drops", "the guest has not seen the frame, nor a tap on the device") if dropped else
                                  ("passes", "the guest has seen the frame, and a tap on the device")))
    out.close()


def priorities(tap, net):
    def chain(hook, name, priority, verdict):
        return table("netdev", name, at(hook, priority), 'ether type ip counter %s comment "%s"' % (verdict, name))
    for hook, send, receive, frame, src, dst in (
            ("ingress", net.from_guest, net.at_outer, from_guest(), GUEST, OUTER),
            ("egress", net.from_outer, net.at_guest, to_guest(), OUTER, GUEST)):
        net.nft("flush ruleset\n" + chain(hook, "last", 2**31 - 1, "") + chain(hook, "middle", 0, "") + chain(hook, "first", -2**31, "drop"))
        send.send(frame)
        mark(net, send, receive, src, dst)
        found = net.counters()
        tap.ok(found == {"first": 1, "middle": 0, "last": 0}, "%s: the lowest priority is first, whatever was made first" % hook, found)
        net.nft("flush ruleset\n" + chain(hook, "last", 2**31 - 1, "drop") + chain(hook, "middle", 0, ""))
        send.send(frame)
        arrived = mark(net, send, receive, src, dst)
        found = net.counters()
        tap.ok(found == {"middle": 1, "last": 1} and frame not in arrived, "%s: the highest is last, and its drop counts" % hook, found)


def inet(tap, net):
    """Why not the inet family: its ingress is asked about IP only."""
    net.nft("flush ruleset\n" + table("inet", "facts", at("ingress"), policy="drop"))
    arp = f.eth(f.mac(OUTER), f.mac(GUEST), ARP, f.arp(1, f.mac(GUEST), IP4_GUEST, b"\0" * 6, IP4_OUTER))
    net.from_guest.send(arp)
    net.from_guest.send(from_guest())
    net.from_guest.send(from_guest(OUTER_TAG, TAG))
    arrived = mark(net, net.from_guest, net.at_outer, GUEST, OUTER)
    tap.ok(from_guest() not in arrived, "inet ingress, policy drop: IPv4 is dropped", arrived)
    tap.ok(arp in arrived, "inet ingress, policy drop: ARP passes unseen", arrived)
    tap.ok(from_guest(OUTER_TAG, TAG) in arrived, "inet ingress, policy drop: IPv4 in two tags passes unseen", arrived)


def main():
    need_root()
    tap = Tap(__file__)
    net = Net()
    try:
        for section in (tags, order, priorities, inet):
            tap.section(section, net)
    finally:
        net.remove()
    tap.done()


main()
