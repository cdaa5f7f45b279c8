"""Values of a subscription, as fast as they come:  alknet_values.py WARMUP SECONDS

From an asynchronous generator of a node in this process to an `async for`, in which each has to have the number that follows. Prints how many came in a
second of the measured window, and what each has cost this process in CPU time."""

import asyncio
import json
import sys
import time
from typing import Any, AsyncIterator

import alknet

TEXT = "x" * 70
node = alknet.Node()


@node.subscription("bench/stream")
async def stream() -> AsyncIterator[dict[str, Any]]:
    number = 0
    while True:
        yield {"number": number, "text": TEXT}
        number += 1


async def main(warmup, seconds):
    begin = time.monotonic() + warmup
    number = first = 0
    async with node.running():
        async for value in node.subscribe("bench/stream"):
            if value["number"] != number:
                raise ValueError(f"{value} in place of {number}")
            number += 1
            if number % 256:
                continue
            now = time.monotonic()
            if not first and now >= begin:
                first, begun, before = number, now, time.process_time()
            elif first and now - begun >= seconds:
                break
        used, count = time.process_time() - before, number - first
    print(json.dumps({"total": count, "rate": count / (now - begun), "cpu_us": used * 1e6 / count, "busy": used / (now - begun)}))


asyncio.run(main(*map(float, sys.argv[1:])))
