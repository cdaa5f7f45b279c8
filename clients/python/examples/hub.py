"""A hub that asks each spoke for its temperature:  hub.py [PORT]; see spoke.py."""

import asyncio
import sys

import alknet

TOKENS = {"token-of-the-spoke-in-paris": {"id": "paris", "scopes": [], "websocket": True}}
hub = alknet.Node()


async def main(port: str) -> None:
    serving = asyncio.ensure_future(hub.serve(listen=[f"127.0.0.1:{port}"], tokens=TOKENS))
    while not serving.done():
        await asyncio.sleep(0.1)
        try:
            print("paris:", await hub.call("sensor/temperature", peer="paris"), flush=True)
            break
        except alknet.CallError as error:
            if error.code != "NOT_FOUND":  # it is not connected yet
                raise
    await serving


try:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "4780"))
except KeyboardInterrupt:
    pass
