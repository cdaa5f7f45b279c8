/* Echoes over QUIC by msquic, client and server in one process:  echo CERTIFICATE KEY ECHOES
 *
 * BYTES each, 64 in flight on one connection: all on one stream, and a stream for each. What is printed is the CPU time of both
 * sides for one echo in nanoseconds, as quic.c does it, whatever threads msquic makes of it; it has to run on one core. What comes is counted,
 * not compared. */
#include "../client.h"

#include <msquic.h>
#include <semaphore.h>
#include <stdbool.h>
#include <unistd.h>

#define IN_FLIGHT 64
#define BYTES 195 /* as in quic_bare.h */

static const QUIC_API_TABLE *ms;
static uint8_t payload[1 << 16];
static QUIC_BUFFER message = {BYTES, payload};
static HQUIC registration, server_config, client_config, client;

/* Changed by the thread of the client's connection alone. */
static struct {
    bool each;
    int calls, done, warm, total;
    uint64_t came, begun, used;
    HQUIC stream;
    sem_t connected, over;
} run;

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void check(QUIC_STATUS s, const char *what)
{
    if (QUIC_FAILED(s))
        fail("%s: 0x%x", what, s);
}

static void send_bytes(HQUIC stream, uint64_t len)
{
    QUIC_BUFFER *b = must(malloc(sizeof *b));

    *b = (QUIC_BUFFER){(uint32_t)len, payload};
    check(ms->StreamSend(stream, b, 1, QUIC_SEND_FLAG_NONE, b), "send");
}

/* ---- the server ------------------------------------------------------------------------------ */

