#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that dom0 routes for (vif-route): no bridge, dom0 answers for all by proxy ARP.  The guest's only neighbour is dom0's
end of its vif, and it is let through to no other."""
import json
import os
import socket
import struct
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nslib import UUID, Filter, Ns, Raw, Tap, need_root  # noqa: E402

GM, VIF_MAC, EMU_MAC = "02:00:00:00:00:01", "fe:ff:ff:ff:ff:ff", "fe:00:00:00:00:07"  # Xen gives every vif the second one
DOM0, GUEST, SERVER, OTHER, PORT = "10.1.0.1", "10.1.0.5", "10.2.0.9", "10.3.0.9", 443
DOM6, GUEST6, SERVER6 = "2001:db8:1::1", "2001:db8:1::5", "2001:db8:2::9"
WHO = ["--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--ip", GUEST, "--ip", GUEST6, "--server", "%s:%d" % (SERVER, PORT),
       "--server", "[%s]:%d" % (SERVER6, PORT), "--gateway", DOM0, "--gateway", DOM6]
ROUTED = WHO + ["--routed"]


def veth(ns, dev, peer_ns, peer="eth0", mac=None):
    """With link-local addresses, from which neighbours are probed."""
    ns.ip("link", "add", dev, "type", "veth", "peer", "name", peer, "netns", peer_ns.name)
    for n, name in ((ns, dev), (peer_ns, peer)):
        if n is ns and mac:
            n.ip("link", "set", name, "address", mac)
        n.ip("link", "set", name, "addrgenmode", "eui64")
        n.sysctl("net/ipv6/conf/%s/accept_dad" % name, "0")
        n.ip("link", "set", name, "up")


class Net:
    def __init__(self):
        d = self.d = Ns("dom0")
        self.guest, self.server, self.other = Ns("guest"), Ns("server"), Ns("other")
        for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            d.sysctl(key, "1")
        for host, dev, subnet, at in ((self.server, "srv0", "10.2.0", SERVER), (self.other, "oth0", "10.3.0", OTHER)):
            veth(d, dev, host)
            d.ip("addr", "add", subnet + ".1/24", "dev", dev)
            host.ip("addr", "add", at + "/24", "dev", "eth0")
            host.ip("route", "add", "default", "via", subnet + ".1")
        d.ip("addr", "add", "2001:db8:2::1/64", "dev", "srv0", "nodad")
        self.server.ip("addr", "add", SERVER6 + "/64", "dev", "eth0", "nodad")
        self.server.ip("route", "add", "default", "via", "2001:db8:2::1")
        veth(d, "vif1.0", self.guest, mac=VIF_MAC)
        self.plug("vif1.0")
        self.guest.ip("link", "set", "eth0", "address", GM)
        self.guest.ip("addr", "add", GUEST + "/24", "dev", "eth0")
        self.guest.ip("addr", "add", GUEST6 + "/64", "dev", "eth0", "nodad")
        self.guest.ip("route", "add", "default", "via", DOM0)
        self.guest.ip("route", "add", "default", "via", DOM6)
        self.filter = Filter(d)

    def plug(self, dev):
        """What vif-route does."""
        self.d.ip("addr", "add", DOM0 + "/32", "dev", dev)
        self.d.ip("addr", "add", DOM6 + "/128", "dev", dev, "nodad")
        self.d.sysctl("net/ipv4/conf/%s/proxy_arp" % dev, "1")
        self.d.ip("route", "replace", GUEST, "dev", dev, "src", DOM0)
        self.d.ip("route", "replace", GUEST6, "dev", dev, "src", DOM6)

    def forget(self):
        for ns, dev in ((self.guest, "eth0"), (self.d, "vif1.0")):
            ns.ip("neigh", "flush", "dev", dev)


def serve(ns, address):
    with ns:
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        s.bind((address, PORT))
        s.listen(16)

    def loop():
        while True:
            c, _ = s.accept()
            c.sendall(b"fix")
            c.close()
    threading.Thread(target=loop, daemon=True).start()


def reaches(net, address, timeout=3.0):
    net.forget()
    with net.guest:
        c = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    c.settimeout(timeout)
    try:
        c.connect((address, PORT))
        return c.recv(16) == b"fix"
    except OSError:
        return False
    finally:
        c.close()


def syn(dst_mac, dst_ip, port=PORT):
    """TCP SYN of the guest, as it is on the wire."""
    def checksum(data):
        total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
        total = (total & 0xffff) + (total >> 16)
        return ~(total + (total >> 16)) & 0xffff
    src, dst = socket.inet_aton(GUEST), socket.inet_aton(dst_ip)
    tcp = struct.pack("!HHIIBBHHH", 4000, port, 1, 0, 5 << 4, 2, 8192, 0, 0)
    pseudo = src + dst + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0, src, dst)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return bytes.fromhex(dst_mac.replace(":", "")) + bytes.fromhex(GM.replace(":", "")) + b"\x08\x00" + head + tcp


def control(tap, net):
    tap.ok(all(reaches(net, a) for a in (SERVER, OTHER, SERVER6)), "not isolated: the guest reaches the server and others")


def isolated(tap, net):
    f = net.filter
    f.ok("isolate", *WHO)
    tap.ok(not reaches(net, SERVER, 0.5) and f.counters()["from", "mac-unknown"] > 0, "without a MAC no IP passes")
    f.ok("isolate", *ROUTED)
    tap.ok(f("verify", *ROUTED)[0] == 0, "--routed: verify agrees", f("verify", *ROUTED)[1])
    tap.ok(f("verify", *WHO)[0] == 5, "and tells it from the same without")
    tap.ok(reaches(net, SERVER), "the server is reached over TCP", f("list")[1])
    tap.ok(reaches(net, SERVER6), "and by IPv6", f("list")[1])
    tap.ok(not reaches(net, OTHER, 0.5), "another host is not")
    tap.ok(not reaches(net, DOM0, 0.5), "nor dom0 itself")
    c = f.counters()
    tap.ok(c["from", "pass-tcp"] > 0 and c["from", "wrong-address"] > 0, "counted by reason", c)


def neighbours(tap, net):
    """Frames with another destination than the vif's own MAC, and to the guest from another source."""
    behind = Raw(net.d, "vif1.0", 0x0800)  # behind the ingress hook
    wire = Raw(net.guest, "eth0")
    for mac, good in ((VIF_MAC, True), ("02:00:00:00:00:44", False), ("ff:ff:ff:ff:ff:ff", False), (EMU_MAC, False)):
        wire.send(syn(mac, SERVER))
        frame = behind.receive(0.5)
        tap.ok((frame is not None) == good, "to %s: %s" % (mac, "passes" if good else "dropped"), frame)
        behind.pending()
    before = net.filter.counters()
    tap.ok(before["from", "wrong-mac"] >= 3, "counted as wrong-mac", before)
    behind.close()
    wire.close()


