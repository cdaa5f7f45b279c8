"""What protects the users of browsers: Origin, CORS, Host, content types."""
import pytest

from rawhttp import ADMIN, PLAIN, UNKNOWN, Node, message

FRIEND = "https://app.example"
CALL = {"operation": "demo/echo", "input": 1}
ALL = [("GET", "/healthz", None), ("GET", "/readyz", None), ("GET", "/search", None),
       ("GET", "/schema?name=demo/echo", None), ("GET", "/openapi.json", None),
       ("POST", "/call", CALL), ("POST", "/batch", [CALL]),
       ("POST", "/subscribe", {"operation": "demo/clock", "input": {"count": 1}}),
       ("GET", "/subscribe?operation=demo/clock&input=%7B%22count%22%3A1%7D", None), ("GET", "/nothing", None),
       ("GET", "/mcp", None)]
IDS = [f"{m} {t.split('?')[0]}" for m, t, _ in ALL]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    gateway = {"hosts": ["api.example", "Other.Example"], "origins": [FRIEND, "http://localhost:3000"]}
    with Node(tmp_path_factory.mktemp("browser"), gateway=gateway) as it:
        yield it


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """Without an allow-list."""
    with Node(tmp_path_factory.mktemp("closed")) as it:
        yield it


@pytest.fixture
def wire(node):
    with node.wire() as it:
        yield it


def status_of(wire, method, target, body, **kwargs):
    wire.send(message(method, target, body, host=kwargs.pop("host", wire.host), **kwargs))
    return wire.reply(method).status


# ---- Origin -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method,target,body", ALL, ids=IDS)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://app.example", "https://app.example:8443",
                                    "https://app.example.evil",
                                    "https://xapp.example", "", "file://", "https://app.example/", "app.example",
                                    "http://127.0.0.1.evil",
                                    FRIEND + " https://evil.example"])
def test_a_foreign_origin_is_refused_on(node, method, target, body, origin):
    for token in (None, ADMIN):
        with node.wire() as wire:
            reply = wire.ask(method, target, body, {"Origin": origin}, token)
            assert reply.status == 403 and reply.error()["code"] == "FORBIDDEN"
            assert not reply.all("access-control-allow-origin")


@pytest.mark.parametrize("method,target,body", ALL, ids=IDS)
def test_an_allowed_origin_and_the_own_one_are_served_on(node, method, target, body):
    with node.wire() as wire:
        plain = status_of(wire, method, target, body)
    for origin in (FRIEND, "http://localhost:3000", f"http://127.0.0.1:{node.port}"):
        with node.wire() as wire:
            wire.send(message(method, target, body, {"Origin": origin}, host=wire.host))
            reply = wire.reply(method)
            assert reply.status == plain
            if plain == 200:
                assert reply.header("access-control-allow-origin") == (origin if "127.0.0.1" not in origin else None)
                assert reply.header("access-control-allow-credentials") is None


def test_a_get_that_another_page_makes_the_browser_send_starts_no_subscription(node):
    """An image of a foreign page has no Origin, but says from where it comes (Fetch Metadata)."""
    target = "/subscribe?operation=demo/clock&input=%7B%22count%22%3A1%7D"
    for site, refused in (("cross-site", True), ("same-site", True), ("same-origin", False), ("none", False), (None, False)):
        with node.wire() as wire:
            reply = wire.ask("GET", target, None, {"Sec-Fetch-Site": site} if site else {})
            assert (reply.status == 403) == refused, (site, reply.status)
    with node.wire() as wire:
        assert wire.ask("GET", "/search", None, {"Sec-Fetch-Site": "cross-site"}).status == 200


def test_two_origins_are_refused(wire):
    assert wire.ask("POST", "/call", CALL, [("Origin", FRIEND), ("Origin", FRIEND)]).status == 403


