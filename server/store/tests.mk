# SPDX-License-Identifier: GPL-3.0-or-later
$(eval $(call unit_test,unit/server/store/test_backup,$(addprefix test/unit/server/store/,test_backup.c store_kit.c),fgstore fixgate))
$(eval $(call unit_test,unit/server/store/test_lists,$(addprefix test/unit/server/store/,test_lists.c store_kit.c),fgstore fixgate))
$(eval $(call unit_test,unit/server/store/test_memo,$(addprefix test/unit/server/store/,test_memo.c store_kit.c),fgstore fixgate))
$(eval $(call unit_test,unit/server/rollout/test_plan,test/unit/server/rollout/test_plan.c,fgrollout fgstore fixgate))
$(eval $(call unit_test,unit/server/rollout/test_decide,test/unit/server/rollout/test_decide.c,fgrollout fgstore fixgate))
QUICK_TESTS += test/server/rollout_flow.py
$(eval $(call unit_test,unit/server/api/test_writer,test/unit/server/api/test_writer.c test/unit/server/store/store_kit.c server/api/writer.c,fgstore fixgate,libevent_core sqlite3))
QUICK_TESTS += test/server/store_sql.py
QUICK_TESTS += test/server/postgres.py
tests: $(O)/test/preload/sql_log.so

$(O)/test/preload/%.so: test/server/%.c
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags_all) -fPIC -shared $(call pkg,--cflags,sqlite3) $(CFLAGS) -o $@ $< -Wl,--no-as-needed $(call pkg,--libs,sqlite3) -ldl
