"""What strangers see: the decoy in its three forms, and a stealthy node on which nothing else can be seen."""
import os
import re
import time

import pytest

from rawhttp import ADMIN, EXPIRED, PLAIN, UNKNOWN, Closed, Neighbour, Node, message

SECRET = b"the secret outside of the site"
PAGE = b"<!doctype html><title>home</title>"
BIG = bytes(range(256)) * 12345


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A site and what must never be served from around it."""
    base = tmp_path_factory.mktemp("decoy")
    site = base / "site"
    for name, data in {"index.html": PAGE, "about.html": b"about", "static/style.css": b"a{}", "static/app.js": b"1",
                       "static/data.json": b"{}",
                       "static/note.txt": b"note", "static/pic.png": b"\x89PNG", "static/logo.svg": b"<svg/>",
                       "static/unknown.zzz": b"?",
                       "sub/index.html": b"sub", "empty.txt": b"", "with space.txt": b"space", "plus+.txt": b"plus",
                       "big.bin": BIG,
                       "noindex/file.txt": b"file", "\u00e9.txt": b"accent"}.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(data)
    (base / "secret.txt").write_bytes(SECRET)
    (base / "site-secret").mkdir()
    (base / "site-secret/secret.txt").write_bytes(SECRET)
    (site / "link.txt").symlink_to(base / "secret.txt")
    (site / "relative.txt").symlink_to("../secret.txt")
    (site / "linked").symlink_to(base)
    (site / "static/up").symlink_to("../..")
    (site / "loop").symlink_to("loop")
    (site / "root").symlink_to("/")
    os.mkfifo(site / "pipe")
    return base


@pytest.fixture(scope="module")
def site(folder):
    with Node(folder, gateway={"decoy": {"kind": "static_site", "target": str(folder / "site")}}) as it:
        yield it


def redirecting(folder, **more):
    return Node(folder, gateway={"decoy": {"kind": "redirect", "target": "https://elsewhere.example/a?b=c"}, **more})


# ---- the three forms --------------------------------------------------------------------------------------------------

def test_not_found_is_a_plain_404(tmp_path):
    with Node(tmp_path) as node, node.wire() as wire:
        reply = wire.ask("GET", "/")
        assert reply.status == 404 and not reply.all("x-request-id")
        assert b"alknet" not in reply.head.lower() + reply.body.lower()
        assert wire.ask("HEAD", "/").status == 404 and wire.ask("GET", "/nothing").body == reply.body


def test_redirect_leads_to_the_target(tmp_path):
    with redirecting(tmp_path) as node, node.wire() as wire:
        for method, target in (("GET", "/"), ("HEAD", "/x"), ("GET", "/x?y=//evil.example"),
                               ("GET", "/%0d%0aX-Injected:%20yes"), ("PUT", "/")):
            reply = wire.ask(method, target)
            assert reply.status in (301, 302, 303, 307, 308)
            assert reply.header("location") == "https://elsewhere.example/a?b=c"
            assert reply.header("x-injected") is None
        assert wire.call("demo/echo", 1).output == 1


FILES = [("/", PAGE, "text/html"), ("/index.html", PAGE, "text/html"), ("/about.html", b"about", "text/html"),
         ("/about.html?x=../../secret.txt", b"about", "text/html"), ("/static/style.css", b"a{}", "text/css"),
         ("/static/app.js", b"1", "text/javascript"), ("/static/data.json", b"{}", "application/json"),
         ("/static/note.txt", b"note", "text/plain"),
         ("/static/pic.png", b"\x89PNG", "image/png"), ("/static/logo.svg", b"<svg/>", "image/svg+xml"),
         ("/static/unknown.zzz", b"?", "application/octet-stream"), ("/sub/", b"sub", "text/html"),
         ("/empty.txt", b"", "text/plain"),
         ("/with%20space.txt", b"space", "text/plain"), ("/plus+.txt", b"plus", "text/plain"),
         ("/%61bout.html", b"about", "text/html"),
         ("/big.bin", BIG, "application/octet-stream"), ("/%C3%A9.txt", b"accent", "text/plain")]


@pytest.mark.parametrize("target,data,kind", FILES, ids=[t for t, _, _ in FILES])
def test_a_site_serves_its_files_with_their_types(site, target, data, kind):
    with site.wire() as wire:
        reply = wire.ask("GET", target)
        assert reply.status == 200 and reply.body == data and reply.header("content-type").split(";")[0] == kind
        head = wire.ask("HEAD", target)
        assert head.status == 200 and head.header("content-length") == str(len(data))
        assert head.header("content-type") == reply.header("content-type")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_a_site_is_read_with_get_and_head_only(site, method):
    with site.wire() as wire:
        reply = wire.ask(method, "/about.html")
        assert reply.status in (404, 405) and reply.body != b"about"


@pytest.mark.parametrize("target", ["/nothing", "/sub/nothing.html", "/noindex/", "/noindex", "/about.html/",
                                    "/about.html/x", "/static/", "/static%2fnote.txt", "/static%5cnote.txt",
                                    "/link.txt", "/relative.txt", "/linked/secret.txt", "/static/up/secret.txt",
                                    "/loop", "/loop/x",
                                    "/root/etc/passwd", "/pipe", "/" + "a" * 300, "/" + "a/" * 600, "/" + "x/../" * 50])
def test_what_is_not_a_file_below_the_site_is_404(site, target):
    with site.wire() as wire:
        start = time.monotonic()
        reply = wire.ask("GET", target)
        assert reply.status == 404 and SECRET not in reply.body and b"root:" not in reply.body
        assert wire.ask("HEAD", target).status == 404
        assert time.monotonic() - start < 5, "a pipe does not hold it"


UP = ["..", "%2e%2e", "%2E%2E", ".%2e", "%2e.", "..;", "..%00", "..%20", "%252e%252e", "%c0%ae%c0%ae",
      "%e0%80%ae%e0%80%ae",
      "%uff0e%uff0e", "\uff0e\uff0e".encode().decode("latin-1"), "...", "..\\", "..%5c", "%2e%2e%5c", ".%00.",
      "%2e%2e;x=y"]
SLASH = ["/", "%2f", "%2F", "\\", "%5c", "//", "/./", "%252f", "%c0%af"]
TRAVERSALS = sorted({"/" + prefix + (up + slash) * depth + target
                     for up in UP for slash in SLASH for depth, prefix, target in
                     ((1, "", "secret.txt"), (2, "static/", "secret.txt"), (1, "", "site-secret/secret.txt"),
                      (9, "static/", "etc/passwd"))}
                    | {"/static/../../etc/passwd", "//etc/passwd", "/%2fetc/passwd", "/%2Fetc%2Fpasswd",
                       "/\\etc\\passwd", "/file:///etc/passwd",
                       "/static//../..//etc/passwd", "/./../secret.txt", "/-secret/secret.txt",
                       "/../site-secret/secret.txt", "/..", "/../",
                       "/static/..", "/static/../", "/secret.txt%00.html", "/about.html%00", "/about.html%00.txt", "/%",
                       "/%2", "/%zz",
                       "/about%2ehtml%2f..%2f..%2fsecret.txt", "/~/secret.txt", "/.%252e/secret.txt"})


def test_no_traversal_leaves_the_site_in_any_encoding(site):
    """One connection for each, since some are malformed and close it."""
    with Neighbour(site):
        for target in TRAVERSALS:
            with site.wire() as wire:
                wire.send(message("GET", target, host=wire.host))
                reply = wire.reply()
                assert reply.status in (400, 404), f"{target}: {reply}"
                for secret in (SECRET, b"root:", str(site.folder).encode()):
                    assert secret not in reply.body, target


def test_no_traversal_in_an_absolute_target(site):
    for target in ("http://localhost/../secret.txt", "http://localhost/%2e%2e/secret.txt",
                   "http://localhost//etc/passwd"):
        with site.wire() as wire:
            wire.send(message("GET", target, host=wire.host))
            assert wire.reply().status in (400, 404)


def test_slow_readers_of_a_large_file_get_all_of_it(site):
    with site.wire(receive_buffer=4096) as slow, site.wire() as wire:
        slow.send(message("GET", "/big.bin", host=slow.host))
        assert slow.head().header("content-length") == str(len(BIG))
        assert wire.ask("GET", "/").body == PAGE
        assert slow.exactly(len(BIG)) == BIG


def test_a_reader_that_leaves_in_the_middle_of_a_file_leaves_no_descriptor(site):
    before = site.descriptors()
    for _ in range(30):
        with site.wire(receive_buffer=4096) as wire:
            wire.send(message("GET", "/big.bin", host=wire.host))
            wire.head()
            wire.reset()
    with site.wire() as wire:
        end = time.monotonic() + 10
        while site.descriptors() > before + 1 and time.monotonic() < end:
            assert wire.ask("GET", "/").body == PAGE
            time.sleep(0.02)
        assert site.descriptors() <= before + 1


def test_a_file_that_shrinks_while_it_is_sent_is_seen_to_be_cut(site, folder):
    path, size = folder / "site/shrinks.bin", 24 << 20  # more than the buffers of two sockets hold
    path.touch()
    os.truncate(path, size)
    with site.wire(receive_buffer=4096) as slow, site.wire() as wire:
        slow.send(message("GET", "/shrinks.bin", host=slow.host))
        assert slow.head().header("content-length") == str(size)
        os.truncate(path, 10)
        assert wire.ask("GET", "/").body == PAGE
        slow.hurry()
        with pytest.raises(Closed):
            slow.exactly(size)


def test_pipelined_files_come_in_order(site):
    with site.wire() as wire:
        targets = ["/big.bin", "/", "/nothing", "/static/note.txt", "/big.bin", "/sub/"]
        wire.send(b"".join(message("GET", target, host=wire.host) for target in targets))
        assert [wire.reply().body for _ in targets] == [BIG, PAGE, b"404\n", b"note", BIG, b"sub"]


def test_a_route_is_not_hidden_by_a_file_of_its_name(folder):
    (folder / "site/search").write_bytes(b"a file")
    try:
        with Node(folder, gateway={"decoy": {"kind": "static_site",
                                             "target": str(folder / "site")}}) as node, node.wire() as wire:
            assert "operations" in wire.ask("GET", "/search").output
    finally:
        (folder / "site/search").unlink()


# ---- stealth ----------------------------------------------------------------------------------------------------------

DECOYS = ["not_found", "static_site", "redirect"]


@pytest.fixture(scope="module", params=DECOYS)
def hidden(request, folder):
    target = {"not_found": {}, "static_site": {"target": str(folder / "site")},
              "redirect": {"target": "https://elsewhere.example/"}}
    gateway = {"stealth": True, "decoy": {"kind": request.param, **target[request.param]},
               "origins": ["https://app.example"]}
    with Node(folder, gateway=gateway) as it:
        it.kind = request.param
        yield it


def everything(wire):
    """All bytes up to the end of the connection, without the date."""
    data = b""
    try:
        while True:
            wire.more()
            data, wire.seen = data + wire.seen, b""
    except Closed:
        return re.sub(rb"Date: [^\r]*\r\n", b"", data)


def seen_by(node, method, target, body, headers, tail=b""):
    """What a connection yields on which this is the first request; a second, ordinary one shows whether it was kept."""
    with node.wire() as wire:
        wire.send(message(method, target, body, headers, host=wire.host) + tail)
        wire.send(message("GET", "/last-page", headers={"Connection": "close"}, host=wire.host))
        return everything(wire)


STRANGERS = [{}, {"Authorization": "Bearer " + UNKNOWN}, {"Authorization": "Bearer " + EXPIRED},
             {"Authorization": "Bearer x"},
             {"Authorization": "Basic eDp5"}, {"Authorization": b"Bearer \xff\xff\xff"},
             {"Origin": "https://evil.example"},
             {"Origin": "https://app.example"}, {"Host": "evil.example"}, {"Content-Encoding": "gzip"},
             {"Content-Type": "text/plain"},
             {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"X-Timeout-Ms": "1"}]


@pytest.mark.parametrize("headers", STRANGERS, ids=lambda h: " ".join(f"{k}={v[:12]!r}" for k, v in h.items())
                         or "nothing")
def test_to_strangers_every_route_is_the_decoy_byte_for_byte(hidden, headers):
    good = {"operation": "demo/echo", "input": 1}
    for method, routes, body in (
            ("GET", ["/search", "/schema?name=demo/echo", "/subscribe?operation=demo/clock", "/call", "/mcp",
                     "/openapi.json"], None),
            ("POST", ["/call", "/batch", "/subscribe", "/mcp", "/healthz", "/search"], good),
            ("POST", ["/call", "/batch", "/subscribe"], b"{broken"), ("HEAD", ["/search", "/schema", "/call"], None),
            ("OPTIONS", ["/call", "/search", "/subscribe"], None), ("PUT", ["/call"], good),
                                 ("DELETE", ["/batch"], None)):
        wanted = seen_by(hidden, method, "/no-such-page", body, headers)
        assert wanted.startswith(b"HTTP/1.1 ")
        for route in routes:
            assert seen_by(hidden, method, route, body, headers) == wanted, (method, route)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_readyz_is_hidden_too(hidden, method):
    assert seen_by(hidden, method, "/readyz", None, {}) == seen_by(hidden, method, "/no-such-page", None, {})


def test_a_strangers_preflight_is_the_decoy(hidden):
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    wanted = seen_by(hidden, "OPTIONS", "/no-such-page", None, headers)
    assert seen_by(hidden, "OPTIONS", "/call", None, headers) == wanted


@pytest.mark.parametrize("headers", [{"Content-Length": str(1 << 30)}, {"Expect": "100-continue"},
                                     {"Expect": "nonsense"},
                                     {"Content-Length": None, "Transfer-Encoding": "chunked"}, {"Content-Length": "x"},
                                     {"Content-Length": "2", "Transfer-Encoding": "chunked"}, {"Connection": "close"},
                                     {"X": "y" * 40000}],
                         ids=lambda h: " ".join(h))
def test_a_strangers_body_tells_nothing_either(hidden, headers):
    wanted = seen_by(hidden, "POST", "/no-such-page", b"{}", headers)
    for route in ("/call", "/batch", "/subscribe"):
        assert seen_by(hidden, "POST", route, b"{}", headers) == wanted


BROKEN = [b"GET /x HTTP/1.1\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
          b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
          b"GET /x HTTP/9.9\r\nHost: x\r\n\r\n", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
          b"POST /call HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
          b"nonsense\r\n\r\n"]


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_parser_errors_wear_the_look_of_the_decoy(hidden, data):
    """Same fields as the not_found page, no word about what was wrong."""
    with hidden.wire() as wire:
        wire.send(data)
        reply = wire.reply()
        assert reply.status >= 400 and wire.ended()
        fields = [name for name, _ in reply.headers if name not in ("date", "connection")]
        assert fields == ["content-type", "content-length"]
        assert reply.header("content-type").startswith("text/plain")
        assert b"code" not in reply.body and b"INVALID" not in reply.body and len(reply.body) < 30
    if hidden.kind == "not_found":
        with hidden.wire() as wire:
            decoy = wire.ask("GET", "/no-such-page")
            assert reply.body.replace(str(reply.status).encode(), b"404") == decoy.body
            assert [n for n, _ in decoy.headers] == [n for n, _ in reply.headers if n != "connection"]


def test_with_a_token_every_route_is_there(hidden):
    with hidden.wire() as wire:
        assert wire.call("demo/whoami", token=ADMIN).output["id"] == ADMIN[:8]
        assert "operations" in wire.ask("GET", "/search", token=PLAIN).output
        assert wire.ask("GET", "/schema?name=demo/echo", token=PLAIN).output["name"] == "demo/echo"
        assert wire.ask("POST", "/batch", [{"operation": "demo/echo", "input": 3}],
                        token=PLAIN).json()["results"][0]["output"] == 3
        assert len(wire.subscribe("demo/clock", {"interval_ms": 1, "count": 3}, token=PLAIN).rest()) == 3
        assert wire.ask("GET", "/readyz", token=PLAIN).status == 200
        reply = wire.call("demo/secret", token=PLAIN)
        assert reply.status == 403 and reply.error()["code"] == "FORBIDDEN"
    with hidden.wire() as wire:
        assert wire.ask("POST", "/call", {"operation": "demo/echo"}, {"Origin": "https://evil.example"},
                        PLAIN).status == 403


def test_who_fails_too_often_sees_the_decoy_still(folder):
    with Node(folder, gateway={"stealth": True}, limits={"auth_failures_per_minute": 2}) as node:
        wanted = seen_by(node, "GET", "/no-such-page", None, {})
        for _ in range(5):
            assert seen_by(node, "GET", "/search", None, {"Authorization": "Bearer " + UNKNOWN}) == wanted


def test_the_health_path_is_there_for_strangers(hidden):
    with hidden.wire() as wire:
        reply = wire.ask("GET", "/healthz")
        assert reply.status == 200 and reply.body.strip() == b"ok"


@pytest.mark.parametrize("headers", STRANGERS, ids=lambda h: " ".join(h) or "nothing")
def test_the_health_path_betrays_nothing_else(hidden, headers):
    """Whatever else a stranger's request for it says: it is served, or the decoy is."""
    with hidden.wire() as wire:
        healthy = wire.ask("GET", "/healthz").body
    got = seen_by(hidden, "GET", "/healthz", None, headers)
    if not got.startswith(b"HTTP/1.1 200 ") or healthy not in got:
        assert got == seen_by(hidden, "GET", "/no-such-page", None, headers)


def test_the_health_path_can_be_another(folder):
    gateway = {"stealth": True, "health_path": "/looks-harmless"}
    with Node(folder, gateway=gateway) as node, node.wire() as wire:
        assert wire.ask("GET", "/looks-harmless").status == 200
        assert seen_by(node, "GET", "/healthz", None, {}) == seen_by(node, "GET", "/no-such-page", None, {})


def test_time_outs_wear_the_look_of_the_decoy_too(folder):
    with Node(folder, gateway={"stealth": True}, limits={"header_timeout_ms": 200, "body_timeout_ms": 200}) as node:
        with node.wire() as wire:
            wire.send(b"GET /x HT")
            reply = wire.reply()
            assert reply.status == 408 and not reply.all("x-request-id") and len(reply.body) < 30 and wire.ended()
        with node.wire() as wire:
            wire.send(message("POST", "/call", b"", {"Content-Length": "5"}, PLAIN, host=wire.host))
            assert wire.reply().error()["code"] == "INVALID_INPUT", "who has a token is told"
