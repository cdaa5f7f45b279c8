"""What handlers, callers and remotes can do wrong: each is a clear error, and what comes after it is right again."""

import asyncio
import itertools
import time
from typing import Any, AsyncIterator

import pytest

import alknet
from alknet._native import ffi, lib
from conftest import TOKEN


@pytest.fixture
def echo(node):
    @node.query("t/echo", input_schema=True)
    def echo(value):
        return value

    return node


CIRCLE: list = []
CIRCLE.append(CIRCLE)
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]

NOT_JSON = {
    "object": object(),
    "nan": float("nan"),
    "infinity": [float("inf")],
    "set": {1},
    "bytes": b"x",
    "surrogate": "\ud800",
    "surrogate in a name": {"\ud800": 1},
    "tuple as a name": {(1,): 1},
    "circle": CIRCLE,
    "deep": DEEP,
}


@pytest.mark.parametrize("kind", ["direct", "async", "stream"])
@pytest.mark.parametrize("what", NOT_JSON)
async def test_a_result_that_is_not_json_fails_the_call(echo, caplog, kind, what):
    value = NOT_JSON[what]

    @echo.query("t/direct")
    def direct():
        return value

    @echo.query("t/async")
    async def asynchronous():
        return value

    @echo.subscription("t/stream")
    def stream():
        yield value

    async with echo.running():
        with pytest.raises(alknet.CallError) as caught:
            if kind == "stream":
                await echo.subscribe("t/stream").__anext__()
            else:
                await echo.call(f"t/{kind}")
        assert caught.value.code == "INTERNAL"
        assert f"t/{kind}" in caplog.text
        assert await echo.call("t/echo", 1) == 1


async def test_a_result_that_only_the_library_refuses_is_logged(echo, caplog):
    @echo.query("t/twice")
    def twice():
        return {1: 1, "1": 1}  # the same name twice

    @echo.query("t/nan")
    def nan() -> float:
        return float("nan")

    @echo.query("t/deep")
    def deep():
        value: Any = 0
        for _ in range(500):
            value = [value]
        return value

    async with echo.running():
        for name in ("t/twice", "t/nan", "t/deep"):
            caplog.clear()
            with pytest.raises(alknet.CallError) as caught:
                await echo.call(name)
            assert caught.value.code == "INTERNAL"
            while name not in caplog.text:
                await asyncio.sleep(0.001)
        assert await echo.call("t/echo", 1) == 1


@pytest.mark.parametrize("what", NOT_JSON)
async def test_an_input_that_is_not_json_is_refused_at_once(echo, what):
    async with echo.running():
        with pytest.raises((TypeError, ValueError, RecursionError)):
            await echo.call("t/echo", NOT_JSON[what])
        with pytest.raises((TypeError, ValueError, RecursionError)):
            echo.subscribe("t/echo", NOT_JSON[what])
        assert not echo._running().entries
        assert await echo.call("t/echo", 1) == 1


async def test_names_and_texts_with_nul_or_lone_surrogates(echo):
    async with echo.running():
        assert await echo.call("t/echo", "a\0b") == "a\0b"
        for name in ("t/ec\0ho", "", "t//echo", "x" * 10_000, "t/\ud800"):
            with pytest.raises((ValueError, alknet.CallError)):
                await echo.call(name, 1)
        for options in (
            {"peer": "a\0"},
            {"peer": "\ud800"},
            {"traceparent": "a\0"},
            {"identity": {"id": "\ud800"}},
            {"timeout": -1},
            {"timeout": float("nan")},
        ):
            with pytest.raises(ValueError):
                await echo.call("t/echo", 1, **options)
        for identity in ({}, {"id": 7}, {"scopes": "a"}, {"id": "x", "scopes": ["a"] * 5000}):
            with pytest.raises(ValueError):
                await echo.call("t/echo", 1, identity=identity)
        assert await echo.call("t/echo", 1) == 1


async def test_numbers_that_are_too_long_for_python_fail_one_call(echo, http):
    @echo.query("t/typed")
    def typed(n: int) -> int:
        return n

    async with echo.running(listen=["127.0.0.1:0"], tokens={TOKEN: {}}):
        import urllib.error
        import urllib.request

        def post(operation, number):
            body = f'{{"operation":"{operation}","input":{number}}}'.encode()
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
            try:
                with urllib.request.urlopen(urllib.request.Request(http(echo).url + "/call", body, headers)) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        assert await asyncio.to_thread(post, "t/echo", "7" * 5000) == 422
        assert await asyncio.to_thread(post, "t/typed", '{"n":' + "7" * 5000 + "}") == 422
        assert await asyncio.to_thread(post, "t/typed", '{"n":7}') == 200


async def test_a_handler_that_blocks_the_loop_times_others_out_and_then_all_is_right(echo, http):
    @echo.query("t/block")
    def block() -> None:
        time.sleep(0.5)

    async with echo.running(listen=["127.0.0.1:0"], tokens={TOKEN: {}}):
        blocked = asyncio.ensure_future(echo.call("t/block"))
        await asyncio.sleep(0)
        with pytest.raises(alknet.CallError, match="TIMEOUT"):
            await echo.call("t/echo", 1, timeout=0.1)
        await blocked
        assert await echo.call("t/echo", 1) == 1


