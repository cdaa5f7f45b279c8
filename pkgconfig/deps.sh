#!/bin/sh
# Makes this machine ready to build, test or measure the project:  pkgconfig/deps.sh run|check|fuzz|bench
#
# A requirement is a probe (a program, a pkg-config module, a header) and the Debian package that satisfies it, so that
# whatever the machine already has, from wherever, is used. Missing packages are installed with apt-get. mbedTLS 3.6,
# yyjson, llhttp and ngtcp2, where neither the system nor its package manager has them new enough, are fetched as source
# packages of a newer Debian suite through apt, which checks the signed index and every hash, and are built as static
# position-independent libraries under build/deps. The private apt state lives in a temporary directory; the mirror is
# the one that the system uses; nothing under /etc changes. What the tests import from PyPI goes into build/deps/python, by
# pip as this machine has it configured, and what they need from npm into build/deps/node (tests/openapi/package-lock.json) and
# build/deps/mcp (tests/mcp/package-lock.json, with a Node that is new enough for it), by npm. What the benchmarks compare
# imports by comes likewise: documents of OpenAPI (bench/openapi/package-lock.json) into build/deps/documents, and FastMCP
# (bench/openapi/requirements.txt) into build/deps/fastmcp; the MCP server that they compare with (bench/mcp/package-lock.json) into
# build/deps/mcp-server; grpc.aio and FastAPI (bench/hosts/requirements.txt) into build/deps/hosts.
#
# Silent and quick when nothing is missing. Exit 0: ready. Exit 1: not ready, and stderr names what is missing.
set -eu
umask 022
cd "$(dirname "$0")/.."

level=${1:-run}
deps=$PWD/build/deps
stage=$deps/src
export PKG_CONFIG_PATH="$deps/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
export LC_ALL=C

# A library built with another recipe number is built again; mbedTLS also with another configuration.
recipe_mbedtls=5-$(cksum <pkgconfig/mbedtls_config.h | cut -d' ' -f1) recipe_yyjson=1 recipe_llhttp=1 recipe_ngtcp2=1

# What the tests import, and all that it needs. The browser that Playwright drives is the system's.
wheels='playwright==1.64.1 greenlet==3.5.6 pyee==13.0.1 typing-extensions==4.15.0 websockets==15.0.1 hpack==4.2.0 hyperframe==6.1.0 aioquic==1.7.2
cryptography==50.0.2 cffi==2.1.1 pyopenssl==26.4.0 service-identity==26.1.0 attrs==26.1.0 certifi==2026.10.19.post1'

say() { printf 'deps: %s\n' "$*" >&2; }

# Libraries that this system may have too old, or not at all: its own package will do from a version on, up to another.
libraries='
mbedtls libmbedtls-dev 3.6 4
yyjson libyyjson-dev 0.10 1
llhttp libllhttp-dev 9 10
ngtcp2 libngtcp2-dev 1.24 2
'

