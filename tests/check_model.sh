#!/bin/sh
# The protocol between hubs holds in every order of events: tests/model has it in Promela, and spin goes through all states,
# on a good bus and on ones that lose, repeat and reorder. With one rule taken away (MUTANT_) it must not hold, or the check
# would see nothing.
set -u
cd "$(dirname "$0")/.." || exit 1
if ! command -v spin >/dev/null 2>&1; then
    echo "SKIP: no spin"
    exit 0
fi
models=$PWD/tests/model
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export models scratch

# The verdict on one model, as a line: holds|fails MODEL DEFINES NAME
# shellcheck disable=SC2016
judge='
dir=$(mktemp -d "$scratch/run.XXXXXX") && cd "$dir" || exit 1
defines=$(echo "$3" | sed "s/[^ ][^ ]*/-D&/g")
{ spin -a $defines "$models/$2.pml" && cc -O1 -w -DSAFETY -DMEMLIM=1000 -DVECTORSZ=2048 -o pan pan.c && ./pan -m1000000 -n; } >said 2>&1
status=$?
came=neither
if [ $status = 0 ] && grep -q "errors: 0" said && ! grep -q -e "not completed" -e "too small" said; then came=holds; fi
if grep -q "assertion violated  *!*(" said; then came=fails; fi
if [ "$1" = $came ]; then
    echo "ok $4"
else
    echo "not ok $4:"
    grep -v "^ *\$" said | head -20 | sed "s/^/    /"
fi'

tr '|\n' '\0\0' <<'LIST' | xargs -0 -P 2 -n 4 sh -c "$judge" judge >"$scratch/verdicts" 2>&1
holds|opening|WANT=1|one hub opens a pair
holds|opening|WANT=2|the other hub opens a pair
holds|opening||two openings at once give one pair
holds|opening|LOSSES=1 REPEATS=1|openings that are lost and repeated give one pair
holds|opening|LOSSES=1 REPEATS=1 HASTE=1|openings whose time limits run out early give one pair
holds|pair|ORDERED|on a good bus each call is answered
holds|pair||on a bus that reorders each call is answered or told
holds|pair|LOSSES=1|on a bus that loses each call is answered or told
holds|pair|LOSSES=1 REPEATS=1 KILLS=1 CALLS=2|on a bus that also repeats, and when a hub is killed, each call is answered or told
fails|opening|MUTANT_BOTH_IGNORE|hubs that both ignore the other are found
fails|opening|MUTANT_NO_ORDER|hubs without an order of names are found
fails|opening|MUTANT_KEEP|older openings that stay are found
fails|pair|LOSSES=1 MUTANT_GAP|a gap that is passed over is found
fails|pair|REPEATS=1 MUTANT_REPETITION|a repetition that is taken is found
fails|pair|MUTANT_CREDIT|credit that is not counted is found
fails|pair|MUTANT_GRANT|credit that is not granted is found
fails|pair|LOSSES=1 MUTANT_HEARTBEAT|a heartbeat that is missing is found
LIST
cat "$scratch/verdicts"
! grep -q -v '^ok ' "$scratch/verdicts"
