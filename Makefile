# libalknet, alknetd and alknet.  `make help` lists the targets.
#
# One makefile, no recursion. What is in lib/, cli/, examples/, tests/ and bench/ is found by name, so a new file needs no
# line here. Everything made lies under $(B); what the system lacks is built once under build/deps by pkgconfig/deps.sh,
# which runs when make starts, for the level that the goals need. Three builds of the library's objects live side by side:
#   $(B)/obj    release       $(B)/san/obj    sanitizers, for tests       $(B)/fuzz/obj    clang and libFuzzer

VERSION   := $(shell sed -n 's/^\#define ALK_VERSION "\(.*\)"/\1/p' include/alknet/alknet.h)
SOVERSION := 0
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

NEED_NOTHING := clean help format format-check symbols uninstall
GOALS := $(or $(MAKECMDGOALS),all)
LEVELS := $(sort $(if $(filter-out $(NEED_NOTHING),$(GOALS)),run) $(filter fuzz bench,$(GOALS)) \
            $(if $(filter check soak,$(GOALS))$(findstring /san/,$(GOALS))$(findstring /fuzz/,$(GOALS)),check))
$(foreach level,$(LEVELS),$(if $(shell pkgconfig/deps.sh $(level) >&2 && echo ok),,$(error dependencies are missing)))

