#!/bin/sh
# The client for Go: built against the library as it is installed, its tests and examples under the race detector, linked
# statically, and looked at by vet and gofmt. Modules come from where `go` is configured to find them; nothing is ever
# written into clients/go.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
build=${ALKNET_BUILD:-$PWD/build}
deps=$root/build/deps/go
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib" CGO_ENABLED=1 GOFLAGS=-mod=readonly GOWORK=off
unset CC CGO_CFLAGS CGO_LDFLAGS
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
        return 1
    fi
}

# ---- a Go that is new enough --------------------------------------------------------------------------------------

wanted=$(sed -n 's/^go //p' clients/go/go.mod)

# at_least VERSION WANTED
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

is_good() { at_least "$("$1" env GOVERSION 2>/dev/null | sed 's/^go//')" "$wanted"; }

# From 1.21 on Go fetches a newer one by itself, and keeps it; an older one can at least fetch the module that this is.
find_go() {
    command -v go >/dev/null || install_go || return 1
    is_good go && return
    if at_least "$(go env GOVERSION | sed 's/^go//')" 1.21; then
        export GOTOOLCHAIN="go$wanted.0"
        is_good go
        return
    fi
    if ! is_good "$deps/toolchain/bin/go"; then
        arch=$(go env GOARCH)
        mkdir -p "$deps" && (cd "$scratch" && GOFLAGS=-mod=mod go mod download -json "golang.org/toolchain@v0.0.1-go$wanted.0.linux-$arch") >"$scratch/module" || return 1
        rm -rf "$deps/toolchain"
        cp -R "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' "$scratch/module")" "$deps/toolchain" && chmod -R u+w "$deps/toolchain" &&
            chmod -R +x "$deps/toolchain/bin" "$deps/toolchain/pkg/tool" || return 1
    fi
    PATH=$deps/toolchain/bin:$PATH
    export GOTOOLCHAIN=local
    is_good go
}

install_go() {
    [ "$(id -u)" = 0 ] && as_root= || as_root='sudo -n'
    $as_root apt-get -qq update && $as_root apt-get -qq install --no-install-recommends golang-go
}

# ---- checks -------------------------------------------------------------------------------------------------------

installed() { make -s B="$build" PREFIX="$prefix" install; }
modules() { (cd "$scratch/go" && go mod download && go mod verify); }
vetted() { (cd "$scratch/go" && go vet ./...); }
formatted() { [ -z "$(gofmt -l clients/go)" ] || { gofmt -d clients/go; return 1; }; }

# A line for each test, and what a failed one said.
lines_of() {
    awk '
        /^ *--- (PASS|FAIL|SKIP): / {
            name = $3
            if ($2 == "PASS:") print "ok clients/go " name
            else if ($2 == "SKIP:") { getline why; sub(/^ +/, "", why); print "SKIP: clients/go " name ": " why }
            else print "not ok clients/go " name ":"
        }
    ' "$1"
}

tests() { # FLAGS…
    (cd "$scratch/go" && timeout 400 go test -v -count=1 "$@" .) >"$scratch/tests" 2>&1
    status=$?
    lines_of "$scratch/tests" | tee "$scratch/lines"
    if [ $status != 0 ]; then
        grep -q '^not ok ' "$scratch/lines" || echo "not ok the tests of clients/go end well: exit status $status and:"
        grep -v -e '^=== ' -e '^ *--- PASS' "$scratch/tests" | tail -n 200 | sed 's/^/    /'
        failed=1
    elif ! grep -q '^ok ' "$scratch/lines"; then
        echo 'not ok clients/go has tests'
        failed=1
    fi
}

# The table of cases that all clients pass.
cases() {
    mkdir "$scratch/go/cases" && cp tests/clients/runner.go "$scratch/go/cases/" && (cd "$scratch/go" && go build -race -o "$scratch/runner" ./cases) &&
        tests/clients/run.sh go "$scratch/runner" || failed=1
}

# The library is within the program, which needs none to be there.
static() {
    (cd "$scratch/go" && go build -race -tags alknet_static -o "$scratch/serve" ./examples/serve) || return 1
    readelf -d "$scratch/serve" | grep NEEDED | grep libalknet && return 1
    LD_LIBRARY_PATH='' "$scratch/serve" 127.0.0.1:0 >"$scratch/out" 2>&1 &
    serve=$!
    url=
    for _ in $(seq 100); do
        url=$(sed -n 's/^listening on //p' "$scratch/out")
        [ -z "$url" ] || break
        sleep 0.1
    done
    answer=$(curl -sS -m 10 -H 'Content-Type: application/json' -d '{"operation":"demo/add","input":{"a":1,"b":2}}' "$url/call")
    kill "$serve" && wait "$serve" || return 1
    echo "answer: $answer"
    cat "$scratch/out"
    case $answer in *'"output":{"sum":3}'*) return 0 ;; *) return 1 ;; esac
}

consistent() {
    cmp LICENSE clients/go/LICENSE || return 1
    version=$(sed -n 's/^#define ALK_VERSION "\(.*\)"/\1/p' include/alknet/alknet.h)
    grep -q "^const Version = \"$version\"\$" clients/go/version.go || { echo "the version is not $version"; return 1; }
}

check 'a Go that is new enough for clients/go is there' find_go || exit 1
check 'make install succeeds for clients/go' installed || exit 1
cp -R clients/go "$scratch/go"
check 'the modules that clients/go needs are there, as go.sum has them' modules || exit 1
check 'clients/go is formatted' formatted
check 'go vet has nothing to say against clients/go' vetted
tests -race
cases
check 'an example is linked statically and serves' static
check 'clients/go has the licence and version of the library' consistent
exit $failed
