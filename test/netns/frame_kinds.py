# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames that the filter must drop, with the reason each is counted under, and those that it must let pass."""
from frames import *  # noqa: F403
from nslib import UUID

GM, SM, WM, OM = mac("02:00:00:00:00:01"), mac("02:00:00:00:00:09"), mac("02:00:00:00:00:fe"), mac("02:00:00:00:00:03")
XM = mac("02:00:00:00:00:77")  # nobody
G4, S4, W4, O4, D4 = "10.0.0.2", "10.0.0.1", "10.0.0.254", "10.0.0.3", "10.0.0.1"
G6, S6, W6, O6 = "2001:db8::2", "2001:db8::1", "2001:db8::fe", "2001:db8::3"
GL, SL = "fe80::ff:fe00:1", "fe80::ff:fe00:9"  # of their MACs
PORT = 443
Z = b"\0" * 6

MARKER4, MARKER_PORT = "10.0.0.9", 444  # a second server of the same machine: its frames mark the end of what was sent before
GUEST = ["--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01", "--ip", G4, "--ip", G6,
         "--server", "%s:%d" % (MARKER4, MARKER_PORT), "--server-mac", "02:00:00:00:00:09", "--server", "%s:%d" % (S4, PORT), "--server", "[%s]:%d" % (S6, PORT), "--gateway", W4, "--gateway", W6]
KNOWN = ["--server-mac", "02:00:00:00:00:09", "--gateway-mac", "02:00:00:00:00:fe"]


def t4(src=G4, dst=S4, sport=40000, dport=PORT, **kw):
    return ip4(src, dst, 6, tcp(src, dst, sport, dport), **kw)


def t6(src=G6, dst=S6, sport=40000, dport=PORT, **kw):
    return ip6(src, dst, 6, tcp(src, dst, sport, dport), **kw)


def e4(payload, dst=SM, src=GM):
    return eth(dst, src, 0x0800, payload)


def e6(payload, dst=SM, src=GM):
    return eth(dst, src, 0x86dd, payload)


def ea(payload, dst=BROADCAST, src=GM):
    return eth(dst, src, 0x0806, payload)


