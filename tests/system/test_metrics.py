"""What alknetd counts: each metric provoked, its two forms, who may read it, and the document that lists it."""
import contextlib
import http.client
import json
import os
import re
import resource
import subprocess
import time

import pytest

from conftest import ALKNETD, PATIENCE, ROOT, UnixConnection, key_for, wait_for
from rawhttp import IDENTITIES, PLAIN, UNKNOWN, Wire
from rawws import BINARY, ERROR, RESPONDED, Hub, Neighbour, ask_upgrade, frame, operation

MONITOR = "alk_mon7" + "6789abcdef012345" * 2
KEYS = [*IDENTITIES["keys"], key_for(MONITOR, "metrics:list")]
ANYWHERE = {"listen": {"port": 0}}


# ---- the text format, read strictly -----------------------------------------------------------------------------------

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(?:\{{((?:[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*")(?:,[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*")*)\}})? (\d+(?:\.\d+)?)')
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def number(text):
    return float(text) if "." in text else int(text)


class Scrape:
    """Families: name -> (type, help); values: (name of the sample, sorted labels) -> number. Names without alknet_.

    In OpenMetrics (open) a counter's family has its name without _total, and the text has an end. In both, no family has the
    name of another's sample there, which is how the newer form forbids a gauge a beside a counter a_total.
    """

    def __init__(self, text, open=False):  # pylint: disable=redefined-builtin
        self.families, self.values, self.open = {}, {}, open
        assert text.endswith("\n") and "\r" not in text and "\n\n" not in text
        lines = text.split("\n")[:-1]
        if open:
            assert lines.pop() == "# EOF"
        lines = iter(lines)
        name = None
        for line in lines:
            if line.startswith("#"):
                name = self.family(line, next(lines))
            else:
                self.sample(line, name)
        bases = [self.base(family) for family in self.families]
        assert len(set(bases)) == len(bases), "two families with one name in OpenMetrics"
        for family, (kind, _) in self.families.items():
            for suffix in SUFFIXES[kind]:
                assert any(name == self.base(family) + suffix for name, _ in self.values), f"{family} has no sample"
            if kind == "histogram":
                self.histogram(family)

    def base(self, family):
        """Its name as OpenMetrics has it."""
        kind = self.families[family][0]
        assert kind != "counter" or self.open != family.endswith("_total"), family
        assert kind == "counter" or not family.endswith(("_total", "_count", "_sum", "_bucket")), family
        return family.removesuffix("_total")

    def family(self, help_line, type_line):
        said = re.fullmatch(rf"# HELP (?:alknet_|(?=process_))({NAME}) (\S[^\\]*)", help_line)
        kind = re.fullmatch(rf"# TYPE (?:alknet_|(?=process_))({NAME}) (counter|gauge|histogram)", type_line)
        assert said and kind and said[1] == kind[1], (help_line, type_line)
        assert said[1] not in self.families, "a family in two places"
        self.families[said[1]] = (kind[2], said[2])
        return said[1]

    def sample(self, line, family):
        match = SAMPLE.fullmatch(line)
        assert match and family, line
        prefix = "" if family.startswith("process_") else "alknet_"
        kind = self.families[family][0]
        assert match[1] in [prefix + self.base(family) + suffix for suffix in SUFFIXES[kind]], line
        pairs = re.findall(r'(\w+)="([^"]*)"', match[2] or "")
        assert len(dict(pairs)) == len(pairs) and all(value for _, value in pairs), line
        assert ("le" in dict(pairs)) == match[1].endswith("_bucket"), line
        key = (match[1].removeprefix("alknet_"), tuple(sorted(pairs)))
        assert key not in self.values, f"twice: {line}"
        self.values[key] = number(match[3])

    def histogram(self, family):
        """The buckets of each series only grow, and the last has them all."""
        series = {}
        for (name, labels), value in self.values.items():
            if name == family + "_bucket":
                rest = tuple(pair for pair in labels if pair[0] != "le")
                series.setdefault(rest, []).append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
        for rest, buckets in series.items():
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), buckets
            assert buckets[-1] == (float("inf"), self.values[family + "_count", rest])
            assert (self.values[family + "_sum", rest] > 0) <= (buckets[-1][1] > 0)

    def __getitem__(self, series):
        """series: "name", or "name kind=incoming outcome=ok"."""
        name, *labels = series.split(" ")
        return self.values[name, tuple(sorted(tuple(label.split("=")) for label in labels))]


