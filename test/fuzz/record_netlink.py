#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Seeds of fuzz_filter_netlink from a real kernel: what it answers to netback-filter, taken from strace.  Root.

    test/fuzz/record_netlink.py test/data/fuzz_filter_netlink
"""
import os
import re
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))
from nslib import FILTER, UUID, UUID2, Filter, Ns  # noqa: E402

CALL = re.compile(r"^(recvmsg|recvfrom|sendto)\(.* = (-?\d+)(?: (\w+))?")
DUMP = re.compile(r"^ \| [0-9a-f]{5,}  ((?:[0-9a-f]{2}  ?){1,16})")


def record(ns, letter, *argv):
    with tempfile.NamedTemporaryFile("r") as log:
        ns.run("strace", "-qq", "-e", "trace=recvmsg,recvfrom,sendto", "-e", "read=all", "-o", log.name, FILTER, *argv, check=False)
        out, data, last = letter.encode(), b"", None
        for line in [*log, "sendto( = 0"]:
            m, bytes_ = CALL.match(line), DUMP.match(line)
            if bytes_:
                data += bytes.fromhex(bytes_.group(1))
            if not m:
                continue
            if data:
                out += struct.pack("<H", len(data)) + data
            data = b""
            if m.group(3) == "EAGAIN" and last == "recvfrom":
                out += b"\0\0"
            last = m.group(1) if int(m.group(2)) > 0 else None
    return out


def main():
    d, g = Ns("dom0"), Ns("guest")
    for dev in ("vif1.0", "vif2.0"):
        d.ip("link", "add", dev, "type", "veth", "peer", "name", dev, "netns", g.name)
    f = Filter(d)
    closed = ["--guest", UUID, "--dev", "vif1.0", "--mac", "02:00:00:00:00:01", "--closed"]
    other = ["--guest", UUID2, "--dev", "vif2.0", "--mac", "02:00:00:00:00:02", "--server", "10.0.0.1:443"]
    seeds = {"isolate_first": record(d, "i", "isolate", *closed), "isolate_again": record(d, "i", "isolate", *closed),
             "verify": record(d, "v", "verify", *closed), "list_one": record(d, "l", "list")}
    f.ok("isolate", *other)
    seeds.update(list_two=record(d, "l", "list"), release_one=record(d, "r", "release", "--guest", UUID))
    f.ok("isolate", *closed)
    d.ip("link", "del", "vif1.0")
    seeds.update(verify_gone=record(d, "v", "verify", *closed), list_gone=record(d, "l", "list"))
    f.ok("release", "--guest", UUID2)
    seeds.update(release_last=record(d, "r", "release", "--guest", UUID), list_none=record(d, "l", "list"))
    seeds["lost"] = b"l\xff\xff" + seeds["list_one"][1:]
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, data in seeds.items():
        with open(os.path.join(sys.argv[1], name), "wb") as out:
            out.write(data)
        print(name, len(data))


main()