def from_guest_hostile():
    """(name, frame, reason it is counted under)"""
    good = e4(t4())
    seg = tcp(G4, S4, 40000, PORT)
    seg6 = tcp(G6, S6, 40000, PORT)
    hbh = bytes([6, 0, 1, 4, 0, 0, 0, 0])  # next TCP, PadN
    out = [
        # link
        ("802.1Q tag", tagged(good, (0x8100, 5)), "vlan"),
        ("priority tag (VID 0)", tagged(good, (0x8100, 0)), "vlan"),
        ("priority tag, PCP 7", tagged(good, (0x8100, 0xe000)), "vlan"),
        ("802.1ad tag", tagged(good, (0x88a8, 5)), "vlan"),
        ("QinQ 88a8/8100", tagged(good, (0x88a8, 5), (0x8100, 6)), "vlan"),
        ("QinQ 8100/8100", tagged(good, (0x8100, 5), (0x8100, 6)), "vlan"),
        ("old QinQ 9100", tagged(good, (0x9100, 5)), "ethertype"),
        ("tagged ARP", tagged(ea(arp(1, GM, G4, Z, S4)), (0x8100, 5)), "vlan"),
        ("tagged IPv6", tagged(e6(t6()), (0x8100, 1)), "vlan"),
        ("802.3 length, LLC", SM + GM + b"\0\x2e" + b"\xaa\xaa\x03" + b"\0" * 43, "ethertype"),
        ("802.3 SNAP with IPv4", SM + GM + b"\0\x30" + b"\xaa\xaa\x03\0\0\0\x08\0" + t4(), "ethertype"),
        ("STP BPDU", mac("01:80:c2:00:00:00") + GM + b"\0\x26\x42\x42\x03" + b"\0" * 43, "ethertype"),
        ("LLDP", eth(mac("01:80:c2:00:00:0e"), GM, 0x88cc, b"\0" * 46), "ethertype"),
        ("EAPOL", eth(mac("01:80:c2:00:00:03"), GM, 0x888e, b"\1\1\0\0" + b"\0" * 42), "ethertype"),
        ("EAPOL to the server", eth(SM, GM, 0x888e, b"\1\1\0\0" + b"\0" * 42), "ethertype"),
        ("MPLS", eth(SM, GM, 0x8847, b"\0\0\1\x40" + t4()), "ethertype"),
        ("PPPoE discovery", eth(BROADCAST, GM, 0x8863, b"\x11\x09\0\0\0\0" + b"\0" * 40), "ethertype"),
        ("PPPoE session with IPv4", eth(SM, GM, 0x8864, b"\x11\0\0\1\0\x2a\0\x21" + t4()), "ethertype"),
        ("MACsec", eth(SM, GM, 0x88e5, b"\0" * 46), "ethertype"),
        ("PTP", eth(mac("01:1b:19:00:00:00"), GM, 0x88f7, b"\0" * 46), "ethertype"),
        ("IPX", eth(BROADCAST, GM, 0x8137, b"\xff" * 46), "ethertype"),
        ("Wake-on-LAN", eth(BROADCAST, GM, 0x0842, b"\xff" * 6 + OM * 16), "ethertype"),
        ("RARP", eth(BROADCAST, GM, 0x8035, arp(3, GM, "0.0.0.0", GM, "0.0.0.0")), "ethertype"),
        ("experimental ethertype", eth(SM, GM, 0x88b5, b"\0" * 46), "ethertype"),
        ("TCP with another source MAC", e4(t4(), src=XM), "spoofed-mac"),
        ("TCP with the server's MAC as source", e4(t4(), src=SM), "spoofed-mac"),
        ("group source MAC", e4(t4(), src=mac("03:00:00:00:00:01")), "spoofed-mac"),
        ("zero source MAC", e4(t4(), src=Z), "spoofed-mac"),
        ("ARP with another source MAC", ea(arp(1, GM, G4, Z, S4), src=XM), "spoofed-mac"),
        ("ND with another source MAC", e6(ip6(G6, solicited(S6), 58, ns(G6, solicited(S6), S6, option(1, GM)), hops=255),
                                          group_mac(solicited(S6)), XM), "spoofed-mac"),
        ("runt: Ethernet header only", SM + GM + b"\x08\x00", None),
        ("runt: half an IPv4 header", e4(t4()[:10]), None),
        ("runt: IPv4 without TCP header", e4(ip4(G4, S4, 6, b"")), None),
        ("runt: two bytes of TCP", e4(ip4(G4, S4, 6, b"\x9c\x40")), None),
        # ARP
        ("ARP for another host", ea(arp(1, GM, G4, Z, O4)), "arp"),
        ("ARP sender MAC is another's", ea(arp(1, OM, G4, Z, S4)), "spoofed-arp"),
        ("ARP sender IP is another's", ea(arp(1, GM, O4, Z, S4)), "spoofed-address"),
        ("ARP sender IP is the server's", ea(arp(1, GM, S4, Z, S4)), "spoofed-address"),
        ("ARP sender IP is the gateway's", ea(arp(1, GM, W4, Z, S4)), "spoofed-address"),
        ("gratuitous ARP request", ea(arp(1, GM, G4, Z, G4)), "arp"),
        ("gratuitous ARP reply", ea(arp(2, GM, G4, BROADCAST, G4)), "arp"),
        ("ARP probe for another address", ea(arp(1, GM, "0.0.0.0", Z, O4)), "arp"),
        ("proxy ARP: reply for another's address", ea(arp(2, GM, O4, SM, S4), SM), "spoofed-address"),
        ("proxy ARP: reply for the gateway's address", ea(arp(2, GM, W4, SM, S4), SM), "spoofed-address"),
        ("ARP reply to another host", ea(arp(2, GM, G4, OM, O4), OM), "arp"),
        ("ARP reply, sender 0.0.0.0", ea(arp(2, GM, "0.0.0.0", SM, S4), SM), "spoofed-address"),
        ("ARP with 100 bytes behind it", ea(arp(1, GM, G4, Z, S4) + b"x" * 100), "arp"),
        ("ARP with 1,200 bytes behind it", ea(arp(1, GM, G4, Z, S4) + b"x" * 1200), "arp"),
        ("ARP with a message as padding", ea(arp(1, GM, G4, Z, S4) + b"\0" * 17 + b"x"), "arp"),
        ("ARP with a message as the padding of a tagged frame", ea(arp(1, GM, G4, Z, S4) + b"x" + b"\0" * 13), "arp"),
        ("ARP with one byte behind it", ea(arp(1, GM, G4, Z, S4) + b"x"), "arp"),
        ("ARP with 16 bytes behind it", ea(arp(1, GM, G4, Z, S4) + b"\0" * 15 + b"x"), "arp"),
        ("ARP request with a message as target MAC", ea(arp(1, GM, G4, b"secret", S4)), "arp"),
        ("ARP probe with another's target MAC", ea(arp(1, GM, "0.0.0.0", OM, S4)), "arp"),
        ("ARP of another hardware type", ea(arp(1, GM, G4, Z, S4, htype=6)), "arp"),
        ("ARP of another protocol type", ea(arp(1, GM, G4, Z, S4, ptype=0x86dd)), "arp"),
        ("ARP with lengths that lie", ea(arp(1, GM, G4, Z, S4, hlen=8, plen=16)), "arp"),
        ("ARP operation 3 (RARP request)", ea(arp(3, GM, G4, Z, S4)), "arp"),
        ("InARP request", ea(arp(8, GM, G4, SM, S4), SM), "arp"),
        ("ARP cut short", ea(arp(1, GM, G4, Z, S4)[:20]), None),
        # IPv4
        ("record route", e4(t4(options=b"\x07\x07\x04\0\0\0\0\0")), "ip-options"),
        ("loose source route", e4(t4(options=b"\x83\x07\x04" + a4(O4) + b"\0")), "ip-options"),
        ("router alert", e4(t4(options=b"\x94\x04\0\0")), "ip-options"),
        ("header length 16", e4(t4(ihl=4)), "ip-options"),
        ("first fragment", e4(ip4(G4, S4, 6, seg + b"x" * 12, frag=0x2000)), "fragment"),
        ("later fragment", e4(ip4(G4, S4, 6, b"x" * 24, frag=0x0010)), "fragment"),
        ("last fragment at offset 8", e4(ip4(G4, S4, 6, seg, frag=0x0001)), "fragment"),
        ("tiny fragment", e4(ip4(G4, S4, 6, seg[:8], frag=0x2000)), "fragment"),
        ("overlapping fragment", e4(ip4(G4, S4, 6, seg[8:], frag=0x2001)), "fragment"),
        ("reserved flag", e4(t4(frag=0x8000)), "fragment"),
        ("UDP to the server", e4(ip4(G4, S4, 17, udp(G4, S4, 40000, PORT, b"x"))), "protocol"),
        ("DNS to the server", e4(ip4(G4, S4, 17, udp(G4, S4, 40000, 53, b"x" * 20))), "protocol"),
        ("DNS over TCP", e4(t4(dport=53)), "wrong-port"),
        ("ICMP echo to the server", e4(ip4(G4, S4, 1, icmp(8, 0, b"ping"))), "protocol"),
        ("ICMP redirect", e4(ip4(G4, S4, 1, icmp(5, 1, a4(G4) + t4()[:28]))), "protocol"),
        ("ICMP unreachable", e4(ip4(G4, S4, 1, icmp(3, 4, b"\0" * 4 + t4()[:28]))), "protocol"),
        ("IGMP", e4(ip4(G4, "224.0.0.22", 2, b"\x22\0\xf9\x02\0\0\0\1\4\0\0\0" + a4("239.1.1.1"), ttl=1),
                    mac("01:00:5e:00:00:16")), "protocol"),
        ("SCTP", e4(ip4(G4, S4, 132, b"\x9c\x40\x01\xbb" + b"\0" * 24)), "protocol"),
        ("GRE", e4(ip4(G4, S4, 47, b"\0\0\x08\0" + t4())), "protocol"),
        ("IP in IP", e4(ip4(G4, S4, 4, t4())), "protocol"),
        ("6in4", e4(ip4(G4, S4, 41, t6())), "protocol"),
        ("ESP", e4(ip4(G4, S4, 50, b"\0" * 32)), "protocol"),
        ("AH before TCP", e4(ip4(G4, S4, 51, b"\6\4\0\0" + b"\0" * 20 + seg)), "protocol"),
        ("OSPF", e4(ip4(G4, "224.0.0.5", 89, b"\2\1\0\x2c" + b"\0" * 40, ttl=1), mac("01:00:5e:00:00:05")), "protocol"),
        ("VRRP", e4(ip4(G4, "224.0.0.18", 112, b"\x21\1\x64\1" + b"\0" * 16, ttl=255), mac("01:00:5e:00:00:12")), "protocol"),
        ("VXLAN", e4(ip4(G4, S4, 17, udp(G4, S4, 40000, 4789, b"\x08" + b"\0" * 7 + good))), "protocol"),
        ("NTP broadcast", e4(ip4(G4, "255.255.255.255", 17, udp(G4, "255.255.255.255", 123, 123, b"\0" * 48)), BROADCAST),
         "protocol"),
        ("SSDP multicast", e4(ip4(G4, "239.255.255.250", 17, udp(G4, "239.255.255.250", 1900, 1900, b"M-SEARCH")),
                              mac("01:00:5e:7f:ff:fa")), "protocol"),
        ("server, wrong port", e4(t4(dport=22)), "wrong-port"),
        ("server, port 0", e4(t4(dport=0)), "wrong-port"),
        ("server, source port right, destination wrong", e4(t4(sport=PORT, dport=8443)), "wrong-port"),
        ("wrong address, right port", e4(t4(dst=O4)), "wrong-address"),
        ("wrong address, right port, its own MAC", e4(t4(dst=O4), OM), "wrong-address"),
        ("gateway, right port", e4(t4(dst=W4), WM), "wrong-address"),
        ("outside, through the gateway", e4(t4(dst="192.0.2.1"), WM), "wrong-address"),
        ("limited broadcast", e4(t4(dst="255.255.255.255"), BROADCAST), "wrong-address"),
        ("loopback as destination", e4(t4(dst="127.0.0.1")), "wrong-address"),
        ("another's source address", e4(t4(src=O4)), "spoofed-address"),
        ("the server's address as source", e4(t4(src=S4)), "spoofed-address"),
        ("the gateway's address as source", e4(t4(src=W4)), "spoofed-address"),
        ("source 0.0.0.0", e4(t4(src="0.0.0.0")), "spoofed-address"),
        ("source 127.0.0.1", e4(t4(src="127.0.0.1")), "spoofed-address"),
        ("source multicast", e4(t4(src="224.0.0.1")), "spoofed-address"),
        ("source broadcast", e4(t4(src="255.255.255.255")), "spoofed-address"),
        ("TCP to the server, broadcast MAC", e4(t4(), BROADCAST), "wrong-mac"),
        ("TCP to the server, multicast MAC", e4(t4(), mac("01:00:5e:00:00:01")), "wrong-mac"),
        ("version 6 in an IPv4 frame", e4(t4(version=6)), None),
        ("IPv6 packet in an IPv4 frame", e4(t6()), None),
        ("total length longer than the frame", e4(t4(total=1400)), None),
        ("total length shorter than the headers", e4(t4(total=24)), "length"),
        ("DHCP discover where DHCP is not allowed",
         e4(ip4("0.0.0.0", "255.255.255.255", 17, udp("0.0.0.0", "255.255.255.255", 68, 67, dhcp(1, GM))), BROADCAST),
         "protocol"),
        # IPv6
        ("IPv6 hop-by-hop before TCP", e6(ip6(G6, S6, 0, hbh + seg6)), "extension-header"),
        ("IPv6 destination options before TCP", e6(ip6(G6, S6, 60, hbh + seg6)), "extension-header"),
        ("IPv6 routing header type 0", e6(ip6(G6, S6, 43, b"\x06\x02\0\1\0\0\0\0" + a6(O6) + seg6)), "extension-header"),
        ("IPv6 segment routing", e6(ip6(G6, S6, 43, b"\x06\x02\4\1\0\0\0\0" + a6(O6) + seg6)), "extension-header"),
        ("IPv6 first fragment", e6(ip6(G6, S6, 44, b"\x06\0\0\1\0\0\0\1" + seg6)), "fragment"),
        ("IPv6 later fragment", e6(ip6(G6, S6, 44, b"\x06\0\0\x18\0\0\0\1" + b"x" * 24)), "fragment"),
        ("IPv6 atomic fragment", e6(ip6(G6, S6, 44, b"\x06\0\0\0\0\0\0\1" + seg6)), "fragment"),
        ("IPv6 ESP", e6(ip6(G6, S6, 50, b"\0" * 32)), "extension-header"),
        ("IPv6 AH before TCP", e6(ip6(G6, S6, 51, b"\6\4\0\0" + b"\0" * 20 + seg6)), "extension-header"),
        ("IPv6 mobility header", e6(ip6(G6, S6, 135, b"\x3b\0\0\0\0\0\0\0")), "extension-header"),
        ("IPv6 no next header", e6(ip6(G6, S6, 59, b"secret")), "extension-header"),
        ("IPv6 in IPv6", e6(ip6(G6, S6, 41, t6())), "extension-header"),
        ("4in6", e6(ip6(G6, S6, 4, t4())), "extension-header"),
        ("IPv6 SCTP", e6(ip6(G6, S6, 132, b"\x9c\x40\x01\xbb" + b"\0" * 24)), "extension-header"),
        ("IPv6 UDP to the server", e6(ip6(G6, S6, 17, udp(G6, S6, 40000, PORT, b"x"))), "protocol"),
        ("IPv6 DNS", e6(ip6(G6, S6, 17, udp(G6, S6, 40000, 53, b"x" * 20))), "protocol"),
        ("mDNS", e6(ip6(G6, "ff02::fb", 17, udp(G6, "ff02::fb", 5353, 5353, b"x" * 20)), group_mac("ff02::fb")), "protocol"),
        ("DHCPv6", e6(ip6(GL, "ff02::1:2", 17, udp(GL, "ff02::1:2", 546, 547, b"\1\0\0\1")), group_mac("ff02::1:2")), "protocol"),
        ("IPv6 echo to the server", e6(ip6(G6, S6, 58, icmp6(G6, S6, 128, 0, b"ping"))), "icmpv6"),
        ("IPv6 echo with hop limit 255", e6(ip6(G6, S6, 58, icmp6(G6, S6, 128, 0, b"\0" * 20), hops=255)), "neighbour"),
        ("MLDv2 report", e6(ip6(GL, "ff02::16", 0, b"\x3a\0\5\2\0\0\1\0" + icmp6(GL, "ff02::16", 143, 0, b"\0" * 4), hops=1),
                            group_mac("ff02::16")), "extension-header"),
        ("router solicitation", e6(ip6(GL, "ff02::2", 58, icmp6(GL, "ff02::2", 133, 0, b"\0" * 4 + option(1, GM)), hops=255),
                                   group_mac("ff02::2")), "neighbour"),
        ("router advertisement", e6(ip6(GL, "ff02::1", 58, icmp6(GL, "ff02::1", 134, 0, b"\x40\0\x07\x08" + b"\0" * 8 +
                                                                 option(1, GM)), hops=255), group_mac("ff02::1")), "neighbour"),
        ("router advertisement to the server", e6(ip6(GL, S6, 58, icmp6(GL, S6, 134, 0, b"\x40\0\x07\x08" + b"\0" * 8 +
                                                                        option(1, GM)), hops=255)), "neighbour"),
        ("ICMPv6 redirect", e6(ip6(GL, S6, 58, icmp6(GL, S6, 137, 0, b"\0" * 4 + a6(G6) + a6(O6)), hops=255)), "neighbour"),
        ("node information query", e6(ip6(G6, S6, 58, icmp6(G6, S6, 139, 0, b"\0" * 20), hops=255)), "neighbour"),
        ("solicitation for another host", e6(ip6(G6, solicited(O6), 58, ns(G6, solicited(O6), O6, option(1, GM)), hops=255),
                                             group_mac(solicited(O6))), "neighbour"),
        ("solicitation, group right, target wrong",
         e6(ip6(G6, solicited(S6), 58, ns(G6, solicited(S6), O6, option(1, GM)), hops=255), group_mac(solicited(S6))), "neighbour"),
        ("solicitation to all nodes", e6(ip6(G6, "ff02::1", 58, ns(G6, "ff02::1", S6, option(1, GM)), hops=255),
                                         group_mac("ff02::1")), "neighbour"),
        ("solicitation, hop limit 254", e6(ip6(G6, S6, 58, ns(G6, S6, S6, option(1, GM)), hops=254)), "icmpv6"),
        ("solicitation, another's link address", e6(ip6(G6, S6, 58, ns(G6, S6, S6, option(1, OM)), hops=255)),
         "spoofed-neighbour"),
        ("solicitation, another's source", e6(ip6(O6, S6, 58, ns(O6, S6, S6, option(1, GM)), hops=255)), "spoofed-address"),
        ("solicitation, source ::", e6(ip6("::", solicited(S6), 58, ns("::", solicited(S6), S6), hops=255),
                                       group_mac(solicited(S6))), "neighbour"),
        ("duplicate address detection", e6(ip6("::", solicited(G6), 58, ns("::", solicited(G6), G6), hops=255),
                                           group_mac(solicited(G6))), "neighbour"),
        ("solicitation with data behind it", e6(ip6(G6, S6, 58, ns(G6, S6, S6, option(1, GM) + b"\xfd\4" + b"x" * 30), hops=255)),
         "neighbour"),
        ("solicitation with code 1", e6(ip6(G6, S6, 58, icmp6(G6, S6, 135, 1, b"\0" * 4 + a6(S6) + option(1, GM)), hops=255)),
         "neighbour"),
        ("solicitation with 1,200 bytes behind the packet",
         e6(ip6(G6, solicited(S6), 58, ns(G6, solicited(S6), S6, option(1, GM)), hops=255) + b"x" * 1200, group_mac(solicited(S6))), "neighbour"),
        ("solicitation with one byte behind the packet",
         e6(ip6(G6, solicited(S6), 58, ns(G6, solicited(S6), S6, option(1, GM)), hops=255) + b"x", group_mac(solicited(S6))), "neighbour"),
        ("solicitation without option, 8 bytes behind the packet", e6(ip6(G6, S6, 58, ns(G6, S6, S6), hops=255) + b"x" * 8), "neighbour"),
        ("solicitation with a message as reserved field",
         e6(ip6(G6, S6, 58, icmp6(G6, S6, 135, 0, b"abcd" + a6(S6) + option(1, GM)), hops=255)), "neighbour"),
        ("advertisement with 1,200 bytes behind the packet",
         e6(ip6(G6, S6, 58, na(G6, S6, G6, option(2, GM)), hops=255) + b"x" * 1200), "neighbour"),
        ("advertisement with a message as reserved field", e6(ip6(G6, S6, 58, na(G6, S6, G6, option(2, GM), 0x60000001), hops=255)),
         "neighbour"),
        ("advertisement of another's address", e6(ip6(G6, S6, 58, na(G6, S6, O6, option(2, GM)), hops=255)), "spoofed-address"),
        ("advertisement of the gateway's address", e6(ip6(G6, S6, 58, na(G6, S6, W6, option(2, GM)), hops=255)),
         "spoofed-address"),
        ("advertisement with another's link address", e6(ip6(G6, S6, 58, na(G6, S6, G6, option(2, OM)), hops=255)),
         "spoofed-neighbour"),
        ("advertisement with the router flag", e6(ip6(G6, S6, 58, na(G6, S6, G6, option(2, GM), 0xe0000000), hops=255)),
         "spoofed-neighbour"),
        ("unsolicited advertisement to all", e6(ip6(G6, "ff02::1", 58, na(G6, "ff02::1", G6, option(2, GM), 0x20000000), hops=255),
                                                group_mac("ff02::1")), "neighbour"),
        ("advertisement to another host", e6(ip6(G6, O6, 58, na(G6, O6, G6, option(2, GM)), hops=255), OM), "neighbour"),
        ("IPv6 server, wrong port", e6(t6(dport=22)), "wrong-port"),
        ("IPv6 wrong address, right port", e6(t6(dst=O6)), "wrong-address"),
        ("IPv6 multicast, right port", e6(t6(dst="ff02::1"), group_mac("ff02::1")), "wrong-address"),
        ("IPv6 another's source", e6(t6(src=O6)), "spoofed-address"),
        ("IPv6 the server's address as source", e6(t6(src=S6)), "spoofed-address"),
        ("IPv6 source ::", e6(t6(src="::")), "spoofed-address"),
        ("IPv6 source multicast", e6(t6(src="ff02::1")), "spoofed-address"),
        ("IPv6 mapped IPv4 source", e6(t6(src="::ffff:10.0.0.2")), "spoofed-address"),
        ("IPv6 TCP, broadcast MAC", e6(t6(), BROADCAST), "wrong-mac"),
        ("IPv6 TCP, group MAC", e6(t6(), group_mac("ff02::1")), "wrong-mac"),
        ("IPv6 length longer than the frame", e6(t6(length=1400)), None),
        ("IPv6 jumbogram", e6(ip6(G6, S6, 0, b"\x06\0\xc2\4\0\1\0\0" + seg6, length=0)), None),
        ("version 4 in an IPv6 frame", e6(t6(version=4)), None),
    ]
    return out + from_guest_evasions()