def on_a_port(tap, net):
    """The vif becomes a bridge's port: its own MAC is nobody's neighbour there."""
    f, d = net.filter, net.d
    f.ok("isolate", *ROUTED)
    d.ip("link", "add", "br0", "type", "bridge")
    d.ip("link", "set", "vif1.0", "master", "br0")
    rc, out = f("verify", *ROUTED)
    tap.ok(rc == 5, "a port of a bridge: verify says that it differs", out)
    f.ok("isolate", *ROUTED)
    before = f.counters()
    wire = Raw(net.guest, "eth0")
    wire.send(syn(VIF_MAC, SERVER))
    tap.ok(f("verify", *ROUTED)[0] == 0 and f.counters()["from", "mac-unknown"] == before["from", "mac-unknown"] + 1,
           "isolated again: no IP passes", f.counters())
    wire.close()
    d.ip("link", "del", "br0")
    d.ip("link", "set", "vif1.0", "up")
    f.ok("isolate", *ROUTED)
    tap.ok(reaches(net, SERVER), "and off it again: the server is reached")


def two_devices(tap, net):
    """Each has its own MAC on dom0's side (vif and the emulated one)."""
    f, d = net.filter, net.d
    veth(d, "vif1.0-emu", net.other, "eth9", mac=EMU_MAC)
    both = ROUTED[:3] + ["vif1.0,vif1.0-emu"] + ROUTED[4:]
    f.ok("isolate", *both)
    tap.ok(f("verify", *both)[0] == 0, "two devices of one guest: verify agrees", f("verify", *both)[1])
    rules = d.run("nft", "list", "table", "netdev", "fixgate")
    tap.ok(all("ether daddr %s ip protocol tcp ip daddr %s" % (m, SERVER) in rules for m in (VIF_MAC, EMU_MAC)), "each by its own MAC", rules)
    d.ip("link", "set", "vif1.0-emu", "address", "fe:00:00:00:00:08")
    tap.ok(f("verify", *both)[0] == 5, "verify sees that a MAC has changed")
    d.ip("link", "del", "vif1.0-emu")
    tap.ok(reaches(net, SERVER), "the server is reached by the other")


