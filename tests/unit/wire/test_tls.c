/* TLS on a fake wire: the handshake and its failures, what passes through, and the end. */
#include "tls_wire.h"

static alk_tls *server_of(struct wire *w, const char *name)
{
    alk_tls_options o;

    alk_tls_options_init(&o, sizeof o);
    o.certificates = wire_pairs(w, name);
    return make_tls(&o);
}

static alk_tls *client_of(struct wire *w, const char *trusts)
{
    alk_tls_options o;

    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    o.ca_file = trusts ? wire_path(w, trusts) : NULL;
    o.insecure = !trusts;
    return make_tls(&o);
}

struct both {
    struct wire *w;
    alk_tls *server, *client;
};

static struct both start(void)
{
    struct both b = {.w = wire_new()};

    wire_sign(b.w, "s", "[\"localhost\",\"127.0.0.1\",\"*.wild.example\"]");
    b.server = server_of(b.w, "s");
    b.client = client_of(b.w, "s.crt");
    return b;
}

static void stop(struct both *b)
{
    alk_tls_unref(b->server);
    alk_tls_unref(b->client);
    wire_free(b->w);
}

static void shake(struct both *b)
{
    wire_open(b->w, b->server, b->client, NULL, NULL);
    wire_run(b->w);
    ck_assert_msg(b->w->server.in && b->w->client.in, "%s / %s", b->w->server.why,
                  b->w->client.why);
}

/* ---- what passes ----------------------------------------------------------------------------- */

START_TEST(bytes_pass_both_ways_however_they_are_cut)
{
    static const size_t pieces[] = {1, 2, 5, 100, 65536};
    struct both b = start();

    b.w->piece = pieces[_i];
    shake(&b);
    ck_assert_str_eq(b.w->server.alpn, "alknet/call");
    side_say(&b.w->client, "question", 8);
    wire_run(b.w);
    ck_assert(side_got(&b.w->server, "question"));
    side_say(&b.w->server, "answer", 6);
    wire_run(b.w);
    ck_assert(side_got(&b.w->client, "answer"));
    stop(&b);
}
END_TEST

START_TEST(what_a_turn_has_made_is_one_record)
{
    struct both b = start();
    int before;

    shake(&b);
    before = b.w->server.records;
    for (int i = 0; i < 64; i++)
        side_say(&b.w->server, "0123456789", 10);
    wire_run(b.w);
    ck_assert_uint_eq(b.w->client.got.len, 640);
    ck_assert_int_eq(b.w->server.records, before + 1);
    stop(&b);
}
END_TEST

START_TEST(much_passes_and_little_of_it_waits_outside)
{
    struct both b = start();
    struct side *s = &b.w->server;
    size_t n = 3000000;
    char *much = malloc(n);

    for (size_t i = 0; i < n; i++)
        much[i] = (char)(i * 7 + i / 1000);
    shake(&b);
    side_say(s, much, n);
    engine_flush(s->e, b.w->now);
    ck_assert_uint_ge(s->e->out.len, 65536);
    ck_assert_uint_le(s->e->out.len, 65536 + 17000);
    ck_assert_uint_eq(s->in->e.inflight, s->e->out.len);
    wire_run(b.w);
    ck_assert_uint_eq(b.w->client.got.len, n);
    ck_assert_int_eq(memcmp(buf_at(&b.w->client.got), much, n), 0);
    ck_assert_uint_eq(s->in->e.inflight, 0);
    free(much);
    stop(&b);
}
END_TEST

START_TEST(an_engine_that_does_not_read_holds_the_remote_back)
{
    struct both b = start();

    shake(&b);
    b.w->server.in->e.reading = false;
    side_say(&b.w->client, "later", 5);
    wire_run(b.w);
    ck_assert_uint_eq(b.w->server.got.len, 0);
    ck_assert(!b.w->server.e->reading);
    b.w->server.in->e.reading = true;
    b.w->server.in->e.wake(&b.w->server.in->e, b.w->server.in->e.wake_ud);
    wire_run(b.w);
    ck_assert(side_got(&b.w->server, "later"));
    ck_assert(b.w->server.e->reading);
    stop(&b);
}
END_TEST

