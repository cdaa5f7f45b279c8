/* A channel: who is told what, and what waits for one that is held up. */
#include "core/channel.h"
#include "support/suite.h"

#define NOW (100 * SECOND)
#define LARGE (1u << 20)

struct listener {
    struct port *at;
    struct seat *seat;
    unsigned notices, missed;
    unsigned before; /* notices before the first that was missed */
};

static struct channels all;

static void on_notice(void *ud, const struct notice *n)
{
    struct listener *x = ud;

    if (n) {
        ck_assert_uint_eq(n->len, LARGE);
        x->notices++;
    } else {
        x->before = x->missed++ ? x->before : x->notices;
    }
}

static void join(struct listener *x, const char *name)
{
    *x = (struct listener){.at = port_new(host_default())};
    ck_assert_ptr_nonnull(x->at);
    x->seat = channel_join(&all, str_of(name), x->at, on_notice, x);
    ck_assert_ptr_nonnull(x->seat);
}

static void leave(struct listener *x)
{
    channel_leave(x->seat);
    port_close(x->at, NULL);
    port_unref(x->at);
}

static void take(struct listener *x)
{
    while (port_has(x->at))
        port_take(x->at, NULL, NOW);
}

static void tell(struct listener *from)
{
    struct notice *n = notice_new(LARGE);

    ck_assert_ptr_nonnull(n);
    memset(n->data, 'x', LARGE);
    channel_tell(from->seat, n, NOW);
    notice_unref(n);
}

START_TEST(so_much_waits_for_one_and_others_get_all)
{
    const unsigned most = NOTICES_BYTES / LARGE + 1;
    struct listener teller, quick, slow, stranger;

    ck_assert(channels_init(&all, host_default()));
    join(&teller, "/feed");
    join(&quick, "/feed");
    join(&slow, "/feed");
    join(&stranger, "/other");
    for (unsigned i = 0; i < 3 * most; i++) {
        tell(&teller);
        take(&quick);
    }
    ck_assert_uint_eq(quick.notices, 3 * most);
    ck_assert_uint_eq(quick.missed, 0);
    take(&slow);
    ck_assert_uint_eq(slow.notices, most);
    ck_assert_uint_eq(slow.missed, 1);
    ck_assert_uint_eq(slow.before, most);
    /* From here on it gets what is told, and learns again of what is not. */
    tell(&teller);
    take(&slow);
    ck_assert_uint_eq(slow.notices, most + 1);
    for (unsigned i = 0; i < 2 * most; i++)
        tell(&teller);
    take(&slow);
    ck_assert_uint_eq(slow.notices, 2 * most + 1);
    ck_assert_uint_eq(slow.missed, 2);
    ck_assert_uint_eq(teller.notices + teller.missed + stranger.notices + stranger.missed, 0);
    leave(&teller);
    leave(&quick);
    leave(&slow);
    leave(&stranger);
    channels_fini(&all);
}
END_TEST

/* What is under way to one that leaves is let go of. */
START_TEST(who_has_left_is_told_nothing)
{
    struct listener teller, gone;

    ck_assert(channels_init(&all, host_default()));
    join(&teller, "/feed");
    join(&gone, "/feed");
    for (unsigned i = 0; i < 40; i++)
        tell(&teller);
    channel_leave(gone.seat);
    tell(&teller);
    take(&gone);
    ck_assert_uint_eq(gone.notices + gone.missed, 0);
    port_close(gone.at, NULL);
    port_unref(gone.at);
    leave(&teller);
    channels_fini(&all);
}
END_TEST

START_TEST(what_seats_say_of_themselves_is_summed)
{
    struct listener a, b, other;

    ck_assert(channels_init(&all, host_default()));
    join(&a, "/feed");
    join(&b, "/feed");
    join(&other, "/other");
    channel_count(a.seat, 3);
    channel_count(b.seat, 4);
    channel_count(other.seat, 100);
    ck_assert_uint_eq(channel_sum(a.seat), 7);
    ck_assert_uint_eq(channel_sum(b.seat), 7);
    leave(&b);
    ck_assert_uint_eq(channel_sum(a.seat), 3);
    leave(&a);
    leave(&other);
    channels_fini(&all);
}
END_TEST

MAIN("channel", so_much_waits_for_one_and_others_get_all, who_has_left_is_told_nothing,
     what_seats_say_of_themselves_is_summed)
