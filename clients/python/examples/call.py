"""Calls what serve.py serves:  call.py [PORT]"""

import asyncio
import sys

import alknet


async def main(port: str) -> None:
    async with alknet.connect(f"ws://127.0.0.1:{port}", token="token-of-the-example-call.py") as conn:
        print(await conn.call("demo/add", {"a": 1, "b": 2}))
        async for value in conn.subscribe("demo/count", {"to": 3}):
            print(value)
        try:
            await conn.call("demo/take", {"n": 4})
        except alknet.CallError as error:
            print(error)


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "4780"))
