# libalknet, alknetd and alknet.  `make help` lists the targets.
#
# One makefile, no recursion. What is in lib/, cli/, examples/, tests/ and bench/ is found by name, so a new file or folder
# needs no line here. Everything made lies under $(B); what the system lacks is built once under build/deps. Five builds of
# the objects live side by side:
#   $(B)/obj        release                         $(B)/cov/obj    gcov, for tests
#   $(B)/san/obj    sanitizers, for tests           $(B)/fuzz/obj   clang and libFuzzer
#   $(B)/tsan/obj   the thread sanitizer, for tests with threads

VERSION   := $(shell sed -n 's/^\#define ALK_VERSION "\(.*\)"/\1/p' include/alknet/alknet.h)
# 0.x breaks with each minor version, and so its number is in the name.
SOVERSION := $(if $(filter 0.%,$(VERSION)),$(basename $(VERSION)),$(firstword $(subst ., ,$(VERSION))))
B         ?= build
PREFIX    ?= /usr/local
DESTDIR   ?=
LIBDIR    ?= $(PREFIX)/lib
CFLAGS    ?= -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2
PYTHON    ?= python3
FUZZ_SECONDS ?= 60
SOAK_ROUNDS  ?= 20
# Only the tests whose name contains this:  make check ONLY=schema
ONLY ?=
# The file of lib/ whose gaps are listed:  make coverage COVER=lib/core/start.c
COVER ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
# A -j on the command line wins.
MAKEFLAGS += -j$(shell nproc) --no-builtin-rules
ifndef V
Q := @
endif

# ---- dependencies -------------------------------------------------------------------------------------------------

# flags.mk: what pkg-config says, once the script has seen to it that all is there.
DEPS  := $(CURDIR)/build/deps
GOALS := $(or $(MAKECMDGOALS),all)
ifneq ($(filter-out clean help format format-check symbols uninstall,$(GOALS)),)
LEVELS := run $(filter fuzz bench,$(GOALS)) $(if $(strip $(filter check soak tsan abi coverage interop,$(GOALS)) \
    $(foreach build,san tsan cov fuzz cost,$(findstring /$(build)/,$(GOALS)))),check)
include $(DEPS)/flags.mk
endif

PC := PKG_CONFIG_PATH=$(DEPS)/lib/pkgconfig:$(PKG_CONFIG_PATH) pkg-config
# Of the library; libuv is named to whoever links with it, the others are its own affair.
PRIVATE := libpcre2-8 mbedtls mbedx509 mbedcrypto yyjson libllhttp libnghttp2 libngtcp2 libngtcp2_crypto_gnutls yaml-0.1 libcurl
MODULES := libuv $(PRIVATE)
# Compiled against, and loaded by whoever opens a connection to NATS; see lib/uv/nats_api.h.
LOADED := libnats

$(DEPS)/flags.mk: FORCE
	@for level in $(LEVELS); do pkgconfig/deps.sh $$level || exit; done
	@{ echo "DEP_CFLAGS := $$($(PC) --cflags $(MODULES) $(LOADED) | sed 's/-I/-isystem /g')"; \
	   echo "DEP_LIBS := $$($(PC) --libs $(MODULES)) -lwslay -lm -ldl"; \
	   echo "PRIVATE_LIBS := $$($(PC) --libs $(PRIVATE)) -lwslay -lm -ldl"; \
	   echo "CHECK_LIBS := $$($(PC) --libs check 2>/dev/null)"; \
	   echo "BUNDLED := $$(ls $(DEPS)/lib/*.a 2>/dev/null | tr '\n' ' ')"; } >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
.PHONY: FORCE
FORCE:

# All of yyjson goes into what others link with, since alknet/yyjson.h gives its values to them.
YYJSON_A := $(filter %/libyyjson.a,$(BUNDLED))

# ---- flags --------------------------------------------------------------------------------------------------------

WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
# The layers below the loop see no more of the system than POSIX.
PURE      = $(filter lib/%,$(filter-out lib/uv/% lib/serve/%,$<))
INCLUDE   = -Iinclude $(if $(filter lib/% tests/% bench/%,$<),-Ilib) $(if $(filter cli/% tests/%,$<),-Icli) \
            $(if $(filter tests/%,$<),-Itests) $(DEP_CFLAGS)
