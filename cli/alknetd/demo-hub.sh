#!/bin/sh
# A hub and two spokes on loopback, over QUIC:  cli/alknetd/demo-hub.sh PROGRAMS FOLDER
#
# Makes FOLDER anew, with a key and a configuration for each of the three, starts them, and shows what goes through the hub: a
# call to a named spoke, one to whichever spoke serves it, a subscription, and an abort that reaches the spoke. Each command
# is printed before it is run, to be tried again elsewhere. Everything that was started ends with this script.
set -eu
umask 077
bin=$1 folder=$2
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
nodes=
trap '[ -z "$nodes" ] || kill $nodes 2>/dev/null || :; wait 2>/dev/null || :' EXIT
trap 'exit 1' HUP INT TERM

say() { printf '\n# %s\n' "$*"; }
show() {
    printf '$ alknet'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:=@-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    echo
    "$bin/alknet" -u "$hub" --key "$folder/me.key" "$@"
}

# What a node says of an event, once it does:  heard NODE EVENT
heard() {
    for _ in $(seq 200); do
        if line=$(grep -m 1 "$2" "$folder/$1/log" 2>/dev/null); then
            printf '%s\n' "$line"
            return
        fi
        sleep 0.1
    done
    echo "demo-hub: $1 does not say $2:" >&2
    cat "$folder/$1/log" >&2
    exit 1
}

start() {
    "$bin/alknetd" --config "$folder/$1/alknetd.yaml" >"$folder/$1/log" 2>&1 &
    nodes="$nodes $!"
}

for name in hub paris rome; do
    mkdir "$folder/$name"
    "$bin/alknet" keygen "$folder/$name/node.key" >"$folder/$name/fingerprint"
done
"$bin/alknet" keygen "$folder/me.key" >"$folder/fingerprint"
fingerprint=$(cat "$folder/hub/fingerprint")

# The hub knows whom it lets in by their keys, and says who may call what they serve.
cat >"$folder/hub/alknetd.yaml" <<YAML
listen:
  - {quic: true, host: 127.0.0.1, port: 0}
node_key: node.key
peers:
  - {peer_id: paris, fingerprints: ["$(cat "$folder/paris/fingerprint")"]}
  - {peer_id: rome, fingerprints: ["$(cat "$folder/rome/fingerprint")"]}
  - {peer_id: me, fingerprints: ["$(cat "$folder/fingerprint")"], scopes: ["peers:call", "peers:list", "demo:*"]}
peers_call:
  authority: {label: deputy, scopes: ["demo:*"]}
  allow:
    - {peer: "*", operations: ["demo/*"]}
YAML
start hub
port=$(heard hub listening | sed 's/.*alknet:\/\/127.0.0.1://')
hub=alknet://127.0.0.1:$port#$fingerprint

# A spoke knows whom it dials by the hub's key, and listens to nobody else.
for name in paris rome; do
    cat >"$folder/$name/alknetd.yaml" <<YAML
listen:
  - {unix: local.sock}
node_key: node.key
demo: true
peers:
  - {peer_id: hub, fingerprints: ["$fingerprint"], scopes: ["demo:*"]}
connect:
  - {url: "$hub", peer: hub}
YAML
    start $name
done
heard paris connect.ready >/dev/null
heard rome connect.ready >/dev/null

echo "The hub is $hub"
echo "and its files are in $folder. The commands have -u and --key of it."
say 'a call through the hub to a named spoke'
show call peers/call '{"peer":"paris","operation":"demo/whoami","input":{}}'
say 'to any spoke that serves it'
show call peers/call '{"operation":"demo/add","input":{"a":1,"b":2}}'
say 'a subscription through it'
show subscribe peers/subscribe '{"peer":"rome","operation":"demo/clock","input":{"interval_ms":200,"count":3}}'
say 'a call that takes a minute, whose caller gives up after a second'
request='{"peer":"paris","operation":"demo/sleep","input":{"ms":60000}}'
echo "$ timeout 1 alknet call peers/call '$request'"
timeout 1 "$bin/alknet" -u "$hub" --key "$folder/me.key" call peers/call "$request" || :
say 'what the spoke says of it'
heard paris 'operation="demo/sleep"'
echo
echo 'demo-hub: done'