/* The successor reads on, also what had come already. */
START_TEST(the_engine_inside_may_be_succeeded)
{
    struct both b = start();
    struct side *s = &b.w->server;
    struct plain *next;

    shake(&b);
    next = plain_new(s);
    buf_append(&s->in->e.out, "101", 3);
    s->in->e.successor = &next->e;
    s->in->e.wake(&s->in->e, s->in->e.wake_ud);
    s->in = next;
    wire_run(b.w);
    ck_assert(side_got(&b.w->client, "101"));
    side_say(&b.w->client, "frame", 5);
    side_say(s, "other", 5);
    wire_run(b.w);
    ck_assert(side_got(s, "frame"));
    ck_assert(side_got(&b.w->client, "101other"));
    stop(&b);
}
END_TEST

START_TEST(a_successor_hears_of_an_end_that_came_before_it)
{
    struct both b = start();
    struct side *s = &b.w->server;
    struct plain *next;

    shake(&b);
    s->stays = true;
    b.w->client.in->e.closing = ENGINE_FLUSH_AND_CLOSE;
    wire_run(b.w);
    ck_assert_int_eq(s->eofs, 1);
    s->stays = false;
    next = plain_new(s);
    s->in->e.successor = &next->e;
    s->in->e.wake(&s->in->e, s->in->e.wake_ud);
    s->in = next;
    wire_run(b.w);
    ck_assert_int_eq(s->eofs, 2);
    ck_assert_ptr_null(s->e);
    stop(&b);
}
END_TEST

START_TEST(deadlines_patience_and_rate_are_those_inside)
{
    struct both b = start();
    struct engine *e;

    shake(&b);
    e = b.w->server.e;
    b.w->server.in->e.deadline = b.w->now + 7;
    b.w->server.in->e.patience = 11;
    b.w->server.in->e.rate = 13;
    e->ops->drained(e, b.w->now);
    ck_assert_uint_eq(e->deadline, b.w->now + 7);
    ck_assert_uint_eq(e->patience, 11);
    ck_assert_uint_eq(e->rate, 13);
    e->ops->timeout(e, b.w->now);
    ck_assert_int_eq(e->closing, ENGINE_OPEN);
    e->ops->timeout(e, b.w->now + 7);
    ck_assert_int_eq(e->closing, ENGINE_RESET);
    stop(&b);
}
END_TEST

/* ---- ends ------------------------------------------------------------------------------------ */

START_TEST(an_end_inside_is_an_end_with_a_goodbye)
{
    struct both b = start();

    shake(&b);
    side_say(&b.w->server, "bye", 3);
    b.w->server.in->e.closing = ENGINE_FLUSH_AND_CLOSE;
    wire_run(b.w);
    ck_assert(side_got(&b.w->client, "bye"));
    ck_assert(b.w->client.eof);
    ck_assert_ptr_null(b.w->server.e);
    ck_assert(b.w->server.inner_gone && !b.w->server.finished);
    stop(&b);
}
END_TEST

START_TEST(a_cut_is_an_eof_inside)
{
    struct both b = start();

    shake(&b);
    side_kill(&b.w->server);
    b.w->client.e->ops->eof(b.w->client.e, b.w->now);
    ck_assert(b.w->client.eof);
    stop(&b);
}
END_TEST

START_TEST(a_reset_inside_is_a_reset_outside)
{
    struct both b = start();

    shake(&b);
    side_say(&b.w->server, "lost", 4);
    b.w->server.in->e.closing = ENGINE_RESET;
    b.w->server.in->e.wake(&b.w->server.in->e, b.w->server.in->e.wake_ud);
    wire_run(b.w);
    ck_assert_uint_eq(b.w->client.got.len, 0);
    ck_assert_ptr_null(b.w->server.e);
    stop(&b);
}
END_TEST

START_TEST(a_drain_goes_inside_and_ends_a_handshake)
{
    struct both b = start();

    if (_i) {
        shake(&b);
        b.w->server.e->ops->drain(b.w->server.e, b.w->now);
        ck_assert(b.w->server.drained_off);
    } else {
        wire_open(b.w, b.server, b.client, NULL, NULL);
        b.w->server.e->ops->drain(b.w->server.e, b.w->now);
    }
    wire_run(b.w);
    ck_assert_ptr_null(b.w->server.e);
    ck_assert(b.w->server.finished == !_i);
    stop(&b);
}
END_TEST

