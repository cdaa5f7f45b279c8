"""Whatever a caller, a document or the service itself says, requests go to the configured origin, below its base path, and
nowhere else. `sink` counts what goes elsewhere; after each test it has seen nothing, and the upstream nothing outside /v1/."""
import json
import os
import re
import socket
import urllib.parse

import pytest

from openapi_rig import Host, try_imports
from upstream import SECRETS, Sink, Upstream

OK = {"200": {"description": "Fine."}}
STRING = {"schema": {"type": "string"}}


@pytest.fixture(scope="module")
def up():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def sink(up):
    up.forget()
    with Sink() as listener:
        yield listener
        listener.quiet()
        assert all(request.target.startswith("/v1/") for request in up.requests), [r.target for r in up.requests]


@pytest.fixture(scope="module")
def host(tmp_path_factory, up):
    folder = tmp_path_factory.mktemp("ssrf")
    with Host(folder, {"document": up.document(), "capabilities": {f"up/{name}": secret for name, secret in SECRETS.items()}}) as node:
        yield node


def document(paths, up=None, **more):
    """One of ours; without `up` its server is elsewhere."""
    servers = [{"url": up.url if up else "http://elsewhere.example/v1"}]
    return {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "servers": servers, "paths": paths, **more}


def get(ident, *parameters, **more):
    return {"get": {"operationId": ident, "parameters": list(parameters), "responses": OK, **more}}


def call(host, operation, value=None, **kwargs):
    return host.ask("POST", "/call", {"operation": operation, "input": {} if value is None else value}, **kwargs)


# ---- what callers say -------------------------------------------------------------------------------------------------

def hostile(sink):
    there = f"127.0.0.1:{sink.port}"
    dots = ["..", ".", "%2e%2e", "%2E%2e", "%252e%252e", "%25252e%25252e", ".%2e", "%2e", "..;", "..;a=b", "..%3b", "..%00", "..\u0000", "..%23",
            "..?", "..#", "\u2024\u2024", "\uff0e\uff0e", ".\t.", ".%09.", "..%0d%0a", "..\\", "..%5c", "..%2f", "..%252f", "..\u2215", "..\u2044",
            "..\uff0f", "%c0%ae%c0%ae", "%u002e%u002e"]
    return [*dots, *(f"{d}/{d}/x" for d in dots), *(f"x/{d}/y" for d in dots), *(f"{d}\\x" for d in dots), f"//{there}/", f"/{there}", f"\\\\{there}\\",
            f"@{there}/", f"user:password@{there}", f":80@{there}/", f"http://{there}/", f"?x=http://{there}/#y", "?a=b", "#a", "?#", "a?b#c",
            "\r\nX-Evil: 1\r\n", f" HTTP/1.1\r\nHost: {there}\r\n\r\nGET /", "a\nb", "a\rb", "\u0000", "a\u0000b", "%00", "%0d%0aX-Evil:%201", "\u0085",
            "\u2028", "a b", "a\tb", "", " ", "/", "//", "///", "\\", ":", ";", ";a=b", ",", "&", "=", "%", "%%", "%2", "%zz", "~", "*", "|", "\ud83d\ude00".encode(
                "utf-16", "surrogatepass").decode("utf-16"), "\x7f", "x" * 300]


def decoded(text):
    """As a service that decodes over and over has it in the end."""
    while (more := urllib.parse.unquote(text, errors="replace")) != text:
        text = more
    return text


def stays(target, before, behind=""):
    """One segment lies between these two, however it is decoded, and none of dots."""
    assert target.startswith(before) and target.endswith(behind), target
    value = target[len(before):len(target) - len(behind)]
    assert re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@%-]*", value) and not re.search(r"%(?![0-9A-F]{2})", value), target
    for part in re.split(r"[/\\;?#]", decoded(value)):
        assert re.sub(r"[\t\r\n]", "", part.partition("\0")[0]) not in (".", ".."), target


@pytest.mark.parametrize("operation, before", [
    ("path_simple", "/v1/path/simple/"), ("path_simple_explode", "/v1/path/simple-explode/"), ("path_label", "/v1/path/label/"),
    ("path_matrix", "/v1/path/matrix/"), ("path_content", "/v1/path/content/")])
