/* The bus over NATS, with a real broker: what is published arrives once and in order, a broker that goes comes back without
 * anybody's help, what waits is bounded, a refusal is told in words, and it can be closed at every moment. */
#include "uv/nats_int.h"
#include "uv/nats_rig.h"

#include <alknet/tls.h>

static struct broker broker;
static struct rig *r;
static struct listener a, b;
static char last_line[500];

static void on_log(void *ud, const alk_log_event *e)
{
    (void)ud;
    if (!strncmp(e->event, "nats.", 5))
        snprintf(last_line, sizeof last_line, "%s", e->message);
}

static void start_bare(void)
{
    r = rig_new();
    r->options.log = on_log;
    rig_start_bare(r);
}

static void start(const char *config)
{
    broker.config = config;
    broker_start(&broker);
    start_bare();
}

static void finish(void)
{
    rig_free(r);
    broker_free(&broker);
}

START_TEST(messages_arrive_once_and_in_order)
{
    static const size_t sizes[] = {12, 100, 5000, 70000, 300000};
    char *text = malloc(300001);
    size_t sent = 0;

    start(NULL);
    listener_up(&a, r, &broker);
    listener_up(&b, r, &broker);
    listener_subscribe(&b, "t.b");
    b.ordered = true;
    memset(text, 'x', 300000);
    for (unsigned i = 0; i < 2000; i++) {
        size_t len = sizes[i % 100 ? i % 3 : i / 100 % 5];

        text[sprintf(text, "%u ", i)] = 'x';
        while (a.b->ops->publish(a.b, "t.b", text, len))
            uv_run(&r->uv, UV_RUN_NOWAIT);
        sent += len;
    }
    rig_until(r, b.messages == 2000);
    ck_assert_uint_eq(b.bytes, sent);
    ck_assert_str_eq(b.subject, "t.b");
    ck_assert_uint_eq(a.messages, 0);
    free(text);
    finish();
}
END_TEST

START_TEST(nobody_hears_what_he_has_not_subscribed)
{
    start(NULL);
    listener_up(&a, r, &broker);
    listener_up(&b, r, &broker);
    listener_subscribe(&b, "t.b");
    listener_subscribe(&b, "t.c");
    /* While messages of a read are handed out, too. */
    b.drop = "t.c";
    ck_assert_int_eq(say(&a, "t.b", "1"), 0);
    ck_assert_int_eq(say(&a, "t.c", "2"), 0);
    ck_assert_int_eq(say(&a, "t.other", "3"), 0);
    ck_assert_int_eq(say(&a, "t.b", "4"), 0);
    rig_until(r, b.messages == 2);
    ck_assert_str_eq(b.last, "4");
    b.b->ops->unsubscribe(b.b, "t.b");
    listener_subscribe(&b, "t.c");
    ck_assert_int_eq(say(&a, "t.b", "5"), 0);
    ck_assert_int_eq(say(&a, "t.c", ""), 0);
    rig_until(r, b.messages == 3);
    ck_assert_str_eq(b.last, "");
    finish();
}
END_TEST

START_TEST(a_broker_that_goes_comes_back)
{
    start(NULL);
    listener_up(&a, r, &broker);
    listener_subscribe(&a, "t.a");
    for (unsigned i = 1; i <= 3; i++) {
        broker_kill(&broker);
        rig_until(r, a.downs == i);
        ck_assert(strstr(a.why, broker.url) == a.why && a.why[strlen(broker.url)] == ':');
        ck_assert_int_eq(say(&a, "t.a", "nobody"), ALK_ECLOSED);
        if (i == 2) /* and while it is away the subjects change */
            ck_assert_int_eq(a.b->ops->subscribe(a.b, "t.new"), 0);
        if (i == 3)
            a.b->ops->unsubscribe(a.b, "t.a");
        broker_start(&broker);
        rig_until(r, a.ups == i + 1);
        ck_assert_int_eq(say(&a, "t.a", "old"), 0);
        ck_assert_int_eq(say(&a, "t.new", "new"), 0);
        rig_until(r, a.messages == (i < 3 ? 2 * i - 1 : 4));
    }
    ck_assert_str_eq(a.last, "new");
    finish();
}
END_TEST

