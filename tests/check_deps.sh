#!/bin/sh
# What a developer meets when starting out: pkgconfig/deps.sh says nothing when all is there, and says what is missing,
# by the names to install, when it cannot help.
set -u
cd "$(dirname "$0")/.." || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=tests/support/verdict.sh
. tests/support/verdict.sh

silent_when_ready() {
    pkgconfig/deps.sh check >"$scratch/said" 2>&1 && [ ! -s "$scratch/said" ]
}

# A machine with a shell and little else: no compiler, no pkg-config, no apt.
names_what_is_missing() {
    mkdir "$scratch/bin"
    for tool in awk cat cut dirname flock grep head id mkdir mktemp nproc rm sed sort tail tr; do
        ln -s "$(command -v $tool)" "$scratch/bin/$tool"
    done
    if PATH=$scratch/bin /bin/sh pkgconfig/deps.sh run >"$scratch/said" 2>&1; then
        echo 'exit status 0' >>"$scratch/said"
        return 1
    fi
    for name in gcc pkgconf libuv1-dev libpcre2-dev libyaml-dev libcurl4-gnutls-dev libwslay-dev libnghttp2-dev libnats-dev \
        'as root:  apt-get update && apt-get install --no-install-recommends gcc ' ' dpkg-dev' 'mbedtls >= 3.6' 'yyjson >= 0.10' 'libllhttp >= 9'; do
        grep -q -F -e "$name" "$scratch/said" || return 1
    done
}

# Who has become root by su may have a PATH without what dpkg needs.
lets_dpkg_find_its_programs() {
    [ "$(id -u)" = 0 ] || return 0
    cp -R "$scratch/bin" "$scratch/su" && ln -s "$(command -v env)" "$scratch/su/env" || return 1
    printf '#!/bin/sh\necho "$PATH" "$@" >>%s\nexit 1\n' "$scratch/apt" >"$scratch/su/apt-get"
    chmod +x "$scratch/su/apt-get"
    PATH=$scratch/su /bin/sh pkgconfig/deps.sh run >"$scratch/said" 2>&1
    grep -q ':/usr/sbin:/sbin .* install .*gcc' "$scratch/apt"
}

# For the tests more is needed; a tree in which nothing has been built yet.
names_what_the_tests_need() {
    mkdir -p "$scratch/tree/pkgconfig"
    cp pkgconfig/deps.sh pkgconfig/mbedtls_config.h "$scratch/tree/pkgconfig/"
    if PATH=$scratch/bin /bin/sh "$scratch/tree/pkgconfig/deps.sh" check >"$scratch/said" 2>&1; then
        echo 'exit status 0' >>"$scratch/said"
        return 1
    fi
    for name in chromium nodejs npm cmake libwslay-dev playwright== websockets==; do
        grep -q -F -e "$name" "$scratch/said" || return 1
    done
}

# All is there but what comes from PyPI, and that is out of reach.
names_python_packages() {
    mkdir -p "$scratch/tree/build/deps"
    ln -s "$PWD/build/deps/lib" "$PWD/build/deps/include" "$scratch/tree/build/deps/" || return 1
    if PIP_NO_INDEX=1 PIP_FIND_LINKS='' "$scratch/tree/pkgconfig/deps.sh" check >"$scratch/said" 2>&1; then
        echo 'exit status 0' >>"$scratch/said"
        return 1
    fi
    [ ! -e "$scratch/tree/build/deps/python" ] || return 1
    for name in 'not ready: pip could not fetch' '    playwright==' '    websockets=='; do
        grep -q -F -e "$name" "$scratch/said" || return 1
    done
}

# The same of npm.
names_node_packages() {
    for part in openapi mcp; do
        mkdir -p "$scratch/tree/tests/$part"
        cp "tests/$part/package.json" "tests/$part/package-lock.json" "$scratch/tree/tests/$part/"
    done
    ln -s "$PWD/build/deps/python" "$PWD/build/deps/bin" "$scratch/tree/build/deps/" || return 1
    if npm_config_registry=http://127.0.0.1:9 npm_config_fetch_retries=0 npm_config_cache="$scratch/npm" \
        "$scratch/tree/pkgconfig/deps.sh" check >"$scratch/said" 2>&1; then
        echo 'exit status 0' >>"$scratch/said"
        return 1
    fi
    [ ! -e "$scratch/tree/build/deps/node" ] || return 1
    for name in 'not ready: npm could not fetch' 'missing in build/deps/node' tests/openapi/package-lock.json \
        'missing in build/deps/mcp' tests/mcp/package-lock.json; do
        grep -q -F -e "$name" "$scratch/said" || return 1
    done
}

# A library that is installed is not named, or apt would upgrade it.
asks_for_absent_libraries_only() {
    mkdir -p "$scratch/package/DEBIAN" || return 1
    printf '%s\n' 'Package: some' 'Version: 1' 'Architecture: all' 'Maintainer: nobody <nobody@localhost>' \
        'Depends: libc6 (>= 2.34), libnobody-has-this1 (>= 1), python3' 'Description: none' >"$scratch/package/DEBIAN/control"
    dpkg-deb -b "$scratch/package" "$scratch/some.deb" >"$scratch/said" 2>&1 || return 1
    sed -n '/^absent_libraries() {/,/^}/p' pkgconfig/deps.sh >"$scratch/function"
    sh -c '. "$1"; absent_libraries "$2"' - "$scratch/function" "$scratch/some.deb" >"$scratch/said" 2>&1
    [ "$(cat "$scratch/said")" = libnobody-has-this1 ]
}

refuses_an_unknown_level() {
    pkgconfig/deps.sh everything >"$scratch/said" 2>&1
    [ $? = 2 ] && grep -q usage "$scratch/said"
}

silent_when_ready
verdict $? 'deps.sh is silent when everything is there'
names_what_is_missing
verdict $? 'deps.sh names every package and library that is missing where it cannot install'
lets_dpkg_find_its_programs
verdict $? 'deps.sh installs with a PATH in which dpkg finds its programs' "$scratch/apt"
names_what_the_tests_need
verdict $? 'deps.sh names what the tests need on top'
names_python_packages
verdict $? 'deps.sh names the Python packages that pip could not fetch'
names_node_packages
verdict $? 'deps.sh names the packages that npm could not fetch'
asks_for_absent_libraries_only
verdict $? 'deps.sh asks for the libraries of a program that are not installed, and for no others'
refuses_an_unknown_level
verdict $? 'deps.sh refuses a level that it does not know'
exit $failed
