# SPDX-License-Identifier: GPL-3.0-or-later
$(eval $(call library,fgconfig,dom0-agent/config.c,inih))
$(eval $(call unit_test,unit/dom0-agent/test_config,test/unit/dom0-agent/test_config.c,fgconfig fixgate))
