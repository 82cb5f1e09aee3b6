# SPDX-License-Identifier: GPL-3.0-or-later
$(eval $(call library,fgbundle,lib/bundle/version.c lib/bundle/manifest.c,libcrypto jansson))
