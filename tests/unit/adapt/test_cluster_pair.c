/* Pairs of hubs on a bus that may drop, repeat, reorder and change what it carries, and with
 * strangers on it. */
#include "unit/adapt/cluster_rig.h"

#define LOST "fault INTERNAL: connection closed"

/* ---- calls ----------------------------------------------------------------------------------- */

START_TEST(a_pair_opens_and_calls_go_both_ways)
{
    struct rig r;
    struct asked a, b;

    rig_pair(&r);
    ask(&a, r.hub[0].conn[1], "t/query", "[1]");
    ask(&b, r.hub[1].conn[0], "t/echo", "[2]");
    rig_run(&r);
    ck_assert_str_eq(asked_outcome(&a), "running");
    ck_assert_str_eq(asked_outcome(&b), "ok [2]");
    ck_assert_str_eq(alk_identity_id(alk_call_identity(r.hub[1].n.query.call)), "alpha");
    served_reply(&r.hub[1].n.query, "{\"x\":3}");
    rig_run(&r);
    ck_assert_str_eq(asked_outcome(&a), "ok {\"x\":3}");
    ck_assert_str_eq(connection_remote(r.hub[0].conn[1]), "nats:beta");
    ck_assert_str_eq(alk_identity_id(alk_connection_identity(r.hub[1].conn[0])), "alpha");
    /* OPEN, ACCEPT, CONFIRM, PING, and two of each call. */
    ck_assert_int_eq(r.count, 8);
    ck_assert_int_eq(r.hub[2].ups, 0);
    asked_free(&a);
    asked_free(&b);
    rig_fini(&r);
}
END_TEST

/* Of three hubs, each with each, and none twice. */
START_TEST(every_hub_has_a_pair_with_every_other)
{
    struct rig r;

    rig_init(&r);
    for (int i = 0; i < HUBS; i++) {
        for (int j = 0; j < HUBS; j++)
            ck_assert_int_eq(pairs_want(r.hub[i].p, rig_names[j]), i == j ? ALK_EINVAL : ALK_OK);
    }
    ck_assert_int_eq(pairs_want(r.hub[0].p, "not.a.name"), ALK_EINVAL);
    rig_run(&r);
    for (int i = 0; i < HUBS; i++) {
        ck_assert_int_eq(r.hub[i].ups, HUBS - 1);
        ck_assert_int_eq(r.hub[i].subscribed, HUBS);
        ck_assert_uint_eq(pairs_stats(r.hub[i].p)->up, HUBS - 1);
        ck_assert_int_eq(pairs_want(r.hub[i].p, rig_names[(i + 1) % HUBS]), ALK_OK);
    }
    rig_advance(&r, 3000);
    for (int i = 0; i < HUBS; i++)
        ck_assert_int_eq(r.hub[i].ups, HUBS - 1);
    rig_fini(&r);
}
END_TEST

START_TEST(nothing_said_in_the_pair_can_be_read_on_the_bus)
{
    static const char secret[] = "the eagle lands at dawn";
    struct rig r;
    struct asked a;

    rig_pair(&r);
    ask(&a, r.hub[0].conn[1], "t/echo", "\"the eagle lands at dawn\"");
    rig_run(&r);
    ck_assert_str_eq(a.text, "\"the eagle lands at dawn\"");
    for (int i = 0; i < r.count; i++)
        ck_assert_ptr_null(memmem(r.said[i].data, r.said[i].len, secret, sizeof secret - 1));
    asked_free(&a);
    rig_fini(&r);
}
END_TEST

/* The caller does not read: its subscription is held back, and what else the pair carries goes on.
 */
START_TEST(a_slow_subscription_is_held_back_alone)
{
    struct rig r;
    struct asked slow, other;
    char *text = repeated("x", 10000, "\"", "\"");
    int emitted = 0, rc;

    rig_pair(&r);
    ask_stream(&slow, r.hub[0].conn[1], "t/stream", "null");
    rig_run(&r);
    ck_assert_int_eq(alk_call_pause(slow.call, 1), ALK_OK);
    r.hub[0].refused = 2;
    for (int i = 0; i < 1000; i++) {
        while (!(rc = alk_call_emit(r.hub[1].n.stream.call, TEXT(text))))
            emitted++;
        ck_assert_int_eq(rc, ALK_EAGAIN);
        rig_advance(&r, i < 10 ? 20 : 0);
        rig_run(&r);
    }
    ck_assert_int_eq(r.hub[0].refused, 0);
    ck_assert_uint_eq(rig_side(&r, 1, 0)->held, 1);
    ck_assert_int_lt(emitted, 200);
    ck_assert_int_gt(emitted, 30);
    ask(&other, r.hub[0].conn[1], "t/echo", text);
    rig_run(&r);
    ck_assert_int_eq(other.ends, 1);
    ck_assert_int_eq(slow.values, 0);
    ck_assert_int_eq(alk_call_pause(slow.call, 0), ALK_OK);
    rig_run(&r);
    ck_assert_int_eq(slow.values, emitted);
    ck_assert_int_gt(r.hub[1].n.stream.drains, 0);
    ck_assert_uint_eq(rig_side(&r, 1, 0)->lanes.count, 0);
    ck_assert_uint_eq(rig_side(&r, 0, 1)->lanes.count, 0);
    ck_assert_int_eq(alk_call_complete(r.hub[1].n.stream.call), ALK_OK);
    rig_run(&r);
    ck_assert_int_eq(slow.ends, 1);
    asked_free(&slow);
    asked_free(&other);
    free(text);
    rig_fini(&r);
}
END_TEST

/* One that ends while it is held back is let go at both sides. */
START_TEST(an_abort_ends_a_call_that_is_held_back)
{
    struct rig r;
    struct asked a;
    char *text = repeated("x", 100000, "\"", "\"");

    rig_pair(&r);
    ask_stream(&a, r.hub[1].conn[0], "t/stream", "null");
    rig_run(&r);
    alk_call_pause(a.call, 1);
    for (int i = 0; i < 100; i++) {
        alk_call_emit(r.hub[0].n.stream.call, TEXT(text));
        rig_run(&r);
    }
    ck_assert_uint_eq(rig_side(&r, 0, 1)->held, 1);
    ck_assert_int_eq(alk_call_abort(a.call), ALK_OK);
    rig_run(&r);
    ck_assert_str_eq(asked_outcome(&a), "aborted");
    ck_assert_int_eq(r.hub[0].n.stream.ends, 1);
    ck_assert_int_eq(r.hub[0].n.stream.why, ALK_END_ABORTED);
    ck_assert_uint_eq(rig_side(&r, 0, 1)->lanes.count, 0);
    ck_assert_uint_eq(rig_side(&r, 1, 0)->lanes.count, 0);
    ck_assert(rig_joined(&r, 0, 1));
    asked_free(&a);
    free(text);
    rig_fini(&r);
}
END_TEST

