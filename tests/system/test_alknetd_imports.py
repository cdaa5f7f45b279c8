"""alknetd and services that an OpenAPI document describes: what is imported, who may call it, what reaches the service, and what
a reload changes while calls run."""
import base64
import contextlib
import json
import os
import signal
import socket

import pytest

from certificates import Authority
from conftest import Daemon, key_for, wait_for
from import_upstream import Proxy, Upstream, document
from rawhttp import ADMIN, PLAIN, Node
from test_alknetd_secrets import holds
from test_quic import ALLOW, Hub, Spoke, alknet, keys, peer  # pylint: disable=unused-import

OTHER = "alk_oth9" + "0123456789abcdef" * 2
SECRET = "s3cret-of-the-service"
KEYS = [key_for(ADMIN, "up:call"), key_for(PLAIN)]
ACCESS = {"required_scopes": ["up:call"]}


@pytest.fixture
def up():
    with Upstream() as upstream:
        yield upstream


def secret(folder, text=SECRET, name="secret", mode=0o600):
    path = folder / name
    path.write_text(text + "\n")
    path.chmod(mode)
    return str(path)


def put(folder, what, name="up.json"):
    """The file of a document, whose new content comes at once."""
    path = folder / name
    (folder / "new").write_text(what if isinstance(what, str) else json.dumps(what))
    os.replace(folder / "new", path)
    return str(path)


def entry(folder, up, *args, prefix="up", doc=None, **more):
    """Of `imports`: the upstream's document as a file, its address as base_url."""
    return {"openapi": put(folder, doc or document(*args), f"{prefix.replace('/', '.')}.json"), "prefix": prefix, "base_url": up.url,
            "access": ACCESS, **more}


class Importer(Node):
    def __init__(self, folder, *imports, **config):
        super().__init__(folder, **{"imports": list(imports), "keys": KEYS, "peers": [], **config})
        self.tokens.append(SECRET)

    def call_up(self, name, value=None, token=ADMIN):
        return self.ask("POST", "/call", {"operation": name, "input": value if value is not None else {}}, token=token)

    def says(self, name="up/say", value=None, token=ADMIN):
        """The version of the upstream that answered; the status when none did."""
        answer = self.call_up(name, value, token)
        return answer.output["version"] if answer.status == 200 else answer.status

    def ready(self):
        return self.ask("GET", "/readyz").status

    def reload(self, count=None, **changes):
        count = count or len(self.events("reload")) + 1
        self.write_config(**changes)
        self.signal(signal.SIGHUP)
        return self.wait_event("reload", count)

    def names(self, token=ADMIN):
        return [o["name"] for o in self.ask("GET", "/search", token=token).json()["output"]["operations"]] if token else []


def never_starts(make_daemon, why, **config):
    """The same complaint at start and from --check."""
    for args in ([], ["--check"]):
        daemon = make_daemon(config, args).start(wait=False)
        daemon.ended(status=1)
        assert why in daemon.log_text(), daemon.log_text()


# ---- what is called ---------------------------------------------------------------------------------------------------

def test_operations_of_a_file_are_called_by_http(tmp_path, up):
    with Importer(tmp_path, entry(tmp_path, up)) as node:
        assert node.ready() == 200
        assert node.call_up("up/say", {"text": "a b&c"}).output["path"] == "/say"
        assert up.seen[-1].target == "/say?text=a%20b%26c"
        assert json.loads(node.call_up("up/item", {"id": "x/y", "body": {"a": 1}}).output["body"]) == {"a": 1}
        assert up.seen[-1].target == "/items/x%2Fy"
        with node.wire() as wire:
            stream = wire.subscribe("up/events", {}, token=ADMIN)
            assert stream.event() == ("message", {"n": 1})
            up.tell()
            assert stream.event() == ("message", {"n": 2})
        assert node.events("imports.ready")[0]["message"] == f"up: 4 operations of {tmp_path}/up.json, 0 warnings"


