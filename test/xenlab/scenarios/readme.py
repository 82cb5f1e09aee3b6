# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that README shows for dom0, run there."""

import json
import os
import re

from fglab import SERVER4
from fgscene import PORT, Scene, TOP


def main(lab):
    with open(os.path.join(TOP, "README"), encoding="utf-8") as f:
        commands = re.findall(r"^    ((?:fixgated|fixgatectl|systemctl) .*)$", f.read(), re.M)
    lab.ok(len(commands) >= 5, f"README has {len(commands)} commands for dom0")
    with open(os.path.join(TOP, "docs/examples/demo-fix.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    with Scene.started(lab) as scene:
        # The example is for sshd, which the lab's guests do not have: with their package the same commands apply.
        scene.publish(scene.bundle(manifest["id"]))
        scene.lab.dom0("kill $(pidof fixgated); while pidof fixgated >/dev/null; do sleep 0.05; done")
        lab.dom0("rm /etc/fixgate/agent.pem /etc/fixgate/agent.key /etc/fixgate/server-ca.pem")     # not enrolled
        code = scene.run("fixgate-server", "enrol", "xen1", "--dir", scene.server_dir).stdout.strip()
        lab.dom0("echo 'vif.default.script=\"vif-fixgate\"' >>/etc/xen/xl.conf")
        for command in commands:
            command = command.replace("192.0.2.10:8443", f"{SERVER4}:{PORT}").replace("CODE", code)
            result = lab.dom0(command, check=False, timeout=300)
            lab.ok(result.returncode == 0, command, result.stdout + result.stderr)
        lab.ok(lab.dom0("systemctl is-active fixgated", check=False).stdout.strip() == "active", "the service runs")
        entry = scene.wait_status("web1", manifest["id"], {"fixed"}, 60)
        lab.ok(entry["status"] == "fixed", "the server lists web1 as fixed")
