"""The upgrade at /alknet/call: who gets a session, who gets which refusal in which order, and what strangers see."""
import itertools
import re
import signal
import socket
import time

import pytest

from conftest import wait_for
from rawhttp import ADMIN, DISABLED, EXPIRED, PEER, PLAIN, TRACE, UNKNOWN, Closed, Node, descriptors_wanted, message
from rawws import KEY, PATH, PROTOCOL, Hub, Socket, ask_upgrade, bearer, binary, close_frame, upgrade

FRIEND = "https://app.example"
HOST = ("Host", "127.0.0.1")


def offer(*protocols):
    return ("Sec-WebSocket-Protocol", ", ".join(protocols))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with Hub(tmp_path_factory.mktemp("upgrade"), gateway={"origins": [FRIEND]}) as it:
        yield it


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """One session is all it takes, and it is taken."""
    with Hub(tmp_path_factory.mktemp("full"), limits={"websocket_sessions": 1}) as it, it.socket() as socket:
        assert socket.call("demo/echo", 1) == 1
        yield it


def try_upgrade(hub, headers=(), token=PLAIN, **kwargs):
    with hub.wire() as wire:
        return ask_upgrade(wire, headers, token, **kwargs)


def refused(reply, status):
    assert reply.status == status, reply
    said = reply.error()
    assert said["code"] == {400: "INVALID_INPUT", 426: "INVALID_INPUT", 403: "FORBIDDEN", 401: "FORBIDDEN", 429: "BUSY",
                            503: "BUSY"}[status]
    assert said["retryable"] is (status in (429, 503)) and len(said["message"]) > 5
    return said["message"]


# ---- what is granted --------------------------------------------------------------------------------------------------

def test_a_token_in_the_header_gets_a_session(hub):
    with hub.socket(PLAIN) as socket:
        assert socket.reply.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "RFC 6455, 1.3"
        assert socket.call("demo/whoami")["id"] == PLAIN[:8]
        socket.bye()


def test_a_token_in_a_subprotocol_gets_a_session(hub):
    with hub.socket(None, [offer(PROTOCOL, bearer(PLAIN))]) as socket:
        assert socket.reply.header("sec-websocket-protocol") == PROTOCOL
        assert socket.call("demo/whoami")["id"] == PLAIN[:8]


@pytest.mark.parametrize("token,name", [(ADMIN, ADMIN[:8]), (PEER, "peer-a")])
def test_a_session_has_the_identity_of_its_token(hub, token, name):
    with hub.socket(token) as by_header, hub.socket(None, [offer(PROTOCOL, bearer(token))]) as by_protocol:
        assert by_header.call("demo/whoami") == by_protocol.call("demo/whoami")
        assert by_header.call("demo/whoami")["id"] == name


GRANTED = {
    "both tokens equal": ([offer(PROTOCOL, bearer(PLAIN))], PLAIN),
    "the token before the protocol": ([offer(bearer(PLAIN), PROTOCOL)], None),
    "the subprotocols in two fields": ([offer(bearer(PLAIN)), offer(PROTOCOL)], None),
    "the same token twice": ([offer(PROTOCOL, bearer(PLAIN), bearer(PLAIN))], None),
    "other subprotocols beside": ([offer("soap", PROTOCOL, "mqtt", bearer(PLAIN))], None),
    "no space in the list": ([("Sec-WebSocket-Protocol", PROTOCOL + "," + bearer(PLAIN))], None),
    "empty elements in the list": ([("Sec-WebSocket-Protocol", f",{PROTOCOL} ,\t, {bearer(PLAIN)},")], None),
    "Connection as Firefox has it": ([("Connection", "keep-alive, Upgrade")], PLAIN),
    "Connection in two fields": ([("Connection", "keep-alive"), ("Connection", "upgrade")], PLAIN),
    "Upgrade in capitals": ([("Upgrade", "WebSocket"), ("Connection", "UPGRADE")], PLAIN),
    "Upgrade among others": ([("Upgrade", "h2c, websocket")], PLAIN),
    "another key": ([("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")], PLAIN),
    "a key of all bits": ([("Sec-WebSocket-Key", "/////////////////////w==")], PLAIN),
    "extensions that are not taken": ([("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")], PLAIN),
    "no Origin": ([("Origin", None)], PLAIN),
    "the allow-listed Origin": ([("Origin", FRIEND)], PLAIN),
    "the scheme in lower case": ([("authorization", "bearer " + PLAIN)], None),
    "an empty body": ([("Content-Length", "0")], PLAIN),
}


