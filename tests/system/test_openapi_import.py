"""Operations of OpenAPI documents, called from outside: what the upstream receives is what OpenAPI says of each style, kind of
body and security scheme (its own tables, and RFC 6570's), and what the caller gets is what the upstream answered."""
import base64
import email
import email.policy
import json
import time

import pytest

from conftest import wait_for
from openapi_rig import Host, released  # pylint: disable=unused-import
from rawhttp import PLAIN, TRACE, Neighbour, together
from rawws import Socket
from upstream import BEARER, KEY_IN_COOKIE, KEY_IN_HEADER, KEY_IN_QUERY, NUMBERS, SECRETS, Upstream

MIB = 1 << 20
WITHIN = {"X-Timeout-Ms": "30000"}  # also where comments go on and on
PREFIXES = {"up": "openapi.yaml", "old": "openapi30.yaml", "new": "openapi32.yaml"}


@pytest.fixture(scope="module")
def up():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def imported(tmp_path_factory, up):
    """alknetd with the three documents, and every secret that they ask for."""
    folder = tmp_path_factory.mktemp("imported")
    imports = []
    for prefix, name in PREFIXES.items():
        (folder / name).write_text(up.document(name), encoding="utf-8")
        imports.append({"file": str(folder / name), "namespace_prefix": prefix, "default_headers": {"X-Default": "of the import"},
                        "capabilities": {f"{prefix}/{scheme}": secret for scheme, secret in [*SECRETS.items(), ("oauth", BEARER)]}})
    with Host(folder, *imports) as host:
        yield host


@pytest.fixture
def host(imported, up):
    up.forget()
    return imported


def received(host, up, operation, value):
    """The request that a call made; that is answered with an echo of it."""
    before = up.count()
    said = host.ask("POST", "/call", {"operation": operation, "input": value}).output
    assert up.count() == before + 1
    assert said["target"] == up.last.target and said["method"] == up.last.method
    assert base64.b64decode(said["body"]) == up.last.body and [tuple(h) for h in said["headers"]] == up.last.headers
    return up.last


def failure(host, operation, value=None, **kwargs):
    """The status, the error object and the Retry-After of a call that fails."""
    reply = host.ask("POST", "/call", {"operation": operation, "input": value}, **kwargs)
    return reply.status, reply.error(), reply.header("retry-after")


# ---- parameters -------------------------------------------------------------------------------------------------------

