#!/bin/sh
# The table of cases with the client of one language, against an alknetd of its own:
#   tests/clients/run.sh NAME COMMAND…
#
# COMMAND gets the table as expand.py writes it, the URL and a token, and prints `ok CASE` or `not ok CASE: why` for each case.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/clients}
bin=$(realpath -m "${ALKNET_BIN:-${ALKNET_BUILD:-$root/build}/san/bin}")
name=$1
shift
scratch=$(mktemp -d)
daemon=
trap '[ -z "$daemon" ] || kill -9 "$daemon"; rm -rf "$scratch"' EXIT
failed=0

fail() {
    echo "not ok clients/$name: $1:"
    sed 's/^/    /' "$2"
    exit 1
}

expanded() { "${PYTHON:-python3}" "$here/expand.py" <"$here/cases.json" >"$scratch/cases.json"; }

plugin() {
    "${CC:-cc}" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -g -shared -fPIC -I"$root/include" -isystem "$root/build/deps/include" \
        -o "$scratch/plugin.so" "$here/plugin.c"
}

(umask 022 && cp "$here/alknetd.yml" "$here/identities.json" "$scratch/" && expanded && plugin) >"$scratch/said" 2>&1 ||
    fail 'what it is tested with can be made' "$scratch/said"
(cd "$scratch" && exec "$bin/alknetd" --config alknetd.yml) >"$scratch/log" 2>&1 &
daemon=$!
port=
for _ in $(seq 200); do
    port=$(sed -n 's/.*"event":"listening".*"port":\([0-9]*\).*/\1/p' "$scratch/log")
    [ -z "$port" ] || break
    sleep 0.1
done
[ -n "$port" ] || fail 'alknetd listens' "$scratch/log"

timeout 120 "$@" "$scratch/cases.json" "ws://127.0.0.1:$port" keeper-1-of-the-table-of-cases >"$scratch/lines" 2>"$scratch/said"
status=$?
sed -n "s|^\(not \)\{0,1\}ok |&clients/$name: |p" "$scratch/lines"
[ "$(grep -c '^ok ' "$scratch/lines")" = "$(grep -c '"name"' "$scratch/cases.json")" ] || failed=1
[ "$status" = 0 ] || fail "its runner ends with status 0, not $status" "$scratch/said"
kill "$daemon"
wait "$daemon"
status=$?
daemon=
if [ $status != 0 ] || grep -q -e Sanitizer -e 'runtime error:' "$scratch/log"; then
    fail "alknetd ends well behind it, with status 0, not $status" "$scratch/log"
fi
exit $failed