# level-letter | probe | package, or alternatives of which the first that apt knows is taken
#   r: run, c: check, f: fuzz, b: bench, o: bench, but it may be missing
requirements='
rcfb|cmd cc|gcc
rcfb|hdr stdio.h|libc6-dev
rcfb|cmd ar|binutils
rcfb|cmd pkg-config|pkgconf pkg-config
rcfb|pc libuv >= 1.44|libuv1-dev
rcfb|pc libpcre2-8 >= 10.42|libpcre2-dev
rcfb|pc yaml-0.1 >= 0.2.5|libyaml-dev
rcfb|pc libcurl >= 7.88|libcurl4-gnutls-dev
rcfb|pc libnghttp2 >= 1.52|libnghttp2-dev
rcfb|hdr wslay/wslay.h|libwslay-dev
rcfb|pc gnutls >= 3.7.3|libgnutls28-dev
rcfb|pc libnats >= 3.4|libnats-dev
rcb|cmd curl|curl
c|pc check >= 0.15|check
cfb|cmd python3|python3
cb|cmd openssl|openssl
c|cmd systemd-analyze|systemd
c|py pytest|python3-pytest
co|py pip|python3-pip
c|inc Python.h|python3-dev
c|cmd chromium|chromium
c|cmd node|nodejs
co|cmd npm|npm
c|cmd groff|groff-base
c|cmd abidiff|abigail-tools
c|cmd spin|spin
c|formatter|clang-format-14 clang-format
cf|clang|clang-14 clang
cf|fuzzer|libclang-rt-14-dev libclang-rt-dev
co|cmd valgrind|valgrind
co|cmd zsh|zsh
co|cmd fish|fish
co|cmd cmake|cmake
o|cmd h2load|nghttp2-client
o|cmd g++|g++
o|pc grpc++|libgrpc++-dev
o|pc protobuf|libprotobuf-dev
o|pc libssl|libssl-dev
o|cmd protoc|protobuf-compiler
o|cmd grpc_cpp_plugin|protobuf-compiler-grpc
o|cmd cargo|cargo
o|cmd perl|perl
'

clang_program() {
    for c in clang-14 clang; do
        command -v "$c" && return
    done
    return 1
}

# Which python has a module, and the tag of what is compiled for it. Of pytest's: tests/run.py looks in the same order.
python_with() {
    for p in python3 /usr/bin/python3; do
        "$p" -c "import importlib.util as u, sys
u.find_spec('$1') or sys.exit(1)
print(sys.executable, sys.implementation.cache_tag)" 2>/dev/null && return
    done
    return 1
}

have() {
    what=$1
    shift
    case $what in
    cmd) command -v "$1" >/dev/null 2>&1 ;;
    pc) pkg-config --exists "$*" 2>/dev/null ;;
    hdr) printf '#include <%s>\n' "$1" | cc -E - >/dev/null 2>&1 ;;
    py) python_with "$1" >/dev/null ;;
    inc)
        p=$(python_with pip) &&
            "${p% *}" -c 'import os, sys, sysconfig; open(os.path.join(sysconfig.get_path("include"), sys.argv[1]))' "$1" 2>/dev/null
        ;;
    formatter) command -v clang-format-14 >/dev/null 2>&1 || command -v clang-format >/dev/null 2>&1 ;;
    clang) clang_program >/dev/null ;;
    fuzzer) c=$(clang_program) && ls "$("$c" -print-resource-dir)"/lib/linux/libclang_rt.fuzzer-*.a >/dev/null 2>&1 ;;
    esac
}

# missing LETTER: the requirements of a level that are not met, as lines of the table
missing() {
    printf '%s' "$requirements" | while IFS='|' read -r letters probe packages; do
        case $letters in
        *"$1"*)
            # shellcheck disable=SC2086
            have $probe || printf '%s|%s\n' "$probe" "$packages"
            ;;
        esac
    done
}

# ready MODULE "VERSIONS" RECIPE: the system has it, or build/deps has it by the present recipe
ready() {
    pkg-config --exists "$2" 2>/dev/null || return 1
    if [ -e "$deps/lib/pkgconfig/$1.pc" ]; then
        [ "$(pkg-config --variable=recipe "$1")" = "$3" ]
    fi
}
want_mbedtls='mbedtls >= 3.6 mbedtls < 4 mbedx509 mbedcrypto'
want_yyjson='yyjson >= 0.10'
want_llhttp='libllhttp >= 9'
want_ngtcp2='libngtcp2 >= 1.24 libngtcp2_crypto_gnutls >= 1.24'
ready_mbedtls() { ready mbedtls "$want_mbedtls" $recipe_mbedtls; }
ready_yyjson() { ready yyjson "$want_yyjson" $recipe_yyjson; }
ready_llhttp() { ready libllhttp "$want_llhttp" $recipe_llhttp; }
ready_ngtcp2() { ready libngtcp2 "$want_ngtcp2" $recipe_ngtcp2; }

