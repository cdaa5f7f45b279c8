#!/bin/sh
# What programs were compiled against stays as tests/libalknet.abi describes it: the exported functions, and the structs of
# the public headers. Additions are recorded by `make abi`, which is --update here.
set -u
cd "$(dirname "$0")/.." || exit 1
library=${ALKNET_BUILD:-build}/lib/libalknet.so
described=tests/libalknet.abi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if [ "$(uname -m)" != x86_64 ]; then
    echo "SKIP: $described describes x86_64"
    exit 0
fi

# Types of libuv, yyjson and the system are whatever this machine has.
cat >"$scratch/ours" <<'SUPPRESSIONS'
[suppress_type]
name_not_regexp = ^alk_
source_location_not_regexp = include/alknet
drop = yes
[suppress_function]
symbol_name_not_regexp = ^alk_
drop = yes
[suppress_variable]
symbol_name_not_regexp = ^alk_
drop = yes
SUPPRESSIONS

abidw --suppressions "$scratch/ours" --headers-dir include --drop-private-types --drop-undefined-syms --type-id-style hash \
    --no-architecture --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --no-parameter-names \
    --no-write-default-sizes --out-file "$scratch/abi" "$library" || exit 1
if [ "${1-}" = --update ]; then
    cp "$scratch/abi" "$described"
    exit 0
fi
if abidiff --no-unreferenced-symbols "$described" "$scratch/abi" >"$scratch/report" 2>&1; then
    echo 'ok the ABI is as described'
    exit 0
fi
# How abidiff words a new function and a struct that grows at its end. Whatever else it says breaks programs.
grown='^ *$|^ *\[[AC]\] |^(Functions|Variables) changes summary: 0 Removed|^[0-9]+ (Added )?functions?\b|'
grown=$grown'^ *parameter [0-9]+ of type .* has sub-type changes:$|^ *in pointed to type |^ *in unqualified underlying type |'
grown=$grown"^ *underlying type 'struct alk_.*' changed:\$|^ *type size (changed from|hasn't changed)|"
grown=$grown"^ *[0-9]+ data member (insertion|change)s?:\$|^ *type of '.*' changed:\$|^ *'.*', at offset "
if grep -q -v -E "$grown" "$scratch/report"; then
    echo 'not ok the ABI is as described: programs break; once this minor version is released, that takes the next one:'
else
    echo 'not ok the ABI is as described: it has grown, which make abi records:'
fi
cat "$scratch/report"
exit 1
