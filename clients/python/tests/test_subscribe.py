"""Subscriptions: values one by one, slow readers, ends."""

import asyncio
import gc
import itertools
from typing import AsyncIterator, Iterator

import pytest

import alknet
from conftest import serve_endless


@pytest.mark.smoke
async def test_generators_are_subscriptions(node):
    @node.subscription("t/async")
    async def count(to: int) -> AsyncIterator[int]:
        for i in range(to):
            yield i

    @node.subscription("t/plain")
    def plain(to: int) -> Iterator[int]:
        yield from range(to)

    @node.subscription("t/returned")
    async def returned(to: int):
        return iter(range(to))

    async with node.running():
        for name in ("t/async", "t/plain", "t/returned"):
            assert [value async for value in node.subscribe(name, {"to": 300})] == list(range(300))
        spec = await node.call("services/schema", {"name": "t/async"})
        assert spec["op_type"] == "subscription" and spec["output_schema"] == {"type": "integer"}


@pytest.mark.smoke
async def test_breaking_off_ends_the_generator(node):
    ended = []

    @node.subscription("t/endless")
    async def endless() -> AsyncIterator[int]:
        try:
            for i in itertools.count():
                yield i
                await asyncio.sleep(0)
        finally:
            ended.append(True)

    async def wait(n):
        while len(ended) < n:
            await asyncio.sleep(0.001)

    async with node.running():
        async for value in node.subscribe("t/endless"):
            if value == 3:
                break
        await wait(1)
        values = node.subscribe("t/endless")
        assert await values.__anext__() == 0
        await values.aclose()
        with pytest.raises(StopAsyncIteration):
            await values.__anext__()
        await wait(2)
        async with node.subscribe("t/endless") as values:
            assert await values.__anext__() == 0
        await wait(3)
        values = node.subscribe("t/endless")
        assert await values.__anext__() == 0
        del values
        await wait(4)
        with pytest.raises(asyncio.TimeoutError):

            async def all():
                async for _ in node.subscribe("t/endless"):
                    pass

            await asyncio.wait_for(all(), 0.05)
        await wait(5)


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_slow_reader_holds_up_the_generator_and_loses_nothing(node, kind):
    made = 0

    @node.subscription("t/async")
    async def asynchronous(n: int) -> AsyncIterator[str]:
        nonlocal made
        for made in range(n):
            yield str(made) + "x" * 1000

    @node.subscription("t/plain")
    def plain(n: int) -> Iterator[str]:
        nonlocal made
        for made in range(n):
            yield str(made) + "x" * 1000

    n = 6000
    async with node.running():
        values = node.subscribe(f"t/{kind}", {"n": n})
        assert (await values.__anext__())[0] == "0"
        last = -1
        while made != last:
            last = made
            await asyncio.sleep(0.2)
        assert made < n - 1  # it waits for whoever reads
        assert len(values._feed.values) < 64 + 2 * 256
        got = [int(value.rstrip("x")) async for value in values]
        assert got == list(range(1, n))


async def test_values_of_many_subscriptions_come_in_their_order(node):
    @node.subscription("t/count")
    async def count(to: int, start: int) -> AsyncIterator[int]:
        for i in range(start, start + to):
            if i % 7 == 0:
                await asyncio.sleep(0)
            yield i

    async def read(start):
        return [value async for value in node.subscribe("t/count", {"to": 200, "start": start})] == list(
            range(start, start + 200)
        )

    async with node.running():
        assert all(await asyncio.gather(*(read(start) for start in range(100))))


async def test_what_waits_for_a_value_can_be_cancelled_and_asked_again(node):
    go = asyncio.Event()

    @node.subscription("t/later")
    async def later() -> AsyncIterator[int]:
        await go.wait()
        yield 1

    async with node.running():
        values = node.subscribe("t/later")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(values.__anext__(), 0.05)
        go.set()
        assert await values.__anext__() == 1
        with pytest.raises(StopAsyncIteration):
            await values.__anext__()


async def test_two_readers_of_one_subscription_are_refused(node):
    @node.subscription("t/never")
    async def never() -> AsyncIterator[int]:
        await asyncio.sleep(60)
        yield 1

    async with node.running():
        values = node.subscribe("t/never")
        first = asyncio.ensure_future(values.__anext__())
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError):
            await values.__anext__()
        await values.aclose()
        with pytest.raises(StopAsyncIteration):
            await first


async def test_a_subscription_that_is_no_generator_fails(node, caplog):
    @node.subscription("t/none")
    def none() -> None:
        return None

    async with node.running():
        with pytest.raises(alknet.CallError, match="INTERNAL"):
            await node.subscribe("t/none").__anext__()
        assert "t/none" in caplog.text


async def test_asking_the_wrong_way_is_said(node):
    @node.query("t/one")
    def one() -> int:
        return 1

    @node.subscription("t/many")
    def many() -> Iterator[int]:
        yield 1

    async with node.running():
        with pytest.raises(alknet.CallError, match="INVALID_OPERATION_TYPE"):
            await node.call("t/many")
        with pytest.raises(alknet.CallError, match="INVALID_OPERATION_TYPE"):
            await node.subscribe("t/one").__anext__()


async def test_a_dropped_subscription_is_aborted_by_the_collector_too(node):
    ended = serve_endless(node)
    async with node.running():
        values = node.subscribe("t/endless")
        await values.__anext__()
        cycle = [values]
        cycle.append(cycle)
        del values, cycle
        await asyncio.to_thread(gc.collect)
        await ended.wait()