/* gamma asks beta, whose handler asks alpha. */
struct onward {
    struct rig *r;
    int ends, why;
};

static void onward_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct onward *o = ud;

    (void)call;
    (void)fault;
    o->ends++;
    o->why = why;
}

static int serve_onward(alk_call *call, void *ud)
{
    struct onward *o = ud;
    alk_call_options options = {.size = sizeof options};

    ck_assert_int_eq(alk_call_on_end(call, onward_end, o), ALK_OK);
    options.selector = ALK_SELECT_CONNECTION;
    options.connection = o->r->hub[1].conn[0];
    return alk_call_invoke(call, TEXT("t/query"), TEXT("null"), &options, NULL);
}

START_TEST(an_abort_goes_through_the_whole_tree)
{
    struct rig r;
    struct onward o = {.r = &r};
    struct asked a;
    alk_operation op;

    rig_prepare(&r);
    alk_operation_init(&op, sizeof op);
    op.name = "t/onward";
    op.type = ALK_QUERY;
    op.handler = serve_onward;
    op.ud = &o;
    op.environment = "{\"allowed_ops\":[\"t/*\"]}";
    world_add_full(r.hub[1].n.w, &op);
    rig_start(&r);
    pairs_want(r.hub[1].p, "alpha");
    pairs_want(r.hub[2].p, "beta");
    rig_run(&r);
    alk_operation_init(&op, sizeof op);
    op.name = "t/query";
    op.type = ALK_QUERY;
    ck_assert_int_eq(alk_connection_register_imported(r.hub[1].conn[0], &op, 1), ALK_OK);
    ask(&a, r.hub[2].conn[1], "t/onward", "null");
    rig_run(&r);
    ck_assert_int_eq(r.hub[0].n.query.starts, 1);
    ck_assert_int_eq(alk_call_abort(a.call), ALK_OK);
    rig_run(&r);
    ck_assert_int_eq(o.ends, 1);
    ck_assert_int_eq(o.why, ALK_END_ABORTED);
    ck_assert_int_eq(r.hub[0].n.query.ends, 1);
    ck_assert_int_eq(r.hub[0].n.query.why, ALK_END_ABORTED);
    asked_free(&a);
    rig_fini(&r);
}
END_TEST

/* ---- who may --------------------------------------------------------------------------------- */

static const struct {
    int keys[HUBS]; /* which beta has for alpha and itself */
} wrong_entries[] = {{{-1, 1, 2}}, {{2, 1, -1}}, {{1, -1, 2}}, {{-1, -1, 0}}};

START_TEST(a_key_that_is_not_the_peers_is_refused)
{
    static const int all[HUBS] = {0, 1, 2};
    struct rig r;

    for (size_t i = 0; i < sizeof wrong_entries / sizeof *wrong_entries; i++) {
        rig_init(&r);
        rig_know(&r.hub[1], wrong_entries[i].keys);
        pairs_want(r.hub[0].p, "beta");
        rig_advance(&r, 50000);
        ck_assert_int_eq(r.hub[0].ups + r.hub[1].ups, 0);
        ck_assert_uint_ge(pairs_stats(r.hub[1].p)->refused, 5);
        ck_assert_int_eq(r.hub[1].subscribed, 1);
        ck_assert(world_logged(r.hub[1].n.w, "alpha: not a key of the peer of that name"));
        /* Once a minute. */
        buf_truncate(&r.hub[1].n.w->log, 0);
        rig_advance(&r, 9000);
        ck_assert(!world_logged(r.hub[1].n.w, "cluster.refused"));
        /* It goes on asking, and is let in once it is known. */
        rig_know(&r.hub[1], all);
        rig_advance(&r, 40000);
        ck_assert(rig_joined(&r, 0, 1));
        rig_fini(&r);
    }
}
END_TEST

START_TEST(the_opener_refuses_an_answer_of_somebody_else)
{
    static const int wrong[HUBS] = {0, 2, -1};
    struct rig r;

    rig_init(&r);
    rig_know(&r.hub[0], wrong);
    pairs_want(r.hub[0].p, "beta");
    rig_advance(&r, 6000);
    ck_assert_int_eq(r.hub[0].ups + r.hub[1].ups, 0);
    ck_assert_uint_ge(pairs_stats(r.hub[0].p)->strange, 2);
    rig_fini(&r);
}
END_TEST

START_TEST(who_is_no_peer_any_more_is_cut)
{
    static const int not_alpha[HUBS] = {-1, 1, 2};
    struct rig r;
    struct asked a;

    rig_pair(&r);
    ask(&a, r.hub[0].conn[1], "t/query", "null");
    rig_run(&r);
    rig_know(&r.hub[1], not_alpha);
    rig_run(&r);
    ck_assert_str_eq(asked_outcome(&a), LOST);
    ck_assert_str_eq(r.hub[1].why, "the credential no longer resolves");
    ck_assert_str_eq(r.hub[0].why, "the other hub has closed it");
    pairs_want(r.hub[0].p, "beta");
    rig_advance(&r, 3000);
    ck_assert_int_eq(r.hub[1].ups, 1);
    asked_free(&a);
    rig_fini(&r);
}
END_TEST

/* ---- openings -------------------------------------------------------------------------------- */

static int drop_target(struct rig *r, struct rig_said *m, int number)
{
    (void)m;
    return number != r->target;
}

START_TEST(an_opening_that_is_lost_is_tried_again)
{
    struct rig r;

    for (int target = 0; target < 4; target++) {
        rig_init(&r);
        r.fate = drop_target;
        r.target = target;
        pairs_want(r.hub[0].p, "beta");
        rig_run(&r);
        ck_assert_int_eq(r.hub[0].ups, 0);
        rig_advance(&r, 1300);
        ck_assert(rig_joined(&r, 0, 1));
        ck_assert_int_eq(r.hub[0].ups, 1);
        rig_advance(&r, 10000);
        ck_assert(rig_joined(&r, 0, 1));
        ck_assert_int_eq(r.hub[0].gones, 0);
        rig_fini(&r);
    }
}
END_TEST

