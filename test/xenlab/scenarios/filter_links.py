# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter where a vif is no port of a bridge, and where it is not alone: Open vSwitch, routed, HVM. The steps are in
filter.py; two scenarios, so that a fault of the emulator costs one of them."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import filter as steps      # noqa: E402  pylint: disable=wrong-import-position,redefined-builtin


def main(lab):
    steps.run(lab, "openvswitch,routed,hvm")
