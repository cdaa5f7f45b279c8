# What `make install` puts where, and `make uninstall` takes away; a part of the Makefile.

# Where things go. The yyjson.h that the library was built with comes along when the system has none.
INC  = $(DESTDIR)$(PREFIX)/include/alknet
LIB  = $(DESTDIR)$(LIBDIR)
BIN  = $(DESTDIR)$(PREFIX)/bin
MAN  = $(DESTDIR)$(PREFIX)/share/man
DOC  = $(DESTDIR)$(PREFIX)/share/doc/alknet
COMP = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH  = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
USERS = $(DESTDIR)$(PREFIX)/lib/sysusers.d
CMAKE = $(LIB)/cmake/alknet
CMAKE_FILES := alknet-config.cmake alknet-config-version.cmake
MANPAGES := $(wildcard docs/man/*.[1-8])
# In folders as here, so that they find each other.
DOCUMENTS := README.md $(wildcard clients/*/README.md) $(shell find docs examples -type f ! -path 'docs/man/*')
LICENSES  = $(if $(BUNDLED),$(wildcard $(DEPS)/licenses/*))
# What the static library needs beside what is in it.
SYSTEM_LIBS = $(filter-out -L% $(patsubst $(DEPS)/lib/lib%.a,-l%,$(BUNDLED)),$(PRIVATE_LIBS))

# $(call describe,PREFIX,LIBDIR,NAME): what pkg-config is to say of a library there
describe = sed -e 's|@PREFIX@|$(1)|' -e 's|@LIBDIR@|$(2)|' -e 's|@VERSION@|$(VERSION)|' \
    -e 's|@YYJSON_CFLAGS@|$(if $(YYJSON_A), -I$${includedir}/alknet/third_party)|' \
    -e 's|@YYJSON@|$(if $(YYJSON_A),,$(comma) yyjson)|' -e 's|@SYSTEM_LIBS@|$(SYSTEM_LIBS)|' pkgconfig/$(3).pc.in
# $(call describe_cmake,FILE): the same of CMake
describe_cmake = sed -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@SOVERSION@|$(SOVERSION)|' \
    -e 's|@SOVERSION_PATTERN@|$(subst .,[.],$(SOVERSION))|' -e 's|@YYJSON@|$(if $(YYJSON_A),,;yyjson)|' \
    -e 's|@INCLUDE@|$(PREFIX)/include$(if $(YYJSON_A),;$(PREFIX)/include/alknet/third_party)|' \
    -e 's|@STATIC_LIBS@|$(subst $(space),;,$(strip $(SYSTEM_LIBS:-l%=%)))|' pkgconfig/$(1).in
comma := ,
space := $(subst ,, )

# For what is built in this tree beside the library, as the bindings for other languages are.
$(B)/lib/pkgconfig/libalknet.pc: pkgconfig/libalknet.pc.in pkgconfig/install.mk $(DEPS)/flags.mk
	$(call say,GEN   )
	$(Q)$(call describe,$(abspath $(B)),$(abspath $(B)/lib),libalknet) | sed 's|^includedir=.*|includedir=$(CURDIR)/include|' >$@

install: all ## install under $(DESTDIR)$(PREFIX)
	$(Q)install -d $(INC) $(LIB)/pkgconfig $(CMAKE) $(BIN) $(DOC)
	$(Q)install -m 644 $(HEADERS) $(INC)/
	$(Q)$(if $(YYJSON_A),install -D -m 644 $(DEPS)/include/yyjson.h $(INC)/third_party/yyjson.h)
	$(Q)install -m 644 $(STATIC) $(LIB)/libalknet.a
	$(Q)install -m 755 $(SHARED) $(LIB)/libalknet.so.$(VERSION)
	$(Q)ln -sf libalknet.so.$(VERSION) $(LIB)/libalknet.so.$(SOVERSION)
	$(Q)ln -sf libalknet.so.$(SOVERSION) $(LIB)/libalknet.so
	$(Q)$(foreach name,libalknet libalknet-static,$(call describe,$(PREFIX),$(LIBDIR),$(name)) >$(LIB)/pkgconfig/$(name).pc &&) true
	$(Q)$(foreach name,$(CMAKE_FILES),$(call describe_cmake,$(name)) >$(CMAKE)/$(name) &&) true
	$(Q)install -m 755 $(REL_BIN) $(BIN)/
	$(Q)for f in $(notdir $(MANPAGES)); do install -D -m 644 docs/man/$$f $(MAN)/man$${f##*.}/$$f || exit; done
	$(Q)install -D -m 644 cli/alknet/completion.bash $(COMP)/alknet
	$(Q)install -D -m 644 cli/alknet/completion.zsh $(ZSH)/_alknet
	$(Q)install -D -m 644 cli/alknet/completion.fish $(FISH)/alknet.fish
	$(Q)install -d $(UNITS) $(USERS)
	$(Q)sed 's|@BINDIR@|$(PREFIX)/bin|' pkgconfig/systemd/alknetd.service.in >$(UNITS)/alknetd.service
	$(Q)install -m 644 pkgconfig/systemd/alknetd.socket $(UNITS)/
	$(Q)install -m 644 pkgconfig/systemd/alknet.sysusers $(USERS)/alknet.conf
	$(Q)install -m 644 LICENSE $(LICENSES) $(DOC)/
	$(Q)for f in $(DOCUMENTS); do install -D -m 644 $$f $(DOC)/$$f || exit; done
	$(Q)install -m 644 clients/js/alknet.js $(DOC)/examples/live/
	$(Q)$(if $(DESTDIR),,if [ "$$(id -u)" = 0 ]; then PATH=$$PATH:/usr/sbin:/sbin ldconfig; fi)

uninstall: ## remove what install put there
	$(Q)rm -f $(patsubst include/alknet/%,$(INC)/%,$(HEADERS)) $(INC)/third_party/yyjson.h $(PROGRAMS:%=$(BIN)/%) \
	    $(LIB)/libalknet.a $(LIB)/libalknet.so $(LIB)/libalknet.so.$(SOVERSION) $(LIB)/libalknet.so.$(VERSION) \
	    $(LIB)/pkgconfig/libalknet.pc $(LIB)/pkgconfig/libalknet-static.pc $(CMAKE_FILES:%=$(CMAKE)/%) \
	    $(foreach f,$(notdir $(MANPAGES)),$(MAN)/man$(subst .,,$(suffix $f))/$f) $(COMP)/alknet $(ZSH)/_alknet $(FISH)/alknet.fish \
	    $(UNITS)/alknetd.service $(UNITS)/alknetd.socket $(USERS)/alknet.conf
	$(Q)rm -rf $(DOC)
	$(Q)for d in $(INC)/third_party $(INC) $(CMAKE); do [ ! -d $$d ] || rmdir --ignore-fail-on-non-empty $$d; done