COLOR = "blue"
COLORS = ["blue", "black", "brown"]
RGB = {"R": 100, "G": 200, "B": 150}
# Style Examples of OpenAPI 3.1.1, with v for color.
STYLES = [
    ("path_simple", COLOR, "path/simple/blue"),
    ("path_simple", COLORS, "path/simple/blue,black,brown"),
    ("path_simple", RGB, "path/simple/R,100,G,200,B,150"),
    ("path_simple_explode", COLOR, "path/simple-explode/blue"),
    ("path_simple_explode", COLORS, "path/simple-explode/blue,black,brown"),
    ("path_simple_explode", RGB, "path/simple-explode/R=100,G=200,B=150"),
    ("path_label", COLOR, "path/label/.blue"),
    ("path_label", COLORS, "path/label/.blue,black,brown"),
    ("path_label", RGB, "path/label/.R,100,G,200,B,150"),
    ("path_label_explode", COLOR, "path/label-explode/.blue"),
    ("path_label_explode", COLORS, "path/label-explode/.blue.black.brown"),
    ("path_label_explode", RGB, "path/label-explode/.R=100.G=200.B=150"),
    ("path_matrix", "", "path/matrix/;v"),
    ("path_matrix", COLOR, "path/matrix/;v=blue"),
    ("path_matrix", COLORS, "path/matrix/;v=blue,black,brown"),
    ("path_matrix", RGB, "path/matrix/;v=R,100,G,200,B,150"),
    ("path_matrix_explode", COLOR, "path/matrix-explode/;v=blue"),
    ("path_matrix_explode", COLORS, "path/matrix-explode/;v=blue;v=black;v=brown"),
    ("path_matrix_explode", RGB, "path/matrix-explode/;R=100;G=200;B=150"),
    ("path_content", RGB, "path/content/%7B%22R%22%3A100%2C%22G%22%3A200%2C%22B%22%3A150%7D"),
    ("path_content", "a/b", "path/content/%22a%2Fb%22"),
    ("query_form", "", "query/form?v="),
    ("query_form", COLOR, "query/form?v=blue"),
    ("query_form", COLORS, "query/form?v=blue,black,brown"),
    ("query_form", RGB, "query/form?v=R,100,G,200,B,150"),
    ("query_form_explode", "", "query/form-explode?v="),
    ("query_form_explode", COLOR, "query/form-explode?v=blue"),
    ("query_form_explode", COLORS, "query/form-explode?v=blue&v=black&v=brown"),
    ("query_form_explode", RGB, "query/form-explode?R=100&G=200&B=150"),
    ("query_space", COLORS, "query/space?v=blue%20black%20brown"),
    ("query_space", RGB, "query/space?v=R%20100%20G%20200%20B%20150"),
    ("query_pipe", COLORS, "query/pipe?v=blue%7Cblack%7Cbrown"),
    ("query_pipe", RGB, "query/pipe?v=R%7C100%7CG%7C200%7CB%7C150"),
    ("query_deep", RGB, "query/deep?v%5BR%5D=100&v%5BG%5D=200&v%5BB%5D=150"),
    ("query_content", RGB, "query/content?v=%7B%22R%22%3A100%2C%22G%22%3A200%2C%22B%22%3A150%7D"),
    ("query_content", [1, "x"], "query/content?v=%5B1%2C%22x%22%5D"),
    # RFC 3986: what is reserved may stay, but for what would be another parameter or the end of the query.
    ("query_reserved", ":/?@!$'()*;,", "query/reserved?v=:/?@!$'()*;,"),
    ("query_reserved", "a&b=c#d[e]%20+", "query/reserved?v=a%26b%3Dc%23d%5Be%5D%20%2B"),
    # RFC 6570, 3.2.1: all but unreserved characters are encoded, by UTF-8.
    ("query_form", "a b&c=d+e/f?#%\u00e9\U0001f600", "query/form?v=a%20b%26c%3Dd%2Be%2Ff%3F%23%25%C3%A9%F0%9F%98%80"),
    ("query_form", ["a,b", "c"], "query/form?v=a%2Cb,c"),
    ("path_simple", "a/b;c,d", "path/simple/a%2Fb%3Bc%2Cd"),
    # Undefined values: RFC 6570, 2.3 and 3.2.1.
    ("query_form", None, "query/form"),
    ("query_form", [], "query/form"),
    ("query_form_explode", {}, "query/form-explode"),
    ("query_form_explode", [None, "a", None], "query/form-explode?v=a"),
    ("query_form", 1.5, "query/form?v=1.5"),
    ("query_form", True, "query/form?v=true"),
    ("query_form", -9223372036854775808, "query/form?v=-9223372036854775808"),
]


@pytest.mark.parametrize("operation, value, target", STYLES)
def test_each_style_is_sent_as_the_specification_says(host, up, operation, value, target):
    assert received(host, up, f"up/{operation}", {"v": value}).target == "/v1/" + target


@pytest.mark.parametrize("operation, value, sent", [
    ("header_simple", COLOR, "blue"), ("header_simple", COLORS, "blue,black,brown"), ("header_simple", RGB, "R,100,G,200,B,150"),
    ("header_simple_explode", RGB, "R=100,G=200,B=150"), ("header_simple", "a b%2F", "a b%2F"), 
    ("header_content", RGB, '{"R":100,"G":200,"B":150}'), ("header_simple", None, None)])
def test_headers_are_simple_and_not_encoded(host, up, operation, value, sent):
    assert received(host, up, f"up/{operation}", {"X-Value": value}).header("x-value") == sent


