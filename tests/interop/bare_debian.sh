#!/bin/sh
# A bare Debian 12 in a root of its own, with gcc, make and git: a user who is not root runs make and is told what to install;
# root pastes that line; then make succeeds. The archive is that of this system. Only root can do so, and debootstrap has to run
# here; where it is not installed it is fetched for this alone.
set -u
cd "$(dirname "$0")/../.." || exit 1
if [ "$(id -u)" != 0 ]; then
    echo 'SKIP: only root can make a root of its own'
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
root=$scratch/root
said=$scratch/said
# shellcheck source=tests/support/verdict.sh
. tests/support/verdict.sh

# The package has no program of its own but scripts, which run from anywhere.
debootstrap_here() {
    if ! command -v debootstrap >/dev/null; then
        (cd "$scratch" && apt-get -qq update && apt-get -qq download debootstrap && dpkg -x debootstrap_*.deb package) >"$said" 2>&1 || return 1
        export DEBOOTSTRAP_DIR="$scratch/package/usr/share/debootstrap"
        PATH=$scratch/package/usr/sbin:$PATH
    fi
    sed -n '/^archives() {/,/^}/p' pkgconfig/deps.sh >"$scratch/archives"
    # shellcheck disable=SC1091
    archive=$(. "$scratch/archives" && archives | head -n 1)
    debootstrap --variant=minbase --include=gcc,make,git bookworm "$root" "$archive" >"$said" 2>&1
}

# What this system needs to reach the archive, it needs there.
configured() {
    echo "deb $archive bookworm main" >"$root/etc/apt/sources.list"
    for f in /etc/resolv.conf /etc/hosts $(grep -ilE 'proxy|valid-until' /etc/apt/apt.conf /etc/apt/apt.conf.d/* 2>/dev/null); do
        cp "$f" "$root$f"
    done
    chroot "$root" useradd --create-home --shell /bin/sh user &&
        mkdir "$root/home/user/alknet" &&
        git ls-files -z | tar --null --no-recursion -T - -c | tar -x -C "$root/home/user/alknet" &&
        chroot "$root" chown -R user: /home/user
}

as_user() { chroot --userspec=user:user "$root" env HOME=/home/user LC_ALL=C sh -c "cd ~/alknet && $1" >"$said" 2>&1; }

is_told_what_to_install() {
    as_user make && return 1
    line=$(sed -n 's/^deps: on Debian, as root: *//p' "$said")
    [ -n "$line" ]
}

root_pastes_the_line() { yes | chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C sh -c "$line" >"$said" 2>&1; }

debootstrap_here
verdict $? 'debootstrap makes a bare Debian 12'
[ $failed = 0 ] || exit 1
configured >"$said" 2>&1
verdict $? 'a user gets the tree there'
is_told_what_to_install
verdict $? 'make, run by a user who is not root, says what to install'
[ $failed = 0 ] || exit 1
root_pastes_the_line
verdict $? 'root installs that'
as_user make
verdict $? 'and then make succeeds'
as_user 'build/bin/alknetd --version && build/bin/alknet --version'
verdict $? 'and the programs run'
exit $failed
