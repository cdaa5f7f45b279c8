#!/bin/sh
# The rooms of lib/ stay apart, and the programs stand outside of it.
#
# What a room may include is the table `may` below. The core and the schemas are judged by their objects as well: what
# they need from elsewhere is libc's memory and string functions, yyjson, lib/base and each other, so they can know no
# clock, no socket, no thread and no allocator but the one they are given. Headers of the system and of other libraries
# belong to the few rooms that are there for them. And nothing includes in circles: no room, no header, no unit (a file
# foo.c with foo.h and foo_int.h).
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

# The objects of rooms' present sources: a build folder may hold those of sources that are gone.
objects_of() {
    for room in "$@"; do
        for source in lib/"$room"/*.c; do
            echo "$objects/${source%.c}.o"
        done
    done
}

# needs_nothing_else ROOM OTHERS...: by their objects.
needs_nothing_else() {
    room=$1
    shift
    # shellcheck disable=SC2046
    if nm --defined-only $(objects_of "$room" "$@") >"$scratch/defined" && nm -u -A $(objects_of "$room") >"$scratch/needed"; then
        awk 'NF == 3 { print $3 }' "$scratch/defined" >"$scratch/known"
        printf '%s' "$libc" | tr ' ' '\n' >>"$scratch/known"
        # A fortified libc call is its plain one with a size more.
        sed "s|^.*/\($room/[^:]*\): *U \(.*\)\$|\1 \2|" "$scratch/needed" |
            awk 'NR == FNR { known[$1] = 1; next }
                 { name = $2; if (name ~ /^__.*_chk$/) { sub(/^__/, "", name); sub(/_chk$/, "", name) }
                   if (!(name in known) && !($2 in known) && $2 !~ /^(unsafe_)?yyjson_/) print $1 " needs " $2 }' \
                "$scratch/known" - >"$scratch/needs"
    else
        echo "the objects in $objects cannot be read" >"$scratch/needs"
    fi
    verdict "the objects of lib/$room need only libc memory and string functions, yyjson and of lib/: $*" "$scratch/needs"
}

# Every include of the tree as FILE:LINE:TEXT, from which the rules below are checked. Complaints go to a file for each.
includes_are_right() {
    grep -n '^[[:space:]]*#[[:space:]]*include' -r lib cli include --include='*.[ch]' >"$scratch/includes"
    if ! python3 - "$scratch" <<'PY'
import os, re, sys

scratch = sys.argv[1]

may = {
    "base": "base",
    "host": "base host",
    "schema": "base schema",
    "core": "base schema core",
    "wire": "base host wire",
    "gateway": "base host schema core wire gateway",
    "adapt": "base host schema core wire gateway adapt",
    "uv": "base core wire uv",
    "config": "base host config",
    "serve": "base core config serve",
}
# The first that fits a header says where it belongs; what fits none may be anywhere.
foreign = [
    (r"sys/(random|stat)\.h|(fcntl|unistd)\.h", "host uv config serve"),
    (r"sys/resource\.h|dirent\.h", "host serve"),
    (r"pthread\.h", "host uv serve"),
    (r"uv\.h|sys/|netinet/|net/|arpa/|(unistd|poll|fcntl|signal|netdb|threads)\.h", "uv serve"),
    (r"wslay|nghttp2|ngtcp2|llhttp", "wire"),
    (r"mbedtls|psa|gnutls", "host wire"),
    (r"pcre2", "host"),
    (r"curl|nats", "adapt uv"),
    (r"yaml", "host"),
    (r"time\.h", "base host wire gateway adapt uv serve"),
]
# Units that may include each other: to check a value, and to say what is wrong with its parts, is one recursion.
recursive = [{"schema/check", "schema/report"}]

complaints = {name: [] for name in ("down", "foreign", "public", "cli", "headers", "units", "rooms")}
headers, units, rooms = {}, {}, {}

def edge(graph, a, b):
    graph.setdefault(a, set())
    graph.setdefault(b, set())
    if a != b:
        graph[a].add(b)

def unit_of(file):
    return re.sub(r"_int$", "", file[:-2])

def cycles(graph):
    """The strongly connected parts of more than one node."""
    def reached(start, edges):
        seen, todo = set(), [start]
        while todo:
            for other in edges[todo.pop()]:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen
    found, reach = [], {node: reached(node, graph) for node in graph}
    for node in sorted(graph):
        part = {other for other in reach[node] if node in reach[other]}
        if part and part not in found:
            found.append(part)
    return found

def complain_of_cycles(kind, graph):
    for part in cycles(graph):
        inside = [f"{a} includes {b}" for a in sorted(part) for b in sorted(graph[a] & part)]
        complaints[kind].append("in a circle: " + ", ".join(inside))

def in_lib(at, room, target):
    to = target.split("/")
    file = at.split(":")[0][len("lib/"):]
    if len(to) != 2:
        complaints["down"].append(f'{at}: "{target}" is not written relative to lib/')
        return
    if to[0] not in may.get(room, "").split():
        complaints["down"].append(f'{at}: lib/{room} may not include "{target}"')
    edge(rooms, room, to[0])
    edge(units, unit_of(file), unit_of(target))
    if file.endswith(".h"):
        edge(headers, file, target)

for line in open(os.path.join(scratch, "includes")):
    file, number, text = line.split(":", 2)
    at = f"{file}:{number}"
    area, room = file.split("/")[:2]
    quoted, angled = re.search(r'"([^"]*)"', text), re.search(r"<([^>]*)>", text)
    target = (quoted or angled).group(1)
    if area == "include":
        if quoted or target.split("/")[0] in may:
            complaints["public"].append(f"{at}: {target}")
    elif area == "cli":
        own = [os.path.join(os.path.dirname(file), target), os.path.join("cli", target)]
        if quoted and not any(map(os.path.isfile, own)) or angled and target.split("/")[0] in may:
            complaints["cli"].append(f"{at}: {target}")
    elif quoted and not target.startswith("alknet/"):
        in_lib(at, room, target)
    elif not quoted:
        where = next((rooms_ for pattern, rooms_ in foreign if re.match(pattern, target)), None)
        if where is not None and room not in where.split():
            belongs = " and ".join("lib/" + r for r in where.split()) or "no room of lib/"
            complaints["foreign"].append(f"{at}: <{target}> belongs to {belongs}")

for a, b in map(sorted, recursive):
    if b not in units.get(a, ()) or a not in units.get(b, ()):
        complaints["units"].append(f"{a} and {b} may include each other, and do not: take them off the list")
    units.get(a, set()).discard(b)
complain_of_cycles("headers", headers)
complain_of_cycles("units", units)
complain_of_cycles("rooms", rooms)
for name, lines in complaints.items():
    with open(os.path.join(scratch, name), "w") as out:
        out.writelines(line + "\n" for line in lines)
PY
    then
        echo 'not ok the includes can be read'
        failed=1
        return
    fi
    verdict 'rooms of lib/ include only the rooms that they may' "$scratch/down"
    verdict 'headers of the system and of other libraries are where they belong' "$scratch/foreign"
    verdict 'public headers include nothing of lib/' "$scratch/public"
    verdict 'programs include only public headers and their own' "$scratch/cli"
    verdict 'no rooms of lib/ include each other in a circle' "$scratch/rooms"
    verdict 'no headers of lib/ include each other in a circle' "$scratch/headers"
    verdict 'no units of lib/ include each other in a circle' "$scratch/units"
}

needs_nothing_else schema base
needs_nothing_else core base schema
includes_are_right
exit $failed
