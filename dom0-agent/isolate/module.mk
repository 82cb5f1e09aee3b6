# SPDX-License-Identifier: GPL-3.0-or-later
guard_sources := $(addprefix dom0-agent/isolate/,isolator_vmm.c kept.c routed.c counters.c netns.c linkwatch.c guard.c guard_rules.c \
	window_limit.c)
$(eval $(call library,fgguard,$(guard_sources),jansson libmnl libevent_core))

# The guard in a namespace of its own, with a toolstack and a xenstore of files; for its test.
guard_probe := $(O)/test/probe/fixgate-guard-probe
guard_tested := fgguard fgagent fgtoolstack fgfilter fgjobcpio fgcheck fgbundle fgconfig fgframe fixgate
guard_pkgs := libevent_core jansson sqlite3 libmnl
$(eval $(call objects,dom0-agent/isolate/probe.c,$(guard_pkgs)))
$(eval $(call link_rule,$(guard_probe),dom0-agent/isolate/probe.c,$(guard_tested),$(guard_pkgs)))
tests: $(guard_probe)
QUICK_TESTS += test/netns/guard.py

$(eval $(call unit_test,unit/dom0-agent/isolate/test_counters,test/unit/dom0-agent/isolate/test_counters.c,$(guard_tested),$(guard_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/isolate/test_reach,test/unit/dom0-agent/isolate/test_reach.c,$(guard_tested),$(guard_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/isolate/test_window,test/unit/dom0-agent/isolate/test_window.c $(agent_fakes),$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/isolate/test_window_limit,test/unit/dom0-agent/isolate/test_window_limit.c,$(guard_tested),$(guard_pkgs)))
