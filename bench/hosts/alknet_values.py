"""Values of a subscription, as many as come:  alknet_values.py asyncio|uvloop WARMUP SECONDS [URL TOKEN]

From bench/stream of publish.c at URL, or without one from a generator of a node in this process. Each has to have the number that follows. Prints
how many came in a second of the measured window, and what each has cost this process in CPU time."""

import importlib
import json
import sys
import time
from typing import AsyncIterator

import alknet

TEXT = "x" * 70
node = alknet.Node()


@node.subscription("bench/stream")
async def stream() -> AsyncIterator[dict]:
    number = 0
    while True:
        yield {"number": number, "text": TEXT}
        number += 1


async def read(source, warmup, seconds):
    begin = time.monotonic() + warmup
    number = first = 0
    async for value in source.subscribe("bench/stream", {}):
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
    used = time.process_time() - before
    print(json.dumps({"total": number - first, "rate": (number - first) / (now - begun), "cpu_us": used * 1e6 / (number - first), "busy": used / (now - begun)}))


async def main(warmup, seconds, url=None, token=None):
    if url:
        async with await alknet.connect(url, token=token) as conn:
            await read(conn, float(warmup), float(seconds))
    else:
        async with node.running():
            await read(node, float(warmup), float(seconds))


importlib.import_module(sys.argv[1]).run(main(*sys.argv[2:]))