# The stamp says for which python, and what.
ready_python() {
    tests_python=$(python_with pytest) && [ "$(cat "$deps/python/stamp" 2>/dev/null)" = "${tests_python##* } $wheels" ]
}

# The stamp says which packages.
node_packages=tests/openapi/package-lock.json
mcp_packages=tests/mcp/package-lock.json
ready_npm() { [ -e "$2" ] && [ "$(cat "$deps/$1/stamp" 2>/dev/null)" = "$(cksum <"$2")" ]; }
ready_node() { ready_npm node "$node_packages"; }
ready_mcp() { ready_npm mcp "$mcp_packages"; }

# The same for what the benchmarks import, and compare with.
document_packages=bench/openapi/package-lock.json
ready_documents() { [ "$(cat "$deps/documents/stamp" 2>/dev/null)" = "$(cksum <"$document_packages")" ]; }
ready_pip() { pip=$(python_with pip) && [ "$(cat "$deps/$1/stamp" 2>/dev/null)" = "${pip##* } $(cksum <"$2")" ]; }
fastmcp_packages=bench/openapi/requirements.txt
ready_fastmcp() { ready_pip fastmcp "$fastmcp_packages"; }
hosts_packages=bench/hosts/requirements.txt
ready_hosts() { ready_pip hosts "$hosts_packages"; }
mcp_server_packages=bench/mcp/package-lock.json
ready_mcp_server() { ready_npm mcp-server "$mcp_server_packages"; }

all_there() {
    [ -z "$(missing "$1")" ] && ready_mbedtls && ready_yyjson && ready_llhttp && ready_ngtcp2 || return 1
    # shellcheck disable=SC2086
    case $1 in
    c) ready_python && ready_node && ready_mcp && all_programs $programs_check ;;
    b) all_programs $programs_bench && [ -z "$(missing o)" ] && ready_documents && ready_fastmcp && ready_mcp_server && ready_hosts ;;
    esac
}

# ---- packages -------------------------------------------------------------------------------------------------

as_root=
find_root() {
    if [ "$(id -u)" = 0 ]; then
        return 0
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        return 1
    fi
}

candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '(none)' || true; }

pick() {
    for p in "$@"; do
        if [ -n "$(candidate "$p")" ]; then
            echo "$p"
            return
        fi
    done
    echo "$1"
}

# One failing source of someone else must not stop us: what counts is whether the packages come.
refreshed=
refresh() {
    [ -z "$refreshed" ] || return 0
    refreshed=yes
    $as_root apt-get -qq update >>"$log" 2>&1 || true
}

install_packages() {
    say "installing $*"
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin" apt-get -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 install "$@" >>"$log" 2>&1 </dev/null
}

# On a newer Debian the system's own development package will do.
new_enough() {
    version=$(candidate "$1")
    [ -n "$version" ] && dpkg --compare-versions "$version" ge "$2" && dpkg --compare-versions "$version" lt "$3"
}

# packages LETTER: all that is to be installed for a level, also for building what the system has too old. What is printed for
# people to install comes from here, too.
packages() {
    missing "$1" | while IFS='|' read -r _ names; do
        # shellcheck disable=SC2086
        pick $names
    done
    printf '%s' "$libraries" | while read -r name package from below; do
        if [ -z "$name" ] || "ready_$name"; then
            continue
        elif ! [ -e "$deps/lib/pkgconfig/$name.pc" ] && new_enough "$package" "$from" "$below"; then
            echo "$package"
        elif ! command -v dpkg-source >/dev/null 2>&1; then
            echo dpkg-dev
        fi
    done | sort -u
}

# add_packages LETTER: 0 when all of the level's packages are there afterwards
add_packages() {
    [ -n "$(packages "$1")" ] || return 0
    command -v apt-get >/dev/null 2>&1 || { why='something is missing, and this system has no apt-get to bring it'; return 1; }
    find_root || { why='packages are missing, and neither root nor password-less sudo is available'; return 1; }
    refresh
    # shellcheck disable=SC2046
    install_packages $(packages "$1") || { why='apt-get could not install it'; return 1; }
    [ -z "$(missing "$1")" ] || { why='the packages did not bring all that is needed'; return 1; }
}

