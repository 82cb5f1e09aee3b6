# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: guests, talkers, toolstacks, reboot, and a hand-made cut that the captures prove."""

import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "talker"))

import fglab        # noqa: E402  pylint: disable=wrong-import-position
import seqcheck     # noqa: E402  pylint: disable=wrong-import-position


def frames(path):
    """(time, frame) of a classic pcap file."""
    with open(path, "rb") as f:
        magic = f.read(24)[:4]
        if magic != b"\xd4\xc3\xb2\xa1":
            raise fglab.LabError(f"{path} is no classic pcap")
        while True:
            head = f.read(16)
            if len(head) < 16:
                return
            sec, usec, length, _ = struct.unpack("<IIII", head)
            yield sec + usec / 1e6, f.read(length)


def heard(lab, name, kinds=("udp4", "udp6", "icmp4", "icmp6"), since=0.0):
    """The guest's talkers have all been received after `since`."""
    data = lab.forbidden_summary()["guests"].get(name, {"kinds": {}, "tcp": []})
    streams = [data["kinds"].get(kind, [{"last_t": -1}])[-1]["last_t"] for kind in kinds]
    tcp = [c["last_t"] or -1 for c in data["tcp"] if c["close_t"] is None]
    return min(streams) > since and bool(tcp) and max(tcp) > since


def main(lab):
    capture = lab.capture_start("forbidden")
    lab.capture_start("server")
    began = time.time()
    lab.forbidden_start()

    running = lab.domains()
    lab.ok(set(fglab.GUESTS) <= set(running), "all four guests run", running)
    for name in fglab.GUESTS:
        lab.wait_for(lambda: heard(lab, name), 20, f"{name}'s talkers at the forbidden host")
        lab.ok(True, f"{name}: TCP, UDP and ICMP over IPv4 and IPv6 reach the forbidden host "
                     f"({time.time() - began:.1f} s after it appeared)")
    for guest in fglab.GUESTS.values():
        answer = lab.banner(guest.name)
        lab.ok(answer == guest.banner, f"{guest.name}: fgdemo answers '{guest.banner}'", repr(answer))
    listed = lab.dom0("virsh -c xen:///system list").stdout
    lab.ok("db1" in listed, "libvirt lists db1", listed)
    near = lab.talker_stat("idle1")["from"]
    lab.ok({f"{n} {k}" for n in ("web1", "web2", "db1") for k in ("near4", "near6")} <= set(near),
           "idle1 hears its neighbours", near)

    before = lab.domid("web1")
    rebooted = time.time()
    lab.dom0("xl reboot web1")
    lab.wait_for(lambda: lab.domid("web1") not in (None, before), 60, "web1's new domain")
    lab.ok(True, f"xl reboot: web1 has a new domid after {time.time() - rebooted:.1f} s")
    lab.wait_for(lambda: heard(lab, "web1", since=rebooted + 3) and
                 len(lab.forbidden_summary()["guests"]["web1"]["kinds"]["udp4"]) == 2, 90, "web1's talkers after reboot")
    lab.ok(True, f"xl reboot: web1's talkers are back after {time.time() - rebooted:.1f} s")
    skew = int(lab.guest("web1", "date +%s").stdout) - time.time()
    lab.ok(abs(skew) < 3, f"a new domain has the right time ({skew:+.1f} s)")

    before = lab.domid("web1")
    lab.guest("web1", "setsid sh -c 'sleep 1; reboot' >/dev/null 2>&1 </dev/null &")
    rebooted = time.time()
    lab.wait_for(lambda: lab.domid("web1") not in (None, before), 60, "web1's new domain")
    lab.wait_for(lambda: lab.banner("web1"), 90, "web1's daemon after reboot")
    lab.ok(True, f"reboot from inside: web1 has a new domid and answers after {time.time() - rebooted:.1f} s")

    mac = bytes.fromhex(fglab.GUESTS["web1"].mac.replace(":", ""))
    lab.wait_for(lambda: heard(lab, "web1", since=rebooted + 5), 60, "web1's talkers")
    vif = lab.vif("web1")
    lab.put_text(f"""table netdev cut {{
        chain from {{ type filter hook ingress device {vif} priority 0; policy drop; counter; }}
        chain to {{ type filter hook egress device {vif} priority 0; policy drop; counter; }}
        }}""", "/root/cut.nft")
    lab.dom0("nft -f /root/cut.nft")
    cut = time.time()
    time.sleep(5)
    lab.capture_stop("forbidden")
    seen = [t for t, frame in frames(capture) if frame[6:12] == mac]
    late = [t for t in seen if t > cut]
    lab.ok(seen and not late, "no frame of web1 in the forbidden host's capture after the cut",
           f"{len(late)} frames, the last {max(late, default=cut) - cut:.3f} s after")
    lab.ok(max(seen, default=0) > cut - 3, "web1 was heard until the cut")
    lab.capture_stop("server")

    summary = lab.forbidden_stop()
    for name in ("web2", "db1", "idle1"):
        problems = seqcheck.lossless(summary, name)
        lab.ok(not problems, f"{name}'s talkers lost nothing", "\n".join(problems))
    problems = seqcheck.dead(summary, "web1", 1, cut, boot=summary["guests"]["web1"]["tcp"][-1]["boot"])
    lab.ok(not problems, "web1's long TCP connection carried nothing after the cut", "\n".join(problems))