def from_guest_evasions():
    """One header inside or before another, odd values, and the guest in somebody else's part."""
    good, seg6 = e4(t4()), tcp(G6, S6, 40000, PORT)
    pad = b"\0\1\4\0\0\0\0"  # length 0, PadN: behind a next header it is a header of options
    advert = icmp6(GL, "ff02::1", 134, 0, b"\x40\0\x07\x08" + b"\0" * 8 + option(1, GM))
    zero = udp(G4, S4, 40000, PORT, b"x" * 20)
    offer = udp(G4, "255.255.255.255", 67, 68, dhcp(2, OM, 2))

    def to_all(payload, nexthdr, hops=255):
        return e6(ip6(GL, "ff02::1", nexthdr, payload, hops=hops), group_mac("ff02::1"))
    return [
        ("three tags", tagged(good, (0x88a8, 5), (0x8100, 6), (0x8100, 7)), "vlan"),
        ("tag behind an old tag", tagged(good, (0x9100, 5), (0x8100, 6)), "ethertype"),
        ("tagged, an EAPOL frame behind it", tagged(eth(SM, GM, 0x888e, b"\1\1\0\0" + b"\0" * 42), (0x8100, 5)), "vlan"),
        ("tag with the VID 4095", tagged(good, (0x8100, 0xfff)), "vlan"),
        ("MPLS multicast", eth(mac("01:00:5e:80:00:01"), GM, 0x8848, b"\0\0\1\x40" + t4()), "ethertype"),
        ("FCoE", eth(SM, GM, 0x8906, b"\0" * 46), "ethertype"),
        ("TRILL", eth(mac("01:80:c2:00:00:40"), GM, 0x22f3, b"\0" * 46), "ethertype"),
        ("Profinet", eth(BROADCAST, GM, 0x8892, b"\0" * 46), "ethertype"),
        ("HSR", eth(mac("01:15:4e:00:01:00"), GM, 0x892f, b"\0" * 46), "ethertype"),
        ("NSH with Ethernet", eth(SM, GM, 0x894f, b"\0\x06\1\3\0\0\0\xff" + good), "ethertype"),
        ("loopback protocol", eth(SM, GM, 0x9000, b"\0\0\2\0" + OM + b"\0" * 36), "ethertype"),
        ("ethertype ffff", eth(SM, GM, 0xffff, b"\0" * 46), "ethertype"),
        ("ARP operation 0", ea(arp(0, GM, G4, Z, S4)), "arp"),
        ("ARP operation 256", ea(arp(256, GM, G4, Z, S4)), "arp"),
        ("ARP with lengths 0", ea(arp(1, GM, G4, Z, S4, hlen=0, plen=0)), "arp"),
        ("ARP for the broadcast address", ea(arp(1, GM, G4, Z, "255.255.255.255")), "arp"),
        ("strict source route", e4(t4(options=b"\x89\x07\x04" + a4(O4) + b"\0")), "ip-options"),
        ("time stamp option", e4(t4(options=b"\x44\x08\x05\0" + b"\0" * 4)), "ip-options"),
        ("security option", e4(t4(options=b"\x82\x0b" + b"\0" * 9 + b"\0")), "ip-options"),
        ("header of 60 bytes", e4(t4(options=b"\1" * 40)), "ip-options"),
        ("source route and a fragment", e4(t4(options=b"\x83\x07\x04" + a4(O4) + b"\0", frag=0x2000)), "ip-options"),
        ("total length 0", e4(t4(total=0)), "length"),
        ("total length 65535", e4(t4(total=65535)), None),
        ("UDP without a checksum, to the server's port", e4(ip4(G4, S4, 17, zero[:6] + b"\0\0" + zero[8:])), "protocol"),
        ("UDP-Lite", e4(ip4(G4, S4, 136, udp(G4, S4, 40000, PORT, b"x"))), "protocol"),
        ("protocol 0", e4(ip4(G4, S4, 0, tcp(G4, S4, 40000, PORT))), "protocol"),
        ("protocol 255", e4(ip4(G4, S4, 255, tcp(G4, S4, 40000, PORT))), "protocol"),
        ("DHCP offer: the guest as a server", e4(ip4(G4, "255.255.255.255", 17, offer), BROADCAST), "protocol"),
        ("TCP, no flags, elsewhere", e4(ip4(G4, O4, 6, tcp(G4, O4, 40000, PORT, flags=0)), OM), "wrong-address"),
        ("TCP, all flags, elsewhere", e4(ip4(G4, O4, 6, tcp(G4, O4, 40000, PORT, flags=0xff)), OM), "wrong-address"),
        ("RST into another's connection", e4(ip4(O4, S4, 6, tcp(O4, S4, 40000, PORT, flags=0x04))), "spoofed-address"),
        ("advertisement of a router behind options", to_all(b"\x3a" + pad + advert, 60), "extension-header"),
        ("advertisement of a router behind two headers of options", to_all(b"\x3c" + pad + b"\x3a" + pad + advert, 60), "extension-header"),
        ("advertisement of a router behind hop-by-hop", to_all(b"\x3a" + pad + advert, 0), "extension-header"),
        ("advertisement of a router behind routing", to_all(b"\x3a\0\0\0\0\0\0\0" + advert, 43), "extension-header"),
        ("advertisement of a router in a fragment", to_all(b"\x3a\0\0\1\0\0\0\1" + advert, 44), "fragment"),
        ("the same behind options, so that the first has no ICMPv6", to_all(b"\x3c\0\0\1\0\0\0\1" + b"\x3a" + pad, 44), "fragment"),
        ("solicitation behind options", e6(ip6(G6, S6, 60, b"\x3a" + pad + ns(G6, S6, S6, option(1, GM)), hops=255)), "extension-header"),
        ("TCP behind three headers", e6(ip6(G6, S6, 0, b"\x3c" + pad + b"\x2b" + pad + b"\6\0\0\0\0\0\0\0" + seg6)), "extension-header"),
        ("IPv6 UDP-Lite", e6(ip6(G6, S6, 136, udp(G6, S6, 40000, PORT, b"x"))), "extension-header"),
        ("IPv6 shim", e6(ip6(G6, S6, 140, b"\6\0\0\0\0\0\0\0" + seg6)), "extension-header"),
        ("IPv6 host identity", e6(ip6(G6, S6, 139, b"\6\0\0\0\0\0\0\0" + seg6)), "extension-header"),
        ("IPv6 length 0", e6(t6(length=0)), "length"),
        ("IPv6 length shorter than TCP", e6(t6(length=8)), "length"),
        ("advertisement with override, solicited by nobody", to_all(na(GL, "ff02::1", S6, option(2, GM), 0x20000000), 58), "neighbour"),
        ("advertisement of the server's address to the gateway", e6(ip6(G6, W6, 58, na(G6, W6, S6, option(2, GM), 0x20000000), hops=255), WM),
         "spoofed-address"),
        ("solicitation with two options", e6(ip6(G6, S6, 58, ns(G6, S6, S6, option(1, GM) * 2), hops=255)), "neighbour"),
        ("solicitation with an option of length 0", e6(ip6(G6, S6, 58, ns(G6, S6, S6, b"\1\0" + GM), hops=255)), "spoofed-neighbour"),
        ("inverse solicitation", to_all(icmp6(GL, "ff02::1", 141, 0, b"\0" * 4 + option(1, GM) + option(2, SM)), 58), "neighbour"),
        ("certification path", to_all(icmp6(GL, "ff02::1", 148, 0, b"\0" * 20), 58), "neighbour"),
    ]


