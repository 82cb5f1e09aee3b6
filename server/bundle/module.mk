# SPDX-License-Identifier: GPL-3.0-or-later
fix_sources := $(addprefix server/bundle/,build.c cert.c extract.c key.c keygen.c main.c options.c payload.c run.c show.c \
	sign.c writer.c)
$(eval $(call program,fixgate-fix,$(fix_sources),fgbundle fixgate,libcrypto jansson))
QUICK_TESTS += test/unit/server/bundle/fixgate_fix.py
INSTALL_HOOKS += install-fixgate-fix

.PHONY: install-fixgate-fix
install-fixgate-fix:
	install -m 0755 $(O)/bin/fixgate-fix $(DESTDIR)$(PREFIX)/bin/
	install -D -m 0644 docs/man/fixgate-fix.1 $(DESTDIR)$(PREFIX)/share/man/man1/fixgate-fix.1
$(eval $(call unit_test,unit/server/store/test_catalogue,$(addprefix test/unit/server/store/,test_catalogue.c store_kit.c),\
	fgstore fgbundle fixgate,libcrypto jansson))