# ---- sources --------------------------------------------------------------------------------------------------

keyring() {
    for k in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        if [ -r "$k" ]; then
            echo "$k"
            return
        fi
    done
    return 1
}

# The archives that this system is configured with; that of its own release first.
archives() {
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    apt-get --print-uris update 2>/dev/null | sed -n "s|^'\(.*\)/dists/\([^ ]*\)/InRelease'.*|\2 \1|p" | grep -v security |
        awk -v own="$codename" '{ print ($1 == own ? 0 : 1), $2 }' | sort -s -n -k1,1 | awk '!seen[$2]++ { print $2 }'
}

# suite_apt SUITE COMMAND…: apt-get or apt-cache with the private state of that suite
suite_apt() {
    s=$tmp/$1 program=$2
    shift 2
    "$program" -o Dir::Etc::sourcelist="$s/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$s/lists" \
        -o Dir::Cache="$s/cache" -o APT::Sandbox::User=root "$@"
}

# The index of a suite, fetched once. Fails when no configured archive has that suite.
open_suite() {
    if [ -d "$tmp/$1" ]; then
        [ -e "$tmp/$1/ok" ]
        return
    fi
    mkdir -p "$tmp/$1/lists/partial" "$tmp/$1/cache/archives/partial"
    key=$(keyring) || { echo 'no Debian archive keyring' >>"$log"; return 1; }
    for archive in $(archives); do
        echo "deb-src [signed-by=$key] $archive $1 main" >"$tmp/$1/sources.list"
        if suite_apt "$1" apt-get -qq -o APT::Update::Error-Mode=any update >>"$log" 2>&1; then
            : >"$tmp/$1/ok"
            return 0
        fi
    done
    return 1
}

# fetch PACKAGE VERSIONS SUITE…: unpacks the source and sets $tree. VERSIONS is a shell pattern. Mirrors have gaps: where
# part of a source package is missing, its upstream archive alone will do if the signed index has its hash.
fetch() {
    package=$1 pattern=$2
    shift 2
    for suite in "$@"; do
        open_suite "$suite" || continue
        for version in $(suite_apt "$suite" apt-cache showsrc --only-source "$package" 2>/dev/null | sed -n 's/^Version: //p'); do
            # shellcheck disable=SC2254
            case $version in $pattern) ;; *) continue ;; esac
            dir=$stage/$package
            tree=$dir/tree
            rm -rf "$dir"
            mkdir -p "$dir"
            if (cd "$dir" && suite_apt "$suite" apt-get -qq source --only-source --download-only "$package=$version" >>"$log" 2>&1) &&
                dpkg-source --no-check -x "$dir"/*.dsc "$tree" >>"$log" 2>&1; then
                return 0
            fi
            unpack_upstream && return 0
        done
    done
    return 1
}

unpack_upstream() {
    rm -rf "$tree"
    for f in "$dir"/*.orig.tar.*; do
        case $f in *.asc | *'*') continue ;; esac
        sum=$(sha256sum <"$f" | cut -d' ' -f1)
        suite_apt "$suite" apt-cache showsrc --only-source "$package" | grep -q "^ $sum [0-9]* ${f##*/}\$" || continue
        mkdir -p "$tree"
        tar -xf "$f" -C "$tree" --strip-components=1 && return 0
    done
    return 1
}

