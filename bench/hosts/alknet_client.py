"""A caller:  alknet_client.py URL TOKEN INPUT IN_FLIGHT WARMUP SECONDS"""

import asyncio
import json
import sys

import alknet
import meter


async def main(url, token, text, in_flight, warmup, seconds):
    given = json.loads(text)
    async with await alknet.connect(url, token=token) as conn:

        async def call():
            if await conn.call("demo/echo", given) != given:
                raise ValueError("a wrong answer")

        await call()
        await meter.run(call, int(in_flight), float(warmup), float(seconds))


asyncio.run(main(*sys.argv[1:]))
