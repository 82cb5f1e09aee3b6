# SPDX-License-Identifier: GPL-3.0-or-later
$(eval $(call library,fgframe,lib/frame.c,libevent_core jansson))
$(eval $(call unit_test,unit/lib/test_frame,test/unit/lib/test_frame.c,fgframe fixgate))
