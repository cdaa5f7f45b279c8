// The load generator for gRPC:  client PORT CHANNELS IN_FLIGHT THREADS WARMUP SECONDS BYTES
//
// Each channel has a TCP connection of its own and IN_FLIGHT calls in flight; each thread has its own completion queue, channels
// and histogram. Every answer's status and content is checked; one that differs ends the run with status 1. Prints the same
// line as load.c.
#include "../histogram.h"
#include "echo.grpc.pb.h"

#include <grpcpp/grpcpp.h>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace
{

uint64_t now_ns()
{
    return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

std::atomic<uint64_t> window_begin{UINT64_MAX}, window_end{UINT64_MAX};

struct Slot {
    bench::Echo::Stub *stub;
    std::optional<grpc::ClientContext> context; // good for one call
    bench::Payload reply;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<bench::Payload>> reader;
    uint64_t sent;
};

struct Worker {
    std::vector<std::unique_ptr<bench::Echo::Stub>> stubs;
    std::vector<Slot> slots;
    grpc::CompletionQueue queue;
    bench::Payload request;
    histogram latencies{};
    uint64_t answers = 0, all = 0; // in the window; with those before and after

    void start(Slot &s, uint64_t now)
    {
        s.context.emplace();
        s.sent = now;
        s.reader = s.stub->AsyncCall(&*s.context, request, &queue);
        s.reader->Finish(&s.reply, &s.status, &s);
    }

    void run()
    {
        size_t running = slots.size();
        void *tag;
        bool ok;
        for (Slot &s : slots)
            start(s, now_ns());
        while (running && queue.Next(&tag, &ok)) {
            Slot &s = *static_cast<Slot *>(tag);
            uint64_t now = now_ns();
            if (!ok || !s.status.ok() || s.reply.data() != request.data()) {
                std::fprintf(stderr, "client: a call failed: %s\n", s.status.error_message().c_str());
                std::exit(1);
            }
            all++;
            if (now >= window_begin.load(std::memory_order_relaxed) &&
                now < window_end.load(std::memory_order_relaxed)) {
                histogram_add(&latencies, now - s.sent);
                answers++;
            }
            if (now < window_end.load(std::memory_order_relaxed))
                start(s, now);
            else
                running--;
        }
    }
};

std::unique_ptr<bench::Echo::Stub> dial(const std::string &address)
{
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1); // else all channels share one connection
    auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5))) {
        std::fprintf(stderr, "client: cannot connect to %s\n", address.c_str());
        std::exit(1);
    }
    return bench::Echo::NewStub(channel);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 8) {
        std::fprintf(stderr, "client PORT CHANNELS IN_FLIGHT THREADS WARMUP SECONDS BYTES\n");
        return 1;
    }
    const std::string address = std::string("127.0.0.1:") + argv[1];
    const int channels = std::atoi(argv[2]), in_flight = std::atoi(argv[3]);
    const int count = std::min(std::atoi(argv[4]), channels);
    const double warmup = std::atof(argv[5]), seconds = std::atof(argv[6]);
    std::vector<std::unique_ptr<Worker>> workers;
    std::vector<std::thread> threads;

    for (int i = 0; i < count; i++) {
        auto w = std::make_unique<Worker>();
        int mine = channels / count + (i < channels % count);
        w->request.set_data(std::string(static_cast<size_t>(std::atoi(argv[7])), 'x'));
        w->slots = std::vector<Slot>(static_cast<size_t>(mine * in_flight));
        for (int j = 0; j < mine; j++)
            w->stubs.push_back(dial(address));
        for (size_t j = 0; j < w->slots.size(); j++)
            w->slots[j].stub = w->stubs[j % w->stubs.size()].get();
        workers.push_back(std::move(w));
    }
    const uint64_t begin = now_ns() + static_cast<uint64_t>(warmup * 1e9);
    window_begin = begin;
    window_end = begin + static_cast<uint64_t>(seconds * 1e9);
    for (auto &w : workers)
        threads.emplace_back([&w] { w->run(); });
    for (auto &t : threads)
        t.join();

    auto all = std::make_unique<histogram>();
    uint64_t answers = 0, total = 0;
    for (auto &w : workers) {
        histogram_join(all.get(), &w->latencies);
        answers += w->answers;
        total += w->all;
    }
    std::printf("{\"calls\":%llu,\"total\":%llu,\"rate\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
                static_cast<unsigned long long>(answers), static_cast<unsigned long long>(total),
                static_cast<double>(answers) / seconds,
                histogram_at(all.get(), 0.5) / 1000, histogram_at(all.get(), 0.99) / 1000);
    std::fflush(stdout);
    std::_Exit(0); // gRPC's own tear-down is not what is measured
}
