"""A node with a query, a mutation that can fail, and a subscription:  serve.py [PORT]; see call.py."""

import asyncio
import sys
from typing import AsyncIterator

import alknet

node = alknet.Node()


class NotEnough(alknet.DomainError):
    """There is not enough of it."""

    code = "NOT_ENOUGH"
    http_status = 409


@node.query("demo/add")
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@node.mutation("demo/take", errors=[NotEnough], access=["demo:take"])
async def take(n: int) -> int:
    """Takes n of 3."""
    if n > 3:
        raise NotEnough("there are 3")
    return 3 - n


@node.subscription("demo/count")
async def count(to: int) -> AsyncIterator[int]:
    """Counts, ten numbers a second."""
    for i in range(to):
        yield i
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    port = sys.argv[1] if len(sys.argv) > 1 else "4780"
    node.run(listen=[f"127.0.0.1:{port}"], tokens={"token-of-the-example-call.py": {"scopes": ["demo:*"]}})
