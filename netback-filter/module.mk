# SPDX-License-Identifier: GPL-3.0-or-later
$(eval $(call library,fgfilter,$(addprefix netback-filter/,\
	guest.c ruleset.c ruleset_ip4.c ruleset_ip6.c ruleset_ok.c rule_nft.c \
	netlink.c link.c held.c plan.c filter.c rules_dump.c verify.c list.c guest_json.c mark.c),libnftnl libmnl jansson))
$(eval $(call program,netback-filter,netback-filter/main.c netback-filter/args.c,fgfilter fixgate,jansson))
QUICK_TESTS += test/netns/filter_frames.py
