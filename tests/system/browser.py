"""A headless Chromium for system tests: the system's own, driven by Playwright.  pytest_plugins = "browser"

`browser` runs as long as the tests of a module do, with a profile of its own that starts empty. `open_tab()` opens a tab in a
context of the test: nothing that is kept, cookies, caches or connections, outlasts the test. `page` is such a tab. A script's
uncaught error in any tab fails the test; what the tabs said on their consoles is shown with a test that fails. At the end
no process of the browser is left. A browser that does not start is an error, never a reason to skip.

A test that names its daemon before its page has the page closed before the daemon stops.
"""
import os
import pathlib
import shutil
import time

import pytest

from conftest import PATIENCE, ROOT


from playwright import sync_api  # noqa: E402

# No sandbox, since tests run as root; and nothing that Chromium would do on a network by itself.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


def processes():
    """pid -> (parent, start time); zombies are no longer among them."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if fields[0] not in "ZX":
                found[int(entry.name)] = (int(fields[1]), fields[19])
    return found


def descendants(pid):
    """{(pid, start time)} of all that runs below a process."""
    now = processes()
    below = {pid}
    while True:
        more = {child for child, (parent, _) in now.items() if parent in below} - below
        if not more:
            return {(child, now[child][1]) for child in below if child in now} - {(pid, now[pid][1])}
        below |= more


def still_running(started):
    now = processes()
    return [pid for pid, start in started if pid in now and now[pid][1] == start]


def assert_ended(started):
    end = time.monotonic() + PATIENCE
    while still_running(started) and time.monotonic() < end:
        time.sleep(0.02)
    left = still_running(started)
    for pid in left:
        os.kill(pid, 9)
    assert not left, f"processes of the browser are left: {left}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Playwright's Browser."""
    program = shutil.which("chromium")
    assert program, "no chromium on the path; pkgconfig/deps.sh check installs it"
    before = descendants(os.getpid())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("browser")))  # where Playwright makes the profile
        playwright = sync_api.sync_playwright().start()
    try:
        chromium = playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS, timeout=60_000)
        yield chromium
        started = descendants(os.getpid()) - before
        assert started
        chromium.close()
    finally:
        playwright.stop()
    assert_ended(started)


@pytest.fixture
def open_tab(browser):
    """open_tab(): another tab."""
    errors = []
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)

    def open_one():
        tab = context.new_page()
        tab.on("pageerror", lambda error: errors.append(f"{tab.url.partition('#')[0]}: {error}"))
        tab.on("console", lambda message: print(f"console {message.type}: {message.text}"))
        return tab

    yield open_one
    context.close()
    assert not errors, errors


@pytest.fixture
def page(open_tab):
    return open_tab()