def test_a_value_stays_in_its_segment_of_the_path(host, up, sink, operation, before):
    sent = 0
    with host.wire() as wire:
        for value in hostile(sink):
            for form in (value, [value, value], {value: value} if value else [value], ["", value]):
                up.forget()
                reply = call(wire, "up/" + operation, {"v": form})
                if reply.status == 422:
                    assert reply.error()["code"] == "INVALID_INPUT" and not up.connections
                    continue
                assert reply.status == 200, (form, reply)
                stays(up.last.target, before)
                assert up.last.headers[0] == ("Host", f"127.0.0.1:{up.port}") and not up.last.all("x-evil") and up.count() == 1
                sent += 1
    assert sent > 20


def test_two_values_of_a_segment_make_no_dots_together(host, up):
    for a, b in [("..", "1"), (".", "1"), ("/../..", "1"), ("%2e%2e/", "1")]:
        reply = call(host, "up/path_two", {"a": a, "b": int(b)})
        assert reply.status in (200, 422)
    for request in up.requests:
        stays(request.target, "/v1/path/two/", "/rest")


@pytest.mark.parametrize("operation", ["query_form", "query_form_explode", "query_space", "query_pipe", "query_deep", "query_content", "query_reserved"])
def test_a_value_stays_in_its_parameter_of_the_query(host, up, sink, operation):
    with host.wire() as wire:
        for value in hostile(sink):
            for form in (value, [value], {"k": value}, {value: "v"}):
                up.forget()
                if call(wire, "up/" + operation, {"v": form}).status == 422:
                    continue
                path, _, query = up.last.target.partition("?")
                assert path == "/v1/query/" + operation[6:].replace("_", "-") and not re.search(r"[\s#\x00-\x20\x7f]", query)
                pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
                assert len(pairs) <= 1 and up.count() == 1 and up.last.header("host") == f"127.0.0.1:{up.port}"


@pytest.mark.parametrize("operation, name, field", [
    ("header_simple", "X-Value", "x-value"), ("header_simple_explode", "X-Value", "x-value"), ("header_content", "X-Value", "x-value"),
    ("cookie_form", "v", "cookie"), ("cookie_content", "v", "cookie")])
def test_a_value_stays_in_its_header_or_cookie(host, up, sink, operation, name, field):
    with host.wire() as wire:
        assert call(wire, "up/" + operation, {name: "x"}).status == 200
        fields = [f for f, _ in up.last.headers]
        for value in hostile(sink):
            for form in (value, [value, "x"], {value: "x"}):
                up.forget()
                if call(wire, "up/" + operation, {name: form}).status == 422:
                    continue
                assert [f for f, _ in up.last.headers] in (fields, [f for f in fields if f.lower() != field]), (form, up.last)
                sent = up.last.header(field) or ""
                assert not re.search(r"[\x00-\x1f\x7f]", sent) and (field != "cookie" or ";" not in sent)


def test_control_characters_are_refused_in_headers_and_encoded_in_cookies(host, up):
    for c in [chr(n) for n in range(32)] + ["\x7f"]:
        reply = call(host, "up/header_simple", {"X-Value": f"a{c}b"})
        assert reply.status == 422 and "control character" in reply.error()["message"]
        assert call(host, "up/cookie_form", {"v": f"a{c}b"}).status == 200
        assert up.last.header("cookie") == f"v=a%{ord(c):02X}b"


def test_what_no_parameter_has_is_refused(host, up):
    for extra in ("Host", "authorization", "url", "base_url", "__proto__", "headers"):
        assert call(host, "up/query_form", {"v": 1, extra: "x"}).status == 422
    assert not up.count()


# ---- what the service says --------------------------------------------------------------------------------------------

