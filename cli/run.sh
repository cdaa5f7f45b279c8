#!/bin/sh
# A first alknetd:  cli/run.sh PROGRAMS FOLDER PORT
#
# Makes FOLDER with a configuration and a random token, unless it has them, prints three commands to paste, and becomes
# alknetd. The configuration is the user's from then on: it is never written again. Only its owner can read the folder,
# and the token reaches curl in a file, so that no list of processes and no terminal shows it.
set -eu
umask 077
bin=$1 port=$3
mkdir -p "$2"
folder=$(cd "$2" && pwd)
config=$folder/alknetd.yaml
header=$folder/authorization

if ! [ -s "$config" ]; then
    if ! { token=$("$bin/alknet" token new 2>/dev/null) && hash=$(printf '%s\n' "$token" | "$bin/alknet" token hash 2>/dev/null); }; then
        echo "run: $bin/alknet makes no token" >&2
        exit 1
    fi
    printf '%s\n' "$token" >"$folder/token"
    printf 'Authorization: Bearer %s\n' "$token" >"$header"
    cat >"$folder/new" <<YAML
# Made by the first "make run", which leaves it alone from now on: change what you like.
# SIGHUP makes a running alknetd read keys, peers and limits again.
listen:
  - host: 127.0.0.1
    port: $port
demo: true
keys:
  - prefix: $(printf '%.8s' "$token")
    hash: $hash
    scopes: ["demo:*"]
    description: made by make run
YAML
    mv "$folder/new" "$config"
fi

"$bin/alknetd" --check --config "$config" >/dev/null
port=$(sed -n 's/^ *port: *\([0-9]*\).*/\1/p' "$config" | head -n 1)
url=http://127.0.0.1:$port
cat <<TEXT
Configuration: $config
In another terminal:

  curl -i $url/healthz
  curl -H "@$header" $url/search
  curl -H "@$header" -H "Content-Type: application/json" -d '{"operation":"demo/echo","input":{"hello":"world"}}' $url/call

TEXT
exec "$bin/alknetd" --config "$config"
