"""A page in a real browser: it comes from the daemon's static site and calls the daemon, and is called, over a WebSocket."""
import shutil

import pytest

from conftest import ROOT, new_token, wait_for

pytest_plugins = "browser"

CALL_PATH = "/alknet/call"
NEVER = {"operation": "ui/never"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What an embedder would put on a web server: a page, its script and the client."""
    folder = tmp_path_factory.mktemp("site")
    for file in (ROOT / "tests/system/pages").iterdir():
        shutil.copy(file, folder)
    shutil.copy(ROOT / "clients/js/alknet.js", folder)
    return folder


@pytest.fixture
def make_hub(make_daemon, site):
    """make_hub(): a running daemon with that site, with members of its configuration in place of defaults."""
    def make(origins=(), **config):
        gateway = {"decoy": {"kind": "static_site", "target": str(site)}, "origins": list(origins)}
        daemon = make_daemon({"gateway": gateway, **config})
        daemon.config["keys"][0]["scopes"].append("metrics:list")
        daemon.write_config()
        return daemon.start()
    return make


@pytest.fixture
def hub(make_hub):
    return make_hub()


def visit(tab, hub, token=True, to=None):
    """Loads the page and waits for its first attempt to connect, the state of which it returns."""
    token = hub.token if token is True else token
    fragment = (f"token={token}" if token else "") + (f"&host={to.host}:{to.port}" if to else "")
    tab.goto(f"{hub.url}/#{fragment}")
    tab.wait_for_function("document.querySelector('#state').textContent !== 'starting'")
    return tab.text_content("#state")


def connected(tab, hub, **kwargs):
    state = visit(tab, hub, **kwargs)
    assert state == "connected", f"{state}; {hub.log_text()[-2000:]}"


def ask(tab, operation, value=None, options=None):
    """What a call from the page came to: {output} or {error}."""
    return tab.evaluate("([o, i, more]) => page.call(o, i, more)", [operation, value, options or {}])


def output(tab, operation, value=None):
    answer = ask(tab, operation, value)
    assert "output" in answer, answer
    return answer["output"]


def called_back(tab, operation, value=None):
    return ask(tab, "demo/callback", {"operation": operation, "input": value})


def wait_imported(tab):
    """The hub imports what a page serves a moment after that has connected."""
    wait_for(lambda: "output" in called_back(tab, "ui/echo", {"text": ""}))


def ended_calls(hub, operation):
    """Outcomes of the calls of an operation that are over."""
    return [e["outcome"] for e in hub.events("call") if e["operation"].lstrip("/") == operation]


def wait_outcomes(hub, operation, *outcomes):
    wait_for(lambda: len(ended_calls(hub, operation)) >= len(outcomes))
    assert ended_calls(hub, operation) == list(outcomes)


def tables(hub):
    """What the hub holds: (call connections, WebSockets, calls from outside, from handlers and to remotes that run)."""
    listed = hub.output("metrics/list", {})["metrics"]
    gauges = {(m["name"], *m.get("labels", {}).values()): m["value"] for m in listed if m["type"] == "gauge"}
    return (gauges["connections_open",], gauges["ws_sessions",],
            *(gauges["calls_running", kind] for kind in ("incoming", "nested", "outgoing")))


# ---- the connection ---------------------------------------------------------------------------------------------------

def test_the_page_connects_with_its_token_as_a_subprotocol(hub, page):
    sockets, frames = [], []

    def on_socket(socket):
        sockets.append(socket)
        socket.on("framesent", lambda payload: frames.append(payload))
        socket.on("framereceived", lambda payload: frames.append(payload))

    page.on("websocket", on_socket)
    connected(page, hub)
    assert output(page, "demo/echo", "a") == "a"
    assert [socket.url for socket in sockets] == [f"ws://{hub.host}:{hub.port}{CALL_PATH}"]
    wait_for(lambda: page.evaluate("true") and len(frames) >= 2)  # which lets Playwright tell what it has seen
    assert all(isinstance(payload, bytes) for payload in frames), "each message is a binary one"
    assert not any(hub.token.encode() in payload for payload in frames)
    assert page.evaluate("page.client.state") == "open"


@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_a_valid_token_it_is_refused(hub, page, token):
    token = token and new_token()
    state = visit(page, hub, token=token)
    assert state.startswith("refused: the hub does not accept the token" if token else "refused: cannot connect"), state
    assert page.evaluate("page.client === undefined")
    assert len(hub.events("auth.failed")) == (2 if token else 0), "the page asks once more, to find out why"


def test_a_page_of_a_foreign_origin_is_refused_though_its_token_is_good(make_hub, page):
    hub, elsewhere = make_hub(), make_hub()
    state = visit(page, elsewhere, token=hub.token, to=hub)
    assert state.startswith("refused: cannot connect"), state
    # The very same from the hub's own origin, and from one that is allowed.
    connected(page, hub, to=hub)
    friendly = make_hub(origins=[elsewhere.url])
    connected(page, elsewhere, token=friendly.token, to=friendly)
    assert output(page, "demo/echo", 1) == 1


# ---- calls ------------------------------------------------------------------------------------------------------------

def test_the_page_lists_and_calls(hub, page):
    connected(page, hub)
    listed = {o["name"]: o["op_type"] for o in output(page, "services/list", {})["operations"]}
    assert listed["demo/echo"] == "query" and listed["demo/clock"] == "subscription"
    assert listed["demo/callback"] == "mutation"
    assert not any(name.startswith("ui/") for name in listed)
    value = {"text": "grüße, \U0001f310 \u2028 \0", "numbers": [0, -1.5, 1e300, 2**53 - 1], "": [None, True, {}]}
    assert output(page, "demo/echo", value) == value
    assert output(page, "demo/add", {"a": 2, "b": 3}) == {"sum": 5}
    assert output(page, "demo/whoami")["id"] == hub.token[:8]
    assert output(page, "demo/echo", "x" * 1_000_000) == "x" * 1_000_000


@pytest.mark.parametrize("operation,value,options,code", [
    ("demo/nothing", None, {}, "NOT_FOUND"),
    ("demo/internal", None, {}, "NOT_FOUND"),
    ("demo/add", {"a": 1}, {}, "INVALID_INPUT"),
    ("demo/fail", None, {}, "DEMO_CONFLICT"),
    ("demo/sleep", {"ms": 60_000}, {"timeout": 50}, "TIMEOUT"),
    ("demo/callback", {"operation": "demo/echo"}, {}, "CALLBACK_FAILED"),
])
def test_what_fails_says_why(hub, page, operation, value, options, code):
    connected(page, hub)
    error = ask(page, operation, value, options)["error"]
    assert error["name"] == "AlknetError" and error["code"] == code and error["message"]
    assert output(page, "demo/echo", 1) == 1


def test_many_calls_run_at_once_on_one_connection(hub, page):
    connected(page, hub)
    answers = page.evaluate("""() => Promise.all(Array.from({ length: 500 }, (_, i) =>
        page.call(i % 10 ? "demo/echo" : "demo/sleep", i % 10 ? i : { ms: 20 })))""")
    assert [a["output"] for i, a in enumerate(answers) if i % 10] == [i for i in range(500) if i % 10]
    assert [a["output"]["slept_ms"] >= 20 for a in answers[::10]] == [True] * 50


def test_an_aborted_call_ends_at_both_sides(hub, page):
    connected(page, hub)
    answer = page.evaluate("page.abortCall('demo/sleep', { ms: 60000 })")
    assert answer["error"]["name"] == "AbortError"
    wait_outcomes(hub, "demo/sleep", "aborted")
    assert output(page, "demo/sleep", {"ms": 0})["cancelled"] == 1


# ---- subscriptions ----------------------------------------------------------------------------------------------------

def test_a_subscription_ends_with_its_last_value(hub, page):
    connected(page, hub)
    answer = page.evaluate("page.take(100, 'demo/clock', { interval_ms: 1, count: 3 })")
    assert [value["tick"] for value in answer["output"]] == [1, 2, 3]
    wait_outcomes(hub, "demo/clock", "ok")


def test_leaving_a_subscription_aborts_it(hub, page):
    connected(page, hub)
    answer = page.evaluate("page.take(5, 'demo/clock', { interval_ms: 10 })")
    values = answer["output"]
    assert len(values) == 5 and [v["tick"] - values[0]["tick"] for v in values] == [0, 1, 2, 3, 4]
    assert f'"tick":{values[-1]["tick"]}' in page.text_content("#state"), "it is live on the page"
    wait_outcomes(hub, "demo/clock", "aborted")


def test_a_signal_aborts_a_subscription(hub, page):
    connected(page, hub)
    answer = page.evaluate("page.takeUntilAborted(4, 'demo/clock', { interval_ms: 10 })")
    assert len(answer["values"]) == 4 and answer["error"]["name"] == "AbortError"
    wait_outcomes(hub, "demo/clock", "aborted")
    assert output(page, "demo/echo", 1) == 1


# ---- the page serves --------------------------------------------------------------------------------------------------

def test_the_hub_calls_the_page_back(hub, page):
    connected(page, hub)
    wait_imported(page)
    before = page.evaluate("page.echoes")
    assert called_back(page, "ui/echo", {"text": "hé"}) == \
        {"output": {"title": "alknet in a page", "input": {"text": "hé"}}}
    assert page.evaluate("page.echoes") == before + 1
    assert page.evaluate("page.events") == []


@pytest.mark.parametrize("operation,code", [
    ("ui/fail", "UI_BUSY"), ("ui/throw", "INTERNAL"), ("ui/nothing", "NOT_FOUND"),
    ("admin/secret", "NOT_FOUND"),  # served, but demo/callback may not call it
])
def test_what_fails_in_the_page_reaches_the_hub(hub, page, operation, code):
    connected(page, hub)
    wait_imported(page)
    error = called_back(page, operation)["error"]
    assert error["code"] == "CALLBACK_FAILED" and error["details"]["code"] == code
    assert "of no concern" not in str(error)
    assert "output" in called_back(page, "ui/echo", {"text": ""})


def test_input_that_the_page_does_not_take_is_refused_by_the_hub(hub, page):
    """The page's schema came with the import."""
    connected(page, hub)
    wait_imported(page)
    before = page.evaluate("page.echoes")
    error = called_back(page, "ui/echo", {"text": 1})["error"]
    assert error["details"]["code"] == "INVALID_INPUT"
    assert page.evaluate("page.echoes") == before


def test_each_page_is_called_back_on_its_own_connection(hub, page, open_tab):
    other = open_tab()
    for tab, title in ((page, "one"), (other, "two")):
        connected(tab, hub)
        tab.evaluate("title => { document.title = title; }", title)
        wait_imported(tab)
    assert called_back(page, "ui/echo", {"text": ""})["output"]["title"] == "one"
    assert called_back(other, "ui/echo", {"text": ""})["output"]["title"] == "two"
    other.close()
    assert called_back(page, "ui/echo", {"text": ""})["output"]["title"] == "one"


def test_an_abort_reaches_the_page_through_the_hub(hub, page):
    connected(page, hub)
    wait_imported(page)
    page.evaluate("""() => {
        const controller = new AbortController();
        page.stop = () => controller.abort();
        page.stopped = page.call("demo/callback", { operation: "ui/never" }, { signal: controller.signal });
    }""")
    page.wait_for_function("page.waiting === 1")
    page.evaluate("page.stop()")
    assert page.evaluate("page.stopped")["error"]["name"] == "AbortError"
    page.wait_for_function("page.waiting === 0 && page.aborted === 1")
    wait_for(lambda: "aborted" in ended_calls(hub, "demo/callback"))


# ---- the end of a connection ------------------------------------------------------------------------------------------

def start_calls(tab):
    """A sleep, a subscription and a callback that the page never answers, all running at the hub."""
    tab.evaluate("""() => {
        page.call("demo/sleep", { ms: 600000 }, { timeout: Infinity });
        page.call("demo/callback", { operation: "ui/never" }, { timeout: Infinity });
        page.take(Infinity, "demo/clock", { interval_ms: 5 });
    }""")
    tab.wait_for_function("page.waiting === 1 && document.querySelector('#state').textContent.includes('tick')")


@pytest.mark.parametrize("leave", ["close", "navigate", "crash"])
def test_a_page_that_goes_away_takes_its_calls_along(hub, open_tab, leave):
    empty = tables(hub)
    witness, tab = open_tab(), open_tab()
    connected(witness, hub)
    wait_imported(witness)
    before = tables(hub)
    connected(tab, hub)
    wait_imported(tab)
    start_calls(tab)
    # The three calls; what demo/callback calls, ui/never as imported; and that one's request to the page.
    wait_for(lambda: [now - then for now, then in zip(tables(hub), before)] == [1, 1, 3, 1, 1])
    if leave == "close":
        tab.close()
    elif leave == "navigate":
        tab.goto("about:blank")
    else:
        with tab.expect_event("crash"), pytest.raises(Exception, match="crash"):
            tab.goto("chrome://crash")
    wait_outcomes(hub, "demo/sleep", "closed")
    wait_outcomes(hub, "demo/clock", "closed")
    wait_outcomes(hub, "ui/never", "aborted", "aborted")
    wait_for(lambda: ended_calls(hub, "demo/callback")[-1:] == ["closed"])
    wait_for(lambda: tables(hub) == before)
    assert output(witness, "demo/sleep", {"ms": 0})["cancelled"] == 1
    assert "output" in called_back(witness, "ui/echo", {"text": ""})
    witness.close()
    wait_for(lambda: tables(hub) == empty)


def test_after_a_restart_the_page_comes_back_and_serves_again(make_hub, page):
    hub = make_hub(limits={"drain_ms": 100})
    connected(page, hub)
    wait_imported(page)
    start_calls(page)
    hub.write_config(listen=[{"host": hub.host, "port": hub.port}])
    hub.restart()
    page.wait_for_function("page.client.state === 'open' && page.events.some((e) => e.type === 'open')")
    events = page.evaluate("page.events")
    assert [e["type"] for e in events if e["type"] != "error"][0] == "close" and events[0]["willReconnect"]
    assert page.evaluate("page.waiting") == 0 and page.evaluate("page.aborted") == 1
    wait_imported(page)
    assert called_back(page, "ui/echo", {"text": "again"})["output"]["input"] == {"text": "again"}
