"""A page with live data, on http://127.0.0.1:4780/:  live.py [PORT]"""

import asyncio
import os
import pathlib
import sys
import time
from typing import AsyncIterator

from typing_extensions import TypedDict

import alknet

node = alknet.Node()


class Sample(TypedDict):
    time: float
    load: float


@node.subscription("live/load")
async def load() -> AsyncIterator[Sample]:
    """The load of this machine, four times a second."""
    while True:
        yield {"time": time.time(), "load": os.getloadavg()[0]}
        await asyncio.sleep(0.25)


folder = pathlib.Path(__file__).resolve().parent / "live"
port = sys.argv[1] if len(sys.argv) > 1 else "4780"
node.run(listen=[f"127.0.0.1:{port}"], config={"gateway": {"decoy": {"kind": "static_site", "target": str(folder)}}})
