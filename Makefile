# The only build file. `make help` lists the targets.
#
#   make                    the three programs, in build/<flavour>/bin
#   make SAN=address,undefined CC=clang V=1 …
.DEFAULT_GOAL := all
SHELL := /bin/bash

VERSION := 0.1.0
PREFIX ?= /usr/local
CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif

comma := ,
empty :=
space := $(empty) $(empty)
flavour := $(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(FAULTS),-faults)
B := build/$(flavour)
Q := $(if $(V),,@)

# Libraries that the system's packages are too old for stand in build/deps (integration/deps.sh).
export PKG_CONFIG_PATH := $(CURDIR)/build/deps/lib/pkgconfig$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))
# Not every make hands exported variables on to $(shell …).
pkgconf := PKG_CONFIG_PATH='$(PKG_CONFIG_PATH)' pkg-config
pkgs := rdkafka hiredis hiredis_ssl openssl yaml-0.1 libuv libmicrohttpd jansson libisal libxxhash
pkg_floor := rdkafka >= 2.6.1 hiredis >= 1.0

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wformat=2 -Wundef -Wwrite-strings -Werror
OPT ?= -O2 -g
CFLAGS ?= $(OPT)
cflags := -std=c11 -D_GNU_SOURCE -I. -DRWAL_VERSION='"$(VERSION)"' $(WARN) -fno-omit-frame-pointer -fstack-protector-strong \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all,-D_FORTIFY_SOURCE=2 -fPIE) \
	$(if $(FAULTS),-DFAULTS) $(patsubst -I%,-isystem %,$(shell $(pkgconf) --cflags $(pkgs) 2>/dev/null))
ldflags := $(if $(SAN),-fsanitize=$(SAN),-pie -Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now)
libs := $(shell $(pkgconf) --libs $(pkgs) 2>/dev/null) -Wl,-rpath,$(CURDIR)/build/deps/lib -llzf -lm -pthread

