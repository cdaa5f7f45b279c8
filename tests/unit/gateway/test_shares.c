/* What one who asks by HTTP can make the node hold, in however small steps. */
#include "http_rig.h"

#include "support/suite.h"

#define BUDGET (8u << 20)
#define EIGHTH (BUDGET / 8)
#define CLIENTS 8u

static int big_value(alk_call *call, void *ud)
{
    static char text[15000];

    (void)ud;
    memset(text, 'x', sizeof text);
    text[0] = text[sizeof text - 1] = '"';
    return alk_call_reply(call, text, sizeof text);
}

static int never(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
    return ALK_OK;
}

static void start(struct http *s)
{
    http_new(s);
    s->w->limits.message_budget = BUDGET;
    world_add(s->w, "t/big", ALK_QUERY, big_value, NULL);
    world_add(s->w, "t/never", ALK_QUERY, never, NULL);
    http_start(s);
}

static uint64_t held(struct http *s)
{
    return world_stats(s->w).message_bytes;
}

/* Takes the turns of each client. */
static void settle_all(struct http *s, struct engine *clients[CLIENTS])
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        s->e = clients[i];
        http_settle(s);
        clients[i] = s->e;
    }
}

static void hang_up_all(struct http *s, struct engine *clients[CLIENTS])
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        s->e = clients[i];
        http_hang_up(s);
    }
    ck_assert_uint_eq(held(s), 0);
}

START_TEST(bodies_that_come_in_small_pieces_stay_within_a_part)
{
    static const char head[] = "POST /call HTTP/1.1\r\n" HOST
                               "Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n";
    static const char piece[4096];
    struct engine *clients[CLIENTS];
    struct http s;

    start(&s);
    for (unsigned i = 0; i < CLIENTS; i++) {
        http_dial(&s);
        s.e->ops->feed(s.e, head, sizeof head - 1, s.w->now);
        while (s.e->successor)
            s.e = engine_succeed(s.e);
        clients[i] = s.e;
    }
    for (unsigned n = 0; n < 200; n++) {
        for (unsigned i = 0; i < CLIENTS; i++) {
            s.e = clients[i];
            if (s.e) {
                s.e->ops->feed(s.e, piece, sizeof piece, s.w->now);
                while (s.e->successor)
                    s.e = engine_succeed(s.e);
            }
        }
        settle_all(&s, clients);
        ck_assert_uint_le(held(&s), EIGHTH + CLIENTS * METER_MIN);
    }
    ck_assert_uint_gt(held(&s), EIGHTH / 2); /* some go on */
    hang_up_all(&s, clients);
    http_free(&s);
}
END_TEST

/* One item does not end, so all that the others have brought waits for it. */
START_TEST(results_of_batches_stay_within_a_part)
{
    struct engine *clients[CLIENTS];
    char body[6000] = "[{\"operation\":\"t/never\"}";
    struct http s;

    start(&s);
    for (unsigned i = 0; i < 120; i++)
        strcat(body, ",{\"operation\":\"t/big\"}");
    strcat(body, "]");
    for (unsigned i = 0; i < CLIENTS; i++) {
        char request[7000];

        snprintf(request, sizeof request,
                 "POST /batch HTTP/1.1\r\n" HOST BEARER
                 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
        http_dial(&s);
        s.e->ops->feed(s.e, request, strlen(request), s.w->now);
        while (s.e->successor)
            s.e = engine_succeed(s.e);
        clients[i] = s.e;
        http_settle(&s);
        ck_assert_uint_le(held(&s), EIGHTH + METER_MIN);
    }
    hang_up_all(&s, clients);
    http_free(&s);
}
END_TEST

MAIN("shares", bodies_that_come_in_small_pieces_stay_within_a_part,
     results_of_batches_stay_within_a_part)
