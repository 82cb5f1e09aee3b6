# SPDX-License-Identifier: GPL-3.0-or-later
$(eval $(call library,fgfilter,$(addprefix netback-filter/,\
	guest.c ruleset.c ruleset_ip4.c ruleset_ip6.c ruleset_ok.c rule_nft.c \
	netlink.c link.c held.c plan.c filter.c rules_dump.c verify.c list.c guest_json.c mark.c \
	packet.c simulate.c pcap.c batch.c),libnftnl libmnl jansson))
$(eval $(call program,netback-filter,netback-filter/main.c netback-filter/args.c netback-filter/simulate_cmd.c,fgfilter fixgate,jansson))
$(eval $(call unit_test,unit/netback-filter/test_filter,test/unit/netback-filter/test_filter.c \
	netback-filter/args.c,fgfilter fixgate,jansson))
$(eval $(call unit_test,unit/netback-filter/test_simulate,test/unit/netback-filter/test_simulate.c,fgfilter fixgate,jansson))
QUICK_TESTS += test/netns/filter_frames.py test/netns/filter_state.py test/netns/filter_flows.py \
	test/netns/filter_random.py test/netns/vif_fixgate.py
EXTRA += $(O)/bin/vif-fixgate
INSTALL_HOOKS += install-netback-filter

$(O)/bin/vif-fixgate: netback-filter/vif-fixgate
	@mkdir -p $(@D)
	$(Q)install -m 755 $< $@

.PHONY: install-netback-filter
install-netback-filter:
	install -D -m 755 $(O)/bin/netback-filter $(DESTDIR)$(PREFIX)/sbin/netback-filter
	install -D -m 755 netback-filter/vif-fixgate $(DESTDIR)/etc/xen/scripts/vif-fixgate
	install -D -m 644 netback-filter/vif.conf $(DESTDIR)/etc/fixgate/vif.conf
	install -D -m 644 docs/man/netback-filter.8 $(DESTDIR)$(PREFIX)/share/man/man8/netback-filter.8
	install -D -m 644 docs/man/vif-fixgate.8 $(DESTDIR)$(PREFIX)/share/man/man8/vif-fixgate.8
