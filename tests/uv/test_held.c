/* What the whole node holds for a client that makes it wait: at most 16 KiB beyond what the client has sent. */
#include "support/suite.h"
#include "uv/rig.h"

#include <malloc.h>

#define CLIENTS 8
#define ALLOWED 16384u

static struct client clients[CLIENTS];
static atomic_size_t held; /* bytes of all blocks */

static void *counted_realloc(void *ud, void *p, size_t size)
{
    size_t before = p ? malloc_usable_size(p) : 0;
    void *q = rig_realloc(ud, p, size);

    if (q || !size)
        atomic_fetch_add(&held, (q ? malloc_usable_size(q) : 0) - before);
    return q;
}

static char text[300000];

static size_t dripping_head(void)
{
    return (size_t)sprintf(text, "POST /call HTTP/1.1\r\nHost: localhost\r\nX: ");
}

static size_t big_head(void)
{
    size_t n = dripping_head();

    for (int i = 0; i < 90; i++)
        n += (size_t)sprintf(text + n, "%0320d\r\nX%d: ", i, i);
    return n;
}

static size_t announced_body(void)
{
    return (size_t)sprintf(text, "%s", POST_HEAD("/call", "1000000") "\r\n");
}

static size_t announced_small_body(void)
{
    return (size_t)sprintf(text, "%s", POST_HEAD("/call", "16000") "\r\n");
}

static size_t stalled_body(void)
{
    size_t n = announced_body();

    memset(text + n, ' ', 16384);
    return n + 16384;
}

static size_t junk_behind_a_call(void)
{
    size_t n = (size_t)sprintf(text, "%s", CALL_LATER);

    memset(text + n, 'j', 60000);
    return n + 60000;
}

static size_t running_call(void)
{
    return (size_t)sprintf(text, "%s", CALL_LATER);
}

/* Both sockets hold some of the answer, which is as long as what was sent. */
static size_t slow_reader(void)
{
    static const char call[] = "{\"operation\":\"t/echo\",\"input\":\"";
    size_t n = (size_t)sprintf(text, "%s%s", POST_HEAD("/call", "200000") "\r\n", call);

    memset(text + n, 'a', 200000 - strlen(call));
    memcpy(text + n + 200000 - strlen(call) - 2, "\"}", 2);
    return n + 200000 - strlen(call);
}

static size_t (*const ways[])(void) = {
    dripping_head, big_head,           announced_body, announced_small_body,
    stalled_body,  junk_behind_a_call, running_call,   slow_reader,
};

/* What is held when nothing more happens. */
static size_t at_rest(struct rig *r)
{
    size_t last;

    do {
        last = atomic_load(&held);
        rig_steps(r, 50);
    } while (atomic_load(&held) != last);
    return last;
}

START_TEST(who_makes_us_wait_costs_little_beyond_what_was_sent)
{
    struct rig *r = rig_new();
    size_t sent = ways[_i](), before;

    r->options.realloc = counted_realloc;
    rig_start(r);
    rig_steps(r, 5);
    before = atomic_load(&held);
    for (int i = 0; i < CLIENTS; i++) {
        rig_narrow_client(r, &clients[i], false);
        client_send_bytes(&clients[i], text, sent);
    }
    before = (at_rest(r) - before) / CLIENTS;
    if (getenv("HELD_SHOW"))
        fprintf(stderr, "%d: sent %zu, held %zu\n", _i, sent, before);
    ck_assert_uint_le(before, sent + ALLOWED);
    for (int i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    rig_steps(r, 10);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("held");
    TCase *t = tcase_create("held");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, who_makes_us_wait_costs_little_beyond_what_was_sent, 0,
                        sizeof ways / sizeof ways[0]);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
