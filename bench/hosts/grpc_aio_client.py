"""A caller on grpc.aio:  grpc_aio_client.py PORT IN_FLIGHT WARMUP SECONDS BYTES"""

import sys

import grpc
import uvloop

import echo_pb2
import echo_pb2_grpc
import meter


async def main(port, in_flight, warmup, seconds, size):
    request = echo_pb2.Payload(data=b"x" * int(size))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = echo_pb2_grpc.EchoStub(channel)

        async def call():
            reply = await stub.Call(request)
            if reply.data != request.data:
                raise ValueError("a wrong answer")

        await call()
        await meter.run(call, int(in_flight), float(warmup), float(seconds))


uvloop.run(main(*sys.argv[1:]))