@pytest.mark.parametrize("name", GRANTED)
def test_this_is_granted(hub, name):
    headers, token = GRANTED[name]
    with hub.socket(token, headers) as socket:
        assert socket.call("demo/echo", name) == name
        socket.bye()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_the_origin_of_the_same_host_is_granted(hub, host):
    host = f"{host}:{hub.port}"
    with hub.wire() as wire:
        assert ask_upgrade(wire, {"Origin": "http://" + host}, PLAIN, host=host).status == 101


def test_the_absolute_form_of_the_target_is_granted(hub):
    assert try_upgrade(hub, target=f"http://127.0.0.1:{hub.port}{PATH}").status == 101


def test_none_offered_none_answered(hub):
    for headers in ((), [offer("soap")], [offer("alknet.call.v2", "ALKNET.CALL.V1")]):
        reply = try_upgrade(hub, headers)
        assert reply.status == 101 and not reply.all("sec-websocket-protocol")


def test_the_granting_answer_says_no_more_than_it_must(hub):
    reply = try_upgrade(hub, [offer(PROTOCOL, bearer(PLAIN)), ("traceparent", TRACE)], PLAIN)
    assert {name for name, _ in reply.headers} == {"upgrade", "connection", "sec-websocket-accept", "traceparent",
                                                   "sec-websocket-protocol", "x-request-id", "vary"}
    assert reply.header("traceparent") == TRACE and reply.head.startswith(b"HTTP/1.1 101 ")


def test_the_token_is_never_echoed(hub):
    for headers in ([offer(PROTOCOL, bearer(PLAIN))], [offer(bearer(PLAIN))], [offer(PROTOCOL, bearer(UNKNOWN))],
                    [offer(PROTOCOL, bearer(PLAIN)), ("Origin", "https://evil.example")],
                    [offer(PROTOCOL, bearer(PLAIN)), ("Sec-WebSocket-Version", "12")]):
        reply = try_upgrade(hub, headers, None)
        text = reply.head + reply.body
        for token in (PLAIN, UNKNOWN):
            assert token.encode() not in text and bearer(token).encode() not in text and b"bearer." not in text


def test_a_connection_that_has_made_calls_may_be_upgraded(hub):
    with hub.wire() as wire:
        assert wire.call("demo/echo", 1).output == 1
        assert ask_upgrade(wire, token=PLAIN).status == 101


def test_an_upgrade_waits_for_the_answers_before_it(hub):
    """Pipelined: the call sleeps, and the upgrade comes at once behind it."""
    with hub.wire() as wire:
        call = message("POST", "/call", {"operation": "demo/sleep", "input": {"ms": 150}}, host=wire.host)
        wire.send(call + upgrade(wire.host, token=PLAIN))
        assert wire.reply().output["slept_ms"] == 150
        assert wire.reply().status == 101


@pytest.mark.parametrize("cut", [1, 20, 60, 150, -3, -1])
def test_how_an_upgrade_is_cut_changes_nothing(hub, cut):
    with hub.wire() as wire:
        data = upgrade(wire.host, [offer(PROTOCOL, bearer(PLAIN))])
        wire.send(data[:cut])
        time.sleep(0.02)
        wire.send(data[cut:])
        assert wire.reply().status == 101


def test_every_answer_has_an_id_of_its_own(hub):
    seen = {try_upgrade(hub, headers).header("x-request-id")
            for headers in ((), [("Origin", "https://evil.example")], [("Sec-WebSocket-Key", None)], ())}
    assert len(seen) == 4 and None not in seen


# ---- what is refused --------------------------------------------------------------------------------------------------

