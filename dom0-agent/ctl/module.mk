# SPDX-License-Identifier: GPL-3.0-or-later
# fixgatectl starts it for enrol and renew.
$(eval $(call program,fixgate-enrol,$(addprefix dom0-agent/ctl/,enrol_main.c enrol.c enrol_http.c),fgconfig fixgate,\
	inih libcurl libcrypto jansson))

INSTALL_HOOKS += install-fixgate-enrol
.PHONY: install-fixgate-enrol
install-fixgate-enrol: $(O)/bin/fixgate-enrol
	install -D -m 0755 $(O)/bin/fixgate-enrol $(DESTDIR)$(PREFIX)/libexec/fixgate/fixgate-enrol
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0644 dom0-agent/systemd/fixgate-renew.service dom0-agent/systemd/fixgate-renew.timer \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/
