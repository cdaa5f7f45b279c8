// The load generator for gRPC:  client PORT CHANNELS IN_FLIGHT THREADS WARMUP SECONDS BYTES|add
//
// An echo of so many bytes, or the sum of two numbers.
// Each channel has a TCP connection of its own and IN_FLIGHT calls in flight. THREADS share the channels, each with its own
// completion queue, channels and histogram: the least that a client can cost. With THREADS 0 it is a client as programs write it:
// a thread for each call in flight, which blocks in it. Every answer's status and content is checked; one that differs
// ends the run with status 1. Prints the same line as load.c.
#include "../histogram.h"
#include "echo.grpc.pb.h"

#include <grpcpp/grpcpp.h>
#include <algorithm>
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

uint64_t window_begin, window_end; // set before the threads start

struct Echo {
    using Request = bench::Payload;
    using Reply = bench::Payload;
    static constexpr auto start = &bench::Echo::Stub::AsyncCall;
    static constexpr auto wait = &bench::Echo::Stub::Call;

    static Request request(const char *bytes)
    {
        Request r;
        r.set_data(std::string(static_cast<size_t>(std::atoi(bytes)), 'x'));
        return r;
    }
    static bool right(const Request &request, const Reply &reply)
    {
        return reply.data() == request.data();
    }
};

struct Add {
    using Request = bench::Numbers;
    using Reply = bench::Sum;
    static constexpr auto start = &bench::Echo::Stub::AsyncAdd;
    static constexpr auto wait = &bench::Echo::Stub::Add;

    static Request request(const char *)
    {
        Request r;
        r.set_a(1);
        r.set_b(2);
        return r;
    }
    static bool right(const Request &request, const Reply &reply)
    {
        return reply.sum() == request.a() + request.b();
    }
};

template <class Method> struct Slot {
    bench::Echo::Stub *stub;
    std::optional<grpc::ClientContext> context; // good for one call
    typename Method::Reply reply;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<typename Method::Reply>> reader;
    uint64_t sent;
};

template <class Method> struct Worker {
    std::vector<std::unique_ptr<bench::Echo::Stub>> stubs;
    std::vector<Slot<Method>> slots;
    grpc::CompletionQueue queue;
    typename Method::Request request;
    histogram latencies{};
    uint64_t answers = 0, all = 0; // in the window; with those before and after

    // Checks and counts an answer; says whether another call is to follow.
    bool count(const grpc::Status &status, const typename Method::Reply &reply, uint64_t sent,
               uint64_t now)
    {
        if (!status.ok() || !Method::right(request, reply)) {
            std::fprintf(stderr, "client: a call failed: %s\n", status.error_message().c_str());
            std::_Exit(1);
        }
        all++;
        if (now >= window_begin && now < window_end) {
            histogram_add(&latencies, now - sent);
            answers++;
        }
        return now < window_end;
    }

    void start(Slot<Method> &s, uint64_t now)
    {
        s.context.emplace();
        s.sent = now;
        s.reader = (s.stub->*Method::start)(&*s.context, request, &queue);
        s.reader->Finish(&s.reply, &s.status, &s);
    }

    void run()
    {
        size_t running = slots.size();
        void *tag;
        bool ok;
        for (Slot<Method> &s : slots)
            start(s, now_ns());
        while (running && queue.Next(&tag, &ok)) {
            Slot<Method> &s = *static_cast<Slot<Method> *>(tag);
            uint64_t now = now_ns();
            if (count(s.status, s.reply, s.sent, now))
                start(s, now);
            else
                running--;
        }
    }

    void run_blocking()
    {
        typename Method::Reply reply;
        uint64_t sent, now = now_ns();
        grpc::Status status;
        do {
            grpc::ClientContext context;
            sent = now;
            status = (slots[0].stub->*Method::wait)(&context, request, &reply);
            now = now_ns();
        } while (count(status, reply, sent, now));
    }
};

std::shared_ptr<grpc::Channel> dial(const std::string &address)
{
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1); // else all channels share one connection
    auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5))) {
        std::fprintf(stderr, "client: cannot connect to %s\n", address.c_str());
        std::exit(1);
    }
    return channel;
}

template <class Method> void measure(char **argv)
{
    const std::string address = std::string("127.0.0.1:") + argv[1];
    const int channels = std::atoi(argv[2]), in_flight = std::atoi(argv[3]);
    const bool blocking = std::atoi(argv[4]) == 0;
    const int count = blocking ? channels * in_flight : std::min(std::atoi(argv[4]), channels);
    const double warmup = std::atof(argv[5]), seconds = std::atof(argv[6]);
    std::vector<std::shared_ptr<grpc::Channel>> open;
    std::vector<std::unique_ptr<Worker<Method>>> workers;
    std::vector<std::thread> threads;

    for (int i = 0; i < channels; i++)
        open.push_back(dial(address));
    for (int i = 0; i < count; i++) {
        auto w = std::make_unique<Worker<Method>>();
        w->request = Method::request(argv[7]);
        for (int j = i % channels; j < channels; j += count)
            w->stubs.push_back(bench::Echo::NewStub(open[static_cast<size_t>(j)]));
        w->slots = std::vector<Slot<Method>>(
            blocking ? 1 : w->stubs.size() * static_cast<size_t>(in_flight));
        for (size_t j = 0; j < w->slots.size(); j++)
            w->slots[j].stub = w->stubs[j % w->stubs.size()].get();
        workers.push_back(std::move(w));
    }
    window_begin = now_ns() + static_cast<uint64_t>(warmup * 1e9);
    window_end = window_begin + static_cast<uint64_t>(seconds * 1e9);
    for (auto &w : workers)
        threads.emplace_back([&w, blocking] { blocking ? w->run_blocking() : w->run(); });
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
                static_cast<double>(answers) / seconds, histogram_at(all.get(), 0.5) / 1000,
                histogram_at(all.get(), 0.99) / 1000);
    std::fflush(stdout);
    std::_Exit(0); // gRPC's own tear-down is not what is measured
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 8) {
        std::fprintf(stderr, "client PORT CHANNELS IN_FLIGHT THREADS WARMUP SECONDS BYTES|add\n");
        return 1;
    }
    if (std::string(argv[7]) == "add")
        measure<Add>(argv);
    else
        measure<Echo>(argv);
}
