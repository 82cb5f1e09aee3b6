# SPDX-License-Identifier: GPL-3.0-or-later
toolstack_sources := $(addprefix dom0-agent/toolstack/,guest.c event_libxl.c xenstore.c child.c worker.c gone.c image_files.c connected.c pace.c \
	xl_config.c xl_daemon.c xl_files.c xl_scan.c xl_save.c xl_reboot.c xl_stop.c xl_start.c xl_run.c xl_owner.c toolstack_xl.c libvirt_xml.c libvirt_events.c libvirt_work.c libvirt_stop.c toolstack_libvirt.c)
toolstack_sources += $(addprefix dom0-agent/fix/,vm_xl.c vm_xl_config.c layer_dm.c layer_dm_cow.c layer_dm_device.c)
$(eval $(call library,fgtoolstack,$(toolstack_sources),xenlight xlutil xenstore xentoollog xencontrol libevent_core jansson devmapper libvirt libxml-2.0))

# For development and the lab's scenario; not installed.
probe := $(O)/test/probe/fixgate-toolstack-probe
$(eval $(call objects,dom0-agent/toolstack/probe.c,libevent_core jansson devmapper libvirt libxml-2.0))
$(eval $(call link_rule,$(probe),dom0-agent/toolstack/probe.c,fgtoolstack fixgate,xenlight xlutil xenstore xentoollog xencontrol libevent_core jansson devmapper libvirt libxml-2.0))
tests: $(probe)

$(foreach t,xl_config xl_daemon xl_files xl_owner waits child pace layer_cow libvirt,$(eval $(call unit_test,unit/dom0-agent/toolstack/test_$(t),test/unit/dom0-agent/toolstack/test_$(t).c,fgtoolstack fixgate,libevent_core jansson)))
$(foreach t,xl_scan xl_start xl_stop,$(eval $(call unit_test,unit/dom0-agent/toolstack/test_$(t),test/unit/dom0-agent/toolstack/test_$(t).c test/fakes/xl.c,fgtoolstack fixgate,libevent_core jansson)))
$(eval $(call unit_test,unit/dom0-agent/fix/test_layer_dm,test/unit/dom0-agent/fix/test_layer_dm.c,fgtoolstack fixgate,libevent_core))
LAB_TESTS += test/xenlab/scenarios/toolstack.py
