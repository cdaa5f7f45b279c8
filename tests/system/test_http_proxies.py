"""Who the client is when a proxy stands before the daemon: Forwarded counts from trusted proxies, and from nobody else."""
import socket

import pytest

BAD = "alk_" + "x" * 40


def wrong(daemon, forwarded=None):
    """The status of a request with a token that does not resolve."""
    headers = {"Authorization": "Bearer " + BAD}
    if forwarded is not None:
        headers["Forwarded"] = forwarded
    return daemon.get("/search", token=None, headers=headers).status


@pytest.fixture
def behind(make_daemon):
    return make_daemon({"gateway": {"trusted_proxies": ["127.0.0.1", "10.0.0.9"]},
                        "limits": {"auth_failures_per_minute": 2}, "log": {"format": "json", "level": "info"}}).start()


@pytest.mark.parametrize("mine", ["for=192.0.2.1", 'For="192.0.2.1:4711"', 'proto=https; for="[2001:db8::1]:80";by=x', "for=198.51.100.7, for=192.0.2.1",
                                  "for=192.0.2.1, for=10.0.0.9"])
def test_failures_are_counted_for_the_client_that_the_proxy_names(behind, mine):
    assert [wrong(behind, mine) for _ in range(3)] == [401, 401, 429]
    assert wrong(behind, "for=203.0.113.5") == 401, "another client is not concerned"
    assert wrong(behind) == 401, "nor is the proxy"


def test_ipv6_clients_are_counted_by_their_64(behind):
    assert [wrong(behind, f'for="[2001:db8:1:2::{n}]"') for n in (1, 2, 3)] == [401, 401, 429]
    assert wrong(behind, 'for="[2001:db8:1:3::1]"') == 401


@pytest.mark.parametrize("odd", ["", "for=", "for=unknown", "for=_hidden", "for=<script>", "for=" + "1" * 200, "nonsense", ",,,", "for=1.2.3.4;" * 50])
def test_what_is_no_address_leaves_the_proxy_as_the_client(behind, odd):
    assert wrong(behind, odd) == 401
    assert {e["remote"] for e in behind.events("auth.failed")} <= {"127.0.0.1", "1.2.3.4"}


def test_the_log_names_the_client(behind):
    assert behind.get("/search", token=None, headers={"Forwarded": "for=192.0.2.77"}).status == 200
    assert [e["remote"] for e in behind.events("call")] == ["192.0.2.77"]


def test_a_client_is_one_however_its_address_is_written(behind):
    assert [wrong(behind, f'for="[{a}]"') for a in ("2001:db8::7", "2001:DB8:0::7", "2001:db8:0:0:0:0:0:7")] == [401, 401, 429]
    assert [wrong(behind, f"for={a}") for a in ("192.0.2.7", '"[::ffff:192.0.2.7]"', '"192.0.2.7:80"')] == [401, 401, 429]


def test_a_network_of_proxies_is_trusted(make_daemon):
    daemon = make_daemon({"gateway": {"trusted_proxies": ["127.0.0.0/8", "2001:db8::/32"]}, "limits": {"auth_failures_per_minute": 2}}).start()
    assert [wrong(daemon, 'for=192.0.2.1, for="[2001:db8:9::1]"') for _ in range(3)] == [401, 401, 429]
    assert wrong(daemon, 'for=192.0.2.2, for="[2001:db9::1]"') == 401


def test_https_in_clear_is_served_to_trusted_proxies_only(make_daemon, behind):
    for daemon, status in ((behind, 200), (make_daemon({}).start(), 421)):
        with socket.create_connection(("127.0.0.1", daemon.port), 10) as s:
            s.sendall(b"GET https://127.0.0.1/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert s.makefile("rb").readline().split()[1] == str(status).encode()


def test_forwarded_of_others_is_ignored(make_daemon):
    daemon = make_daemon({"limits": {"auth_failures_per_minute": 2}, "log": {"format": "json", "level": "info"}}).start()
    assert [wrong(daemon, f"for=192.0.2.{n}") for n in range(3)] == [401, 401, 429]
    assert {e["remote"] for e in daemon.events("auth.failed")} == {"127.0.0.1"}
