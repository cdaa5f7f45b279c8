#!/bin/sh
# The first minute with the project: `make run` serves, the commands that it prints work when pasted, and what it
# makes is for its owner only and stays as it is when started again.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${ALKNET_BUILD:-$PWD/build}
scratch=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
    server=
}
trap 'stop; rm -rf "$scratch"' EXIT
# shellcheck source=tests/support/verdict.sh
. tests/support/verdict.sh

# The server's process is make's child; make passes the signal on.
start() {
    make -s B="$build" RUN="$scratch/run" PORT="$port" run >"$scratch/log" 2>&1 &
    server=$!
    for _ in $(seq 200); do
        curl -s -o /dev/null "http://127.0.0.1:$port/healthz" && return 0
        kill -0 "$server" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# paste NUMBER PATTERN: what the command of that line prints has the pattern
paste_command() {
    command=$(grep '^ *curl ' "$scratch/log" | sed -n "${1}p")
    printf '%s\n' "$command" >"$scratch/said"
    (cd / && timeout 20 sh -c "$command") >>"$scratch/said" 2>&1
    sed 1d "$scratch/said" | grep -q -e "$2"
}

only_for_its_owner() {
    find "$scratch/run" -perm /077 >"$scratch/said"
    [ ! -s "$scratch/said" ] && [ -s "$scratch/run/token" ]
}

# One that is free together with the third above it.
port=$(python3 - <<'PY'
import socket
while True:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        try:
            other.bind(("127.0.0.1", one.getsockname()[1] + 3))
        except (OSError, OverflowError):
            continue
        print(one.getsockname()[1])
        break
PY
)
start
verdict $? 'make run serves' "$scratch/log"
[ "$(grep -c '^ *curl ' "$scratch/log")" = 5 ]
verdict $? 'make run prints three commands, and two over TLS' "$scratch/log"
paste_command 1 '^HTTP/1.1 200'
verdict $? 'the first command, pasted, shows health'
paste_command 2 '"result":"ok".*demo/echo'
verdict $? 'the second command, pasted, lists the operations'
paste_command 3 '"result":"ok".*{"hello":"world"}'
verdict $? 'the third command, pasted, calls an operation'
paste_command 4 '^ok'
verdict $? 'the fourth command, pasted, shows health over TLS'
paste_command 5 '"result":"ok".*demo/echo'
verdict $? 'the fifth command, pasted, lists the operations over TLS'
openssl x509 -in "$scratch/run/alknetd.crt" -noout -fingerprint -sha256 | tr -d : | tr 'A-F' 'a-f' | sed 's/.*=//' >"$scratch/print"
grep -q -F -e "SHA256:$(cat "$scratch/print")" "$scratch/log"
verdict $? 'make run prints the fingerprint of its certificate' "$scratch/log"
! grep -q -F -e "$(cat "$scratch/run/token")" "$scratch/log"
verdict $? 'make run shows no token' "$scratch/log"
only_for_its_owner
verdict $? 'configuration and token are readable by their owner only'
stop
cp -R "$scratch/run" "$scratch/before"
start && diff -r "$scratch/before" "$scratch/run" >"$scratch/said" 2>&1
verdict $? 'a second start keeps configuration and token'
exit $failed