def test_operations_are_called_in_a_session_and_by_a_peer(tmp_path, up, keys):  # pylint: disable=redefined-outer-name
    """By the command-line client over WebSocket, and through a hub over QUIC."""
    with Importer(tmp_path, entry(tmp_path, up)) as node:
        out, _ = alknet(tmp_path, "-u", f"ws://127.0.0.1:{node.port}", "call", "up/say", "text=x", "-o", "json", token=ADMIN)
        assert json.loads(out)["path"] == "/say"
        out, _ = alknet(tmp_path, "-u", f"ws://127.0.0.1:{node.port}", "ls", "-o", "raw", token=PLAIN)
        assert "/up/say" not in out
    allowed = {**ALLOW, "allow": [{"peer": "*", "operations": ["up/*"]}]}
    rule = {k: v for k, v in entry(tmp_path, up).items() if k != "access"}
    with Hub(tmp_path, keys("hub"), peers=[peer("spoke", keys("spoke"))], peers_call=allowed) as hub:
        with Spoke(tmp_path, keys("spoke"), hub, imports=[{**rule, "public": True}]):
            wait_for(lambda: hub.has("spoke", "up/say"))
            assert hub.through("spoke", "up/say", {"text": "far"}).output["path"] == "/say"
            assert up.seen[-1].target == "/say?text=far"


def test_who_may_call_is_said_by_the_entry(tmp_path, up):
    rules = {"ruled": {}, "free": {"access": None, "public": True}, "inner": {"access": None}, "any": {"access": {"authenticated": True}}}
    imports = [{k: v for k, v in entry(tmp_path, up, prefix=p, **more).items() if v is not None} for p, more in rules.items()]
    with Importer(tmp_path, *imports) as node:
        may = {p: [node.call_up(f"{p}/say", token=t).status for t in (None, PLAIN, ADMIN)] for p in rules}
        assert may == {"ruled": [401, 403, 200], "free": [200, 200, 200], "inner": [404, 404, 404], "any": [401, 200, 200]}
        assert {n.split("/")[0] for n in node.names(PLAIN)} & set(rules) == {"free", "any"}


# ---- what reaches the service -----------------------------------------------------------------------------------------

