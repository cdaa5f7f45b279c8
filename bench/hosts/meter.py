"""How callers in Python are measured: so many tasks, each of which makes one call after the other. Prints the line of load.h, and what it has cost this
process per call, in CPU time of all its threads."""

import asyncio
import json
import time


async def run(call, in_flight, warmup, seconds):
    """call() makes a call and looks at what it is answered with."""
    begin = time.perf_counter_ns() + int(warmup * 1e9)
    end = begin + int(seconds * 1e9)
    latencies, total = [], 0

    async def caller():
        nonlocal total
        sent = time.perf_counter_ns()
        while sent < end:
            await call()
            now = time.perf_counter_ns()
            total += 1
            if begin <= now < end:
                latencies.append(now - sent)
            sent = now

    before, begun = time.process_time(), time.monotonic()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    used, took = time.process_time() - before, time.monotonic() - begun
    latencies.sort()
    print(json.dumps({"calls": len(latencies), "total": total, "rate": len(latencies) / seconds, "p50_us": latencies[len(latencies) // 2] / 1000,
                      "p99_us": latencies[len(latencies) * 99 // 100] / 1000, "cpu_us": used * 1e6 / total, "busy": used / took}))
