/* The first bytes of a stream: who is chosen to go on, and that he gets every byte, in all cuts; what becomes of a stream that
 * ends, is late, is refused, or has no memory. */
#include "base/list.h"
#include "wire/front.h"

#include "support/memory.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HEADER "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"
#define LOCAL "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
#define TEXT(s) s, sizeof(s) - 1
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* A stream, its application, and the engine that is chosen. */
struct stream {
    struct memory memory;
    struct mem mem;
    struct engine *e, next;
    bool unwanted, none, closes; /* what the application does */
    int clients, chosen, h2, refused, gone, next_gone;
    char client[46];
    char got[200];
    size_t len;
};

static bool client(void *ud, const char *address, uint64_t now)
{
    struct stream *s = ud;

    ck_assert_uint_eq(now, 7);
    s->clients++;
    snprintf(s->client, sizeof s->client, "%s", address ? address : "none");
    return !s->unwanted;
}

static void woken(struct engine *e, void *ud)
{
    ck_assert_ptr_eq(e, &((struct stream *)ud)->next);
}

static void next_feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct stream *s = container_of(e, struct stream, next);

    (void)now;
    ck_assert(len && !e->closing && s->len + len < sizeof s->got);
    e->wake(e, e->wake_ud); /* as in its place already */
    memcpy(s->got + s->len, data, len);
    s->len += len;
    e->closing = s->closes;
}

static void next_fini(struct engine *e)
{
    struct stream *s = container_of(e, struct stream, next);

    s->next_gone++;
    buf_fini(&e->out);
}

static const struct engine_ops next_ops = {.feed = next_feed, .fini = next_fini};

static struct engine *chosen(void *ud, bool h2, uint64_t now)
{
    struct stream *s = ud;

    (void)now;
    s->chosen++;
    s->h2 = h2;
    if (s->none)
        return NULL;
    s->next = (struct engine){.ops = &next_ops};
    buf_init(&s->next.out, &s->mem);
    return &s->next;
}

static void refused(void *ud, const char *why)
{
    ck_assert(*why);
    ((struct stream *)ud)->refused++;
}

static void gone(void *ud)
{
    ((struct stream *)ud)->gone++;
}

static const struct front_app app = {client, chosen, refused, gone};

static struct stream *stream_new(bool header, bool sniff)
{
    struct stream *s = calloc(1, sizeof *s);

    mem_init(&s->mem, memory_realloc, &s->memory);
    s->e = front_new(&s->mem, header, sniff, &app, s, 1000);
    ck_assert_ptr_nonnull(s->e);
    s->e->wake = woken;
    s->e->wake_ud = s;
    ck_assert(s->e->reading);
    ck_assert_uint_eq(s->e->deadline, 1000);
    return s;
}

/* Goes over to the successor as a transport does. */
static void turn(struct stream *s)
{
    if (s->e->successor) {
        ck_assert_ptr_eq(s->e->successor, &s->next);
        s->e = engine_succeed(s->e);
    }
}

static void feed(struct stream *s, const char *in, size_t n, size_t step)
{
    for (size_t at = 0; at < n && !s->e->closing; at += step) {
        size_t piece = step < n - at ? step : n - at;
        char *copy = malloc(piece);

        memcpy(copy, in + at, piece);
        s->e->ops->feed(s->e, copy, piece, 7);
        free(copy);
        turn(s);
    }
}

static void stream_free(struct stream *s)
{
    s->e->ops->fini(s->e);
    ck_assert_int_eq(s->gone + s->next_gone, 1);
    ck_assert_uint_eq(s->memory.live, 0);
    free(s);
}

static const struct {
    bool header, sniff;
    const char *in;
    size_t n, own; /* own: the bytes of a header */
    const char *client;
    int h2;
} rows[] = {
    {false, true, TEXT(PREFACE), 0, "", 1},
    {false, true, TEXT(PREFACE "\0\0\0\4\0"), 0, "", 1},
    {false, true, TEXT(GET), 0, "", 0},
    {false, true, TEXT("POST / HTTP/1.1\r\n"), 0, "", 0},
    {false, true, TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r "), 0, "", 0},
    {false, true, TEXT("PRI * HTTP/1.1\r\n\r\n"), 0, "", 0},
    {false, true, TEXT("\0\0\0\2{}"), 0, "", 0},
    {true, true, TEXT(HEADER PREFACE "x"), sizeof HEADER - 1, "192.0.2.1", 1},
    {true, true, TEXT(HEADER GET), sizeof HEADER - 1, "192.0.2.1", 0},
    {true, true, TEXT(LOCAL GET), sizeof LOCAL - 1, "none", 0},
    {true, false, TEXT(HEADER PREFACE), sizeof HEADER - 1, "192.0.2.1", 0},
    {true, false, TEXT(HEADER "\x16\3\1\2\0"), sizeof HEADER - 1, "192.0.2.1", 0},
    {true, false, TEXT(LOCAL), sizeof LOCAL - 1, "none", 0},
};

START_TEST(who_is_chosen_gets_every_byte_behind_the_header)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t step = 1; step <= rows[i].n; step++) {
            struct stream *s = stream_new(rows[i].header, rows[i].sniff);

            feed(s, rows[i].in, rows[i].n, step);
            ck_assert_ptr_eq(s->e, &s->next);
            ck_assert_int_eq(s->chosen, 1);
            ck_assert_msg(s->h2 == rows[i].h2, "%zu", i);
            ck_assert_int_eq(s->clients, rows[i].header);
            ck_assert_str_eq(s->client, rows[i].client);
            ck_assert_uint_eq(s->len, rows[i].n - rows[i].own);
            ck_assert_mem_eq(s->got, rows[i].in + rows[i].own, s->len);
            ck_assert(!s->refused && !s->gone);
            stream_free(s);
        }
    }
}
END_TEST

