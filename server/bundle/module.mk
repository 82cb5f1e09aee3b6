# SPDX-License-Identifier: GPL-3.0-or-later
fix_sources := $(addprefix server/bundle/,build.c cert.c extract.c key.c keygen.c main.c options.c payload.c run.c show.c \
	sign.c writer.c)
$(eval $(call program,fixgate-fix,$(fix_sources),fgbundle fixgate,libcrypto jansson))
QUICK_TESTS += test/unit/server/bundle/fixgate_fix.py

$(eval $(call unit_test,unit/server/store/test_catalogue,$(addprefix test/unit/server/store/,test_catalogue.c store_kit.c),\
	fgstore fgbundle fixgate,libcrypto jansson))
