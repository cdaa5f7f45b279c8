/* Requests through a NATS broker, by its C client:  echo answer PORT, or  echo ask PORT BYTES IN_FLIGHT WARMUP SECONDS
 *
 * One connection for each of the two. Whoever answers sends back what came, from the callback; prints a line when it is known to
 * the broker. Whoever asks keeps IN_FLIGHT requests in flight, each answered by a publication to an inbox of its own, and asks
 * anew from the callback. That takes one thread; a blocking request for each would take as many as are in flight. The client sends
 * at once: otherwise it gathers for a millisecond, which makes fewer requests with one and with 64 in flight. Each answer is
 * compared with what was asked. Prints the line of load.h. */
#include "../client.h"
#include "../histogram.h"

#include <nats/nats.h>
#include <signal.h>
#include <unistd.h>

#define SUBJECT "bench.echo"
#define IN_FLIGHT_MAX 4096
#define NAME_ROOM 80

static struct {
    natsConnection *conn;
    char reply[IN_FLIGHT_MAX][NAME_ROOM];
    uint64_t begun[IN_FLIGHT_MAX];
    char *payload;
    int bytes;
    size_t prefix; /* of an inbox's name, before its number */
    uint64_t window_begin, window_end, window, total;
    unsigned in_flight; /* changed by the callback's thread alone, once all are asked */
    struct histogram latencies;
} asker;

static void check(natsStatus s, const char *what)
{
    if (s != NATS_OK)
        fail("%s: %s", what, natsStatus_GetText(s));
}

static natsConnection *open_connection(const char *port)
{
    natsOptions *o;
    natsConnection *c;
    char url[64];

    snprintf(url, sizeof url, "nats://127.0.0.1:%s", port);
    check(natsOptions_Create(&o), "options");
    check(natsOptions_SetURL(o, url), url);
    check(natsOptions_SetSendAsap(o, true), "options");
    check(natsConnection_Connect(&c, o), url);
    natsOptions_Destroy(o);
    return c;
}

static void on_request(natsConnection *c, natsSubscription *s, natsMsg *m, void *ud)
{
    (void)s;
    (void)ud;
    check(natsConnection_Publish(c, natsMsg_GetReply(m), natsMsg_GetData(m),
                                 natsMsg_GetDataLength(m)),
          "an answer");
    natsMsg_Destroy(m);
}

static void ask(unsigned slot)
{
    asker.begun[slot] = now_ns();
    check(natsConnection_PublishRequest(asker.conn, SUBJECT, asker.reply[slot], asker.payload,
                                        asker.bytes),
          "a request");
}

static void on_answer(natsConnection *c, natsSubscription *s, natsMsg *m, void *ud)
{
    unsigned slot = (unsigned)atoi(natsMsg_GetSubject(m) + asker.prefix);
    uint64_t now = now_ns();

    (void)c;
    (void)s;
    (void)ud;
    if (natsMsg_GetDataLength(m) != asker.bytes ||
        memcmp(natsMsg_GetData(m), asker.payload, (size_t)asker.bytes))
        fail("a wrong answer");
    natsMsg_Destroy(m);
    asker.total++;
    if (now >= asker.window_begin && now < asker.window_end) {
        histogram_add(&asker.latencies, now - asker.begun[slot]);
        asker.window++;
    }
    if (now < asker.window_end)
        ask(slot);
    else
        __atomic_sub_fetch(&asker.in_flight, 1, __ATOMIC_RELEASE);
}

static void answer_all(const char *port)
{
    natsConnection *c = open_connection(port);
    natsSubscription *s;
    char byte;

    check(natsConnection_Subscribe(&s, c, SUBJECT, on_request, NULL), SUBJECT);
    check(natsConnection_Flush(c), "flush");
    puts("ready");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

static void ask_all(char **arg)
{
    unsigned in_flight = number("in-flight", arg[2], IN_FLIGHT_MAX);
    double warmup = duration("warmup", arg[3]), seconds = duration("seconds", arg[4]);
    natsInbox *inbox;
    natsSubscription *s;
    char all[NAME_ROOM];

    asker.bytes = (int)number("bytes", arg[1], 65536);
    asker.payload = must(malloc((size_t)asker.bytes));
    memset(asker.payload, 'x', (size_t)asker.bytes);
    asker.conn = open_connection(arg[0]);
    check(natsInbox_Create(&inbox), "inbox");
    asker.prefix = strlen(inbox) + 1;
    snprintf(all, sizeof all, "%s.*", inbox);
    check(natsConnection_Subscribe(&s, asker.conn, all, on_answer, NULL), all);
    check(natsConnection_Flush(asker.conn), "flush");
    asker.window_begin = now_ns() + (uint64_t)(warmup * (double)SECOND);
    asker.window_end = asker.window_begin + (uint64_t)(seconds * (double)SECOND);
    asker.in_flight = in_flight;
    for (unsigned i = 0; i < in_flight; i++) {
        snprintf(asker.reply[i], NAME_ROOM, "%s.%u", inbox, i);
        ask(i);
    }
    while (__atomic_load_n(&asker.in_flight, __ATOMIC_ACQUIRE)) {
        if (now_ns() > asker.window_end + 5 * SECOND)
            fail("%u requests got no answer", asker.in_flight);
        nats_Sleep(1);
    }
    printf("{\"calls\":%llu,\"total\":%llu,\"rate\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
           (unsigned long long)asker.window, (unsigned long long)asker.total,
           (double)asker.window / seconds, histogram_at(&asker.latencies, 0.5) / 1000,
           histogram_at(&asker.latencies, 0.99) / 1000);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && !strcmp(argv[1], "answer"))
        answer_all(argv[2]);
    else if (argc == 7 && !strcmp(argv[1], "ask"))
        ask_all(argv + 2);
    else
        fail("answer PORT, or ask PORT BYTES IN_FLIGHT WARMUP SECONDS");
    return 0;
}
