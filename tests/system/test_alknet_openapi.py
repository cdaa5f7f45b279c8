"""alknet openapi FILE: what would be imported of a document, and what would not."""
import json
import re

import pytest

from certificates import Authority
from import_upstream import Upstream, document
from test_alknet_cli import CONNECTION, OK, REMOTE, USAGE, complete, refused_port
from test_alknet_cli import alone, home  # pylint: disable=unused-import

BAD = {"/bad": {"get": {"operationId": "bad", "parameters": [{"name": "x"}], "responses": {}}}}
NAMES = ["/api/say", "/api/slow", "/api/events", "/api/item"]


def put(folder, what, name="d.json"):
    path = folder / name
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return str(path)


@pytest.fixture
def doc(tmp_path):
    """A document with something that is left out."""
    return put(tmp_path, document("https://a.example/v1", extra=BAD))


def test_a_table_says_what_would_be_imported_and_what_is_left_out(alone, doc):
    assert alone.output("openapi", doc).splitlines() == [
        "/api/say     query         GET /say", "/api/slow    query         GET /slow", "/api/events  subscription  GET /events",
        "/api/item    mutation      PUT /items/{id}",
        "warning: /paths/~1bad/get/parameters/0: a parameter needs a name and one of the known places (in)",
        "4 operations at https://a.example/v1, 1 warning"]


def test_the_same_as_json_and_as_names(alone, doc):
    said = json.loads(alone.output("openapi", doc, "-o", "json"))
    assert [o["name"] for o in said["operations"]] == [n[1:] for n in NAMES]
    assert said["operations"][3] == {"name": "api/item", "op_type": "mutation", "method": "PUT", "base_url": "https://a.example/v1",
                                     "path": "/items/{id}"}
    assert [w["pointer"] for w in said["warnings"]] == ["/paths/~1bad/get/parameters/0"] and set(said["warnings"][0]) == {"pointer", "text"}
    raw = alone("openapi", doc, "-o", "raw")
    assert raw.out.splitlines() == NAMES and raw.err.startswith("warning: /paths/~1bad/get/parameters/0: ")


def test_options_are_those_of_an_entry_of_imports(alone, tmp_path):
    changed = document("https://{region}.example/{v}")
    changed["servers"][0]["variables"] = {"region": {"default": "us"}, "v": {"default": "1"}}
    path = put(tmp_path, changed)

    def names(*args):
        return alone.output("openapi", path, "-o", "raw", *args).split()
    assert names("--prefix", "a/b") == [n.replace("/api", "/a/b") for n in NAMES]
    assert names("--include", "s*") == NAMES[:2]
    assert names("--include", "say", "--include", "PUT /items/*") == [NAMES[0], NAMES[3]]
    assert names("--exclude", "s*", "--exclude", "item") == [NAMES[2]]
    assert names("--methods", "PUT") == [NAMES[3]] and names("--methods", "GET,PUT") == NAMES
    assert names("--tags", "say,item") == names("--tags", "say", "--tags", "item") == [NAMES[0], NAMES[3]]
    assert alone.output("openapi", path).splitlines()[-1] == "4 operations at https://us.example/1"
    assert alone.output("openapi", path, "--variable", "region=eu", "--variable", "v=2=3").splitlines()[-1].endswith(" at https://eu.example/2=3")
    assert alone.output("openapi", path, "--base-url", "http://b.example/x/").splitlines()[-1] == "4 operations at http://b.example/x"


def test_operations_of_another_base_have_it_in_their_line(alone, tmp_path):
    two = document("https://a.example/v1")
    two["paths"]["/slow"]["servers"] = [{"url": "https://a.example/v2"}]
    assert "GET https://a.example/v2/slow" in alone.output("openapi", put(tmp_path, two))


def test_standard_input_is_a_document_too(alone):
    said = alone("openapi", "-", "-o", "raw", stdin=json.dumps(document("https://a.example")).encode())
    assert (said.status, said.out.split()) == (OK, NAMES)


