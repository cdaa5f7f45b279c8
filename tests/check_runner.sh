#!/bin/sh
# The runner that every verdict rests on: whatever a test program dies of, it must not be counted as passed.
set -u
cd "$(dirname "$0")/.." || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# case_of NAME KIND "LAST LINE" STATUS BODY [SETTING]: a program of that kind with that body must be summed up so
case_of() {
    name=$1 kind=$2 last=$3 status=$4 program=$scratch/test_program.py
    if [ "$kind" = pytest ]; then
        printf '%s\n' "$5" >"$program"
    else
        printf '#!/bin/sh\n%s\n' "$5" >"$program"
    fi
    chmod +x "$program"
    # shellcheck disable=SC2086
    env -u CI ${6-} "${PYTHON:-python3}" tests/run.py --seconds 20 "$kind:$program" >"$scratch/said" 2>&1
    got=$?
    if [ "$(tail -n 1 "$scratch/said")" = "$last" ] && [ $got = "$status" ]; then
        echo "ok the runner counts $name"
    else
        echo "not ok the runner counts $name: wanted '$last' and status $status, got $got and:"
        sed 's/^/    /' "$scratch/said"
        failed=1
    fi
}

good='echo "100%: Checks: 3, Failures: 0, Errors: 0"'
case_of 'tests that pass' check '3 passed, 0 failed' 0 "$good"
case_of 'suites of one program together' check '6 passed, 0 failed' 0 "$good; $good"
case_of 'failures and errors' check '1 passed, 2 failed' 1 'echo "33%: Checks: 3, Failures: 1, Errors: 1"; exit 1'
case_of 'failures whatever the exit status' check '2 passed, 1 failed' 1 'echo "66%: Checks: 3, Failures: 1, Errors: 0"'
case_of 'a bad exit status after good tests' check '3 passed, 1 failed' 1 "$good; exit 1"
case_of 'a crash after good tests' check '3 passed, 1 failed' 1 "$good; kill -SEGV \$\$"
case_of 'a program that says nothing' check '0 passed, 1 failed' 1 'exit 0'
case_of 'a program without tests' check '0 passed, 1 failed' 1 'echo "100%: Checks: 0, Failures: 0, Errors: 0"'
case_of 'a TAP log' check '1 passed, 1 failed' 1 'printf "1..2\nok 1 - a\nnot ok 2 - b\n" >"$CK_TAP_LOG_FILE_NAME"; exit 1'
case_of 'skipped tests apart' check '2 passed, 0 failed, 1 skipped' 0 "echo 'SKIP: no data'; $good"
case_of 'a skipped test as bad where CI is set' check '2 passed, 0 failed, 1 skipped' 1 "echo 'SKIP: no data'; $good" CI=true
case_of 'the lines of a shell script' shell '1 passed, 1 failed, 1 skipped' 1 'echo ok a; echo not ok b; echo SKIP: c; exit 1'
case_of 'a shell script that ends badly' shell '1 passed, 1 failed' 1 'echo ok a; exit 3'
case_of 'a fuzz target without a corpus' fuzz '0 passed, 1 failed' 1 'exit 0'
case_of 'pytest tests' pytest '1 passed, 2 failed, 1 skipped' 1 '
import pytest
def test_a(): pass
def test_b(): assert 0
def test_c(missing): pass
@pytest.mark.skip(reason="no")
def test_d(): pass'
case_of 'a pytest file that cannot be read' pytest '0 passed, 1 failed' 1 'import nothing_of_that_name'

# Where the network is narrow, this program has a test more.
cat >"$scratch/sockets" <<'END'
#!/usr/bin/env python3
import fcntl, os, socket, struct
with socket.create_server(("127.0.0.1", 0)) as s, socket.create_connection(s.getsockname()) as c:
    mtu = struct.unpack("16xi20x", fcntl.ioctl(s, 0x8921, struct.pack("16s24x", b"lo")))[0]  # SIOCGIFMTU
with open("/proc/sys/net/ipv4/tcp_wmem", encoding="ascii") as f:
    narrow = mtu == 1500 and int(f.read().split()[2]) == 65536 and os.readlink("/proc/self/ns/net") != os.environ["HERE"]
print(f"100%: Checks: {4 if narrow else 3}, Failures: 0, Errors: 0")
END
chmod +x "$scratch/sockets"

# narrow_case NAME "LAST LINE" [OPTION…]: the program, run in both networks, must be summed up so
narrow_case() {
    name=$1 last=$2
    shift 2
    HERE=$(readlink /proc/self/ns/net) "${PYTHON:-python3}" tests/run.py "$@" "check:$scratch/sockets" "narrow:$scratch/sockets" >"$scratch/said" 2>&1
    got=$?
    if [ "$(tail -n 1 "$scratch/said")" = "$last" ] && [ $got = 0 ] &&
        { [ "$last" = '7 passed, 0 failed' ] || grep -q 'does not allow: no room here$' "$scratch/said"; }; then
        echo "ok the runner $name"
    else
        echo "not ok the runner $name: wanted '$last', got $got and:"
        sed 's/^/    /' "$scratch/said"
        failed=1
    fi
}
printf '#!/bin/sh\necho no room here >&2\nexit 125\n' >"$scratch/forbidden"
chmod +x "$scratch/forbidden"
narrow_case 'says where no narrow network is allowed' '3 passed, 0 failed' --narrow "$scratch/forbidden"
there='0 passed, 1 failed' # nothing is left to run
if tests/narrow.py true 2>"$scratch/said"; then
    there='1 passed, 2 failed'
    narrow_case 'runs a program where the network is narrow' '7 passed, 0 failed'
fi
case_of 'failures in a narrow network' narrow "$there" 1 'echo "33%: Checks: 3, Failures: 1, Errors: 1"; exit 1'

# A zombie that nobody waits for is dead.
alive() { [ -e "/proc/$1/stat" ] && ! grep -q ') Z ' "/proc/$1/stat"; }

# Out of time: the whole group goes, with what the program has started.
printf '#!/bin/sh\nsleep 1234.5 &\necho $! >%s\n%s\nsleep 1234.5\n' "$scratch/pid" "$good" >"$scratch/slow"
chmod +x "$scratch/slow"
"${PYTHON:-python3}" tests/run.py --seconds 1 "check:$scratch/slow" >"$scratch/said" 2>&1
if [ "$(tail -n 1 "$scratch/said")" = '3 passed, 1 failed' ] && ! alive "$(cat "$scratch/pid")"; then
    echo 'ok the runner ends what runs out of time'
else
    echo 'not ok the runner ends what runs out of time:'
    sed 's/^/    /' "$scratch/said"
    failed=1
fi
exit $failed
