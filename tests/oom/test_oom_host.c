/* A host that finds no memory for something: what was begun has its end, the last event comes, and
 * nothing is left behind. */
#include "oom/oom.h"

#include <alknet/host.h>

#define WAIT_MS 20000

static alk_host *h;

/* Refused for want of memory, in whatever words. */
static bool taken(int rc, const char *err)
{
    if (rc)
        must(failed() && (rc == ALK_ENOMEM || (rc == ALK_ECONFIG && *err)));
    return rc == ALK_OK;
}

/* Answers what comes, until that id has its end; whether it was as it should be. */
static bool answer_until(uint64_t id, bool *good)
{
    for (;;) {
        alk_host_event e;
        bool end;

        must(alk_host_wait(h, WAIT_MS) == 1);
        must(alk_host_drain(h, &e, sizeof e, 1) == 1);
        if (e.kind == ALK_HOST_CALL) {
            if (e.type == ALK_SUBSCRIPTION) {
                *good &= ok(alk_host_emit(h, e.id, "1", 1)) & ok(alk_host_complete(h, e.id));
            } else {
                int rc = alk_host_reply(h, e.id, "{\"b\":2}", 7);

                *good &= ok(rc);
                /* Whoever cannot say so later leaves it to the deadline; here it is tried again. */
                if (rc)
                    while (alk_host_reply(h, e.id, "{\"b\":2}", 7) == ALK_ENOMEM && !with_all)
                        ;
            }
        }
        end = e.kind == ALK_HOST_END && e.id == id;
        if (end && e.rc != ALK_END_OK)
            *good = false;
        alk_host_release(h, &e, sizeof e, 1);
        if (end)
            return *good;
    }
}

static bool call(const char *operation, uint32_t stream)
{
    alk_host_call_options o = {.size = sizeof o,
                               .stream = stream,
                               .timeout_ms = 50,
                               .identity = "{\"id\":\"x\",\"scopes\":[],\"resources\":{}}"};
    bool good = true;
    uint64_t id;
    int rc = alk_host_call(h, TEXT(operation), "{\"a\":1}", 7, &o, &id);

    if (rc)
        must(failed() && (rc == ALK_ENOMEM || rc == ALK_EJSON));
    return rc ? false : answer_until(id, &good);
}

static bool add(const char *name, uint32_t type)
{
    char err[200] = "";
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    return taken(alk_host_add(h, &op, 1, err, sizeof err), err);
}

static bool run(void)
{
    char err[640] = "";
    bool good = true;

    if (!add("demo/one", ALK_QUERY) || !add("demo/many", ALK_SUBSCRIPTION) ||
        !taken(alk_host_start(h, err, sizeof err), err))
        return false;
    good &= call("demo/one", 0);
    good &= call("demo/many", 1);
    good &= ok(alk_host_reload(h, "{}", 2));
    must(alk_host_stop(h, 0) == ALK_OK);
    for (bool stopped = false; !stopped;) {
        alk_host_event e;

        must(alk_host_wait(h, WAIT_MS) == 1);
        must(alk_host_drain(h, &e, sizeof e, 1) == 1);
        stopped = e.kind == ALK_HOST_STOPPED;
        alk_host_release(h, &e, sizeof e, 1);
    }
    return good;
}

SCENARIO(a_host_serves_or_says_that_it_cannot)
{
    char err[640] = "";
    bool good;

    arm();
    good = taken(alk_host_new(&h, NULL, err, sizeof err), err) && run();
    disarm();
    alk_host_free(h);
    return good;
}

MAIN("oom_host", a_host_serves_or_says_that_it_cannot)