# archive NAME "FLAGS" FILE…: out/lib/libNAME.a of position-independent objects
archive() {
    name=$1 flags=$2
    shift 2
    mkdir -p "$out/lib" "$out/obj-$name"
    for f in "$@"; do
        printf '%s\n' "$f"
    done | xargs -P "$(nproc)" -I '{}' sh -c \
        "cc -std=c99 -O2 -fPIC -ffunction-sections -fdata-sections $flags -c '{}' -o '$out/obj-$name/'\$(basename '{}' .c).o" >>"$log" 2>&1 &&
        ar rcs "$out/lib/lib$name.a" "$out/obj-$name"/*.o
}

# module NAME VERSION RECIPE LIBRARY REQUIRES: a .pc file that moves with the tree
module() {
    mkdir -p "$out/lib/pkgconfig"
    cat >"$out/lib/pkgconfig/$1.pc" <<PC
prefix=\${pcfiledir}/../..
recipe=$3

Name: $1
Description: $1, built as a static library for this tree
Version: $2
Requires: $5
Libs: -L\${prefix}/lib -l$4
Cflags: -I\${prefix}/include
PC
}

# headers_and_license NAME LICENSE HEADER…: the licence travels with what the library is installed with
headers_and_license() {
    name=$1 text=$2
    shift 2
    mkdir -p "$out/include" "$out/licenses" &&
        cp "$text" "$out/licenses/LICENSE.$name" &&
        cp -R "$@" "$out/include/"
}

# The .pc files last: they say that the rest is there.
publish() {
    mkdir -p "$deps/include" "$deps/licenses" "$deps/lib/pkgconfig" &&
        cp -R "$out/include/." "$deps/include/" &&
        cp "$out"/licenses/* "$deps/licenses/" &&
        cp "$out"/lib/*.a "$deps/lib/" &&
        cp "$out"/lib/pkgconfig/*.pc "$deps/lib/pkgconfig/"
}

defined_string() { sed -n "s/^#define[ ]*$2[ ]*\"\\(.*\\)\".*/\\1/p" "$1"; }
defined_number() { sed -n "s/^#define[ ]*$2[ ]*\\([0-9]*\\).*/\\1/p" "$1"; }

# With a configuration of our own, in the place of its own: whoever compiles against it sees what it was built with.
build_mbedtls() {
    fetch mbedtls '3.6.*' sid forky trixie && cp pkgconfig/mbedtls_config.h "$tree/include/mbedtls/mbedtls_config.h" || return 1
    crypto='' x509='' tls=''
    for f in "$tree"/library/*.c; do
        case ${f##*/} in
        x509*.c | pkcs7.c) x509="$x509 $f" ;;
        aesni.c) ;;
        debug.c | mps_*.c | net_sockets.c | ssl_*.c) tls="$tls $f" ;;
        *) crypto="$crypto $f" ;;
        esac
    done
    include="-I$tree/include -I$tree/library"
    version=$(defined_string "$tree/include/mbedtls/build_info.h" MBEDTLS_VERSION_STRING)
    # Every processor that has AES-NI has SSSE3, which turns GCM's blocks around at once. Only what aesni.c itself has asked
    # the processor for runs its code.
    vectors=
    [ "$(uname -m)" != x86_64 ] || vectors='-O3 -mssse3'
    # shellcheck disable=SC2086
    archive mbedcrypto "$include $vectors" "$tree/library/aesni.c" &&
        archive mbedcrypto "$include" $crypto &&
        archive mbedx509 "$include" $x509 &&
        archive mbedtls "$include" $tls &&
        headers_and_license mbedtls "$tree/LICENSE" "$tree/include/mbedtls" "$tree/include/psa" &&
        module mbedcrypto "$version" $recipe_mbedtls mbedcrypto '' &&
        module mbedx509 "$version" $recipe_mbedtls mbedx509 mbedcrypto &&
        module mbedtls "$version" $recipe_mbedtls mbedtls mbedx509
}

build_yyjson() {
    fetch yyjson '0.1[0-9].*' trixie forky sid || return 1
    version=$(defined_string "$tree/src/yyjson.h" YYJSON_VERSION_STRING)
    archive yyjson "-I$tree/src" "$tree/src/yyjson.c" &&
        headers_and_license yyjson "$tree/LICENSE" "$tree/src/yyjson.h" &&
        module yyjson "$version" $recipe_yyjson yyjson ''
}