AUTHS = [
    ({"type": "bearer"}, SECRET, {"authorization": f"Bearer {SECRET}"}, ""),
    ({"type": "basic"}, f"me:{SECRET}", {"authorization": "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()}, ""),
    ({"type": "api_key", "in": "header", "name": "X-Key"}, SECRET, {"x-key": SECRET}, ""),
    ({"type": "api_key", "in": "cookie", "name": "key"}, SECRET, {"cookie": f"key={SECRET}"}, ""),
    ({"type": "api_key", "in": "query", "name": "key"}, SECRET, {}, f"?key={SECRET}"),
    ({}, SECRET, {"x-doc": SECRET}, ""),
]


@pytest.mark.parametrize("auth,text,fields,query", AUTHS)
def test_the_secret_reaches_the_service_and_nothing_of_the_caller_does(tmp_path, up, auth, text, fields, query):
    """As the entry says; where it does not, as the document does."""
    doc = document(security=[{"k": []}], schemes={"k": {"type": "apiKey", "in": "header", "name": "X-Doc"}})
    with Importer(tmp_path, entry(tmp_path, up, doc=doc, auth={**auth, "file": secret(tmp_path, text)})) as node:
        answer = node.ask("POST", "/call", {"operation": "up/say", "input": {}}, token=ADMIN,
                          headers={"Cookie": "mine=1", "X-Mine": "1", "Forwarded": "for=1.2.3.4"})
        assert answer.status == 200
        seen = up.seen[-1]
        assert seen.target == "/say" + query
        known = {"host", "accept", "accept-encoding", "user-agent", "traceparent"}
        assert {k: v for k, v in seen.headers.items() if k not in known} == fields
        assert SECRET.encode() not in node.ask("GET", "/schema?name=up/say", token=ADMIN).body


def test_credentials_are_for_the_documents_schemes(tmp_path, up):
    schemes = {"k": {"type": "apiKey", "in": "header", "name": "X-K"}, "b": {"type": "http", "scheme": "bearer"}}
    doc = document(security=[{"k": [], "b": []}], schemes=schemes)
    files = {"k": secret(tmp_path, SECRET, "k"), "b": secret(tmp_path, SECRET + "2", "b")}
    with Importer(tmp_path, entry(tmp_path, up, doc=doc, credentials=files)) as node:
        assert node.says() == 1
        assert (up.seen[-1].headers["x-k"], up.seen[-1].headers["authorization"]) == (SECRET, f"Bearer {SECRET}2")


def test_headers_variables_and_filters_are_of_the_entry(tmp_path, up):
    doc = document(f"{up.url}/{{region}}", beside=("post", "/beside"))
    doc["servers"][0]["variables"] = {"region": {"default": "us"}}
    more = {"headers": {"X-Api-Version": "2"}, "private_addresses": True, "variables": {"region": "eu"},
            "operations": {"include": ["s*", "PUT /items/*"], "exclude": ["slow"], "methods": ["GET", "PUT"], "tags": ["say", "item"]}}
    rule = entry(tmp_path, up, doc=doc, **more)
    del rule["base_url"]
    with Importer(tmp_path, rule) as node:
        assert [n for n in node.names() if n.startswith("up/")] == ["up/item", "up/say"]
        assert node.call_up("up/say").output["path"] == "/eu/say"
        assert up.seen[-1].headers["x-api-version"] == "2"


def test_an_answer_larger_than_the_entry_allows_fails(tmp_path, up):
    up.page("/say", "x" * 5000)
    with Importer(tmp_path, entry(tmp_path, up, response_bytes="4KiB"), entry(tmp_path, up, prefix="big")) as node:
        assert node.call_up("up/say").error()["message"] == "the service's answer is too large"
        assert node.call_up("big/say").output == "x" * 5000


def test_a_private_address_is_reached_where_the_entry_says_so(tmp_path, up):
    """A name that leads to one, that is; localhost leads to this machine by itself."""
    name = socket.gethostname()
    try:
        if not socket.gethostbyname(name).startswith("127."):
            pytest.skip(f"{name} is not at 127.0.0.0/8 here")
    except OSError:
        pytest.skip(f"{name} has no address")
    there = f"http://{name}:{up.port}"
    with Importer(tmp_path, entry(tmp_path, up, base_url=there),
                  entry(tmp_path, up, prefix="own", base_url=there, private_addresses=True)) as node:
        assert node.call_up("up/say").status == 500
        assert not up.seen
        if socket.gethostbyname(name) == "127.0.0.1":
            assert node.says("own/say") == 1


# ---- names ------------------------------------------------------------------------------------------------------------

def test_names_of_the_node_are_kept_and_that_is_said(tmp_path, up):
    doc = document(echo=("get", "/echo"))
    with Importer(tmp_path, entry(tmp_path, up, prefix="demo", doc=doc)) as node:
        assert [(e["operation"], e["message"]) for e in node.events("discovered.shadowed")] == [("demo/echo", "the node itself has that name, and keeps it")]
        assert node.call_up("demo/echo", [1]).output == [1]
        assert node.says("demo/say") == 1
        assert not up.at("/echo")


def test_warnings_are_said_and_too_many_are_counted(tmp_path, up):
    extra = {f"/bad{n}": {"get": {"operationId": f"bad{n}", "parameters": [{"name": "x"}], "responses": {}}} for n in range(40)}
    with Importer(tmp_path, entry(tmp_path, up, doc=document(extra=extra))) as node:
        said = [e["message"] for e in node.events("imports.warning")]
        assert len(said) == 33 and said[0].startswith("up: /paths/~1bad0/get/parameters/0: a parameter needs a name")
        assert said[-1] == "up: and 8 more"
        assert node.events("imports.ready")[0]["message"].endswith("4 operations of " + f"{tmp_path}/up.json, 40 warnings")
        assert node.says() == 1


# ---- reload -----------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def running(node, up):
    """A slow call and a subscription that began before, and end well after."""
    with node.wire() as slow, node.wire() as wire:
        stream = wire.subscribe("up/events", {}, token=ADMIN)
        assert stream.event() == ("message", {"n": 1})
        slow.send(ask_slow(slow))
        up.wait("/slow")
        yield
        up.tell()
        assert stream.event() == ("message", {"n": 2})
        up.go_on.set()
        assert slow.reply().output["path"] == "/slow"


def ask_slow(wire):
    body = json.dumps({"operation": "up/slow", "input": {}}).encode()
    return (f"POST /call HTTP/1.1\r\nHost: {wire.host}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


@pytest.mark.parametrize("workers", [1, 2])
def test_a_changed_document_takes_the_place_of_the_old_one_while_calls_run(tmp_path, up, workers):
    with Importer(tmp_path, entry(tmp_path, up), workers=workers) as node, running(node, up):
        put(tmp_path, document(fresh=("get", "/fresh"), say=("get", "/say2")))
        assert "imports" in node.reload()["message"]
        assert node.call_up("up/fresh").output["path"] == "/fresh"
        for _ in range(8):
            assert node.call_up("up/say").output["path"] == "/say2", "on each worker"
        left = document()
        del left["paths"]["/slow"], left["paths"]["/events"]
        put(tmp_path, left)
        node.reload()
        assert node.says("up/slow") == 404 and node.says("up/say") == 1


def test_a_file_that_the_document_refers_to_is_read_again_too(tmp_path, up):
    """It is the importer that knows which there are."""
    doc = document()
    doc["paths"]["/say"]["get"]["parameters"][0]["schema"] = {"$ref": "parts.json#/text"}
    put(tmp_path, {"text": {"type": "string"}}, "parts.json")
    with Importer(tmp_path, entry(tmp_path, up, doc=doc)) as node:
        if "imports.warning" in node.log_text():
            pytest.skip("references into other files")
        assert node.says(value={"text": "x"}) == 1
        put(tmp_path, {"text": {"type": "integer"}}, "parts.json")
        node.reload()
        assert node.says(value={"text": "x"}) == 422


def test_a_bad_document_changes_nothing(tmp_path, up):
    """Neither of the import, nor of anything else that the same reload would have changed."""
    with Importer(tmp_path, entry(tmp_path, up), entry(tmp_path, up, prefix="second")) as node:
        with running(node, up):
            put(tmp_path, document(fresh=("get", "/fresh")))
            put(tmp_path, "{", "second.json")
            node.config["keys"] = [key_for(PLAIN)]
            node.write_config()
            node.reload_fails("imports[1].openapi: ")
            assert node.says() == 1 and node.says("second/say") == 1 and node.says("up/fresh") == 404
            os.remove(tmp_path / "second.json")
            node.reload_fails("second.json: No such file")
            put(tmp_path, document(), "second.json")
            node.write_config(keys=[{**key_for(PLAIN), "hash": "none"}])
            node.reload_fails("keys[0].hash: ")
            assert node.says() == 1 and node.says("up/fresh") == 404
            assert len(node.events("imports.ready")) == 2 and not node.events("imports.gone")
        node.reload(keys=[key_for(PLAIN)])
        assert node.says("up/fresh") == 401, "and the key is gone as well"


def test_an_entry_that_changes_and_one_that_goes(tmp_path, up):
    first = entry(tmp_path, up, auth={"type": "bearer", "file": secret(tmp_path)})
    with Importer(tmp_path, first, entry(tmp_path, up, prefix="gone")) as node, running(node, up):
        assert node.says() == 1 and node.says("gone/say") == 1
        secret(tmp_path, SECRET + "-new")
        node.reload(imports=[first])
        assert node.says() == 1 and up.at("/say")[-1].headers["authorization"] == f"Bearer {SECRET}-new"
        assert node.says("gone/say") == 404
        assert [e["message"] for e in node.events("imports.gone")] == ["gone"]
        node.reload(imports=[{**first, "access": {"required_scopes": ["nobody"]}}])
        assert node.says() == 403
        node.reload(imports=[entry(tmp_path, up, prefix="other")])
        assert node.says() == 404 and node.says("other/say") == 1


def test_a_secret_that_a_reload_replaces_is_wiped(tmp_path, up):
    """As long as no request has had it: libcurl does not wipe what it has sent."""
    auth = {"type": "bearer", "file": secret(tmp_path)}
    with Importer(tmp_path, by_url(up.page("/doc.json", document()), auth=auth), entry(tmp_path, up, prefix="file", auth=auth)) as node:
        node.wait_event("imports.ready", 2)
        assert holds(node, SECRET), "the search finds what there is"
        secret(tmp_path, "another-of-the-service")
        node.reload()
        assert node.says() == 1 and node.says("file/say") == 1
        wait_for(lambda: not holds(node, SECRET))
        assert holds(node, "another-of-the-service")


# ---- documents by URL -------------------------------------------------------------------------------------------------

def by_url(url, **more):
    return {"openapi": url, "prefix": "up", "access": ACCESS, **more}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_document_that_cannot_be_had_at_start_is_fetched_until_it_can(tmp_path, workers):
    with Upstream() as first:
        port = first.port
    with Importer(tmp_path, by_url(f"http://127.0.0.1:{port}/doc.json"), workers=workers) as node:
        assert "next attempt in" in node.wait_event("imports.failed")["message"]
        assert node.ready() == 503 and node.says() == 404
        assert node.ask("GET", "/healthz").status == 200
        with Upstream(port=port) as up:
            up.page("/doc.json", b"not yet", 503)
            up.page("/doc.json", document())
            node.wait_event("imports.ready")
            wait_for(lambda: [node.ready() for _ in range(4 * workers)] == [200] * 4 * workers)
            assert [node.says() for _ in range(4)] == [1] * 4, "the server of the document is where it came from"
            assert node.events("imports.ready")[0]["message"] == f"up: 4 operations of {up.url}/doc.json, 0 warnings"


def test_a_reload_fetches_again_and_a_bad_document_changes_nothing(tmp_path, up):
    url = up.page("/doc.json", document())
    with Importer(tmp_path, by_url(url)) as node:
        wait_for(lambda: node.says() == 1)
        with running(node, up):
            up.page("/doc.json", document(fresh=("get", "/fresh")))
            node.reload()
            wait_for(lambda: node.says("up/fresh") == 1)
            ready = len(node.events("imports.ready"))
            up.page("/doc.json", b"<html>")
            node.reload()
            assert node.wait_event("imports.failed")["message"].startswith(f"up: {url}: ")
            assert node.says("up/fresh") == 1 and node.ready() == 200
            up.page("/doc.json", document())
            wait_for(lambda: node.says("up/fresh") == 404)
            assert len(node.events("imports.ready")) == ready + 2, "the text from before under the entry of now, and the mended one"


def test_a_document_that_is_the_same_is_left_alone(tmp_path, up):
    url = up.page("/doc.json", document())
    with Importer(tmp_path, by_url(url)) as node:
        wait_for(lambda: node.says() == 1)
        node.reload()
        up.wait("/doc.json", 2)
        assert [node.says() for _ in range(30)] == [1] * 30, "meanwhile it has come"
        up.page("/doc.json", document(fresh=("get", "/fresh")))
        node.reload()
        wait_for(lambda: node.says("up/fresh") == 1)
        assert len(node.events("imports.ready")) == 4, "when it came, by each reload for what the entry says, and the other one"


def test_what_the_entry_says_holds_at_once_and_with_the_service_gone(tmp_path):
    with Upstream() as up:
        url = up.page("/doc.json", document())
        with Importer(tmp_path, by_url(url)) as node:
            wait_for(lambda: node.says() == 1)
            up.__exit__()
            node.reload(imports=[by_url(url, access={"required_scopes": ["nobody"]})])
            assert node.says() == 403
            node.config["imports"] = [by_url(url, operations={"include": ["["]}, base_url="ftp://x")]
            node.write_config()
            node.reload_fails("imports[0].base_url: ")
            assert node.says() == 403
            node.reload(imports=[by_url(url + "2")])
            assert node.says() == 404, "another URL is another document, which has not come"
            assert node.ready() == 200
            up.server.server_close()


def test_a_document_that_names_another_origin_is_not_imported(tmp_path, up):
    with Upstream() as elsewhere:
        url = up.page("/doc.json", document(elsewhere.url))
        with Importer(tmp_path, by_url(url)) as node:
            said = node.wait_event("imports.failed")["message"]
            assert f"base_url: is needed, since the document of {up.url} names a server elsewhere: {elsewhere.url}" in said
            assert node.says() == 404 and node.ready() == 503
            node.reload(imports=[by_url(url, base_url=elsewhere.url)])
            wait_for(lambda: node.says() == 1)
            wait_for(lambda: node.ready() == 200)
            assert elsewhere.at("/say") and not up.at("/say")


def test_the_documents_host_gets_its_own_token_and_not_the_services(tmp_path, up):
    url = up.page("/doc.json", document())
    token = secret(tmp_path, OTHER, "document")
    with Importer(tmp_path, by_url(url + "?a=b", auth={"type": "bearer", "file": secret(tmp_path)}, document_token_file=token)) as node:
        node.tokens.append(OTHER)
        wait_for(lambda: node.says() == 1)
        assert up.at("/doc.json")[0].headers["authorization"] == f"Bearer {OTHER}"
        assert up.at("/say")[0].headers["authorization"] == f"Bearer {SECRET}"
        assert "?a=b" not in node.log_text()
        node.reload(imports=[by_url(url, auth={"type": "bearer", "file": secret(tmp_path)})])
        fetched = up.wait("/doc.json", 2)
        assert "authorization" not in fetched.headers


def test_it_stops_while_a_document_is_being_fetched(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with Importer(tmp_path, by_url(f"http://127.0.0.1:{mute.getsockname()[1]}/doc.json")) as node:
            with mute.accept()[0] as asked:
                assert asked.recv(10)
                node.reload()
                with mute.accept()[0] as again:
                    assert again.recv(10)
                    node.stop()


# ---- http -------------------------------------------------------------------------------------------------------------

def test_requests_go_by_the_proxy_but_for_those_hosts_that_need_none(tmp_path, up):
    url = up.page("/doc.json", document())
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    with Proxy() as proxy:
        with Importer(tmp_path, by_url(url), environment=proxies, http={"proxy": f"http://{proxy.address}"}) as node:
            wait_for(lambda: node.says() == 1)
            assert [target for target, _ in proxy.seen] == [url, f"{up.url}/say"]
        del proxy.seen[:]
        with Importer(tmp_path, by_url(url), environment=proxies,
                      http={"proxy": f"http://{proxy.address}", "no_proxy": ["a.example", "127.0.0.1"]}) as node:
            wait_for(lambda: node.says() == 1)
        assert not proxy.seen
        with Importer(tmp_path, by_url(url), environment=proxies,
                      http={"proxy_file": secret(tmp_path, f"http://me:{SECRET}@{proxy.address}")}) as node:
            wait_for(lambda: node.says() == 1)
            sent = base64.b64encode(f"me:{SECRET}".encode()).decode()
            assert {headers.get("Proxy-Authorization") for _, headers in proxy.seen} == {f"Basic {sent}"}
            assert all("authorization" not in s.headers for s in up.at("/say"))


@pytest.mark.parametrize("tls", [False, True])
def test_the_first_request_to_a_service_keeps_no_other_waiting(tmp_path, tls):
    authority = Authority(tmp_path)
    with Upstream(tls=authority.sign("server") if tls else None) as up:
        with Importer(tmp_path, entry(tmp_path, up), http={"ca_file": authority.file}) as node, node.wire() as slow:
            slow.send(ask_slow(slow))
            up.wait("/slow")
            assert node.says() == 1
            up.go_on.set()
            assert slow.reply().output["path"] == "/slow"


def test_an_authority_of_ones_own_is_trusted_where_it_is_named(tmp_path):
    authority = Authority(tmp_path)
    with Upstream(tls=authority.sign("server")) as up:
        url = up.page("/doc.json", document())
        with Importer(tmp_path, entry(tmp_path, up), http={"ca_file": authority.file}) as node:
            assert node.says() == 1
            node.reload(imports=[by_url(url)])
            wait_for(lambda: node.says() == 1)
            node.write_config(http={})
            node.reload()
            assert "http" in node.wait_event("reload.partial")["message"]
            assert node.says() == 1
        with Importer(tmp_path, entry(tmp_path, up), by_url(url, prefix="second")) as node:
            assert node.says() == 500
            node.wait_event("imports.failed")
            assert node.ready() == 503


# ---- what is refused --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", [0o640, 0o604])
@pytest.mark.parametrize("where", ["auth", "credentials", "proxy_file", "key", "document_token_file"])
def test_a_secret_that_others_can_read_is_refused(make_daemon, tmp_path, up, where, mode):
    path = secret(tmp_path, mode=mode)
    config = {"imports": [{"auth": entry(tmp_path, up, auth={"file": path}), "credentials": entry(tmp_path, up, credentials={"k": path}),
                           "document_token_file": by_url(up.url, document_token_file=path)}.get(where, entry(tmp_path, up))]}
    if where in ("proxy_file", "key"):
        config["http"] = {where: path, **({"certificate": path} if where == "key" else {})}
    never_starts(make_daemon, f"{path}: others may read it (mode {mode:04o})", **config)


def test_a_document_that_others_may_write_to_is_refused(make_daemon, tmp_path, up):
    rule = entry(tmp_path, up)
    os.chmod(rule["openapi"], 0o666)
    never_starts(make_daemon, "up.json: everyone may write to it", imports=[rule])


@pytest.mark.parametrize("text", ["", "two\nlines", "tab\there"])
def test_what_is_no_secret_is_refused_and_not_shown(make_daemon, tmp_path, up, text):
    path = secret(tmp_path, text)
    daemon = make_daemon({"imports": [entry(tmp_path, up, auth={"file": path})]}).start(wait=False)
    daemon.ended(status=1)
    assert f"{path}: holds no secret" in daemon.log_text() and "lines" not in daemon.log_text() and "here" not in daemon.log_text()


REFUSED = [
    ({"prefix": "services"}, "imports[0].prefix: must be the beginning of a name"),
    ({"prefix": "peers/x"}, "imports[0].prefix: must be the beginning of a name"),
    ({"prefix": "a b"}, "imports[0].prefix: must be the beginning of a name"),
    ({"base_url": "file:///etc"}, "imports[0].base_url: "),
    ({"base_url": "https://me:secret@x"}, "imports[0].base_url: "),
    ({"headers": {"Host": "x"}}, "imports[0].headers: \"Host\" cannot be set"),
    ({"headers": {"X-A": "a\rb"}}, "imports[0].headers: must be text without control characters"),
    ({"auth": {"type": "api_key", "in": "header", "name": "Host", "file": "secret"}}, "imports[0].auth: an api_key needs"),
    ({"auth": {"type": "basic", "file": "secret"}}, "secret: must be USER:PASSWORD"),
]


@pytest.mark.parametrize("change,why", REFUSED)
@pytest.mark.parametrize("by", ["file", "url"])
def test_what_the_importer_refuses_is_named_with_its_line(make_daemon, tmp_path, up, change, why, by):
    """Also of a document that has still to be fetched."""
    secret(tmp_path)
    rule = {**entry(tmp_path, up), **change}
    if by == "url":
        rule["openapi"] = up.url
    if "auth" in change:
        rule["auth"] = {**change["auth"], "file": str(tmp_path / "secret")}
    never_starts(make_daemon, why, imports=[rule])


@pytest.mark.parametrize("text,why", [("{", "up.json: "), ('{"swagger":"2.0"}', "is of Swagger 2.0"), ("[]", "no OpenAPI 3.0")])
def test_what_is_no_document_is_refused_with_its_name(make_daemon, tmp_path, up, text, why):
    rule = entry(tmp_path, up)
    put(tmp_path, text)
    daemon = make_daemon({"imports": [rule]}).start(wait=False)
    daemon.ended(status=1)
    said = daemon.log_text()
    assert f"imports[0].openapi: {rule['openapi']}: " in said and why in said and said.count(rule["openapi"]) == 1


def test_a_prefix_twice_is_refused(make_daemon, tmp_path, up):
    never_starts(make_daemon, "imports[1].prefix: is that of imports[0] already", imports=[entry(tmp_path, up)] * 2)


def test_http_that_is_wrong_is_refused_with_its_line(make_daemon, tmp_path):
    never_starts(make_daemon, "http: proxy: must begin with http:// or socks5h://", http={"proxy": "ftp://x"})
    never_starts(make_daemon, "none.pem cannot be read", http={"ca_file": str(tmp_path / "none.pem")})


def test_a_good_configuration_is_good_without_asking_anybody(make_daemon, tmp_path, up):
    daemon = make_daemon({"imports": [entry(tmp_path, up), by_url(up.url, prefix="b")], "http": {"http2": False}}, ["--check"])
    daemon.start(wait=False)
    daemon.ended()
    assert "OK" in daemon.log_text() and not up.seen


def test_a_document_may_be_beside_the_configuration(tmp_path, up):
    node = Daemon(tmp_path, {"imports": [{**entry(tmp_path, up, prefix="x"), "openapi": "x.json", "access": {"authenticated": True}}]}).start()
    try:
        assert node.output("x/say", {})["path"] == "/say"
    finally:
        node.stop()
