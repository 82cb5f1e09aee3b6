# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are up within seconds and never stop to send (beacon/beacon.c), and what the filter says of them.

    fgbeacon.install(lab)                        # the initramfs, into dom0
    guest = Beacon(lab, "bridge1", 21, capture)
    guest.create("bridge=xenbr0"); guest.heard(since)
    guest.isolate(scene); guest.reboot(); guest.filtered(); guest.release(scene)
"""

import contextlib
import json
import os
import subprocess
import tempfile
import time

import pcapread
from fglab import FORBIDDEN4, FORBIDDEN6, FORBIDDEN_MAC, GUESTS, HERE, LabError, wait_for
from fgscene import Scene

INITRD = "/var/lib/xen/kernels/beacon-initrd.img"
DISK = "/var/lib/xen/images/beacon.img"     # Fixgate refuses a guest that has none
DRIVERS = ("xen-netfront.ko", "xen-blkfront.ko")
# For each kind of frame that a beacon sends the reasons for which the filter may have dropped it.
KINDS = {"ARP": {"arp"}, "a tag": {"vlan"}, "IPv4": {"protocol", "wrong-mac", "wrong-address"}, "IPv6": {"family", "protocol"}}


def members(archive):
    """{name: content} of an uncompressed cpio archive (newc)."""
    found, at = {}, 0
    while True:
        head = archive[at:at + 110]
        if head[:6] != b"070701":
            raise LabError("the guests' initramfs is no cpio archive")
        size, length = int(head[54:62], 16), int(head[94:102], 16)
        name = archive[at + 110:at + 109 + length].decode()
        at += 110 + length + -(110 + length) % 4
        if name == "TRAILER!!!":
            return found
        found[name] = archive[at:at + size]
        at += size + -size % 4


def cpio(files):
    """files: [(name, mode, content, (major, minor))]"""
    out = b""
    for i, (name, mode, data, device) in enumerate(files + [("TRAILER!!!", 0, b"", (0, 0))]):
        values = (i + 1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        out += b"070701" + "".join(f"{v:08x}" for v in values).encode() + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4)
        out += data + b"\0" * (-len(data) % 4)
    return out


def install(lab):
    with open(os.path.join(lab.image, "guest-initrd.img"), "rb") as f:
        modules = members(f.read())
    with tempfile.TemporaryDirectory(prefix="fixgate-beacon-") as work:
        program, image = os.path.join(work, "beacon"), os.path.join(work, "initrd")
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-static", "-s", "-o", program,
                        os.path.join(HERE, "beacon", "beacon.c")], check=True, stdin=subprocess.DEVNULL)
        with open(program, "rb") as f:
            init = f.read()
        with open(image, "wb") as f:
            f.write(cpio([("dev", 0o040755, b"", (0, 0)), ("dev/console", 0o020600, b"", (5, 1)),
                          ("init", 0o100755, init, (0, 0))] +
                         [(name, 0o100644, modules[name], (0, 0)) for name in DRIVERS]))
        lab.put(image, INITRD)
    lab.dom0(f"truncate -s 1M {DISK}")


def alone(lab, *keep):
    """The lab's other guests only cost time: each one that idles has a part of the emulated CPUs.  Paused they cost none; to end
    one takes 6 s."""
    lab.dom0(" && ".join(f"xl pause {name}" for name in sorted(set(GUESTS) - set(keep))))


class Beacon:
    def __init__(self, lab, name, number, capture):
        self.lab, self.name, self.capture = lab, name, capture
        self.uuid = f"f19a0000-0000-4000-8000-0000000000{number}"
        self.mac = f"00:16:3e:99:00:{number}"
        self.ip4, self.ip6 = f"10.99.0.{number}", f"fd00:99::{number}"
        self.who = {self.mac, self.ip4, self.ip6}
        self.extra = f"console=hvc0 quiet norandmaps mitigations=off init_on_alloc=0 net.ifnames=0 beacon={self.ip4},{self.ip6},{FORBIDDEN_MAC},{FORBIDDEN4},{FORBIDDEN6}"

    # --- its life -------------------------------------------------------------------------------------------------

    def create(self, vif, **settings):
        lines = {"name": f'"{self.name}"', "uuid": f'"{self.uuid}"', "type": '"pv"', "memory": "128", "vcpus": "1",
                 "tsc_mode": '"native"', "kernel": '"/var/lib/xen/kernels/vmlinux"', "ramdisk": f'"{INITRD}"',
                 "extra": f'"{self.extra}"', "disk": f'[ "format=raw,vdev=xvda,access=ro,target={DISK}" ]',
                 "vif": f'[ "mac={self.mac},ip={self.ip4},{vif}" ]',
                 "on_poweroff": '"destroy"', "on_reboot": '"restart"', "on_crash": '"destroy"', **settings}
        path = f"/etc/xen/{self.name}.cfg"
        self.lab.put_text("".join(f"{key} = {value}\n" for key, value in lines.items() if value), path)
        self.lab.dom0(f"xl create {path}", timeout=180)

    @property
    def domid(self):
        return self.lab.domid(self.name)

    @property
    def vif(self):
        return self.lab.vif(self.name)

    def key(self, letter):
        self.lab.dom0(f"echo {letter} >$(xenstore-read /local/domain/$(xl domid {self.name})/console/tty)")

    def reboot(self):
        """From inside; returns when the new domain is there."""
        old, end = self.domid, time.monotonic() + 120
        self.key("r")
        # A look that starts no process: what is started in dom0 to look makes the guest's start take longer.
        self.lab.dom0(f"while for d in /sys/class/net/vif*.0; do d=${{d##*/vif}}; test ${{d%.0}} -gt {old} && break 2; done; :; do "
                      "sleep 0.5; done 2>/dev/null", timeout=120)
        wait_for(lambda: self.domid not in (None, old), end - time.monotonic(), f"{self.name} to be a new domain")

    # --- what is seen of it ---------------------------------------------------------------------------------------

    def sent(self, begin, end=None, who=None):
        """Its frames that the forbidden host saw."""
        return pcapread.sent_by(self.capture, who or self.who, begin, end or time.time())

    def heard(self, since, who=None):
        wait_for(lambda: self.sent(since, who=who), 120, f"{self.name} to be heard")

    def netdevs(self):
        """{netdev: {reason: frames from the guest}} in the kernel's filter."""
        listed = json.loads(self.lab.dom0("netback-filter list --json").stdout)
        mine = next((g for g in listed["guests"] if g["uuid"] == self.uuid), {"devs": []})
        return {dev["dev"]: {why: n["frames"] for why, n in dev["from_guest"].items() if n["frames"]} for dev in mine["devs"]}

    def filtered(self, dev=None, deadline=180):
        """Wait until frames of all kinds were dropped on its netdev as it is called now (or dev); what was dropped, by reason."""
        dev, end = dev or self.vif, time.monotonic() + deadline
        self.lab.dom0(f"until read -r n </sys/class/net/{dev}/statistics/rx_packets && test $n -gt 10; do sleep 0.5; done 2>/dev/null",
                      timeout=deadline)

        def dropped():
            seen = self.netdevs().get(dev, {})
            return seen if all(reasons & set(seen) for reasons in KINDS.values()) else None
        try:
            return wait_for(dropped, end - time.monotonic(), f"frames of {self.name} to be dropped", every=1.5)
        except LabError as error:
            raise LabError(f"{error}; the filter has {self.netdevs()}") from error

    # --- the agent ------------------------------------------------------------------------------------------------

    def isolate(self, scene):
        """Returns when it is isolated; the time from which on nothing of it may be seen."""
        scene.ctl("isolate", self.name, timeout=120)
        return time.time()

    def release(self, scene):
        scene.ctl("release", self.name, timeout=120)

    # --- lines of the result --------------------------------------------------------------------------------------

    def ok_silent(self, begin, what, end=None, who=None):
        end = end or time.time()
        leaked = self.sent(begin, end, who)
        self.lab.ok(not leaked, f"{what}: the forbidden host saw no frame in {end - begin:.0f} s ({len(leaked)})",
                    "\n".join(map(str, leaked[:5])))

    def ok_released(self, scene, what):
        began = time.time()
        self.release(scene)
        self.heard(began)
        self.lab.ok(not self.netdevs(), f"{what}: released, it is heard again and no rule is left", self.netdevs())


