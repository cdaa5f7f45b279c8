#!/bin/sh
# What grows with what a remote sends grows in proportion: each scenario of tests/cost is run with n and with 2n under
# callgrind, and may take 2.2 times the instructions, which leaves room for n log n. Instructions and not time: they are the
# same on a busy machine.
set -u
cd "$(dirname "$0")/.." || exit 1
export cost="${ALKNET_BUILD:-build}/tests/cost/cost"
scratch=$(mktemp -d)
export scratch
trap 'rm -rf "$scratch"' EXIT
# In tenths.
export most=22

# The verdict on one scenario, as a line: NAME N
# shellcheck disable=SC2016
judge='
count() {
    valgrind --tool=callgrind --toggle-collect="measured*" --callgrind-out-file=/dev/null "$cost" "$1" "$2" \
        >"$scratch/$1.$2" 2>&1 || return 1
    sed -n "s/.* Collected : *//p" "$scratch/$1.$2"
}
if ! once=$(count "$1" "$2") || ! twice=$(count "$1" $(($2 * 2))); then
    echo "not ok $1: it fails:"
    sed "s/^/    /" "$scratch/$1".*
elif [ "$once" -lt 100000 ]; then
    echo "not ok $1: $once instructions are too few to tell"
elif [ $((twice * 10)) -gt $((once * most)) ]; then
    echo "not ok $1: $once instructions with $2, $twice with twice as many"
else
    echo "ok $1"
fi'

"$cost" | xargs -P "$(nproc)" -n 2 sh -c "$judge" judge >"$scratch/verdicts" 2>&1
cat "$scratch/verdicts"
! grep -q -v '^ok ' "$scratch/verdicts"