def test_a_url_is_fetched(alone, tmp_path):
    authority = Authority(tmp_path)
    with Upstream() as up, Upstream(tls=authority.sign("server")) as safe:
        url = up.page("/v/doc.json", document())
        assert alone.output("openapi", url).splitlines()[-1] == f"4 operations at {up.url}", "relative to the document"
        assert alone("openapi", up.url + "/none").status == USAGE, "what came is no document"
        up.page("/gone", {}, 404)
        gone = alone("openapi", up.url + "/gone")
        assert (gone.status, gone.err) == (CONNECTION, f"alknet: {up.url}/gone: the answer is 404\n")
        url = safe.page("/doc.json", document())
        assert alone("openapi", url).status == CONNECTION
        assert alone.output("openapi", url, "--cacert", authority.file).splitlines()[-1] == f"4 operations at {safe.url}"
    assert alone("openapi", f"http://127.0.0.1:{refused_port()}/").status == CONNECTION
    assert alone("openapi", "http://").status == USAGE


@pytest.mark.parametrize("text,why", [
    ("{", "d.json: "), ('{"swagger":"2.0"}', "is of Swagger 2.0"), (json.dumps(document()), "base_url: is needed"), (None, "d.json: ")])
def test_what_cannot_be_imported_is_a_wrong_file(alone, tmp_path, text, why):
    path = put(tmp_path, text) if text else str(tmp_path / "d.json")
    done = alone("openapi", path)
    assert done.status == USAGE and done.err.startswith(f"alknet: {path}: ") and why in done.err and not done.out
    assert done.err.count(path) == 1


def test_nothing_to_import_is_status_1(alone, tmp_path):
    done = alone("openapi", put(tmp_path, {**document("https://a.example"), "paths": BAD}))
    assert (done.status, done.out.splitlines()[-1]) == (REMOTE, "0 operations, 1 warning")
    assert alone("openapi", put(tmp_path, document("https://a.example")), "--include", "none").status == REMOTE


@pytest.mark.parametrize("args,why", [
    (["--prefix", "a b"], "namespace_prefix: must be the beginning of a name"), (["--prefix", "services"], "and not services or peers"),
    (["--base-url", "ftp://x"], "base_url: "), (["--variable", "x"], "a variable of a server is NAME=VALUE, not 'x'"),
    (["--variable", "=x"], "a variable of a server is NAME=VALUE"), (["--export"], "with a document this command does not take the option 'export'"),
    (["--url", "http://x"], "does not take the option 'url'"), (["--token-file", "x"], "does not take the option 'token-file'"),
    (["second.json"], "one operand too many")])
def test_wrong_options_are_status_2(alone, doc, args, why):
    done = alone("openapi", doc, *args)
    assert done.status == USAGE and why in done.err and not done.out


def test_options_of_documents_need_one(alone):
    done = alone("openapi", "--export", "--prefix", "x")
    assert done.status == USAGE and "without a document this command does not take the option 'prefix'" in done.err
    assert alone("ls", "--prefix", "x").status == USAGE
    assert "or --export for that of the node" in alone("openapi").err


def test_settings_and_tokens_are_not_looked_at(alone, home, doc):
    folder = home / ".config/alknet"
    folder.mkdir(parents=True)
    (folder / "config").write_text("nonsense\n")
    (folder / "config").chmod(0o666)
    alone.env["ALKNET_URL"] = "nonsense:"
    assert alone("openapi", doc).status == OK


def test_what_a_document_says_cannot_control_a_terminal(alone, tmp_path):
    changed = document("https://a.example")
    changed["paths"]["/\x1b[31m\u202e"] = {"get": {"operationId": "x", "responses": {}}, "post": 5}
    path = put(tmp_path, changed)
    for form in ("pretty", "json", "raw"):
        done = alone("openapi", path, "-o", form)
        assert done.status == OK and not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", done.out + done.err)


def test_files_and_options_are_completed(alone, tmp_path):
    (tmp_path / "one.yaml").touch()
    assert complete(alone, f"alknet openapi {tmp_path}/o") == [f"{tmp_path}/one.yaml"]
    assert "--url" not in complete(alone, f"alknet openapi {tmp_path}/one.yaml --")
    assert "--prefix" in complete(alone, f"alknet openapi {tmp_path}/one.yaml --")
    assert complete(alone, f"alknet openapi --prefix x {tmp_path}/o") == [f"{tmp_path}/one.yaml"]
