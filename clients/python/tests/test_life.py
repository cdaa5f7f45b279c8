"""Starts and ends of nodes, of loops and of processes."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import alknet
from conftest import TOKEN, serve_endless


def sleeping(node, state):
    @node.query("t/sleep")
    async def sleep(seconds: float) -> str:
        state["running"] = state.get("running", 0) + 1
        try:
            await asyncio.sleep(seconds)
            return "slept"
        finally:
            state["running"] -= 1

    return node


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


@pytest.mark.smoke
async def test_a_node_starts_stops_and_starts_again(node, tmp_path):
    sleeping(node, {})
    for _ in range(3):
        await node.start(listen=["127.0.0.1:0", f"unix:{tmp_path}/socket"])
        assert node.is_running and len(node.listening) == 2
        assert node.listening[0].startswith("http://127.0.0.1:") and node.listening[1] == f"unix:{tmp_path}/socket"
        with pytest.raises(RuntimeError):
            await node.start()
        assert await node.call("t/sleep", {"seconds": 0}) == "slept"
        await node.stop()
        assert not node.is_running and node.listening == []
        await node.stop()
        with pytest.raises(alknet.ClosedError):
            await node.call("t/sleep", {"seconds": 0})
        with pytest.raises(alknet.ClosedError):
            node.subscribe("t/sleep")
    await node.wait_stopped()


async def test_what_cannot_start_says_why(node, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises((OSError, alknet.ConfigError), match=str(taken.getsockname()[1])):
            await node.start(listen=[f"127.0.0.1:{taken.getsockname()[1]}"])
    with pytest.raises(alknet.ConfigError, match="limits.batch"):
        await node.start(config={"limits": {"batch": "many"}})
    with pytest.raises(alknet.ConfigError, match="nonsense"):
        await node.start(config={"nonsense": 1})
    for wrong in ("localhost", "127.0.0.1:http"):
        with pytest.raises(ValueError, match="neither"):
            await node.start(listen=[wrong])
    with pytest.raises(ValueError, match="24"):
        await node.start(tokens={"short": {}})
    assert not node.is_running
    await node.start(listen=["[::1]:0"] if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") else [])
    await node.stop()


async def test_a_graceful_stop_lets_calls_end_and_the_other_does_not(node):
    state = {}
    sleeping(node, state)
    for graceful in (True, False):
        await node.start()
        task = asyncio.ensure_future(node.call("t/sleep", {"seconds": 0.3}))
        await until(lambda: state.get("running"))
        await node.stop(graceful=graceful)
        if graceful:
            assert await task == "slept"
        else:
            with pytest.raises(alknet.CallError):
                await task
        await until(lambda: not state["running"])


async def test_a_graceful_stop_is_seen_by_handlers(node):
    running = asyncio.Event()

    @node.query("t/until")
    async def until_draining(context: alknet.Context) -> bool:
        running.set()
        while not context.draining:
            await asyncio.sleep(0.001)
        return True

    await node.start()
    task = asyncio.ensure_future(node.call("t/until"))
    await running.wait()
    stopping = node.stop()
    assert await task is True
    await stopping


async def test_a_graceful_stop_ends_subscriptions_with_busy(node):
    ended = serve_endless(node)
    await node.start()
    values = node.subscribe("t/endless")
    assert await values.__anext__() == 1
    stopping = node.stop()
    with pytest.raises(alknet.CallError) as e:
        async for _ in values:
            pass
    assert (e.value.code, e.value.retryable) == ("BUSY", True)
    await stopping
    assert ended.is_set()


async def test_reload_changes_who_may_call(node, http):
    @node.query("t/who")
    def who(context: alknet.Context) -> object:
        return context.identity

    async with node.running(listen=["127.0.0.1:0"], tokens={TOKEN: {"scopes": ["a"]}}):
        client = http(node)
        assert (await asyncio.to_thread(client.call, "t/who", {}))[0] == 200
        other = "another-token-that-is-as-long"
        listen = [{"host": "127.0.0.1", "port": 0}]
        await node.reload(listen=listen, tokens={other: {"scopes": ["b"]}})
        assert (await asyncio.to_thread(client.call, "t/who", {}))[0] == 401
        assert (await asyncio.to_thread(client.call, "t/who", {}, other))[1]["output"]["scopes"] == ["b"]
        with pytest.raises(alknet.ConfigError, match="keys"):
            await node.reload(listen=listen, config={"keys": 7})
        assert (await asyncio.to_thread(client.call, "t/who", {}, other))[0] == 200


async def test_serve_runs_until_it_is_stopped_or_cancelled(node):
    serving = asyncio.ensure_future(node.serve(listen=["127.0.0.1:0"]))
    await until(lambda: node.listening)
    await node.stop()
    await serving
    serving = asyncio.ensure_future(node.serve())
    await until(lambda: node.is_running)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not node.is_running


async def test_a_handler_can_stop_its_node(node):
    stopped = {}

    @node.query("t/stop")
    async def stop(graceful: bool) -> str:
        node.stop(graceful=graceful)
        await asyncio.sleep(0.01)
        stopped[graceful] = True
        return "stopping"

    await node.start()
    assert await node.call("t/stop", {"graceful": True}) == "stopping"
    await node.wait_stopped()
    await node.start()
    with pytest.raises(alknet.CallError):
        await node.call("t/stop", {"graceful": False})
    await node.wait_stopped()
    assert stopped == {True: True}


@pytest.mark.parametrize("graceful", [True, False])
async def test_stop_while_ten_thousand_run(node, graceful):
    go = asyncio.Event()
    running = 0

    @node.query("t/wait")
    async def wait() -> int:
        nonlocal running
        running += 1
        try:
            await go.wait()
            return 7
        finally:
            running -= 1

    n = 10_000
    await node.start()
    calls = [asyncio.ensure_future(node.call("t/wait")) for _ in range(n)]
    await until(lambda: running == n)
    stopping = node.stop(graceful=graceful)
    if graceful:
        go.set()
    await stopping
    ends = await asyncio.gather(*calls, return_exceptions=True)
    if graceful:
        assert ends == [7] * n
    else:
        assert all(isinstance(end, alknet.CallError) for end in ends)
    await until(lambda: running == 0)


async def test_a_hundred_thousand_calls_are_cancelled_at_once(node):
    running = 0

    @node.query("t/wait")
    async def wait() -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(60)
        finally:
            running -= 1

    async with node.running(config={"limits": {"deadline_ms": "60s"}}):
        calls = [asyncio.ensure_future(node.call("t/wait")) for _ in range(100_000)]
        await asyncio.sleep(0.2)
        for call in calls:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        await until(lambda: running == 0)
        host = node._running()
        await until(lambda: not host.entries)


async def test_stop_from_a_finaliser_on_another_thread(node):
    class Owner:
        def __init__(self):
            self.me = self

        def __del__(self):
            node.stop(graceful=False)

    await node.start()
    owner = Owner()
    del owner
    await asyncio.to_thread(gc.collect)
    await node.wait_stopped()


async def test_what_a_cancelled_handler_still_does_is_not_collected(node):
    cleaned = asyncio.Event()

    @node.query("t/clean")
    async def clean() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            later = asyncio.get_running_loop().create_future()
            weak = weakref.ref(later)
            asyncio.get_running_loop().call_later(0.05, lambda: weak() is not None and weak().set_result(None))
            await later  # which nothing but this task knows
            cleaned.set()

    async with node.running():
        with pytest.raises(alknet.CallError, match="TIMEOUT"):
            await node.call("t/clean", timeout=0.05)
        await asyncio.sleep(0.01)
        gc.collect()
        await asyncio.wait_for(cleaned.wait(), 5)
        await until(lambda: not node._running().cancelled)


async def test_two_nodes_in_one_process_are_apart():
    nodes = [alknet.Node(), alknet.Node()]
    for i, node in enumerate(nodes):
        node.query("t/which")(lambda i=i: i)
    async with nodes[0].running(), nodes[1].running():
        assert [await node.call("t/which") for node in nodes] == [0, 1]


async def test_another_loop_or_thread_is_refused(node):
    node.query("t/one")(lambda: 1)
    async with node.running():

        def elsewhere():
            async def main():
                with pytest.raises(RuntimeError, match="another loop"):
                    await node.call("t/one")

            asyncio.run(main())

        await asyncio.to_thread(elsewhere)
        assert await node.call("t/one") == 1


def test_a_node_whose_loop_has_gone_is_collected():
    def threads():
        return len(os.listdir("/proc/self/task"))

    before = threads()
    node = alknet.Node()
    asyncio.run(node.start())
    assert threads() > before
    del node
    gc.collect()
    end = time.monotonic() + 5
    while threads() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threads() <= before


async def test_calls_survive_the_collector_and_what_was_dropped(node):
    @node.query("t/echo", input_schema=True)
    async def echo(value):
        await asyncio.sleep(0)
        return value

    async with node.running():
        stop = threading.Event()

        def collect():
            while not stop.wait(0.001):
                gc.collect()

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            for _ in range(20):
                assert await asyncio.gather(*(node.call("t/echo", i) for i in range(50))) == list(range(50))
                asyncio.ensure_future(node.call("t/echo", 1))  # kept by nobody
        finally:
            stop.set()
            thread.join()


# ---- processes ------------------------------------------------------------------------------------

NODE = """
    import asyncio, os, sys, threading, time
    import alknet

    node = alknet.Node()

    @node.query("t/sleep")
    async def sleep(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @node.subscription("t/ticks")
    async def ticks():
        while True:
            yield 1
            await asyncio.sleep(0.001)
"""


@pytest.mark.smoke
@pytest.mark.parametrize(
    "end",
    [
        # the interpreter ends while calls run
        """
        async def main():
            await node.start(listen=["127.0.0.1:0"])
            for _ in range(1000):
                asyncio.ensure_future(node.call("t/sleep", {"seconds": 30}))
            values = node.subscribe("t/ticks")
            await values.__anext__()
        asyncio.run(main())
        """,
        # so it does where the loop is abandoned
        """
        loop = asyncio.new_event_loop()
        async def main():
            await node.start(listen=["127.0.0.1:0"])
            asyncio.ensure_future(node.call("t/sleep", {"seconds": 30}))
            await asyncio.sleep(0.1)
        loop.run_until_complete(main())
        """,
        # and where a daemon thread runs it
        """
        started = threading.Event()
        async def main():
            await node.start(listen=["127.0.0.1:0"])
            for _ in range(1000):
                asyncio.ensure_future(node.call("t/sleep", {"seconds": 30}))
            async for _ in node.subscribe("t/ticks"):
                started.set()
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        started.wait()
        """,
        # by sys.exit of a handler
        """
        @node.query("t/exit")
        def leave() -> None:
            sys.exit(0)
        async def main():
            await node.start()
            await node.call("t/exit")
        asyncio.run(main())
        """,
        # with a connection that nobody closes
        """
        async def main():
            await node.start(listen=["127.0.0.1:0"], tokens={"token-of-the-test-0123456789": {}})
            global connection
            connection = await alknet.connect(node.listening[0].replace("http", "ws"), token="token-of-the-test-0123456789")
            assert await connection.call("t/sleep", {"seconds": 0}) == "slept"
        asyncio.run(main())
        connection._stop_owner = None
        """,
    ],
    ids=["running", "abandoned", "daemon", "exit", "connection"],
)
def test_the_interpreter_ends_well(python, end):
    begun = time.monotonic()
    ended = python(textwrap.dedent(NODE) + textwrap.dedent(end))
    assert ended.returncode == 0 and "Fatal" not in ended.stderr, ended.stderr
    assert time.monotonic() - begun < 10


def test_ctrl_c_stops_gracefully_and_the_second_at_once(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(NODE) + textwrap.dedent("""
        import logging
        logging.basicConfig(level="INFO")
        @node.query("t/started")
        async def started() -> None:
            print("started", flush=True)
            await asyncio.sleep(float(sys.argv[1]))
            print("done", flush=True)
        real = node.start
        async def start(**how):
            await real(**how)
            node.kept = asyncio.ensure_future(node.call("t/started"))
        node.start = start
        node.run(listen=["127.0.0.1:0"])
        print("ended", flush=True)
    """))
    for seconds, signals, said in (("0.3", 1, "done\nended\n"), ("25", 2, "ended\n")):
        process = subprocess.Popen(
            [sys.executable, str(program), seconds], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "started\n"
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (0, said), err


async def test_a_forked_child_gets_errors_and_the_parent_goes_on(node):
    sleeping(node, {})
    async with node.running(listen=["127.0.0.1:0"]):
        running = asyncio.ensure_future(node.call("t/sleep", {"seconds": 0.5}))
        await asyncio.sleep(0.01)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                host_of_parent = node._host
                try:
                    host_of_parent.submit(None, None)
                except alknet.ClosedError as error:
                    status = 0 if "forked" in str(error) else 2
                gc.collect()
            finally:
                os._exit(status)
        assert await asyncio.to_thread(os.waitpid, child, 0) == (child, 0)
        assert await running == "slept"
        assert await node.call("t/sleep", {"seconds": 0}) == "slept"


@pytest.mark.smoke
def test_a_forked_child_has_nodes_of_its_own(python):
    ended = python("""
        import asyncio, gc, multiprocessing, os
        import alknet

        node = alknet.Node()
        node.query("t/pid")(lambda: os.getpid())

        def child(pid):
            try:
                asyncio.run(node.call("t/pid"))
                os._exit(3)
            except alknet.ClosedError as error:
                assert "forked" in str(error)
            gc.collect()
            own = alknet.Node()
            own.query("t/pid")(lambda: os.getpid())
            async def main():
                async with own.running(listen=["127.0.0.1:0"]):
                    assert await own.call("t/pid") == os.getpid() != pid
            asyncio.run(main())

        async def main():
            async with node.running(listen=["127.0.0.1:0"]):
                assert await node.call("t/pid") == os.getpid()
                context = multiprocessing.get_context("fork")
                process = context.Process(target=child, args=(os.getpid(),))
                process.start()
                await asyncio.to_thread(process.join)
                assert process.exitcode == 0, process.exitcode
                assert await node.call("t/pid") == os.getpid()
        asyncio.run(main())
        print("good")
    """)
    assert (ended.returncode, ended.stdout) == (0, "good\n"), ended.stderr


def test_a_node_runs_on_uvloop(python):
    pytest.importorskip("uvloop")
    ended = python("""
        import asyncio, itertools, uvloop
        import alknet

        node = alknet.Node()

        @node.query("t/add")
        async def add(a: int, b: int) -> int:
            await asyncio.sleep(0)
            return a + b

        @node.subscription("t/count")
        async def count():
            for i in itertools.count():
                yield i

        async def main():
            async with node.running(listen=["127.0.0.1:0"], tokens={"token-of-the-test-0123456789": {}}):
                assert "uvloop" in type(asyncio.get_running_loop()).__module__
                sums = await asyncio.gather(*(node.call("t/add", {"a": i, "b": 1}) for i in range(1000)))
                assert sums == list(range(1, 1001))
                url = node.listening[0].replace("http", "ws")
                async with alknet.connect(url, token="token-of-the-test-0123456789") as connection:
                    async for value in connection.subscribe("t/count"):
                        if value == 1000:
                            break
        uvloop.run(main()) if hasattr(uvloop, "run") else (uvloop.install(), asyncio.run(main()))
        print("good")
    """)
    assert (ended.returncode, ended.stdout) == (0, "good\n"), ended.stderr


def test_an_idle_node_is_small(python):
    ended = python("""
        import asyncio, json, logging, sys

        def own():
            with open("/proc/self/smaps_rollup") as f:
                return sum(int(line.split()[1]) for line in f if line.startswith("Private_Dirty:"))

        async def main():
            before = own()
            import alknet
            node = alknet.Node()
            node.query("t/echo", input_schema=True)(lambda value: value)
            async with node.running(listen=["127.0.0.1:0"]):
                await node.call("t/echo", 1)
                print(own() - before, "pydantic" in sys.modules)
        asyncio.run(main())
    """)
    kib, pydantic = ended.stdout.split()
    assert int(kib) < 5 * 1024 and pydantic == "False"