def elsewhere(up, sink):
    there = f"127.0.0.1:{sink.port}"
    return [sink.url, sink.url + "/v1/json", f"//{there}/", f"///{there}/", f"http:///{there}/", f"http:{there}/", f"http:\\\\{there}\\", f"hTTp://{there}", f"http://localhost:{sink.port}/", f"http://localhost:{up.port}/", f"http://[::1]:{up.port}/",
            f"http://[::ffff:127.0.0.1]:{up.port}/", f"http://127.1:{sink.port}/", "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/",
            f"https://127.0.0.1:{up.port}/v1/json", f"http://user@127.0.0.1:{up.port}/v1/json", f"http://127.0.0.1:{up.port}@{there}/",
            f"http://{there}#@127.0.0.1:{up.port}/", f"http://{there}?@127.0.0.1:{up.port}/", f"http://{there}\\@127.0.0.1:{up.port}/",
            "file:///etc/passwd", f"gopher://{there}/_x", f"ftp://{there}/", f"dict://{there}/", f"ldap://{there}/", f"ws://{there}/", "javascript:alert(1)",
            "data:text/plain,x", "http://", "http://:80/", f"http://127.0.0.1:{up.port}0/", "http://127.0.0.1:99999/"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_nowhere_else(host, up, sink, status):
    with host.wire() as wire:
        for target in elsewhere(up, sink):
            up.forget()
            error = call(wire, "up/bad", {"what": "redirect", "to": target, "n": status}).error()
            assert (error["code"], error["message"]) == ("INTERNAL", "the service leads to a place that is not allowed"), (target, error)
            assert up.count() == 1 and str(sink.port) not in json.dumps(error) and "169.254" not in json.dumps(error), target
            error = call(wire, "up/bad_post", {"what": "redirect", "to": target, "n": status}).error()
            assert error["code"] == ("INTERNAL" if status >= 307 else f"HTTP_{status}") and up.count() == 2, target


def test_a_redirect_with_backslashes_is_a_path_of_the_service(host, up, sink):
    """As RFC 3986 has it; others take them for slashes."""
    for target in (f"\\\\127.0.0.1:{sink.port}\\", f"/v1/\\127.0.0.1:{sink.port}/"):
        call(host, "up/bad", {"what": "redirect", "to": target})
        assert up.last.header("host") == f"127.0.0.1:{up.port}"


def test_redirects_within_the_origin_are_followed_with_the_request_as_it_was(host, up):
    for to in ("/v1/json", f"http://127.0.0.1:{up.port}/v1/json", f"HTTP://127.0.0.1:{up.port}/v1/x/../json", f"//127.0.0.1:{up.port}/v1/json", "../json"):
        assert call(host, "up/bad", {"what": "redirect", "to": to}).output["target"] == "/v1/json", to
    assert call(host, "up/bad_post", {"what": "redirect", "to": "/v1/json", "n": 308}).output["method"] == "POST"
    up.forget()
    error = call(host, "up/bad", {"what": "redirect-loop"}).error()
    assert error["code"] == "INTERNAL" and up.count() == 6
    assert any("more than 5 redirects" in e["message"] for e in host.find(event="handler"))


# ---- where the service is ---------------------------------------------------------------------------------------------

def test_names_that_lead_to_private_addresses_are_refused(tmp_path, up, sink):
    names = ["127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.1", socket.gethostname()]
    imports = [{"document": document({"/x": get("x")}), "namespace_prefix": f"n{n}", "base_url": f"http://{name}:{sink.port}/v1"} for n, name in enumerate(names)]
    allowed = [{**one, "namespace_prefix": f"a{n}", "private_addresses": 1, "base_url": f"http://{name}:{up.port}/v1"}
               for n, (one, name) in enumerate(zip(imports, names)) if name != socket.gethostname()]
    with Host(tmp_path, *imports, *allowed) as host:
        for n, name in enumerate(names):
            error = call(host, f"n{n}/x").error()
            assert error["code"] == "INTERNAL" and name not in json.dumps(error), error
            assert "127.0.0.1" not in json.dumps(error)
        assert len(host.find(event="handler")) == len(names) and any("which is not public" in e["message"] for e in host.find(event="handler"))
        for n in range(len(allowed)):
            assert call(host, f"a{n}/x").output["target"] == "/v1/x"


def test_loopback_by_its_names_is_what_it_says(tmp_path, up):
    names = ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1."]
    imports = [{"document": document({"/x": get("x")}), "namespace_prefix": f"n{n}", "base_url": f"http://{name}:{up.port}/v1/"} for n, name in enumerate(names)]
    with Host(tmp_path, *imports) as host:
        for n in range(len(names)):
            assert call(host, f"n{n}/x").output["target"] == "/v1/x"


def test_a_base_url_is_one_and_nothing_else(tmp_path, sink):
    there = f"127.0.0.1:{sink.port}"
    bad = ["", "/v1", f"ftp://{there}", "file:///etc", f"http://user:x@{there}/", f"http://{there}\\@x/", f"http://{there}/v1?x=1", f"http://{there}/v1#x",
           f"http://{there}/../x", f"http://{there}/%2e%2e/x", "http://", "http:///x", "http://a b/", "http://a\r\nb/", f"http://{there}/a\r\nX: y", "http://x:0/",
           "http://x:99999/", "http://x:1x/", "http://[::1/", "http://%31/", "http://x%00y/", "http://\u2024/", "javascript:x", f"http://{there}/a b"]
    for report, url in zip(try_imports(tmp_path, *({"document": document({"/x": get("x")}), "base_url": url, "namespace_prefix": f"n{n}"} for n, url in enumerate(bad))), bad):
        assert report.rc and report.error.startswith("base_url: "), (url, report)


# ---- what a document says ---------------------------------------------------------------------------------------------

def test_servers_of_a_document_do_not_count_beside_a_base_url(tmp_path, up, sink):
    away = [{"url": sink.url + "/v1"}]
    paths = {"/a": get("a"), "/b": get("b", servers=away), "/c": {**get("c"), "servers": away}}
    given = {**document(paths), "servers": away, "$self": sink.url, "jsonSchemaDialect": sink.url, "externalDocs": {"url": sink.url}}
    with Host(tmp_path, {"document": given, "base_url": up.url}) as host:
        for name in "abc":
            assert call(host, f"up/{name}").output["target"] == f"/v1/{name}"


def test_without_one_all_servers_are_of_one_origin(tmp_path, up, sink):
    paths = {"/a": get("a"), "/b": get("b", servers=[{"url": sink.url + "/v1"}]), "/c": {**get("c"), "servers": [{"url": "//127.0.0.1:1/"}]},
             "/d": get("d", servers=[{"url": f"http://127.0.0.1:{up.port}@127.0.0.1:{sink.port}/"}]), "/e": get("e", servers=[{"url": up.origin + "/v1/e"}])}
    with Host(tmp_path, {"document": document(paths, up)}) as host:
        assert host.reports[0].count == 2 and len(host.reports[0].warns("its server")) + len(host.reports[0].warns("the server's URL")) == 3
        assert call(host, "up/a").output["target"] == "/v1/a" and call(host, "up/e").output["target"] == "/v1/e/e"
    away = {**document({"/a": get("a")}), "servers": [{"url": sink.url}]}
    report, = try_imports(tmp_path, {"document": away, "document_url": up.origin + "/openapi.yaml"})
    assert report.rc and report.error.startswith("base_url: is needed")


LOCAL = ["127.0.0.1", "localhost", "LocalHost", "api.localhost", "localhost.", "127.0.0.1.", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "[::]", "0.0.0.0", "10.0.0.1",
         "192.168.1.1", "172.16.0.1", "100.64.0.1", "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]"]


@pytest.mark.parametrize("host", LOCAL)
def test_a_documents_own_server_is_public(tmp_path, sink, host):
    """What it came from may be anywhere: it says nothing of the network that it is read in."""
    server = f"http://{host}:{sink.port}/v1"
    given = {**document({"/a": get("a")}), "servers": [{"url": server}]}
    parts = {**given, "servers": [{"url": "http://{host}:{port}/v1", "variables": {"host": {"default": host}, "port": {"default": str(sink.port)}}}]}
    for one in (given, parts):
        report, = try_imports(tmp_path, {"document": one, "private_addresses": 0})
        assert report.rc and report.error.startswith("base_url: is needed") and "not public" in report.error, report
    for more in ({"private_addresses": 1}, {"base_url": server}, {"document_url": server + "/openapi.json"}):
        report, = try_imports(tmp_path, {"document": given, **more})
        assert not report.rc and report.count == 1, (more, report)


def test_what_a_documents_own_server_leads_to_is_public(tmp_path, sink):
    """A name is no address before it is looked up."""
    names = ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", socket.gethostname()]
    imports = [{"document": {**document({"/x": get("x")}), "servers": [{"url": f"http://{name}:{sink.port}/v1"}]}, "namespace_prefix": f"n{n}", "private_addresses": 0}
               for n, name in enumerate(names)]
    with Host(tmp_path, *imports) as host:
        for n in range(len(names)):
            assert call(host, f"n{n}/x").error()["code"] == "INTERNAL"


@pytest.mark.parametrize("value", ["127.0.0.1:{sink}/", "x@127.0.0.1:{sink}", "127.0.0.1:{sink}#", "127.0.0.1:{sink}?", "127.0.0.1:{sink}\\", "\r\n"])
def test_a_servers_variables_lead_nowhere_else(tmp_path, up, sink, value):
    value = value.replace("{sink}", str(sink.port))
    given = {**document({"/a": get("a")}), "servers": [{"url": f"http://127.0.0.1:{up.port}/{{v}}", "variables": {"v": {"default": value}}},]}
    front = {**given, "servers": [{"url": f"http://{{v}}127.0.0.1:{up.port}/v1", "variables": {"v": {"default": value}}}]}
    configured = {**given, "servers": [{"url": f"http://127.0.0.1:{up.port}/{{v}}", "variables": {"v": {"default": "v1", "enum": ["v1", "v2"]}}}]}
    url = up.origin + "/openapi.yaml"
    reports = try_imports(tmp_path, {"document": given, "document_url": url}, {"document": front, "document_url": url, "namespace_prefix": "b"},
                          {"document": configured, "server_variables": {"v": value}, "document_url": url, "namespace_prefix": "c"})
    assert reports[1].rc and reports[2].rc, reports
    assert reports[0].rc or value.startswith(("127.0.0.1", "x@")), "what stands in the path stays in the path"


def test_references_fetch_nothing(tmp_path, up, sink):
    (tmp_path / "secret.json").write_text('{"type": "string", "const": "from outside"}')
    folder = tmp_path / "api"
    folder.mkdir()
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "away").symlink_to(tmp_path)
    refs = [f"{sink.url}/x.json", f"//127.0.0.1:{sink.port}/x.json", f"HTTP://127.0.0.1:{sink.port}/x", f"ftp://127.0.0.1:{sink.port}/x", "file:///etc/passwd",
            "file:secret.json", "/etc/passwd", "../secret.json", "%2e%2e/secret.json", "..%2fsecret.json", "a/../../secret.json", "link.json", "away/secret.json",
            "secret.json", "", "#nowhere", "\\\\127.0.0.1\\x", "api.json?x", "x\u0000.json", "//", "http://", "a" * 5000]
    paths = {f"/bad{n}": {"post": {"operationId": f"bad{n}", "requestBody": {"content": {"application/json": {"schema": {"$ref": ref}}}}, "responses": OK}}
             for n, ref in enumerate(refs)}
    paths |= {f"/p{n}": {"$ref": ref} for n, ref in enumerate(refs) if ref}
    paths |= {"/id": {"post": {"operationId": "id", "responses": OK, "requestBody": {"content": {"application/json": {"schema": {
        "$id": sink.url + "/base.json", "allOf": [{"$ref": "other.json"}], "$schema": sink.url, "$dynamicRef": sink.url}}}}}}}
    (folder / "api.json").write_text(json.dumps(document({**paths, "/good": get("good")}, up)))
    report, = try_imports(tmp_path, {"file": str(folder / "api.json")})
    assert not report.rc and report.count <= 2, report  # "" is the document itself
    told = " ".join(text for _, text in report.warnings)
    assert "from outside" not in told and "root:" not in told
    assert all(any(pointer.startswith(f"/paths/~1bad{n}") for pointer, _ in report.warnings) for n, ref in enumerate(refs) if ref)