# nghttp2's source package carries the C that llhttp is generated to.
build_llhttp() {
    fetch nghttp2 '1.*' trixie forky sid || return 1
    l=$tree/third-party/llhttp h=$tree/third-party/llhttp/include/llhttp.h
    version=$(defined_number "$h" LLHTTP_VERSION_MAJOR).$(defined_number "$h" LLHTTP_VERSION_MINOR)
    archive llhttp "-I$l/include" "$l"/src/*.c &&
        headers_and_license llhttp "$l/LICENSE-MIT" "$h" &&
        module libllhttp "$version" $recipe_llhttp llhttp ''
}

# Its helper for the system's GnuTLS, which stays a shared library.
build_ngtcp2() {
    fetch ngtcp2 '1.2[4-9].*' sid forky || return 1
    c=$tree/crypto version=$(sed -n "s/^PACKAGE_VERSION='\(.*\)'/\1/p" "$tree/configure")
    have_headers='-DHAVE_ARPA_INET_H -DHAVE_NETINET_IN_H -DHAVE_UNISTD_H -DHAVE_ENDIAN_H -DHAVE_BYTESWAP_H -DHAVE_DECL_BE64TOH=1 -DHAVE_DECL_BSWAP_64=1'
    include="-I$tree/lib/includes -I$tree/lib -I$c/includes -I$c -D_GNU_SOURCE $have_headers"
    archive ngtcp2 "$include" "$tree"/lib/*.c &&
        archive ngtcp2_crypto_gnutls "$include $(pkg-config --cflags gnutls)" "$c/shared.c" "$c/gnutls/gnutls.c" &&
        headers_and_license ngtcp2 "$tree/COPYING" "$tree/lib/includes/ngtcp2" &&
        cp "$c/includes/ngtcp2/ngtcp2_crypto.h" "$c/includes/ngtcp2/ngtcp2_crypto_gnutls.h" "$out/include/ngtcp2/" &&
        module libngtcp2 "$version" $recipe_ngtcp2 ngtcp2 '' &&
        module libngtcp2_crypto_gnutls "$version" $recipe_ngtcp2 ngtcp2_crypto_gnutls 'libngtcp2 gnutls'
}

# add NAME: our own build
add() {
    say "building $1 under build/deps"
    out=$tmp/out-$1
    "build_$1" && publish && "ready_$1"
}

add_libraries() {
    ready_mbedtls && ready_yyjson && ready_llhttp && ready_ngtcp2 && return 0
    command -v apt-get >/dev/null 2>&1 || { why='something is missing, and this system has no apt-get to bring it'; return 1; }
    for name in mbedtls yyjson llhttp ngtcp2; do
        "ready_$name" || add $name || why='a library could not be fetched and built'
    done
    [ -z "$why" ]
}

# Wheels alone: nothing of what comes is run, and what is missing for this machine is an error at once.
add_python() {
    ready_python && return 0
    say 'fetching Python packages into build/deps/python'
    why='pip could not fetch the Python packages of the tests'
    pip=$(python_with pip) && tests_python=$(python_with pytest) || return 1
    # shellcheck disable=SC2086
    "${pip% *}" -m pip --python "${tests_python% *}" --quiet --no-input --disable-pip-version-check install --no-deps \
        --only-binary :all: --target "$stage/python" $wheels >>"$log" 2>&1 || return 1
    echo "${tests_python##* } $wheels" >"$stage/python/stamp"
    rm -rf "$deps/python"
    mv "$stage/python" "$deps/python"
}

# node_packages_into FOLDER LOCK: as the lock file says, hashes included; nothing of what comes is run.
node_packages_into() {
    mkdir -p "$1" && cp "${2%/*}/package.json" "$2" "$1/" || return 1
    (cd "$1" && npm_config_update_notifier=false npm_config_logs_max=0 \
        npm ci --ignore-scripts --omit=peer --no-audit --no-fund --loglevel=error) >>"$log" 2>&1
}

# add_npm FOLDER LOCK
add_npm() {
    ready_npm "$1" "$2" && return 0
    say "fetching npm packages into build/deps/$1"
    why="npm could not fetch the packages of $2"
    node_packages_into "$stage/$1" "$2" || return 1
    cksum <"$2" >"$stage/$1/stamp"
    rm -rf "${deps:?}/$1"
    mv "$stage/$1" "$deps/$1"
}

# The documents alone: the packages have others, many times as large.
add_documents() {
    ready_documents && return 0
    say 'fetching OpenAPI documents into build/deps/documents'
    why='npm could not fetch the documents'
    node_packages_into "$stage/documents" "$document_packages" || return 1
    from=$stage/documents/node_modules to=$stage/documents/out
    mkdir -p "$to/readme" &&
        cp "$from/@octokit/openapi/generated/api.github.com.json" "$to/github.json" &&
        cp "$from/@figma/rest-api-spec/openapi/openapi.yaml" "$to/figma.yaml" &&
        cp "$from/@directus/specs/dist/openapi.json" "$to/directus.json" &&
        cp "$from/@scalar/galaxy/dist/3.1.json" "$to/galaxy.json" &&
        cp -R "$from/@readme/oas-examples/3.0" "$from/@readme/oas-examples/3.1" "$to/readme/" || return 1
    cksum <"$document_packages" >"$to/stamp"
    rm -rf "$deps/documents"
    mv "$to" "$deps/documents"
}

# add_pip FOLDER REQUIREMENTS: wheels alone; `python` says by which they are run.
add_pip() {
    ready_pip "$1" "$2" && return 0
    say "fetching Python packages into build/deps/$1"
    why="pip could not fetch the packages of $2"
    pip=$(python_with pip) || return 1
    "${pip% *}" -m pip --quiet --no-input --disable-pip-version-check install --no-deps --only-binary :all: \
        --target "$stage/$1" -r "$2" >>"$log" 2>&1 || return 1
    ln -s "${pip% *}" "$stage/$1/python"
    echo "${pip##* } $(cksum <"$2")" >"$stage/$1/stamp"
    rm -rf "${deps:?}/$1"
    mv "$stage/$1" "$deps/$1"
}

# Installed, these packages would start servers on this machine; the program alone is enough for a test or a comparison.
has_program() { PATH="$PATH:/usr/sbin:$deps/bin" command -v "$1" >/dev/null 2>&1; }
runs() { ! ldd "$1" 2>/dev/null | grep -q 'not found'; }

# The libraries that a package depends on and that are not installed. To name one that is would upgrade it, which is not
# for us to do.
absent_libraries() {
    dpkg-deb -f "$1" Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ ]*\|zlib[^ ]*\).*/\1/p' | while read -r library; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$library" 2>/dev/null)" = installed ] || echo "$library"
    done
}

