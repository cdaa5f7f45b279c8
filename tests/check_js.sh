#!/bin/sh
# The client for browsers and Node: its tests, those against the daemon included, its declarations under the compiler's
# strictest look, and what its package would hold. What the tests need from npm is kept in build/deps/js and fetched
# again only when clients/js/package.json asks for something else; nothing is ever written into clients/js.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
deps=$root/build/deps/js
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
ALKNET_BIN=$(realpath -m "${ALKNET_BIN:-${ALKNET_BUILD:-build}/san/bin}")
export ALKNET_BIN npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false npm_config_logs_max=0

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

installed() {
    cmp -s clients/js/package.json "$deps/package.json" && [ -e "$deps/node_modules/ws" ] && [ -e "$deps/node_modules/.bin/tsc" ]
}

install() {
    mkdir -p "$root/build/deps" || return 1
    exec 9>"$root/build/deps/.js.lock"
    flock 9
    installed && return
    rm -rf "$deps"
    mkdir "$deps" && cp clients/js/package.json "$deps/" || return 1
    if ! (cd "$deps" && npm install --no-package-lock --ignore-scripts --loglevel=error) || ! installed; then
        rm -f "$deps/package.json"
        return 1
    fi
}

# A line for each test of a file; what a failed one said is below its line.
lines_of() {
    awk '
        /^(not )?ok [0-9]+ - / {
            bad = /^not /
            skip = ""
            sub(/^(not )?ok [0-9]+ - /, "")
            if (match($0, / # SKIP/)) {
                skip = substr($0, RSTART + 7)
                $0 = substr($0, 1, RSTART - 1)
            }
            gsub(/\\#/, "#")
            print skip != "" ? "SKIP: " $0 ":" skip : bad ? "not ok " $0 ":" : "ok " $0
            next
        }
        /^(#|1\.\.|TAP version)/ { bad = 0 }
        bad { print "    " $0 }
    ' "$1"
}

run_tests() { # FILE
    (cd "$scratch/js" && timeout 180 node --test-reporter=tap "test/$1") >"$scratch/tap" 2>&1
    status=$?
    lines_of "$scratch/tap" | tee "$scratch/lines"
    if [ $status != 0 ] && ! grep -q '^not ok ' "$scratch/lines" || ! grep -q -e '^ok ' -e '^not ok ' -e '^SKIP: ' "$scratch/lines"; then
        echo "not ok clients/js/test/$1 ends well: exit status $status and:"
        tail -n 40 "$scratch/tap" | sed 's/^/    /'
    fi
    [ $status = 0 ] || failed=1
}

# The table of cases that all clients pass.
cases() {
    cp tests/clients/runner.mjs "$scratch/js/" && tests/clients/run.sh js node "$scratch/js/runner.mjs" || failed=1
}

types() { (cd "$scratch/js" && node_modules/.bin/tsc -p test); }

packed() {
    (cd "$scratch/js" && npm pack --dry-run --json --ignore-scripts --loglevel=error) >"$scratch/pack.json" || return 1
    node -e '
        const [pack] = JSON.parse(require("fs").readFileSync(process.argv[1]));
        const files = pack.files.map((file) => file.path).sort().join(" ");
        const expected = "LICENSE README.md alknet.d.ts alknet.js package.json";
        if (files !== expected)
            throw new Error(`packed are ${files}, not ${expected}`);
    ' "$scratch/pack.json"
}

consistent() {
    cmp LICENSE clients/js/LICENSE || return 1
    version=$(sed -n 's/^#define ALK_VERSION "\(.*\)"/\1/p' include/alknet/alknet.h)
    grep -q "^    \"version\": \"$version\",\$" clients/js/package.json || { echo "the version is not $version"; return 1; }
    ! grep -E '^ *import |^export .* from |require\(' clients/js/alknet.js
}

clean() { ! ls -d clients/js/node_modules clients/js/*lock* clients/js/.npmrc 2>/dev/null; }

for program in node npm; do
    command -v $program >/dev/null || { echo "not ok clients/js can be tested: there is no $program"; exit 1; }
done
check 'the packages that the tests of clients/js need are there' install || exit 1
cp -R clients/js "$scratch/js"
ln -s "$deps/node_modules" "$scratch/js/node_modules"
for file in clients/js/test/*.test.js; do
    run_tests "${file##*/}"
done
cases
check 'the declarations of clients/js say what may be written' types
check 'the package of clients/js holds what it should' packed
check 'the package of clients/js has the licence and version of the library, and depends on nothing' consistent
check 'clients/js holds no installed packages' clean
exit $failed
