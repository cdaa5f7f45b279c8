#!/bin/sh
# The library as others meet it: installed, found by pkg-config, compiled against as C99 and as C++, linked shared and
# static, and removed again without a trace.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${ALKNET_BUILD:-$PWD/build}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
failed=0

# check NAME COMMAND…: the command's output is shown when it fails
check() {
    name=$1
    shift
    if "$@" >"$scratch/said" 2>&1; then
        echo "ok $name"
    else
        echo "not ok $name:"
        sed 's/^/    /' "$scratch/said"
        failed=1
    fi
}

into() { make -s B="$build" "$@"; }
flags() { pkg-config "$@" libalknet; }

# While the version is 0.x, the name that programs look for at run time carries the minor.
soname() { sed -n 's/^#define ALK_VERSION "\(0\.[0-9]*\|[1-9][0-9]*\)\..*/libalknet.so.\1/p' include/alknet/alknet.h; }

nothing_is_missing() {
    for f in lib/libalknet.a lib/libalknet.so "lib/$(soname)" lib/pkgconfig/libalknet.pc bin/alknetd bin/alknet \
        share/man/man1/alknetd.1 share/man/man1/alknet.1 share/bash-completion/completions/alknet share/doc/alknet/LICENSE \
        lib/systemd/system/alknetd.service lib/systemd/system/alknetd.socket lib/sysusers.d/alknet.conf; do
        [ -s "$prefix/$f" ] || { echo "$f is missing"; return 1; }
    done
    readelf -d "$prefix/lib/libalknet.so" | grep -q -F "[$(soname)]" || { echo 'another SONAME'; return 1; }
    for f in include/alknet/*.h; do
        cmp "$f" "$prefix/$f" || return 1
    done
    if grep -q -F "$PWD" "$prefix/lib/pkgconfig/libalknet.pc"; then
        echo 'libalknet.pc names the build tree' && return 1
    fi
}

# Whatever systemd finds to say about them is too much. A level of exposure is of 100.
units_are_good() {
    units=$prefix/lib/systemd/system
    systemd-analyze verify --man=no "$units/alknetd.service" "$units/alknetd.socket" || return 1
    systemd-analyze verify --man=no "$units/alknetd.service" "$units/alknetd.socket" 2>&1 | grep . && return 1
    systemd-analyze security --offline=yes --threshold=20 "$units/alknetd.service" || return 1
    systemd-sysusers --dry-run "$prefix/lib/sysusers.d/alknet.conf"
}

# Each header alone, so that none leans on what another one includes. In strict C99, uv.h wants POSIX.
headers_compile() { # COMPILER-AND-FLAGS
    for f in "$prefix"/include/alknet/*.h; do
        printf '#include <alknet/%s>\n' "${f##*/}" >"$scratch/header.c"
        # shellcheck disable=SC2046,SC2086
        $1 -Wall -Wextra -Wpedantic -Werror -fsyntax-only $(flags --cflags) "$scratch/header.c" || return 1
    done
}

cat >"$scratch/user.c" <<'C'
#include <alknet/alknet.h>
#include <alknet/yyjson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    yyjson_doc *doc = yyjson_read("[1,2]", 5, 0);
    char *text = yyjson_write(doc, 0, NULL);
    int bad = strcmp(text, "[1,2]") != 0 || strcmp(alk_version(), ALK_VERSION) != 0;
    printf("%s %s\n", text, alk_version());
    free(text);
    yyjson_doc_free(doc);
    yyjson_mut_doc *built = yyjson_mut_doc_new(NULL);
    yyjson_mut_doc_set_root(built, yyjson_mut_strcpy(built, "built"));
    text = yyjson_mut_write(built, 0, NULL);
    bad |= strcmp(text, "\"built\"") != 0;
    free(text);
    yyjson_mut_doc_free(built);
    return bad;
}
C

