# SPDX-License-Identifier: GPL-3.0-or-later
filter_sources := $(addprefix netback-filter/,\
	guest.c ruleset.c ruleset_ip4.c ruleset_ip6.c ruleset_ok.c rule_nft.c rule_put.c \
	netlink.c link.c held.c index.c plan.c filter.c rules_dump.c verify.c list.c dev_status.c guest_json.c mark.c own.c owner.c restore.c status.c awake.c \
	packet.c simulate.c pcap.c batch.c)
$(eval $(call library,fgfilter,$(filter_sources),libnftnl libmnl jansson))
$(eval $(call program,netback-filter,netback-filter/main.c netback-filter/args.c netback-filter/simulate_cmd.c,fgfilter fixgate,jansson))
$(eval $(call unit_test,unit/netback-filter/test_filter,test/unit/netback-filter/test_filter.c \
	netback-filter/args.c,fgfilter fixgate,jansson))
$(eval $(call unit_test,unit/netback-filter/test_simulate,test/unit/netback-filter/test_simulate.c,fgfilter fixgate,jansson))
# Fuzz targets: each replays test/data/NAME and damaged copies; `make fuzz-filter` (clang) lets libFuzzer go on from there.
filter_fuzz_targets := $(addprefix fuzz_filter_,args batch netlink pcap)
filter_fuzz = $(eval $(call unit_test,fuzz/$(1),test/fuzz/$(1).c test/fuzz/replay.c netback-filter/args.c,fgfilter fixgate,jansson))
$(foreach t,$(filter_fuzz_targets),$(call filter_fuzz,$(t)))

$(O)/fuzz/fuzz_filter_%: test/fuzz/fuzz_filter_%.c netback-filter/args.c $(filter_sources) $(addprefix lib/,error.c file.c json.c util.c)
	$(call say,CLANG,$@)
	@mkdir -p $(@D)
	$(Q)clang -std=c11 -D_GNU_SOURCE -Iinclude -I. -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		$$(pkg-config --cflags libnftnl libmnl jansson) -o $@ $^ $$(pkg-config --libs libnftnl libmnl jansson)

.PHONY: fuzz-filter
fuzz-filter: $(addprefix $(O)/fuzz/,$(filter_fuzz_targets)) ## fuzz the filter's parsers, FUZZ_SECONDS each (clang)
	@for t in $(filter_fuzz_targets); do mkdir -p $(O)/fuzz/corpus/$$t && $(O)/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) \
		-artifact_prefix=$(O)/fuzz/ $(O)/fuzz/corpus/$$t test/data/$$t || exit 1; done

$(eval $(call unit_test,unit/netback-filter/test_owner,test/unit/netback-filter/test_owner.c,fgfilter fixgate,jansson))
QUICK_TESTS += test/netns/filter_frames.py test/netns/filter_state.py test/netns/filter_flows.py \
	test/netns/filter_random.py test/netns/filter_crash.py test/netns/filter_index.py test/netns/filter_routed.py test/netns/vif_fixgate.py test/netns/restore.py \
	test/netns/kernel_facts.py
EXTRA += $(O)/bin/vif-fixgate

$(O)/bin/vif-fixgate: netback-filter/vif-fixgate
	@mkdir -p $(@D)
	$(Q)install -m 755 $< $@
