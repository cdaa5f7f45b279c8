#!/bin/sh
# What a developer meets when starting out: pkgconfig/deps.sh says nothing when all is there, and says what is missing,
# by the names to install, when it cannot help.
set -u
cd "$(dirname "$0")/.." || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

verdict() { # STATUS NAME
    if [ "$1" = 0 ]; then
        echo "ok $2"
    else
        echo "not ok $2:"
        sed 's/^/    /' "$scratch/said"
        failed=1
    fi
}

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
    for name in gcc pkgconf libuv1-dev libpcre2-dev libyaml-dev libcurl4-gnutls-dev libwslay-dev \
        'mbedtls >= 3.6' 'yyjson >= 0.10' 'libllhttp >= 9'; do
        grep -q -F -e "$name" "$scratch/said" || return 1
    done
}

refuses_an_unknown_level() {
    pkgconfig/deps.sh everything >"$scratch/said" 2>&1
    [ $? = 2 ] && grep -q usage "$scratch/said"
}

silent_when_ready
verdict $? 'deps.sh is silent when everything is there'
names_what_is_missing
verdict $? 'deps.sh names every package and library that is missing where it cannot install'
refuses_an_unknown_level
verdict $? 'deps.sh refuses a level that it does not know'
exit $failed