START_TEST(attempts_become_rarer_and_end_when_nobody_wants_them)
{
    struct rig r;
    int before, at_60;

    rig_init(&r);
    r.hub[1].dead = true;
    pairs_want(r.hub[0].p, "beta");
    rig_advance(&r, 60000);
    at_60 = r.count;
    ck_assert_int_ge(at_60, 6);
    ck_assert_int_le(at_60, 8);
    rig_advance(&r, 300000);
    ck_assert_int_ge(r.count - at_60, 8);
    ck_assert_int_le(r.count - at_60, 14);
    r.hub[0].unwanted = true;
    rig_advance(&r, 40000);
    before = r.count;
    rig_advance(&r, 100000);
    ck_assert_int_eq(r.count, before);
    /* And is forgotten. */
    ck_assert_uint_eq(r.hub[0].p->hubs.count, 0);
    rig_fini(&r);
}
END_TEST

/* All orders in which what each side says can arrive at the other: choice after choice, of the two
 * that wait first. */
static void deliver_in_order(struct rig *r, unsigned choices, int start)
{
    int done[RIG_SAID_MAX / 1000] = {0}, count;

    r->delivered = 0;
    for (int step = 0;; step++) {
        int pick = -1, side = (int)(choices >> (step < 8 ? step : 8) & 1);

        if (step == start)
            pairs_want(r->hub[0].p, "beta");
        if (step == (start > 0 ? 0 : -start))
            pairs_want(r->hub[1].p, "alpha");
        rig_turn(r);
        count = r->count < 60 ? r->count : 60;
        for (int i = count - 1; i >= 0; i--) {
            if (!done[i] && (pick < 0 || r->said[i].from == side || r->said[pick].from != side))
                pick = i;
        }
        if (pick < 0 && step >= 8)
            break;
        if (pick < 0)
            continue;
        done[pick] = 1;
        rig_say(r, r->said[pick].from, r->said[pick].subject, r->said[pick].data,
                r->said[pick].len);
    }
    r->delivered = r->count;
}

START_TEST(two_openings_at_once_give_one_pair)
{
    struct rig r;

    for (int start = -3; start <= 3; start += 3) {
        for (unsigned choices = 0; choices < 64; choices++) {
            rig_init(&r);
            deliver_in_order(&r, choices, start);
            ck_assert_msg(rig_joined(&r, 0, 1), "start %d, choices %x", start, choices);
            ck_assert_int_eq(r.hub[0].ups, 1);
            ck_assert_int_eq(r.hub[1].ups, 1);
            ck_assert_int_eq(r.hub[0].gones + r.hub[1].gones, 0);
            rig_fini(&r);
        }
    }
}
END_TEST

/* On a bus that keeps no order at all: what is late opens nothing. */
START_TEST(two_openings_in_any_order_give_one_pair)
{
    struct rig r;

    for (uint32_t seed = 1; seed <= 150; seed++) {
        uint32_t noise = seed * 2654435761u;
        bool done[50] = {false};
        int left;

        rig_init(&r);
        pairs_want(r.hub[0].p, "beta");
        pairs_want(r.hub[1].p, "alpha");
        do {
            rig_turn(&r);
            must(r.count < 50);
            left = 0;
            for (int i = 0; i < r.count; i++)
                left += !done[i];
            noise = noise * 1664525u + 1013904223u;
            for (int i = 0, n = left ? (int)(noise >> 8) % left : 0; left && i < r.count; i++) {
                if (done[i] || n--)
                    continue;
                done[i] = true;
                rig_say_again(&r, i);
            }
        } while (left);
        r.delivered = r.count;
        ck_assert_msg(rig_joined(&r, 0, 1), "seed %u", seed);
        ck_assert_int_eq(r.hub[0].gones + r.hub[1].gones, 0);
        rig_fini(&r);
    }
}
END_TEST

/* The next message of that kind, now. */
static int deliver_kind(struct rig *r, uint8_t kind, int from)
{
    rig_turn(r);
    for (int i = r->count - 1; i >= 0; i--) {
        if (r->said[i].data[0] == kind && r->said[i].from == from) {
            rig_say_again(r, i);
            return i;
        }
    }
    ck_abort_msg("nothing of kind %u from %d", kind, from);
}

/* alpha answers beta, then opens a pair itself, which goes first. */
START_TEST(a_confirmation_that_comes_late_opens_nothing)
{
    struct rig r;

    rig_init(&r);
    pairs_want(r.hub[1].p, "alpha");
    deliver_kind(&r, MSG_OPEN, 1);
    pairs_want(r.hub[0].p, "beta");
    deliver_kind(&r, MSG_ACCEPT, 0);
    deliver_kind(&r, MSG_OPEN, 0);
    deliver_kind(&r, MSG_ACCEPT, 1);
    deliver_kind(&r, MSG_CONFIRM, 0);
    deliver_kind(&r, MSG_PING, 1);
    ck_assert_ptr_nonnull(r.hub[0].conn[1]);
    deliver_kind(&r, MSG_CONFIRM, 1);
    r.delivered = r.count;
    ck_assert(rig_joined(&r, 0, 1));
    rig_advance(&r, 3000);
    ck_assert_int_eq(r.hub[0].gones + r.hub[1].gones, 0);
    rig_fini(&r);
}
END_TEST

/* alpha's own attempt is under way when beta's CONFIRM comes: alpha's goes on. */
START_TEST(the_smaller_names_attempt_goes_on)
{
    struct rig r;

    rig_init(&r);
    pairs_want(r.hub[1].p, "alpha");
    deliver_kind(&r, MSG_OPEN, 1);
    pairs_want(r.hub[0].p, "beta");
    deliver_kind(&r, MSG_ACCEPT, 0);
    deliver_kind(&r, MSG_CONFIRM, 1);
    ck_assert_ptr_null(r.hub[0].conn[1]);
    deliver_kind(&r, MSG_OPEN, 0);
    deliver_kind(&r, MSG_ACCEPT, 1);
    deliver_kind(&r, MSG_CONFIRM, 0);
    deliver_kind(&r, MSG_PING, 1);
    r.delivered = r.count;
    ck_assert(rig_joined(&r, 0, 1));
    ck_assert_int_eq(r.hub[0].ups + r.hub[1].ups, 2);
    rig_fini(&r);
}
END_TEST

