#!/bin/sh
# The table of cases, tests/clients/cases.json, with the library's own interface for programs that have no loop. What the
# clients of other languages need is there where those are tested, and so is their turn at the table.
cd "$(dirname "$0")/.." || exit 1
exec tests/clients/run.sh c "${ALKNET_BUILD:-$PWD/build}/san/tests/clients/runner"