@pytest.mark.parametrize("operation, value, sent", [
    ("cookie_form", COLOR, "v=blue"), ("cookie_form", COLORS, "v=blue,black,brown"), ("cookie_form", RGB, "v=R,100,G,200,B,150"),
    ("cookie_form_explode", COLOR, "v=blue"), ("cookie_form", "a;b=c", "v=a%3Bb%3Dc"), ("cookie_form", None, None),
    ("cookie_content", {"a": 1}, "v=%7B%22a%22%3A1%7D")])
def test_cookies_are_one_field(host, up, operation, value, sent):
    assert received(host, up, f"up/{operation}", {"v": value}).header("cookie") == sent


def test_cookies_of_parameters_and_of_a_credential_are_one_field(host, up):
    cookie = received(host, up, "up/cookie_several", {"a": "1", "b": "2"}).header("cookie")
    assert sorted(cookie.split("; ")) == ["a=1", "b=2", "sid=" + KEY_IN_COOKIE]


def test_names_are_encoded_and_the_parameter_that_is_called_body_keeps_its_name(host, up):
    value = {"filter[a]": "1", "a b&c=d": "2", "$top": "", "__proto__": "3", "body": "4"}
    assert received(host, up, "up/query_names", value).query == "filter%5Ba%5D=1&a%20b%26c%3Dd=2&%24top=&__proto__=3&body=4"


def test_several_parameters_share_a_segment(host, up):
    assert received(host, up, "up/path_two", {"a": "x-y", "b": 7}).target == "/v1/path/two/x-y-7.json/rest"


def test_parameters_of_the_path_are_its_operations(host, up):
    assert received(host, up, "up/shared_get", {"id": "a", "verbose": True, "page": 2}).target == "/v1/shared/a?verbose=true&page=2"
    put = received(host, up, "up/shared_put", {"id": "a", "verbose": 3, "body": [1]})
    assert (put.method, put.target, put.body) == ("PUT", "/v1/shared/a?verbose=3", b"[1]")
    assert failure(host, "up/shared_put", {"id": "a", "verbose": True, "body": 1})[:1] == (422,)
    assert received(host, up, "up/shared_options", {"id": "a"}).method == "OPTIONS"
    patch = received(host, up, "up/shared/patch", {"id": "a", "body": {"b": None}})
    assert (patch.method, patch.header("content-type"), patch.body) == ("PATCH", "application/merge-patch+json", b'{"b":null}')
    assert received(host, up, "up/referred", {"id": "a"}).target == "/v1/referred/a"
    assert received(host, up, "up/get_nameless_things", {"id": "1"}).target == "/v1/nameless/1/things"
    assert received(host, up, "up/get_nameless_things_2", {}).target == "/v1/nameless/things"


def test_methods_without_a_body_in_their_answer_give_null(host, up):
    assert host.ask("POST", "/call", {"operation": "up/shared_delete", "input": {"id": "a"}}).output is None
    assert up.last.method == "DELETE"
    assert host.ask("POST", "/call", {"operation": "up/shared_head", "input": {"id": "a"}}).output is None
    assert up.last.method == "HEAD"


def test_what_only_32_has_is_sent_too(host, up):
    assert received(host, up, "new/query_string", {"v": {"a": [1, 2], "b c": "d&e"}}).query == "a=1&a=2&b%20c=d%26e"
    assert received(host, up, "new/query_string_json", {"v": {"a": [1]}}).query == "%7B%22a%22%3A%5B1%5D%7D"
    assert received(host, up, "new/cookie_cookie", {"v": "a=b/c"}).header("cookie") == "v=a=b/c"
    search = received(host, up, "new/search", {"body": {"q": 1}})
    assert (search.method, search.body) == ("QUERY", b'{"q":1}')
    assert received(host, up, "new/copy", {}).method == "COPY"


def test_names_of_headers_that_are_the_requests_own_are_no_parameters(host, up):
    schema = host.ask("GET", "/schema?name=up/header_abused").output["input_schema"]
    assert schema["properties"] == {}
    assert failure(host, "up/header_abused", {"Host": "elsewhere.example"})[0] == 422 and not up.count()
    request = received(host, up, "up/header_abused", {})
    assert request.header("host") == f"127.0.0.1:{up.port}" and not request.all("x-forwarded-for") + request.all("cookie")