START_TEST(a_broker_may_come_later)
{
    broker.port = 0;
    start(NULL);
    broker_kill(&broker);
    listener_init(&a, r, &broker);
    listener_open(&a);
    ck_assert_int_eq(a.b->ops->subscribe(a.b, "t.a"), 0);
    rig_until(r, a.downs);
    ck_assert_msg(strstr(a.why, ": cannot be reached"), "%s", a.why);
    ck_assert_int_eq(say(&a, "t.a", "nobody"), ALK_ECLOSED);
    rig_steps(r, 500);
    ck_assert_uint_eq(a.downs, 1); /* the same is told once */
    broker_start(&broker);
    rig_until(r, a.up);
    ck_assert_int_eq(say(&a, "t.a", "hello"), 0);
    rig_until(r, a.messages == 1);
    finish();
}
END_TEST

/* A reason is told once, and told again when it is another one. */
START_TEST(reasons_are_told_for_each_server)
{
    struct broker other = {.config = "authorization { token: x }"};

    start(NULL);
    broker_start(&other);
    broker_kill(&broker);
    broker_kill(&other);
    listener_init(&a, r, &broker);
    a.servers[1] = other.url;
    a.o.server_count = 2;
    listener_open(&a);
    rig_until(r, a.downs == 2);
    rig_steps(r, 500);
    ck_assert_uint_eq(a.downs, 2);
    broker_start(&other);
    rig_until(r, a.downs == 3);
    ck_assert(strstr(a.why, other.url) == a.why && strstr(a.why, "Authorization Violation"));
    broker_start(&broker);
    rig_until(r, a.up);
    ck_assert_uint_eq(a.downs, 3);
    broker_free(&other);
    finish();
}
END_TEST

START_TEST(the_next_server_is_tried)
{
    start(NULL);
    listener_init(&a, r, &broker);
    a.servers[0] = "nats://127.0.0.1:1";
    a.servers[1] = broker.url;
    a.o.server_count = 2;
    listener_open(&a);
    rig_until(r, a.up);
    ck_assert_uint_eq(a.downs, 1);
    finish();
}
END_TEST

/* Nothing blocks the loop, and nothing of it is lost but by its end. */
START_TEST(what_waits_to_leave_is_bounded)
{
    enum { SIZE = 100000 };
    char *text = malloc(SIZE);
    unsigned taken = 0;
    uint64_t longest = 0;
    int rc = 0;

    memset(text, 'x', SIZE);
    start(NULL);
    listener_up(&a, r, &broker);
    listener_up(&b, r, &broker);
    listener_subscribe(&b, "t.b");
    kill(broker.pid, SIGSTOP);
    while (!rc) {
        uint64_t begun = now_ms(), took;

        rc = a.b->ops->publish(a.b, "t.b", text, SIZE);
        uv_run(&r->uv, UV_RUN_NOWAIT);
        taken += !rc;
        took = now_ms() - begun;
        longest = took > longest ? took : longest;
        ck_assert_uint_lt((uint64_t)taken * SIZE, NATS_UNSENT_MAX + (16u << 20));
    }
    ck_assert_int_eq(rc, ALK_EAGAIN);
    ck_assert_uint_ge((uint64_t)taken * SIZE, NATS_UNSENT_MAX - 2 * SIZE);
    ck_assert_uint_lt(longest, 500);
    kill(broker.pid, SIGCONT);
    rig_until(r, b.messages == taken);
    ck_assert_int_eq(say(&a, "t.b", "again"), 0);
    rig_until(r, b.messages == taken + 1);
    free(text);
    finish();
}
END_TEST

START_TEST(the_broker_has_a_limit_for_one_message)
{
    char *text = calloc(1, 5000);

    start("max_payload: 4096");
    listener_up(&a, r, &broker);
    ck_assert_int_eq(a.b->ops->publish(a.b, "t.a", text, 4097), ALK_ELIMIT);
    ck_assert_int_eq(a.b->ops->publish(a.b, "t.a", text, 4096), 0);
    rig_steps(r, 50);
    ck_assert(a.up);
    free(text);
    finish();
}
END_TEST

static unsigned asked[2];

static void on_request(void *ud, const char *subject, const char *reply, const void *data,
                       size_t len)
{
    struct listener *l = ud;

    must(!strcmp(subject, "q.1") && !reply);
    asked[l == &b] += len == 1 && *(const char *)data == 'x';
}

