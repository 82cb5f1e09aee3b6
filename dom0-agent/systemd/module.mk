# SPDX-License-Identifier: GPL-3.0-or-later
INSTALL_HOOKS += install-agent-systemd
.PHONY: install-agent-systemd
install-agent-systemd:
	install -D -m 0644 dom0-agent/systemd/fixgate.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/fixgate.conf
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in fixgated fixgate-restore; do \
		sed 's,@sbindir@,$(PREFIX)/sbin,' dom0-agent/systemd/$$unit.service \
			>$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service || exit 1; done
