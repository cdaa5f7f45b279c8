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

static int sessions; /* how many more have begun than ended, as far as was told */

static void stop(void)
{
    must(alk_host_stop(h, 0) == ALK_OK);
    for (bool stopped = false; !stopped;) {
        alk_host_event e;

        must(alk_host_wait(h, WAIT_MS) == 1);
        must(alk_host_drain(h, &e, sizeof e, 1) == 1);
        stopped = e.kind == ALK_HOST_STOPPED;
        sessions += e.kind == ALK_HOST_UP && e.tag == 0;
        sessions -= e.kind == ALK_HOST_END && e.tag == 0;
        alk_host_release(h, &e, sizeof e, 1);
    }
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
    stop();
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

static bool fills_up(void)
{
    char err[640] = "";
    uint32_t kind = 0;
    int rc = ALK_OK;

    if (!taken(alk_host_start(h, err, sizeof err), err))
        return false;
    for (int i = 0; i < 100000 && rc != ALK_EAGAIN; i++) {
        uint64_t id;

        rc = alk_host_call(h, TEXT("demo/none"), "1", 1, NULL, &id);
        must(rc == ALK_OK || rc == ALK_EAGAIN || (rc == ALK_ENOMEM && failed()));
        if (rc == ALK_ENOMEM && with_all)
            break;
    }
    while (rc == ALK_EAGAIN && kind != ALK_HOST_ROOM) {
        alk_host_event e;

        must(alk_host_wait(h, WAIT_MS) == 1);
        must(alk_host_drain(h, &e, sizeof e, 1) == 1);
        kind = e.kind;
        alk_host_release(h, &e, sizeof e, 1);
    }
    return !failed();
}

SCENARIO(room_follows_wherever_there_was_none)
{
    alk_host_options o = {.size = sizeof o, .queue_events = 1};
    char err[640] = "";
    bool good;

    arm();
    good = taken(alk_host_new(&h, &o, err, sizeof err), err) && fills_up();
    disarm();
    alk_host_free(h);
    return good;
}

#define SOCKET "/tmp/alknet-oom-host.sock"
#define TOKEN "alk_0123456789abcdef0123456789abcdef"

/* Whether an event comes. The one that is waited for may be what there was no memory for. */
static bool comes(void)
{
    for (int i = 0; i < WAIT_MS / 20; i++) {
        if (alk_host_wait(h, 20))
            return true;
        if (failed())
            return false;
    }
    must(!"an event came");
    return false;
}

/* The other end, which serves nothing, is asked by the session, and says so. */
static bool asks_back(uint64_t session)
{
    alk_host_call_options o = {.size = sizeof o, .connection = session, .timeout_ms = 200};
    uint64_t id;
    int rc = alk_host_call(h, TEXT("demo/none"), "1", 1, &o, &id);

    if (rc)
        must(failed() && (rc == ALK_ENOMEM || rc == ALK_EENDED));
    for (bool over = rc != ALK_OK; !over;) {
        alk_host_event e;

        must(alk_host_wait(h, WAIT_MS) == 1);
        must(alk_host_drain(h, &e, sizeof e, 1) == 1);
        over = e.kind == ALK_HOST_END && e.id == id;
        if (over)
            must(e.rc != ALK_END_OK && (failed() || strstr(e.text, "NOT_FOUND")));
        sessions -= e.kind == ALK_HOST_END && !over && e.tag == 0;
        alk_host_release(h, &e, sizeof e, 1);
    }
    return !rc;
}

/* Until both ends are open, or the dialled one is over; then the host stops. */
static bool dials_itself(void)
{
    static const char entry[] =
        "{\"url\":\"ws+unix:" SOCKET "\",\"token\":\"" TOKEN "\",\"reconnect\":false}";
    char err[640] = "";
    bool good = true;
    uint64_t id = 0, session = 0;

    if (!taken(alk_host_start(h, err, sizeof err), err))
        return false;
    good = taken(alk_host_dial(h, TEXT(entry), 1, &id, err, sizeof err), err);
    for (int k = 0; k < 2 && good;) {
        alk_host_event e;

        if (!comes()) {
            good = false;
            break;
        }
        must(alk_host_drain(h, &e, sizeof e, 1) == 1);
        k += e.kind == ALK_HOST_UP;
        good &= e.kind != ALK_HOST_END;
        if (e.kind == ALK_HOST_UP && e.tag == 0)
            session = e.id;
        sessions += e.kind == ALK_HOST_UP && e.tag == 0;
        sessions -= e.kind == ALK_HOST_END && e.tag == 0;
        alk_host_release(h, &e, sizeof e, 1);
    }
    if (good)
        good = asks_back(session);
    stop();
    must(sessions == 0);
    return good;
}

static bool itself(uint32_t workers)
{
    char config[400], hash[65];
    alk_host_options o = {.size = sizeof o, .config = config, .sessions = 1, .workers = workers};
    char err[640] = "";
    bool good;

    alk_token_hash(TEXT(TOKEN), hash);
    o.config_len = (size_t)snprintf(config, sizeof config,
                                    "{\"listen\":[{\"unix\":\"" SOCKET "\"}],"
                                    "\"keys\":[{\"prefix\":\"%.8s\",\"hash\":\"%s\"}]}",
                                    TOKEN, hash);
    sessions = 0;
    arm();
    good = taken(alk_host_new(&h, &o, err, sizeof err), err) && dials_itself();
    disarm();
    alk_host_free(h);
    return good;
}

SCENARIO(a_host_that_dials_itself_ends_both_sides)
{
    return itself(1);
}

SCENARIO(so_does_one_with_several_workers)
{
    return itself(3);
}

int main(void)
{
    Suite *suite = suite_create("oom_host");
    TCase *t = tcase_create("oom_host");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_host_serves_or_says_that_it_cannot);
    tcase_add_test(t, room_follows_wherever_there_was_none);
    tcase_add_test(t, a_host_that_dials_itself_ends_both_sides);
    tcase_add_test(t, so_does_one_with_several_workers);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
