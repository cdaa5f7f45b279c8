"""Connections over every transport, to be called and to call back."""

import asyncio
import gc
import hashlib
import os
import socket
import subprocess
from typing import Any, AsyncIterator

import pytest

import alknet
from conftest import TOKEN

POOL = 4  # threads of libuv, which it makes once and keeps
TOKENS = {TOKEN: {"scopes": ["t:*"]}}


def serving(**options):
    node = alknet.Node(**options)

    @node.query("t/add")
    def add(a: int, b: int) -> int:
        return a + b

    @node.query("t/who")
    def who(context: alknet.Context) -> Any:
        return context.identity

    @node.subscription("t/count")
    async def count(to: int) -> AsyncIterator[int]:
        for i in range(to):
            yield i

    @node.query("t/back")
    async def back(context: alknet.Context) -> Any:
        assert context.connection is not None
        return [await context.connection.call("ui/title"), [v async for v in context.connection.subscribe("ui/keys")]]

    return node


def of(node, scheme, fragment=""):
    return (
        next(url for url in node.listening if url.startswith(scheme))
        .replace("http://", "ws://")
        .replace("https://", "wss://")
        + fragment
    )


async def works(connection):
    assert await connection.call("t/add", {"a": 1, "b": 2}) == 3
    assert [v async for v in connection.subscribe("t/count", {"to": 100})] == list(range(100))
    with pytest.raises(alknet.CallError, match="NOT_FOUND"):
        await connection.call("t/nothing")


def openssl(*arguments):
    return subprocess.run(
        ["openssl", *map(str, arguments)], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ).stdout


def key_file(path):
    """An Ed25519 key, and its fingerprint."""
    openssl("genpkey", "-algorithm", "ed25519", "-out", path)
    path.chmod(0o600)
    public = openssl("pkey", "-in", path, "-pubout", "-outform", "DER")
    return str(path), "ed25519:" + public[-32:].hex()


def certificate_files(folder):
    """A certificate of 127.0.0.1, its key and its fingerprint."""
    certificate, key = folder / "node.crt", folder / "node.key"
    openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        2,
        "-subj",
        "/CN=node",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        key,
        "-out",
        certificate,
    )
    key.chmod(0o600)
    der = openssl("x509", "-in", certificate, "-outform", "DER")
    return str(certificate), str(key), "SHA256:" + hashlib.sha256(der).hexdigest()


@pytest.mark.smoke
async def test_websocket(tmp_path):
    node = serving()
    async with node.running(listen=["127.0.0.1:0", f"unix:{tmp_path}/ws"], tokens=TOKENS):
        for url in (of(node, "http"), f"ws+unix:{tmp_path}/ws"):
            connection = await alknet.connect(url, token=TOKEN)
            assert connection.connected
            await works(connection)
            assert (await connection.call("t/who"))["scopes"] == ["t:*"]
            await connection.close()
            assert not connection.connected
            with pytest.raises(alknet.ClosedError):
                await connection.call("t/add", {"a": 1, "b": 2})
        async with alknet.connect(of(node, "http"), token=TOKEN) as connection:
            await works(connection)


@pytest.mark.smoke
async def test_quic(tmp_path):
    node = serving()
    node_key, pin = key_file(tmp_path / "node.key")
    key, mine = key_file(tmp_path / "my.key")
    stranger, _ = key_file(tmp_path / "stranger.key")
    config = {"node_key": node_key, "peers": [{"peer_id": "me", "fingerprints": [mine], "scopes": ["t:*"]}]}
    async with node.running(listen=[{"quic": True, "host": "127.0.0.1", "port": 0}], config=config):
        (url,) = node.listening
        assert url.startswith("alknet://")
        async with alknet.connect(f"{url}#{pin}", key=key) as connection:
            await works(connection)
            assert (await connection.call("t/who"))["id"] == "me"
        async with alknet.connect(url, key=key, pin=pin) as connection:
            await works(connection)
        for key, pin in ((key, "ed25519:" + "0" * 64), (stranger, pin)):
            with pytest.raises(alknet.ConnectError):
                await alknet.connect(url, key=key, pin=pin)


@pytest.mark.smoke
async def test_tls(tmp_path):
    node = serving()
    certificate, key, pin = certificate_files(tmp_path)
    config = {"tls": {"certificates": [{"certificate": certificate, "key": key}]}}
    async with node.running(listen=[{"host": "127.0.0.1", "port": 0, "tls": True}], tokens=TOKENS, config=config):
        url = of(node, "https")
        for trust in ({"pin": pin}, {"ca": certificate}):
            for scheme in ("wss", "alknet+tls"):
                async with alknet.connect(url.replace("wss", scheme), token=TOKEN, **trust) as connection:
                    await works(connection)
                    assert (await connection.call("t/who"))["scopes"] == ["t:*"]
        with pytest.raises(alknet.ConnectError):
            await alknet.connect(url, token=TOKEN)