def test_hostile_paths_stay_below_the_base(tmp_path, up, sink):
    there = f"127.0.0.1:{sink.port}"
    bad = ["/..", "/../x", "/a/../../x", "/.", "/%2e%2e/x", "/%2E./x", "/%252e%252e/x", "/..;/x", "/..;a/x", "/a\\..\\..\\x", "/..%5cx", "/..%2fx", "/..%00/x",
           "/x?y=1", "/{a", "x", "", "//../x", "/" + "x" * 9000]
    good = [f"//{there}/x", f"/@{there}/", f"/{there}", "/a b", "/a\r\nX-Evil: 1", "/a\tb", "/a\u0000b", "/\u00e9\u2024\u2024/", "/a%zz", "/x#y", "/...", "/a..b", "/{a}{b}"]
    paths = {path: get(f"bad{n}") for n, path in enumerate(bad)} | {path: get(f"good{n}") for n, path in enumerate(good)}
    with Host(tmp_path, {"document": document(paths, up)}) as host:
        report = host.reports[0]
        assert report.count == len(good), report
        for n, path in enumerate(good):
            value = {"a": ".", "b": "."} if "{" in path else {}
            reply = call(host, f"up/good{n}", value)
            assert reply.status == (422 if value else 200), (path, reply)
            assert value or (up.last.header("host") == f"127.0.0.1:{up.port}" and not up.last.all("x-evil") and ".." not in up.last.path.split("/"))