BAD_KEYS = {"absent": None, "empty": "", "words": "hello", "15 bytes": "AAAAAAAAAAAAAAAAAAAA", "17 bytes":
            "AAAAAAAAAAAAAAAAAAAAAAA=", "18 bytes": "A" * 24, "no padding": KEY[:-2], "not base64": "dGhlIHNhbXBsZSBub25j*Q==",
            "url alphabet": "__________________8A_A==", "padding within": "dGhlIHNhbXBs==SBub25jZQ", "long": KEY * 100}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_is_none_is_400(hub, name):
    assert "key" in refused(try_upgrade(hub, [("Sec-WebSocket-Key", BAD_KEYS[name])]), 400)


def test_two_keys_are_400(hub):
    refused(try_upgrade(hub, [("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Key", KEY)]), 400)


@pytest.mark.parametrize("version", ["12", "14", "8", "0", "013", "13.0", "+13", "13, 8", "x", "", "131"])
def test_another_version_is_426_and_says_which(hub, version):
    reply = try_upgrade(hub, [("Sec-WebSocket-Version", version)])
    refused(reply, 426)
    assert reply.header("sec-websocket-version") == "13"


def test_no_version_is_refused(hub):
    reply = try_upgrade(hub, [("Sec-WebSocket-Version", None)])
    refused(reply, reply.status if reply.status in (400, 426) else 400)


@pytest.mark.parametrize("connection", [None, "keep-alive", "close", "upgraded", "up, grade", "Upgrade2"])
def test_without_connection_upgrade_it_is_400(hub, connection):
    assert "connection" in refused(try_upgrade(hub, [("Connection", connection)]), 400)


@pytest.mark.parametrize("headers", [[("Upgrade", None)], [("Upgrade", None), ("Connection", None)], [("Upgrade", "h2c")],
                                     [("Upgrade", "websocket2")], [("Upgrade", "web, socket")]], ids=str)
def test_without_upgrade_it_is_426_and_says_to_what(hub, headers):
    reply = try_upgrade(hub, headers)
    refused(reply, 426)
    assert reply.header("upgrade").lower() == "websocket" and reply.header("sec-websocket-version") == "13"
    assert "upgrade" in reply.header("connection").lower()


def test_a_plain_get_with_a_good_token_is_426(hub):
    refused(hub.ask("GET", PATH, token=PLAIN), 426)


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_gets_the_decoy(hub, method):
    with hub.wire() as wire, hub.wire() as other:
        wire.send(upgrade(wire.host, token=PLAIN, method=method))
        other.send(upgrade(other.host, token=PLAIN, method=method, target="/no-such-page"))
        got, decoy = wire.reply(method), other.reply(method)
        assert got.status == decoy.status == 404 and got.body == decoy.body
        assert not got.all("x-request-id") and not got.all("upgrade")


@pytest.mark.parametrize("target", [PATH + "/", PATH + "//", "/alknet", "/alknet/call2", "/Alknet/call", "/alknet%2fcall",
                                    "/x/../alknet/call", "/call"])
def test_another_path_is_never_granted(hub, target):
    with hub.wire() as wire:
        wire.send(upgrade(wire.host, token=PLAIN, target=target))
        assert wire.reply().status == 404


def test_http_1_0_is_never_granted(hub):
    for headers in ((), [HOST]):
        with hub.wire() as wire:
            wire.send(upgrade(wire.host, headers, PLAIN, version="1.0"))
            reply = wire.reply()
            assert reply.status in (400, 426), reply


def test_a_body_is_400(hub):
    for headers, body in (([("Content-Length", "5")], b"hello"), ([("Content-Length", "1000000000")], b""),
                          ([("Transfer-Encoding", "chunked")], b"5\r\nhello\r\n0\r\n\r\n")):
        with hub.wire() as wire:
            wire.send(upgrade(wire.host, headers, PLAIN) + body)
            reply = wire.reply()
            refused(reply, 400)
            assert reply.header("connection") == "close" and wire.ended()


@pytest.mark.parametrize("query", [f"?token={PLAIN}", f"?access_token={PLAIN}", f"?auth_token={PLAIN}",
                                   f"?{PLAIN}", "?x=y", "?"])
