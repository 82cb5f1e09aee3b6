# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixgate as an operator has it: the commands that README shows for dom0, run there, and then the host's plug is pulled while a
guest is isolated. From there systemd alone brings everything back, and the guest with it."""

import json
import os
import re
import tempfile
import time

import fgbeacon
from fgbeacon import Beacon
from fglab import SERVER4, wait_for
from fgscene import PORT, TOP, Scene

MARKS = "/var/lib/fixgate/isolated"


def main(lab):
    with tempfile.TemporaryDirectory(prefix="fixgate-scene-") as work:
        scene = Scene(lab, work)
        scene.server_init()
        scene.server_start()
        scene.install(enrol=False)
        with scene.told():
            readme(lab, scene)
            power_cut(lab, scene)


def readme(lab, scene):
    fgbeacon.alone(lab, "web1")     # those that are paused are known, too
    with open(os.path.join(TOP, "README"), encoding="utf-8") as f:
        commands = re.findall(r"^    ((?:fixgated|fixgatectl|systemctl) .*)$", f.read(), re.M)
    lab.ok(len(commands) >= 5, f"README has {len(commands)} commands for dom0")
    with open(os.path.join(TOP, "docs/examples/demo-fix.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    # The example is for sshd, which the lab's guests do not have: with their package the same commands apply.
    scene.publish(scene.bundle(manifest["id"]))
    code = scene.run("fixgate-server", "enrol", "xen1", "--dir", scene.server_dir).stdout.strip()
    lab.dom0("chmod 700 /etc/fixgate; echo 'vif.default.script=\"vif-fixgate\"' >>/etc/xen/xl.conf")
    for command in commands:
        command = command.replace("192.0.2.10:8443", f"{SERVER4}:{PORT}").replace("CODE", code)
        result = lab.dom0(command, check=False, timeout=300)
        lab.ok(result.returncode == 0, command, result.stdout + result.stderr)
        if command.startswith("systemctl enable"):
            scene.all_known()
    lab.ok(lab.dom0("systemctl is-active fixgated", check=False).stdout.strip() == "active", "the service runs")
    entry = scene.wait_status("web1", manifest["id"], {"fixed"}, 60)
    lab.ok(entry["status"] == "fixed", "the server lists web1 as fixed")


def unit(lab, name, properties):
    """{property: value} that systemd in dom0 has for a unit."""
    return dict(line.split("=", 1) for line in lab.dom0(f"systemctl show -p {properties} {name}").stdout.splitlines())


def power_cut(lab, scene):
    """Only what is on dom0's disk is left: the guest's mark, and the units."""
    fgbeacon.alone(lab)
    fgbeacon.install(lab)
    capture = lab.capture_start("forbidden")
    guest = Beacon(lab, "plug1", 25, capture)
    began = time.time()
    guest.create("bridge=xenbr0")
    guest.heard(began)
    lab.ok(lab.dom0("pidof xenstored").stdout.strip(), "dom0 has the xenstore daemon in C")
    lab.dom0("dpkg-divert --quiet --local --rename --remove /usr/lib/xen-4.17/bin/oxenstored")
    lab.dom0(f"mkdir -p /etc/xen/auto && ln -s ../{guest.name}.cfg /etc/xen/auto/ && systemctl -q unmask xendomains && "
             "systemctl -q enable xendomains && sync", timeout=300)     # all this is older than the power cut; the mark is not
    begin = guest.isolate(scene)
    lab.power_cycle()
    lab.ok(lab.dom0("pidof oxenstored", check=False).stdout.strip(), "power cut: from here dom0 has the one in OCaml, Debian's first choice")
    wait_for(lambda: guest.domid, 240, "xendomains to start the guest")
    marks = lab.dom0(f"ls {MARKS}", check=False).stdout.split()
    lab.ok(f"{guest.uuid}.json" in marks, "power cut: the guest's mark is on the disk", marks)
    lab.ok(guest.filtered() and list(guest.netdevs()) == [guest.vif], "power cut: the guest was started at boot, and filtered",
           guest.netdevs())
    lab.dom0("systemctl is-system-running --wait", check=False, timeout=240)
    restore = unit(lab, "fixgate-restore", "Result,ExecMainStatus,ActiveState,ExecMainExitTimestampMonotonic")
    xendomains = unit(lab, "xendomains", "InactiveExitTimestampMonotonic")
    lab.ok((restore["Result"], restore["ExecMainStatus"], restore["ActiveState"]) == ("success", "0", "active"),
           "power cut: systemd has run fixgate-restore", restore)
    lab.ok(0 < int(restore["ExecMainExitTimestampMonotonic"]) <= int(xendomains["InactiveExitTimestampMonotonic"]),
           "power cut: and it had ended when xendomains began", f"{restore} {xendomains}")
    lab.ok(lab.dom0("systemctl is-active fixgated", check=False).stdout.strip() == "active", "power cut: the agent runs again")
    guest.reboot()
    lab.ok(guest.filtered(), "power cut: the guest reboots and is filtered")
    guest.ok_silent(begin, "power cut")
    guest.ok_released(scene, "power cut")
    os.remove(lab.capture_stop("forbidden"))