def test_each_request_has_our_headers(host, up):
    host.ask("POST", "/call", {"operation": "up/query_form", "input": {}}, {"traceparent": TRACE})
    request = up.last
    assert request.header("x-default") == "of the import" and request.header("accept") == "application/json, */*;q=0.1"
    assert request.header("user-agent").startswith("alknet/") and request.header("traceparent").split("-")[1] == TRACE.split("-")[1]
    assert not any(request.all(name) for name in ("authorization", "cookie", "content-type", "expect", "content-length"))


# ---- bodies -----------------------------------------------------------------------------------------------------------

def test_json_is_sent_with_the_digits_that_came(host, up):
    body = b'{"operation":"up/body_json","input":{"body":' + NUMBERS.encode() + b"}}"
    assert host.ask("POST", "/call", body).status == 200
    assert up.last.body == NUMBERS.replace(" ", "").encode()


@pytest.mark.parametrize("value", [None, 0, "", [], {}, "\u0000\U0001f600", {"a": {"b": [1.5, None, "c"]}}])
def test_any_json_is_a_body(host, up, value):
    request = received(host, up, "up/body_json", {"body": value})
    assert request.header("content-type") == "application/json" and json.loads(request.body) == value


def test_a_media_type_is_sent_with_its_parameters(host, up):
    assert received(host, up, "up/body_json_vendor", {"body": {"a": 1}}).header("content-type") == "application/vnd.upstream+json;version=2"


def test_forms_are_encoded(host, up):
    form = received(host, up, "up/body_form", {"body": {"a": "x y&z=\u00e9", "list": ["1", "2"], "o": {"p": 1}}})
    assert form.header("content-type") == "application/x-www-form-urlencoded"
    assert form.body == b"a=x%20y%26z%3D%C3%A9&list=1&list=2&o=%7B%22p%22%3A1%7D"
    value = {"comma": [1, 2], "pipes": [1, 2], "deep": {"a": "b"}, "free": "/?:@", "json": [1, {"a": 2}]}
    assert received(host, up, "up/body_form_encoded", {"body": value}).body == (
        b"comma=1,2&pipes=1%7C2&deep%5Ba%5D=b&free=/?:@&json=%5B1%2C%7B%22a%22%3A2%7D%5D")
    assert received(host, up, "old/body_form", {"body": {"a": "1", "list": ["2", "3"]}}).body == b"a=1&list=2,3"


def parts_of(request):
    """name, filename, type, bytes of each part, by another reader."""
    head = f"Content-Type: {request.header('content-type')}\r\n\r\n".encode()
    whole = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    assert whole.is_multipart() and not whole.defects
    return [(part.get_param("name", header="content-disposition"), part.get_filename(), part.get_content_type(),
             part.get_payload(decode=True)) for part in whole.iter_parts()]


def test_multipart_has_a_part_for_each_value(host, up):
    data = bytes(range(256))
    value = {"note": "n\u00e9", "count": 7, "meta": {"a": [1]}, "list": ["x", "y"], "file": base64.b64encode(data).decode()}
    assert parts_of(received(host, up, "up/body_multipart", {"body": value})) == [
        ("note", None, "text/plain", "n\u00e9".encode()), ("count", None, "text/plain", b"7"),
        ("meta", None, "application/json", b'{"a":[1]}'), ("list", None, "text/plain", b"x"), ("list", None, "text/plain", b"y"),
        ("file", "file", "application/octet-stream", data)]
    value = {"image": "text", "files": ["1", "2"], "note": "*a*", "meta": {"b": 1}}
    assert [(name, kind, body) for name, _, kind, body in parts_of(received(host, up, "up/body_multipart_encoded", {"body": value}))] == [
        ("image", "image/png", b"text"), ("files", "application/octet-stream", b"1"), ("files", "application/octet-stream", b"2"),
        ("note", "text/markdown", b"*a*"), ("meta", "application/vnd.upstream+json", b'{"b":1}')]
    value = {"files": [base64.b64encode(b"\0\1").decode(), ""]}
    assert parts_of(received(host, up, "old/body_multipart", {"body": value})) == [
        ("files", "files", "application/octet-stream", b"\0\1"), ("files", "files", "application/octet-stream", b"")]


