# SPDX-License-Identifier: GPL-3.0-or-later
bundle_sources := $(addprefix lib/bundle/,applies.c cms.c dpkg.c guest.c head.c manifest.c trust.c verify.c version.c)
$(eval $(call library,fgbundle,$(bundle_sources),libcrypto jansson))