def test_the_parser_is_strict():
    good = "# HELP alknet_a b\n# TYPE alknet_a gauge\nalknet_a 1\n"
    assert Scrape(good)["a"] == 1
    for bad in (good[:-1], good.replace("a 1", "a  1"), good.replace("a 1", "a 1.5e"), good + "alknet_a 1\n", good.replace("gauge", "gouge"),
                good + "other 1\n", good.replace("alknet_a 1\n", ""), good + good, good.replace("a 1", 'a{x="1",x="2"} 1'),
                good.replace("a 1", 'a{x="1",} 1'), good.replace("a 1", "a{} 1"), good.replace("gauge", "counter")):
        with pytest.raises((AssertionError, StopIteration)):
            Scrape(bad)


# ---- alknetd ----------------------------------------------------------------------------------------------------------

class Measured(Hub):
    def __init__(self, folder, **config):
        super().__init__(folder, **{"keys": KEYS, "metrics": ANYWHERE, **config})
        self.tokens.append(MONITOR)
        self.metrics_port = self.wait_event("metrics.listening").get("port")

    def asked(self, method="GET", path="/metrics", headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def scrape(self):
        status, headers, text = self.asked()
        assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return Scrape(text)

    def scrape_open(self):
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        status, headers, text = self.asked(headers={"Accept": accept})
        assert status == 200 and headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return Scrape(text, open=True)

    def waits_for(self, series, value):
        """Until the series has that value, or a function of it says yes."""
        good = value if callable(value) else lambda now: now == value
        wait_for(lambda: good(self.scrape()[series]), every=0.05)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with Measured(tmp_path_factory.mktemp("metrics"), limits={"connection_calls": 4, "connections_per_address": 8}) as it:
        yield it


@contextlib.contextmanager
def grows(node, *series):
    """What happens inside makes each of them grow, if not at once."""
    before = node.scrape()
    yield before
    for name in series:
        node.waits_for(name, lambda now, least=before[name] + 1: now >= least)


def call_ended(kind, outcome, code=None):
    return f"calls_ended_total kind={kind} outcome={outcome}" + (f" code={code}" if code else "")


# ---- connections ------------------------------------------------------------------------------------------------------

def test_connections_and_websockets(hub):
    before = hub.scrape()
    with hub.socket() as socket:
        assert socket.call("demo/echo", 1) == 1
        now = hub.scrape()
        for series in ("connections_total", "connections_open", "ws_upgrades_total", "ws_sessions", "ws_messages_in_total",
                       "ws_messages_out_total", call_ended("incoming", "ok"), "calls_started_total kind=incoming"):
            assert now[series] == before[series] + 1, series
        assert now["calls_running kind=incoming"] == 0
        hub.waits_for("http_connections_open", 1)  # the one that asks: a WebSocket is none
        socket.bye()
    hub.waits_for("connections_open", before["connections_open"])
    hub.waits_for("ws_sessions", before["ws_sessions"])
    assert hub.scrape()["connections_total"] == before["connections_total"] + 1


def test_http_connections(hub):
    hub.waits_for("http_connections_open", 1)
    before = hub.scrape()
    with hub.wire() as one, hub.wire() as two:
        assert one.ask("GET", "/healthz").status == two.ask("GET", "/healthz").status == 200
        hub.waits_for("http_connections_open", 3)  # these two, and the one that asks
        assert hub.scrape()["http_connections_total"] >= before["http_connections_total"] + 3
    hub.waits_for("http_connections_open", 1)


def test_refused_connections(hub):
    wires = []
    with grows(hub, "http_connections_refused_total") as before:
        for _ in range(9):
            wires.append(Wire(hub.port, source="127.0.0.2"))
        assert wires[-1].ended()
    for wire in wires:
        wire.close()
    assert hub.scrape()["http_connections_refused_total"] == before["http_connections_refused_total"] + 1


def test_refused_upgrades(hub):
    with grows(hub, "ws_upgrades_refused_total") as before:
        for headers, token in (((), None), ({"Origin": "https://evil.example"}, PLAIN), ({"Sec-WebSocket-Version": "12"}, PLAIN)):
            with hub.wire() as wire:
                assert ask_upgrade(wire, headers, token).status in (401, 403, 426)
    now = hub.scrape()
    assert now["ws_upgrades_refused_total"] == before["ws_upgrades_refused_total"] + 3
    assert now["ws_upgrades_total"] == before["ws_upgrades_total"]


def test_evictions_and_queues(tmp_path):
    limits = {"queue_high": 65536, "queue_max": 131072, "evict_ms": 500}
    with Measured(tmp_path, limits=limits) as node:
        assert node.scrape()["queued_bytes"] == 0
        with node.socket(receive_buffer=4096, lively=False) as deaf:
            for n in range(8):
                deaf.send(frame(BINARY, json.dumps({"type": "call.requested", "id": str(n), "payload": {
                    "operationId": "demo/echo", "input": "x" * 1000000}}).encode()))
            node.waits_for("ws_evictions_total", 1)
            node.waits_for("slow_consumers_total", 1)
        node.waits_for("queued_bytes", 0)


def test_what_a_slow_reader_of_events_leaves_waiting(hub):
    with hub.wire(receive_buffer=4096) as wire:
        wire.subscribe("flood/values", [1000, 100000])
        hub.waits_for("queued_bytes", lambda now: now > 10000)
    hub.waits_for("queued_bytes", 0)


def test_what_a_slow_subscriber_leaves_waiting(hub):
    with hub.socket(receive_buffer=4096, lively=False) as socket:
        socket.request("flood/values", [1000, 100000])
        hub.waits_for("queued_bytes", lambda now: now > 10000)
    hub.waits_for("queued_bytes", 0)


def test_held_messages(hub):
    assert hub.scrape()["message_bytes"] == 0
    with hub.socket() as socket:
        socket.send(frame(BINARY, b"[" * 100000, announced=200000))
        hub.waits_for("message_bytes", lambda now: now >= 100000)
    hub.waits_for("message_bytes", 0)


# ---- calls ------------------------------------------------------------------------------------------------------------

def over_http(name, value=None, path="/call", **kwargs):
    def provoke(hub):
        assert hub.ask("POST", path, {"operation": name, "input": value}, **kwargs).status >= 400
    return provoke


def too_many(hub):
    with hub.socket() as socket:
        for _ in range(5):
            ident = socket.request("demo/sleep", {"ms": 60000})
        assert socket.next_of(ident)[1]["code"] == "BUSY"


def abort(hub):
    with hub.socket() as socket:
        socket.abort(socket.request("demo/sleep", {"ms": 60000}))
        socket.call("demo/echo", 1)


def leave(hub):
    with hub.socket() as socket:
        socket.request("demo/sleep", {"ms": 60000})
        socket.call("demo/echo", 1)


def time_out(hub):
    with hub.socket() as socket:
        assert socket.fault("demo/sleep", {"ms": 60000}, timeout_ms=1).code == "TIMEOUT"


@pytest.mark.parametrize("outcome,code,provoke", [
    ("fault", "NOT_FOUND", over_http("no/such")),
    ("fault", "FORBIDDEN", over_http("demo/secret")),
    ("fault", "INVALID_INPUT", over_http("demo/add", {"a": 1})),
    ("fault", "INVALID_OPERATION_TYPE", over_http("demo/clock")),
    ("fault", "INTERNAL", over_http("fail/negative")),
    ("fault", "BUSY", too_many),
    ("fault", "other", over_http("demo/fail")),
    ("aborted", None, abort),
    ("closed", None, leave),
    ("timeout", None, time_out),
], ids=str)
def test_outcomes_of_incoming_calls(hub, outcome, code, provoke):
    series = call_ended("incoming", outcome, code)
    with grows(hub, series, "calls_started_total kind=incoming"):
        provoke(hub)
    hub.waits_for("calls_running kind=incoming", 0)
    now = hub.scrape()
    assert now["calls_started_total kind=incoming"] == sum(
        value for (name, labels), value in now.values.items()
        if name == "calls_ended_total" and ("kind", "incoming") in labels)


def test_running_calls(hub):
    with hub.socket() as socket:
        for _ in range(3):
            socket.request("demo/sleep", {"ms": 60000})
        hub.waits_for("calls_running kind=incoming", 3)
    hub.waits_for("calls_running kind=incoming", 0)


def test_nested_and_outgoing_calls(hub):
    with hub.socket() as socket:
        with grows(hub, call_ended("nested", "ok"), call_ended("outgoing", "ok"), "calls_started_total kind=nested",
                   "calls_started_total kind=outgoing"):
            socket.announce(operation("ui/echo", lambda value: value))
            ident = socket.request("demo/callback", {"operation": "ui/echo", "input": 5})
            assert socket.serve(operation("ui/echo", lambda value: value), ident) == 5
        with grows(hub, call_ended("outgoing", "fault", "TIMEOUT"), call_ended("nested", "fault", "TIMEOUT")):
            ident = socket.request("demo/callback", {"operation": "ui/echo", "input": 5})
            theirs, _ = socket.requested("ui/echo")
            socket.put(ERROR, theirs, {"code": "TIMEOUT", "message": "too late", "retryable": True})
            assert socket.next_of(ident)[0] == ERROR


def test_refused_calls_and_failing_handlers(hub):
    with grows(hub, "calls_refused_total") as before:
        over_http("no/such")(hub)
    assert hub.scrape()["handler_errors_total"] == before["handler_errors_total"]
    with grows(hub, "handler_errors_total") as before:
        over_http("fail/negative")(hub)
    assert hub.scrape()["calls_refused_total"] == before["calls_refused_total"]


def test_failed_authentications(hub):
    with grows(hub, "auth_failures_total"):
        over_http("demo/echo", token=UNKNOWN)(hub)
    with grows(hub, "auth_failures_total"), hub.socket() as socket:
        assert socket.call("demo/echo", 1, auth_token=UNKNOWN) == 1


def test_discarded_envelopes(hub):
    with grows(hub, "envelopes_discarded_total"), hub.socket() as socket:
        socket.put(RESPONDED, "never-asked", {"output": 1})
        socket.call("demo/echo", 1)


# ---- all of it --------------------------------------------------------------------------------------------------------

def documented():
    """name -> (type, label names) of docs/metrics.md."""
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([\w, ]*?) ?\| \S.* \|$", (ROOT / "docs/metrics.md").read_text(), re.M)
    assert len({name for name, _, _ in rows}) == len(rows)
    return {name: (kind, tuple(labels.split(", ")) if labels else ()) for name, kind, labels in rows}


def of_family(name):
    return re.sub("(_bucket|_count|_sum)$", "", name)


def test_the_document_lists_what_is_served(hub):
    scrape = hub.scrape()
    served = {name: (kind, set()) for name, (kind, _) in scrape.families.items()}
    for name, labels in scrape.values:
        served[of_family(name)][1].update(label for label, _ in labels)
    assert {name: (kind, tuple(sorted(labels))) for name, (kind, labels) in served.items()} == {
        name: (kind, tuple(sorted(labels))) for name, (kind, labels) in documented().items()}


def test_metrics_list_says_the_same(hub):
    listed = hub.ask("POST", "/call", {"operation": "metrics/list", "input": {}}, token=MONITOR).output["metrics"]
    scrape = hub.scrape()
    assert {(m["name"], tuple(sorted(m.get("labels", {}).items()))) for m in listed} == set(scrape.values)
    for metric in listed:
        assert (metric["type"], metric["help"]) == scrape.families[of_family(metric["name"])]
        assert isinstance(metric["value"], (int, float)) and metric["value"] >= 0


def test_metrics_list_needs_its_scope(hub):
    asked = {"operation": "metrics/list", "input": {}}
    assert hub.ask("POST", "/call", asked).status == 401
    assert hub.ask("POST", "/call", asked, token=PLAIN).status == 403
    names = [o["name"] for o in hub.ask("GET", "/search?namespace=metrics", token=PLAIN).output["operations"]]
    assert names == []


def test_all_workers_are_counted(tmp_path):
    with Measured(tmp_path, workers=3, peers=[]) as node:
        for _ in range(60):
            assert node.ask("POST", "/call", {"operation": "demo/echo", "input": 1}).status == 200
        assert node.scrape()[call_ended("incoming", "ok")] == 60


# ---- the process, and how long calls take -----------------------------------------------------------------------------

def test_openmetrics_is_served_to_who_asks_for_it(hub):
    older, newer = hub.scrape(), hub.scrape_open()
    assert {name for name, _ in older.values} == {name for name, _ in newer.values}
    for text in ("text/plain", "*/*", "text/plain;version=0.0.4"):
        assert hub.asked(headers={"Accept": text})[1]["Content-Type"].startswith("text/plain; version=0.0.4")


def test_the_parser_of_openmetrics_is_strict():
    good = "# HELP alknet_a b\n# TYPE alknet_a counter\nalknet_a_total 1\n# EOF\n"
    assert Scrape(good, open=True)["a_total"] == 1
    for bad in (good.replace("# EOF\n", ""), good.replace("a_total 1", "a 1"), good.replace("TYPE alknet_a c", "TYPE alknet_a_total c"),
                good.replace("# EOF", "# HELP alknet_a_total b\n# TYPE alknet_a_total gauge\nalknet_a_total 2\n# EOF")):
        with pytest.raises((AssertionError, StopIteration)):
            Scrape(bad, open=True)


def test_the_process_is_told_of(hub):
    folder = f"/proc/{hub.proc.pid}"
    seen = hub.scrape()
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + \
        int(open(folder + "/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    assert abs(seen["process_start_time_seconds"] - began) < 1 and began < time.time()
    assert abs(seen["process_open_fds"] - len(os.listdir(folder + "/fd"))) <= 2
    assert seen["process_max_fds"] == resource.prlimit(hub.proc.pid, resource.RLIMIT_NOFILE)[0]
    assert seen["process_resident_memory_bytes"] > 1 << 20
    assert 0 < seen["process_cpu_seconds_total"] < 1000
    assert [key for key in seen.values if key[0] == "build_info"] == [("build_info", (("version", version()),))]


def version():
    return subprocess.run([ALKNETD, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


def took(seen, outcome, bound=None):
    return seen[f"call_duration_seconds_{f'bucket le={bound}' if bound else 'count'} kind=incoming outcome={outcome}"]


def test_how_long_calls_take_is_told_by_their_outcome(hub):
    before = hub.scrape()
    call = {"operation": "demo/sleep", "input": {"ms": 60}}
    assert hub.ask("POST", "/call", call).status == 200
    assert hub.ask("POST", "/call", call, headers={"X-Timeout-Ms": "20"}).status == 504
    assert hub.ask("POST", "/call", {"operation": "demo/fail", "input": {}}).status >= 400
    assert hub.ask("POST", "/subscribe", {"operation": "demo/clock", "input": {"interval_ms": 10, "count": 3}}).status == 200
    after = hub.scrape()

    def more(*args):
        return took(after, *args) - took(before, *args)
    assert (more("ok"), more("ok", "0.025"), more("ok", "30.0")) == (1, 0, 1), "a subscription is none of them"
    assert (more("timeout"), more("timeout", "0.001"), more("fault")) == (1, 0, 1)
    sums = [s["call_duration_seconds_sum kind=incoming outcome=ok"] for s in (before, after)]
    assert 0.05 < sums[1] - sums[0] < 20


# ---- the listener -----------------------------------------------------------------------------------------------------

def test_it_is_off_by_default_and_nowhere_else(make_daemon, hub):
    daemon = make_daemon().start()
    assert daemon.get("/metrics").status == 404
    assert not daemon.events("metrics.listening")
    assert hub.ask("GET", "/metrics", token=MONITOR).status == 404


@pytest.mark.parametrize("method,path", [
    ("POST", "/call"), ("GET", "/search"), ("GET", "/schema?name=demo/echo"), ("GET", "/openapi.json"), ("POST", "/batch"), ("POST", "/subscribe"), ("GET", "/readyz"),
    ("GET", "/alknet/call"), ("GET", "/"), ("POST", "/metrics"), ("GET", "/metrics/"), ("GET", "/Metrics"), ("OPTIONS", "/call"),
    ("GET", "/subscribe?operation=demo/clock"), ("POST", "/mcp")])
def test_it_serves_nothing_else(hub, method, path):
    assert hub.asked(method, path, {"Authorization": f"Bearer {MONITOR}"})[0] == 404


def test_it_asks_for_no_token_and_minds_none(hub):
    assert hub.asked()[0] == 200
    assert hub.asked(headers={"Authorization": f"Bearer {UNKNOWN}"})[0] == 200
    assert hub.asked(path="/healthz")[0] == 200
    status, headers, text = hub.asked("HEAD")
    assert status == 200 and int(headers["Content-Length"]) > 0 and text == ""


def test_it_is_not_for_pages_of_others(hub):
    assert hub.asked(headers={"Origin": "https://evil.example"})[0] == 403
    for host in ("evil.example", "evil.example:9", "127.0.0.1.evil.example"):
        status, _, text = hub.asked(headers={"Host": host})
        assert status == 421 and "gateway.hosts" in text


def test_it_is_called_as_its_network_calls_it(hub):
    """By any address, and by a name without a dot, which no stranger's page can have."""
    for host in ("192.0.2.1:9464", "[2001:db8::1]:9464", "alknetd:9464", "Prod-1"):
        assert hub.asked(headers={"Host": host})[0] == 200, host


def test_the_gateways_names_are_those_of_the_metrics_too(tmp_path):
    with Measured(tmp_path, gateway={"hosts": ["hub.example"]}) as node:
        assert node.asked(headers={"Host": "hub.example:9464"})[0] == 200
        assert node.asked(headers={"Host": "other.example"})[0] == 421


def test_it_can_be_a_unix_domain_socket(tmp_path):
    with Measured(tmp_path, metrics={"listen": {"unix": "m.sock", "mode": "0660"}}) as node:
        path = node.folder / "m.sock"
        assert path.stat().st_mode & 0o777 == 0o660
        connection = UnixConnection(str(path), PATIENCE)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200 and Scrape(answer.read().decode())["connections_open"] == 0
        connection.close()


def test_scraping_holds_nothing_up(hub):
    """Again and again, each whole, while others call."""
    with Neighbour(hub):
        hub.waits_for("calls_running kind=incoming", lambda now: now >= 1)  # its subscription
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert hub.scrape()["calls_running kind=incoming"] >= 1
