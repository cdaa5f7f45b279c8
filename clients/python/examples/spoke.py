"""Dials the hub, from behind whatever firewall, and serves over the connection:  spoke.py [PORT]"""

import asyncio
import sys

import alknet

spoke = alknet.Node({"peers": [{"peer_id": "hub", "scopes": [], "websocket": True}]})


@spoke.query("sensor/temperature")
def temperature() -> float:
    """In degrees Celsius."""
    return 21.5


async def main(port: str) -> None:
    async with spoke.running():
        url = f"ws://127.0.0.1:{port}"
        async with spoke.connect(url, token="token-of-the-spoke-in-paris", peer="hub") as conn:
            await conn.wait_closed()


try:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "4780"))
except KeyboardInterrupt:
    pass