@pytest.mark.parametrize("token", [None, PLAIN])
def test_a_token_in_the_url_is_refused(hub, query, token):
    reply = try_upgrade(hub, target=PATH + query, token=token)
    refused(reply, 400)
    assert PLAIN.encode() not in reply.head + reply.body


ORIGINS = ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1", "https://app.example.evil.example",
           "https://app.example:444", "http://app.example", "https://sub.app.example", "file://", "", "*", "app.example"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_foreign_origin_is_403(hub, origin):
    refused(try_upgrade(hub, [("Origin", origin)]), 403)
    refused(try_upgrade(hub, [("Origin", origin), offer(PROTOCOL, bearer(PLAIN))], None), 403)


def test_two_origins_are_403(hub):
    refused(try_upgrade(hub, [("Origin", FRIEND), ("Origin", FRIEND)]), 403)


@pytest.mark.parametrize("token", [UNKNOWN, EXPIRED, DISABLED, "x", "alk_", PLAIN[:-1], PLAIN + "0", PLAIN.upper(),
                                   "\u00e9" * 30, "x" * 5000], ids=lambda t: t[:12])
def test_a_wrong_token_is_401(hub, token):
    raw = token.encode()
    for headers in ([("Authorization", b"Bearer " + raw)], [offer(PROTOCOL, bearer(raw))]):
        reply = try_upgrade(hub, headers, None)
        refused(reply, 401)
        assert reply.header("www-authenticate") == 'Bearer error="invalid_token"'


def test_no_token_is_401(hub):
    for headers in ((), [offer(PROTOCOL)], [offer("soap")]):
        reply = try_upgrade(hub, headers, None)
        refused(reply, 401)
        assert reply.header("www-authenticate") == "Bearer"


@pytest.mark.parametrize("value", ["Basic " + PLAIN, PLAIN, "Bearer", "Token " + PLAIN])
def test_another_authorization_is_401(hub, value):
    refused(try_upgrade(hub, [("Authorization", value)], None), 401)


def test_a_protocol_without_a_token_does_not_hide_a_wrong_header(hub):
    refused(try_upgrade(hub, [offer(PROTOCOL)], UNKNOWN), 401)


@pytest.mark.parametrize("other", [ADMIN, UNKNOWN, PLAIN[:-1], "alk_" + "x" * 2000],
                         ids=lambda t: t[:12])
def test_two_different_tokens_are_400(hub, other):
    for headers, token in (([offer(PROTOCOL, bearer(other))], PLAIN), ([offer(PROTOCOL, bearer(PLAIN))], other),
                           ([offer(PROTOCOL, bearer(PLAIN), bearer(other))], None),
                           ([offer(PROTOCOL, bearer(PLAIN)), offer(bearer(other))], None)):
        assert "token" in refused(try_upgrade(hub, headers, token), 400)


def test_a_token_without_its_protocol_is_400(hub):
    for headers, token in (([offer(bearer(PLAIN))], None), ([offer("soap", bearer(PLAIN))], None),
                           ([offer(bearer(PLAIN))], PLAIN), ([offer("alknet.call.v2", bearer(PLAIN))], None)):
        refused(try_upgrade(hub, headers, token), 400)


ENCODED = bearer(PLAIN)[len("alknet.bearer."):]


@pytest.mark.parametrize("text", [ENCODED + "=", ENCODED + "==", ENCODED[:-1] + "+", ENCODED[:-1] + "/", ENCODED + "A" * (
    (5 - len(ENCODED) % 4) % 4 or 4) if len(ENCODED) % 4 == 1 else "A", "AB!", "AB", ENCODED[:5] + "." + ENCODED[6:],
    "\u00e9", "*"], ids=lambda t: t[-4:])
def test_bad_base64url_is_400(hub, text):
    """Wrong letters, a length that no bytes have, bits behind the last byte."""
    with hub.wire() as wire:
        wire.send(upgrade(wire.host, [("Sec-WebSocket-Protocol", f"{PROTOCOL}, alknet.bearer.".encode() + text.encode())]))
        refused(wire.reply(), 400)