# fetch_program NAME: out of the package of that name into build/deps/bin. The libraries that it lacks are installed.
fetch_program() {
    command -v apt-get >/dev/null 2>&1 || { why='something is missing, and this system has no apt-get to bring it'; return 1; }
    if find_root; then
        refresh
    fi
    say "fetching $1 into build/deps/bin"
    why="the package $1 could not be fetched"
    mkdir -p "$stage/$1" "$deps/bin"
    (cd "$stage/$1" && apt-get -qq download "$1" && dpkg -x "$1"_*.deb tree) >>"$log" 2>&1 || return 1
    program=$(find "$stage/$1/tree/usr/sbin" "$stage/$1/tree/usr/bin" -name "$1" -type f 2>/dev/null | head -n 1)
    [ -n "$program" ] || return 1
    if ! runs "$program"; then
        why="the libraries of $1 could not be installed"
        # shellcheck disable=SC2046
        find_root && install_packages $(absent_libraries "$stage/$1/$1"_*.deb) && runs "$program" || return 1
    fi
    cp "$program" "$deps/bin/"
}

# fetch_programs NAME…: those of them that are not there
fetch_programs() {
    for name in "$@"; do
        has_program "$name" || fetch_program "$name" || return 1
    done
}

# What docs/deploy.md is about, brokers, and what the benchmarks compare with.
programs_check='nginx haproxy caddy logrotate nats-server'
programs_bench='nginx h2o nats-server'
all_programs() {
    for name in "$@"; do
        has_program "$name" || return 1
    done
}

