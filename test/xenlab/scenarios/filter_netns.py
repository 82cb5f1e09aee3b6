# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the filter in namespaces, on dom0's kernel: what the kernel of the machine that builds may not have.

Debian's 6.1 has dummy and bond devices, act_vlan and flowtables; its netdev hooks follow a device that is renamed. A test that
is skipped here is a failure.
"""

import os
import re

from fgscene import TOP

TAP = re.compile(r"^(not ok|ok)\b[ \t]*\d*[ \t-]*(.*)$", re.M)
# Script: its sections, None for all of it.
TESTS = {
    "kernel_facts.py": "tags,order,priorities,inet",
    "filter_state.py": "refusals,verify_sees,recreated,renamed,disturbed",
    "filter_flows.py": "open_connections,tracked",
    "filter_frames.py": "flows_before,outward,inward,hardware_tags",
    "restore.py": "never_the_hosts,units",
    "guard.py": "appearing,known_by_others,renamed,namespaces_and_bridges,rules",
}
MODULES = ("veth", "dummy", "bonding", "act_vlan", "cls_matchall", "sch_ingress", "nf_flow_table", "nft_flow_offload", "br_netfilter",
           "8021q")
HOME = "/root/tests"


def main(lab):
    bins = os.environ.get("FG_BIN", os.path.join(TOP, "build/bin"))
    for path in ("test/netns", "dom0-agent/systemd"):
        lab.put(os.path.join(TOP, path), f"{HOME}/{path}")
    for path in ("bin/netback-filter", "test/probe/fixgate-guard-probe"):
        lab.put(os.path.join(os.path.dirname(bins), path), f"{HOME}/build/{path}", mode=0o755)
    lab.dom0("xl destroy web1; xl destroy web2; xl destroy idle1; virsh -q -c xen:///system destroy db1", check=False)
    missing = [m for m in MODULES if lab.dom0(f"modprobe {m}", check=False).returncode]
    lab.ok(not missing, f"dom0's kernel {lab.dom0('uname -r').stdout.strip()} has " + ", ".join(MODULES), missing)
    for script, sections in TESTS.items():
        result = lab.dom0(f"cd /tmp && FG_BIN={HOME}/build/bin FG_SECTIONS={sections} timeout 280 python3 -B "
                          f"{HOME}/test/netns/{script}", check=False, timeout=300)
        lines = list(TAP.finditer(result.stdout))
        for m, following in zip(lines, lines[1:] + [None]):
            lab.ok(m[1] == "ok" and "# SKIP" not in m[2], f"dom0: {script[:-3]}: {m[2]}",
                   result.stdout[m.end():following.start() if following else None])
        if result.returncode or not lines:
            lab.ok(False, f"dom0: {script} ends well", f"exit status {result.returncode}\n{result.stdout[-4000:]}{result.stderr[-2000:]}")
        else:
            lab.ok(True, f"dom0: {script}: {len(lines)} results")
