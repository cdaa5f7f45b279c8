"""A process that waits:  idle.py bare|node|annotated

With nothing but asyncio and json; with a node of the package alknet that listens, whose one operation's schema is given by hand; or made from annotations.
Says 0 when it waits."""

import asyncio
import json
import sys


async def serve(how):
    import alknet

    node = alknet.Node()
    if how == "annotated":

        @node.query("demo/add")
        def add(a: int, b: int) -> int:
            return a + b
    else:

        @node.query("demo/echo", input_schema={"type": "object"}, output_schema={"type": "object"})
        def echo(value):
            return value

    await node.start(listen=["127.0.0.1:0"])
    return node


async def main(how):
    node = json.loads("null") if how == "bare" else await serve(how)
    print(0, flush=True)
    await asyncio.sleep(1e9)
    return node


asyncio.run(main(sys.argv[1]))