obj = $(patsubst %.c,$(B)/%.o,$(wildcard $(1)))
common_obj := $(call obj,common/*.c)
journal_obj := $(call obj,journal/src/*.c)
mirror_obj := $(call obj,mirror/src/*.c)
applier_obj := $(call obj,applier/src/*.c)
programs := redis-journal kafka-mirror redis-applier
redis-journal_obj := $(journal_obj)
kafka-mirror_obj := $(mirror_obj)
redis-applier_obj := $(applier_obj)
bins := $(programs:%=$(B)/bin/%)

# A test program a file; it may use its component's objects (but main.o) and those of common/.
tests := $(patsubst %.c,$(B)/%,$(wildcard */test/test_*.c))
fuzzers := $(patsubst %.c,$(B)/%,$(wildcard */fuzz/fuzz_*.c))
sources := $(wildcard common/*.[ch] */src/*.[ch] */test/*.[ch] */fuzz/*.[ch])

.PHONY: all help deps check-libs test unit san fuzz lint fmt e2e demo bench test-compose soak install \
	clean journal mirror applier common integration
all: $(bins)

help:
	@sed -n 's/^#: //p' Makefile

#: all           builds the three programs into build/<flavour>/bin (SAN=address,undefined, CC=clang)
#: deps          installs Debian's packages, librdkafka and hiredis where too old, Kafka's jars
deps:
	$(Q)integration/deps.sh

check-libs:
	$(Q)pkg-config --exists '$(firstword $(pkgs)) >= 2.6.1' 'hiredis >= 1.0' $(pkgs) || { \
	    pkg-config --print-errors --exists 'rdkafka >= 2.6.1' 'hiredis >= 1.0' $(pkgs); \
	    echo "error: libraries are missing or too old (librdkafka before 2.6.1 fails SCRAM against Kafka 4); try 'make deps'" >&2; exit 1; }

$(B)/%.o: %.c | check-libs
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $(flavour) $<")
	$(Q)$(CC) $(cflags) $(CFLAGS) -MMD -MP -c -o $@ $<

.SECONDEXPANSION:
$(bins): $(B)/bin/%: $$($$*_obj) $(common_obj)
	@mkdir -p $(@D) build && [ -f build/.gitignore ] || echo '*' >build/.gitignore
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ldflags) -o $@ $^ $(libs)

component = $(firstword $(subst /, ,$(1)))
part_obj = $(filter-out %/main.o,$($(call component,$(1))_obj)) $(if $(filter common,$(call component,$(1))),,$(common_obj))
$(tests): $(B)/%: $(B)/%.o $$(call part_obj,$$*)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ldflags) -o $@ $^ $(libs) -lcmocka

$(fuzzers): $(B)/%: $(B)/%.o $$(call part_obj,$$*)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ldflags) -fsanitize=fuzzer -o $@ $^ $(libs)

#: unit          builds and runs the C unit tests (SAN=… for sanitizers)
unit: $(tests)
	$(Q)integration/run-unit.sh $(tests)

#: san           the unit tests under ASan and UBSan
san:
	$(Q)$(MAKE) unit SAN=address,undefined

#: fuzz          every fuzzer for FUZZ_SECONDS (10) each, from its seed corpus
FUZZ_SECONDS ?= 10
fuzz:
	$(Q)$(MAKE) fuzz-run CC=clang SAN=address,undefined OPT='-O1 -g -fsanitize=fuzzer-no-link'
.PHONY: fuzz-run
fuzz-run: $(fuzzers)
	$(Q)integration/run-fuzz.sh $(FUZZ_SECONDS) $(fuzzers)

#: lint          formatting, sizes, layers, writable globals
lint: all
	$(Q)integration/lint.sh $(B)

#: fmt           formats all C files
fmt:
	$(Q)clang-format -i $(sources)

#: e2e           the tests on real Redis and Kafka; T='-k name' picks some
e2e: all
	$(Q)RWAL_BIN=$(CURDIR)/$(B)/bin build/venv/bin/python -m pytest -q integration $(T)

#: test          everything that CI runs: lint, both compilers, unit under sanitizers, fuzz, e2e
test: deps
	$(Q)integration/run-tests.sh

#: demo          runs the whole pipeline on a local Redis and Kafka and proves DR equals DC (KEEP=1: leaves it up)
demo: deps
	$(Q)$(MAKE) all
	$(Q)RWAL_BIN=$(CURDIR)/$(B)/bin build/venv/bin/python integration/demo.py $(if $(KEEP),--keep)

#: bench         ratios against a native replica and MirrorMaker 2, measured in one run
bench: deps
	$(Q)$(MAKE) all
	$(Q)RWAL_BIN=$(CURDIR)/$(B)/bin build/venv/bin/python integration/bench.py

#: test-compose  runs docker-compose.yml for real where a container engine is there
test-compose:
	$(Q)integration/compose-test.sh

#: install       into $(DESTDIR)$(PREFIX); programs=redis-journal picks one
# Linked anew, since the build's own run path must not stay in what is installed. Libraries of
# build/deps, which the system lacks, go into a folder of ours beside the programs.
private_dir := lib/redis-wal
private_libs := $(notdir $(wildcard build/deps/lib/*.so.*))
install_libs = $(filter-out -Wl$(comma)-rpath%,$(libs)) $(if $(private_libs),-Wl$(comma)-rpath$(comma)'$$ORIGIN/../$(private_dir)')
$(programs:%=$(B)/install/%): $(B)/install/%: $(B)/bin/%
	@mkdir -p $(@D)
	$(Q)$(CC) $(ldflags) -o $@ $($*_obj) $(common_obj) $(install_libs)

install: $(programs:%=$(B)/install/%)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/redis-wal
	install -m 755 $^ $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(foreach p,$(programs:redis-%=%),$(p:kafka-%=%)/$(p:kafka-%=%).example.yaml) common/FORMAT.md \
	    $(DESTDIR)$(PREFIX)/share/redis-wal
	$(if $(private_libs),$(Q)for lib in $$(readelf -d $^ | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u); do \
	    [ ! -f build/deps/lib/$$lib ] || install -D -m 644 build/deps/lib/$$lib $(DESTDIR)$(PREFIX)/$(private_dir)/$$lib || exit 1; \
	done)

#: clean         removes build/<flavour>; build/deps and Kafka's jars stay
clean:
	rm -rf $(B)

-include $(patsubst %.o,%.d,$(common_obj) $(journal_obj) $(mirror_obj) $(applier_obj)) $(addsuffix .d,$(tests) $(fuzzers))
