# SPDX-License-Identifier: GPL-3.0-or-later
#
# One Makefile, no recursion.  Each part says what it builds in its module.mk with
#	$(eval $(call library,NAME,SOURCES,PKG-CONFIG NAMES))
#	$(eval $(call program,NAME,SOURCES,LIBRARIES,PKG-CONFIG NAMES))
#	$(eval $(call unit_test,NAME,SOURCES,LIBRARIES,PKG-CONFIG NAMES))
# LIBRARIES are names given to `library`, users before what they use; their packages come along.
#
#	O=DIR             build folder (default build)
#	V=1               show commands
#	DEVELOPER=0       without -Werror and the long warning list (default 1 in a git checkout)
#	SANITIZE=address,undefined
#	PREFIX= DESTDIR=  for install

O ?= build
PREFIX ?= /usr
DESTDIR ?=
ifneq ($(filter default undefined,$(origin CC)),)
CC := $(if $(shell command -v ccache),ccache )gcc
endif
CFLAGS ?= -O2 $(if $(SANITIZE),-g1,-g)
SANITIZE ?=
DEVELOPER ?= $(if $(wildcard .git),1,0)
PYTHON ?= /usr/bin/python3
VERSION := 0.1.0

# Objects that any checkout has made, beside the lab's image, where ccache is there and we may write.
CACHE := $(or $(FIXGATE_CACHE),/var/cache/fixgate)
ifneq ($(shell command -v ccache >/dev/null && mkdir -p $(CACHE)/ccache 2>/dev/null && test -w $(CACHE)/ccache && echo yes),)
export CCACHE_DIR ?= $(CACHE)/ccache
endif
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_NOHASHDIR ?= 1

ifneq ($(V),1)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2);
endif

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

cflags_all := -std=c11 -D_GNU_SOURCE -DFG_VERSION='"$(VERSION)"' -Iinclude -I. -MMD -MP \
	-fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE -pthread
ldflags_all := -pie -Wl,-z,relro,-z,now -Wl,--as-needed -pthread
ifeq ($(SANITIZE),)
cflags_all += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
else
cflags_all += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
# Runtimes that are linked in start a small process in 12 ms, 38 with the look for leaks; those of shared libraries in 14 and 60.
ldflags_all += -fsanitize=$(SANITIZE) $(if $(findstring gcc,$(CC)),-static-libasan -static-libubsan)
endif
ifeq ($(DEVELOPER),1)
cflags_all += -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wwrite-strings -Wvla -Wswitch-enum -Wformat=2 -Wundef -Wold-style-definition -Wno-format-truncation
endif

define sep


endef

# $(call pkg,--cflags|--libs,NAMES): pkg-config once a use, with a clear message
pkg = $(if $(2),$(or $(shell pkg-config $(1) $(2) 2>/dev/null || echo -D_FG_PKG_MISSING),))
libpath = $(patsubst %,$(O)/lib/lib%.a,$(1))
objs = $(patsubst %.c,$(O)/obj/%.o,$(1))

# objects(sources, packages)
define objects
$(call objs,$(1)): pkg_cflags += $$(call pkg,--cflags,$(2))
ALL_SOURCES += $(1)
endef

define library
$(call objects,$(2),$(3))
$(call libpath,$(1)): $(call objs,$(2))
pkgs_$(1) := $(3)
LIBRARIES += $(1)
ALL_PKGS += $(3)
endef

define link_rule
$(1): $(call objs,$(2)) $(call libpath,$(3))
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CFLAGS) $$(ldflags_all) $$(LDFLAGS) -o $$@ $(call objs,$(2)) -Wl,--start-group $(call libpath,$(3)) -Wl,--end-group \
		$$(call pkg,--libs,$$(sort $(4) $$(foreach l,$(3),$$(pkgs_$$(l))))) $(5)
endef

define program
$(call objects,$(2),$(4))
$(call link_rule,$(O)/bin/$(1),$(2),$(3),$(4),$(5))
PROGRAMS += $(O)/bin/$(1)
ALL_PKGS += $(4)
endef

define unit_test
$(call objects,$(2),$(4) check)
$(call link_rule,$(O)/test/$(1),$(2),$(3),$(4) check,$(5))
UNIT_TESTS += $(O)/test/$(1)
endef

# Scripts that print TAP: QUICK_TESTS run in check-quick and check, LAB_TESTS (scenarios on the emulated Xen) in check only.
# SLOW_TESTS, of those and of the unit tests, are left to check: each takes more than 15 s of a quiet machine.
SLOW_TESTS := test/netns/filter_index.py test/netns/filter_crash.py test/netns/filter_state.py test/netns/vif_fixgate.py \
	test/server/deadlines.py test/server/postgres.py test/server/clock.py test/unit/server/bundle/fixgate_fix.py \
	test/net/catalogue.py test/net/hostile.py crash/crash_sweep unit/lib/bundle/test_version