def from_guest_known():
    """Only where the MACs of server and gateway are known."""
    return [
        ("TCP to the server, another host's MAC", e4(t4(), OM), "wrong-mac"),
        ("ARP reply with a message as target MAC", ea(arp(2, GM, G4, b"secret", S4), SM), "arp"),
        ("TCP to the server, the gateway's MAC", e4(t4(), WM), "wrong-mac"),
        ("TCP to the server, nobody's MAC (would be flooded)", e4(t4(), XM), "wrong-mac"),
        ("IPv6 TCP to the server, another host's MAC", e6(t6(), OM), "wrong-mac"),
    ]


def from_guest_unknown():
    """Only where no MAC of server or gateway is known: nobody can tell whether a frame to the server's address goes to the server."""
    return [("TCP to the server's address, %s's MAC" % who, build(to), "mac-unknown")
            for who, to in (("the server", SM), ("another host", OM), ("the gateway", WM), ("nobody", XM), ("zero", Z))
            for build in (lambda to: e4(t4(), to), lambda to: e6(t6(), to))] + [
        ("ARP request to another host's MAC", ea(arp(1, GM, G4, Z, S4), OM), "arp"),
        ("ARP reply to another host's MAC", ea(arp(2, GM, G4, b"secret", S4), OM), "arp"),
        ("solicitation to another host's MAC", e6(ip6(G6, S6, 58, ns(G6, S6, S6, option(1, GM)), hops=255), OM), "neighbour"),
        ("solicitation of the group to another host's MAC",
         e6(ip6(G6, solicited(S6), 58, ns(G6, solicited(S6), S6, option(1, GM)), hops=255), OM), "neighbour"),
        ("advertisement to another host's MAC", e6(ip6(G6, S6, 58, na(G6, S6, G6, option(2, GM)), hops=255), OM), "neighbour")]