START_TEST(http_1_is_chosen_with_the_first_byte_that_no_preface_has)
{
    for (size_t n = 0; n < sizeof PREFACE - 1; n++) {
        struct stream *s = stream_new(false, true);

        feed(s, PREFACE, n, n + 1);
        ck_assert_int_eq(s->chosen, 0);
        feed(s, TEXT("~"), 1);
        ck_assert_int_eq(s->chosen, 1);
        ck_assert_int_eq(s->h2, 0);
        ck_assert_uint_eq(s->len, n + 1);
        stream_free(s);
    }
}
END_TEST

START_TEST(a_stream_that_ends_or_is_late_closes)
{
    static const char in[] = HEADER PREFACE;
    size_t header = sizeof HEADER - 1;

    for (size_t n = 0; n < sizeof in - 1; n++) {
        struct stream *s = stream_new(true, true);

        feed(s, in, n, 5);
        s->e->ops->eof(s->e, 7);
        ck_assert_int_eq(s->chosen, 0);
        ck_assert_int_eq(s->refused, n > 0 && n < header);
        ck_assert_int_eq(s->e->closing, s->refused ? ENGINE_RESET : ENGINE_FLUSH_AND_CLOSE);
        feed(s, in + n, sizeof in - 1 - n, 1);
        s->e->ops->timeout(s->e, 1000);
        ck_assert_int_eq(s->chosen + s->clients, n >= header);
        ck_assert_int_le(s->refused, 1);
        stream_free(s);

        s = stream_new(true, true);
        feed(s, in, n, 5);
        s->e->ops->timeout(s->e, 1000);
        ck_assert_int_eq(s->refused, n < header);
        ck_assert_uint_eq(s->e->deadline, 0);
        if (n > header) {
            turn(s);
            ck_assert_int_eq(s->h2, 0);
            ck_assert_uint_eq(s->len, n - header);
        } else {
            ck_assert_int_eq(s->chosen, 0);
            ck_assert_int_eq(s->e->closing, n < header ? ENGINE_RESET : ENGINE_FLUSH_AND_CLOSE);
        }
        stream_free(s);
    }
}
END_TEST

START_TEST(a_wrong_header_resets_the_stream_and_nothing_of_it_is_looked_at)
{
    struct stream *s = stream_new(true, true);

    feed(s, TEXT(GET), 100);
    ck_assert_int_eq(s->e->closing, ENGINE_RESET);
    ck_assert_int_eq(s->refused, 1);
    s->e->ops->feed(s->e, TEXT(HEADER GET), 7);
    s->e->ops->eof(s->e, 7);
    s->e->ops->drain(s->e, 7);
    ck_assert_int_eq(s->e->closing, ENGINE_RESET);
    ck_assert(s->refused == 1 && !s->clients && !s->chosen);
    stream_free(s);
}
END_TEST

START_TEST(a_client_who_is_not_wanted_is_reset)
{
    struct stream *s = stream_new(true, true);

    s->unwanted = true;
    feed(s, TEXT(HEADER GET), 1000);
    ck_assert_int_eq(s->e->closing, ENGINE_RESET);
    ck_assert(s->clients == 1 && !s->chosen && !s->refused);
    stream_free(s);
}
END_TEST

START_TEST(without_memory_for_who_goes_on_the_stream_is_reset)
{
    struct stream *s = stream_new(false, true);

    s->none = true;
    feed(s, TEXT(GET), 1000);
    ck_assert_int_eq(s->e->closing, ENGINE_RESET);
    ck_assert(s->chosen == 1 && !s->refused);
    stream_free(s);
    s = calloc(1, sizeof *s);
    mem_init(&s->mem, memory_realloc, &s->memory);
    s->memory.fail_in = 1;
    ck_assert_ptr_null(front_new(&s->mem, true, true, &app, s, 1));
    ck_assert_uint_eq(s->memory.live, 0);
    ck_assert_int_eq(s->gone, 0);
    free(s);
}
END_TEST

START_TEST(who_closes_at_what_matched_is_not_fed_the_rest)
{
    struct stream *s = stream_new(false, true);

    s->closes = true;
    feed(s, TEXT(PREFACE "more"), 1000);
    ck_assert_uint_eq(s->len, sizeof PREFACE - 1);
    stream_free(s);
}
END_TEST

START_TEST(a_stop_closes_what_has_asked_nothing)
{
    struct stream *s = stream_new(true, true);

    feed(s, TEXT(HEADER "PRI"), 1000);
    s->e->ops->drained(s->e, 7);
    ck_assert_int_eq(s->e->closing, ENGINE_OPEN);
    s->e->ops->drain(s->e, 7);
    ck_assert_int_eq(s->e->closing, ENGINE_FLUSH_AND_CLOSE);
    stream_free(s);
    s = stream_new(true, true);
    ck_assert(!s->e->ops->stalled(s->e, 7));
    ck_assert_int_eq(s->e->closing, ENGINE_RESET);
    stream_free(s);
}
END_TEST

MAIN("front", who_is_chosen_gets_every_byte_behind_the_header,
     http_1_is_chosen_with_the_first_byte_that_no_preface_has, a_stream_that_ends_or_is_late_closes,
     a_wrong_header_resets_the_stream_and_nothing_of_it_is_looked_at,
     a_client_who_is_not_wanted_is_reset, without_memory_for_who_goes_on_the_stream_is_reset,
     who_closes_at_what_matched_is_not_fed_the_rest, a_stop_closes_what_has_asked_nothing)
