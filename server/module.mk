# SPDX-License-Identifier: GPL-3.0-or-later
-include server/bundle/module.mk
-include server/systemd/module.mk
server_store := $(sort $(wildcard server/store/*.c))
server_http := $(addprefix server/http/,client.c connection.c http.c listen.c range.c request.c tls.c) server/bus.c server/metrics.c
server_api := $(sort $(wildcard server/api/*.c))
$(eval $(call library,fgstore,$(server_store),sqlite3 libcrypto jansson))
server_rollout := $(addprefix server/rollout/,control.c engine.c poll.c step.c)
$(eval $(call library,fgrollout,$(addprefix server/rollout/,decide.c plan.c select.c window.c),jansson))
$(eval $(call library,fghttp,$(server_http),libevent_openssl libevent_core libevent_extra libssl libcrypto jansson))
$(eval $(call program,fixgate-server,server/main.c server/serve.c server/sockets.c server/worker.c server/config.c \
	server/setup/init.c server/setup/online.c server/setup/enrol.c server/setup/code.c server/setup/signer.c server/setup/pki.c server/setup/renew.c $(server_rollout) $(server_api),\
	fghttp fgrollout fgstore fgbundle fixgate,inih libsystemd libevent_core libcrypto jansson))
$(eval $(call program,fixgate-admin,$(sort $(wildcard server/admin/*.c)) server/config.c,\
	fgstore fgbundle fixgate,libcurl inih libcrypto jansson))
$(eval $(call unit_test,unit/server/http/test_range,test/unit/server/http/test_range.c,fghttp fixgate))
$(eval $(call unit_test,unit/server/http/test_client,test/unit/server/http/test_client.c,fghttp fixgate))
$(eval $(call unit_test,unit/server/test_bus,test/unit/server/test_bus.c,fghttp fixgate))
$(eval $(call unit_test,unit/server/store/test_ledger,test/unit/server/store/test_ledger.c,fgstore fixgate))
$(eval $(call unit_test,unit/server/store/test_store,$(addprefix test/unit/server/store/,test_store.c store_kit.c),fgstore fixgate))
QUICK_TESTS += $(addprefix test/server/,api.py clock.py deadlines.py durable.py enrol.py faults.py init.py keys.py limits.py manual.py metrics.py openapi.py roles.py serve.py unit.py)
include server/store/tests.mk