def test_a_body_of_bytes_is_given_as_base64(host, up):
    data = bytes(range(256)) * 4
    for operation, kind in [("up/body_binary", "application/octet-stream"), ("up/body_image", "image/png"), ("old/body_binary", "application/octet-stream")]:
        request = received(host, up, operation, {"body": base64.b64encode(data).decode()})
        assert (request.method, request.body, request.header("content-type")) == ("PUT", data, kind)
    status, error, _ = failure(host, "up/body_binary", {"body": "n\u00f6"})
    assert status == 422 and "base64" in json.dumps(error) and up.count() == 3


def test_text_is_sent_as_it_is(host, up):
    request = received(host, up, "up/body_text", {"body": "a\r\n\u00e9\u0000"})
    assert request.body == "a\r\n\u00e9\u0000".encode() and request.header("content-type") == "text/plain"


def test_a_body_that_may_be_absent_is_absent(host, up):
    for operation in ("body_form", "body_text", "body_multipart"):
        request = received(host, up, "up/" + operation, {})
        assert request.body == b"" and not request.all("content-type") and request.header("content-length") == "0"
    assert failure(host, "up/body_json", {})[0] == 422


# ---- schemas ----------------------------------------------------------------------------------------------------------

CAT, DOG = {"kind": "cat", "name": "Tom", "lives": 7}, {"kind": "dog", "name": None, "tricks": ["sit", None]}


@pytest.mark.parametrize("operation, good, bad", [
    ("up/schema_union", [CAT, DOG], [{**CAT, "lives": 0}, {**DOG, "tricks": ["fly"]}, {**CAT, "kind": "dog", "tricks": 1}, {"kind": "cow", "name": ""}]),
    ("up/schema_all", [{"name": "a", "password": "b", "mail": "c@d.e"}, {"name": "a", "password": "b", "phone": "1"}],
     [{"name": "a", "password": "b"}, {"name": "a", "mail": "c@d.e"}, {"name": "a", "password": "b", "phone": "x"}]),
    ("up/schema_tree", [{"value": 1, "children": [{"value": 2, "children": []}]}], [{"value": 1, "children": [{"children": []}]}]),
    ("up/schema_person", [{"name": "a", "house": {"persons": [{"name": "b"}]}}], [{"name": "a", "house": {"persons": [{"house": {}}]}}]),
    ("old/schema_union", [{"kind": "cat", "name": None}, {"kind": "dog", "color": None}], [{"kind": "cat", "color": "green"}]),
    ("old/schema_tree", [{"value": None, "parent": None}, {"value": 1, "parent": {"value": 2}}], [{"value": 1, "parent": {}}]),
])
def test_inputs_are_held_against_the_documents_schemas(host, up, operation, good, bad):
    for value in good:
        assert host.ask("POST", "/call", {"operation": operation, "input": {"body": value}}).output == value
    for value in bad:
        status, error, _ = failure(host, operation, {"body": value})
        assert (status, error["code"]) == (422, "INVALID_INPUT"), value
    assert up.count() == len(good)


def test_bounds_of_30_are_exclusive_where_it_says_so(host, up):
    assert received(host, up, "old/query_form_explode", {"v": None, "page": 10}).query == "page=10"
    assert failure(host, "old/query_form_explode", {"page": 0})[0] == 422


def test_a_document_is_described_with_what_it_says(host):
    listed = {entry["name"]: entry for entry in host.ask("GET", "/search?namespace=new&limit=100").output["operations"]}
    assert {name: entry["op_type"] for name, entry in listed.items()} == {
        "new/query_string": "query", "new/query_string_json": "query", "new/cookie_cookie": "query", "new/search": "mutation",
        "new/copy": "mutation", "new/events": "subscription"}
    assert not host.ask("GET", "/search?q=never_imported").output["operations"]
    errors = host.ask("GET", "/schema?name=up/errors").output["error_schemas"]
    assert {e["code"]: e.get("http_status") for e in errors} == {f"HTTP_{n}": n for n in (404, 409, 422, 429)}