def to_guest_unknown():
    return [("TCP from the server's address, %s's MAC" % who, build(frm), "mac-unknown") for who, frm in (("the server", SM), ("another host", OM))
            for build in (lambda frm: e4(ip4(S4, G4, 6, tcp(S4, G4, PORT, 40000)), GM, frm),
                          lambda frm: e6(ip6(S6, G6, 6, tcp(S6, G6, PORT, 40000)), GM, frm))]


def is_tcp(frame):
    return (frame[12:14], frame[23:24]) == (b"\x08\0", b"\6") or (frame[12:14], frame[20:21]) == (b"\x86\xdd", b"\6")


def from_guest_legit(known):
    """(name, frame sent, frame the server must see)"""
    sn = solicited(S6)
    ask = ip6(G6, sn, 58, ns(G6, sn, S6, option(1, GM)), hops=255)
    ask_local = ip6(GL, sn, 58, ns(GL, sn, S6, option(1, GM)), hops=255)
    probe = ip6(G6, S6, 58, ns(G6, S6, S6), hops=255)
    answer = ip6(G6, S6, 58, na(G6, S6, G6, option(2, GM)), hops=255)
    request, reply = arp(1, GM, G4, Z, S4), arp(2, GM, G4, SM, S4)
    bare = b"\x45\xbb" + t4()[2:10] + b"\0\0" + t4()[12:20]
    marked = bare[:10] + checksum(bare).to_bytes(2, "big") + bare[12:] + t4()[20:]
    q = SM if known else BROADCAST
    g = SM if known else group_mac(sn)
    to_one = [
        ("TCP over IPv4", e4(t4()), e4(t4())),
        ("TCP over IPv4, don't fragment", e4(t4(frag=0x4000)), e4(t4(frag=0x4000))),
        ("TCP over IPv4, padded to 60 bytes", e4(t4() + b"\0" * 6), e4(t4() + b"\0" * 6)),
        ("TCP over IPv6", e6(t6()), e6(t6())),
        ("TCP over IPv6 with class and flow label", e6(b"\x6b\x8a\xbc\xde" + t6()[4:]), e6(b"\x6b\x8a\xbc\xde" + t6()[4:])),
        ("TCP with class and congestion bits", e4(marked), e4(marked)),
        ("TCP, urgent", e4(ip4(G4, S4, 6, tcp(G4, S4, 40000, PORT, flags=0x38))), e4(ip4(G4, S4, 6, tcp(G4, S4, 40000, PORT, flags=0x38)))),
        ("TCP, no flags", e4(ip4(G4, S4, 6, tcp(G4, S4, 40000, PORT, flags=0))), e4(ip4(G4, S4, 6, tcp(G4, S4, 40000, PORT, flags=0)))),
        ("ARP request, unicast", ea(request, SM), ea(request, SM)),
        ("ARP reply", ea(reply, SM), ea(reply, SM)),
        ("unicast solicitation without option", e6(probe), e6(probe)),
        ("advertisement", e6(answer), e6(answer)),
        ("ARP request, unicast, to the known MAC", ea(arp(1, GM, G4, SM, S4), SM), ea(arp(1, GM, G4, SM, S4), SM)),
    ]
    return (to_one if known else []) + [
        ("ARP request", ea(request), ea(request, q)),
        ("ARP request, padded to 60 bytes", ea(request + b"\0" * 18), ea(request + b"\0" * 18, q)),
        ("ARP request, padded as in a tagged frame", ea(request + b"\0" * 14), ea(request + b"\0" * 14, q)),
        ("ARP request, target MAC broadcast", ea(arp(1, GM, G4, BROADCAST, S4)), ea(arp(1, GM, G4, BROADCAST, S4), q)),
        ("ARP probe", ea(arp(1, GM, "0.0.0.0", Z, S4)), ea(arp(1, GM, "0.0.0.0", Z, S4), q)),
        ("solicitation", e6(ask, group_mac(sn)), e6(ask, g)),
        ("solicitation from the link-local address", e6(ask_local, group_mac(sn)), e6(ask_local, g)),
    ]