START_TEST(an_opening_that_is_not_whole_is_none)
{
    struct rig r;
    struct rig_said *m;
    uint64_t strange;

    rig_pair(&r);
    m = &r.said[0];
    strange = pairs_stats(r.hub[1].p)->strange;
    for (size_t n = 1; n < m->len; n++)
        rig_say(&r, -1, m->subject, m->data, n);
    ck_assert_uint_eq(pairs_stats(r.hub[1].p)->strange, strange + m->len - 1);
    /* The version, a name, a window of 0, no envelope at all. */
    for (int i = 0; i < 4; i++) {
        uint8_t text[HELLO_MAX + 1];

        memcpy(text, m->data, m->len);
        text[m->len] = 0;
        if (i == 0)
            text[1] = 2;
        else if (i == 1)
            text[3] = '.';
        else if (i < 4)
            memset(text + m->len - (i == 2 ? 8 : 4), 0, 4);
        rig_say(&r, -1, m->subject, text, m->len);
        rig_say(&r, -1, m->subject, text, m->len + 1);
    }
    ck_assert_uint_eq(pairs_stats(r.hub[1].p)->strange, strange + m->len - 1 + 8);
    ck_assert_uint_eq(pairs_stats(r.hub[1].p)->half_open, 0);
    rig_fini(&r);
}
END_TEST

/* Each costs its hub something to look at: after a few the opening is not worth more. */
START_TEST(signatures_that_are_guessed_are_bounded)
{
    struct rig r;
    uint8_t text[1 + PAIR_SIGNATURE] = {MSG_CONFIRM};

    rig_init(&r);
    r.fate = drop_target;
    r.target = 2;
    pairs_want(r.hub[0].p, "beta");
    rig_run(&r);
    ck_assert_uint_eq(pairs_stats(r.hub[1].p)->half_open, 1);
    for (int i = 0; i < 20; i++)
        rig_say(&r, -1, r.said[2].subject, text, sizeof text);
    rig_say_again(&r, 2);
    ck_assert_int_eq(r.hub[1].ups, 0);
    rig_advance(&r, 1300);
    ck_assert(rig_joined(&r, 0, 1));
    rig_fini(&r);
}
END_TEST

/* The other hub is another process at once, and knows of no pair. */
START_TEST(a_hub_that_opens_anew_replaces_the_pair)
{
    struct rig r;
    struct asked a;
    struct pairs_options o = {.name = "beta", .prefix = "t.alknet", .events = &rig_events};

    rig_pair(&r);
    ask(&a, r.hub[0].conn[1], "t/query", "1");
    rig_run(&r);
    r.hub[1].mute = true;
    pairs_close(r.hub[1].p);
    r.hub[1].mute = false;
    memset(r.hub[1].conn, 0, sizeof r.hub[1].conn);
    o.bus = &r.hub[1].bus;
    o.identity = r.hub[1].identity;
    o.ud = &r.hub[1];
    ck_assert_int_eq(pairs_new(&r.hub[1].p, r.hub[1].n.w->d, &o), ALK_OK);
    pairs_bus_state(r.hub[1].p, true);
    pairs_want(r.hub[1].p, "alpha");
    rig_run(&r);
    ck_assert_str_eq(asked_outcome(&a), LOST);
    ck_assert_str_eq(r.hub[0].why, "the other hub has opened another pair");
    ck_assert(rig_joined(&r, 0, 1));
    ck_assert_int_eq(r.hub[0].subscribed, 2);
    asked_free(&a);
    rig_fini(&r);
}
END_TEST

/* Each byte of each message of the opening: whatever is changed does not become a pair. */
static int flip_target(struct rig *r, struct rig_said *m, int number)
{
    if (number == r->target)
        m->data[(size_t)r->turn / 8 % m->len] ^= (uint8_t)(1 << r->turn % 8);
    return 1;
}

START_TEST(an_opening_that_was_changed_is_none)
{
    struct rig r;

    for (int target = 0; target < 3; target++) {
        size_t len = 1;

        for (size_t bit = 0; bit < 8 * len; bit += 29) {
            rig_init(&r);
            r.fate = flip_target;
            r.target = target;
            r.turn = (int)bit;
            pairs_want(r.hub[0].p, "beta");
            rig_run(&r);
            len = r.said[target].len;
            ck_assert_int_eq(r.hub[0].ups, 0);
            ck_assert_int_eq(r.hub[1].ups, 0);
            if (bit % 5 == 0) {
                rig_advance(&r, 1300);
                ck_assert(rig_joined(&r, 0, 1));
            }
            rig_fini(&r);
        }
    }
}
END_TEST

START_TEST(what_was_said_before_opens_nothing)
{
    struct rig r;
    struct asked a;
    int count;

    rig_pair(&r);
    ask(&a, r.hub[0].conn[1], "t/echo", "1");
    rig_run(&r);
    asked_drop(&a, r.hub[0].n.w);
    count = r.count;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < count; i++)
            rig_say_again(&r, i);
        rig_advance(&r, 300);
    }
    ck_assert(rig_joined(&r, 0, 1));
    ck_assert_int_eq(r.hub[0].ups + r.hub[1].ups, 2);
    ck_assert_int_eq(r.hub[0].gones + r.hub[1].gones, 0);
    ck_assert_int_le(r.hub[1].subscribed, 2 + 20);
    rig_advance(&r, 6000);
    ck_assert_int_eq(r.hub[1].subscribed, 2);
    ck_assert_uint_eq(pairs_stats(r.hub[1].p)->half_open, 0);
    rig_fini(&r);
}
END_TEST

/* What a stranger may cost: records and signatures, both bounded, and nobody else's pair. */
START_TEST(a_flood_of_openings_is_bounded)
{
    struct rig r;
    size_t live, most = 0;
    uint64_t seed = 7;
    int accepts = 0, first;
    uint8_t text[HELLO_MAX];

    rig_pair(&r);
    live = r.hub[1].n.w->memory.live;
    first = r.count;
    for (int i = 0; i < 20000; i++) {
        struct rig_said *m = &r.said[0];
        bool known = i % 2;

        must(m->len <= sizeof text);
        memcpy(text, m->data, m->len);
        /* In alpha's name with its key, or with another; a new nonce each time. */
        if (!known)
            text[m->len - 8 - TOKEN_BYTES - 2 * PAIR_KEY - NONCE_BYTES] ^= 1;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        memcpy(text + m->len - 8 - TOKEN_BYTES - PAIR_KEY - NONCE_BYTES, &seed, sizeof seed);
        rig_say(&r, -1, m->subject, text, m->len);
        most = r.hub[1].n.w->memory.live > most ? r.hub[1].n.w->memory.live : most;
        if (i % 1000 == 999)
            rig_advance(&r, 200);
    }
    for (int i = first; i < r.count; i++)
        accepts += r.said[i].data[0] == MSG_ACCEPT;
    /* 64 at once, and 250 each second of 4. */
    ck_assert_int_ge(accepts, 64);
    ck_assert_int_le(accepts, 64 + 250 * 4 + 1);
    ck_assert_uint_le(pairs_stats(r.hub[1].p)->half_open, PAIR_HALF_OPEN);
    ck_assert_uint_le(most, live + PAIR_HALF_OPEN * 4);
    ck_assert_uint_ge(pairs_stats(r.hub[1].p)->refused, 10000);
    ck_assert_uint_ge(pairs_stats(r.hub[1].p)->over, 8000);
    ck_assert(rig_joined(&r, 0, 1));
    ck_assert_int_eq(r.hub[1].gones, 0);
    /* Another hub is let in at once, this one a little later. */
    pairs_want(r.hub[2].p, "beta");
    rig_run(&r);
    ck_assert_ptr_nonnull(r.hub[2].conn[1]);
    alk_connection_close(r.hub[0].conn[1], ALK_CLOSE_SHUTDOWN);
    rig_run(&r);
    pairs_want(r.hub[0].p, "beta");
    rig_advance(&r, 3000);
    ck_assert_ptr_nonnull(r.hub[0].conn[1]);
    rig_advance(&r, 6000);
    ck_assert_int_eq(r.hub[1].subscribed, 3);
    rig_fini(&r);
}
END_TEST