# ---- security ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, sent", [
    ("bearer", {"authorization": ["Bearer " + BEARER]}),
    ("basic", {"authorization": ["Basic " + base64.b64encode(SECRETS["basic"].encode()).decode()]}),
    ("header", {"x-key": [KEY_IN_HEADER]}), ("cookie", {"cookie": ["sid=" + KEY_IN_COOKIE]}),
    ("oauth", {"authorization": ["Bearer " + BEARER]}), ("query", {}), ("both", {"x-key": [KEY_IN_HEADER]}),
    ("either", {"x-key": [KEY_IN_HEADER]}), ("optional", {"authorization": ["Bearer " + BEARER]})])
def test_a_credential_is_shown_as_its_scheme_says(host, up, name, sent):
    request = received(host, up, f"up/secure_{name}", {})
    assert {field: request.all(field) for field in ("authorization", "x-key", "cookie") if request.all(field)} == sent
    assert request.query == ("key=query%26secret%3D4" if name in ("query", "both") else None)


def test_what_stands_where_a_credential_does_is_not_the_callers(host, up):
    properties = host.ask("GET", "/schema?name=up/secure_overridden").output["input_schema"]["properties"]
    assert list(properties) == ["more"]
    request = received(host, up, "up/secure_overridden", {"more": {"key": "mine", "KEY": "mine", "k%65y": "mine", "other": "1"}})
    assert request.query.count("mine") == request.query.count("k%2565y=mine") and "other=1" in request.query
    assert request.query.endswith("key=query%26secret%3D4") and request.all("x-key") == [KEY_IN_HEADER]


def test_a_credential_is_for_those_operations_alone_that_want_it(host, up):
    shown = json.dumps([received(host, up, "up/query_form", {"v": 1}).headers, received(host, up, "old/path_simple", {"v": 1}).headers,
                        up.last.target])
    assert not any(secret in shown for secret in SECRETS.values()) and "authorization" not in shown.lower()
    assert received(host, up, "old/query_form_explode", {}).header("authorization") == "Bearer " + BEARER


@pytest.mark.parametrize("auth, secret, place, shown", [
    ({"type": "bearer"}, "token.of.ours", "authorization", "Bearer token.of.ours"), ({"type": "basic"}, "Aladdin:open sesame", "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ({"type": "api_key", "in": "header", "name": "X-Api"}, "key of ours", "x-api", "key of ours"),
    ({"type": "api_key", "in": "cookie", "name": "c"}, "key-of-ours", "cookie", "c=key-of-ours"),
    ({"type": "api_key", "in": "query", "name": "q q"}, "key&of=ours", "query", "q%20q=key%26of%3Dours"),
    (None, None, "authorization", None)])
def test_security_that_is_configured_takes_the_place_of_the_documents(tmp_path, up, auth, secret, place, shown):
    up.forget()
    with Host(tmp_path, {"document": up.document(), "auth": auth, "capabilities": {"up": secret} if secret else {}}) as host:
        request = received(host, up, "up/query_form", {})
        assert (request.query if place == "query" else request.header(place)) == shown
        if not secret:
            assert failure(host, "up/secure_bearer", {})[1]["code"] == "HTTP_401"


# ---- answers ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("operation, value", [
    ("answer_text", "Text: \u00e9\u20ac\n"), ("answer_latin1", "Text: \ufffd\n"), ("answer_nothing", None),
    ("answer_binary", {"content_type": "application/octet-stream", "base64": base64.b64encode(bytes(range(256))).decode()})])
def test_answers_that_are_no_json_are_values_all_the_same(host, operation, value):
    assert host.ask("POST", "/call", {"operation": "up/" + operation, "input": {}}).output == value