add_of_tests() {
    # shellcheck disable=SC2086
    add_python && add_npm node "$node_packages" && add_npm mcp "$mcp_packages" && fetch_programs $programs_check
}

# What a person has to do now.
explain() {
    [ ! -s "$log" ] || tail -n 12 "$log" >&2
    say "not ready: $why"
    lacking=$(missing "$1")
    if [ -n "$lacking" ]; then
        say 'missing (in brackets, the package of Debian):'
        printf '%s\n' "$lacking" | sed -e 's/^cmd/program/; s/^hdr/header/; s/^inc/header/; s/^pc/pkg-config module/; s/^py/python module/' \
            -e 's/^\(.*\)|\([^ ]*\).*$/    \1  [\2]/' >&2
    fi
    lacking=$(packages "$1" | tr '\n' ' ')
    if [ -n "$lacking" ]; then
        say "on Debian, as root:  apt-get update && apt-get install --no-install-recommends $lacking"
    fi
    lacking=$(
        ready_mbedtls || echo "    mbedTLS, as pkg-config modules $want_mbedtls"
        ready_yyjson || echo "    yyjson, as pkg-config module $want_yyjson"
        ready_llhttp || echo "    llhttp, as pkg-config module $want_llhttp"
        ready_ngtcp2 || echo "    ngtcp2, as pkg-config modules $want_ngtcp2"
    )
    if [ -n "$lacking" ]; then
        say 'missing libraries:'
        printf '%s\n' "$lacking" >&2
        say "install them where pkg-config looks, or run $0 with a Debian archive in reach, and it builds them"
    fi
    if [ "$1" = c ] && ! ready_python; then
        say 'missing in build/deps/python, with PyPI or a mirror of it in reach as pip is configured here:'
        # shellcheck disable=SC2086
        printf '    %s\n' $wheels >&2
    fi
    if [ "$1" = c ] && ! ready_node; then
        say "missing in build/deps/node, with npm's registry or a mirror of it in reach: the packages of $node_packages"
    fi
    if [ "$1" = c ] && ! ready_mcp; then
        say "missing in build/deps/mcp, with npm's registry or a mirror of it in reach: the packages of $mcp_packages"
    fi
}

# ---- main -----------------------------------------------------------------------------------------------------

case $level in
run) letter=r ;;
check) letter=c ;;
fuzz) letter=f ;;
bench) letter=b ;;
*)
    say "usage: $0 run|check|fuzz|bench"
    exit 2
    ;;
esac

if all_there $letter; then
    exit 0
fi

mkdir -p "$deps"
exec 9>build/.deps.lock
flock 9
tmp=$(mktemp -d "${TMPDIR:-/tmp}/alknet-deps.XXXXXX")
log=$tmp/log
: >"$log"
trap 'rm -rf "$tmp" "$stage"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$stage"
why=

if ! add_packages $letter || ! add_libraries || { [ $letter = c ] && ! add_of_tests; }; then
    explain $letter
    exit 1
fi
if [ "$level" = bench ]; then
    fetch_programs $programs_bench || say "going on without a comparison: $why"
    add_packages o || say "going on without h2load, gRPC or valgrind: $why"
    add_documents || say "going on without documents to import: $why"
    add_pip fastmcp "$fastmcp_packages" || say "going on without FastMCP: $why"
    add_npm mcp-server "$mcp_server_packages" || say "going on without an MCP server: $why"
    add_pip hosts "$hosts_packages" || say "going on without grpc.aio and FastAPI: $why"
fi
