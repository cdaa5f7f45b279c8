#!/bin/sh
# Builds the peers on quic-go and quinn, fetches linters of OpenAPI documents and clients of MCP and NATS from npm, and runs tests with them:
#   tests/interop/run.sh FOLDER COMMAND…
#
# COMMAND finds the programs' paths in QUICGO and QUINNPEER, and the folders of what came from npm in OPENAPI_LINTERS, MCP_CLIENTS
# and NATS_CLIENT.
# Go and Rust are needed, and what the peers are built from as these are configured here, at least the first time; nothing else of
# the project needs either, so what is missing is said and not fetched.
set -eu
folder=$1
shift
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "interop: $*; make check tests QUIC against aioquic, without Go and Rust" >&2
    exit 1
}

command -v go >/dev/null 2>&1 || fail 'Go is missing (1.26 or later, as the program go)'
command -v cargo >/dev/null 2>&1 || fail 'Rust is missing (as the program cargo)'
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
(cd "$here/quicgo" && GOFLAGS='-mod=readonly -trimpath -buildvcs=false' GOWORK=off go build -o "$folder/quicgo" .) ||
    fail 'tests/interop/quicgo could not be built'
# In a copy: cargo writes down where it has found what.
rm -rf "$folder/quinnpeer"
cp -R "$here/quinnpeer" "$folder/"
cargo build --quiet --release --manifest-path "$folder/quinnpeer/Cargo.toml" --target-dir "$folder/cargo" ||
    fail 'tests/interop/quinnpeer could not be built'
# from_npm FOLDER: what its lock file names
from_npm() {
    if cmp -s "$here/$1/package-lock.json" "$folder/$1/package-lock.json" && [ -e "$folder/$1/ready" ]; then
        return
    fi
    rm -rf "${folder:?}/$1"
    mkdir "$folder/$1"
    cp "$here/$1/package.json" "$here/$1/package-lock.json" "$folder/$1/"
    (cd "$folder/$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && : >ready) ||
        fail "npm could not fetch the packages of tests/interop/$1"
}
from_npm openapi
from_npm mcp
from_npm nats
NATS_CLIENT=$folder/nats OPENAPI_LINTERS=$folder/openapi MCP_CLIENTS=$folder/mcp QUICGO=$folder/quicgo QUINNPEER=$folder/cargo/release/quinnpeer exec "$@"
