#!/bin/sh
# A first alknetd:  cli/alknetd/run.sh PROGRAMS FOLDER [PORT]
#
# Makes FOLDER with a configuration and a random token, unless it has them, starts alknetd in the foreground and, when it
# listens, prints commands to paste. HTTP is on PORT and HTTPS three above it, with a certificate that alknetd signs itself
# and keeps in FOLDER. What the folder holds is the user's from then on; only a PORT that is given changes the ports in it.
# The folder is for its owner only, and no token is printed.
set -eu
umask 077
bin=$1
want=${3-}
mkdir -p "$2"
folder=$(cd "$2" && pwd)
config=$folder/alknetd.yaml
log=$(mktemp -u)

make_token() {
    random=$(od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n')
    [ ${#random} = 48 ] || { echo "run: /dev/urandom gives no random bytes" >&2; exit 1; }
    printf 'alk_%s\n' "$random" >"$folder/token"
}

make_config() {
    token=$(cat "$folder/token")
    hash=$(printf '%s' "$token" | sha256sum | cut -c1-64)
    cat >"$folder/new" <<YAML
# Made by the first "make run". All members: docs/configuration.md. SIGHUP reloads peers, keys, limits, certificates, connect, imports and cluster.
listen:
  - host: 127.0.0.1
    port: ${want:-4780}
  - host: 127.0.0.1
    port: $((${want:-4780} + 3))
    tls: true
demo: true
keys:
  - prefix: $(printf '%.8s' "$token")
    hash: $hash # of the token in the file "token"
    scopes: ["demo:*"]
    description: made by make run
YAML
    mv "$folder/new" "$config"
}

# The first port in the file is the one that is asked for, and a second one is three above it.
set_port() {
    awk -v port="$1" 'n < 2 && /^ *(- *)?port: *[0-9]+/ { sub(/port: *[0-9]+/, "port: " port + 3 * n++) } { print }' \
        "$config" >"$folder/new"
    cmp -s "$folder/new" "$config" || cp "$folder/new" "$config"
    rm -f "$folder/new"
}

commands() {
    cat <<TEXT

alknetd serves. Its configuration is $config
Paste into another terminal; Ctrl-C ends alknetd.

  curl -i $url/healthz
  curl -H "Authorization: Bearer \$(cat $folder/token)" $url/search
  curl -H "Authorization: Bearer \$(cat $folder/token)" -H "Content-Type: application/json" -d '{"operation":"demo/echo","input":{"hello":"world"}}' $url/call
TEXT
    [ -z "$secure" ] || cat <<TEXT

The same over TLS; its certificate has the fingerprint ${fingerprint:-in the log}:

  curl --cacert $folder/alknetd.crt https://127.0.0.1:$secure/healthz
  curl --cacert $folder/alknetd.crt -H "Authorization: Bearer \$(cat $folder/token)" https://127.0.0.1:$secure/search
TEXT
    echo
}

# Shows what alknetd says and adds what a newcomer needs. Signals are alknetd's business; this ends with it.
show() {
    trap '' INT TERM HUP
    while IFS= read -r line; do
        printf '%s\n' "$line"
        case $line in
        *tls.certificate*SHA256:*)
            fingerprint=${line#*SHA256:}
            fingerprint=SHA256:${fingerprint%%,*}
            ;;
        *listening*port*"$last"*) commands ;;
        *"address already in use"*)
            echo "run: port $port is taken, perhaps by another alknetd. Take another one:  make run PORT=$((port + 10))" ;;
        esac
    done <"$log"
}

[ -s "$folder/token" ] || make_token
[ -s "$config" ] || make_config
[ -z "$want" ] || set_port "$want"
"$bin/alknetd" --check --config "$config" >/dev/null
port=$(sed -n 's/^ *-\{0,1\} *port: *\([0-9]*\).*/\1/p' "$config" | head -n 1)
port=${port:-4780}
# Of the listener whose entry says tls.
secure=$(awk '/^ *port: *[0-9]+/ { port = $2 } /^ *tls: *true/ { print port; exit }' "$config")
last=${secure:-$port}
fingerprint=
url=http://127.0.0.1:$port
rm -f "$log"
mkfifo "$log"
trap 'rm -f "$log"' EXIT
# A terminal's Ctrl-C reaches alknetd by itself; what is sent to this process is passed on.
daemon=
trap ':' INT
trap '[ -z "$daemon" ] || kill -TERM "$daemon" 2>/dev/null || :' TERM HUP
show &
shower=$!
"$bin/alknetd" --config "$config" 2>"$log" &
daemon=$!
status=0
while :; do
    status=0
    wait "$daemon" || status=$?
    kill -0 "$daemon" 2>/dev/null || break
done
wait "$shower" || :
exit "$status"
