# SPDX-License-Identifier: GPL-3.0-or-later
$(eval $(call library,fgconfig,dom0-agent/config.c,inih))
$(eval $(call library,fgcheck,dom0-agent/net/check.c,jansson))
$(eval $(call unit_test,unit/dom0-agent/test_config,test/unit/dom0-agent/test_config.c,fgconfig fixgate))
$(eval $(call unit_test,unit/dom0-agent/net/test_check,test/unit/dom0-agent/net/test_check.c,fgcheck fixgate))
$(eval $(call unit_test,unit/dom0-agent/net/test_backoff,test/unit/dom0-agent/net/test_backoff.c dom0-agent/net/backoff.c,fixgate))
$(eval $(call unit_test,unit/dom0-agent/net/test_sandbox,test/unit/dom0-agent/net/test_sandbox.c \
	dom0-agent/net/sandbox.c dom0-agent/net/seccomp.c,fixgate,libseccomp))
# Fuzz targets (test/fuzz/replay.c): each replays test/data/NAME and damaged copies of it.
$(eval $(call unit_test,fuzz/fuzz_offer,test/fuzz/fuzz_offer.c test/fuzz/replay.c,fgcheck fixgate))
$(eval $(call unit_test,fuzz/fuzz_frame,test/fuzz/fuzz_frame.c test/fuzz/replay.c,fgframe fixgate,libevent_core))

net_sources := $(addprefix dom0-agent/net/,main.c net.c poll.c inventory.c reports.c ask.c head.c catalogue.c http.c identity.c backoff.c \
	sandbox.c seccomp.c)
$(eval $(call program,fixgate-net,$(net_sources),fgframe fgconfig fgcheck fgbundle fixgate,\
	libevent_core libcurl jansson libssl libcrypto libseccomp inih))

QUICK_TESTS += test/net/work.py test/net/hostile.py test/net/server.py test/net/catalogue.py test/net/clock.py
