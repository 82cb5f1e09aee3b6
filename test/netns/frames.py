# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames, byte by byte."""

import ipaddress
import struct

BROADCAST = b"\xff" * 6


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def a4(text):
    return ipaddress.IPv4Address(text).packed


def a6(text):
    return ipaddress.IPv6Address(text).packed


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


def eth(dst, src, ethertype, payload):
    return dst + src + struct.pack("!H", ethertype) + payload


def tagged(frame, *tags):
    """tags: (tpid, tci), outermost first"""
    out = b"".join(struct.pack("!HH", tpid, tci) for tpid, tci in tags)
    return frame[:12] + out + frame[12:]


def arp(op, sha, spa, tha, tpa, htype=1, ptype=0x0800, hlen=6, plen=4):
    return struct.pack("!HHBBH", htype, ptype, hlen, plen, op) + sha + a4(spa) + tha + a4(tpa)


def ip4(src, dst, proto, payload, options=b"", frag=0, ttl=64, version=4, ihl=None, total=None, ident=7):
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    total = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH", version << 4 | ihl, 0, total, ident, frag, ttl, proto, 0) + a4(src) + a4(dst) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(src, dst, nexthdr, payload, hops=64, version=6, length=None):
    return struct.pack("!IHBB", version << 28, len(payload) if length is None else length, nexthdr, hops) + \
        a6(src) + a6(dst) + payload


def pseudo(src, dst, proto, length):
    if ":" in src:
        return a6(src) + a6(dst) + struct.pack("!II", length, proto)
    return a4(src) + a4(dst) + struct.pack("!BBH", 0, proto, length)


def tcp(src, dst, sport, dport, seq=1, flags=0x02, data=b""):
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, 0, 5 << 4, flags, 8192, 0, 0)
    c = checksum(pseudo(src, dst, 6, len(head) + len(data)) + head + data)
    return head[:16] + struct.pack("!H", c) + head[18:] + data


def udp(src, dst, sport, dport, data):
    head = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    c = checksum(pseudo(src, dst, 17, len(head) + len(data)) + head + data) or 0xffff
    return head[:6] + struct.pack("!H", c) + data


def icmp(kind, code, data):
    head = struct.pack("!BBH", kind, code, 0)
    return head[:2] + struct.pack("!H", checksum(head + data)) + data


def icmp6(src, dst, kind, code, data):
    head = struct.pack("!BBH", kind, code, 0)
    c = checksum(pseudo(src, dst, 58, len(head) + len(data)) + head + data)
    return head[:2] + struct.pack("!H", c) + data


def option(kind, link):
    return struct.pack("!BB", kind, 1) + link


def ns(src, dst, target, opts=b""):
    return icmp6(src, dst, 135, 0, b"\0" * 4 + a6(target) + opts)


def na(src, dst, target, opts=b"", flags=0x60000000):
    return icmp6(src, dst, 136, 0, struct.pack("!I", flags) + a6(target) + opts)


def solicited(target):
    return str(ipaddress.IPv6Address(a6("ff02::1:ff00:0")[:13] + a6(target)[13:]))


def group_mac(dst):
    return b"\x33\x33" + a6(dst)[12:]


def dhcp(op, chaddr, kind=1, magic=b"\x63\x82\x53\x63", server=None):
    opts = struct.pack("!BBB", 53, 1, kind)
    if server:
        opts += struct.pack("!BB", 54, 4) + a4(server)
    head = struct.pack("!BBBBIHH", op, 1, 6, 0, 0x12345678, 0, 0) + b"\0" * 16 + chaddr + b"\0" * 10
    return head + b"\0" * 192 + magic + opts + b"\xff"
