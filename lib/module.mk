$(eval $(call library,fixgate,lib/error.c lib/state.c lib/log.c lib/util.c lib/file.c lib/json.c,jansson))
$(eval $(call unit_test,unit/lib/test_util,test/unit/lib/test_util.c,fixgate))
include lib/bundle/module.mk
include lib/frame.mk