def test_methods_media_types_and_names_of_a_document_inject_nothing(tmp_path, up):
    evil = "x/y\r\nX-Evil: 1"
    methods = {"GET /x HTTP/1.1\r\nX-Evil: 1\r\n\r\n": "m1", "TRACE": "m2", "CONNECT": "m3", "get": "m4", "": "m5", "M" * 40: "m6", "G\u0000T": "m7", "COPY": "copy"}
    form = {"schema": {"properties": {"a\"\r\nX-Evil: 1": {}, "b": {}}}, "encoding": {"b": {"contentType": evil}}}
    paths = {
        "/methods": {"additionalOperations": {method: {"operationId": ident, "responses": OK} for method, ident in methods.items()}},
        "/type": {"post": {"operationId": "type", "requestBody": {"content": {evil: {}}}, "responses": OK}},
        "/text": {"post": {"operationId": "text", "requestBody": {"content": {"text/x\r\nX-Evil: 1": {}}}, "responses": OK}},
        "/accept": get("accept", responses={"200": {"description": "", "content": {evil: {}, "a b/c": {}, "/": {}, "x" * 200 + "/y": {}, "image/png": {}}}}),
        "/form": {"post": {"operationId": "form", "requestBody": {"content": {"multipart/form-data": form}}, "responses": OK}},
        "/names": get("names", {"name": "X-A: b\r\nX-Evil", "in": "header", **STRING}, {"name": "X A", "in": "header", **STRING}, {"name": "", "in": "header", **STRING},
                      {"name": "a;b", "in": "cookie", **STRING}, {"name": "c\r\n", "in": "cookie", **STRING}),
        "/names2": get("names2", {"name": "X-A: b\r\nX-Evil", "in": "header", **STRING}, {"name": "a;b", "in": "cookie", **STRING}, {"name": "q\r\n&#", "in": "query", **STRING}),
        "/default": get("default", {"name": "q", "in": "query", "schema": {"default": "../x"}, "example": "y"}),
        "/default/{p}": get("needed", {"name": "p", "in": "path", "schema": {"default": "../../x"}}),
    }
    with Host(tmp_path, {"document": document(paths, up)}) as host:
        assert call(host, "up/copy").output["method"] == "COPY"
        assert not [m for m in methods.values() if m != "copy" and call(host, f"up/{m}").status != 404]
        assert call(host, "up/type", {"body": "aGk="}).status == 200 and up.last.header("content-type") == "application/octet-stream"
        assert call(host, "up/text", {"body": "hi"}).status == 200 and up.last.header("content-type") == "text/plain"
        assert call(host, "up/accept").status == 200 and up.last.header("accept") == "image/png, */*;q=0.1"
        assert call(host, "up/form", {"body": {"a\"\r\nX-Evil: 1": "1", "b": "2"}}).status == 200
        assert b"\r\nX-Evil" not in up.last.body and b'name="a%22%0D%0AX-Evil: 1"' in up.last.body
        assert call(host, "up/names").status == 404, "a parameter without a name leaves it out"
        assert host.ask("GET", "/schema?name=up/names2").output["input_schema"]["properties"].keys() == {"q\r\n&#"}
        assert call(host, "up/names2", {"q\r\n&#": "x"}).status == 200 and up.last.query == "q%0D%0A%26%23=x"
        assert call(host, "up/default").status == 200 and up.last.query is None
        assert call(host, "up/needed").status == 422
        assert not any(request.all("x-evil") for request in up.requests)