def test_an_empty_token_in_a_subprotocol_is_refused(hub):
    assert try_upgrade(hub, [offer(PROTOCOL, "alknet.bearer.")], None).status in (400, 401)


def test_another_host_is_421(hub):
    reply = try_upgrade(hub, host="evil.example")
    assert reply.status == 421 and reply.error()["code"] == "INVALID_INPUT"


def test_a_refusal_that_does_not_close_leaves_another_try(hub):
    with hub.wire() as wire:
        for headers, token, status in (([("Sec-WebSocket-Version", "12")], PLAIN, 426), ((), UNKNOWN, 401), ((), None, 401),
                                       ([("Origin", "https://evil.example")], PLAIN, 403)):
            reply = ask_upgrade(wire, headers, token)
            refused(reply, status)
            assert reply.header("connection") != "close"
        assert ask_upgrade(wire, token=PLAIN).status == 101


# ---- the order --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bad", list(itertools.product([False, True], repeat=3)), ids=lambda bad: "".join("01"[b] for b in bad))
@pytest.mark.parametrize("head", [("Sec-WebSocket-Key", None, 400), ("Sec-WebSocket-Version", "12", 426),
                                  ("Upgrade", None, 426), ("Connection", "close", 400)], ids=lambda head: head[0])
@pytest.mark.parametrize("way", ["header", "subprotocol", "none"])
def test_the_first_of_several_faults_is_told(full, bad, head, way):
    """Head, Origin, token, room: always in this order, and all the four are there in the end."""
    headers, statuses = [], []
    if bad[0]:
        headers.append(head[:2])
        statuses.append(head[2])
    if bad[1]:
        headers.append(("Origin", "https://evil.example"))
        statuses.append(403)
    if bad[2]:
        statuses.append(401)
    token = None if way != "header" else UNKNOWN if bad[2] else PLAIN
    if way == "subprotocol":
        headers.append(offer(PROTOCOL, bearer(UNKNOWN if bad[2] else PLAIN)))
    elif way == "none" and not bad[2]:
        token = PLAIN
    reply = try_upgrade(full, headers, token)
    refused(reply, (statuses + [503])[0])
    if not statuses:
        assert reply.header("retry-after") == "5"


# ---- limits -----------------------------------------------------------------------------------------------------------

def test_a_full_node_says_503_and_when_to_come_again(full):
    for headers, token in (((), PLAIN), ([offer(PROTOCOL, bearer(PLAIN))], None), ((), PEER)):
        reply = try_upgrade(full, headers, token)
        refused(reply, 503)
        assert reply.header("retry-after") == "5"
    assert full.ask("GET", "/healthz").status == 200
    with full.wire() as wire:
        assert wire.call("demo/echo", 1).output == 1, "calls over HTTP are not counted"


def test_a_slot_is_free_again_whichever_way_its_session_ended(tmp_path):
    def leave(socket):
        socket.bye()

    def vanish(socket):
        socket.close()

    def reset(socket):
        socket.reset()

    def misbehave(socket):
        socket.send(binary("no envelope"))
        assert socket.closed() == 1002

    with Hub(tmp_path, limits={"websocket_sessions": 2}) as hub, hub.socket() as stays:
        for end in (leave, vanish, reset, misbehave) * 3:
            with hub.socket() as socket:
                assert try_upgrade(hub).status == 503
                end(socket)
            wait_for(lambda: room(hub))
        assert stays.call("demo/echo", 1) == 1


def room(hub):
    """Whether there is room for a session; if so it is given back."""
    with hub.wire() as wire:
        granted = ask_upgrade(wire, token=PLAIN).status == 101
        if granted:
            wire.send(close_frame(1000))
            with pytest.raises(Closed):
                while True:
                    wire.more()
        return granted