def to_guest_hostile():
    """Sent by the other host or by the server; the guest must not see them."""
    good = e4(ip4(S4, G4, 6, tcp(S4, G4, PORT, 40000, flags=0x12)), GM, SM)
    seg, seg6 = tcp(S4, G4, PORT, 40000), tcp(S6, G6, PORT, 40000)
    hbh = bytes([6, 0, 1, 4, 0, 0, 0, 0])
    gs = solicited(G6)

    def r4(src=S4, dst=G4, sport=PORT, **kw):
        return ip4(src, dst, 6, tcp(src, dst, sport, 40000), **kw)

    def r6(src=S6, dst=G6, sport=PORT, **kw):
        return ip6(src, dst, 6, tcp(src, dst, sport, 40000), **kw)
    return [
        ("802.1Q tag", tagged(good, (0x8100, 5)), "vlan"),
        ("priority tag", tagged(good, (0x8100, 0)), "vlan"),
        ("priority tag, PCP 7", tagged(good, (0x8100, 0xe000)), "vlan"),
        ("802.1ad tag", tagged(good, (0x88a8, 5)), "vlan"),
        ("QinQ 8100/8100", tagged(good, (0x8100, 5), (0x8100, 6)), "vlan"),
        ("old QinQ 9100", tagged(good, (0x9100, 5)), "ethertype"),
        ("tagged IPv6", tagged(e6(r6(), GM, SM), (0x8100, 1)), "vlan"),
        ("QinQ", tagged(good, (0x88a8, 5), (0x8100, 6)), "vlan"),
        ("tagged ARP", tagged(ea(arp(1, SM, S4, Z, G4), BROADCAST, SM), (0x8100, 5)), "vlan"),
        ("LLC", GM + SM + b"\0\x2e\xaa\xaa\x03" + b"\0" * 43, "ethertype"),
        ("SNAP with IPv4", GM + SM + b"\0\x30" + b"\xaa\xaa\x03\0\0\0\x08\0" + r4(), "ethertype"),
        ("STP, unicast", GM + SM + b"\0\x26\x42\x42\x03" + b"\0" * 43, "ethertype"),
        ("LLDP, unicast", eth(GM, SM, 0x88cc, b"\0" * 46), "ethertype"),
        ("EAPOL, unicast", eth(GM, SM, 0x888e, b"\0" * 46), "ethertype"),
        ("MPLS", eth(GM, SM, 0x8847, b"\0\0\1\x40" + r4()), "ethertype"),
        ("PPPoE discovery", eth(GM, SM, 0x8863, b"\x11\x07\0\0\0\0" + b"\0" * 40), "ethertype"),
        ("PPPoE", eth(GM, SM, 0x8864, b"\x11\0\0\1\0\x2a\0\x21" + r4()), "ethertype"),
        ("Wake-on-LAN", eth(BROADCAST, OM, 0x0842, b"\xff" * 6 + GM * 16), "ethertype"),
        ("broadcast IPv4 from the server", e4(r4(dst="255.255.255.255"), BROADCAST, SM), None),
        ("unicast IPv4 in a broadcast frame", e4(r4(), BROADCAST, SM), "wrong-mac"),
        ("IPv4 for the guest in a multicast frame", e4(r4(), mac("01:00:5e:00:00:01"), SM), "wrong-mac"),
        ("another host's TCP", e4(r4(src=O4), GM, OM), "wrong-address"),
        ("another host's TCP to an open port", e4(ip4(O4, G4, 6, tcp(O4, G4, 40000, 22)), GM, OM), "wrong-address"),
        ("gateway's TCP", e4(r4(src=W4), GM, WM), "wrong-address"),
        ("server, wrong source port", e4(r4(sport=22), GM, SM), "wrong-port"),
        ("server to another address", e4(r4(dst=O4), GM, SM), "not-the-guest"),
        ("the guest's own address as source", e4(r4(src=G4), GM, SM), "wrong-address"),
        ("source 127.0.0.1", e4(r4(src="127.0.0.1"), GM, SM), "wrong-address"),
        ("options", e4(r4(options=b"\x94\x04\0\0"), GM, SM), "ip-options"),
        ("loose source route", e4(r4(options=b"\x83\x07\x04" + a4(O4) + b"\0"), GM, SM), "ip-options"),
        ("first fragment", e4(ip4(S4, G4, 6, seg + b"x" * 12, frag=0x2000), GM, SM), "fragment"),
        ("later fragment", e4(ip4(S4, G4, 6, b"x" * 24, frag=0x10), GM, SM), "fragment"),
        ("last fragment at offset 8", e4(ip4(S4, G4, 6, seg, frag=0x0001), GM, SM), "fragment"),
        ("tiny fragment", e4(ip4(S4, G4, 6, seg[:8], frag=0x2000), GM, SM), "fragment"),
        ("overlapping fragment", e4(ip4(S4, G4, 6, seg[8:], frag=0x2001), GM, SM), "fragment"),
        ("reserved flag", e4(r4(frag=0x8000), GM, SM), "fragment"),
        ("runt: Ethernet header only", GM + SM + b"\x08\x00", None),
        ("runt: half an IPv4 header", e4(r4()[:10], GM, SM), None),
        ("runt: IPv4 without TCP header", e4(ip4(S4, G4, 6, b""), GM, SM), "length"),
        ("runt: two bytes of TCP", e4(ip4(S4, G4, 6, b"\x01\xbb"), GM, SM), "length"),
        ("runt: half an IPv6 header", e6(r6()[:20], GM, SM), None),
        ("runt: IPv6 with four bytes of TCP", e6(ip6(S6, G6, 6, seg6[:4]), GM, SM), "length"),
        ("total length shorter than the headers", e4(r4(total=24), GM, SM), "length"),
        ("version 6 in an IPv4 frame", e4(r4(version=6), GM, SM), None),
        ("SCTP", e4(ip4(S4, G4, 132, b"\x01\xbb\x9c\x40" + b"\0" * 24), GM, SM), "protocol"),
        ("ESP", e4(ip4(S4, G4, 50, b"\0" * 32), GM, SM), "protocol"),
        ("AH before TCP", e4(ip4(S4, G4, 51, b"\6\4\0\0" + b"\0" * 20 + seg), GM, SM), "protocol"),
        ("6in4", e4(ip4(S4, G4, 41, r6()), GM, SM), "protocol"),
        ("VXLAN", e4(ip4(S4, G4, 17, udp(S4, G4, 40000, 4789, b"\x08" + b"\0" * 7 + good)), GM, SM), "protocol"),
        ("DNS answer", e4(ip4(S4, G4, 17, udp(S4, G4, 53, 40000, b"x" * 20)), GM, SM), "protocol"),
        ("DNS over TCP", e4(r4(sport=53), GM, SM), "wrong-port"),
        ("IGMP query", e4(ip4(S4, "224.0.0.1", 2, b"\x11\x64\xee\x9b\0\0\0\0", ttl=1), mac("01:00:5e:00:00:01"), SM), "protocol"),
        ("UDP from the server", e4(ip4(S4, G4, 17, udp(S4, G4, PORT, 40000, b"x")), GM, SM), "protocol"),
        ("ICMP echo from the server", e4(ip4(S4, G4, 1, icmp(8, 0, b"ping")), GM, SM), "protocol"),
        ("ICMP redirect", e4(ip4(W4, G4, 1, icmp(5, 1, a4(O4) + t4()[:28])), GM, WM), "protocol"),
        ("GRE", e4(ip4(S4, G4, 47, b"\0\0\x08\0" + r4()), GM, SM), "protocol"),
        ("IP in IP", e4(ip4(S4, G4, 4, r4()), GM, SM), "protocol"),
        ("DHCP offer", e4(ip4(S4, G4, 17, udp(S4, G4, 67, 68, dhcp(2, GM, 2))), GM, SM), "protocol"),
        ("length longer than the frame", e4(r4(total=1400), GM, SM), None),
        ("ARP request from another host", ea(arp(1, OM, O4, Z, G4), BROADCAST, OM), "arp"),
        ("ARP request from the server for another", ea(arp(1, SM, S4, Z, O4), BROADCAST, SM), "not-the-guest"),
        ("ARP reply from another host", ea(arp(2, OM, O4, GM, G4), GM, OM), "arp"),
        ("gratuitous ARP reply of another host", ea(arp(2, OM, O4, BROADCAST, O4), BROADCAST, OM), "arp"),
        ("proxy ARP: the server answers for another", ea(arp(2, SM, O4, GM, G4), GM, SM), "arp"),
        ("ARP cut short", ea(arp(1, SM, S4, Z, G4)[:20], GM, SM), None),
        ("ARP with lengths that lie", ea(arp(1, SM, S4, Z, G4, hlen=8, plen=16), GM, SM), "arp"),
        ("InARP request", ea(arp(8, SM, S4, GM, G4), GM, SM), "arp"),
        ("gratuitous ARP of the server", ea(arp(1, SM, S4, Z, S4), BROADCAST, SM), "not-the-guest"),
        ("broadcast ARP reply", ea(arp(2, SM, S4, GM, G4), BROADCAST, SM), "arp"),
        ("ARP reply for another MAC", ea(arp(2, SM, S4, OM, G4), GM, SM), "arp"),
        ("ARP with 100 bytes behind it", ea(arp(1, SM, S4, Z, G4) + b"x" * 100, GM, SM), "arp"),
        ("RARP", eth(GM, SM, 0x8035, arp(4, SM, S4, GM, G4)), "ethertype"),
        ("IPv6 another host's TCP", e6(r6(src=O6), GM, OM), "wrong-address"),
        ("IPv6 server, wrong source port", e6(r6(sport=22), GM, SM), "wrong-port"),
        ("IPv6 server to another address", e6(r6(dst=O6), GM, SM), "not-the-guest"),
        ("IPv6 hop-by-hop", e6(ip6(S6, G6, 0, hbh + seg6), GM, SM), "extension-header"),
        ("IPv6 routing header", e6(ip6(S6, G6, 43, b"\x06\x02\0\1\0\0\0\0" + a6(O6) + seg6), GM, SM), "extension-header"),
        ("IPv6 destination options", e6(ip6(S6, G6, 60, hbh + seg6), GM, SM), "extension-header"),
        ("IPv6 segment routing", e6(ip6(S6, G6, 43, b"\x06\x02\4\1\0\0\0\0" + a6(O6) + seg6), GM, SM), "extension-header"),
        ("IPv6 ESP", e6(ip6(S6, G6, 50, b"\0" * 32), GM, SM), "extension-header"),
        ("IPv6 AH before TCP", e6(ip6(S6, G6, 51, b"\6\4\0\0" + b"\0" * 20 + seg6), GM, SM), "extension-header"),
        ("IPv6 no next header", e6(ip6(S6, G6, 59, b"secret"), GM, SM), "extension-header"),
        ("4in6", e6(ip6(S6, G6, 4, r4()), GM, SM), "extension-header"),
        ("IPv6 later fragment", e6(ip6(S6, G6, 44, b"\x06\0\0\x18\0\0\0\1" + b"x" * 24), GM, SM), "fragment"),
        ("IPv6 UDP", e6(ip6(S6, G6, 17, udp(S6, G6, PORT, 40000, b"x")), GM, SM), "protocol"),
        ("DHCPv6 reply", e6(ip6(SL, GL, 17, udp(SL, GL, 547, 546, b"\7\0\0\1")), GM, SM), "protocol"),
        ("IPv6 DNS answer", e6(ip6(S6, G6, 17, udp(S6, G6, 53, 40000, b"x" * 20)), GM, SM), "protocol"),
        ("IPv6 in a group frame", e6(r6(), group_mac("ff02::1"), SM), "wrong-mac"),
        ("IPv6 length longer than the frame", e6(r6(length=1400), GM, SM), None),
        ("version 4 in an IPv6 frame", e6(r6(version=4), GM, SM), None),
        ("node information query", e6(ip6(S6, G6, 58, icmp6(S6, G6, 139, 0, b"\0" * 20), hops=255), GM, SM), "neighbour"),
        ("solicitation of another's address", e6(ip6(S6, G6, 58, ns(S6, G6, O6, option(1, SM)), hops=255), GM, SM), "not-the-guest"),
        ("solicitation with code 1", e6(ip6(S6, G6, 58, icmp6(S6, G6, 135, 1, b"\0" * 4 + a6(G6) + option(1, SM)), hops=255), GM, SM),
         "neighbour"),
        ("solicitation with data behind it", e6(ip6(S6, G6, 58, ns(S6, G6, G6, option(1, SM) + b"\xfd\4" + b"x" * 30), hops=255), GM, SM),
         "neighbour"),
        ("solicitation with 1,200 bytes behind the packet",
         e6(ip6(S6, gs, 58, ns(S6, gs, G6, option(1, SM)), hops=255) + b"x" * 1200, group_mac(gs), SM), "neighbour"),
        ("solicitation without option, 8 bytes behind the packet", e6(ip6(S6, G6, 58, ns(S6, G6, G6), hops=255) + b"x" * 8, GM, SM),
         "neighbour"),
        ("solicitation with a message as reserved field",
         e6(ip6(S6, G6, 58, icmp6(S6, G6, 135, 0, b"abcd" + a6(G6) + option(1, SM)), hops=255), GM, SM), "neighbour"),
        ("advertisement with one byte behind the packet",
         e6(ip6(S6, G6, 58, na(S6, G6, S6, option(2, SM)), hops=255) + b"x", GM, SM), "neighbour"),
        ("advertisement with a message as reserved field",
         e6(ip6(S6, G6, 58, na(S6, G6, S6, option(2, SM), 0x7fffffff), hops=255), GM, SM), "neighbour"),
        ("ARP with 1,200 bytes behind it", ea(arp(1, SM, S4, Z, G4) + b"x" * 1200, GM, SM), "arp"),
        ("advertisement, hop limit 254", e6(ip6(S6, G6, 58, na(S6, G6, S6, option(2, SM)), hops=254), GM, SM), "icmpv6"),
        ("IPv6 fragment", e6(ip6(S6, G6, 44, b"\x06\0\0\1\0\0\0\1" + seg6), GM, SM), "fragment"),
        ("IPv6 echo", e6(ip6(S6, G6, 58, icmp6(S6, G6, 128, 0, b"ping")), GM, SM), "icmpv6"),
        ("router advertisement", e6(ip6(SL, "ff02::1", 58, icmp6(SL, "ff02::1", 134, 0, b"\x40\0\x07\x08" + b"\0" * 8 +
                                                                 option(1, SM)), hops=255), group_mac("ff02::1"), SM), "neighbour"),
        ("router advertisement, unicast", e6(ip6(SL, G6, 58, icmp6(SL, G6, 134, 0, b"\x40\0\x07\x08" + b"\0" * 8 +
                                                                   option(1, SM)), hops=255), GM, SM), "neighbour"),
        ("ICMPv6 redirect", e6(ip6(SL, G6, 58, icmp6(SL, G6, 137, 0, b"\0" * 4 + a6(O6) * 2), hops=255), GM, SM), "neighbour"),
        ("solicitation from another host", e6(ip6(O6, gs, 58, ns(O6, gs, G6, option(1, OM)), hops=255), group_mac(gs), OM),
         "neighbour"),
        ("solicitation, hop limit 254", e6(ip6(S6, gs, 58, ns(S6, gs, G6, option(1, SM)), hops=254), group_mac(gs), SM), "icmpv6"),
        ("advertisement from another host", e6(ip6(O6, G6, 58, na(O6, G6, O6, option(2, OM)), hops=255), GM, OM), "neighbour"),
        ("advertisement of another address by the server", e6(ip6(S6, G6, 58, na(S6, G6, O6, option(2, SM)), hops=255), GM, SM),
         "neighbour"),
        ("unsolicited advertisement to all", e6(ip6(S6, "ff02::1", 58, na(S6, "ff02::1", S6, option(2, SM), 0x20000000), hops=255),
                                                group_mac("ff02::1"), SM), "neighbour"),
        ("MLD query", e6(ip6(SL, "ff02::1", 0, b"\x3a\0\5\2\0\0\1\0" + icmp6(SL, "ff02::1", 130, 0, b"\0" * 20), hops=1),
                         group_mac("ff02::1"), SM), "extension-header"),
        ("mDNS", e6(ip6(O6, "ff02::fb", 17, udp(O6, "ff02::fb", 5353, 5353, b"x" * 20)), group_mac("ff02::fb"), OM), "protocol"),
    ]