async def test_what_cannot_be_opened_says_why():
    node = serving()
    async with node.running(listen=["127.0.0.1:0"], tokens=TOKENS):
        url = of(node, "http")
        with pytest.raises(alknet.ConnectError) as caught:
            await alknet.connect(url, token="another-token-than-the-good-one")
        assert isinstance(caught.value, OSError) and "127.0.0.1" in str(caught.value)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(alknet.ConnectError):
            await alknet.connect(f"ws://127.0.0.1:{port}", token=TOKEN)
        unused.listen()  # and says nothing
        with pytest.raises(alknet.ConnectError, match="TIMEOUT"):
            await alknet.connect(f"ws://127.0.0.1:{port}", token=TOKEN, timeout=0.1)
    for url, right in (("http://h:1", "ws://h:1"), ("https://h/x", "wss://h/x")):
        with pytest.raises(ValueError, match=right):
            await alknet.connect(url)
    for url in ("ftp://h", "", "ws://", "alknet://h:x"):
        with pytest.raises(ValueError):
            await alknet.connect(url)


@pytest.mark.smoke
@pytest.mark.parametrize("workers", [1, 3])
async def test_the_other_side_calls_back(workers):
    node, page = serving(workers=workers), alknet.Node()

    @page.query("ui/title")
    def title() -> str:
        return "the title"

    @page.subscription("ui/keys")
    async def keys() -> AsyncIterator[str]:
        for key in "abc":
            yield key

    async with node.running(listen=["127.0.0.1:0"], tokens=TOKENS), page.running():
        for _ in range(4 * workers):  # by whatever worker
            async with alknet.connect(of(node, "http"), token=TOKEN, node=page) as connection:
                assert await connection.call("t/back") == ["the title", ["a", "b", "c"]]
        async with page.connect(of(node, "http"), token=TOKEN) as connection:
            assert await connection.call("t/back") == ["the title", ["a", "b", "c"]]
            assert await page.call("t/add", {"a": 1, "b": 1}, connection=connection) == 2


async def test_a_hub_calls_what_its_spokes_serve(tmp_path):
    hub, spoke = alknet.Node(), serving()
    token = "token-of-the-spoke-called-paris"
    peers = [{"peer_id": "hub", "scopes": [], "websocket": True}]
    async with (
        hub.running(listen=["127.0.0.1:0"], tokens={token: {"id": "paris", "scopes": [], "websocket": True}}),
        spoke.running(config={"peers": peers}),
    ):
        async with spoke.connect(of(hub, "http"), token=token, peer="hub"):
            for _ in range(500):
                try:
                    assert await hub.call("t/add", {"a": 2, "b": 2}, peer="paris") == 4
                    break
                except alknet.CallError:
                    await asyncio.sleep(0.01)
            assert await hub.call("t/add", {"a": 2, "b": 3}, peer="paris") == 5
            with pytest.raises(alknet.CallError, match="NOT_FOUND"):
                await hub.call("t/add", {"a": 2, "b": 3}, peer="rome")


async def test_a_lost_connection_comes_back():
    node = serving()
    await node.start(listen=["127.0.0.1:0"], tokens=TOKENS)
    url = of(node, "http")
    port = int(url.rstrip("/").rpartition(":")[2])
    connection = await alknet.connect(url, token=TOKEN, spread=0.1)
    once = await alknet.connect(url, token=TOKEN, reconnect=False)
    waiting = asyncio.ensure_future(connection.call("t/add", {"a": 1, "b": 1}))
    await waiting
    await node.stop(graceful=False)
    assert await once.wait_closed() > 0
    while connection.connected:
        await asyncio.sleep(0.01)
    with pytest.raises((alknet.CallError, alknet.ClosedError)):
        await connection.call("t/add", {"a": 1, "b": 1})
    again = serving()
    async with again.running(listen=[f"127.0.0.1:{port}"], tokens=TOKENS):
        while not connection.connected:
            await asyncio.sleep(0.01)
        await works(connection)
        await connection.close()
    await once.close()


async def test_a_connection_that_is_not_closed_warns():
    node = serving()
    async with node.running(listen=["127.0.0.1:0"], tokens=TOKENS):
        connection = await alknet.connect(of(node, "http"), token=TOKEN)
        with pytest.warns(ResourceWarning, match="was not closed"):
            del connection
            gc.collect()


async def test_what_is_refused_while_opening_leaves_no_thread():
    def threads():
        return len(os.listdir("/proc/self/task"))

    before = threads()
    for _ in range(20):
        with pytest.raises(alknet.ConnectError):
            await alknet.connect("ws+unix:/nonexistent/socket", token=TOKEN)
    while threads() > before + POOL:
        await asyncio.sleep(0.01)