static void serves(struct listener *l, const char *pattern, const char *queue)
{
    l->b->on_request = on_request;
    ck_assert_int_eq(l->b->ops->serve(l->b, pattern, queue), 0);
}

/* Of those who serve by one queue one has it; who has subscribed has it as well. */
START_TEST(requests_are_shared_by_a_queue)
{
    struct listener all;

    start(NULL);
    listener_up(&a, r, &broker);
    listener_up(&b, r, &broker);
    listener_up(&all, r, &broker);
    serves(&a, "q.>", "q");
    serves(&b, "q.>", "q");
    listener_subscribe(&all, "q.1");
    listener_subscribe(&a, "flushed");
    listener_subscribe(&b, "flushed");
    asked[0] = asked[1] = 0;
    for (unsigned i = 0; i < 200; i++)
        ck_assert_int_eq(say(&all, "q.1", "x"), 0);
    rig_until(r, all.messages == 200);
    rig_until(r, asked[0] + asked[1] == 200);
    ck_assert_uint_gt(asked[0], 20);
    ck_assert_uint_gt(asked[1], 20);
    finish();
}
END_TEST

/* The broker cuts it off, and it is told and comes back. */
START_TEST(who_reads_too_slowly_is_told)
{
    enum { SIZE = 60000 };
    char *text = malloc(SIZE);

    memset(text, 'x', SIZE);
    start("max_payload: 100000\nmax_pending: 1000000\nwrite_deadline: \"100ms\"");
    listener_up(&a, r, &broker);
    listener_subscribe(&a, "t.a");
    {
        struct rig *other = r;

        /* Another loop sends, while this one stands still. */
        start_bare();
        listener_up(&b, r, &broker);
        for (unsigned i = 0; i < 500 && b.up;) {
            i += !b.b->ops->publish(b.b, "t.a", text, SIZE);
            uv_run(&r->uv, UV_RUN_NOWAIT);
        }
        rig_steps(r, 300);
        rig_free(r);
        r = other;
    }
    rig_until(r, a.downs == 1 && a.ups == 2);
    ck_assert_int_eq(say(&a, "t.a", "here"), 0);
    rig_until(r, !strcmp(a.last, "here"));
    free(text);
    finish();
}
END_TEST

START_TEST(what_is_not_permitted_is_in_the_log)
{
    start("authorization { users = [{user: u, password: p, permissions: {publish: \"t.>\", "
          "subscribe: \"t.>\"}}] }");
    listener_init(&a, r, &broker);
    a.o.user = "u";
    a.o.password = "p";
    listener_open(&a);
    rig_until(r, a.up);
    ck_assert_int_eq(say(&a, "no.1", "x"), 0);
    rig_until(r, *last_line);
    ck_assert_msg(strstr(last_line, "Permissions Violation for Publish to \"no.1\""), "%s",
                  last_line);
    ck_assert_ptr_nonnull(strstr(last_line, "(1 since the last such line)"));
    *last_line = 0;
    ck_assert_int_eq(a.b->ops->subscribe(a.b, "no.2"), 0);
    rig_steps(r, 100);
    ck_assert_str_eq(last_line, "");
    ck_assert(a.up && !a.downs);
    finish();
}
END_TEST

/* ---- who it is --------------------------------------------------------------------------------- */

#define SEED "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y"
#define PUBLIC "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"