# --- what scenarios do with them -----------------------------------------------------------------------------------------

@contextlib.contextmanager
def scene(lab):
    """Server, agent, and vif-fixgate as the script of all vifs; the lab's own guests are paused. The scene and what the forbidden host hears."""
    alone(lab)
    with Scene.started(lab) as it:
        capture = lab.capture_start("forbidden")
        lab.dom0("echo 'vif.default.script=\"vif-fixgate\"' >>/etc/xen/xl.conf")
        install(lab)
        yield it, capture
        os.remove(lab.capture_stop("forbidden"))


def steps(lab, functions, names):
    """Call those that are named: f(lab, scene, capture)."""
    with scene(lab) as (it, capture):
        for name in names.split(","):
            began = time.time()
            functions[name](lab, it, capture)
            print(f"# {name}: {time.time() - began:.0f} s", flush=True)


def backend(lab, script):
    """What vif-fixgate hands over to."""
    lab.put_text(f"script = {script}\n", "/etc/fixgate/vif.conf")


def started(guest, vif):
    """A new domain of a beacon that nobody has isolated; returns when the forbidden host has heard it."""
    began = time.time()
    guest.create(vif)
    guest.heard(began)


def isolated(lab, scene, guest, what):
    """Isolate it while it runs; the time from which on it must be silent."""
    begin = guest.isolate(scene)
    lab.ok(guest.filtered(), f"{what}: isolated while it runs, its frames of all kinds are dropped")
    return begin


def ended(guest):
    guest.lab.dom0(f"xl destroy {guest.name}", check=False)
    wait_for(lambda: guest.domid is None, 60, f"{guest.name} to be gone")
