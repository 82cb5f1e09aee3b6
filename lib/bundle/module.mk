# SPDX-License-Identifier: GPL-3.0-or-later
bundle_sources := $(addprefix lib/bundle/,catalogue.c catalogue_cms.c cms.c head.c manifest.c trust.c verify.c version.c)
$(eval $(call library,fgbundle,$(bundle_sources),libcrypto jansson))
# What reads a guest's root is linked into the fix VM alone, and with it SQLite.
applies_sources := $(addprefix lib/bundle/,applies.c dpkg.c guest.c rpmdb.c rpmhdr.c rpmvfs.c)
$(eval $(call library,fgapplies,$(applies_sources),sqlite3 libcrypto jansson))

bundle_test := test/unit/lib/bundle
bundle_unit = $(eval $(call unit_test,unit/lib/bundle/$(1),$(bundle_test)/$(1).c $(bundle_test)/maker.c,fgbundle fixgate,libcrypto jansson))
$(call bundle_unit,test_head)
$(call bundle_unit,test_hostile)
$(call bundle_unit,test_signers)
$(call bundle_unit,test_catalogue)
$(call bundle_unit,test_manifest)
$(call bundle_unit,test_version)
applies_unit = $(eval $(call unit_test,unit/lib/bundle/$(1),$(bundle_test)/$(1).c $(bundle_test)/maker.c $(2),fgapplies fgbundle fixgate,libcrypto jansson sqlite3))
$(call applies_unit,test_applies)
$(call applies_unit,test_rpmhdr)
$(call applies_unit,test_rpmdb)

# Fuzz targets.  Each is a test that replays test/data/NAME; `make fuzz` (clang) lets libFuzzer go on from there.
FUZZ_SECONDS ?= 60
fuzz_targets := fuzz_catalogue fuzz_cms fuzz_hashes fuzz_head fuzz_manifest fuzz_rpmhdr
fuzz_unit = $(eval $(call unit_test,fuzz/$(1),test/fuzz/$(1).c test/fuzz/replay.c,fgapplies fgbundle fixgate,libcrypto jansson))
$(foreach t,$(fuzz_targets),$(call fuzz_unit,$(t)))

$(O)/fuzz/%: test/fuzz/%.c $(bundle_sources) lib/bundle/rpmhdr.c lib/error.c lib/file.c lib/json.c lib/util.c
	$(call say,CLANG,$@)
	@mkdir -p $(@D)
	$(Q)clang -std=c11 -D_GNU_SOURCE -Iinclude -I. -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		$$(pkg-config --cflags libcrypto jansson) -o $@ $^ $$(pkg-config --libs libcrypto jansson)

.PHONY: fuzz
fuzz: $(addprefix $(O)/fuzz/,$(fuzz_targets)) ## fuzz the bundle's parsers, FUZZ_SECONDS each (clang)
	@for t in $(fuzz_targets); do mkdir -p $(O)/fuzz/corpus/$$t && $(O)/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
		-artifact_prefix=$(O)/fuzz/ $(O)/fuzz/corpus/$$t test/data/$$t || exit 1; done
