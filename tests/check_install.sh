#!/bin/sh
# The library as others meet it: installed, found by pkg-config and CMake, compiled against as C99 and as C++, linked shared and
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
# With a PATH as root has it after su.
installs() { (PATH=$(echo "$PATH" | tr : '\n' | grep -v sbin | paste -s -d :) && into PREFIX="$prefix" install); }
flags() { pkg-config "$@" libalknet; }

# While the version is 0.x, the name that programs look for at run time carries the minor.
soname() { sed -n 's/^#define ALK_VERSION "\(0\.[0-9]*\|[1-9][0-9]*\)\..*/libalknet.so.\1/p' include/alknet/alknet.h; }

nothing_is_missing() {
    for f in lib/libalknet.a lib/libalknet.so "lib/$(soname)" lib/pkgconfig/libalknet.pc lib/pkgconfig/libalknet-static.pc \
        lib/cmake/alknet/alknet-config.cmake lib/cmake/alknet/alknet-config-version.cmake bin/alknetd bin/alknet \
        share/doc/alknet/examples/live/alknet.js share/bash-completion/completions/alknet share/zsh/site-functions/_alknet \
        share/fish/vendor_completions.d/alknet.fish share/doc/alknet/LICENSE \
        lib/systemd/system/alknetd.service lib/systemd/system/alknetd.socket lib/sysusers.d/alknet.conf; do
        [ -s "$prefix/$f" ] || { echo "$f is missing"; return 1; }
    done
    readelf -d "$prefix/lib/libalknet.so" | grep -q -F "[$(soname)]" || { echo 'another SONAME'; return 1; }
    for f in include/alknet/*.h; do
        cmp "$f" "$prefix/$f" || return 1
    done
    for f in docs/man/*.[1-8]; do
        cmp "$f" "$prefix/share/man/man${f##*.}/${f##*/}" || return 1
    done
    for f in README.md $(find docs examples -type f ! -path 'docs/man/*'); do
        cmp "$f" "$prefix/share/doc/alknet/$f" || return 1
    done
    if grep -r -F "$PWD" "$prefix/lib/pkgconfig" "$prefix/lib/cmake"; then
        echo 'that names the build tree' && return 1
    fi
}

# A document that leads to one that is not there is of no use.
links_lead_somewhere() {
    (cd "$prefix/share/doc/alknet" && grep -o -E '\]\([^)(:#]+[)#]' README.md docs/*.md | sed 's/:](/ /; s/[)#]$//') | while read -r from to; do
        (cd "$prefix/share/doc/alknet/$(dirname "$from")" && [ -e "$to" ]) || echo "$from: $to"
    done >"$scratch/broken"
    cat "$scratch/broken"
    [ ! -s "$scratch/broken" ]
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
# As the README has them.
pasted() { # DIRECTORY COMMAND
    mkdir -p "$1" && rm -f "$1/examples" && ln -s "$PWD/examples" "$1/examples" && (cd "$1" && sh -c "$2")
}
builds_pasted_static() {
    line=$(sed -n 's/^    \(cc .*libalknet-static)\)$/\1/p' README.md)
    mkdir -p "$scratch/static/build" && [ -n "$line" ] && pasted "$scratch/static" "$line" && mv "$scratch/static/build/hello" "$2" &&
        ! readelf -d "$2" | grep NEEDED | grep -q libalknet
}
builds_by_cmake() { # TARGET
    awk '/^```cmake$/ { inside = 1; next } /^```/ { inside = 0 } inside' README.md >"$scratch/lists"
    mkdir -p "$scratch/$1" && sed "s/alknet::alknet)/alknet::$1)/" "$scratch/lists" >"$scratch/$1/CMakeLists.txt" &&
        pasted "$scratch/$1" "cmake -S . -B out -DCMAKE_PREFIX_PATH='$prefix' && cmake --build out"
}
builds_cmake_shared() { builds_by_cmake alknet && cp "$scratch/alknet/out/hello" "$2" && readelf -d "$2" | grep NEEDED | grep -q -F "[$(soname)]"; }
builds_cmake_static() {
    builds_by_cmake alknet_static && cp "$scratch/alknet_static/out/hello" "$2" && ! readelf -d "$2" | grep NEEDED | grep -q libalknet
}
# Another minor version, or one that is still to come, is another library.
cmake_knows_versions() {
    printf '%s\n' 'cmake_minimum_required(VERSION 3.18)' 'project(versions C)' 'foreach(v 0.0 0.2 1 99)' \
        '  find_package(alknet ${v} QUIET)' '  if(alknet_FOUND)' '    message(FATAL_ERROR "${v}")' '  endif()' 'endforeach()' \
        'find_package(alknet REQUIRED)' 'find_package(alknet ${alknet_VERSION} EXACT REQUIRED)' >"$scratch/versions.txt"
    mkdir -p "$scratch/versions" && cp "$scratch/versions.txt" "$scratch/versions/CMakeLists.txt" &&
        cmake -S "$scratch/versions" -B "$scratch/versions/out" -DCMAKE_PREFIX_PATH="$prefix"
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

check 'make install succeeds' installs
[ $failed = 0 ] || exit 1
check 'headers, libraries, programs, manual pages, documents, examples and completion are installed' nothing_is_missing
check 'documents that are installed lead to others that are' links_lead_somewhere
check 'systemd has nothing to say against the units, and calls their exposure small' units_are_good
check 'a staged install has the same files' staged_install_is_the_same
check 'each public header compiles alone as C99' headers_compile 'cc -x c -std=c99 -D_POSIX_C_SOURCE=200809L'
check 'each public header compiles alone as C++' headers_compile "${CLANG:-clang-14} -x c++ -std=c++11"
check 'a program builds and runs with the shared library and with yyjson from it' runs_shared
check 'a program builds and runs with the static library alone' runs_static
check 'examples/01_hello.c, built with the installed shared library, serves' example_runs builds_shared
check 'examples/01_hello.c, built with the installed static library, serves' example_runs builds_static
check 'the line of the README for the library as a part of the program works as it stands there' example_runs builds_pasted_static
check 'the lines of the README for CMake work as they stand there' example_runs builds_cmake_shared
check 'and with the library as a part of the program' example_runs builds_cmake_static
check 'CMake finds this version, and takes it for no other' cmake_knows_versions
check 'the static library shows no name but its own and those of yyjson' hides_what_it_bundles
check 'the README shows examples/01_hello.c as it is' readme_shows_the_example
check 'make uninstall removes every file' leaves_nothing
exit $failed