START_TEST(a_reader_that_takes_nothing_is_cut)
{
    struct both b = start();

    shake(&b);
    ck_assert(b.w->server.e->ops->stalled(b.w->server.e, b.w->now));
    ck_assert_int_eq(b.w->server.e->closing, ENGINE_RESET);
    stop(&b);
}
END_TEST

/* Every byte of a record counts: whichever is altered, the connection ends and nothing of it is
 * seen inside. */
START_TEST(an_altered_record_ends_the_connection)
{
    struct both b = start();
    struct engine *from, *to;

    shake(&b);
    from = b.w->client.e;
    to = b.w->server.e;
    side_say(&b.w->client, "0123456789", 10);
    engine_flush(from, b.w->now);
    ck_assert_uint_gt(from->out.len, (size_t)_i);
    from->out.data[from->out.head + (size_t)_i] ^= 1;
    to->ops->feed(to, buf_at(&from->out), from->out.len, b.w->now);
    ck_assert_uint_eq(b.w->server.got.len, 0);
    if (_i > 4)
        ck_assert_int_eq(to->closing, ENGINE_FLUSH_AND_CLOSE);
    stop(&b);
}
END_TEST

/* ---- handshakes ------------------------------------------------------------------------------ */

START_TEST(both_learn_what_was_agreed_on)
{
    static const char *const lists[][3] = {{"h2", "http/1.1"}, {"http/1.1"}, {"x", "h2"}};
    static const char *const chosen[] = {"h2", "http/1.1", "h2"};
    struct both b = start();

    wire_open(b.w, b.server, b.client, NULL, lists[_i]);
    wire_run(b.w);
    ck_assert_str_eq(b.w->server.alpn, chosen[_i]);
    ck_assert_str_eq(b.w->client.alpn, chosen[_i]);
    stop(&b);
}
END_TEST

START_TEST(nothing_in_common_is_told_to_both)
{
    static const char *const none[] = {"spdy", NULL};
    struct both b = start();

    wire_open(b.w, b.server, b.client, NULL, none);
    wire_run(b.w);
    ck_assert_str_eq(b.w->server.why, "no protocol in common (ALPN)");
    ck_assert_int_eq(b.w->client.fails, 1);
    ck_assert(b.w->server.finished && b.w->client.finished);
    stop(&b);
}
END_TEST

START_TEST(a_handshake_has_a_deadline)
{
    struct both b = start();
    struct engine *e;

    wire_open(b.w, b.server, b.client, NULL, NULL);
    e = b.w->server.e;
    ck_assert_uint_eq(e->deadline, b.w->now + 1000 * MS);
    e->ops->feed(e, buf_at(&b.w->client.e->out), 50, b.w->now);
    ck_assert_uint_eq(e->deadline, b.w->now + 1000 * MS);
    e->ops->timeout(e, e->deadline);
    ck_assert_int_eq(e->closing, ENGINE_RESET);
    ck_assert_str_eq(b.w->server.why, "the handshake took too long");
    stop(&b);
}
END_TEST

START_TEST(whoever_leaves_in_a_handshake_has_failed)
{
    struct both b = start();

    wire_open(b.w, b.server, b.client, NULL, NULL);
    b.w->server.e->ops->eof(b.w->server.e, b.w->now);
    ck_assert_int_eq(b.w->server.fails, 1);
    ck_assert_int_eq(b.w->server.e->closing, ENGINE_RESET);
    stop(&b);
}
END_TEST

START_TEST(a_handshake_whose_stream_is_gone_has_failed)
{
    struct both b = start();

    wire_open(b.w, b.server, b.client, NULL, NULL);
    side_kill(&b.w->client);
    ck_assert_int_eq(b.w->client.fails, 1);
    ck_assert_str_eq(b.w->client.why, "the connection was lost");
    ck_assert(b.w->client.finished);
    stop(&b);
}
END_TEST

