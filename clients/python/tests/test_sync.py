"""Blocking calls, for programs and threads without asyncio."""

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import AsyncIterator, Iterator

import pytest

import alknet
from conftest import TOKEN


@pytest.fixture
def url():
    """Of a node that another thread runs."""
    node = alknet.Node()

    @node.query("t/add")
    def add(a: int, b: int) -> int:
        return a + b

    @node.query("t/sleep")
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @node.subscription("t/count")
    def count() -> Iterator[int]:
        yield from itertools.count()

    @node.subscription("t/few")
    async def few() -> AsyncIterator[int]:
        for i in range(3):
            yield i

    started, loops = threading.Event(), []

    async def main():
        await node.start(listen=["127.0.0.1:0"], tokens={TOKEN: {}})
        loops.append(asyncio.get_running_loop())
        started.set()
        await node.wait_stopped()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(10)
    yield node, node.listening[0].replace("http", "ws")
    node.stop(graceful=False)
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.smoke
def test_calls_and_subscriptions_block(url):
    with alknet.sync.connect(url[1], token=TOKEN) as connection:
        assert connection.connected
        assert connection.call("t/add", {"a": 1, "b": 2}) == 3
        assert list(connection.subscribe("t/few")) == [0, 1, 2]
        for value in connection.subscribe("t/count"):
            if value == 1000:
                break
        with pytest.raises(alknet.CallError, match="TIMEOUT"):
            connection.call("t/sleep", {"seconds": 5}, timeout=0.05)
        with pytest.raises(alknet.CallError, match="NOT_FOUND"):
            connection.call("t/nothing")
    with pytest.raises(alknet.ClosedError):
        connection.call("t/add", {"a": 1, "b": 2})


def test_many_threads_share_a_connection(url):
    with alknet.sync.connect(url[1], token=TOKEN) as connection, ThreadPoolExecutor(16) as pool:
        sums = pool.map(lambda i: connection.call("t/add", {"a": i, "b": 1}), range(500))
        assert list(sums) == list(range(1, 501))


def test_threads_call_a_node_of_another_one(url):
    node = url[0]
    assert node.call_sync("t/add", {"a": 1, "b": 2}) == 3
    with pytest.raises(alknet.CallError, match="TIMEOUT"):
        node.call_sync("t/sleep", {"seconds": 5}, timeout=0.05)
    node.stop(graceful=False)
    begun = time.monotonic()
    with pytest.raises((alknet.ClosedError, alknet.CallError, RuntimeError)):
        while True:
            node.call_sync("t/add", {"a": 1, "b": 2})
    assert time.monotonic() - begun < 10


def test_what_cannot_be_opened_is_said():
    with pytest.raises(alknet.ConnectError):
        alknet.sync.connect("ws+unix:/nonexistent/socket")
    with pytest.raises(ValueError, match="ws://"):
        alknet.sync.connect("http://127.0.0.1:1")