def test_a_refused_upgrade_takes_no_slot(tmp_path):
    with Hub(tmp_path, limits={"websocket_sessions": 1}) as hub:
        for headers, token in (((), None), ((), UNKNOWN), ([("Origin", "https://evil.example")], PLAIN),
                               ([("Sec-WebSocket-Key", None)], PLAIN)) * 3:
            assert try_upgrade(hub, headers, token).status in (400, 401, 403)
        with hub.wire() as wire:
            wire.send(upgrade(wire.host, token=PLAIN) + b"\x82")
            assert wire.reply().status == 400
        with hub.socket() as socket:
            assert socket.call("demo/echo", 1) == 1


def test_the_limit_of_sessions_may_be_changed_while_running(tmp_path):
    with Hub(tmp_path, limits={"websocket_sessions": 1}) as hub, hub.socket() as first:
        assert try_upgrade(hub).status == 503
        hub.write_config(limits={**hub.config["limits"], "websocket_sessions": 2})
        hub.signal(signal.SIGHUP)
        wait_for(lambda: room(hub))
        assert first.call("demo/echo", 1) == 1


def granted(hub, **kwargs):
    """A session, None when its connection is not even answered."""
    try:
        return hub.socket(timeout=5, **kwargs)
    except (Closed, ConnectionError):
        return None


def test_a_session_counts_once_against_the_connections(tmp_path):
    with Hub(tmp_path, limits={"connections": 3}) as hub:
        sockets = [hub.socket() for _ in range(3)]
        assert granted(hub) is None
        assert [socket.call("demo/echo", i) for i, socket in enumerate(sockets)] == [0, 1, 2]
        for _ in range(5):
            sockets.pop().bye()
            sockets.append(wait_for(lambda: granted(hub)))
            assert granted(hub) is None
        for socket in sockets:
            socket.bye()
        wait_for(hub.serves)


def test_sessions_count_against_the_connections_of_their_address(tmp_path):
    with Hub(tmp_path, limits={"connections_per_address": 2}) as hub:
        sockets = [hub.socket(source="127.0.0.2") for _ in range(2)]
        assert granted(hub, source="127.0.0.2") is None
        with hub.socket(source="127.0.0.3") as other:
            assert other.call("demo/echo", 1) == 1
        sockets.pop().bye()
        wait_for(lambda: granted(hub, source="127.0.0.2")).bye()
        sockets.pop().bye()


def test_failed_upgrades_count_as_failed_authentications(tmp_path):
    with Hub(tmp_path, limits={"auth_failures_per_minute": 3}) as hub:
        for i in range(3):
            refused(try_upgrade(hub, [offer(PROTOCOL, bearer(UNKNOWN))] if i % 2 else (), None if i % 2 else UNKNOWN), 401)
        for headers, token in (((), UNKNOWN), ([offer(PROTOCOL, bearer(UNKNOWN))], None)):
            reply = try_upgrade(hub, headers, token)
            refused(reply, 429)
            assert reply.header("retry-after")
        assert try_upgrade(hub, (), PLAIN).status == 101, "a good token is good from everywhere"
        assert try_upgrade(hub, [offer(PROTOCOL, bearer(PLAIN))], None).status == 101
        refused(try_upgrade(hub, (), UNKNOWN), 429)


def test_an_end_that_was_read_before_the_101_ends_the_session(hub):
    """Pipelined, with the end of the client's side behind it."""
    with hub.wire() as wire:
        wire.send(message("POST", "/call", {"operation": "demo/sleep", "input": {"ms": 300}}, host=wire.host, token=PLAIN)
                  + upgrade(wire.host, token=PLAIN))
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.reply().status == 200 and wire.reply().status == 101 and wire.ended()


# ---- bytes behind the head --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("behind", [binary({"type": "call.requested", "id": "1", "payload": {"operationId": "/demo/echo"}}),
                                    b"\x82", b"\x00", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\r\n"],
                         ids=["frame", "byte", "NUL", "request", "line"])
def test_bytes_before_the_101_close_and_no_session_is_made(hub, behind):
    before = len(hub.find(event="connection.open"))
    with hub.wire() as wire:
        wire.send(upgrade(wire.host, token=PLAIN) + behind)
        reply = wire.reply()
        refused(reply, 400)
        assert reply.header("connection") == "close" and wire.ended()
    assert len(hub.find(event="connection.open")) == before and not hub.find(operation="demo/echo", request_id="1")


