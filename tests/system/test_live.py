"""The examples that need a hub: the page with a live subscription, and the program that serves over WebSocket."""
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from conftest import PATIENCE, REPORTS, ROOT, wait_for

pytest_plugins = "browser"

EXAMPLES = pathlib.Path(os.environ.get("ALKNET_EXAMPLES", ROOT / "build/san/examples"))


def put_together(folder):
    """A site, as the makefile does."""
    site = folder / "site"
    site.mkdir()
    shutil.copy(ROOT / "examples/live/index.html", site)
    shutil.copy(ROOT / "clients/js/alknet.js", site)
    return site


@pytest.fixture
def hub(make_daemon, tmp_path):
    """alknetd, which serves the page."""
    site = put_together(tmp_path)
    return make_daemon({"gateway": {"decoy": {"kind": "static_site", "target": str(site)}}}).start()


def enter(page, url, token):
    page.goto(f"{url}/index.html")
    assert page.get_attribute("#token", "type") == "password"
    page.fill("#token", token)
    page.click("text=connect")


def test_the_makefile_puts_the_page_and_the_client_together():
    built = pathlib.Path(os.environ.get("ALKNET_BUILD", ROOT / "build")) / "examples/live"
    assert (built / "index.html").read_bytes() == (ROOT / "examples/live/index.html").read_bytes()
    assert (built / "alknet.js").read_bytes() == (ROOT / "clients/js/alknet.js").read_bytes()


def test_the_page_shows_the_clock_is_called_and_stops(hub, page):
    enter(page, hub.url, hub.token)
    page.wait_for_function("document.getElementById('state').textContent == 'connected'")
    assert page.input_value("#token") == "" and hub.token not in page.url
    page.wait_for_function("parseInt(document.getElementById('clock').textContent) >= 3")
    page.click("#ask")
    page.wait_for_function("document.getElementById('answer').textContent == 'the hub got \"live\"'")
    page.click("#stop")
    page.wait_for_function("document.getElementById('stop').disabled")
    wait_for(lambda: [e for e in hub.events("call") if e["operation"] == "demo/clock" and e["outcome"] == "aborted"])


def test_the_page_goes_on_after_a_restart(hub, page):
    enter(page, hub.url, hub.token)
    page.wait_for_function("parseInt(document.getElementById('clock').textContent) >= 2")
    hub.config["listen"] = [{"host": hub.host, "port": hub.port}]
    hub.write_config()
    page.evaluate("document.getElementById('clock').textContent = ''")
    hub.restart()
    page.wait_for_function("document.getElementById('state').textContent == 'connected'")
    page.wait_for_function("parseInt(document.getElementById('clock').textContent) >= 2")
    page.click("#stop")
    page.wait_for_function("document.getElementById('stop').disabled")


def test_a_page_over_tls_has_its_session_there(make_daemon, tmp_path, browser):
    """The page comes by HTTP/2, and its session is one of the same origin."""
    folder = put_together(tmp_path)
    hub = make_daemon({"listen": [{"host": "127.0.0.1", "port": 0, "tls": True}],
                       "gateway": {"decoy": {"kind": "static_site", "target": str(folder)}}}).start()
    context = browser.new_context(ignore_https_errors=True)
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        enter(page, f"https://{hub.host}:{hub.port}", hub.token)
        assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        page.wait_for_function("document.getElementById('state').textContent == 'connected'")
        page.wait_for_function("parseInt(document.getElementById('clock').textContent) >= 3")
        page.click("#ask")
        page.wait_for_function("document.getElementById('answer').textContent == 'the hub got \"live\"'")
        assert len(hub.events("session.open")) == 1
    finally:
        context.close()


def test_the_page_says_that_a_token_is_wrong(hub, page):
    enter(page, hub.url, "alk_this_is_not_the_token_of_anyone")
    page.wait_for_function("document.getElementById('state').textContent == 'the hub does not accept the token'")
    assert page.inner_text("#clock").strip() == "\u2013"
    hub.tokens.append("alk_this_is_not_the_token_of_anyone")


def spoke(url, token):
    return subprocess.Popen([EXAMPLES / "06_spoke", url, token], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def end(proc):
    if proc.poll() is None:
        proc.send_signal(signal.SIGINT)
    out, err = proc.communicate(timeout=PATIENCE)
    assert proc.returncode == 0 and not any(report in err for report in REPORTS), err
    return out


def test_the_spoke_is_called_by_the_hub_and_comes_back_to_it(hub):
    proc = spoke(hub.url.replace("http", "ws"), hub.token)
    try:
        said = [proc.stdout.readline() for _ in range(3)]
        assert said == ["connected\n", "ui/hello was called\n", 'the hub answered {"says":"hello from the spoke"}\n']
        hub.stop()
        assert proc.stdout.readline().startswith("closed with 1001: shutting down; again in ")
        hub.config["listen"][0]["port"] = hub.port
        hub.write_config()
        hub.start()
        again = [line for line in iter(proc.stdout.readline, said[2]) if not re.search("again in|connect", line)]
        assert again == ["ui/hello was called\n"]
    finally:
        end(proc)


def test_the_spoke_says_why_it_cannot_connect(hub):
    proc = spoke(hub.url.replace("http", "ws"), "alk_wrong_wrong_wrong_wrong")
    try:
        assert proc.stdout.readline().startswith("HTTP 401: the presented token is not valid; again in ")
    finally:
        end(proc)