def test_any_2xx_is_a_success(host, up):
    for operation in ("created", "several", "range", "default", "gzip"):
        received(host, up, "up/answer_" + operation, {})
    assert host.ask("POST", "/call", {"operation": "up/answer_several", "input": {"status": 202}}).output == {"ticket": 7}


def test_numbers_come_with_their_digits(host):
    reply = host.ask("POST", "/call", {"operation": "up/answer_numbers", "input": {}})
    assert b'"output":' + NUMBERS.replace(" ", "").encode() in reply.body


@pytest.mark.parametrize("status, answered, details, message", [
    (404, 404, {"title": "It\0is 404.", "status": 404}, "It\0is 404."), (409, 409, {"title": "It\0is 409.", "status": 409}, "It\0is 409."),
    (422, 422, {"fields": ["a", "b"]}, "the service answered 422"), (400, 400, {"title": "It\0is 400.", "status": 400}, "It\0is 400."),
    (418, 502, {"title": "It\0is 418.", "status": 418}, "It\0is 418."), (500, 500, "broken", "the service answered 500"),
    (503, 503, "broken", "the service answered 503"), (304, 502, None, "the service answered 304")])
def test_errors_have_the_services_status_body_and_message(host, status, answered, details, message):
    got, error, _ = failure(host, "up/errors", {"status": status})
    assert got == answered and error["code"] == f"HTTP_{status}" and error["message"] == message
    assert error.get("details") == details and error["retryable"] == (status in (429, 502, 503, 504))


def test_a_pause_that_is_asked_for_is_told_and_kept(tmp_path, up):
    """On a host of its own, since the pause is the origin's."""
    up.forget()
    with Host(tmp_path, {"document": up.document()}) as host:
        status, error, after = failure(host, "up/errors", {"status": 429})
        assert (status, error["code"], after, error["retryable"]) == (429, "HTTP_429", "1", True)
        assert error["details"] == {"retry_after": 1, "title": "It\0is 429.", "status": 429}
        begun = time.monotonic()
        received(host, up, "up/query_form", {})
        assert time.monotonic() - begun > 0.5, "it was left alone for a while"
        status, error, after = failure(host, "up/bad_post", {"what": "busy", "n": 3600})
        assert (status, error["code"], after) == (503, "HTTP_503", None) and error["details"] == "busy"
        before = up.count()
        status, error, after = failure(host, "up/query_form", {})
        assert (status, error["code"], error["retryable"]) == (503, "BUSY", True) and 3500 < int(after) <= 3600 and up.count() == before


def test_what_may_be_repeated_is_and_nothing_else(host, up):
    assert host.ask("POST", "/call", {"operation": "up/bad", "input": {"what": "flaky"}}).output["method"] == "GET"
    assert up.count("/v1/bad/flaky") == 3
    up.forget()
    assert failure(host, "up/bad_post", {"what": "flaky"})[1]["code"] == "HTTP_503" and up.count("/v1/bad/flaky") == 1


# ---- streams ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("operation, values", [("up/events", [{"n": 0}, {"n": 1}, {"n": 2}]), ("old/events", [{"n": 0}, {"n": 1}, {"n": 2}]),
                                               ("new/events", [{"n": 0}, {"n": 1}, {"n": 2}]),
                                               ("up/events_mixed", ["plain text", "two\nlines", {"n": 1}, {"title": "an error"}, ""])])
def test_each_event_is_a_value(host, up, operation, values):
    with host.wire() as wire:
        assert wire.subscribe(operation, {}, headers=WITHIN).rest() == [("message", value) for value in values]
    assert up.last.header("accept").startswith("text/event-stream, ")


def test_an_empty_stream_and_a_long_one_are_whole(host):
    with host.wire() as wire:
        assert not wire.subscribe("up/events", {"count": 0}, headers=WITHIN).rest()
    with host.wire() as wire:
        assert [value["n"] for _, value in wire.subscribe("up/events", {"count": 3000}, headers=WITHIN).rest()] == list(range(3000))


def test_events_come_as_they_are_sent(host):
    with host.wire() as wire:
        stream = wire.subscribe("up/events", {"count": 3, "gap_ms": 1000}, headers=WITHIN)
        begun = time.monotonic()
        assert stream.event() == ("message", {"n": 0}) and time.monotonic() - begun < 1
        assert len(stream.rest()) == 2


