# What `make install` puts where, and `make uninstall` takes away; a part of the Makefile.

# Where things go. The yyjson.h that the library was built with comes along when the system has none.
INC  = $(DESTDIR)$(PREFIX)/include/alknet
LIB  = $(DESTDIR)$(LIBDIR)
BIN  = $(DESTDIR)$(PREFIX)/bin
MAN  = $(DESTDIR)$(PREFIX)/share/man/man1
DOC  = $(DESTDIR)$(PREFIX)/share/doc/alknet
COMP = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
USERS = $(DESTDIR)$(PREFIX)/lib/sysusers.d
MANPAGES := $(wildcard docs/man/*.1)
LICENSES  = $(if $(BUNDLED),$(wildcard $(DEPS)/licenses/*))
# What the static library needs beside what is in it.
SYSTEM_LIBS = $(filter-out -L% $(patsubst $(DEPS)/lib/lib%.a,-l%,$(BUNDLED)),$(PRIVATE_LIBS))

# $(call describe,PREFIX,LIBDIR): what pkg-config is to say of a library there
describe = sed -e 's|@PREFIX@|$(1)|' -e 's|@LIBDIR@|$(2)|' -e 's|@VERSION@|$(VERSION)|' \
    -e 's|@YYJSON_CFLAGS@|$(if $(YYJSON_A), -I$${includedir}/alknet/third_party)|' \
    -e 's|@YYJSON@|$(if $(YYJSON_A),,, yyjson)|' -e 's|@SYSTEM_LIBS@|$(SYSTEM_LIBS)|' pkgconfig/libalknet.pc.in

# For what is built in this tree beside the library, as the bindings for other languages are.
$(B)/lib/pkgconfig/libalknet.pc: pkgconfig/libalknet.pc.in pkgconfig/install.mk $(DEPS)/flags.mk
	$(call say,GEN   )
	$(Q)$(call describe,$(abspath $(B)),$(abspath $(B)/lib)) | sed 's|^includedir=.*|includedir=$(CURDIR)/include|' >$@

install: all ## install under $(DESTDIR)$(PREFIX)
	$(Q)install -d $(INC) $(LIB)/pkgconfig $(BIN) $(DOC) $(MAN)
	$(Q)install -m 644 $(HEADERS) $(INC)/
	$(Q)$(if $(YYJSON_A),install -D -m 644 $(DEPS)/include/yyjson.h $(INC)/third_party/yyjson.h)
	$(Q)install -m 644 $(STATIC) $(LIB)/libalknet.a
	$(Q)install -m 755 $(SHARED) $(LIB)/libalknet.so.$(VERSION)
	$(Q)ln -sf libalknet.so.$(VERSION) $(LIB)/libalknet.so.$(SOVERSION)
	$(Q)ln -sf libalknet.so.$(SOVERSION) $(LIB)/libalknet.so
	$(Q)$(call describe,$(PREFIX),$(LIBDIR)) >$(LIB)/pkgconfig/libalknet.pc
	$(Q)install -m 755 $(REL_BIN) $(BIN)/
	$(Q)install -m 644 $(MANPAGES) $(MAN)/
	$(Q)install -D -m 644 cli/alknet/completion.bash $(COMP)/alknet
	$(Q)install -d $(UNITS) $(USERS)
	$(Q)sed 's|@BINDIR@|$(PREFIX)/bin|' pkgconfig/systemd/alknetd.service.in >$(UNITS)/alknetd.service
	$(Q)install -m 644 pkgconfig/systemd/alknetd.socket $(UNITS)/
	$(Q)install -m 644 pkgconfig/systemd/alknet.sysusers $(USERS)/alknet.conf
	$(Q)install -m 644 LICENSE $(LICENSES) $(DOC)/
	$(Q)$(if $(DESTDIR),,if [ "$$(id -u)" = 0 ]; then ldconfig; fi)

uninstall: ## remove what install put there
	$(Q)rm -f $(patsubst include/alknet/%,$(INC)/%,$(HEADERS)) $(INC)/third_party/yyjson.h $(PROGRAMS:%=$(BIN)/%) \
	    $(LIB)/libalknet.a $(LIB)/libalknet.so $(LIB)/libalknet.so.$(SOVERSION) $(LIB)/libalknet.so.$(VERSION) \
	    $(LIB)/pkgconfig/libalknet.pc $(patsubst docs/man/%,$(MAN)/%,$(MANPAGES)) $(COMP)/alknet \
	    $(UNITS)/alknetd.service $(UNITS)/alknetd.socket $(USERS)/alknet.conf
	$(Q)rm -rf $(DOC)
	$(Q)for d in $(INC)/third_party $(INC); do [ ! -d $$d ] || rmdir --ignore-fail-on-non-empty $$d; done
