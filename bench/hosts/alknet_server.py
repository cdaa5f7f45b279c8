"""An echo and a sum, by plain functions:  alknet_server.py TOKEN asyncio|uvloop

Prints its port and serves until it is killed."""

import importlib
import sys
from urllib.parse import urlsplit

import alknet

node = alknet.Node()


@node.query("demo/echo")
def echo(text: str) -> dict[str, str]:
    return {"text": text}


@node.query("demo/add")
def add(a: int, b: int) -> int:
    return a + b


async def main(token):
    await node.start(listen=["127.0.0.1:0"], tokens={token: {"scopes": []}})
    print(urlsplit(node.listening[0]).port, flush=True)
    await node.wait_stopped()


importlib.import_module(sys.argv[2]).run(main(sys.argv[1]))
