#!/usr/bin/env python3
"""Runs tests of five kinds side by side and adds up what they say.

usage: tests/run.py [options] KIND:PATH...

  check:PROGRAM   a program built on Check; its tests are counted from its summary lines or its TAP log
  narrow:PROGRAM  the same, where the network is narrow (tests/narrow.py); where this machine does not allow that, a line
                  says so, and nothing is counted
  pytest:FILE     a file of pytest tests
  shell:SCRIPT    prints `ok NAME`, `not ok NAME: why` or `SKIP: reason`, a line for each check
  fuzz:PROGRAM    a libFuzzer target: replays tests/fuzz/corpus/NAME, then fuzzes; one test

A test of a Check program that cannot run prints `SKIP: reason` and passes; it is counted as skipped. What crashes, runs
over its time, or says nothing is a failure: no way of dying counts as success. The output of what failed is shown. The
last line is `N passed, N failed`, with `, N skipped` where something was; the exit status is 0 only if nothing failed and,
where CI is set, nothing was skipped.
"""
import argparse
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor, as_completed

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMITS = {"check": 300, "narrow": 300, "pytest": 900, "shell": 600, "fuzz": 120}  # seconds; fuzzing time comes on top
ORDER = ["pytest", "shell", "check", "narrow", "fuzz"]  # the long ones first, what loads every core last
SHOWN = 12000  # characters of a failed test's output


class Result:
    def __init__(self):
        self.passed = self.failed = 0
        self.skips = []
        self.output = ""
        self.why = ""  # a failure that no single test accounts for

    def fail(self, why):
        self.failed += 1
        self.why = why


class Runner:
    def __init__(self, options):
        self.options = options
        self.running = set()
        self.lock = threading.Lock()
        self.stopped = False

    def command(self, argv, seconds, env=None):
        """The exit status (None: out of time) and the output. The whole process group goes when time is up."""
        with tempfile.TemporaryFile() as out:
            with self.lock:
                if self.stopped:
                    return None, "stopped"
                process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                           cwd=ROOT, env=env, start_new_session=True)
                self.running.add(process)
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = None
            end(process)
            with self.lock:
                self.running.discard(process)
            out.seek(0)
            return status, out.read().decode(errors="replace")

    def limit(self, kind):
        return self.options.seconds or LIMITS[kind]

    def stop(self):
        with self.lock:
            self.stopped = True
            for process in self.running:
                end(process)

    def run(self, kind, path):
        with tempfile.TemporaryDirectory(prefix="alknet-test.") as scratch:
            return getattr(self, kind)(path, scratch)

    def narrow(self, path, scratch):
        return self.check(path, scratch, [self.options.narrow])

    def check(self, path, scratch, within=()):
        tap = os.path.join(scratch, "tap")
        env = dict(os.environ, CK_TAP_LOG_FILE_NAME=tap)
        env.setdefault("CK_DEFAULT_TIMEOUT", "60")
        result = Result()
        status, result.output = self.command([*within, path], self.limit("check"), env)
        total, bad = check_summary(result.output, tap)
        result.skips = re.findall(r"^SKIP: (.*)$", result.output, re.M)
        result.failed = bad
        result.passed = max(total - bad - len(result.skips), 0)
        account(result, status, total)
        return result

    def pytest(self, path, scratch):
        report = os.path.join(scratch, "junit.xml")
        result = Result()
        status, result.output = self.command(
            [pytest_python(), "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--basetemp", scratch + "/tmp",
             "--junitxml", report, path], self.limit("pytest"))
        total = 0
        if os.path.exists(report):
            for case in xml.etree.ElementTree.parse(report).iter("testcase"):
                total += 1
                kinds = [child.tag for child in case]
                if "failure" in kinds or "error" in kinds:
                    result.failed += 1
                elif "skipped" in kinds:
                    skipped = case.find("skipped")
                    result.skips.append(f"{case.get('name')}: {skipped.get('message')}")
                else:
                    result.passed += 1
        account(result, status, total)
        return result

    def shell(self, path, scratch):
        result = Result()
        status, result.output = self.command([path], self.limit("shell"), dict(os.environ, TMPDIR=scratch))
        result.passed = len(re.findall(r"^ok ", result.output, re.M))
        result.failed = len(re.findall(r"^not ok ", result.output, re.M))
        result.skips = re.findall(r"^SKIP: (.*)$", result.output, re.M)
        account(result, status, result.passed + result.failed + len(result.skips))
        return result

    def fuzz(self, path, scratch):
        name = re.sub(r"^fuzz_", "", os.path.basename(path))
        corpus = os.path.join(ROOT, "tests/fuzz/corpus", name)
        artifacts = os.path.join(os.path.dirname(path), "artifacts", "")
        os.makedirs(artifacts, exist_ok=True)
        found = os.path.join(os.path.dirname(path), "corpus", name) if self.options.fuzz_keep else scratch
        os.makedirs(found, exist_ok=True)
        common = [path, "-timeout=10", "-rss_limit_mb=2560", f"-artifact_prefix={artifacts}"]
        seconds = self.options.fuzz_seconds
        result = Result()
        files = sorted(f for f in glob.glob(corpus + "/*") if os.path.isfile(f))
        if not files:
            result.fail(f"no corpus in {os.path.relpath(corpus, ROOT)}")
            return result
        for start in range(0, len(files), 500):
            status, result.output = self.command(common + files[start:start + 500], self.limit("fuzz"))
            if status != 0:
                break
        else:
            dictionary = os.path.join(ROOT, "tests/fuzz", name + ".dict")
            extra = [f"-dict={dictionary}"] if os.path.exists(dictionary) else []
            if not self.options.fuzz_keep:
                extra.append("-seed=1")  # the same inputs each time; whoever keeps what is found looks further
            status, result.output = self.command(
                common + extra + [f"-max_total_time={seconds}", found, corpus], self.limit("fuzz") + seconds)
        if status == 0:
            result.passed = 1
            result.output = ""
        account(result, status, 1)
        return result


