# SPDX-License-Identifier: GPL-3.0-or-later
INSTALL_HOOKS += install-server-systemd
.PHONY: install-server-systemd
install-server-systemd:
	$(Q)install -D -m 0644 server/systemd/fixgate-server.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/fixgate-server.conf
	$(Q)install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	$(Q)install -m 0644 server/systemd/fixgate-server.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/
	$(Q)sed 's,@sbindir@,$(PREFIX)/sbin,' server/systemd/fixgate-server.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/fixgate-server.service