def test_security_schemes_inject_nothing(tmp_path, up):
    names = {"crlf": "X\r\nX-Evil", "colon": "X: y\r\nX-Evil", "blank": "X Key", "host": "Host", "length": "Content-Length", "te": "Transfer-Encoding",
             "cookie": "Cookie", "proxy": "Proxy-Authorization", "method": "X-HTTP-Method-Override", "empty": "", "nul": "X\u0000Y"}
    schemes = {key: {"type": "apiKey", "in": "header", "name": name} for key, name in names.items()}
    schemes |= {"biscuit": {"type": "apiKey", "in": "cookie", "name": "a; b"}, "crumb": {"type": "apiKey", "in": "cookie", "name": "a\r\nX-Evil"},
                "place": {"type": "apiKey", "in": "body", "name": "a"}, "digest": {"type": "http", "scheme": "digest"}, "un\r\nX-Evil: known": {"type": "x"},
                "query": {"type": "apiKey", "in": "query", "name": "k&x=#"}, "split\r\nX-Evil: 1": {"type": "http", "scheme": "bearer"}}
    good = {"query", "split\r\nX-Evil: 1"}
    paths = {f"/s{n}": get(f"s{n}", security=[{key: []}]) for n, key in enumerate(schemes)}
    secrets = {"up": "the secret of the import"}
    with Host(tmp_path, {"document": document(paths, up, components={"securitySchemes": schemes}), "capabilities": secrets}) as host:
        assert len(host.reports[0].warns("cannot be shown")) == len(schemes) - len(good)
        for n, key in enumerate(schemes):
            assert call(host, f"up/s{n}").status == 200
            shown = json.dumps([up.last.target, up.last.headers])
            assert ("the secret of the import" in shown.replace("%20", " ")) == (key in good), key
            assert not up.last.all("x-evil") and up.last.header("host") == f"127.0.0.1:{up.port}"
        assert up.last.header("authorization") == "Bearer the secret of the import"


