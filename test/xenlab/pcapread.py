# SPDX-License-Identifier: GPL-3.0-or-later
"""Read classic pcap files (https://wiki.wireshark.org/Development/LibpcapFileFormat) and say who sent a frame."""

import ipaddress
import struct

_MAGIC = {b"\xd4\xc3\xb2\xa1": ("<", 1e-6), b"\xa1\xb2\xc3\xd4": (">", 1e-6),
          b"\x4d\x3c\xb2\xa1": ("<", 1e-9), b"\xa1\xb2\x3c\x4d": (">", 1e-9)}


class Frame:
    """time (epoch seconds), src and dst MAC, ethertype, and the sender's addresses that the frame claims."""

    def __init__(self, time, data):
        self.time = time
        self.data = data
        self.dst = data[0:6].hex(":")
        self.src = data[6:12].hex(":")
        at, self.type = 14, int.from_bytes(data[12:14], "big")
        self.vlan = False
        while self.type in (0x8100, 0x88a8) and len(data) >= at + 4:
            self.type = int.from_bytes(data[at + 2:at + 4], "big")
            self.vlan = True
            at += 4
        self.claims = {self.src}
        body = data[at:]
        if self.type == 0x0806 and len(body) >= 28:
            self.claims |= {body[8:14].hex(":"), str(ipaddress.IPv4Address(body[14:18]))}
        elif self.type == 0x0800 and len(body) >= 20:
            self.claims.add(str(ipaddress.IPv4Address(body[12:16])))
        elif self.type == 0x86dd and len(body) >= 40:
            self.claims.add(str(ipaddress.IPv6Address(body[8:24])))

    def __str__(self):
        return f"{self.time:.3f} {self.src} > {self.dst} type {self.type:#06x} {len(self.data)} bytes"


def frames(path):
    """All frames of a file, in order. A last record that is cut off (capture still running) is left out."""
    with open(path, "rb") as f:
        head = f.read(24)
        if len(head) < 24 or head[:4] not in _MAGIC:
            raise ValueError(f"{path}: no classic pcap file")
        order, unit = _MAGIC[head[:4]]
        link, = struct.unpack(order + "I", head[20:24])
        if link & 0xffff != 1:
            raise ValueError(f"{path}: link type {link}, not Ethernet")
        while True:
            record = f.read(16)
            if len(record) < 16:
                return
            seconds, fraction, kept, _ = struct.unpack(order + "IIII", record)
            data = f.read(kept)
            if len(data) < kept:
                return
            if kept >= 14:
                yield Frame(seconds + fraction * unit, data)


def sent_by(path, identities, begin, end):
    """Frames between two times that carry one of the identities (MAC, IPv4, IPv6) as sender."""
    identities = {i.lower() for i in identities}
    return [f for f in frames(path) if begin <= f.time <= end and f.claims & identities]
