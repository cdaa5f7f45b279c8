#!/bin/sh
# The package for Python: a wheel as pip makes it, its tests on this machine's Python, its types under the strictest look of two
# checkers, a wheel for other machines, and some of the tests on the oldest and the newest CPython that pyenv has here. What
# comes from PyPI is kept in build/deps/clients-python and fetched again only when clients/python/tests asks for something
# else; nothing is ever written into clients/python.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
build=${ALKNET_BUILD:-$root/build}
deps=$root/build/deps/clients-python
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
export ALKNET_BUILD="$build" PYTHONDONTWRITEBYTECODE=1 PYRIGHT_PYTHON_CACHE_DIR="$deps/pyright" PYRIGHT_PYTHON_IGNORE_WARNINGS=1
unset PYTHONPATH

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

python_with_pip() {
    for p in python3 /usr/bin/python3; do
        "$p" -c 'import pip, sys; print(sys.executable)' 2>/dev/null && return
    done
    return 1
}

tag_of() { "$1" -c 'import sys; print(sys.implementation.cache_tag)'; }

# The oldest and the newest of pyenv's that the package is for.
other_pythons() {
    for p in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python; do
        [ -x "$p" ] && "$p" -c 'import sys; (3, 9) <= sys.version_info < (3, 14) or sys.exit(1); print("%d.%02d" % sys.version_info[:2], sys.executable)'
    done | sort | sed -n '1p;$p' | uniq | cut -d ' ' -f 2
}

# fetch PYTHON FILE…: what the files ask for, into a folder for that Python, which it prints
fetch() {
    into=$deps/$(tag_of "$1")
    interpreter=$1
    shift
    wanted=$(cd clients/python/tests && cat "$@" | cksum)
    if [ "$(cat "$into/stamp" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$into"
        for file in "$@"; do
            set -- "$@" -r "clients/python/tests/$file"
            shift
        done
        "$python" -m pip --python "$interpreter" --quiet --no-input --disable-pip-version-check install --no-deps \
            --only-binary :all: --target "$into" "$@" >&2 || return 1
        echo "$wanted" >"$into/stamp"
    fi
    echo "$into"
}

install() {
    mkdir -p "$deps" || return 1
    exec 9>"$deps/.lock"
    flock 9
    tools=$(fetch "$python" requirements.txt tools.txt) && PYTHONPATH=$tools "$python" -m pyright --version || return 1
    for p in $others; do
        fetch "$p" requirements.txt || return 1
    done
}

wheel() {
    PYTHONPATH=$tools "$python" -m pip --no-input --disable-pip-version-check wheel --no-build-isolation --no-deps \
        --wheel-dir "$scratch/wheel" clients/python
}

# What pip would do with it.
unpack() { "$python" -m zipfile -e "$1" "$2"; } # WHEEL FOLDER

repaired() {
    PATH="$tools/bin:$PATH" PYTHONPATH=$tools "$python" -m auditwheel repair --wheel-dir "$scratch/repaired" "$scratch"/wheel/*.whl &&
        ls "$scratch"/repaired/*-cp39-abi3-manylinux_*.whl
}

# A line for each test; what the failed ones said is below them.
run_tests() { # PYTHON WITH FOLDER TEST…
    interpreter=$1 with=$2 site=$3
    shift 3
    (cd clients/python/tests && PYTHONPATH=$site:$with timeout 300 "$interpreter" -m pytest -q -rA -p no:cacheprovider \
        --basetemp "$scratch/tmp" "$@") >"$scratch/tests" 2>&1
    status=$?
    sed -n "s|^PASSED |ok $(tag_of "$interpreter") |p; s|^SKIPPED |SKIP: $(tag_of "$interpreter") |p" "$scratch/tests"
    if [ $status != 0 ]; then
        echo "not ok clients/python on $(tag_of "$interpreter"):"
        sed -e '/^=* PASSES =*$/,/^=* short test summary/d' -e '/^PASSED /d' -e 's/^/    /' "$scratch/tests"
        failed=1
    fi
}

# The table of cases that all clients pass.
cases() { PYTHONPATH=$site:$tools tests/clients/run.sh python "$python" tests/clients/runner.py || failed=1; }

types() {
    (cd "$scratch" && PYTHONPATH=$site:$tools "$python" -m mypy --strict --cache-dir "$scratch/mypy" "$site/alknet" "$root/clients/python/tests/typed.py" &&
        PYTHONPATH=$site:$tools "$python" -m pyright --pythonpath "$python" --warnings "$site/alknet" "$root/clients/python/tests/typed.py")
}

consistent() {
    cmp LICENSE clients/python/LICENSE || return 1
    version=$(sed -n 's/^#define ALK_VERSION "\(.*\)"/\1/p' include/alknet/alknet.h)
    grep -q "^__version__ = \"$version\"\$" clients/python/src/alknet/_version.py || { echo "the version is not $version"; return 1; }
}

holds_what_it_should() {
    (cd "$site" && find . -type f ! -path ./alknet/licenses/LICENSE.\* ! -path './*.dist-info/*') | sort >"$scratch/holds"
    (cd clients/python/src && find . -name '*.py' -o -name '*.pyi' -o -name py.typed; echo ./alknet/_native.abi3.so) | sort | diff - "$scratch/holds"
}

clean() { ! ls -d clients/python/build clients/python/src/*.egg-info clients/python/src/alknet/*.so 2>/dev/null; }

python=$(python_with_pip) || { echo 'not ok clients/python can be tested: there is no Python with pip'; exit 1; }
others=$(other_pythons)
check 'what the tests of clients/python need is there' install || exit 1
check 'pip builds a wheel of clients/python' wheel || exit 1
site=$scratch/site
unpack "$scratch"/wheel/*.whl "$site"
run_tests "$python" "$tools" "$site" .
cases
check 'mypy and pyright find nothing in clients/python, nor in what its users write' types
check 'the package of clients/python has the licence and version of the library' consistent
check 'the wheel of clients/python holds what it should' holds_what_it_should
check 'the wheel of clients/python can be made one for other machines' repaired && unpack "$scratch"/repaired/*.whl "$scratch/other"
for p in $others; do
    run_tests "$p" "$deps/$(tag_of "$p")" "$scratch/other" -m smoke
done
check 'nothing was written into clients/python' clean
exit $failed