/* ---- the bus fails --------------------------------------------------------------------------- */

/* From the first envelope on, of ten calls of either side, one message is lost, comes twice, is
 * changed or overtakes: then no call is silent, none is done twice, and both sides agree. */
static int done_times;

static int serve_counted(alk_call *call, void *ud)
{
    (void)ud;
    done_times++;
    return serve_echo(call, NULL);
}

enum { DROPPED, DOUBLED, CHANGED, OVERTAKEN };

static int spoil(struct rig *r, struct rig_said *m, int number)
{
    if (number != r->target)
        return 1;
    r->spoiled = true;
    switch (r->turn) {
    case DROPPED:
        return 0;
    case DOUBLED:
        return 2;
    case CHANGED:
        m->data[(size_t)number % m->len] ^= 0x10;
        return 1;
    default:
        for (int i = number + 1; i < r->count; i++) {
            if (r->said[i].from == m->from) {
                rig_say_again(r, i);
                return 1;
            }
        }
        r->spoiled = false;
        return 1;
    }
}

START_TEST(no_call_is_lost_silently_and_none_is_done_twice)
{
    struct rig r;
    struct asked a[20];

    for (int kind = DROPPED; kind <= OVERTAKEN; kind++) {
        for (int target = 4; target < 24; target += 3) {
            int failed = 0;

            rig_prepare(&r);
            for (int i = 0; i < 2; i++)
                world_add(r.hub[i].n.w, "t/counted", ALK_MUTATION, serve_counted, NULL);
            rig_start(&r);
            pairs_want(r.hub[0].p, "beta");
            rig_run(&r);
            ck_assert_int_eq(r.count, 4);
            r.fate = spoil;
            r.target = target;
            r.turn = kind;
            done_times = 0;
            for (int i = 0; i < 20; i++)
                ask(&a[i], r.hub[i % 2].conn[!(i % 2)], "t/counted", "1");
            rig_advance(&r, 2000);
            for (int i = 0; i < 20; i++) {
                ck_assert_int_eq(a[i].ends, 1);
                if (strcmp(asked_outcome(&a[i]), "ok 1")) {
                    ck_assert_str_eq(asked_outcome(&a[i]), LOST);
                    failed++;
                }
                asked_free(&a[i]);
            }
            ck_assert_int_le(done_times, 20);
            ck_assert_int_ge(done_times, 20 - failed);
            ck_assert_int_eq(r.hub[0].gones, r.hub[1].gones);
            ck_assert_int_eq(r.hub[0].gones, kind != DOUBLED && r.spoiled);
            if (kind == DOUBLED) {
                ck_assert_int_eq(failed, 0);
                ck_assert_int_eq(done_times, 20);
                ck_assert_uint_eq(
                    pairs_stats(r.hub[0].p)->duplicates + pairs_stats(r.hub[1].p)->duplicates, 1);
            }
            pairs_want(r.hub[1].p, "alpha");
            rig_advance(&r, 1300);
            ck_assert(rig_joined(&r, 0, 1));
            rig_fini(&r);
        }
    }
}
END_TEST

START_TEST(what_strangers_say_to_a_pair_changes_nothing)
{
    struct rig r;
    struct pair *x;
    char subject[SUBJECT_MAX];
    uint8_t text[300];

    rig_pair(&r);
    x = rig_side(&r, 0, 1);
    snprintf(subject, sizeof subject, "%s", x->to);
    for (unsigned i = 0; i < 2000; i++) {
        memset(text, (int)(i * 7), sizeof text);
        text[0] = (uint8_t)(i % 10);
        write_be(text + 1, i % 3 ? x->next_out + i % 3 - 1 : UINT64_MAX, 8);
        rig_say(&r, -1, subject, text, 1 + i % sizeof text);
        rig_say(&r, -1, r.hub[1].p->control, text, 1 + i % sizeof text);
    }
    pairs_message(r.hub[1].p, "t.alknet.pair.beta.00000000000000000000000000000000", text, 100);
    pairs_message(r.hub[1].p, "t.alknet.pair.beta.", text, 100);
    pairs_message(r.hub[1].p, "t.alknet.announce", text, 100);
    ck_assert_uint_gt(pairs_stats(r.hub[1].p)->strange, 1500);
    ck_assert(rig_joined(&r, 0, 1));
    rig_fini(&r);
}
END_TEST

START_TEST(a_hub_that_is_killed_is_noticed_within_two_seconds)
{
    struct rig r;
    struct asked a;

    rig_pair(&r);
    rig_advance(&r, 3333);
    ask_stream(&a, r.hub[0].conn[1], "t/stream", "null");
    rig_run(&r);
    r.hub[1].dead = true;
    rig_advance(&r, 1200);
    ck_assert_int_eq(a.ends, 0);
    rig_advance(&r, 600);
    ck_assert_str_eq(asked_outcome(&a), LOST);
    ck_assert_str_eq(r.hub[0].why, "nothing was heard of the other hub");
    /* It comes back, as another process, and finds this one as soon as it asks. */
    r.hub[1].dead = false;
    pairs_close(r.hub[1].p);
    memset(r.hub[1].conn, 0, sizeof r.hub[1].conn);
    r.hub[1].p = NULL;
    world_turn(r.hub[1].n.w);
    pairs_want(r.hub[0].p, "beta");
    rig_advance(&r, 20000);
    {
        struct pairs_options o = {.bus = &r.hub[1].bus,
                                  .name = "beta",
                                  .prefix = "t.alknet",
                                  .identity = r.hub[1].identity,
                                  .events = &rig_events,
                                  .ud = &r.hub[1]};

        ck_assert_int_eq(pairs_new(&r.hub[1].p, r.hub[1].n.w->d, &o), ALK_OK);
        pairs_bus_state(r.hub[1].p, true);
    }
    pairs_want(r.hub[1].p, "alpha");
    rig_run(&r);
    ck_assert(rig_joined(&r, 0, 1));
    asked_free(&a);
    rig_fini(&r);
}
END_TEST

