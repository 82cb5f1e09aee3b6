# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter under an HVM guest, which starts with two netdevs (vifD.N and vifD.N-emu).

Not among the checks: QEMU's emulation of nested paging is too unreliable for it (README). Run it by hand.
"""

import importlib.util
import os

from fglab import LabError, wait_for

_spec = importlib.util.spec_from_file_location("filter_steps", os.path.join(os.path.dirname(__file__), "filter.py"))
filter_steps = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(filter_steps)


def main(lab):
    filter_steps.main(lab, (hvm,))


def hvm(lab, scene, capture):
    kernel = lab.dom0("ls /boot/vmlinuz-* | head -1").stdout.strip()
    if not kernel:
        raise LabError("dom0 has no compressed kernel for an HVM guest")
    filter_steps.start(lab, capture, "bridge=xenbr0", type='"hvm"', kernel=f'"{kernel}"', memory="256", vga='"none"',
          device_model_override='"/usr/libexec/xen-qemu-system-i386"')
    begin = filter_steps.isolate(lab, scene, "HVM")
    old = lab.domid("idle1")
    lab.dom0("xl reboot -F idle1")
    wait_for(lambda: lab.domid("idle1") not in (None, old), 120, "idle1 to be a new domain")
    both = wait_for(lambda: sorted(filter_steps.counters(lab)[0]) == sorted([lab.vif("idle1"), lab.vif("idle1") + "-emu"]), 60,
                    "both netdevs of the HVM guest to be filtered")
    lab.ok(both, "HVM: the new domain starts with two netdevs, both filtered")
    filter_steps.tried(lab, old)
    filter_steps.silent(lab, capture, begin, "HVM")
    filter_steps.release(lab, scene, capture, "HVM")