BASE      = -std=c11 $(if $(PURE),-D_POSIX_C_SOURCE=200809L,-D_GNU_SOURCE) $(WARN) $(INCLUDE) $(CPPFLAGS) -MMD -MP -fPIC \
            -fvisibility=hidden -pthread
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=all
# Variables that nobody has set have values that no test takes for good ones.
DEBUG    := -Werror -O1 -g -fno-omit-frame-pointer -ftrivial-auto-var-init=pattern $(SAN)
THREADS  := -fsanitize=thread
# Without optimization each branch of the source is one of the object; what only assertions ask for is none, nor is what
# yyjson.h would have inlined.
COV      := -Werror -O0 -g -DNDEBUG -Dyyjson_inline=inline --coverage -fprofile-update=atomic
LINK     := -pthread -Wl,--as-needed -Wl,-z,relro,-z,now
WHOLE     = -Wl,--whole-archive $(1) $(YYJSON_A) -Wl,--no-whole-archive
CLANG    ?= $(or $(shell command -v clang-14),clang)
CLANG_FORMAT ?= clang-format-14
export CLANG CLANG_FORMAT

# ---- sources ------------------------------------------------------------------------------------------------------

LIB_SRC     := $(wildcard lib/*/*.c)
ALKNETD_SRC := $(wildcard cli/alknetd/*.c)
ALKNET_SRC  := $(wildcard cli/alknet/*.c)
EXAMPLE_SRC := $(wildcard examples/[0-9]*.c)
PLUGIN_SRC  := $(wildcard examples/plugin_*.c)
TEST_SRC    := $(wildcard tests/unit/*/test_*.c tests/sim/test_*.c tests/uv/test_*.c tests/oom/test_*.c \
                 tests/soak/test_chaos*.c)
