"""The document in Swagger UI and Redoc, as they come from npm: on a page of the daemon's static site, in a real browser."""
import json
import shutil

import pytest

from conftest import ROOT

pytest_plugins = "browser"

PACKAGES = ROOT / "build/deps/node/node_modules"
FILES = ["swagger-ui-dist/swagger-ui-bundle.js", "swagger-ui-dist/swagger-ui.css", "redoc/bundles/redoc.standalone.js"]
OPERATIONS = {"search": "discovery", "schema": "discovery", "call": "calls", "batch": "calls", "subscribe": "subscriptions",
              "subscribeByGet": "subscriptions"}
SUMMARIES = ["The operations that the caller may call", "The whole specification of one operation", "Calls a query or a mutation",
             "Runs several calls side by side", "Follows a subscription", "Follows a subscription, for EventSource"]


@pytest.fixture
def daemon(make_daemon, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    for file in [*(ROOT / "tests/openapi/pages").iterdir(), *(PACKAGES / name for name in FILES)]:
        shutil.copy(file, site)
    return make_daemon({"gateway": {"decoy": {"kind": "static_site", "target": str(site)}}}).start()


@pytest.fixture
def complaints(daemon, page):
    """What the page has said on its console that is no mere remark. Redoc wants a picture of its maker's: nothing is fetched
    from elsewhere here."""
    said = []
    page.route(lambda url: not url.startswith(daemon.url) and url.startswith("http"),
               lambda route: route.fulfill(content_type="image/svg+xml", body='<svg xmlns="http://www.w3.org/2000/svg"/>'))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    return said


def visit(page, daemon, name, query=""):
    page.goto(f"{daemon.url}/{name}.html{query}#{daemon.token}")
    page.wait_for_function("document.title === 'ready' || document.title.startsWith('failed')")
    assert page.title() == "ready"


def execute(page, operation, fill):
    """Opens an operation, lets fill() put in what is asked for, and sends it: (status, body) as they are shown."""
    block = page.locator(f"#operations-{OPERATIONS[operation]}-{operation}")
    block.locator(".opblock-summary-control").click()
    block.locator(".try-out__btn").click()
    fill(block)
    block.locator(".execute").click()
    answer = block.locator(".live-responses-table tbody .response").first
    answer.wait_for()
    return answer.locator(".response-col_status").inner_text().split()[0], answer.locator(".response-col_description pre").first.inner_text()


@pytest.mark.parametrize("query", ["", "?version=3.2"])
def test_swagger_ui_shows_all_operations(daemon, page, complaints, query):
    visit(page, daemon, "swagger", query)
    for operation, tag in OPERATIONS.items():
        block = page.locator(f"#operations-{tag}-{operation}")
        block.locator(".opblock-summary-control").click()
        block.locator(".responses-table").wait_for()
    assert page.locator(".opblock").count() == len(OPERATIONS)
    assert page.locator(".errors-wrapper").count() == 0
    assert complaints == []


def test_a_call_is_filled_in_and_sent_with_swagger_ui(daemon, page, complaints):
    visit(page, daemon, "swagger")
    status, body = execute(page, "call", lambda block: block.locator("textarea.body-param__text").fill(
        json.dumps({"operation": "demo/whoami"})))
    assert status == "200" and json.loads(body)["output"]["id"] == daemon.token[:8]
    assert complaints == []


def test_the_examples_are_what_swagger_ui_sends_at_once(daemon, page):
    visit(page, daemon, "swagger")
    status, body = execute(page, "call", lambda block: None)
    assert status == "200" and "demo/secret" in {op["name"] for op in json.loads(body)["output"]["operations"]}
    status, body = execute(page, "batch", lambda block: None)
    assert status == "200" and [each["result"] for each in json.loads(body)["results"]] == ["ok", "ok"]
    status, body = execute(page, "schema", lambda block: None)
    assert status == "200" and json.loads(body)["output"]["name"] == "services/list"


@pytest.mark.parametrize("query", ["", "?version=3.2"])
def test_redoc_shows_all_operations(daemon, page, complaints, query):
    visit(page, daemon, "redoc", query)
    shown = page.locator("#ui").inner_text()
    for summary in SUMMARIES:
        assert summary in shown
    assert complaints == []