def to_guest_by_host():
    """Frames to groups that a bridge keeps for itself: here the host itself sends them on the vif."""
    return [
        ("STP BPDU", mac("01:80:c2:00:00:00") + SM + b"\0\x26\x42\x42\x03" + b"\0" * 43, "ethertype"),
        ("pause frame", eth(mac("01:80:c2:00:00:01"), SM, 0x8808, b"\0" * 46), "ethertype"),
        ("LACP", eth(mac("01:80:c2:00:00:02"), SM, 0x8809, b"\0" * 46), "ethertype"),
        ("EAPOL", eth(mac("01:80:c2:00:00:03"), SM, 0x888e, b"\0" * 46), "ethertype"),
        ("LLDP", eth(mac("01:80:c2:00:00:0e"), SM, 0x88cc, b"\0" * 46), "ethertype"),
        ("PTP", eth(mac("01:1b:19:00:00:00"), SM, 0x88f7, b"\0" * 46), "ethertype"),
        ("802.1Q tag in the frame", tagged(e4(ip4(S4, G4, 6, tcp(S4, G4, PORT, 40000)), GM, SM), (0x8100, 5)), "vlan"),
        ("802.1Q tag and nothing behind it", GM + SM + b"\x81\0\0", "vlan"),
        ("MPLS", eth(GM, SM, 0x8847, b"\0\0\1\x40" + ip4(S4, G4, 6, tcp(S4, G4, PORT, 40000))), "ethertype"),
        ("TCP of another host", e4(ip4(O4, G4, 6, tcp(O4, G4, PORT, 40000)), GM, OM), "wrong-address"),
        ("RARP", eth(BROADCAST, SM, 0x8035, arp(4, SM, S4, GM, G4)), "ethertype"),
    ]


