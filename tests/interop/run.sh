#!/bin/sh
# Builds the peer on quic-go and runs tests with it:  tests/interop/run.sh PROGRAM COMMAND…
#
# COMMAND finds the program's path in QUICGO. Go is needed, and its modules as Go is configured here, at least the first time;
# nothing else of the project needs either, so what is missing is said and not fetched.
set -eu
program=$1
shift
if ! command -v go >/dev/null 2>&1; then
    echo "interop: Go is missing (1.26 or later, as the program go); make check tests QUIC against aioquic without it" >&2
    exit 1
fi
mkdir -p "$(dirname "$program")"
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
if ! (cd "$(dirname "$0")/quicgo" && GOFLAGS="-mod=readonly -trimpath -buildvcs=false" GOWORK=off go build -o "$program" .); then
    echo "interop: tests/interop/quicgo could not be built" >&2
    exit 1
fi
QUICGO=$program exec "$@"