def marked(tap, net):
    """A mark says it too, so that a vif that appears is armed with its own MAC before vif-route sees it."""
    f, d = net.filter, net.d
    f.ok("release", "--guest", UUID)
    with tempfile.TemporaryDirectory() as t:
        mark = {"uuid": UUID, "closed": False, "devs": [{"mac": GM}], "addresses": [GUEST], "gateways": [{"address": DOM0}],
                "servers": [{"address": SERVER, "port": PORT}], "routed": True}
        path = os.path.join(t, UUID + ".json")

        def arm(**changes):
            with open(path, "w", encoding="utf-8") as out:
                json.dump({**mark, **changes}, out)
            return f("arm", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--mark-dir", t)
        rc, out = arm(routed="yes")
        tap.ok(rc == 8, "'routed' that is no boolean refuses the vif", out)
        rc, out = arm(servers=[{"address": SERVER, "port": PORT, "mac": EMU_MAC}])
        tap.ok(rc == 8, "and so does a server with a MAC of its own", out)
        d.ip("link", "del", "vif1.0")
        veth(d, "vif1.0", net.guest, mac=VIF_MAC)
        rc, out = arm()
        tap.ok(rc == 0, "the vif of a guest that starts again is armed", out)
        net.plug("vif1.0")
        net.guest.ip("link", "set", "eth0", "address", GM)
        net.guest.ip("addr", "add", GUEST + "/24", "dev", "eth0")
        net.guest.ip("route", "add", "default", "via", DOM0)
        tap.ok(reaches(net, SERVER) and not reaches(net, OTHER, 0.5), "vif-route has run: the server is reached, nobody else")
    f.ok("release", "--guest", UUID)
    tap.ok(d.run("nft", "list", "ruleset") == "", "release leaves nothing")


def arguments(tap, net):
    for extra in (["--server-mac", VIF_MAC], ["--gateway-mac", VIF_MAC]):
        rc, out = net.filter("isolate", *ROUTED, *extra)
        tap.ok(rc == 2 and "routed" in out, "--routed with %s: usage" % extra[0], out)
    rc, out = net.filter("isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--closed", "--routed")
    tap.ok(rc == 2, "--routed with --closed: usage", out)
    rc, out = net.filter("simulate", *ROUTED, "/dev/null")
    tap.ok(rc == 2 and "MAC" in out, "simulate asks no kernel: it wants the MAC", out)


def main():
    need_root()
    tap, net = Tap(__file__), Net()
    for ns, address in ((net.server, SERVER), (net.server, SERVER6), (net.other, OTHER), (net.d, DOM0)):
        serve(ns, address)
    for section in (control, isolated, neighbours, on_a_port, two_devices, marked, arguments):
        tap.section(section, net)
    tap.done()


main()
