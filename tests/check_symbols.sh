#!/bin/sh
# What the shared library exports is a list that changes only on purpose: tests/symbols.txt, one function a line, sorted.
# It is the same as what the public headers declare with ALK_API, and besides it only yyjson is visible, if bundled.
# With --update the list is written anew from the headers.
set -u
cd "$(dirname "$0")/.." || exit 1
library=${ALKNET_BUILD:-build}/lib/libalknet.so
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# Comments go, the definitions of macros go, then every declaration that begins with ALK_API names one function.
declared() {
    for header in include/alknet/*.h; do
        cc -fpreprocessed -dD -E -P "$header" 2>/dev/null | sed '/^[[:space:]]*#/d'
    done | tr '\n' ' ' | tr ';{}' '\n' | grep 'ALK_API' | sed 's/.*ALK_API//' | grep -o 'alk_[a-z0-9_]* *(' | tr -d ' (' | LC_ALL=C sort
}

same() { # NAME WANTED FOUND
    if diff -u "$2" "$3" >"$scratch/diff"; then
        echo "ok $1"
    else
        echo "not ok $1 (lines with - are wanted, with + are there):"
        sed -n '3,$p' "$scratch/diff" | grep '^[-+]'
        failed=1
    fi
}

declared >"$scratch/declared"
if [ "${1-}" = --update ]; then
    cp "$scratch/declared" tests/symbols.txt
    exit 0
fi
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort -u >"$scratch/exported"
grep '^alk_' "$scratch/exported" >"$scratch/ours"
grep -v -e '^alk_' -e '^yyjson_' -e '^unsafe_yyjson_' "$scratch/exported" >"$scratch/others"
: >"$scratch/nothing"
[ -e tests/symbols.txt ] || : >"$scratch/no-list"
same 'the shared library exports the functions of tests/symbols.txt' \
    "$([ -e tests/symbols.txt ] && echo tests/symbols.txt || echo "$scratch/no-list")" "$scratch/ours"
same 'what headers declare with ALK_API is what is exported' "$scratch/declared" "$scratch/ours"
same 'nothing of bundled libraries but yyjson is visible' "$scratch/nothing" "$scratch/others"
version=$(readelf -d "$library" | sed -n 's/.*\[libalknet\.so\.\(.*\)\]$/\1/p')
nm -D --defined-only "$library" | awk '$3 ~ /^alk_/ { print $3 }' | grep -v "@@ALKNET_$version\$" >"$scratch/versions"
same 'symbols have the version of the SONAME' "$scratch/nothing" "$scratch/versions"
# Inline functions of yyjson.h call others; a program or a plugin that includes it needs all of them.
if [ -e build/deps/lib/libyyjson.a ]; then
    nm -g --defined-only build/deps/lib/libyyjson.a | awk 'NF == 3 { print $3 }' | LC_ALL=C sort >"$scratch/yyjson"
    grep 'yyjson_' "$scratch/exported" >"$scratch/yyjson-exported"
    same 'all of the bundled yyjson is exported' "$scratch/yyjson" "$scratch/yyjson-exported"
fi
exit $failed
