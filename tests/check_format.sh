#!/bin/sh
# The C files are as .clang-format says. Only version 14 counts: others lay the same style out differently.
set -u
cd "$(dirname "$0")/.." || exit 1
formatter=${CLANG_FORMAT:-clang-format-14}
if ! command -v "$formatter" >/dev/null 2>&1; then
    echo "SKIP: no $formatter"
    exit 0
fi
# shellcheck disable=SC2046
bad=$("$formatter" --dry-run $(find include lib cli examples tests bench -name '*.[ch]') 2>&1 |
    sed -n 's/^\([^: ]*\):[0-9]*:[0-9]*: warning: .*/\1/p' | sort | uniq -c | sort -rn)
if [ -z "$bad" ]; then
    echo "ok the C files are formatted"
else
    echo "not ok the C files are formatted: run make format; lines to change in each file:"
    echo "$bad"
    exit 1
fi
