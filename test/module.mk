# SPDX-License-Identifier: GPL-3.0-or-later
# What the tests build besides unit tests.
include $(wildcard test/*/module.mk)