@pytest.mark.parametrize("secret", ["two\r\nX-Evil: lines", "nul\u0000byte", " begins with a blank", "ends with a blank "])
def test_a_secret_that_would_break_a_request_is_not_sent_and_not_told(tmp_path, up, secret):
    schemes = {"b": {"type": "http", "scheme": "bearer"}, "k": {"type": "apiKey", "in": "header", "name": "X-Key"}, "c": {"type": "apiKey", "in": "cookie", "name": "c"}}
    paths = {f"/{key}": get(key, security=[{key: []}]) for key in schemes}
    with Host(tmp_path, {"document": document(paths, up, components={"securitySchemes": schemes}), "capabilities": {"up": secret}}) as host:
        for key in schemes:
            error = call(host, f"up/{key}").error()
            assert error["code"] == "INVALID_INPUT" and error["message"].endswith(f"the secret up/{key} has a character that cannot be sent"), error
            assert secret not in json.dumps(error) and "lines" not in json.dumps(error)
        assert not up.count()


def test_hostile_operation_ids_are_names_and_take_nobodys_place(tmp_path, up):
    ids = ["../../services/list", "services/list", "/services/list", "peers/call", "..", ".", "a//b", "", " ", "\u0000", "x\r\ny", "%2e%2e", "__proto__", "constructor",
           "a" * 10240, "a" * 10239 + "b", "\u00e9", "\u2215", "a/../b", "demo/echo", "*", "up/up", "x" * 300 + "/" * 300]
    paths = {f"/p{n}": get(ident) for n, ident in enumerate(ids)}
    with Host(tmp_path, {"document": document(paths, up)}) as host:
        assert host.reports[0].count == len(ids)
        names = [entry["name"] for entry in host.ask("GET", "/search?namespace=up&limit=100").output["operations"]]
        assert len(names) == len(set(names)) == len(ids)
        assert all(re.fullmatch(r"up(/(?!\.{1,2}(/|$))[A-Za-z0-9_.~-]+)+", name) and len(name) <= 256 for name in names), names
        assert {call(host, name).output["target"] for name in names} == {f"/v1/p{n}" for n in range(len(ids))}
        assert call(host, "demo/echo", 1).output == 1 and not any("\r" in text + pointer or "\n" in text + pointer for pointer, text in host.reports[0].warnings)
    for prefix in ("services", "peers", "services/x", "a//b", "..", "", "a\u0000"):
        report, = try_imports(tmp_path, {"document": document(paths, up), "namespace_prefix": prefix})
        assert report.rc and report.error.startswith("namespace_prefix: ") or prefix == "a\u0000"


def test_the_environment_names_no_proxy(tmp_path, up, sink):
    proxies = {name: sink.url for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")}
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login me password from-netrc\n")
    (home / ".curlrc").write_text(f"proxy = {sink.url}\n")
    with Host(tmp_path, {"document": document({"/x": get("x")}, up)}, environment={**proxies, "HOME": str(home), "no_proxy": ""}) as host:
        assert call(host, "up/x").output["target"] == "/v1/x"
        assert not up.last.all("authorization") and os.environ.get("http_proxy") != sink.url
