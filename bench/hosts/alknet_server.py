"""An echo and a sum, by plain functions:  alknet_server.py TOKEN asyncio|uvloop

Prints its port and serves until it is killed."""

import importlib
import sys
from typing import TypedDict
from urllib.parse import urlsplit

import alknet


class Payload(TypedDict):
    text: str


node = alknet.Node()


@node.query("demo/echo")
def echo(payload: Payload) -> Payload:
    return payload


@node.query("demo/add")
def add(a: int, b: int) -> int:
    return a + b


async def main(token):
    await node.serve(listen=["127.0.0.1:0"], tokens={token: {"scopes": []}}, config={"log": {"level": "warn"}})
    print(urlsplit(node.listening[0]).port, flush=True)


importlib.import_module(sys.argv[2]).run(main(sys.argv[1]))
