/* Readers that are slower than what is written for them: what they have taken holds no memory, and who is too slow is
 * cut. */
#include "support/suite.h"
#include "uv/rig.h"

#include <malloc.h>

#define BIG(n) POST_HEAD("/call", "37") "\r\n{\"operation\":\"t/big\",\"input\":" n "}"
#define SIZE 4000000u

static struct client a;
static atomic_size_t held; /* bytes of all blocks */

static void *counted_realloc(void *ud, void *p, size_t size)
{
    size_t before = p ? malloc_usable_size(p) : 0;
    void *q = rig_realloc(ud, p, size);

    if (q || !size)
        atomic_fetch_add(&held, (q ? malloc_usable_size(q) : 0) - before);
    return q;
}

static struct rig *counted_rig(void)
{
    struct rig *r = rig_new();

    r->options.realloc = counted_realloc;
    return r;
}

/* The sockets hold a bit of what the server has let go of. */
START_TEST(what_a_reader_has_taken_holds_no_memory)
{
    struct rig *r = counted_rig();
    size_t idle;

    rig_start(r);
    rig_narrow_client(r, &a, false);
    rig_steps(r, 5);
    idle = atomic_load(&held);
    client_send(&a, BIG("4000000"));
    client_until(&a, "HTTP/1.1 200");
    rig_steps(r, 20);
    ck_assert_uint_gt(atomic_load(&held) - idle, SIZE / 4 * 3);
    for (unsigned quarter = 1; quarter < 4; quarter++) {
        client_fill(&a, quarter * (SIZE / 4), "a quarter");
        rig_steps(r, 20);
        ck_assert_uint_lt(atomic_load(&held) - idle, (4 - quarter) * (SIZE / 4) / 3 * 4 + 65536);
    }
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_int_eq(strspn(strstr(a.body, "bbb"), "b"), SIZE);
    client_close(&a);
    rig_free(r);
}
END_TEST

MAIN("slow", what_a_reader_has_taken_holds_no_memory)