def end(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def account(result, status, total):
    """Makes sure that a bad end is a failure."""
    if status is None:
        result.fail("ran out of time")
    elif status < 0:
        result.fail(f"ended by signal {-status}")
    elif status != 0 and result.failed == 0:
        result.fail(f"exit status {status}")
    elif total == 0:
        result.fail("ran no test")


def check_summary(output, tap):
    """(tests, failed ones) of a Check program; a program may have several suite runners, each with a line of its own."""
    lines = re.findall(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)\s*$", output, re.M)
    if lines:
        return sum(int(n) for n, _, _ in lines), sum(int(f) + int(e) for _, f, e in lines)
    if os.path.exists(tap):
        with open(tap, errors="replace") as f:
            said = f.read()
        good, bad = len(re.findall(r"^ok ", said, re.M)), len(re.findall(r"^not ok ", said, re.M))
        return good + bad, bad
    return 0, 0


def pytest_python():
    """The python of the path may be one without pytest beside a system's that has it."""
    for python in (sys.executable, "/usr/bin/python3"):
        probe = "import importlib.util as u, sys; sys.exit(u.find_spec('pytest') is None)"
        if os.path.exists(python) and subprocess.run([python, "-c", probe], check=False).returncode == 0:
            return python
    return sys.executable


def without_narrow(tests, narrow):
    """The tests that this machine can run; says what is left out."""
    if all(kind != "narrow" for kind, _ in tests):
        return tests
    probe = subprocess.run([narrow, "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if probe.returncode == 0:
        return tests
    print(f"     nothing is run in a narrow network, which this machine does not allow: {probe.stderr.strip()}", flush=True)
    return [test for test in tests if test[0] != "narrow"]


def show(name, result):
    text = result.output
    if len(text) > SHOWN:
        text = text[:SHOWN // 4] + "\n[…]\n" + text[-3 * SHOWN // 4:]
    print(f"---- {name}" + (f": {result.why}" if result.why else ""))
    print(text.rstrip())
    print("----", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description="runs the tests", usage="tests/run.py [options] KIND:PATH...")
    parser.add_argument("--only", default="", help="only tests whose path contains this")
    # Two more than there are cores, since most tests wait for something most of the time.
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 2)
    parser.add_argument("--seconds", type=int, default=0, help="time limit of a program, in place of that of its kind")
    parser.add_argument("--repeat", type=int, default=1, help="run each so many times")
    parser.add_argument("--narrow", default=os.path.join(ROOT, "tests/narrow.py"), help="what runs a program there")
    parser.add_argument("--fuzz-seconds", type=int, default=2)
    parser.add_argument("--fuzz-keep", action="store_true", help="keep what the fuzzer found interesting")
    parser.add_argument("tests", nargs="*", metavar="KIND:PATH")
    options = parser.parse_args()
    tests = [tuple(test.split(":", 1)) for test in options.tests]
    for test in tests:
        if len(test) != 2 or test[0] not in ORDER:
            parser.error(f"{':'.join(test)}: not one of {', '.join(ORDER)}:PATH")
    tests = [(kind, os.path.abspath(path)) for kind, path in tests if options.only in path]
    tests = without_narrow(tests, options.narrow)
    options.tests = sorted(tests, key=lambda test: ORDER.index(test[0])) * options.repeat
    return options


def main():
    # Started in the background of a shell, an interrupt is ignored, and so it would be by what tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = arguments()
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1")
    os.environ.setdefault("LSAN_OPTIONS", f"suppressions={ROOT}/tests/lsan.supp:print_suppressions=0")
    os.environ.setdefault("TSAN_OPTIONS", f"suppressions={ROOT}/tests/tsan.supp:print_suppressions=0")
    os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    os.environ.setdefault("ALKNET_ROOT", ROOT)
    for inherited in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        os.environ.pop(inherited, None)
    runner = Runner(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    passed = failed = skipped = 0

    def timed(kind, path):
        start = time.monotonic()
        return runner.run(kind, path), time.monotonic() - start

    def shown(kind, path):
        return os.path.relpath(path, ROOT) + (" (narrow)" if kind == "narrow" else "")

    try:
        with ThreadPoolExecutor(options.jobs) as pool:
            jobs = {pool.submit(timed, kind, path): shown(kind, path) for kind, path in options.tests}
            try:
                for job in as_completed(jobs):
                    result, seconds = job.result()
                    name = jobs[job]
                    passed += result.passed
                    failed += result.failed
                    skipped += len(result.skips)
                    word = "FAIL" if result.failed else "skip" if result.skips and not result.passed else "ok"
                    print(f"{word:4} {name}: {result.passed} passed, {result.failed} failed ({seconds:.1f} s)", flush=True)
                    for reason in result.skips:
                        print(f"     skipped: {reason}", flush=True)
                    if result.failed:
                        show(name, result)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        runner.stop()

    if passed + failed + skipped == 0:
        print("no test matches")
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    in_ci = os.environ.get("CI", "") not in ("", "0", "false")
    return 1 if failed or (skipped and in_ci) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