# The same in both builds, and longer than 10 s: check runs these with sanitizers only.  Not those that allow more memory or time there, nor
# those of fixgate-net, which has its sandbox in the plain build alone.
SANITIZED_TESTS := test/netns/vif_fixgate.py test/server/rollout_flow.py unit/lib/bundle/test_version
# These start netback-filter hundreds of times: it does not look for leaks at each end there (36 ms), but in all other tests.
LEAKS_ELSEWHERE := test/netns/filter_index.py test/netns/filter_crash.py test/netns/filter_state.py
# With sanitizers a test is a process of its own (40 ms each, for leaks at its end) only where it needs one: a process that is confined, a
# folder or a counter of its own.  Without sanitizers each is.
FORKED_TESTS := unit/server/store/test_store unit/server/store/test_catalogue unit/dom0-agent/net/test_sandbox unit/dom0-agent/ctl/test_xl_conf
# These without sanitizers only: one asks the kernel without a program of ours, one is a bench, one tests the lab, one asks PostgreSQL.
PLAIN_TESTS := test/netns/kernel_facts.py test/bench/smoke test/xenlab/selftest.py test/server/postgres.py
QUICK_TESTS := test/readme.py test/xenlab/selftest.py
# The longest first: at the end of check two of them run beside each other.
LAB_TESTS := $(addprefix test/xenlab/scenarios/,filter.py main_job.py service.py faults.py filter_hvm.py filter_netns.py crash.py)
PROGRAMS :=
UNIT_TESTS :=
LIBRARIES :=
ALL_SOURCES :=
ALL_PKGS :=
EXTRA :=
MODULES := $(wildcard */module.mk)
include $(MODULES)

$(O)/obj/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags_all) $(CFLAGS) $(pkg_cflags) -c -o $@ $<

$(O)/lib/lib%.a:
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

-include $(patsubst %.c,$(O)/obj/%.d,$(ALL_SOURCES))

JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: help deps all programs check-deps demo check check-quick check-asan lint bench install clean flow-doc tests
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) | sort -u

deps: ## install what building, testing and the lab need (Debian packages; root)
	@test/deps

all: check-deps programs $(EXTRA) ## build the programs into build/bin

check-deps:
	@for p in $(sort $(ALL_PKGS)); do pkg-config --exists $$p || { \
		echo "package '$$p' (pkg-config) is missing: run 'make deps' as root" >&2; exit 1; }; done

programs: $(PROGRAMS)

tests: $(UNIT_TESTS)

demo: deps ## run the main job on the emulated Xen and print its timeline
	@$(MAKE) --no-print-directory $(JOBS) all
	@test/xenlab/demo

check: deps ## all tests: unit, sanitizers, namespaces, the emulated Xen
	@$(MAKE) --no-print-directory $(JOBS) all tests
	@test/run --full

check-quick: ## unit, namespace and server tests but the slow ones (two minutes on two CPUs)
	@$(MAKE) --no-print-directory $(JOBS) all tests
	@test/run --quick

lint: ## format, static analysis, size budget, banned functions, scripts, man pages
	@test/lint

bench: all ## measurements side by side, as ratios
	@test/bench/run

flow-doc: ## write the state table of docs/flow.md from the code
	@test/flow-doc docs/flow.md

install: all $(INSTALL_HOOKS) ## install into $(DESTDIR)$(PREFIX)
	$(Q)install -d $(addprefix $(DESTDIR),$(PREFIX)/sbin $(PREFIX)/bin $(PREFIX)/libexec/fixgate $(PREFIX)/lib/fixgate \
		/etc/fixgate /etc/xen/scripts $(PREFIX)/share/man/man1 $(PREFIX)/share/man/man5 $(PREFIX)/share/man/man8 $(PREFIX)/lib/systemd/system)
	$(Q)install -s -m 755 $(addprefix $(O)/bin/,fixgated netback-filter fixgate-server) $(DESTDIR)$(PREFIX)/sbin/
	$(Q)install -s -m 755 $(addprefix $(O)/bin/,fixgatectl fixgate-fix fixgate-admin) $(DESTDIR)$(PREFIX)/bin/
	$(Q)install -s -m 755 $(O)/bin/fixgate-net $(DESTDIR)$(PREFIX)/libexec/fixgate/
	$(Q)install -m 755 netback-filter/vif-fixgate $(DESTDIR)/etc/xen/scripts/
	$(Q)test -e $(DESTDIR)/etc/fixgate/vif.conf || install -m 644 netback-filter/vif.conf $(DESTDIR)/etc/fixgate/
	$(Q)install -m 644 $(O)/fixvm/vmlinux $(O)/fixvm/initrd $(DESTDIR)$(PREFIX)/lib/fixgate/
	$(Q)for s in 1 5 8; do install -m 644 docs/man/*.$$s $(DESTDIR)$(PREFIX)/share/man/man$$s/; done

clean: ## remove the build folder
	rm -rf $(O)

print-%:
	@echo '$($*)'
