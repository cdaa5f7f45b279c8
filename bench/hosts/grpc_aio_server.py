"""A unary echo and a sum on grpc.aio and uvloop, clear text on loopback, nothing else set. Coroutines, since it runs plain functions on threads, at a
greater cost. Prints its port and serves until it is killed. What is generated from grpc/echo.proto is found in PYTHONPATH."""

import uvloop
from grpc import aio

import echo_pb2
import echo_pb2_grpc


class Echo(echo_pb2_grpc.EchoServicer):
    async def Call(self, request, context):
        return echo_pb2.Payload(data=request.data)

    async def Add(self, request, context):
        return echo_pb2.Sum(sum=request.a + request.b)


async def main():
    server = aio.server()
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


uvloop.run(main())
