"""What one measurement is: a child on chosen cores, its CPU time and memory, pairs of numbers and their verdict.

A row compares two sides by pairs: one run of each, directly after the other, in changing order, so that what the machine does
meanwhile meets both. The ratio of a row is the median of the pairs' ratios. Where the pairs lie further apart than SPREAD_MAX of
the median, the machine was too busy to say anything, and the row has no verdict."""

import json
import os
import re
import statistics
import subprocess
import tempfile
import time

SPREAD_MAX = 0.30


class Failed(Exception):
    """A run could not be made, or one of its answers was wrong."""


def split_cores():
    """(server's, load's): the last core of those we may use, and all others; both empty with a single core."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[-1:], cores[:-1]) if len(cores) > 1 else ([], [])


def spawn(command, cores, **options):
    """A child process that runs on these cores only, its threads included."""
    def pin():
        if cores:
            os.sched_setaffinity(0, cores)
    try:
        return subprocess.Popen([str(c) for c in command], preexec_fn=pin, **options)
    except OSError as e:
        raise Failed(f"{command[0]} does not run: {e.strerror}") from None


def stop(child, seconds=10):
    """Ends a child of ours, by force if it does not listen."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def run_json(command, cores, seconds):
    """The lines of JSON that a program prints."""
    child = spawn(command, cores, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise Failed(f"{command[0]} did not end in {seconds:.0f} s") from None
    if child.returncode:
        raise Failed(err.strip() or f"{command[0]} ended with status {child.returncode}")
    return [json.loads(line) for line in out.splitlines()]


def instructions(command, function):
    """How many instructions a program takes inside a function, by callgrind: the same number each time. FileNotFoundError
    where valgrind is missing."""
    with tempfile.TemporaryDirectory(prefix="alknet-bench.") as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", f"--toggle-collect={function}*",
                               *map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise Failed(f"{command[0]} under callgrind: {done.stderr.strip()[-200:]}")
    return int(found[1])


def processes_of(pid):
    """pid and its children."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                for child in f.read().split():
                    found += processes_of(int(child))
    except OSError:
        pass
    return found


def cpu_seconds(pid):
    """The CPU time that a process and its children have used, threads that are gone excepted."""
    total = 0
    for process in processes_of(pid):
        for task in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    return total / 1e9


def memory_kib(pid, field):
    """A field of smaps_rollup ("Rss", "Private_Dirty"), summed over a process and its children."""
    total = 0
    for process in processes_of(pid):
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith(field + ":"))
    return total


def loaded(server, command, cores, seconds):
    """One run of a load generator against a server: its line, with the server's CPU time per call added."""
    return loaded_by(server, lambda: run_json(command, cores, seconds + 30)[-1])


def loaded_by(server, run):
    """The same of what run() returns, which says the total."""
    before, begun = cpu_seconds(server.pid), time.monotonic()
    line = run()
    used, took = cpu_seconds(server.pid) - before, time.monotonic() - begun
    line["cpu_us"] = used * 1e6 / line["total"]
    line["busy"] = used / took
    return line


class Row:
    """A comparison; target is a bound on ours/theirs: at most it for "<=", at least for ">=", no verdict without."""

    def __init__(self, name, unit, sense="", target=None):
        self.name, self.unit, self.sense, self.target = name, unit, sense, target
        self.ours, self.theirs = [], []

    def add(self, ours, theirs):
        self.ours.append(ours)
        self.theirs.append(theirs)

    def ratios(self, key):
        """(least, median, greatest) of the pairs' ratios."""
        ratios = [a[key] / b[key] for a, b in zip(self.ours, self.theirs)]
        return min(ratios), statistics.median(ratios), max(ratios)

    def middles(self, key):
        """The medians of both sides."""
        return tuple(statistics.median(x[key] for x in side) for side in (self.ours, self.theirs))

    def verdict(self, key):
        least, middle, greatest = self.ratios(key)
        if (greatest - least) / middle > SPREAD_MAX:
            return "noisy"
        if self.target is None:
            return ""
        return "ok" if (middle <= self.target if self.sense == "<=" else middle >= self.target) else "MISSED"


def compare(row, pairs, ours, theirs):
    """Fills a row: runs both sides in turn, each first every other time."""
    for i in range(pairs):
        if i % 2:
            b, a = theirs(), ours()
        else:
            a, b = ours(), theirs()
        row.add(a, b)
    return row