START_TEST(plain_http_is_told_what_is_wrong)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct both b = start();
    struct engine *e;
    const char *body;

    wire_open(b.w, b.server, b.client, NULL, NULL);
    e = b.w->server.e;
    e->ops->feed(e, get, _i ? 1 : sizeof get - 1, b.w->now);
    ck_assert_int_eq(e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_int_eq(buf_append(&e->out, "", 1), 0);
    ck_assert_ptr_nonnull(strstr(buf_at(&e->out), "400 Bad Request"));
    body = strstr(buf_at(&e->out), "\r\n\r\n") + 4;
    ck_assert_uint_eq(strlen(body), 42);
    ck_assert_str_eq(b.w->server.why, "plain HTTP on a port of TLS");
    stop(&b);
}
END_TEST

START_TEST(garbage_ends_a_handshake)
{
    static const char *const garbage[] = {
        "\x16\x03\x01\xff\xff junk", "\x15\x03\x03\x00\x02\x02\x28", "\x17\x03\x03\x00\x01x",
        "\x16\x03\x01\x00\x05\x01\x00\x00\x01x", "\x80\x2e\x01\x03\x01"};
    static const size_t lengths[] = {10, 7, 6, 10, 5};
    struct both b = start();
    struct engine *e;

    wire_open(b.w, b.server, b.client, NULL, NULL);
    e = b.w->server.e;
    e->ops->feed(e, garbage[_i], lengths[_i], b.w->now);
    ck_assert_int_ne(e->closing, ENGINE_OPEN);
    ck_assert_int_eq(b.w->server.fails, 1);
    stop(&b);
}
END_TEST

START_TEST(an_application_may_refuse)
{
    struct both b = start();

    b.w->server.refuse = true;
    wire_open(b.w, b.server, b.client, NULL, NULL);
    b.w->server.refuse = true;
    wire_run(b.w);
    ck_assert(b.w->server.finished);
    ck_assert_ptr_null(b.w->server.e);
    ck_assert(b.w->client.eof);
    stop(&b);
}
END_TEST

/* ---- whom to trust --------------------------------------------------------------------------- */

START_TEST(a_client_wants_the_name_that_it_has_dialled)
{
    static const struct {
        const char *host;
        bool good;
    } cases[] = {{"localhost", true},      {"LOCALHOST", true},         {"127.0.0.1", true},
                 {"a.wild.example", true}, {"a.b.wild.example", false}, {"wild.example", false},
                 {"other.example", false}, {"127.0.0.2", false},        {"::1", false}};
    struct both b = start();

    wire_open(b.w, b.server, b.client, cases[_i].host, NULL);
    wire_run(b.w);
    ck_assert(!!b.w->client.in == cases[_i].good);
    if (!cases[_i].good)
        ck_assert_str_eq(b.w->client.why, "the server's certificate is for another name");
    stop(&b);
}
END_TEST

START_TEST(a_client_trusts_whom_it_was_told_to)
{
    struct both b = start();

    alk_tls_unref(b.client);
    wire_sign(b.w, "other", "[\"localhost\"]");
    b.client = client_of(b.w, "other.crt");
    wire_open(b.w, b.server, b.client, NULL, NULL);
    wire_run(b.w);
    ck_assert_ptr_null(b.w->client.in);
    ck_assert_ptr_nonnull(strstr(b.w->client.why, "signed by itself"));
    ck_assert_ptr_null(b.w->server.in);
    stop(&b);
}
END_TEST

START_TEST(an_insecure_client_trusts_anybody)
{
    struct both b = start();

    alk_tls_unref(b.client);
    b.client = client_of(b.w, NULL);
    wire_open(b.w, b.server, b.client, "other.example", NULL);
    wire_run(b.w);
    ck_assert_ptr_nonnull(b.w->client.in);
    stop(&b);
}
END_TEST

