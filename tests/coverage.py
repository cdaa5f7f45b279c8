#!/usr/bin/env python3
"""Says how much of lib/ the tests reached, from what gcov counted in a build with --coverage.

usage: tests/coverage.py FOLDER [FILE...]

FOLDER holds the objects and the counts of a run (build/cov/obj). Prints the shares of each file, and of lib/; each way that
an operand of a condition can go is a branch. The exit status is 1 where lib/ or a file of EVERY_BRANCH is below its mark.
With files, lists their lines and branches that were not reached.
"""
import json
import os
import pathlib
import subprocess
import sys
from collections import defaultdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINES, BRANCHES = 97, 90  # percent of lib/
# Who may do what, and what is read from strangers first.
EVERY_BRANCH = [
    "lib/core/access.c", "lib/core/start.c", "lib/core/identity.c", "lib/core/envelope.c", "lib/core/credential.c",
    "lib/wire/h1_parse.c", "lib/wire/frame.c", "lib/base/json.c",
]


class File:
    """The counts of its lines, and of each line's branches. A header's are the sums over the objects that include it."""

    def __init__(self):
        self.lines = defaultdict(int)
        self.branches = defaultdict(int)

    def add(self, lines):
        for line in lines:
            number = line["line_number"]
            self.lines[number] += line["count"]
            for index, branch in enumerate(line["branches"]):
                if not branch["throw"]:
                    self.branches[number, index] += branch["count"]


def read(folder):
    files = defaultdict(File)
    notes = sorted(str(path) for path in folder.rglob("*.gcno"))
    gcov = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout", *notes],
                          check=False, capture_output=True, text=True, cwd=ROOT)
    if gcov.returncode:
        said = [line for line in gcov.stderr.splitlines() if "cannot open data file" not in line]
        sys.exit("the counts are not of this build: make coverage makes new ones\n" + "\n".join(said[:5]))
    for text in gcov.stdout.splitlines():
        for file in json.loads(text)["files"]:
            name = os.path.relpath(ROOT / file["file"], ROOT)
            if name.startswith("lib/") and (ROOT / name).exists():  # notes stay behind when a file goes
                files[name].add(file["lines"])
    return files


def share(counts):
    """The percentage of those that are not 0, and how many are."""
    missed = sum(count == 0 for count in counts)
    return (100 * (len(counts) - missed) / len(counts) if counts else 100.0), missed


def table(files):
    """Prints it, and says what is below its mark."""
    low = []
    rows = [(name, list(files[name].lines.values()), list(files[name].branches.values())) for name in sorted(files)]
    rows.append(("lib", [n for row in rows for n in row[1]], [n for row in rows for n in row[2]]))
    print(f"{'':30}   lines  missed   branches  missed")
    for name, lines, branches in rows:
        (line, lines_missed), (branch, branches_missed) = share(lines), share(branches)
        print(f"{name:30} {line:6.1f}% {lines_missed:7} {branch:9.1f}% {branches_missed:7}")
        if name == "lib" and (line < LINES or branch < BRANCHES):
            low.append(f"lib: below {LINES} % of lines or {BRANCHES} % of branches")
        if name in EVERY_BRANCH and branches_missed:
            low.append(f"{name}: below 100 % of branches (make coverage COVER={name} lists them)")
    low += [f"{name}: not there" for name in EVERY_BRANCH if name not in files]
    return low


def gaps(name, file):
    source = (ROOT / name).read_text().splitlines()
    for number in sorted(file.lines):
        branches = [count for (line, _), count in sorted(file.branches.items()) if line == number]
        if not file.lines[number] or 0 in branches:
            taken = " ".join(map(str, branches)) if file.lines[number] else "never"
            print(f"{name}:{number}: [{taken}] {source[number - 1].strip()}")


def main():
    files = read(pathlib.Path(sys.argv[1]))
    for name in sys.argv[2:]:
        gaps(name, files[name])
    if sys.argv[2:]:
        return 0
    low = table(files)
    print("\n".join(low) or "all marks are reached")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
