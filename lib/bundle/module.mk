# SPDX-License-Identifier: GPL-3.0-or-later
bundle_sources := $(addprefix lib/bundle/,applies.c cms.c dpkg.c guest.c head.c manifest.c trust.c verify.c version.c)
$(eval $(call library,fgbundle,$(bundle_sources),libcrypto jansson))

bundle_test := test/unit/lib/bundle
bundle_unit = $(eval $(call unit_test,unit/lib/bundle/$(1),$(bundle_test)/$(1).c $(bundle_test)/maker.c,fgbundle fixgate,libcrypto jansson))
$(call bundle_unit,test_head)
$(call bundle_unit,test_signers)
$(call bundle_unit,test_manifest)
$(call bundle_unit,test_version)
$(call bundle_unit,test_applies)
