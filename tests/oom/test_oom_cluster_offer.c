/* Each allocation fails in turn: a hub begins to be asked by clients of NATS, answers one, and lists
 * what it has. Whatever is missing, each call ends once, and with memory all of it works. */
#include "oom/oom.h"

#include "adapt/cluster_offer.h"
#include "core/dispatcher.h"

static struct {
    struct bus bus;
    struct offering *of;
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *d;
    uint64_t now;
    alk_call *later;
    int answers, good; /* good: no error */
} r;

static int serve(struct bus *b, const char *pattern, const char *queue)
{
    (void)b;
    (void)pattern;
    (void)queue;
    return ALK_OK;
}

static void unsubscribe(struct bus *b, const char *pattern)
{
    (void)b;
    (void)pattern;
}

static int answer(struct bus *b, const char *reply, const struct bus_error *e, const void *data,
                  size_t len)
{
    (void)b;
    (void)data;
    (void)len;
    must(!strcmp(reply, "_INBOX.1"));
    r.answers++;
    r.good += !e;
    return ALK_OK;
}

static const struct bus_ops bus_ops = {
    .serve = serve, .answer = answer, .unsubscribe = unsubscribe};

static int echo_later(alk_call *call, void *ud)
{
    (void)ud;
    must(!r.later);
    r.later = alk_call_ref(call);
    return ALK_OK;
}

static void make(void)
{
    alk_node_options no;
    alk_operation op;

    memset(&r, 0, sizeof r);
    r.now = 1000000 * MILLI;
    r.bus.ops = &bus_ops;
    must((r.reg = alk_registry_new()));
    alk_operation_init(&op, sizeof op);
    op.name = "x/later";
    op.handler = echo_later;
    must(!alk_registry_add(r.reg, &op) && !alk_registry_freeze(r.reg));
    alk_node_options_init(&no, sizeof no);
    must(!alk_node_new(&r.node, r.reg, &no) && !alk_dispatcher_new(&r.d, r.node));
    alk_dispatcher_turn(r.d, r.now);
}

static int begin(void)
{
    const struct offering_options o = {.bus = &r.bus, .name = "a", .prefix = "x"};
    int rc = offering_new(&r.of, r.d, &o);

    if (!rc)
        offering_begin(r.of);
    return rc;
}

static void turns(void)
{
    for (int k = 0; k < 100 && alk_dispatcher_turn(r.d, r.now) <= r.now; k++)
        ;
}

static void ask(const char *subject, const char *payload)
{
    r.bus.on_request(r.bus.ud, subject, "_INBOX.1", TEXT(payload));
    turns();
    if (!r.later)
        return;
    alk_call_reply(r.later, "1", 1);
    alk_call_unref(r.later);
    r.later = NULL;
    turns();
}

static void finish(void)
{
    offering_close(r.of);
    turns();
    alk_dispatcher_free(r.d);
    alk_node_unref(r.node);
    alk_registry_unref(r.reg);
}

SCENARIO(a_hub_can_be_asked_or_not)
{
    bool good;

    make();
    arm();
    good = ok(begin());
    disarm();
    if (!r.of)
        must(!begin());
    ask("x.services.a.x.later", "{}");
    must(r.good == 1);
    finish();
    return good;
}

SCENARIO(a_request_is_answered_at_most_once)
{
    bool good;

    make();
    must(!begin());
    arm();
    ask("x.services.a.x.later", "{\"some\":[\"input\",1.5]}");
    good = r.good == 1;
    must(r.answers <= 1 && (good || failed()));
    disarm();
    /* One whose end found no memory is told with the deadline. */
    r.now += 31000 * MILLI;
    turns();
    must(r.answers <= 1);
    r.answers = r.good = 0;
    ask("x.services.a.x.later", "{}");
    must(r.answers == 1 && r.good == 1);
    finish();
    return good;
}

SCENARIO(a_listing_is_whole_or_not_there)
{
    bool good;

    make();
    must(!begin());
    ask("x.services.a.x.later", "{}");
    r.answers = r.good = 0;
    arm();
    ask("$SRV.INFO", "");
    ask("$SRV.STATS.a", "");
    good = r.good == 2;
    must(r.answers == r.good && (good || failed()));
    disarm();
    ask("$SRV.INFO", "");
    must(r.good >= 1);
    finish();
    return good;
}

MAIN("oom_cluster_offer", a_hub_can_be_asked_or_not, a_request_is_answered_at_most_once,
     a_listing_is_whole_or_not_there)
