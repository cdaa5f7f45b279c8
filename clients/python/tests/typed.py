"""What users write, for the type checkers."""

import asyncio
from dataclasses import dataclass
from typing import Any, AsyncIterator

from typing_extensions import assert_type

import alknet

node = alknet.Node({"limits": {"deadline_ms": "5s"}}, workers=2)


@dataclass
class Shortage:
    left: int


class NotEnough(alknet.DomainError):
    code = "NOT_ENOUGH"
    http_status = 409
    details: Shortage


@node.query("demo/add", access=["demo:add"], errors=[NotEnough])
def add(a: int, b: int) -> int:
    if a > 3:
        raise NotEnough("there are 3", Shortage(3))
    return a + b


@node.subscription("demo/count")
async def count(to: int, context: alknet.Context) -> AsyncIterator[int]:
    for i in range(to):
        yield i + int(await context.call("demo/add", {"a": i, "b": 1}, timeout=1.0))


assert_type(add(1, 2), int)


async def main() -> None:
    async with node.running(listen=["127.0.0.1:0", {"unix": "x", "mode": "0600"}], tokens={"x" * 24: {"scopes": []}}):
        result = await node.call("demo/add", {"a": 1, "b": 2}, timeout=5.0, identity={"id": "x"})
        assert_type(result, Any)
        async for value in node.subscribe("demo/count", {"to": 3}):
            print(value)
        async with alknet.connect(node.listening[0], token="x" * 24, node=node) as connection:
            assert_type(connection, alknet.Connection)
            try:
                await connection.call("demo/add", {"a": 4}, errors=[NotEnough])
            except NotEnough as error:
                assert_type(error.details, Shortage)
            except alknet.CallError as error:
                assert_type(error.code, str)
        kept = await alknet.connect(node.listening[0])
        await kept.close()
        await node.stop(graceful=False)


def blocking() -> None:
    with alknet.sync.connect("ws://127.0.0.1:1") as connection:
        for value in connection.subscribe("demo/count", {"to": 3}):
            print(value)


asyncio.run(main())
