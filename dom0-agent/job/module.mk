# SPDX-License-Identifier: GPL-3.0-or-later
agent_sources := $(addprefix dom0-agent/,job/agent.c job/cancel.c job/job.c job/table.c job/call.c job/find.c job/slot.c job/recover.c \
	job/clock.c job/snapshot.c journal/journal.c journal/journal_read.c offer/offer.c offer/head.c decide/decide.c \
	decide/inspect.c isolate/isolate.c isolate/monitor.c isolate/window.c isolate/plan.c isolate/reach.c stop/stop.c stop/still_gone.c fix/fix.c fix/run.c \
	fix/clear.c fix/jobfile.c fix/initrd.c fix/fixvm_console.c verify/verify.c restore/restore.c restore/start.c \
	restore/undo.c report/report.c report/inventory.c ctl/server.c ctl/commands.c ctl/guest_commands.c ctl/xl_conf.c)
$(eval $(call library,fgagent,$(agent_sources),jansson sqlite3 libevent_core libmnl))

$(eval $(call program,fixgated,$(addprefix dom0-agent/,main.c report/net_process.c isolate/guard_agent.c),fgguard fgagent fgtoolstack \
	fgfilter fgjobcpio fgcheck fgbundle fgconfig fgframe fixgate,libevent_core jansson sqlite3 libmnl libsystemd))
$(eval $(call program,fixgatectl,dom0-agent/ctl/fixgatectl.c dom0-agent/ctl/print.c,fgconfig fgframe fixgate,\
	libevent_core jansson))

agent_fakes := $(addprefix test/fakes/,world.c server.c isolator.c toolstack.c layers.c fixvm.c)
agent_tested := fgagent fgtoolstack fgjobcpio fgcheck fgbundle fgconfig fgframe fixgate
agent_test_pkgs := libevent_core jansson sqlite3 libmnl
$(eval $(call unit_test,unit/dom0-agent/test_flow,test/unit/dom0-agent/test_flow.c $(agent_fakes),$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/job/test_cancel,test/unit/dom0-agent/job/test_cancel.c $(agent_fakes),$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/restore/test_start,test/unit/dom0-agent/restore/test_start.c $(agent_fakes),$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/job/test_table,test/unit/dom0-agent/job/test_table.c,$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/journal/test_journal,test/unit/dom0-agent/journal/test_journal.c,$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/fix/test_fixvm_console,test/unit/dom0-agent/fix/test_fixvm_console.c,$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/ctl/test_ctl,test/unit/dom0-agent/ctl/test_ctl.c $(agent_fakes),$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,unit/dom0-agent/ctl/test_xl_conf,test/unit/dom0-agent/ctl/test_xl_conf.c,$(agent_tested),$(agent_test_pkgs)))
$(O)/test/unit/dom0-agent/ctl/test_ctl: $(O)/bin/fixgatectl
$(eval $(call unit_test,unit/dom0-agent/offer/test_offer,test/unit/dom0-agent/offer/test_offer.c,$(agent_tested),$(agent_test_pkgs) libcrypto))
$(eval $(call unit_test,crash/crash_sweep,test/crash/crash_sweep.c $(agent_fakes),$(agent_tested),$(agent_test_pkgs)))
$(eval $(call unit_test,fault/fault_sweep,test/fault/fault_sweep.c $(agent_fakes),$(agent_tested),$(agent_test_pkgs)))