def test_the_own_origin_is_that_of_the_host_field(node):
    for host, origin, status in (("localhost", "http://localhost", 200), ("localhost", "https://localhost", 200),
                                 ("api.example", "https://api.example", 200),
                                 ("api.example", "https://other.example", 403),
                                 ("localhost", "http://127.0.0.1", 403), ("localhost:1", "http://localhost:2", 403),
                                 ("api.example:443", "https://api.example", 200), ("api.example:80", "https://api.example", 403),
                                 ("api.example", "https://API.example:443", 200),
                                 ("LOCALHOST", "http://localhost", 200)):
        with node.wire() as wire:
            got = status_of(wire, "POST", "/call", CALL, headers={"Origin": origin}, host=host)
            assert got == status, (host, origin)


def test_errors_are_readable_for_an_allowed_origin(wire):
    for body, headers, status in (({"operation": "no/such"}, {}, 404), ({"operation": "demo/whoami"}, {}, 401),
                                  (b"{", {}, 400),
                                  (CALL, {"Authorization": "Bearer " + UNKNOWN}, 401)):
        with_origin = {"Origin": FRIEND, **headers}
        reply = wire.ask("POST", "/call", body, with_origin)
        assert reply.status == status and reply.header("access-control-allow-origin") == FRIEND
        exposed = reply.header("access-control-expose-headers").lower()
        assert "x-request-id" in exposed


def test_caches_are_told_that_answers_differ_by_origin(wire):
    for headers in ({}, {"Origin": FRIEND}, {"Origin": "https://evil.example"}):
        assert "origin" in wire.ask("GET", "/search", headers=headers).header("vary").lower()


# ---- preflight --------------------------------------------------------------------------------------------------------

def preflight(origin, method="POST", **more):
    return {"Origin": origin, "Access-Control-Request-Method": method, **more}


@pytest.mark.parametrize("path,method", [("/call", "POST"), ("/batch", "POST"), ("/subscribe", "POST"),
                                         ("/subscribe", "GET"),
                                         ("/search", "GET"), ("/schema", "GET"), ("/openapi.json", "GET")])
def test_preflight_of_the_allow_list_is_granted_without_a_token(wire, path, method):
    asked = preflight(FRIEND, method, **{"Access-Control-Request-Headers": "authorization,content-type"})
    reply = wire.ask("OPTIONS", path, headers=asked)
    assert reply.status in (200, 204) and reply.body == b""
    assert reply.header("access-control-allow-origin") == FRIEND
    assert method in [m.strip() for m in reply.header("access-control-allow-methods").split(",")]
    allowed = [h.strip().lower() for h in reply.header("access-control-allow-headers").split(",")]
    assert {"authorization", "content-type", "x-timeout-ms", "traceparent"} <= set(allowed)
    assert "*" not in reply.head.decode() and reply.header("access-control-allow-credentials") is None
    assert wire.call("demo/echo", 1).output == 1, "the connection lives on"


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_preflight_of_anyone_else_is_refused(wire, origin):
    reply = wire.ask("OPTIONS", "/call", headers=preflight(origin))
    assert reply.status == 403
    assert not reply.all("access-control-allow-origin") and not reply.all("access-control-allow-methods")


def test_options_that_is_no_preflight_gets_the_decoy(wire):
    for headers in ({}, {"Origin": FRIEND}, {"Access-Control-Request-Method": "POST"}):
        reply = wire.ask("OPTIONS", "/call", headers=headers)
        assert reply.status == 404 and reply.header("access-control-allow-methods") is None
    assert wire.ask("OPTIONS", "/nothing", headers=preflight(FRIEND)).status == 404


def test_without_an_allow_list_no_origin_but_the_own_is_served(closed):
    assert closed.ask("POST", "/call", CALL, {"Origin": FRIEND}).status == 403
    assert closed.ask("OPTIONS", "/call", headers=preflight(FRIEND)).status == 403
    reply = closed.ask("POST", "/call", CALL, {"Origin": f"http://127.0.0.1:{closed.port}"})
    assert reply.status == 200 and not reply.all("access-control-allow-origin")


# ---- Host -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method,target,body", ALL, ids=IDS)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "api.example.evil", "xapi.example",
                                  "10.1.2.3", "169.254.169.254:80",
                                  "[::2]", "localhost.evil", "0.0.0.0"])