# shellcheck disable=SC2046
builds_shared() { cc -std=gnu99 -Wall -Wextra -Werror -o "$2" "$1" $(flags --cflags --libs) -Wl,-rpath,"$prefix/lib"; }
# shellcheck disable=SC2046
builds_static() {
    cc -std=gnu99 -Wall -Wextra -Werror -o "$2" "$1" $(flags --static --cflags --libs | sed 's/-lalknet/-l:libalknet.a/') &&
        ! readelf -d "$2" | grep NEEDED | grep -q libalknet
}
runs_shared() { builds_shared "$scratch/user.c" "$scratch/user" && "$scratch/user"; }
runs_static() { builds_static "$scratch/user.c" "$scratch/user" && "$scratch/user"; }
# The example prints the port that it got, and answers there.
example_runs() { # builds_shared | builds_static
    "$1" examples/01_hello.c "$scratch/hello" || return 1
    : >"$scratch/hello.out" # what an earlier one has said must not be read
    "$scratch/hello" 0 >"$scratch/hello.out" &
    hello=$!
    answer=
    for _ in $(seq 100); do
        port=$(sed -n 's/^listening on port //p' "$scratch/hello.out")
        if [ -n "$port" ]; then
            answer=$(curl -sS -m 10 -H 'Content-Type: application/json' \
                -d '{"operation":"demo/hello","input":"Ada"}' "http://127.0.0.1:$port/call")
            break
        fi
        sleep 0.1
    done
    kill "$hello" && wait "$hello"
    echo "answer: $answer"
    case $answer in *'"result":"ok"'*Ada*) return 0 ;; *) return 1 ;; esac
}

# What others may link beside the library does not meet the copies inside of it.
hides_what_it_bundles() {
    nm -g --defined-only "$prefix/lib/libalknet.a" | awk 'NF == 3 { print $3 }' >"$scratch/names" && grep -q '^alk_' "$scratch/names" &&
        ! grep -v -e '^alk_' -e '^yyjson_' -e '^unsafe_yyjson_' "$scratch/names"
}

readme_shows_the_example() {
    awk '/^```c$/ { inside = 1; next } /^```/ { if (inside) exit; inside = 0 } inside' README.md >"$scratch/readme.c" &&
        diff -u examples/01_hello.c "$scratch/readme.c"
}

leaves_nothing() {
    into PREFIX="$prefix" uninstall && [ -z "$(find "$prefix" ! -type d)" ] || { find "$prefix" ! -type d; return 1; }
}

staged_install_is_the_same() {
    into DESTDIR="$scratch/stage" PREFIX=/opt/alknet install &&
        grep -q '^prefix=/opt/alknet$' "$scratch/stage/opt/alknet/lib/pkgconfig/libalknet.pc" &&
        (cd "$prefix" && find . | sort) >"$scratch/one" && (cd "$scratch/stage/opt/alknet" && find . | sort) >"$scratch/two" &&
        diff "$scratch/one" "$scratch/two"
}

check 'make install succeeds' into PREFIX="$prefix" install
[ $failed = 0 ] || exit 1
check 'headers, libraries, programs, manual pages and completion are installed' nothing_is_missing
check 'systemd has nothing to say against the units, and calls their exposure small' units_are_good
check 'a staged install has the same files' staged_install_is_the_same
check 'each public header compiles alone as C99' headers_compile 'cc -x c -std=c99 -D_POSIX_C_SOURCE=200809L'
check 'each public header compiles alone as C++' headers_compile "${CLANG:-clang-14} -x c++ -std=c++11"
check 'a program builds and runs with the shared library and with yyjson from it' runs_shared
check 'a program builds and runs with the static library alone' runs_static
check 'examples/01_hello.c, built with the installed shared library, serves' example_runs builds_shared
check 'examples/01_hello.c, built with the installed static library, serves' example_runs builds_static
check 'the static library shows no name but its own and those of yyjson' hides_what_it_bundles
check 'the README shows examples/01_hello.c as it is' readme_shows_the_example
check 'make uninstall removes every file' leaves_nothing
exit $failed