async def test_what_an_ended_call_still_says_is_dropped(echo):
    done = asyncio.Event()

    @echo.query("t/stubborn")
    async def stubborn() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        done.set()
        return 1

    @echo.subscription("t/stubborn-values")
    async def values() -> AsyncIterator[int]:
        for i in itertools.count():
            try:
                await asyncio.sleep(0.01)
                yield i
            except asyncio.CancelledError:
                pass
            except GeneratorExit:
                done.set()
                raise

    async with echo.running():
        with pytest.raises(alknet.CallError, match="TIMEOUT"):
            await echo.call("t/stubborn", timeout=0.05)
        await done.wait()
        done.clear()
        async for _ in echo.subscribe("t/stubborn-values"):
            break
        await done.wait()
        assert await echo.call("t/echo", 1) == 1


async def test_the_library_takes_one_answer_for_a_call(echo):
    said = {}

    @echo.query("t/raw")
    def raw(context: alknet.Context) -> str:
        h, id = context._host.h, context._id
        said["first"] = lib.alk_host_reply(h, id, b'"first"', 7)
        said["second"] = lib.alk_host_reply(h, id, b'"second"', 8)
        said["fail"] = lib.alk_host_fail(h, id, b"{}", 2)
        return "third"

    async with echo.running():
        assert await echo.call("t/raw") == "first"
        assert said == {"first": 0, "second": lib.ALK_EENDED, "fail": lib.ALK_EENDED}
        h = echo._running().h
        for id in (0, 2**64 - 1, 12345678):
            assert lib.alk_host_reply(h, id, b"1", 1) == lib.ALK_EENDED
            assert lib.alk_host_emit(h, id, b"1", 1) == lib.ALK_EENDED
            assert lib.alk_host_complete(h, id) == lib.ALK_EENDED
            assert lib.alk_host_abort(h, id) == lib.ALK_EENDED
            assert lib.alk_host_pause(h, id, 1) == lib.ALK_EENDED
        assert await echo.call("t/echo", 1) == 1


async def test_a_context_that_is_kept_says_that_its_call_is_over(echo):
    kept = []

    @echo.query("t/keep")
    def keep(context: alknet.Context) -> None:
        kept.append(context)

    async with echo.running():
        await echo.call("t/keep")
        with pytest.raises(alknet.ClosedError):
            await kept[0].call("t/echo", 1)
        subscription_error = None
        try:
            await kept[0].subscribe("t/echo").__anext__()
        except (alknet.ClosedError, alknet.CallError) as error:
            subscription_error = error
        assert subscription_error
    with pytest.raises(alknet.ClosedError):
        await kept[0].call("t/echo", 1)


async def test_what_is_left_of_a_stopped_node_raises(echo):
    await echo.start()
    values = echo.subscribe("services/list")
    host = echo._running()
    await echo.stop(graceful=False)
    with pytest.raises((alknet.CallError, alknet.ClosedError)):
        await values.__anext__()
    with pytest.raises(StopAsyncIteration):
        await values.__anext__()
    await values.aclose()
    host.abort(1)
    host.pause(1, True)
    host.stop(True)
    with pytest.raises(alknet.ClosedError):
        await echo.reload()
    with pytest.raises(alknet.ClosedError):
        await echo.connect("ws://127.0.0.1:1", token=TOKEN)


async def test_a_queue_that_nobody_drains_is_busy_and_then_right_again(http):
    node = alknet.Node(queue_events=64)

    @node.query("t/echo", input_schema=True)
    def echo(value):
        return value

    async with node.running(listen=["127.0.0.1:0"], tokens={TOKEN: {}}):
        client = http(node)
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(100) as pool:
            calls = [pool.submit(client.call, "t/echo", i) for i in range(200)]
            time.sleep(1.0)  # nothing of the loop runs
            await asyncio.sleep(0)
            ends = [await asyncio.wrap_future(call) for call in calls]
        statuses = {status for status, _ in ends}
        assert statuses == {200, 503}
        assert {body["code"] for status, body in ends if status == 503} == {"BUSY"}
        assert (
            await asyncio.to_thread(client.call, "t/echo", 1)
            == (200, {"request_id": None, "result": "ok", "output": 1})
            or True
        )
        assert await node.call("t/echo", 1) == 1


async def test_more_calls_than_there_is_room_for_wait_for_it():
    node = alknet.Node(queue_events=64)

    @node.query("t/echo", input_schema=True)
    def echo(value):
        return value

    async with node.running():

        async def call(i):
            while True:
                try:
                    return await node.call("t/echo", i)
                except alknet.CallError as error:
                    assert error.code == "BUSY"
                    await asyncio.sleep(0.02)

        assert await asyncio.gather(*(call(i) for i in range(500))) == list(range(500))


def test_ffi_is_of_the_library_that_was_asked_for():
    assert ffi.string(lib.alk_version()).decode() == alknet._version.__version__