def test_a_name_that_is_not_ours_is_not_served_on(node, method, target, body, host):
    """DNS rebinding makes a browser send such requests with its user's authority."""
    with node.wire() as wire:
        reply = wire.ask(method, target, body, token=ADMIN, host=host)
        assert reply.status == 421 and reply.error()["code"] == "INVALID_INPUT"


@pytest.mark.parametrize("host", ["localhost", "localhost:4780", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:9",
                                  "LocalHost", "api.example",
                                  "API.example:443", "other.example"])
def test_configured_and_listening_names_are_served(wire, host):
    assert wire.ask("POST", "/call", CALL, host=host).output == 1


def test_an_address_of_another_kind_in_brackets_is_400(node):
    with node.wire() as wire:
        assert wire.ask("GET", "/healthz", host="[127.0.0.1]").status == 400


def test_a_refusal_says_what_was_compared_and_what_adds_it(closed):
    reply = closed.ask("GET", "/search", host="app.example:8443")
    assert reply.status == 421 and "app.example:8443" in reply.error()["message"] and '"gateway.hosts"' in reply.error()["message"]
    reply = closed.ask("GET", "/search", headers={"Origin": FRIEND})
    assert reply.status == 403 and FRIEND in reply.error()["message"] and '"gateway.origins"' in reply.error()["message"]


def test_configured_names_are_not_served_where_they_are_not_configured(closed):
    assert closed.ask("POST", "/call", CALL, host="api.example").status == 421
    assert closed.ask("POST", "/call", CALL, host="localhost").status == 200


def test_a_star_serves_any_name(tmp_path):
    with Node(tmp_path, gateway={"hosts": ["*"]}) as node, node.wire() as wire:
        assert wire.ask("POST", "/call", CALL, host="whatever.example").status == 200
        reply = wire.ask("POST", "/call", CALL, {"Origin": "https://evil.example"}, host="whatever.example")
        assert reply.status == 403, "the origin is still looked at"


def test_an_absolute_target_replaces_the_host(node):
    for authority, host, status in ((f"localhost:{node.port}", "evil.example", 200),
                                    ("evil.example", f"127.0.0.1:{node.port}", 421),
                                    ("api.example", "api.example", 200)):
        with node.wire() as wire:
            assert status_of(wire, "GET", f"http://{authority}/healthz", None, host=host) == status
        with node.wire() as wire:
            assert status_of(wire, "POST", f"http://{authority}/call", CALL, host=host) == status


# ---- what a page can send without asking ------------------------------------------------------------------------------

POSTS = ["/call", "/batch", "/subscribe"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "text/json",
                                  "application/jsonp", "application/json5", "application/json,text/plain",
                                  "application", "json", "", None,
                                  "text/plain;application/json", "application/vnd.api+json"])
def test_a_body_of_another_type_is_415(node, path, kind):
    with node.wire() as wire:
        reply = wire.ask("POST", path, CALL, {"Content-Type": kind}, PLAIN)
        assert reply.status == 415 and reply.error()["code"] == "INVALID_INPUT"
        assert "application/json" in reply.error()["message"]


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=utf-8",
                                  "application/json;charset=UTF-8",
                                  "application/json ; x=y"])
def test_json_with_parameters_is_json(wire, kind):
    assert wire.ask("POST", "/call", CALL, {"Content-Type": kind}).output == 1


def test_two_content_types_are_not_json(wire):
    reply = wire.ask("POST", "/call", CALL, [("Content-Type", "application/json"), ("Content-Type", "text/plain")])
    assert reply.status in (400, 415)


def test_text_from_a_foreign_origin_is_403(wire):
    reply = wire.ask("POST", "/call", CALL, {"Origin": "https://evil.example", "Content-Type": "text/plain"}, PLAIN)
    assert reply.status == 403


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-unknown", "gzip, identity"])
@pytest.mark.parametrize("path", POSTS)
def test_an_encoded_body_is_415(node, path, coding):
    with node.wire() as wire:
        reply = wire.ask("POST", path, CALL, {"Content-Encoding": coding}, PLAIN)
        assert reply.status == 415 and reply.error()["code"] == "INVALID_INPUT"
        assert "encoding" in reply.error()["message"].lower()