/* One direction alone is gone: both ends find out, and what was said before does not count as
 * heard. */
START_TEST(a_direction_that_is_gone_ends_the_pair_at_both_sides)
{
    struct rig r;

    rig_pair(&r);
    r.hub[0].muted = 1;
    for (int i = 0; i < 38; i++) {
        rig_say_again(&r, 3);
        rig_advance(&r, 50);
    }
    ck_assert_int_eq(r.hub[0].gones, 1);
    ck_assert_int_eq(r.hub[1].gones, 1);
    ck_assert_str_eq(r.hub[1].why, "the other hub has closed it");
    ck_assert_uint_ge(pairs_stats(r.hub[0].p)->duplicates, 30);
    rig_fini(&r);
}
END_TEST

START_TEST(a_pair_with_a_call_lives_on_and_one_without_is_closed)
{
    struct rig r;
    struct asked a;

    rig_pair(&r);
    ask_stream(&a, r.hub[0].conn[1], "t/stream", "null");
    rig_advance(&r, 200000);
    ck_assert_int_eq(r.hub[0].gones + r.hub[1].gones, 0);
    asked_drop(&a, r.hub[0].n.w);
    rig_advance(&r, 59000);
    ck_assert_int_eq(r.hub[0].gones + r.hub[1].gones, 0);
    rig_advance(&r, 2000);
    ck_assert_int_eq(r.hub[0].gones + r.hub[1].gones, 2);
    ck_assert(!strcmp(r.hub[0].why, "it was not used") || !strcmp(r.hub[1].why, "it was not used"));
    ck_assert_int_eq(r.hub[0].subscribed, 1);
    rig_advance(&r, 70000);
    ck_assert_uint_eq(r.hub[0].p->hubs.count + r.hub[1].p->hubs.count, 0);
    pairs_want(r.hub[1].p, "alpha");
    rig_run(&r);
    ck_assert(rig_joined(&r, 0, 1));
    rig_fini(&r);
}
END_TEST

START_TEST(a_bus_that_was_away_ends_all_pairs)
{
    struct rig r;
    struct asked a, b;

    rig_pair(&r);
    ask(&a, r.hub[0].conn[1], "t/query", "null");
    rig_run(&r);
    pairs_bus_state(r.hub[0].p, false);
    ck_assert_str_eq(r.hub[0].why, "the bus is gone");
    rig_turn(&r);
    ck_assert_str_eq(asked_outcome(&a), LOST);
    pairs_want(r.hub[0].p, "beta");
    pairs_want(r.hub[1].p, "alpha");
    r.hub[0].dead = true;
    rig_advance(&r, 60000);
    r.hub[0].dead = false;
    ck_assert_int_eq(r.hub[0].ups, 1);
    ck_assert_int_eq(r.hub[1].gones, 1);
    ck_assert_int_eq(r.hub[0].subscribed, 1);
    pairs_bus_state(r.hub[0].p, true);
    rig_run(&r);
    ck_assert(rig_joined(&r, 0, 1));
    /* Openings end with it too. */
    pairs_want(r.hub[0].p, "gamma");
    rig_turn(&r);
    ck_assert_int_eq(r.hub[0].subscribed, 3);
    pairs_bus_state(r.hub[0].p, false);
    ck_assert_int_eq(r.hub[0].subscribed, 1);
    pairs_want(r.hub[0].p, "beta");
    pairs_bus_state(r.hub[0].p, true);
    rig_run(&r);
    ck_assert(r.hub[0].conn[1] && r.hub[0].conn[2]);
    /* It was away for too short a time to be told so. */
    ask(&b, r.hub[1].conn[0], "t/query", "null");
    rig_run(&r);
    pairs_bus_state(r.hub[0].p, true);
    rig_run(&r);
    ck_assert_str_eq(asked_outcome(&b), LOST);
    ck_assert_str_eq(r.hub[0].why, "the bus may have lost messages");
    ck_assert_int_eq(r.hub[1].gones, 3);
    asked_free(&a);
    asked_free(&b);
    rig_fini(&r);
}
END_TEST

/* ---- credit ---------------------------------------------------------------------------------- */

START_TEST(a_bus_that_is_full_delays_and_loses_nothing)
{
    struct rig r;
    struct asked a[10];

    rig_pair(&r);
    r.hub[0].refused = 3;
    for (int i = 0; i < 10; i++) {
        char number[12];

        snprintf(number, sizeof number, "%d", i);
        ask(&a[i], r.hub[0].conn[1], "t/echo", number);
    }
    rig_run(&r);
    ck_assert_int_eq(a[0].ends, 0);
    rig_advance(&r, 200);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(a[i].ends, 1);
        ck_assert_int_eq(atoi(a[i].text), i);
        ck_assert_int_eq(a[i].order, a[0].order + i);
        asked_free(&a[i]);
    }
    ck_assert_int_eq(r.hub[0].gones, 0);
    rig_fini(&r);
}
END_TEST

/* What is under way to beta, in envelopes. */
static uint64_t under_way(struct rig *r)
{
    const struct pair *to = rig_side(r, 0, 1), *from = rig_side(r, 1, 0);

    return to->sent - from->taken;
}

