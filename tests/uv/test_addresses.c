/* The order in which the addresses of a name are tried, and that a first one which says nothing
 * holds nobody up: over TCP, and over QUIC. The resolver is the test's. */
#include "support/suite.h"
#include "uv/addresses.h"
#include "uv/dial_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static struct addrinfo entries[40];
static struct sockaddr_storage places[40];
static int entry_count;

static void answer_with(const char *address, int port)
{
    struct addrinfo *e = &entries[entry_count];
    struct sockaddr_storage *a = &places[entry_count];

    memset(a, 0, sizeof *a);
    *e = (struct addrinfo){.ai_addr = (struct sockaddr *)a};
    if (strchr(address, ':')) {
        must(!uv_ip6_addr(address, port, (struct sockaddr_in6 *)a));
        e->ai_addrlen = sizeof(struct sockaddr_in6);
    } else {
        must(!uv_ip4_addr(address, port, (struct sockaddr_in *)a));
        e->ai_addrlen = sizeof(struct sockaddr_in);
    }
    e->ai_family = a->ss_family;
    if (entry_count)
        entries[entry_count - 1].ai_next = e;
    entry_count++;
}

/* In place of the system's, for libuv too; what it gives is static. */
#define OURS __attribute__((visibility("default")))
OURS int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                     struct addrinfo **out);
OURS void freeaddrinfo(struct addrinfo *all);

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)host;
    (void)service;
    (void)hints;
    *out = entry_count ? entries : NULL;
    return entry_count ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *all)
{
    (void)all;
}

static void order_is(const char *const *texts, unsigned count)
{
    struct addresses a;
    char text[64];

    addresses_take(&a, entry_count ? entries : NULL);
    ck_assert_uint_eq(a.count, count);
    for (unsigned i = 0; i < count; i++) {
        must(!uv_ip_name(addresses_next(&a), text, sizeof text));
        ck_assert_str_eq(text, texts[i]);
    }
    ck_assert_ptr_null(addresses_next(&a));
    entry_count = 0;
}

START_TEST(families_take_turns_and_the_first_begins)
{
    static const char *const wanted[] = {"::1", "10.0.0.1", "::2", "10.0.0.2", "::3"};

    order_is(NULL, 0);
    answer_with("::1", 1);
    answer_with("::2", 1);
    answer_with("::3", 1);
    answer_with("10.0.0.1", 1);
    answer_with("10.0.0.2", 1);
    order_is(wanted, 5);
    answer_with("10.0.0.1", 1);
    answer_with("10.0.0.2", 1);
    order_is((const char *const[]){"10.0.0.1", "10.0.0.2"}, 2);
}
END_TEST

START_TEST(no_more_than_sixteen_are_tried)
{
    struct addresses a;

    for (int i = 0; i < 40; i++)
        answer_with(i % 2 ? "::1" : "10.0.0.1", i);
    addresses_take(&a, entries);
    ck_assert_uint_eq(a.count, ADDRESSES_MAX);
    entry_count = 0;
}
END_TEST

/* A listener whose queue is full takes no connection and refuses none. */
static int silent_listener(int *port, int fillers[8])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    must(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 0));
    must(!getsockname(fd, (struct sockaddr *)&a, &n));
    for (int i = 0; i < 8; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&a, sizeof a);
    }
    *port = ntohs(a.sin_port);
    return fd;
}

START_TEST(a_first_address_that_says_nothing_holds_nobody_up)
{
    struct dialled *t = dialled_new();
    int fillers[8], port, fd = silent_listener(&port, fillers);
    uint64_t begin = uv_hrtime();

    start_hub(t);
    answer_with("127.0.0.2", port);
    answer_with("127.0.0.1", t->r->port);
    snprintf(t->url, sizeof t->url, "ws://two.example:1");
    dial(t);
    rig_until(t->r, t->opened);
    ck_assert_uint_ge(uv_hrtime() - begin, ADDRESS_NEXT_MS * MILLI);
    ck_assert_str_eq(t->log, "");
    finish(t);
    for (int i = 0; i < 8; i++)
        close(fillers[i]);
    close(fd);
    entry_count = 0;
}
END_TEST