START_TEST(a_pin_stands_for_trust_name_and_time)
{
    char pin[ALK_TLS_FINGERPRINT];
    struct both b = start();
    alk_tls_options o;

    ck_assert_int_eq(alk_tls_fingerprint(b.server, pin, NULL), ALK_OK);
    if (_i)
        pin[20] = pin[20] == '0' ? '1' : '0';
    alk_tls_unref(b.client);
    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    o.pin = pin;
    b.client = make_tls(&o);
    wire_open(b.w, b.server, b.client, "other.example", NULL);
    wire_run(b.w);
    ck_assert(!!b.w->client.in == !_i);
    if (_i)
        ck_assert_str_eq(b.w->client.why, "the server's certificate is not the pinned one");
    else
        ck_assert_str_eq(b.w->client.fingerprint, pin);
    stop(&b);
}
END_TEST

/* Of clients of the call protocol by default; whoever has none goes on without. */
START_TEST(a_clients_certificate_is_asked_for_where_it_is_to_be)
{
    static const char *const web[] = {"http/1.1", NULL};
    static const struct {
        uint32_t ask;
        bool calls, has, shown;
    } cases[] = {{ALK_TLS_ASK_CALLS, true, true, true},
                 {ALK_TLS_ASK_CALLS, false, true, false},
                 {ALK_TLS_ASK_CALLS, true, false, false},
                 {ALK_TLS_ASK_ALL, false, true, true},
                 {ALK_TLS_ASK_NOBODY, true, true, false}};
    char print[ALK_TLS_FINGERPRINT] = "";
    struct both b = start();
    alk_tls_options o;

    wire_sign(b.w, "me", "[\"me.example\"]");
    alk_tls_unref(b.server);
    alk_tls_unref(b.client);
    alk_tls_options_init(&o, sizeof o);
    o.certificates = wire_pairs(b.w, "s");
    o.client_certificates = cases[_i].ask;
    b.server = make_tls(&o);
    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    o.ca_file = wire_path(b.w, "s.crt");
    o.certificates = cases[_i].has ? wire_pairs(b.w, "me") : NULL;
    b.client = make_tls(&o);
    if (cases[_i].shown)
        ck_assert_int_eq(alk_tls_fingerprint(b.client, print, NULL), ALK_OK);
    wire_open(b.w, b.server, b.client, NULL, cases[_i].calls ? NULL : web);
    wire_run(b.w);
    ck_assert_msg(b.w->server.in, "%s / %s", b.w->server.why, b.w->client.why);
    ck_assert_str_eq(b.w->server.fingerprint, print);
    stop(&b);
}
END_TEST

/* ---- alk_tls --------------------------------------------------------------------------------- */

START_TEST(a_reload_is_for_new_connections)
{
    char before[ALK_TLS_FINGERPRINT], after[ALK_TLS_FINGERPRINT], why[200];
    struct both b = start();

    shake(&b);
    ck_assert_int_eq(alk_tls_fingerprint(b.server, before, NULL), ALK_OK);
    ck_assert_int_eq(remove(wire_path(b.w, "s.crt")), 0);
    ck_assert_int_eq(alk_tls_reload(b.server, why, sizeof why), ALK_ESYSTEM);
    ck_assert_ptr_nonnull(strstr(why, "s.crt"));
    ck_assert_int_eq(remove(wire_path(b.w, "s.key")), 0);
    wire_sign(b.w, "s", "[\"localhost\"]");
    ck_assert_int_eq(alk_tls_fingerprint(b.server, after, NULL), ALK_OK);
    ck_assert_str_eq(before, after);
    ck_assert_int_eq(alk_tls_reload(b.server, NULL, 0), ALK_OK);
    ck_assert_int_eq(alk_tls_fingerprint(b.server, after, NULL), ALK_OK);
    ck_assert_str_ne(before, after);
    side_say(&b.w->server, "still", 5);
    wire_run(b.w);
    ck_assert(side_got(&b.w->client, "still"));
    wire_close(b.w);
    ck_assert_int_eq(alk_tls_reload(b.client, NULL, 0), ALK_OK);
    shake(&b);
    ck_assert_str_eq(b.w->client.fingerprint, after);
    stop(&b);
}
END_TEST