static QUIC_STATUS on_server_stream(HQUIC stream, void *ud, QUIC_STREAM_EVENT *e)
{
    (void)ud;
    if (e->Type == QUIC_STREAM_EVENT_RECEIVE && !run.each)
        send_bytes(stream, e->RECEIVE.TotalBufferLength);
    else if (e->Type == QUIC_STREAM_EVENT_PEER_SEND_SHUTDOWN && run.each)
        check(ms->StreamSend(stream, &message, 1, QUIC_SEND_FLAG_FIN, NULL), "answer");
    else if (e->Type == QUIC_STREAM_EVENT_SEND_COMPLETE)
        free(e->SEND_COMPLETE.ClientContext);
    else if (e->Type == QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE)
        ms->StreamClose(stream);
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS on_server_connection(HQUIC connection, void *ud, QUIC_CONNECTION_EVENT *e)
{
    (void)ud;
    if (e->Type == QUIC_CONNECTION_EVENT_PEER_STREAM_STARTED)
        ms->SetCallbackHandler(e->PEER_STREAM_STARTED.Stream, (void *)on_server_stream, NULL);
    else if (e->Type == QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE)
        ms->ConnectionClose(connection);
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS on_listener(HQUIC listener, void *ud, QUIC_LISTENER_EVENT *e)
{
    (void)listener;
    (void)ud;
    if (e->Type != QUIC_LISTENER_EVENT_NEW_CONNECTION)
        return QUIC_STATUS_SUCCESS;
    ms->SetCallbackHandler(e->NEW_CONNECTION.Connection, (void *)on_server_connection, NULL);
    return ms->ConnectionSetConfiguration(e->NEW_CONNECTION.Connection, server_config);
}

/* ---- the client ------------------------------------------------------------------------------ */

static QUIC_STATUS on_client_stream(HQUIC stream, void *ud, QUIC_STREAM_EVENT *e);

static void ask(void)
{
    HQUIC stream;

    run.calls++;
    if (!run.each) {
        check(ms->StreamSend(run.stream, &message, 1, QUIC_SEND_FLAG_NONE, NULL), "ask");
        return;
    }
    check(ms->StreamOpen(client, QUIC_STREAM_OPEN_FLAG_NONE, on_client_stream, NULL, &stream),
          "stream");
    check(ms->StreamSend(stream, &message, 1, QUIC_SEND_FLAG_START | QUIC_SEND_FLAG_FIN, NULL),
          "ask");
}

static void answered(int count)
{
    for (int i = 0; i < count; i++) {
        run.done++;
        if (run.done == run.warm)
            run.begun = cpu_ns();
        if (run.done == run.total) {
            run.used = cpu_ns() - run.begun;
            sem_post(&run.over);
        }
        if (run.calls < run.total)
            ask();
    }
}

static QUIC_STATUS on_client_stream(HQUIC stream, void *ud, QUIC_STREAM_EVENT *e)
{
    (void)ud;
    if (e->Type == QUIC_STREAM_EVENT_RECEIVE) {
        run.came += e->RECEIVE.TotalBufferLength;
        if (!run.each)
            answered((int)(run.came / BYTES) - run.done);
    } else if (e->Type == QUIC_STREAM_EVENT_PEER_SEND_SHUTDOWN && run.each) {
        answered(1);
    } else if (e->Type == QUIC_STREAM_EVENT_SHUTDOWN_COMPLETE) {
        ms->StreamClose(stream);
    }
    return QUIC_STATUS_SUCCESS;
}

static QUIC_STATUS on_client_connection(HQUIC connection, void *ud, QUIC_CONNECTION_EVENT *e)
{
    (void)connection;
    (void)ud;
    if (e->Type == QUIC_CONNECTION_EVENT_SHUTDOWN_COMPLETE && run.done < run.total)
        fail("the connection was lost");
    if (e->Type != QUIC_CONNECTION_EVENT_CONNECTED)
        return QUIC_STATUS_SUCCESS;
    if (!run.each) {
        check(
            ms->StreamOpen(client, QUIC_STREAM_OPEN_FLAG_NONE, on_client_stream, NULL, &run.stream),
            "stream");
        check(ms->StreamStart(run.stream, QUIC_STREAM_START_FLAG_NONE), "stream");
    }
    for (int i = 0; i < IN_FLIGHT; i++)
        ask();
    return QUIC_STATUS_SUCCESS;
}

static double run_echoes(int total, bool each, uint16_t port)
{
    memset(&run, 0, sizeof run);
    run.each = each;
    run.warm = total / 10 + IN_FLIGHT;
    run.total = total + run.warm;
    sem_init(&run.over, 0, 0);
    check(ms->ConnectionOpen(registration, on_client_connection, NULL, &client), "connection");
    check(ms->ConnectionStart(client, client_config, QUIC_ADDRESS_FAMILY_INET, "127.0.0.1", port),
          "connection");
    while (sem_wait(&run.over))
        ;
    ms->ConnectionClose(client);
    if (run.came < (uint64_t)run.total * BYTES)
        fail("not all has come back");
    return (double)run.used / total;
}

/* ---- beginning ------------------------------------------------------------------------------- */

static HQUIC configuration(const QUIC_BUFFER *alpn, const QUIC_CREDENTIAL_CONFIG *credential)
{
    QUIC_SETTINGS s = {0};
    HQUIC c;

    s.PeerBidiStreamCount = 1024;
    s.IsSet.PeerBidiStreamCount = 1;
    check(ms->ConfigurationOpen(registration, alpn, 1, &s, sizeof s, NULL, &c), "configuration");
    check(ms->ConfigurationLoadCredential(c, credential), "certificate");
    return c;
}

static uint16_t listen_on(const QUIC_BUFFER *alpn)
{
    QUIC_ADDR address = {.Ipv4 = {.sin_family = QUIC_ADDRESS_FAMILY_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    uint32_t size = sizeof address;
    HQUIC listener;

    check(ms->ListenerOpen(registration, on_listener, NULL, &listener), "listener");
    check(ms->ListenerStart(listener, alpn, 1, &address), "listener");
    check(ms->GetParam(listener, QUIC_PARAM_LISTENER_LOCAL_ADDRESS, &size, &address), "port");
    return ntohs(address.Ipv4.sin_port);
}

int main(int argc, char **argv)
{
    const QUIC_BUFFER alpn = {5, (uint8_t *)"bench"};
    const QUIC_REGISTRATION_CONFIG config = {"bench", QUIC_EXECUTION_PROFILE_LOW_LATENCY};
    QUIC_CERTIFICATE_FILE files = {argc == 4 ? argv[2] : NULL, argc == 4 ? argv[1] : NULL};
    const QUIC_CREDENTIAL_CONFIG serve = {.Type = QUIC_CREDENTIAL_TYPE_CERTIFICATE_FILE,
                                          .CertificateFile = &files},
                                 ask_any = {.Type = QUIC_CREDENTIAL_TYPE_NONE,
                                            .Flags =
                                                QUIC_CREDENTIAL_FLAG_CLIENT |
                                                QUIC_CREDENTIAL_FLAG_NO_CERTIFICATE_VALIDATION};
    int echoes = argc == 4 ? atoi(argv[3]) : 0;
    double shared, each;
    uint16_t port;

    if (echoes < 1)
        fail("CERTIFICATE KEY ECHOES");
    check(MsQuicOpen2(&ms), "msquic");
    check(ms->RegistrationOpen(&config, &registration), "registration");
    server_config = configuration(&alpn, &serve);
    client_config = configuration(&alpn, &ask_any);
    port = listen_on(&alpn);
    shared = run_echoes(echoes, false, port);
    each = run_echoes(echoes, true, port);
    printf("{\"shared\":%.0f,\"each\":%.0f}\n", shared, each);
    fflush(stdout);
    /* Its threads are of no use any more. */
    _exit(0);
}
