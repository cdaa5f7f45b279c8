#!/bin/sh
# Three hubs joined over a NATS broker, each with two spokes, on loopback:  cli/alknetd/demo-cluster.sh PROGRAMS FOLDER
#
# Makes FOLDER anew, with a key and a configuration for each node, starts them all, and shows what goes on while one hub is
# killed, and then the broker: calls are made all the time from one hub to spokes of each. The broker is nats-server, from
# $PATH, /usr/sbin or build/deps/bin. Everything that was started ends with this script.
. "$(dirname "$0")/demo-nodes.sh"

PATH=$PATH:/usr/sbin:$(dirname "$0")/../../build/deps/bin
command -v nats-server >/dev/null || fail 'it takes nats-server (Debian: apt install nats-server)'

start_broker() {
    nats-server -a 127.0.0.1 -p "$1" --ports_file_dir "$folder" -l "$folder/broker.log" &
    broker=$!
    started="$started $broker"
    until_true 'the broker' grep -q '}' "$folder/nats-server_$broker.ports"
    broker_port=$(sed 's/.*127\.0\.0\.1:\([0-9]*\)".*/\1/' "$folder/nats-server_$broker.ports" | head -1)
}

end() {
    kill -9 "$1"
    wait "$1" 2>/dev/null || :
    started=$(printf '%s ' $started | sed "s/\b$1 //")
}

# Calls a spoke through hub alpha, again and again, and keeps what comes of it:  caller SPOKE
caller() {
    while :; do
        said=$(ask call --peer "$1" demo/add a=1 b=2 -o json 2>&1) || :
        case $said in
        *'"sum":3'* | *'"sum": 3'*) echo ok ;;
        *) echo "failed: $said" ;;
        esac >>"$folder/calls.$1"
        sleep 0.05
    done
}

# What the callers have got since the last time.
tell_calls() {
    for spoke in athens bergen cork; do
        calls="$folder/calls.$spoke"
        mv "$calls" "$calls.now" 2>/dev/null || : >"$calls.now"
        printf '%s at hub %s: %s calls answered, %s not\n' "$spoke" "$(hub_of "$spoke")" "$(grep -c '^ok' "$calls.now" || :)" \
            "$(grep -c '^failed' "$calls.now" || :)"
        sed -n 's/^failed: /    /p' "$calls.now" | sort | uniq -c
    done
}

hub_of() {
    case $1 in
    a*) echo alpha ;;
    b*) echo beta ;;
    *) echo gamma ;;
    esac
}

hubs='alpha beta gamma'
spokes='athens ankara bergen berlin cork cairo'
make_keys $hubs $spokes me
start_broker -1

# A hub knows the other hubs by their keys, as it knows its spokes, and says what may be called through it.
for name in $hubs; do
    {
        cat <<YAML
listen:
  - {quic: true, host: 127.0.0.1, port: 0}
node_key: node.key
cluster:
  name: $name
  nats: {servers: ["nats://127.0.0.1:$broker_port"]}
peers:
  - {peer_id: me, fingerprints: ["$(fingerprint me)"], scopes: ["peers:call", "peers:list", "demo:*"]}
YAML
        for other in $hubs; do
            [ "$other" = "$name" ] ||
                echo "  - {peer_id: $other, fingerprints: [\"$(fingerprint "$other")\"], scopes: [\"peers:call\", \"peers:list\"]}"
        done
        for spoke in $spokes; do
            [ "$(hub_of "$spoke")" != "$name" ] || echo "  - {peer_id: $spoke, fingerprints: [\"$(fingerprint "$spoke")\"]}"
        done
        cat <<YAML
peers_call:
  authority: {label: deputy, scopes: ["demo:*"]}
  allow:
    - {peer: "*", operations: ["demo/*"]}
YAML
    } >"$folder/$name/alknetd.yaml"
    start "$name"
done

# Of the cluster they know nothing.
for name in $spokes; do
    start_spoke "$name" "$(hub_of "$name")"
done
hub=$(at alpha)
for spoke in $spokes; do
    until_true "$spoke" ask call --peer "$spoke" demo/add a=1 b=2
done

echo "Hub alpha is $hub"
echo "and all files are in $folder. The commands have -u and --key of it."
say 'what hub alpha knows'
show peers -o pretty
say 'a call to a spoke of hub gamma, through hub alpha'
show call --peer cork demo/whoami -o raw
for spoke in athens bergen cork; do
    caller "$spoke" &
    started="$started $!"
done
say 'three callers go on from here: through hub alpha to a spoke of each hub'
sleep 1
tell_calls
say 'hub gamma is killed, while a call of five seconds runs through it'
ask call --peer cork demo/sleep ms=5000 >"$folder/sleep" 2>&1 &
sleeper=$!
sleep 0.5
end "$process_gamma"
killed=$(date +%s%N)
wait "$sleeper" || :
printf 'after %s ms its caller knows: %s\n' "$((($(date +%s%N) - killed) / 1000000))" "$(head -1 "$folder/sleep")"
sleep 1
tell_calls
say 'the broker is killed as well'
end "$broker"
sleep 1
tell_calls
say 'the broker is back'
start_broker "$broker_port"
until_true 'bergen' ask call --peer bergen demo/add a=1 b=2
: >"$folder/calls.bergen"
sleep 1
tell_calls
echo
echo 'demo-cluster: done'
