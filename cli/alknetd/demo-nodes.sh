# Of the demonstrations, which read it with their own arguments PROGRAMS FOLDER: FOLDER is made anew, with a folder in it for
# each node, and everything that was started ends with the script.
set -eu
umask 077
bin=$1 folder=$2
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
started=
trap '[ -z "$started" ] || kill $started 2>/dev/null || :; wait 2>/dev/null || :' EXIT
trap 'exit 1' HUP INT TERM

say() { printf '\n# %s\n' "$*"; }
fail() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 1
}

# Waits until a command succeeds:  until_true WHAT COMMAND...
until_true() {
    what=$1
    shift
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "waited in vain for $what"
}

# Folders with a key each:  make_keys NODE...
make_keys() {
    for name in "$@"; do
        mkdir "$folder/$name"
        "$bin/alknet" keygen "$folder/$name/node.key" >"$folder/$name/fingerprint"
    done
}

fingerprint() { cat "$folder/$1/fingerprint"; }

# By NODE/alknetd.yaml:  start NODE
start() {
    "$bin/alknetd" --config "$folder/$1/alknetd.yaml" >"$folder/$1/log" 2>&1 &
    started="$started $!"
    eval "process_$1=$!"
}

# What a node says of an event, once it does:  heard NODE EVENT
heard() {
    until_true "$2 of $1: see $folder/$1/log" grep -q "$2" "$folder/$1/log"
    grep -m 1 "$2" "$folder/$1/log"
}

# The URL of a node that listens:  at NODE
at() { printf 'alknet://127.0.0.1:%s#%s' "$(heard "$1" listening | sed 's/.*alknet:\/\/127.0.0.1://')" "$(fingerprint "$1")"; }

# A spoke knows whom it dials by the hub's key, and listens to nobody else:  start_spoke NODE HUB
start_spoke() {
    cat >"$folder/$1/alknetd.yaml" <<YAML
listen:
  - {unix: local.sock}
node_key: node.key
demo: true
peers:
  - {peer_id: hub, fingerprints: ["$(fingerprint "$2")"], scopes: ["demo:*"]}
connect:
  - {url: "$(at "$2")", peer: hub}
YAML
    start "$1"
}

# What the client `me` asks $hub:  ask COMMAND...
ask() { "$bin/alknet" -u "$hub" --key "$folder/me/node.key" "$@"; }

# The same, with the command, to be tried again elsewhere.
show() {
    printf '$ alknet'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:=@-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    echo
    ask "$@"
}