START_TEST(what_is_wrong_with_a_file_is_said)
{
    struct both b = start();
    alk_tls_options o;
    char why[300] = "";
    alk_tls *t;
    FILE *f;

    alk_tls_options_init(&o, sizeof o);
    o.certificates = wire_pairs(b.w, "s");
    switch (_i) {
    case 0:
        chmod(wire_path(b.w, "s.key"), 0640);
        break;
    case 1:
        wire_sign(b.w, "t", "[\"localhost\"]");
        ck_assert_int_eq(rename(wire_path(b.w, "t.key"), wire_path(b.w, "s.key")), 0);
        break;
    case 2:
        f = fopen(wire_path(b.w, "s.key"), "w");
        fclose(f);
        break;
    default:
        f = fopen(wire_path(b.w, "s.crt"), "w");
        fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
        fclose(f);
    }
    ck_assert_int_eq(alk_tls_new(&t, &o, why, sizeof why), ALK_EINVAL);
    ck_assert_ptr_null(t);
    ck_assert_ptr_nonnull(strstr(why, _i == 3 ? "s.crt: " : "s.key: "));
    stop(&b);
}
END_TEST

START_TEST(options_that_mean_nothing_are_refused)
{
    static const struct {
        uint32_t client, ask;
        const char *certificates, *pin;
        int rc;
        const char *said;
    } cases[] = {
        {0, 0, NULL, NULL, ALK_EINVAL, "a server needs one"},
        {0, 0, "[]", NULL, ALK_EINVAL, "a server needs one"},
        {0, 0, "{", NULL, ALK_EJSON, "no JSON"},
        {0, 0, "{}", NULL, ALK_EINVAL, "array"},
        {0, 0, "[{\"certificate\":\"x\"}]", NULL, ALK_EINVAL, "each is"},
        {0, 9, "[]", NULL, ALK_EINVAL, "client_certificates"},
        {0, 0, "[{\"certificate\":\"/nowhere\",\"key\":\"x\"}]", NULL, ALK_ESYSTEM, "/nowhere"},
        {1, 0, NULL, "SHA256:12", ALK_EINVAL, "pin"},
        {1, 0, NULL, "sha1:12", ALK_EINVAL, "pin"}};
    char why[300] = "";
    alk_tls_options o;
    alk_tls *t;

    alk_tls_options_init(&o, sizeof o);
    o.client = cases[_i].client;
    o.client_certificates = cases[_i].ask;
    o.certificates = cases[_i].certificates;
    o.pin = cases[_i].pin;
    ck_assert_int_eq(alk_tls_new(&t, &o, why, sizeof why), cases[_i].rc);
    ck_assert_msg(strstr(why, cases[_i].said), "%s", why);
}
END_TEST

START_TEST(the_systems_trust_store_is_read)
{
    alk_tls_options o;
    alk_tls *t;
    char print[ALK_TLS_FINGERPRINT];
    int64_t expires = -1;

    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    t = make_tls(&o);
    ck_assert_int_eq(alk_tls_fingerprint(t, print, &expires), ALK_ENOENT);
    ck_assert_int_eq(expires, 0);
    alk_tls_unref(t);
}
END_TEST