/* An operator, an account and a user, by their JWTs. */
#define OPERATOR_CONFIG                                                                            \
    "operator: eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJpYXQiOjE3MDAwMDAwMDAsImlzcyI"     \
    "6Ik9BQ1JYNFZXUlQzUjc0UUNINUNZUFhMTkNIUUlUVFlVQUFWUFBBT1lQQzJCVU5SVldMTzc2TFE3IiwibmFtZSI"     \
    "6Im8iLCJzdWIiOiJPQUNSWDRWV1JUM1I3NFFDSDVDWVBYTE5DSFFJVFRZVUFBVlBQQU9ZUEMyQlVOUlZXTE83Nkx"     \
    "RNyIsIm5hdHMiOnsidHlwZSI6Im9wZXJhdG9yIiwidmVyc2lvbiI6Mn0sImp0aSI6IlVFMlJXRkZDV1RENDU3M0d"     \
    "PVFlSREVJVjcyT1VOTjQzQjdISFRaV01aQ1BFM1o2WENRNVEifQ.OORYNu8euxOfqSL5qmM6Uq_K6J6AHDxoMump"     \
    "XkE6FrRKyhU0zooeWDMixRq6mdxMXrHxbgW_hMfQFxyPolIIBQ\n"                                         \
    "resolver: MEMORY\n"                                                                           \
    "resolver_preload: { ACVT3AXLMUR7VVD2XBSOSI46SU3NZUXSB5JD57KVJ575I5HIRJIO5VAP: eyJ0eXAiOi"     \
    "JKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJpYXQiOjE3MDAwMDAwMDAsImlzcyI6Ik9BQ1JYNFZXUlQzUjc"     \
    "0UUNINUNZUFhMTkNIUUlUVFlVQUFWUFBBT1lQQzJCVU5SVldMTzc2TFE3IiwibmFtZSI6ImEiLCJzdWIiOiJBQ1Z"     \
    "UM0FYTE1VUjdWVkQyWEJTT1NJNDZTVTNOWlVYU0I1SkQ1N0tWSjU3NUk1SElSSklPNVZBUCIsIm5hdHMiOnsibGl"     \
    "taXRzIjp7InN1YnMiOi0xLCJkYXRhIjotMSwicGF5bG9hZCI6LTEsImltcG9ydHMiOi0xLCJleHBvcnRzIjotMSw"     \
    "id2lsZGNhcmRzIjp0cnVlLCJjb25uIjotMSwibGVhZiI6LTF9LCJkZWZhdWx0X3Blcm1pc3Npb25zIjp7InB1YiI"     \
    "6e30sInN1YiI6e319LCJ0eXBlIjoiYWNjb3VudCIsInZlcnNpb24iOjJ9LCJqdGkiOiJHRU1DNEE2MlJGWDM2TDV"     \
    "NRVpWQkNFR1VVSVZBWlNENlhGT1FRNldEWDJMUk9ES081Wk5BIn0.c9s6UYK97FZadtGDGIAZr82aQ1f2YbYb3qh"     \
    "3YMUBDHuKHgGc3o-sJ10I2IoVb05FXac0QnZfYdflhkL3iO2OAg }\n"

#define CREDENTIALS                                                                                \
    "-----BEGIN NATS USER JWT-----\n"                                                              \
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJpYXQiOjE3MDAwMDAwMDAsImlzcyI6IkFDVlQzQ"     \
    "VhMTVVSN1ZWRDJYQlNPU0k0NlNVM05aVVhTQjVKRDU3S1ZKNTc1STVISVJKSU81VkFQIiwibmFtZSI6InUiLCJzd"     \
    "WIiOiJVQzJVNUIzVlBOVUY3RENLUjc1R1pVSE5NT0VXWFdNVTdITkdNQ1pKUFRSWEVWN0RSUjVTN1U3RyIsIm5hd"     \
    "HMiOnsicHViIjp7fSwic3ViIjp7fSwic3VicyI6LTEsImRhdGEiOi0xLCJwYXlsb2FkIjotMSwidHlwZSI6InVzZ"     \
    "XIiLCJ2ZXJzaW9uIjoyfSwianRpIjoiQjdaSkI1NVVYM1hHQTJGVlhSR0wySlFVNzZLWTJMSEk3RVBYRUxTWUNST"     \
    "kFGNFFRVElQQSJ9.Rxo1CNEkBXYpz2nZnHqsUEGPEnIwzRqIv3pRzKuEEK2Qc5Bu9ETYVG9fZwktwIBHgaYbpkki"     \
    "xxADGUjWxbeTAQ\n"                                                                             \
    "------END NATS USER JWT------\n"                                                              \
    "\n"                                                                                           \
    "-----BEGIN USER NKEY SEED-----\n"                                                             \
    "SUADC3FA57NGFFWY6LAR2HRAREGSEDHMIJTKBQLPXPXTETAAI2EENCSDJU\n"                                 \
    "------END USER NKEY SEED------\n"