START_TEST(an_address_that_refuses_costs_no_time)
{
    struct dialled *t = dialled_new();
    uint64_t begin = uv_hrtime();

    start_hub(t);
    answer_with("127.0.0.2", 1);
    answer_with("127.0.0.3", 1);
    answer_with("127.0.0.1", t->r->port);
    snprintf(t->url, sizeof t->url, "ws://three.example:1");
    dial(t);
    rig_until(t->r, t->opened);
    ck_assert_uint_lt(uv_hrtime() - begin, 2 * ADDRESS_NEXT_MS * MILLI);
    finish(t);
    entry_count = 0;
}
END_TEST

/* ---- QUIC ------------------------------------------------------------------------------------ */

static alk_tls *keys_of(const struct dialled *t, bool client, char fingerprint[])
{
    char file[120], err[200];
    alk_tls_options o;
    alk_tls *out;

    snprintf(file, sizeof file, "%s/%s.key", t->dir, client ? "client" : "server");
    ck_assert_msg(!alk_key_new(file, fingerprint, err, sizeof err), "%s", err);
    alk_tls_options_init(&o, sizeof o);
    o.client = client;
    o.raw_key = client ? NULL : file;
    ck_assert_msg(!alk_tls_new(&out, &o, err, sizeof err), "%s", err);
    remove(file);
    return out;
}

static int silent_socket(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    must(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a));
    must(!getsockname(fd, (struct sockaddr *)&a, &n));
    *port = ntohs(a.sin_port);
    return fd;
}

START_TEST(over_quic_the_first_that_answers_is_it)
{
    struct dialled *t = dialled_new();
    char pin[ALK_TLS_FINGERPRINT], other[ALK_TLS_FINGERPRINT];
    alk_tls *server = keys_of(t, false, pin), *client = keys_of(t, true, other);
    int port, fd = silent_socket(&port);

    rig_start_bare(t->r);
    t->r->listen.tls = server;
    t->r->listen.quic = 1;
    rig_serve(t->r);
    answer_with("127.0.0.2", port);
    answer_with("127.0.0.3", 1);
    answer_with("127.0.0.1", t->r->port);
    snprintf(t->url, sizeof t->url, "alknet://three.example:1#%s", pin);
    t->o.tls = client;
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    ck_assert_str_eq(t->log, "open ready ");
    alk_dialer_close(t->x);
    finish(t);
    close(fd);
    alk_tls_unref(server);
    alk_tls_unref(client);
    entry_count = 0;
}
END_TEST

START_TEST(a_dialler_that_is_closed_at_any_moment_frees_all)
{
    for (int turns = 0; turns < 30; turns++) {
        struct dialled *t = dialled_new();
        char pin[ALK_TLS_FINGERPRINT], other[ALK_TLS_FINGERPRINT];
        alk_tls *server = keys_of(t, false, pin), *client = keys_of(t, true, other);

        rig_start_bare(t->r);
        t->r->listen.tls = server;
        t->r->listen.quic = 1;
        rig_serve(t->r);
        answer_with("127.0.0.1", t->r->port);
        snprintf(t->url, sizeof t->url, "alknet://one.example:1#%s", pin);
        t->o.tls = client;
        dial(t);
        for (int i = 0; i < turns; i++)
            uv_run(&t->r->uv, UV_RUN_NOWAIT);
        alk_dialer_close(t->x);
        finish(t);
        alk_tls_unref(server);
        alk_tls_unref(client);
        entry_count = 0;
    }
}
END_TEST

MAIN("addresses", families_take_turns_and_the_first_begins, no_more_than_sixteen_are_tried,
     a_first_address_that_says_nothing_holds_nobody_up, an_address_that_refuses_costs_no_time,
     over_quic_the_first_that_answers_is_it, a_dialler_that_is_closed_at_any_moment_frees_all)