# ---- stealth ----------------------------------------------------------------------------------------------------------

STRANGERS = {
    "nothing": ((), None), "wrong token": ((), UNKNOWN), "expired token": ((), EXPIRED),
    "wrong token by subprotocol": ([offer(PROTOCOL, bearer(UNKNOWN))], None),
    "a token without its protocol": ([offer(bearer(UNKNOWN))], None),
    "bad base64url": ([offer(PROTOCOL, "alknet.bearer.A*")], None),
    "two different tokens": ([offer(PROTOCOL, bearer(UNKNOWN))], EXPIRED),
    "one of two tokens good": ([offer(PROTOCOL, bearer(UNKNOWN))], PLAIN),
    "no key": ([("Sec-WebSocket-Key", None)], None), "version 12": ([("Sec-WebSocket-Version", "12")], None),
    "no upgrade": ([("Upgrade", None)], None), "no connection": ([("Connection", None)], None),
    "foreign origin": ([("Origin", "https://evil.example")], None),
    "foreign origin and token": ([("Origin", "https://evil.example")], UNKNOWN),
    "another host": ([("Host", "evil.example")], None), "only the protocol": ([offer(PROTOCOL)], None),
    "other authorization": ([("Authorization", "Basic eDp5")], None),
}
NOWHERE = "/alknet/c411"


@pytest.fixture(scope="module", params=["not_found", "static_site", "redirect"])
def stealthy(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("stealth")
    target = {"not_found": {}, "static_site": {"target": str(folder)}, "redirect": {"target": "https://else.example/"}}
    with Node(folder, gateway={"stealth": True, "decoy": {"kind": request.param, **target[request.param]}}) as it:
        yield it


def raw_answers(node, all_data):
    """The answers as they came, but for the date, and whether their connections ended; each on a connection of its own."""
    wires, answers = [node.wire() for _ in all_data], []
    for wire, data in zip(wires, all_data):
        wire.send(data)
        reply = wire.reply()
        answers.append([re.sub(rb"(?m)^Date: .*$", b"", reply.head), reply.body])
    time.sleep(0.05)
    for wire, answer in zip(wires, answers):
        answer.append(wire.ended(0.001))
        wire.close()
    return answers


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_to_a_stealthy_node_sees_the_decoy(stealthy, name):
    headers, token = STRANGERS[name]
    variants = [(b"", {}, ""), (b"\x82\x80\0\0\0\0", {}, ""), (b"", {"version": "1.0"}, ""), (b"", {"method": "POST"}, ""),
                (b"", {}, "?token=x")]
    answers = raw_answers(stealthy, [upgrade("127.0.0.1", headers, token, target=target + query, **more) + behind
                                     for behind, more, query in variants for target in (PATH, NOWHERE)])
    for got, decoy in zip(answers[::2], answers[1::2]):
        assert got == decoy
        assert b"request-id" not in got[0].lower() and b"websocket" not in got[0].lower()


def test_who_has_a_token_is_granted_by_a_stealthy_node(stealthy):
    with Socket(stealthy.port, PLAIN) as socket:
        assert socket.call("demo/echo", 1) == 1
    with Socket(stealthy.port, None, [offer(PROTOCOL, bearer(PLAIN))]) as socket:
        assert socket.call("demo/echo", 2) == 2


# ---- many -------------------------------------------------------------------------------------------------------------

def test_a_thousand_upgrades_leave_nothing_behind(hub):
    before = hub.descriptors()
    for _ in range(10):
        sockets = [hub.socket() for _ in range(descriptors_wanted(100))]
        assert all(socket.call("demo/echo", i) == i for i, socket in enumerate(sockets))
        for i, socket in enumerate(sockets):
            socket.bye() if i % 2 else socket.reset()
    wait_for(lambda: hub.descriptors() <= before)


def test_a_second_upgrade_within_a_session_is_a_malformed_frame(hub):
    with hub.socket() as socket:
        socket.send(upgrade(socket.host, token=PLAIN))
        assert socket.closed() == 1002
