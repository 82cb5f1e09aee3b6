# SPDX-License-Identifier: GPL-3.0-or-later
# What test/bench/run measures with; built with the tests.
$(eval $(call objects,test/bench/filter_bench.c,libnftnl libmnl jansson))
$(eval $(call link_rule,$(O)/bench/filter_bench,test/bench/filter_bench.c,fgfilter fixgate,jansson))
$(eval $(call objects,test/bench/packet_rate.c,jansson))
$(eval $(call link_rule,$(O)/bench/packet_rate,test/bench/packet_rate.c,fixgate,jansson))
load_driver := test/bench/load_driver.c test/bench/load_conn.c test/bench/load_work.c
$(eval $(call objects,$(load_driver),libevent_core libssl libcrypto jansson))
$(eval $(call link_rule,$(O)/bench/load_driver,$(load_driver),fixgate,libevent_core libssl libcrypto jansson))
$(eval $(call objects,test/bench/load_certs.c,libcrypto jansson))
$(eval $(call link_rule,$(O)/bench/load_certs,test/bench/load_certs.c server/setup/pki.c,fghttp fgstore fgbundle fixgate,jansson))
tests bench: $(O)/bench/load_certs
tests bench: $(O)/bench/filter_bench $(O)/bench/packet_rate $(O)/bench/load_driver
QUICK_TESTS += test/bench/smoke