SOAK_SRC    := $(filter-out $(TEST_SRC),$(wildcard tests/soak/test_*.c))
FUZZ_SRC    := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRC   := $(wildcard bench/*.c)
COST_SRC    := $(wildcard tests/cost/*.c tests/support/*.c)
HEADERS     := $(wildcard include/alknet/*.h)
PROGRAMS    := alknetd alknet

fuzz = $(patsubst %.c,$(B)/fuzz/obj/%.o,$(1))

SHARED   := $(B)/lib/libalknet.so.$(SOVERSION)
STATIC   := $(B)/lib/libalknet.a
REL_BIN  := $(PROGRAMS:%=$(B)/bin/%)
SAN_BIN  := $(PROGRAMS:%=$(B)/san/bin/%)
REL_EX   := $(EXAMPLE_SRC:%.c=$(B)/%) $(PLUGIN_SRC:%.c=$(B)/%.so) $(B)/examples/live/index.html
SAN_EX   := $(EXAMPLE_SRC:%.c=$(B)/san/%) $(PLUGIN_SRC:%.c=$(B)/san/%.so)
COV_BIN  := $(PROGRAMS:%=$(B)/cov/bin/%)
COV_EX   := $(EXAMPLE_SRC:%.c=$(B)/cov/%) $(PLUGIN_SRC:%.c=$(B)/cov/%.so) $(B)/examples/live/index.html
TEST_BIN := $(TEST_SRC:%.c=$(B)/san/%)
# Those that send and receive so much that a narrow network makes a difference.
NARROW_BIN := $(filter-out $(addprefix $(B)/san/tests/uv/test_,abi close_within fetch_retry loops mcp_client),$(filter $(B)/san/tests/uv/%,$(TEST_BIN)))
TSAN_BIN := $(patsubst %,$(B)/tsan/tests/uv/test_%,host host_threads loops nats quic_loops)
TSAN_PROGRAMS := $(B)/tsan/bin/alknetd $(B)/tsan/bin/alknet
# Without the random ones: what they reach, they may not reach the next time.
COV_TEST := $(patsubst %.c,$(B)/cov/%,$(filter-out tests/soak/%,$(TEST_SRC)))
SOAK_BIN := $(SOAK_SRC:%.c=$(B)/san/%)
FUZZ_BIN := $(FUZZ_SRC:tests/%.c=$(B)/%)
BENCH_BIN := $(BENCH_SRC:%.c=$(B)/%)

# ---- objects, libraries, programs ---------------------------------------------------------------------------------

define say
@mkdir -p $(@D)
@echo '  $(1)$@'
endef
# Files of several folders have the same name: q keeps them all.
define archive
@mkdir -p $(@D)
$(Q)rm -f $@ && $(AR) qcs $@ $(filter %.o,$^)
endef
# One object, in which only the exported names are global: no clash with another copy of what is bundled in it.
define merge
$(call say,AR    )
$(Q)$(CC) -r -nostdlib -o $(<D)/merged.o $(call WHOLE,$<) $(BUNDLED)
$(Q)objcopy --wildcard --keep-global-symbol='alk_*' --keep-global-symbol='*yyjson_*' $(<D)/merged.o
$(Q)rm -f $@ && $(AR) rcs $@ $(<D)/merged.o
endef
# LINKER FLAGS LIBRARIES
define link
$(call say,LD    )
$(Q)$(1) -o $@ $(filter %.o,$^) $(or $(2),$(filter %.a,$^)) $(LINK) $(LDFLAGS) $(3) $(DEP_LIBS)
endef
# Plugins find the library's functions in alknetd, all of them, also those that alknetd has no use for.
HOST = -Wl,--whole-archive $(filter %.a,$^) -Wl,--no-whole-archive -Wl,--dynamic-list=$(B)/obj/exports.list

# What is built for release, with sanitizers and with gcov:  $(call build,FOLDER,COMPILER AND FLAGS,LINKER AND FLAGS)
# alknet.a is for tests and benchmarks, which use functions that are not exported. Programs and examples are what any embedder
# can write: they see the public headers, and link with the library that is installed.
define build
$(1)/obj/%.o: %.c Makefile
	$$(call say,CC    )
	$$(Q)$(2) -c -o $$@ $$<
$(1)/obj/alknet.a: $(LIB_SRC:%.c=$(1)/obj/%.o); $$(archive)
$(1)/lib/libalknet.a: $(1)/obj/alknet.a; $$(merge)
$(1)/bin/alknetd: $(ALKNETD_SRC:%.c=$(1)/obj/%.o) $(1)/lib/libalknet.a $(B)/obj/exports.list
	$$(call link,$(3),$$(HOST))
$(1)/bin/alknet: $(ALKNET_SRC:%.c=$(1)/obj/%.o) $(1)/lib/libalknet.a; $$(call link,$(3))
$(1)/examples/%.so: $(1)/obj/examples/%.o
	$$(call link,$(3) -shared)
	$$(Q)chmod go-w $$@ # alknetd loads no other
$(1)/examples/%: $(1)/obj/examples/%.o $(1)/lib/libalknet.a; $$(call link,$(3))
endef
$(eval $(call build,$(B),$$(CC) $$(BASE) $$(CFLAGS),$$(CC) $$(CFLAGS)))
$(eval $(call build,$(B)/san,$$(CC) $$(BASE) $$(DEBUG),$$(CC) $$(SAN)))
$(eval $(call build,$(B)/tsan,$$(CC) $$(BASE) -Werror -O1 -g $$(THREADS),$$(CC) $$(THREADS)))
$(eval $(call build,$(B)/cov,$$(CC) $$(BASE) $$(COV),$$(CC) --coverage))

$(B)/obj/exports.list: Makefile
	$(call say,GEN   )
	$(Q)echo '{ alk_*; yyjson_*; unsafe_yyjson_*; };' >$@

$(SHARED): $(B)/obj/alknet.a lib/alknet.map
	$(call say,LD    )
	$(Q)$(CC) -shared -o $@ -Wl,-soname,$(@F) -Wl,--version-script=lib/alknet.map -Wl,--no-undefined $(LINK) $(LDFLAGS) \
	    $(call WHOLE,$<) $(DEP_LIBS)
	$(Q)ln -sf $(@F) $(B)/lib/libalknet.so

# A folder for alknetd's static site.
$(B)/examples/live/index.html: examples/live/index.html clients/js/alknet.js
	@mkdir -p $(@D)
	$(Q)cp $^ $(@D)/

$(B)/bench/%: $(B)/obj/bench/%.o $(B)/obj/alknet.a; $(call link,$(CC) $(CFLAGS))
$(B)/bench/bus: DEP_LIBS += -lnats

# The programs on Check:  $(call tests,FOLDER,LINKER AND FLAGS)
SUPPORT_SRC := $(wildcard tests/support/*.c) cli/alknetd/log.c cli/alknetd/signals.c cli/alknet/buffer.c cli/alknet/events.c
define tests
$(1)/obj/support.a: $(SUPPORT_SRC:%.c=$(1)/obj/%.o); $$(archive)
$(1)/tests/%: $(1)/obj/tests/%.o $(1)/obj/support.a $(1)/obj/alknet.a; $$(call link,$(2),,$$(CHECK_LIBS))
endef
$(eval $(call tests,$(B)/san,$$(CC) $$(SAN)))
$(eval $(call tests,$(B)/tsan,$$(CC) $$(THREADS)))
$(eval $(call tests,$(B)/cov,$$(CC) --coverage))
# Its instructions are counted, so it is built like what is released.
$(B)/tests/cost/cost: $(COST_SRC:%.c=$(B)/obj/%.o) $(B)/obj/alknet.a
	$(call link,$(CC) $(CFLAGS),,$(CHECK_LIBS))

$(B)/fuzz/obj/%.o: %.c Makefile
	$(call say,FUZZ  )
	$(Q)$(CLANG) $(BASE) $(DEBUG) -fsanitize=fuzzer-no-link $(if $(filter tests/%,$<),-Wno-missing-prototypes) -c -o $@ $<
$(B)/fuzz/obj/alknet.a: $(call fuzz,$(LIB_SRC)); $(archive)
$(B)/fuzz/%: $(B)/fuzz/obj/tests/fuzz/%.o $(B)/fuzz/obj/alknet.a
	$(call link,$(CLANG) $(SAN) -fsanitize=fuzzer)

# ---- targets ------------------------------------------------------------------------------------------------------

# FORCE too: nothing is made again for the sake of a file that is only intermediate (.SECONDARY).
.PHONY: FORCE all run demo-hub demo-cluster check coverage soak fuzz bench install uninstall format format-check symbols abi clean help

all: $(SHARED) $(STATIC) $(REL_BIN) $(REL_EX) ## build the library, the programs and the examples

RUN  ?= $(B)/run
PORT ?= 4780
run: $(REL_BIN) ## start alknetd on loopback; configuration and token in build/run (PORT=4780 for the first start)
	$(Q)exec cli/alknetd/run.sh "$(B)/bin" "$(RUN)" $(if $(filter-out default file,$(origin PORT)),$(PORT))

demo-hub: $(REL_BIN) ## start a hub and two spokes over QUIC on loopback, and show what goes through the hub
	$(Q)exec cli/alknetd/demo-hub.sh "$(B)/bin" "$(B)/demo-hub"

demo-cluster: $(REL_BIN) ## start three hubs, six spokes and a NATS broker on loopback, kill one hub and the broker, and show what goes on
	$(Q)exec cli/alknetd/demo-cluster.sh "$(B)/bin" "$(B)/demo-cluster"

# The tests' environment: where what they test lies.
export ALKNET_ROOT := $(CURDIR)
export ALKNET_BUILD := $(abspath $(B))
export ALKNET_BIN := $(abspath $(B)/san/bin)
export ALKNET_EXAMPLES := $(abspath $(B)/san/examples)
ifndef ALKNET_TEST_DATA
ifneq ($(wildcard ../shared/data),)
export ALKNET_TEST_DATA := $(abspath ../shared/data)
endif
endif
RUN_TESTS = $(PYTHON) tests/run.py $(if $(ONLY),--only '$(ONLY)')

check: all $(SAN_BIN) $(SAN_EX) $(TEST_BIN) $(TSAN_BIN) $(FUZZ_BIN) $(B)/tests/cost/cost $(B)/san/tests/clients/runner ## build with sanitizers and run every test (ONLY=part of a name)
	$(Q)$(RUN_TESTS) $(TEST_BIN:%=check:%) $(TSAN_BIN:%=check:%) $(patsubst %,narrow:%,$(NARROW_BIN)) \
	    $(FUZZ_BIN:%=fuzz:%) $(patsubst %,pytest:%,$(wildcard tests/system/test_*.py)) $(patsubst %,shell:%,$(wildcard tests/check_*.sh))

coverage: $(if $(COVER),,$(COV_BIN) $(COV_EX) $(COV_TEST)) ## run the tests, say how much of lib/ they reach (COVER=FILE: the last run's gaps)
ifndef COVER
	$(Q)find $(B)/cov/obj -name '*.gcda' -delete
	$(Q)ALKNET_BIN=$(abspath $(B)/cov/bin) ALKNET_EXAMPLES=$(abspath $(B)/cov/examples) $(RUN_TESTS) \
	    $(COV_TEST:%=check:%) $(patsubst %,pytest:%,$(wildcard tests/system/test_*.py))
endif
	$(Q)$(PYTHON) tests/coverage.py $(B)/cov/obj $(COVER)

soak: all $(SAN_BIN) $(SAN_EX) $(TEST_BIN) $(SOAK_BIN) ## run what has threads, sockets or timers SOAK_ROUNDS (20) times
	$(Q)$(RUN_TESTS) --repeat $(SOAK_ROUNDS) $(patsubst %,check:%,$(filter-out $(B)/san/tests/unit/%,$(TEST_BIN)) $(SOAK_BIN)) \
	    $(patsubst %,pytest:%,$(wildcard tests/system/test_*.py tests/soak/test_*.py))

tsan: $(TSAN_BIN) $(TSAN_PROGRAMS) $(SAN_EX) ## run what several threads share under the thread sanitizer: workers, clusters of hubs, and what make check has of it
	$(Q)ALKNET_BIN=$(abspath $(B)/tsan/bin) $(RUN_TESTS) \
	    $(TSAN_BIN:%=check:%) $(patsubst %,pytest:tests/system/test_%.py,workers quic_workers cluster cluster_services)

interop: $(SAN_BIN) $(B)/san/tests/interop/mcp_client ## QUIC with other stacks: aioquic, as make check does; quic-go and quinn, for which Go and Rust are needed; linters of OpenAPI; clients of MCP and NATS; a first build on a bare Debian 12
	$(Q)tests/interop/run.sh $(B)/interop $(RUN_TESTS) $(patsubst %,pytest:%,$(wildcard tests/interop/test_*.py)) pytest:tests/system/test_quic_aioquic.py shell:tests/interop/bare_debian.sh

fuzz: $(FUZZ_BIN) ## fuzz every parser for FUZZ_SECONDS (60) each; what it learns stays in build/fuzz/corpus
	$(Q)$(RUN_TESTS) --fuzz-seconds $(FUZZ_SECONDS) --fuzz-keep $(FUZZ_BIN:%=fuzz:%)

bench: all $(BENCH_BIN) $(B)/lib/pkgconfig/libalknet.pc ## measure, side by side with others (BENCH_ARGS=...)
	$(Q)PATH="$$PATH:/usr/sbin:$(DEPS)/bin" ALKNET_BIN=$(abspath $(B)/bin) ALKNET_BENCH=$(abspath $(B)/bench) $(PYTHON) bench/run.py $(BENCH_ARGS)

include pkgconfig/install.mk

format: ## format the C files in place
	$(Q)$(CLANG_FORMAT) -i $$(find include lib cli examples tests bench -name '*.[ch]')

format-check: ## say which C files are not formatted
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $$(find include lib cli examples tests bench -name '*.[ch]')

symbols: ## write tests/symbols.txt anew from the public headers
	$(Q)tests/check_symbols.sh --update

abi: $(SHARED) ## write tests/libalknet.abi anew from the library
	$(Q)tests/check_abi.sh --update

clean: ## remove what was built (build/deps and build/run stay)
	$(Q)find $(B) -mindepth 1 -maxdepth 1 ! -name deps ! -name run ! -name .deps.lock -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile pkgconfig/install.mk | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

-include $(shell find $(B) -name '*.d' -not -path '$(B)/deps/*' -not -path '$(B)/run/*' 2>/dev/null)
