/* Deadlines of connections that are over already. */
#include "support/suite.h"
#include "uv/events_rig.h"

static struct client a;

static int on_flood(alk_client *c, const alk_value *data, void *ud)
{
    char *value = malloc(400002);
    int rc;

    (void)data, (void)ud;
    must(value);
    memset(value, 'x', 400002);
    value[0] = value[400001] = '"';
    rc = alk_client_send(c, TEXT("x"), value, 400002);
    free(value);
    return rc;
}

/* Its engine waits for the last bytes to leave, and its time is over while they do not. The loop goes on in any case. */
START_TEST(a_broken_websocket_that_reads_nothing_is_cut_when_its_time_is_over)
{
    struct feed *f = feed_new();

    f->r->limits.close_ms = 100;
    feed_add(f);
    ck_assert_int_eq(alk_events_on(f->ev, "flood", on_flood, f), ALK_OK);
    rig_serve(f->r);
    rig_buffer(f->r, SO_SNDBUF, 65536);
    ck_assert_int_eq(client_try(&a, &f->r->uv, f->r->port, 4096), 0);
    client_send(&a, CONNECT);
    client_head(&a);
    ck_assert_int_eq(a.status, 101);
    for (int i = 0; i < 3; i++)
        wsc_text(&a, EVENT("flood", "1"));
    rig_steps(f->r, 20);
    /* Not masked. */
    client_send_bytes(&a, "\x81\x01x", 3);
    rig_until(f->r, f->disconnects == 1);
    rig_until(f->r, list_empty(&f->r->l->conns));
    client_close(&a);
    feed_free(f);
}
END_TEST

MAIN("deadlines", a_broken_websocket_that_reads_nothing_is_cut_when_its_time_is_over)
