// The gRPC side of the comparison: a unary echo and one on a bidirectional stream, both on the callback API, clear text on loopback,
// nothing else set. Prints the port that the kernel chose and serves until it is killed.
#include "echo.grpc.pb.h"

#include <grpcpp/grpcpp.h>
#include <cstdio>
#include <deque>
#include <mutex>

namespace
{

// Reads and writes at the same time, each one by one as the API wants it; what has been read and not yet written waits in a queue.
// Its callbacks run on gRPC's threads.
class Echoes final : public grpc::ServerBidiReactor<bench::Payload, bench::Payload>
{
  public:
    Echoes()
    {
        StartRead(&in_);
    }
    void OnReadDone(bool ok) override
    {
        std::unique_lock<std::mutex> lock(mutex_);
        if (ok) {
            waiting_.push_back(std::move(in_));
            if (waiting_.size() == 1)
                StartWrite(&waiting_.front());
            lock.unlock();
            in_.Clear();
            StartRead(&in_);
            return;
        }
        read_all_ = true;
        if (waiting_.empty())
            Finish(grpc::Status::OK);
    }
    void OnWriteDone(bool ok) override
    {
        std::lock_guard<std::mutex> lock(mutex_);
        waiting_.pop_front();
        if (!ok)
            waiting_.clear();
        if (!waiting_.empty())
            StartWrite(&waiting_.front());
        else if (read_all_)
            Finish(grpc::Status::OK);
    }
    void OnDone() override
    {
        delete this;
    }

  private:
    std::mutex mutex_;
    bench::Payload in_;
    std::deque<bench::Payload> waiting_; // the first one is being written
    bool read_all_ = false;
};

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
    grpc::ServerBidiReactor<bench::Payload, bench::Payload> *
    Stream(grpc::CallbackServerContext *) override
    {
        return new Echoes;
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
