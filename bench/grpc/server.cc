// The gRPC side of the comparison: a unary echo on the callback API, clear text on loopback, nothing else set. Prints the port
// that the kernel chose and serves until it is killed.
#include "echo.grpc.pb.h"

#include <grpcpp/grpcpp.h>
#include <cstdio>

namespace
{

class Echo final : public bench::Echo::CallbackService
{
    grpc::ServerUnaryReactor *Call(grpc::CallbackServerContext *context,
                                   const bench::Payload *request, bench::Payload *reply) override
    {
        grpc::ServerUnaryReactor *reactor = context->DefaultReactor();
        reply->set_data(request->data());
        reactor->Finish(grpc::Status::OK);
        return reactor;
    }
};

} // namespace

int main()
{
    Echo echo;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&echo);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server || !port)
        return 1;
    std::printf("%d\n", port);
    std::fflush(stdout);
    server->Wait();
}
