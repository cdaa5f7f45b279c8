// The load generator for a gRPC bidirectional stream:  stream PORT IN_FLIGHT queue|threads WARMUP SECONDS BYTES
//
// One connection, one stream on it, IN_FLIGHT messages sent and not yet answered; reading and writing go on at the same time, each one
// by one as the API wants it. "queue": on a completion queue that one thread polls, the least that a client can cost. "threads": a client
// as programs write it, with a thread that writes and one that reads, each of which blocks. Answers come in order; each
// one's content is checked, and one that differs ends the run with status 1. Prints the same line as load.c.
#include "../histogram.h"
#include "echo.grpc.pb.h"

#include <grpcpp/grpcpp.h>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace
{

uint64_t now_ns()
{
    return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

[[noreturn]] void fail(const std::string &why)
{
    std::fprintf(stderr, "stream: %s\n", why.c_str());
    std::_Exit(1);
}

// What has been sent and not yet answered, and what is to follow.
class Flight
{
  public:
    Flight(size_t in_flight, size_t bytes, double warmup, double seconds)
        : in_flight_(in_flight), seconds_(seconds)
    {
        request.set_data(std::string(bytes, 'x'));
        begin_ = now_ns() + static_cast<uint64_t>(warmup * 1e9);
        end_ = begin_ + static_cast<uint64_t>(seconds * 1e9);
    }

    // Whether another message may be sent; then it counts as sent.
    bool send()
    {
        uint64_t now = now_ns();
        over_ = over_ || now >= end_;
        if (over_ || sent_.size() == in_flight_)
            return false;
        sent_.push_back(now);
        return true;
    }

    void answered()
    {
        uint64_t now = now_ns();
        if (sent_.empty() || reply.data() != request.data())
            fail("a wrong answer");
        if (now >= begin_ && now < end_)
            histogram_add(&latencies_, now - sent_.front());
        sent_.pop_front();
        total_++;
    }

    bool waiting() const
    {
        return !sent_.empty();
    }

    bool ending() const
    {
        return over_;
    }

    bool over() const
    {
        return over_ && sent_.empty();
    }

    // gRPC's own tear-down is not what is measured.
    [[noreturn]] void finish() const
    {
        std::printf(
            "{\"calls\":%llu,\"total\":%llu,\"rate\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
            static_cast<unsigned long long>(latencies_.count),
            static_cast<unsigned long long>(total_),
            static_cast<double>(latencies_.count) / seconds_, histogram_at(&latencies_, 0.5) / 1000,
            histogram_at(&latencies_, 0.99) / 1000);
        std::fflush(stdout);
        std::_Exit(0);
    }

    bench::Payload request, reply;

  private:
    size_t in_flight_;
    double seconds_;
    std::deque<uint64_t> sent_; // when
    histogram latencies_{};
    uint64_t begin_, end_, total_ = 0;
    bool over_ = false;
};

[[noreturn]] void run_queue(bench::Echo::Stub &stub, Flight &flight)
{
    enum : intptr_t { BEGUN, READ, WRITTEN };
    auto tag = [](intptr_t what) { return reinterpret_cast<void *>(what); };
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    auto stream = stub.AsyncStream(&context, &queue, tag(BEGUN));
    bool ok, writing = false;
    void *got;

    do {
        if (!queue.Next(&got, &ok) || !ok)
            fail("the stream broke");
        if (got == tag(READ))
            flight.answered();
        if (got == tag(WRITTEN))
            writing = false;
        else
            stream->Read(&flight.reply, tag(READ));
        if (!writing && flight.send()) {
            writing = true;
            stream->Write(flight.request, tag(WRITTEN));
        }
    } while (!flight.over());
    flight.finish();
}

void run_threads(bench::Echo::Stub &stub, Flight &flight)
{
    grpc::ClientContext context;
    auto stream = stub.Stream(&context);
    std::mutex mutex;
    std::condition_variable changed;
    std::thread reader([&] {
        for (;;) {
            std::unique_lock<std::mutex> lock(mutex);
            changed.wait(lock, [&] { return flight.waiting() || flight.over(); });
            if (flight.over())
                flight.finish();
            lock.unlock();
            if (!stream->Read(&flight.reply))
                fail("the stream broke");
            lock.lock();
            flight.answered();
            lock.unlock();
            changed.notify_one();
        }
    });
    for (bool sent = true; sent;) {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return (sent = flight.send()) || flight.ending(); });
        lock.unlock();
        changed.notify_one();
        if (sent && !stream->Write(flight.request))
            fail("the stream broke");
    }
    reader.join();
}

} // namespace

int main(int argc, char **argv)
{
    const std::string client = argc == 7 ? argv[3] : "";
    if (client != "queue" && client != "threads") {
        std::fprintf(stderr, "stream PORT IN_FLIGHT queue|threads WARMUP SECONDS BYTES\n");
        return 1;
    }
    auto channel = grpc::CreateChannel(std::string("127.0.0.1:") + argv[1],
                                       grpc::InsecureChannelCredentials());
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5)))
        fail("cannot connect");
    auto stub = bench::Echo::NewStub(channel);
    Flight flight(static_cast<size_t>(std::atoi(argv[2])), static_cast<size_t>(std::atoi(argv[6])),
                  std::atof(argv[4]), std::atof(argv[5]));
    if (client == "queue")
        run_queue(*stub, flight);
    run_threads(*stub, flight);
}