def test_operations_are_called_over_websocket_too(host, up):
    with Socket(host.port, PLAIN) as session:
        assert session.call("up/query_form", {"v": [1, 2]})["target"] == "/v1/query/form?v=1,2"
        ident = session.request("up/events", {"count": 2})
        assert [session.output(ident) for _ in range(2)] == [{"n": 0}, {"n": 1}]
        assert session.next_of(ident)[0] == "call.completed"


@pytest.mark.parametrize("operation, what", [("up/bad_events", "stream-stops"), ("up/bad", "silent"), ("up/bad_text", "slow-body")])
def test_an_abort_closes_the_connection_to_the_service(host, up, operation, what):
    with host.wire() as wire:
        if operation == "up/bad_events":
            assert wire.subscribe(operation, {"what": what}, headers=WITHIN).event() == ("message", {"n": 0})
        else:
            wire.begin(b"POST /call HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
                wire.host.encode(), len(body := json.dumps({"operation": operation, "input": {"what": what}}).encode()), body))
        held = wait_for(lambda: up.open_peers())
    begun = time.monotonic()
    wait_for(lambda: not set(up.open_peers()) & set(held), every=0.005)
    assert time.monotonic() - begun < 8  # who has ended its side may wait for its answer: it is asked after 5 s


def test_a_deadline_ends_a_call(host, up):
    begun = time.monotonic()
    status, error, _ = failure(host, "up/bad", {"what": "silent"}, headers={"X-Timeout-Ms": "300"})
    assert (status, error["code"]) == (504, "TIMEOUT") and 0.25 < time.monotonic() - begun < 5
    wait_for(lambda: not up.open_peers())


def test_a_subscriber_that_does_not_read_holds_the_service_back(host, up):
    up.flooded = 0
    with host.wire(receive_buffer=4096) as wire, Neighbour(host):
        stream = wire.subscribe("up/bad_events", {"what": "stream-flood"}, headers=WITHIN)
        assert stream.event() == ("message", {"n": 0})
        before, memory = -1, host.memory()
        for _ in range(40):
            seen, before = before, up.flooded
            if seen == before:
                break
            time.sleep(0.3)
        assert seen == before < 1000000 and host.memory() < memory + 32 * MIB, "some megabytes are in buffers of the kernel's"
        wire.hurry()
        for n in range(1, 20000):
            assert stream.event() == ("message", {"n": n})
        wait_for(lambda: up.flooded > seen)
    wait_for(lambda: not up.open_peers())


def test_many_calls_share_connections(host, up):
    def one():
        with host.wire() as wire:
            for n in range(5):
                assert wire.call("up/query_form", {"v": n}).output["target"] == f"/v1/query/form?v={n}"

    together([one] * 32)
    assert up.count() == 160 and up.connections <= 17


def test_answers_stay_within_the_message_budget(tmp_path, up, released):
    """100 callers at a time want 10 MB each of a node that has 64 MiB for all of them."""
    budget, size, many = 64 * MIB, 10 * MIB, 100
    outcomes = []
    with Host(tmp_path, {"document": up.document(), "response_bytes": 12 * MIB}, limits={"message_budget": budget}) as host:
        def one(n):
            with host.wire(timeout=60, source=f"127.0.1.{n % 50 + 1}") as wire:
                reply = wire.call("up/bad_text", {"what": "large", "n": size})
                outcomes.append("ok" if reply.status == 200 else reply.error()["code"])
                assert reply.status != 200 or len(reply.output) == size

        together([lambda n=n: one(n) for n in range(many)])
        assert len(outcomes) == many and set(outcomes) <= {"ok", "BUSY"} and "BUSY" in outcomes
        assert host.memory("VmHWM") < budget + 64 * MIB
        assert len(host.ask("POST", "/call", {"operation": "up/bad_text", "input": {"what": "large", "n": MIB}}, token=PLAIN).output) == MIB