START_TEST(a_certificate_of_ones_own)
{
    struct wire *w = wire_new();
    char crt[140], key[140], why[200], print[ALK_TLS_FINGERPRINT];
    int64_t expires;
    struct stat st;
    alk_tls *t;

    snprintf(crt, sizeof crt, "%s/s.crt", w->folder);
    snprintf(key, sizeof key, "%s/s.key", w->folder);
    ck_assert_int_eq(alk_tls_self_sign(crt, key, "[", 1, why, sizeof why), ALK_EJSON);
    ck_assert_int_eq(alk_tls_self_sign(crt, key, "[]", 1, why, sizeof why), ALK_EINVAL);
    ck_assert_int_eq(alk_tls_self_sign(crt, key, "[1]", 1, why, sizeof why), ALK_EINVAL);
    ck_assert_int_eq(alk_tls_self_sign(crt, key, "[\"a\"]", 0, why, sizeof why), ALK_EINVAL);
    ck_assert_int_eq(alk_tls_self_sign("/no/where", key, "[\"a\"]", 1, why, sizeof why),
                     ALK_ESYSTEM);
    ck_assert_int_ne(stat(key, &st), 0);
    ck_assert_int_eq(alk_tls_self_sign(crt, key, "[\"a\"]", 1, why, sizeof why), ALK_OK);
    ck_assert_int_eq(stat(key, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(alk_tls_self_sign(crt, key, "[\"a\"]", 1, why, sizeof why), ALK_EEXIST);
    t = server_of(w, "s");
    ck_assert_int_eq(alk_tls_fingerprint(t, print, &expires), ALK_OK);
    ck_assert_int_gt(expires, time(NULL) + 86000);
    ck_assert_int_lt(expires, time(NULL) + 87000);
    alk_tls_unref(t);
    wire_free(w);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

START_TEST(memory_may_end_at_any_moment)
{
    struct both b = start();
    bool failed = true;

    for (long at = 1; failed && at < 500; at++) {
        b.w->allocations = 0;
        b.w->fail_at = at;
        wire_open(b.w, b.server, b.client, NULL, NULL);
        if (b.w->server.e && b.w->client.e) {
            wire_run(b.w);
            if (b.w->client.in && !buf_append(&b.w->client.in->e.out, "x", 1))
                b.w->client.woken = true;
            wire_run(b.w);
        }
        failed = b.w->allocations >= at;
        wire_close(b.w);
        ck_assert_uint_eq(b.w->mem.live, 0);
    }
    ck_assert(!failed);
    b.w->fail_at = 0;
    stop(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tls");
    TCase *t = tcase_create("tls");
    SRunner *r;
    int failures;

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, bytes_pass_both_ways_however_they_are_cut, 0, 5);
    tcase_add_test(t, what_a_turn_has_made_is_one_record);
    tcase_add_test(t, much_passes_and_little_of_it_waits_outside);
    tcase_add_test(t, an_engine_that_does_not_read_holds_the_remote_back);
    tcase_add_test(t, the_engine_inside_may_be_succeeded);
    tcase_add_test(t, a_successor_hears_of_an_end_that_came_before_it);
    tcase_add_test(t, deadlines_patience_and_rate_are_those_inside);
    tcase_add_test(t, an_end_inside_is_an_end_with_a_goodbye);
    tcase_add_test(t, a_cut_is_an_eof_inside);
    tcase_add_test(t, a_reset_inside_is_a_reset_outside);
    tcase_add_loop_test(t, a_drain_goes_inside_and_ends_a_handshake, 0, 2);
    tcase_add_test(t, a_reader_that_takes_nothing_is_cut);
    tcase_add_loop_test(t, an_altered_record_ends_the_connection, 0, 30);
    tcase_add_loop_test(t, both_learn_what_was_agreed_on, 0, 3);
    tcase_add_test(t, nothing_in_common_is_told_to_both);
    tcase_add_test(t, a_handshake_has_a_deadline);
    tcase_add_test(t, whoever_leaves_in_a_handshake_has_failed);
    tcase_add_test(t, a_handshake_whose_stream_is_gone_has_failed);
    tcase_add_loop_test(t, plain_http_is_told_what_is_wrong, 0, 2);
    tcase_add_loop_test(t, garbage_ends_a_handshake, 0, 5);
    tcase_add_test(t, an_application_may_refuse);
    tcase_add_loop_test(t, a_client_wants_the_name_that_it_has_dialled, 0, 9);
    tcase_add_test(t, a_client_trusts_whom_it_was_told_to);
    tcase_add_test(t, an_insecure_client_trusts_anybody);
    tcase_add_loop_test(t, a_pin_stands_for_trust_name_and_time, 0, 2);
    tcase_add_loop_test(t, a_clients_certificate_is_asked_for_where_it_is_to_be, 0, 5);
    tcase_add_test(t, a_reload_is_for_new_connections);
    tcase_add_loop_test(t, what_is_wrong_with_a_file_is_said, 0, 4);
    tcase_add_loop_test(t, options_that_mean_nothing_are_refused, 0, 9);
    tcase_add_test(t, the_systems_trust_store_is_read);
    tcase_add_test(t, a_certificate_of_ones_own);
    tcase_add_test(t, memory_may_end_at_any_moment);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failures = srunner_ntests_failed(r);
    srunner_free(r);
    return failures ? 1 : 0;
}