static void refused(const char *secret)
{
    listener_open(&a);
    rig_until(r, a.downs);
    ck_assert_msg(strstr(a.why, "Authorization Violation"), "%s", a.why);
    ck_assert_ptr_null(strstr(a.why, secret));
    nats_close(a.b);
    a.b = NULL;
}

static void accepted(void)
{
    a.downs = 0;
    listener_open(&a);
    rig_until(r, a.up || a.downs);
    ck_assert_msg(a.up, "%s", a.why);
}

START_TEST(user_and_password)
{
    start("authorization { user: hub, password: right }");
    listener_init(&a, r, &broker);
    refused("hub");
    a.o.user = "hub";
    a.o.password = "wrong";
    refused("wrong");
    a.o.password = "right";
    accepted();
    finish();
}
END_TEST

START_TEST(a_token)
{
    start("authorization { token: right }");
    listener_init(&a, r, &broker);
    a.o.token = "wrong";
    refused("wrong");
    a.o.token = "right";
    accepted();
    finish();
}
END_TEST

static const char *put(const char *name, const char *text)
{
    static char file[128];
    FILE *f;

    snprintf(file, sizeof file, "%s/%s", broker.dir, name);
    f = fopen(file, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    return file;
}

START_TEST(a_seed)
{
    char key[NATS_KEY_SIZE], why[300], config[200];

    broker_start(&broker);
    broker_kill(&broker);
    a.o.nkey_seed = put("seed", "# a comment\n  " SEED "\n");
    ck_assert_msg(!nats_key_public(a.o.nkey_seed, key, why, sizeof why), "%s", why);
    ck_assert_str_eq(key, PUBLIC);
    snprintf(config, sizeof config, "authorization { users = [{nkey: %s}] }", key);
    start(config);
    listener_init(&a, r, &broker);
    refused("SU");
    a.o.nkey_seed = put("seed", SEED);
    accepted();
    nats_close(a.b);
    rig_steps(r, 50);
    a.o.nkey_seed = put("seed", "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776A");
    listener_open(&a);
    a.downs = 0;
    rig_until(r, a.downs);
    ck_assert_ptr_nonnull(strstr(a.why, "seed holds no seed of a user's NKey"));
    nats_close(a.b);
    unlink(a.o.nkey_seed);
    a.o.nkey_seed = "/nowhere/seed";
    listener_open(&a);
    a.downs = 0;
    rig_until(r, a.downs);
    ck_assert_ptr_nonnull(strstr(a.why, "/nowhere/seed cannot be read"));
    finish();
}
END_TEST

START_TEST(a_file_of_credentials)
{
    start(OPERATOR_CONFIG);
    listener_init(&a, r, &broker);
    refused("SU");
    a.o.credentials = "/nowhere/creds";
    a.downs = 0;
    listener_open(&a);
    rig_until(r, a.downs);
    ck_assert_msg(strstr(a.why, "/nowhere/creds"), "%s", a.why);
    nats_close(a.b);
    a.o.credentials = put("creds", CREDENTIALS);
    accepted();
    unlink(a.o.credentials);
    finish();
}
END_TEST

/* ---- TLS --------------------------------------------------------------------------------------- */

static struct {
    char certificate[96], key[96];
} pairs[2];

static void make_pair(int i, const char *names)
{
    char err[200];

    snprintf(pairs[i].certificate, sizeof pairs[i].certificate, "%s/cert%d", broker.dir, i);
    snprintf(pairs[i].key, sizeof pairs[i].key, "%s/key%d", broker.dir, i);
    ck_assert_msg(!alk_tls_self_sign(pairs[i].certificate, pairs[i].key, names, 2, err, sizeof err),
                  "%s", err);
}

static void start_tls(const char *names, bool clients)
{
    static char config[600];
    size_t n;

    broker_start(&broker);
    broker_kill(&broker);
    make_pair(0, names);
    make_pair(1, "[\"localhost\"]");
    n = (size_t)snprintf(config, sizeof config, "tls { cert_file: \"%s\", key_file: \"%s\"",
                         pairs[0].certificate, pairs[0].key);
    if (clients)
        n += (size_t)snprintf(config + n, sizeof config - n, ", ca_file: \"%s\", verify: true",
                              pairs[1].certificate);
    snprintf(config + n, sizeof config - n, " }");
    start(config);
    listener_init(&a, r, &broker);
}

static void finish_tls(void)
{
    for (int i = 0; i < 2; i++) {
        unlink(pairs[i].certificate);
        unlink(pairs[i].key);
    }
    finish();
}

static void fails(const char *why)
{
    a.downs = 0;
    listener_open(&a);
    rig_until(r, a.downs);
    ck_assert_msg(strstr(a.why, why), "%s", a.why);
    nats_close(a.b);
}

START_TEST(tls)
{
    char url[64];

    start_tls("[\"127.0.0.1\"]", false);
    a.o.tls = true;
    fails("self-signed certificate"); /* the system does not trust it */
    a.o.ca = pairs[1].certificate;
    fails("self-signed certificate");
    a.o.ca = pairs[0].certificate;
    accepted();
    listener_subscribe(&a, "t.a");
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(say(&a, "t.a", "x"), 0);
    rig_until(r, a.messages == 100);
    nats_close(a.b);
    /* The URL can say it, too. */
    snprintf(url, sizeof url, "tls://127.0.0.1:%d", broker.port);
    a.servers[0] = url;
    a.o.tls = false;
    a.up = false;
    accepted();
    nats_close(a.b);
    /* A broker that wants it gets nothing in clear text. */
    a.servers[0] = broker.url;
    a.o.ca = NULL;
    a.o.token = "secret";
    fails("");
    finish_tls();
}
END_TEST

START_TEST(tls_of_another_name)
{
    start_tls("[\"localhost\"]", false);
    a.o.ca = pairs[0].certificate;
    a.o.tls = true;
    fails("IP address mismatch");
    finish_tls();
}
END_TEST

START_TEST(tls_with_a_certificate_of_its_own)
{
    start_tls("[\"127.0.0.1\"]", true);
    a.o.ca = pairs[0].certificate;
    a.o.tls = true;
    fails("");
    a.o.certificate = pairs[1].certificate;
    a.o.key = pairs[1].key;
    accepted();
    finish_tls();
}
END_TEST

START_TEST(tls_of_a_broker_without_it)
{
    start(NULL);
    listener_init(&a, r, &broker);
    a.o.tls = true;
    fails("Secure Connection not available");
    finish();
}
END_TEST

/* ---- closing ----------------------------------------------------------------------------------- */

/* A port where connections wait for whoever would accept them. */
static int silent_port(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert(!bind(fd, (struct sockaddr *)&at, len) && !listen(fd, 5) &&
              !getsockname(fd, (struct sockaddr *)&at, &len));
    *port = ntohs(at.sin_port);
    return fd;
}

static int allowed = -1; /* allocations; -1: any number */

static void *limited(void *ud, void *p, size_t size)
{
    if (size && allowed >= 0 && allowed-- == 0) {
        allowed = 0;
        return NULL;
    }
    return rig_realloc(ud, p, size);
}

START_TEST(memory_may_be_short)
{
    char err[200];
    int k, rc = ALK_ENOMEM;

    broker_start(&broker);
    r = rig_new();
    r->options.realloc = limited;
    rig_start_bare(r);
    listener_init(&a, r, &broker);
    a.servers[1] = broker.url;
    a.o.server_count = 2;
    a.o.user = a.o.password = a.o.ca = "x";
    for (k = 0; rc; k++) {
        allowed = k;
        rc = nats_open(&a.b, r->l, &a.o, err, sizeof err);
        allowed = -1;
        ck_assert(rc == (a.b ? ALK_OK : ALK_ENOMEM));
    }
    ck_assert_int_eq(k, 10); /* itself, two lists, two servers, four texts */
    nats_close(a.b);
    a.o.user = a.o.password = a.o.ca = NULL;
    accepted();
    allowed = 0;
    ck_assert_int_eq(a.b->ops->subscribe(a.b, "t.a"), ALK_ENOMEM);
    allowed = -1;
    ck_assert_int_eq(say(&a, "t.a", "x"), 0);
    rig_steps(r, 20);
    ck_assert(a.up && !a.messages);
    finish();
}
END_TEST

static void close_b(void *ud, const char *subject, const void *data, size_t len)
{
    (void)ud;
    (void)subject;
    (void)data;
    (void)len;
    a.messages++;
    nats_close(b.b);
}

START_TEST(one_bus_may_close_another)
{
    start(NULL);
    listener_up(&a, r, &broker);
    listener_up(&b, r, &broker);
    listener_subscribe(&a, "t.a");
    a.b->on_message = close_b;
    ck_assert_int_eq(say(&b, "t.a", "x"), 0);
    rig_until(r, a.messages == 1);
    rig_steps(r, 20);
    finish();
}
END_TEST

enum {
    AT_ONCE,
    CONNECTING,
    SILENT,
    WAITING,
    CONNECTED,
    WITH_MESSAGES,
    FULL,
    ON_MESSAGE,
    ON_STATE,
    LOST,
    MOMENTS
};

static void come_to(int moment)
{
    char *text = calloc(1, 500000);

    listener_init(&a, r, &broker);
    if (moment == WAITING)
        broker_kill(&broker);
    a.close_on_state = moment == ON_STATE;
    listener_open(&a);
    ck_assert_int_eq(a.b->ops->subscribe(a.b, "t.a"), 0);
    if (moment == CONNECTING)
        uv_run(&r->uv, UV_RUN_NOWAIT);
    if (moment == SILENT)
        rig_steps(r, 50);
    if (moment == WAITING)
        rig_until(r, a.downs);
    if (moment == ON_STATE)
        rig_until(r, a.ups == 1);
    if (moment < CONNECTED || moment == ON_STATE) {
        free(text);
        return;
    }
    rig_until(r, a.up);
    if (moment == WITH_MESSAGES || moment == ON_MESSAGE) {
        for (int i = 0; i < 100; i++)
            ck_assert_int_eq(say(&a, "t.a", "x"), 0);
    }
    if (moment == FULL) {
        kill(broker.pid, SIGSTOP);
        while (!a.b->ops->publish(a.b, "t.a", text, 500000))
            uv_run(&r->uv, UV_RUN_NOWAIT);
    }
    a.close_on_message = moment == ON_MESSAGE;
    if (moment == ON_MESSAGE)
        rig_until(r, !a.b);
    if (moment == LOST) {
        broker_kill(&broker);
        rig_until(r, a.downs);
    }
    free(text);
}

/* The bus by itself, and the loop with it: no callback comes any more, and nothing is left. */
START_TEST(it_can_be_closed_at_every_moment)
{
    int moment = _i % MOMENTS, fd = -1;
    uint64_t begun;

    if (_i == SILENT)
        return; /* once is enough of what takes its time */
    start(NULL);
    if (moment == SILENT) {
        fd = silent_port(&broker.port);
        snprintf(broker.url, sizeof broker.url, "nats://127.0.0.1:%d", broker.port);
    }
    come_to(moment);
    begun = now_ms();
    if (_i < MOMENTS && a.b) {
        nats_close(a.b);
        a.b = NULL;
        rig_steps(r, 20);
    }
    a.b = NULL;
    rig_free(r);
    ck_assert_uint_lt(now_ms() - begun, moment == SILENT ? 4000 : 400);
    broker_free(&broker);
    if (fd >= 0)
        close(fd);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {messages_arrive_once_and_in_order,
                                  nobody_hears_what_he_has_not_subscribed,
                                  a_broker_that_goes_comes_back,
                                  a_broker_may_come_later,
                                  the_next_server_is_tried,
                                  reasons_are_told_for_each_server,
                                  what_waits_to_leave_is_bounded,
                                  the_broker_has_a_limit_for_one_message,
                                  requests_are_shared_by_a_queue,
                                  who_reads_too_slowly_is_told,
                                  what_is_not_permitted_is_in_the_log,
                                  user_and_password,
                                  a_token,
                                  a_seed,
                                  a_file_of_credentials,
                                  tls,
                                  tls_of_another_name,
                                  tls_with_a_certificate_of_its_own,
                                  tls_of_a_broker_without_it,
                                  memory_may_be_short,
                                  one_bus_may_close_another};
    Suite *suite = suite_create("nats");
    TCase *t = tcase_create("nats");
    SRunner *runner;
    int failed;

    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, it_can_be_closed_at_every_moment, 0, 2 * MOMENTS);
    suite_add_tcase(suite, t);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
