#!/bin/sh
# A hub and two spokes on loopback, over QUIC:  cli/alknetd/demo-hub.sh PROGRAMS FOLDER
#
# Makes FOLDER anew, with a key and a configuration for each of the three, starts them, and shows what goes through the hub: a
# call to a named spoke, one to whichever spoke serves it, a subscription, and an abort that reaches the spoke. Each command
# is printed before it is run, to be tried again elsewhere. Everything that was started ends with this script.
. "$(dirname "$0")/demo-nodes.sh"

make_keys hub paris rome me

# The hub knows whom it lets in by their keys, and says who may call what they serve.
cat >"$folder/hub/alknetd.yaml" <<YAML
listen:
  - {quic: true, host: 127.0.0.1, port: 0}
node_key: node.key
peers:
  - {peer_id: paris, fingerprints: ["$(fingerprint paris)"]}
  - {peer_id: rome, fingerprints: ["$(fingerprint rome)"]}
  - {peer_id: me, fingerprints: ["$(fingerprint me)"], scopes: ["peers:call", "peers:list", "demo:*"]}
peers_call:
  authority: {label: deputy, scopes: ["demo:*"]}
  allow:
    - {peer: "*", operations: ["demo/*"]}
YAML
start hub
hub=$(at hub)
start_spoke paris hub
start_spoke rome hub
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
timeout 1 "$bin/alknet" -u "$hub" --key "$folder/me/node.key" call peers/call "$request" || :
say 'what the spoke says of it'
heard paris 'operation="demo/sleep"'
echo
echo 'demo-hub: done'