START_TEST(a_slow_receiver_is_sent_no_more_than_its_window)
{
    enum { CALLS = 60 };
    struct rig r;
    struct asked a[CALLS];
    alk_limits limits;
    char *text = repeated("x", 50000, "\"", "\"");
    uint64_t most = 0, bytes, lag;
    int done = 0;

    rig_prepare(&r);
    r.hub[0].n.w->limits.queue_max = 100u << 20;
    rig_start(&r);
    pairs_want(r.hub[0].p, "beta");
    rig_run(&r);
    limits = r.hub[1].n.w->limits;
    limits.message_budget = 1;
    ck_assert_int_eq(alk_node_set_limits(r.hub[1].n.w->node, &limits), ALK_OK);
    for (int i = 0; i < CALLS; i++)
        ask(&a[i], r.hub[0].conn[1], "t/echo", text);
    rig_advance(&r, 5000);
    pairs_measure(r.hub[0].p, &bytes, &lag);
    ck_assert_uint_ge(bytes, under_way(&r));
    ck_assert_uint_le(bytes, PAIR_WINDOW);
    ck_assert_uint_le(lag, 500 * MS);
    ck_assert_uint_gt(under_way(&r), PAIR_WINDOW / 2);
    ck_assert_uint_le(under_way(&r), PAIR_WINDOW);
    ck_assert_uint_le(rig_side(&r, 1, 0)->kept.len, PAIR_WINDOW + 8 * CALLS);
    r.hub[1].refused = 2;
    limits.message_budget = 64u << 20;
    ck_assert_int_eq(alk_node_set_limits(r.hub[1].n.w->node, &limits), ALK_OK);
    for (int i = 0; i < 100 && done < CALLS; i++) {
        rig_advance(&r, 50);
        most = under_way(&r) > most ? under_way(&r) : most;
        done = 0;
        for (int k = 0; k < CALLS; k++)
            done += a[k].ends;
    }
    ck_assert_uint_le(most, PAIR_WINDOW);
    ck_assert_int_eq(r.hub[1].refused, 0);
    for (int i = 0; i < CALLS; i++) {
        ck_assert_int_eq(a[i].why, ALK_END_OK);
        ck_assert_uint_eq(strlen(a[i].text), strlen(text));
        ck_assert(!i || a[i].order > a[i - 1].order);
        asked_free(&a[i]);
    }
    ck_assert_uint_eq(rig_side(&r, 1, 0)->kept.cap, 0);
    ck_assert_int_eq(r.hub[0].gones, 0);
    r.hub[0].muted = 1;
    rig_advance(&r, 1000);
    pairs_measure(r.hub[0].p, &bytes, &lag);
    ck_assert_uint_lt(bytes, PAIR_WINDOW / 4); /* so much is not granted anew at once */
    ck_assert_uint_ge(lag, 1000 * MS);
    free(text);
    rig_fini(&r);
}
END_TEST

START_TEST(who_takes_nothing_for_long_is_cut)
{
    struct rig r;
    struct asked a;
    alk_limits limits;

    rig_pair(&r);
    limits = r.hub[1].n.w->limits;
    limits.message_budget = 1;
    limits.body_timeout_ms = 5000;
    ck_assert_int_eq(alk_node_set_limits(r.hub[1].n.w->node, &limits), ALK_OK);
    {
        char *text = repeated("x", 50000, "\"", "\"");

        ask(&a, r.hub[0].conn[1], "t/echo", text);
        free(text);
    }
    rig_advance(&r, 4800);
    ck_assert_int_eq(a.ends, 0);
    rig_advance(&r, 400);
    ck_assert_str_eq(asked_outcome(&a), LOST);
    ck_assert_str_eq(r.hub[1].why, "too many messages are being received");
    asked_free(&a);
    rig_fini(&r);
}
END_TEST

/* Larger than the window, and larger than the bus carries. */
START_TEST(large_envelopes_go_alone_and_the_bus_has_the_last_word)
{
    struct rig r;
    struct asked a, b, c;
    char *big = repeated("x", 3 * PAIR_WINDOW, "\"", "\"");
    char *most = repeated("x", 20000, "\"", "\"");

    rig_pair(&r);
    ask(&a, r.hub[0].conn[1], "t/echo", big);
    ask(&b, r.hub[0].conn[1], "t/echo", big);
    rig_run(&r);
    ck_assert_int_eq(a.ends + b.ends, 2);
    ck_assert_uint_eq(strlen(a.text), strlen(big));
    ck_assert_int_eq(b.why, ALK_END_OK);
    asked_free(&a);
    asked_free(&b);
    rig_fini(&r);

    rig_init(&r);
    r.hub[1].bus.largest = 20000 + PAIR_OVERHEAD;
    pairs_want(r.hub[0].p, "beta");
    rig_run(&r);
    {
        alk_call_options o;

        asked_options(&c, &o);
        ck_assert_int_eq(
            alk_connection_call(r.hub[0].conn[1], TEXT("t/echo"), TEXT(most), &o, &c.call),
            ALK_EJSON);
    }
    ck_assert(rig_joined(&r, 0, 1));
    ck_assert(rig_joined(&r, 1, 0));
    asked_free(&c);
    free(big);
    free(most);
    rig_fini(&r);
}
END_TEST

/* ---- a hub that cheats ----------------------------------------------------------------------- */

static void credit_back(struct pair *x)
{
    link_say(x, MSG_CREDIT, (struct str){"\0\0\0\0\0\0\0\1", 8}, str_of(""));
}

static void credit_beyond(struct pair *x)
{
    link_say(x, MSG_CREDIT, (struct str){"\0\0\0\0\7\0\0\0", 8}, str_of(""));
}

static void hold_all(struct pair *x)
{
    link_say(x, MSG_PAUSE, (struct str){"\0\0\0\0\1", 5}, str_of(""));
}

static void hold_oddly(struct pair *x)
{
    link_say(x, MSG_PAUSE, (struct str){"\0\0\0\1\2", 5}, str_of(""));
}

static void hold_many(struct pair *x)
{
    for (uint32_t i = 1; i <= 1025; i++) {
        uint8_t text[5];

        write_be(text, i, 4);
        text[4] = 1;
        link_say(x, MSG_PAUSE, (struct str){(char *)text, 5}, str_of(""));
    }
}

static void say_nothing(struct pair *x)
{
    link_say(x, MSG_ENVELOPE, (struct str){"\0\0\0\0", 4}, str_of(""));
}

static void say_no_json(struct pair *x)
{
    link_say(x, MSG_ENVELOPE, (struct str){"\0\0\0\0", 4}, str_of("no"));
}

static void say_unknown(struct pair *x)
{
    link_say(x, 99, str_of("x"), str_of(""));
}

static void say_opening(struct pair *x)
{
    link_say(x, MSG_OPEN, str_of("x"), str_of(""));
}

static void ping_with_more(struct pair *x)
{
    link_say(x, MSG_PING, str_of("x"), str_of(""));
}

/* beta has no room for messages; alpha does not care. */
static void beyond_credit(struct pair *x)
{
    static const char start[] =
        "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":\"t/echo\","
        "\"input\":\"";
    char *text = repeated("x", 400000, start, "\"}}");

    for (int i = 0; i < 4; i++)
        link_say(x, MSG_ENVELOPE, (struct str){"\0\0\0\0", 4}, str_of(text));
    free(text);
}

