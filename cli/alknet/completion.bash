# Bash completion for alknet: commands, options and their values, files, and the names of the operations that the
# remote lists at that moment (it is asked with the -u and -F that are on the line).
#
# What the remote sends is only compared and offered, never expanded: names with any character that an
# operation's name cannot have are dropped, and compgen -W, which would expand them, is not used for them.

_alknet_operations() { # PROGRAM OF TYPE CURRENT CONNECTION-OPTION...
    # OF is --peer=ID, --local, or --any-peer: then those count whose line names a peer, behind a tab.
    local program=$1 of=$2 type=$3 current=$4 name slash='' which=()
    shift 4
    [[ $of == --any-peer ]] || which=("$of")
    [[ $current == /* ]] && slash=/
    while IFS= read -r name; do
        [[ $of == --any-peer && $name != *$'\t'* ]] && continue
        name=${name%%$'\t'*}
        name=$slash${name#/}
        [[ $name =~ ^[A-Za-z0-9_.~/-]+$ && $name == "$current"* ]] && COMPREPLY+=("$name")
    done < <("$program" ls -o raw --timeout 2 ${type:+--type "$type"} "${which[@]}" "$@" 2>/dev/null </dev/null)
}

_alknet_peers() { # PROGRAM CURRENT CONNECTION-OPTION...
    local program=$1 current=$2 name
    shift 2
    while IFS= read -r name; do
        [[ $name =~ ^[A-Za-z0-9_.-]+$ && $name == "$current"* ]] && COMPREPLY+=("$name")
    done < <("$program" peers -o raw --timeout 2 "$@" 2>/dev/null </dev/null)
}

_alknet_files() { # CURRENT
    local name
    compopt -o filenames 2>/dev/null
    while IFS= read -r name; do
        COMPREPLY+=("$name")
    done < <(compgen -f -- "$1")
}

_alknet() {
    local program=$1 commands='ls peers describe call subscribe serve batch ping openapi mcp token keygen fingerprint help version'
    local options='--url --token-file --clear --cacert --cert --key --pin --insecure --output --timeout --curl --verbose --help --version'
    local line=${COMP_LINE:0:COMP_POINT} current='' command='' previous='' of=--local connection=() operands=0 i word words
    COMPREPLY=()
    # Whole words: bash itself would cut a URL at its colons.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] || { current=${words[-1]}; unset 'words[-1]'; }
    for ((i = 1; i < ${#words[@]}; i++)); do
        word=${words[i]/#\~\//$HOME/}
        previous=$word
        case $word in
        -u | --url | -F | --token-file | -A | --cacert | -E | --cert | -K | --key | -P | --pin)
            ((i + 1 < ${#words[@]})) && connection+=("$word" "${words[i + 1]/#\~\//$HOME/}") && previous='' && i=$((i + 1))
            ;;
        -p | --peer) ((i + 1 < ${#words[@]})) && of=--peer=${words[i + 1]} && previous='' && i=$((i + 1)) ;;
        --peer=*) of=$word ;;
        -y | --any-peer) of=--any-peer ;;
        --url=* | --token-file=* | -C | --clear | --cacert=* | --cert=* | --key=* | --pin=* | -k | --insecure) connection+=("$word") ;;
        -o | --output | -t | --timeout | -N | --namespace | -T | --type | -n | --count | -i | --interval | \
            -d | --description | -s | --input-schema | -j | --concurrency | -a | --as | -w | --openapi | -f | --file | \
            -R | --prefix | -B | --base-url | -S | --variable | -I | --include | -X | --exclude | -M | --methods | -G | --tags)
            ((i + 1 < ${#words[@]})) && previous='' && i=$((i + 1))
            ;;
        -*) ;;
        *) if [[ -z $command ]]; then command=$word; else operands=$((operands + 1)); fi ;;
        esac
    done
    case $previous in
    -o | --output) mapfile -t COMPREPLY < <(compgen -W 'pretty json raw' -- "$current") && return ;;
    -T | --type) mapfile -t COMPREPLY < <(compgen -W 'query mutation subscription' -- "$current") && return ;;
    -w | --openapi) mapfile -t COMPREPLY < <(compgen -W '3.1 3.2' -- "$current") && return ;;
    -p | --peer)
        _alknet_peers "$program" "$current" "${connection[@]}"
        return
        ;;
    -F | --token-file | -A | --cacert | -E | --cert | -K | --key | -s | --input-schema | -f | --file) _alknet_files "$current" && return ;;
    -u | --url | -P | --pin | -t | --timeout | -N | --namespace | -n | --count | -i | --interval | \
        -d | --description | -j | --concurrency | -a | --as | \
        -R | --prefix | -B | --base-url | -S | --variable | -I | --include | -X | --exclude | -M | --methods | -G | --tags) return ;;
    esac
    case $command in
    ls) options+=' --namespace --type --peer --local' ;;
    describe) options+=' --peer' ;;
    call) options+=' --peer --any-peer' ;;
    ping) options+=' --count --interval' ;;
    openapi)
        if ((operands)); then
            options='--prefix --base-url --variable --include --exclude --methods --tags --cacert --output --help --version'
        else
            options+=' --export --openapi --file --prefix --base-url --variable --include --exclude --methods --tags'
        fi
        ;;
    mcp) options='--token-file --clear --cacert --output --timeout --help --version' ;;
    subscribe) options+=' --peer --any-peer --reconnect --quiet' ;;
    serve)
        options='--url --token-file --clear --cacert --cert --key --pin --insecure --timeout --quiet --description --input-schema --concurrency --text --as'
        options+=' --verbose --help --version'
        ;;
    token | keygen | fingerprint | help | version) options='--help --version' ;;
    esac
    if [[ $current == -?* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
    elif [[ $command == serve && $current == *:* ]]; then
        # Behind the name of an operation.
        mapfile -t COMPREPLY < <(compgen -P "${current%%:*}:" -W 'query mutation subscription' -- "${current#*:}")
    elif ((operands == 0)); then
        case $command in
        subscribe) _alknet_operations "$program" "$of" subscription "$current" "${connection[@]}" ;;
        describe | call) _alknet_operations "$program" "$of" '' "$current" "${connection[@]}" ;;
        batch | keygen | fingerprint | openapi) _alknet_files "$current" ;;
        token) mapfile -t COMPREPLY < <(compgen -W 'new hash' -- "$current") ;;
        esac
    fi
} && complete -F _alknet alknet
