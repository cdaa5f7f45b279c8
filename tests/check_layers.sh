#!/bin/sh
# The layers of lib/ stay apart: base < core < adapt, base < wire < adapt, and uv on top of base, core and wire.
#
# The core is judged by its objects: what they need from elsewhere is libc's memory and string functions, yyjson and
# lib/base, so it can know no clock, no socket, no thread and no allocator but the one it is given. The others are judged
# by what they include: headers of the layers below, and the system's only where the loop is.
set -u
cd "$(dirname "$0")/.." || exit 1
objects=${ALKNET_BUILD:-build}/obj
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

verdict() { # NAME FILE-OF-COMPLAINTS
    if [ -s "$2" ]; then
        echo "not ok $1:"
        sed 's/^/    /' "$2"
        failed=1
    else
        echo "ok $1"
    fi
}

libc='memcpy memmove memset memcmp memchr strlen strnlen strcmp strncmp strchr strrchr strstr strspn strcspn
snprintf vsnprintf strtod strtoll strtoull qsort bsearch __assert_fail __stack_chk_fail _GLOBAL_OFFSET_TABLE_'

# The objects of a layer's present sources: a build folder may hold those of sources that are gone.
objects_of() {
    for source in lib/"$1"/*.c; do
        echo "$objects/${source%.c}.o"
    done
}

core_needs_nothing_else() {
    # shellcheck disable=SC2046
    if nm --defined-only $(objects_of base) $(objects_of core) >"$scratch/defined" && nm -u -A $(objects_of core) >"$scratch/needed"; then
        awk 'NF == 3 { print $3 }' "$scratch/defined" >"$scratch/known"
        printf '%s' "$libc" | tr ' ' '\n' >>"$scratch/known"
        # A fortified libc call is its plain one with a size more.
        sed 's|^.*/\(core/[^:]*\): *U \(.*\)$|\1 \2|' "$scratch/needed" |
            awk 'NR == FNR { known[$1] = 1; next }
                 { name = $2; if (name ~ /^__.*_chk$/) { sub(/^__/, "", name); sub(/_chk$/, "", name) }
                   if (!(name in known) && !($2 in known) && $2 !~ /^(unsafe_)?yyjson_/) print $1 " needs " $2 }' \
                "$scratch/known" - >"$scratch/core"
    else
        echo "the objects in $objects cannot be read" >"$scratch/core"
    fi
    verdict 'the objects of lib/core need only libc memory and string functions, yyjson and lib/base' "$scratch/core"
}

# Complains about every include of lib/ that points upwards, sideways, or at a header that its layer may not know.
includes_point_down() {
    grep -n '^[[:space:]]*#[[:space:]]*include' -r lib --include='*.[ch]' | awk -F: '
        BEGIN {
            may["base"] = " base "
            may["core"] = " base core "
            may["wire"] = " base wire "
            may["adapt"] = " base core wire adapt "
            may["uv"] = " base core wire uv "
            system_only = "^(uv\\.h|unistd\\.h|pthread\\.h|poll\\.h|fcntl\\.h|netdb\\.h|signal\\.h|threads\\.h|netinet/|net/|arpa/|sys/)"
            engines = "^(wslay|nghttp2|ngtcp2|gnutls|llhttp|mbedtls|psa)"
        }
        {
            split($1, part, "/")
            layer = part[2]
            text = $3
            at = $1 ":" $2 ": "
            if (match(text, /"[^"]*"/)) {
                target = substr(text, RSTART + 1, RLENGTH - 2)
                split(target, to, "/")
                if (target ~ /^alknet\//)
                    next
                if (target !~ /\//)
                    print at "\"" target "\" is not written relative to lib/"
                else if (!(layer in may) || index(may[layer], " " to[1] " ") == 0)
                    print at "lib/" layer " may not include \"" target "\""
            } else if (match(text, /<[^>]*>/)) {
                target = substr(text, RSTART + 1, RLENGTH - 2)
                if (layer == "wire" && target == "sys/random.h")
                    next
                if (layer != "uv" && target ~ system_only)
                    print at "<" target "> belongs to lib/uv"
                else if (layer != "wire" && layer != "uv" && target ~ engines && !(layer == "base" && target ~ /^(mbedtls|psa)/))
                    print at "<" target "> belongs to lib/wire"
                else if (layer == "core" && target ~ /^(time\.h|curl\/|yaml\.h|pcre2\.h)/)
                    print at "<" target "> does not belong to lib/core"
                else if (target ~ /^curl\// && layer != "uv" && layer != "adapt")
                    print at "<" target "> belongs to lib/uv or lib/adapt"
            }
        }' >"$scratch/includes"
    verdict 'includes of lib/ point downwards only' "$scratch/includes"
}

# Headers of include/ stand above nothing: they name no file of lib/.
public_headers_stand_alone() {
    grep -n '^[[:space:]]*#[[:space:]]*include' -r include --include='*.h' |
        grep -E '"(base|core|wire|adapt|uv)/' >"$scratch/public"
    verdict 'public headers include nothing of lib/' "$scratch/public"
}

core_needs_nothing_else
includes_point_down
public_headers_stand_alone
exit $failed