static const struct {
    void (*cheat)(struct pair *x);
    const char *why;
} cheats[] = {
    {credit_back, "the other hub does not keep to the protocol"},
    {credit_beyond, "the other hub does not keep to the protocol"},
    {hold_all, "the other hub does not keep to the protocol"},
    {hold_oddly, "the other hub does not keep to the protocol"},
    {hold_many, "the other hub holds back too many streams"},
    {say_nothing, "the other hub does not keep to the protocol"},
    {say_no_json, NULL},
    {say_unknown, "the other hub does not keep to the protocol"},
    {say_opening, "the other hub does not keep to the protocol"},
    {ping_with_more, "the other hub does not keep to the protocol"},
    {beyond_credit, "the other hub does not keep to the protocol"},
};

START_TEST(who_does_not_keep_to_the_protocol_is_cut)
{
    struct rig r;
    alk_limits limits;
    struct asked a;

    for (size_t i = 0; i < sizeof cheats / sizeof *cheats; i++) {
        rig_pair(&r);
        limits = r.hub[1].n.w->limits;
        limits.message_budget = 1;
        alk_node_set_limits(r.hub[1].n.w->node, &limits);
        ask(&a, r.hub[1].conn[0], "t/query", "null");
        rig_run(&r);
        cheats[i].cheat(rig_side(&r, 0, 1));
        rig_run(&r);
        ck_assert_int_eq(r.hub[1].gones, 1);
        if (cheats[i].why)
            ck_assert_str_eq(r.hub[1].why, cheats[i].why);
        ck_assert_str_eq(r.hub[0].why, "the other hub has closed it");
        ck_assert_str_eq(asked_outcome(&a), LOST);
        asked_free(&a);
        rig_fini(&r);
    }
}
END_TEST

/* ---- limits of the node ---------------------------------------------------------------------- */

START_TEST(a_hub_without_room_says_so_and_is_asked_again)
{
    struct rig r;
    alk_limits limits;

    rig_init(&r);
    limits = r.hub[1].n.w->limits;
    limits.connections = 1;
    alk_node_set_limits(r.hub[1].n.w->node, &limits);
    pairs_want(r.hub[2].p, "beta");
    rig_run(&r);
    pairs_want(r.hub[0].p, "beta");
    rig_advance(&r, 5000);
    ck_assert_int_eq(r.hub[0].ups, 0);
    limits.connections = 2;
    alk_node_set_limits(r.hub[1].n.w->node, &limits);
    rig_advance(&r, 10000);
    ck_assert_ptr_nonnull(r.hub[0].conn[1]);
    rig_fini(&r);
}
END_TEST

START_TEST(a_hub_that_drains_closes_its_pairs_and_opens_none)
{
    struct rig r;
    struct asked a;
    int count;

    rig_pair(&r);
    ask(&a, r.hub[0].conn[1], "t/query", "null");
    rig_run(&r);
    alk_dispatcher_drain(r.hub[1].n.w->d);
    rig_run(&r);
    ck_assert_int_eq(r.hub[1].gones, 0);
    served_reply(&r.hub[1].n.query, "1");
    rig_run(&r);
    ck_assert_str_eq(asked_outcome(&a), "ok 1");
    ck_assert_int_eq(r.hub[0].gones + r.hub[1].gones, 2);
    count = r.count;
    pairs_want(r.hub[1].p, "alpha");
    rig_advance(&r, 3000);
    ck_assert_int_eq(r.count, count);
    pairs_want(r.hub[0].p, "beta");
    rig_advance(&r, 3000);
    ck_assert_int_eq(r.hub[0].ups, 1);
    asked_free(&a);
    rig_fini(&r);
}
END_TEST

START_TEST(names_and_prefixes_are_tokens)
{
    static const char *const good[] = {"a", "A-b_9", "0"};
    static const char *const bad[] = {"", ".", "a.b", "a b", "*", ">", "a>", "é", "a\n"};
    char text[200];

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ck_assert(hub_name_good(good[i]) && bus_prefix_good(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert(!hub_name_good(bad[i]));
    memset(text, 'x', sizeof text);
    text[HUB_NAME_MAX] = 0;
    ck_assert(hub_name_good(text));
    text[HUB_NAME_MAX] = 'x';
    text[HUB_NAME_MAX + 1] = 0;
    ck_assert(!hub_name_good(text) && bus_prefix_good(text));
    ck_assert(bus_prefix_good("a.b.c-d.E_1"));
    ck_assert(!bus_prefix_good("") && !bus_prefix_good("a.") && !bus_prefix_good(".a"));
    ck_assert(!bus_prefix_good("a..b") && !bus_prefix_good("a.*"));
    text[HUB_NAME_MAX + 1] = 'x';
    text[BUS_PREFIX_MAX] = 0;
    ck_assert(bus_prefix_good(text));
    text[BUS_PREFIX_MAX] = 'x';
    text[BUS_PREFIX_MAX + 1] = 0;
    ck_assert(!bus_prefix_good(text));
}
END_TEST

MAIN("cluster_pair", a_pair_opens_and_calls_go_both_ways, every_hub_has_a_pair_with_every_other,
     nothing_said_in_the_pair_can_be_read_on_the_bus, a_slow_subscription_is_held_back_alone,
     an_abort_ends_a_call_that_is_held_back, an_abort_goes_through_the_whole_tree,
     a_key_that_is_not_the_peers_is_refused, the_opener_refuses_an_answer_of_somebody_else,
     who_is_no_peer_any_more_is_cut, an_opening_that_is_lost_is_tried_again,
     attempts_become_rarer_and_end_when_nobody_wants_them, two_openings_at_once_give_one_pair,
     two_openings_in_any_order_give_one_pair, a_confirmation_that_comes_late_opens_nothing,
     the_smaller_names_attempt_goes_on, an_opening_that_is_not_whole_is_none,
     signatures_that_are_guessed_are_bounded, a_hub_that_opens_anew_replaces_the_pair,
     an_opening_that_was_changed_is_none, what_was_said_before_opens_nothing,
     a_flood_of_openings_is_bounded, no_call_is_lost_silently_and_none_is_done_twice,
     what_strangers_say_to_a_pair_changes_nothing,
     a_hub_that_is_killed_is_noticed_within_two_seconds,
     a_direction_that_is_gone_ends_the_pair_at_both_sides,
     a_pair_with_a_call_lives_on_and_one_without_is_closed, a_bus_that_was_away_ends_all_pairs,
     a_bus_that_is_full_delays_and_loses_nothing, a_slow_receiver_is_sent_no_more_than_its_window,
     who_takes_nothing_for_long_is_cut, large_envelopes_go_alone_and_the_bus_has_the_last_word,
     who_does_not_keep_to_the_protocol_is_cut, a_hub_without_room_says_so_and_is_asked_again,
     a_hub_that_drains_closes_its_pairs_and_opens_none, names_and_prefixes_are_tokens)