DEPS     := $(CURDIR)/build/deps
BUNDLED  := $(if $(LEVELS),$(wildcard $(DEPS)/lib/*.a))
PC       := PKG_CONFIG_PATH=$(DEPS)/lib/pkgconfig:$(PKG_CONFIG_PATH) pkg-config
# Of the library; libuv is named to whoever links with it, the others are its own affair.
PRIVATE  := libpcre2-8 mbedtls mbedx509 mbedcrypto yyjson libllhttp
MODULES  := libuv $(PRIVATE) yaml-0.1 libcurl
ifneq ($(LEVELS),)
DEP_CFLAGS := $(patsubst -I%,-isystem %,$(shell $(PC) --cflags $(MODULES)))
DEP_LIBS   := $(shell $(PC) --libs $(MODULES)) -lwslay -lm
endif
# All of yyjson goes into what others link with, since alknet/yyjson.h gives its values to them.
YYJSON_A := $(filter %/libyyjson.a,$(BUNDLED))

# ---- flags --------------------------------------------------------------------------------------------------------

WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
INCLUDE  := -Iinclude -Ilib $(DEP_CFLAGS)
PURE     := lib/base/% lib/core/% lib/wire/% lib/adapt/%
# The layers below the loop see no more of the system than POSIX.
standard  = -std=c11 $(if $(filter $(PURE),$<),-D_POSIX_C_SOURCE=200809L,-D_GNU_SOURCE)
BASE      = $(standard) $(WARN) $(INCLUDE) $(CPPFLAGS) -MMD -MP -fPIC -fvisibility=hidden -pthread
CC_REL    = $(CC) $(BASE) $(CFLAGS)
CC_SAN    = $(CC) $(BASE) -Werror -O1 -g -fno-omit-frame-pointer $(SAN)
CC_FUZZ   = $(CLANG) $(BASE) -Werror -O1 -g -fno-omit-frame-pointer $(SAN) -fsanitize=fuzzer-no-link
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=all
LINK     := -pthread -Wl,--as-needed -Wl,-z,relro,-z,now
WHOLE     = -Wl,--whole-archive $(1) $(YYJSON_A) -Wl,--no-whole-archive
CLANG    ?= $(or $(shell command -v clang-14),clang)
CLANG_FORMAT ?= clang-format-14
export CLANG CLANG_FORMAT

# ---- sources ------------------------------------------------------------------------------------------------------

LIB_SRC     := $(wildcard lib/*/*.c)
CLI_COMMON  := $(wildcard cli/common*.c)
ALKNETD_SRC := $(wildcard cli/alknetd*.c cli/config*.c cli/demo*.c cli/log*.c) $(CLI_COMMON)
ALKNET_SRC  := $(wildcard cli/alknet.c cli/alknet_*.c) $(CLI_COMMON)
CLI_SRC     := $(sort $(ALKNETD_SRC) $(ALKNET_SRC))
EXAMPLE_SRC := $(filter-out examples/plugin_%,$(wildcard examples/*.c))
PLUGIN_SRC  := $(wildcard examples/plugin_*.c)
TEST_SRC    := $(wildcard tests/unit/test_*.c tests/sim/test_*.c tests/uv/test_*.c tests/oom/test_*.c)
SOAK_SRC    := $(wildcard tests/soak/test_*.c)
SUPPORT_SRC := $(wildcard tests/support/*.c)
FUZZ_SRC    := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRC   := $(wildcard bench/*.c)
HEADERS     := $(wildcard include/alknet/*.h)
PROGRAMS    := $(if $(wildcard cli/alknetd.c),alknetd) $(if $(wildcard cli/alknet.c),alknet)

rel  = $(patsubst %.c,$(B)/obj/%.o,$(1))
san  = $(patsubst %.c,$(B)/san/obj/%.o,$(1))
fuzz = $(patsubst %.c,$(B)/fuzz/obj/%.o,$(1))

SHARED   := $(B)/lib/libalknet.so.$(SOVERSION)
STATIC   := $(B)/lib/libalknet.a
REL_BIN  := $(PROGRAMS:%=$(B)/bin/%)
SAN_BIN  := $(PROGRAMS:%=$(B)/san/bin/%)
REL_EX   := $(EXAMPLE_SRC:%.c=$(B)/%) $(PLUGIN_SRC:%.c=$(B)/%.so) $(B)/examples/live/index.html
SAN_EX   := $(EXAMPLE_SRC:%.c=$(B)/san/%) $(PLUGIN_SRC:%.c=$(B)/san/%.so)
TEST_BIN := $(TEST_SRC:%.c=$(B)/san/%)
SOAK_BIN := $(SOAK_SRC:%.c=$(B)/san/%)
FUZZ_BIN := $(FUZZ_SRC:tests/%.c=$(B)/%)
BENCH_BIN := $(BENCH_SRC:%.c=$(B)/%)

# ---- objects ------------------------------------------------------------------------------------------------------

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC_REL) -c -o $@ $<

$(B)/san/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  SAN   $<'
	$(Q)$(CC_SAN) $(if $(filter tests/%,$<),-I. -Itests) -c -o $@ $<

$(B)/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  FUZZ  $<'
	$(Q)$(CC_FUZZ) $(if $(filter tests/%,$<),-I. -Itests -Wno-missing-prototypes) -c -o $@ $<

define archive
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
endef
# What programs of this tree link with: they may use functions that are not exported.
$(B)/obj/alknet.a: $(call rel,$(LIB_SRC)); $(archive)
$(B)/san/obj/alknet.a: $(call san,$(LIB_SRC)); $(archive)
$(B)/fuzz/obj/alknet.a: $(call fuzz,$(LIB_SRC)); $(archive)
$(B)/fuzz/obj/cli.a: $(call fuzz,$(wildcard cli/config*.c)); $(archive)
$(B)/san/obj/cli.a: $(call san,$(filter-out cli/alknet.c cli/alknetd.c,$(CLI_SRC))); $(archive)
$(B)/san/obj/support.a: $(call san,$(SUPPORT_SRC)); $(archive)

# ---- the library --------------------------------------------------------------------------------------------------

$(SHARED): $(B)/obj/alknet.a lib/alknet.map
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) -shared -o $@ -Wl,-soname,$(@F) -Wl,--version-script=lib/alknet.map -Wl,--no-undefined $(LINK) $(LDFLAGS) \
	    $(call WHOLE,$<) $(DEP_LIBS)
	$(Q)ln -sf $(@F) $(B)/lib/libalknet.so

# One object, in which only the exported names are global: no clash with another copy of what is bundled in it.
$(STATIC): $(B)/obj/alknet.a
	@mkdir -p $(@D)
	@echo '  AR    $@'
	$(Q)$(CC) -r -nostdlib -o $(B)/obj/merged.o $(call WHOLE,$<) $(BUNDLED)
	$(Q)objcopy --wildcard --keep-global-symbol='alk_*' --keep-global-symbol='*yyjson_*' $(B)/obj/merged.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(B)/obj/merged.o

# ---- programs -----------------------------------------------------------------------------------------------------

# Plugins find the library's functions in alknetd itself.
$(B)/obj/exports.list: Makefile
	@mkdir -p $(@D)
	$(Q)echo '{ alk_*; yyjson_*; unsafe_yyjson_*; };' >$@
HOST = -Wl,--dynamic-list=$(B)/obj/exports.list -ldl

$(B)/bin/alknetd: $(call rel,$(ALKNETD_SRC)) $(B)/obj/alknet.a $(B)/obj/exports.list
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(CFLAGS) -o $@ $(filter %.o,$^) $(call WHOLE,$(B)/obj/alknet.a) $(HOST) $(LINK) $(LDFLAGS) $(DEP_LIBS)

$(B)/san/bin/alknetd: $(call san,$(ALKNETD_SRC)) $(B)/san/obj/alknet.a $(B)/obj/exports.list
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(SAN) -o $@ $(filter %.o,$^) $(call WHOLE,$(B)/san/obj/alknet.a) $(HOST) $(LINK) $(DEP_LIBS)

define link_rel
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(LINK) $(LDFLAGS) $(DEP_LIBS)
endef
define link_san
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(SAN) -o $@ $^ $(LINK) $(DEP_LIBS)
endef
$(B)/bin/alknet: $(call rel,$(ALKNET_SRC)) $(B)/obj/alknet.a; $(link_rel)
$(B)/san/bin/alknet: $(call san,$(ALKNET_SRC)) $(B)/san/obj/alknet.a; $(link_san)
$(B)/examples/%: $(B)/obj/examples/%.o $(STATIC); $(link_rel)
$(B)/san/examples/%: $(B)/san/obj/examples/%.o $(B)/san/obj/alknet.a; $(link_san)
$(B)/bench/%: $(B)/obj/bench/%.o $(B)/obj/alknet.a; $(link_rel)

# A folder for alknetd's static site.
$(B)/examples/live/index.html: examples/live/index.html clients/js/alknet.js
	@mkdir -p $(@D)
	$(Q)cp $^ $(@D)/

$(B)/examples/%.so: $(B)/obj/examples/%.o
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(CFLAGS) -shared -o $@ $<
$(B)/san/examples/%.so: $(B)/san/obj/examples/%.o
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(SAN) -shared -o $@ $<

$(B)/san/tests/%: $(B)/san/obj/tests/%.o $(B)/san/obj/support.a $(B)/san/obj/cli.a $(B)/san/obj/alknet.a
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(SAN) -o $@ $^ $(LINK) $$($(PC) --libs check) $(DEP_LIBS)

$(B)/fuzz/%: $(B)/fuzz/obj/tests/fuzz/%.o $(B)/fuzz/obj/cli.a $(B)/fuzz/obj/alknet.a
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CLANG) $(SAN) -fsanitize=fuzzer -o $@ $^ $(LINK) $(DEP_LIBS)

# ---- targets ------------------------------------------------------------------------------------------------------

.PHONY: all run check soak fuzz bench install uninstall format format-check symbols clean help

all: $(SHARED) $(STATIC) $(REL_BIN) $(REL_EX) ## build the library, the programs and the examples

RUN  ?= $(B)/run
PORT ?= 4780
run: $(REL_BIN) ## start alknetd on loopback; configuration and token in build/run (PORT=4780 for the first start)
	$(Q)exec cli/run.sh "$(B)/bin" "$(RUN)" $(if $(filter-out default file,$(origin PORT)),$(PORT))

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

check: all $(SAN_BIN) $(SAN_EX) $(TEST_BIN) $(FUZZ_BIN) ## build with sanitizers and run every test (ONLY=part of a name)
	$(Q)$(RUN_TESTS) $(TEST_BIN:%=check:%) $(patsubst %,narrow:%,$(filter $(B)/san/tests/uv/%,$(TEST_BIN))) \
	    $(FUZZ_BIN:%=fuzz:%) $(patsubst %,pytest:%,$(wildcard tests/system/test_*.py)) $(patsubst %,shell:%,$(wildcard tests/check_*.sh))

soak: all $(SAN_BIN) $(SAN_EX) $(TEST_BIN) $(SOAK_BIN) ## run what has threads, sockets or timers SOAK_ROUNDS (20) times
	$(Q)$(RUN_TESTS) --repeat $(SOAK_ROUNDS) $(patsubst %,check:%,$(filter-out $(B)/san/tests/unit/%,$(TEST_BIN)) $(SOAK_BIN)) \
	    $(patsubst %,pytest:%,$(wildcard tests/system/test_*.py tests/soak/test_*.py))

fuzz: $(FUZZ_BIN) ## fuzz every parser for FUZZ_SECONDS (60) each; what it learns stays in build/fuzz/corpus
	$(Q)$(RUN_TESTS) --fuzz-seconds $(FUZZ_SECONDS) --fuzz-keep $(FUZZ_BIN:%=fuzz:%)

bench: all $(BENCH_BIN) ## measure, side by side with others (BENCH_ARGS=...)
	$(Q)PATH="$$PATH:/usr/sbin:$(DEPS)/bin" ALKNET_BIN=$(abspath $(B)/bin) ALKNET_BENCH=$(abspath $(B)/bench) $(PYTHON) bench/run.py $(BENCH_ARGS)

# Where things go. The yyjson.h that the library was built with comes along when the system has none.
INC  = $(DESTDIR)$(PREFIX)/include/alknet
LIB  = $(DESTDIR)$(LIBDIR)
BIN  = $(DESTDIR)$(PREFIX)/bin
MAN  = $(DESTDIR)$(PREFIX)/share/man/man1
DOC  = $(DESTDIR)$(PREFIX)/share/doc/alknet
COMP = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
MANPAGES := $(wildcard docs/man/*.1)
LICENSES  = $(if $(BUNDLED),$(wildcard $(DEPS)/licenses/*))
# What the static library needs beside what is in it.
SYSTEM_LIBS = $(filter-out -L% $(patsubst $(DEPS)/lib/lib%.a,-l%,$(BUNDLED)),$(shell $(PC) --libs $(PRIVATE))) -lwslay -lm

install: all ## install under $(DESTDIR)$(PREFIX)
	$(Q)install -d $(INC) $(LIB)/pkgconfig $(BIN) $(DOC) $(if $(MANPAGES),$(MAN))
	$(Q)install -m 644 $(HEADERS) $(INC)/
	$(Q)$(if $(YYJSON_A),install -D -m 644 $(DEPS)/include/yyjson.h $(INC)/third_party/yyjson.h)
	$(Q)install -m 644 $(STATIC) $(LIB)/libalknet.a
	$(Q)install -m 755 $(SHARED) $(LIB)/libalknet.so.$(VERSION)
	$(Q)ln -sf libalknet.so.$(VERSION) $(LIB)/libalknet.so.$(SOVERSION)
	$(Q)ln -sf libalknet.so.$(SOVERSION) $(LIB)/libalknet.so
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@YYJSON_CFLAGS@|$(if $(YYJSON_A), -I$${includedir}/alknet/third_party)|' \
	    -e 's|@YYJSON@|$(if $(YYJSON_A),,, yyjson)|' -e 's|@SYSTEM_LIBS@|$(SYSTEM_LIBS)|' \
	    pkgconfig/libalknet.pc.in >$(LIB)/pkgconfig/libalknet.pc
	$(Q)$(if $(REL_BIN),install -m 755 $(REL_BIN) $(BIN)/)
	$(Q)$(if $(MANPAGES),install -m 644 $(MANPAGES) $(MAN)/)
	$(Q)$(if $(wildcard cli/alknet.bash),install -D -m 644 cli/alknet.bash $(COMP)/alknet)
	$(Q)install -m 644 LICENSE $(LICENSES) $(DOC)/
	$(Q)$(if $(DESTDIR),,if [ "$$(id -u)" = 0 ]; then ldconfig; fi)

uninstall: ## remove what install put there
	$(Q)rm -f $(patsubst include/alknet/%,$(INC)/%,$(HEADERS)) $(INC)/third_party/yyjson.h $(PROGRAMS:%=$(BIN)/%) \
	    $(LIB)/libalknet.a $(LIB)/libalknet.so $(LIB)/libalknet.so.$(SOVERSION) $(LIB)/libalknet.so.$(VERSION) \
	    $(LIB)/pkgconfig/libalknet.pc $(patsubst docs/man/%,$(MAN)/%,$(MANPAGES)) $(COMP)/alknet
	$(Q)rm -rf $(DOC)
	$(Q)for d in $(INC)/third_party $(INC); do [ ! -d $$d ] || rmdir --ignore-fail-on-non-empty $$d; done

format: ## format the C files in place
	$(Q)$(CLANG_FORMAT) -i $$(find include lib cli examples tests bench -name '*.[ch]')

format-check: ## say which C files are not formatted
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $$(find include lib cli examples tests bench -name '*.[ch]')

symbols: ## write tests/symbols.txt anew from the public headers
	$(Q)tests/check_symbols.sh --update

clean: ## remove what was built (build/deps and build/run stay)
	$(Q)find $(B) -mindepth 1 -maxdepth 1 ! -name deps ! -name run ! -name .deps.lock -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

-include $(patsubst %.o,%.d,$(call rel,$(LIB_SRC) $(CLI_SRC) $(EXAMPLE_SRC) $(PLUGIN_SRC) $(BENCH_SRC)) \
    $(call san,$(LIB_SRC) $(CLI_SRC) $(EXAMPLE_SRC) $(PLUGIN_SRC) $(TEST_SRC) $(SOAK_SRC) $(SUPPORT_SRC)) \
    $(call fuzz,$(LIB_SRC) $(wildcard cli/config*.c) $(FUZZ_SRC)))