def to_guest_known():
    sn = solicited(G6)
    return [
        ("the server's address from another MAC", e4(ip4(S4, G4, 6, tcp(S4, G4, PORT, 40000)), GM, OM), "wrong-mac"),
        ("ARP reply: the server's address at another MAC", ea(arp(2, OM, S4, GM, G4), GM, OM), "arp"),
        ("ARP request: the server's address at another MAC", ea(arp(1, OM, S4, Z, G4), BROADCAST, OM), "arp"),
        ("advertisement: the server's address at another MAC", e6(ip6(S6, G6, 58, na(S6, G6, S6, option(2, OM)), hops=255),
                                                                  GM, OM), "spoofed-neighbour"),
        ("solicitation: the server's address at another MAC", e6(ip6(S6, sn, 58, ns(S6, sn, G6, option(1, OM)), hops=255),
                                                                 group_mac(sn), OM), "spoofed-neighbour"),
    ]


def to_guest_legit(known):
    sn, gl = solicited(G6), solicited(GL)
    out = [
        ("ARP request", ea(arp(1, SM, S4, Z, G4), BROADCAST, SM)),
        ("ARP request, padded to 60 bytes", ea(arp(1, SM, S4, Z, G4) + b"\0" * 18, BROADCAST, SM)),
        ("ARP request, unicast", ea(arp(1, SM, S4, Z, G4), GM, SM)),
        ("ARP reply", ea(arp(2, SM, S4, GM, G4), GM, SM)),
        ("ARP reply to a probe", ea(arp(2, SM, S4, GM, "0.0.0.0"), GM, SM)),
        ("ARP reply of the gateway", ea(arp(2, WM, W4, GM, G4), GM, WM)),
        ("solicitation", e6(ip6(S6, sn, 58, ns(S6, sn, G6, option(1, SM)), hops=255), group_mac(sn), SM)),
        ("solicitation for the link-local address",
         e6(ip6(S6, gl, 58, ns(S6, gl, GL, option(1, SM)), hops=255), group_mac(gl), SM)),
        ("unicast solicitation", e6(ip6(S6, G6, 58, ns(S6, G6, G6, option(1, SM)), hops=255), GM, SM)),
        ("advertisement", e6(ip6(S6, G6, 58, na(S6, G6, S6, option(2, SM)), hops=255), GM, SM)),
        ("advertisement without option", e6(ip6(S6, G6, 58, na(S6, G6, S6), hops=255), GM, SM)),
        ("advertisement of the gateway", e6(ip6(W6, G6, 58, na(W6, G6, W6, option(2, WM), 0xe0000000), hops=255), GM, WM)),
    ]
    if known:  # Linux probes its neighbours from the link-local address
        out += [("solicitation from the server's link-local address", e6(ip6(SL, G6, 58, ns(SL, G6, G6, option(1, SM)), hops=255), GM, SM)),
                ("TCP over IPv4", e4(ip4(S4, G4, 6, tcp(S4, G4, PORT, 40000, flags=0x12)), GM, SM)),
                ("TCP over IPv6", e6(ip6(S6, G6, 6, tcp(S6, G6, PORT, 40000, flags=0x12)), GM, SM))]
    return out
