/* Every struct that a program hands to the library, from programs built against smaller and larger ones, and without
 * having been initialised; and every struct that the library fills for a program. */
#include "support/suite.h"
#include "uv/ws_client.h"

#include <alknet/mcp.h>

#define MORE 24u /* bytes by which the newer program's struct is larger */
#define GUARD 0xa5

static char why[200]; /* what was said of the last refusal */
static alk_connection *one, *other;

static void on_log(void *ud, const alk_log_event *e)
{
    (void)ud;
    if (!strcmp(e->event, "misuse"))
        snprintf(why, sizeof why, "%s", e->message);
}

static struct rig *begin(void)
{
    struct rig *r = rig_new();
    alk_connection_options o = {.size = sizeof o};

    *why = 0;
    r->options.log = on_log;
    rig_start_bare(r);
    ck_assert_int_eq(alk_pair_open(r->d, &o, &one, r->d, &o, &other), ALK_OK);
    return r;
}

static void end(struct rig *r)
{
    alk_connection_close(one, ALK_CLOSE_SHUTDOWN);
    rig_steps(r, 1);
    alk_connection_unref(one);
    alk_connection_unref(other);
    rig_free(r);
}

/* ---- what the library takes -------------------------------------------------------------------- */

static int link_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    (void)ud;
    (void)stream;
    (void)envelope;
    (void)len;
    return ALK_OK;
}

static void link_close(void *ud, int code)
{
    (void)ud;
    (void)code;
}

static int open_connection(struct rig *r, const alk_link *link, const alk_connection_options *o)
{
    alk_connection *c;
    int rc = alk_connection_open(&c, r->d, link, o);

    if (!rc) {
        alk_connection_close(c, ALK_CLOSE_SHUTDOWN);
        alk_connection_unref(c);
    }
    return rc;
}

static void link_init(void *o, size_t size)
{
    memset(o, 0, size);
    ((alk_link *)o)->size = (uint32_t)size;
}

static int link_pass(struct rig *r, void *o)
{
    alk_link *l = o;
    alk_connection_options none = {.size = sizeof none};

    l->send = link_send;
    l->close = link_close;
    return open_connection(r, l, &none);
}

static int connection_options_pass(struct rig *r, void *o)
{
    const alk_link l = {.size = sizeof l, .send = link_send, .close = link_close};

    return open_connection(r, &l, o);
}

static int operation_pass(struct rig *r, void *o)
{
    alk_registry *reg = alk_registry_new();
    alk_operation *op = o;
    int rc;

    (void)r;
    op->name = "a/b";
    op->handler = serve_echo;
    rc = alk_registry_add(reg, op);
    snprintf(why, sizeof why, "%s", alk_registry_error(reg));
    alk_registry_unref(reg);
    return rc;
}

static int limits_pass(struct rig *r, void *o)
{
    alk_limits got;
    int rc;

    ((alk_limits *)o)->batch = 77;
    rc = alk_node_set_limits(r->node, o);
    alk_node_get_limits(r->node, &got, sizeof got);
    ck_assert_uint_eq(got.batch, rc ? 128 : 77);
    return rc;
}

static int open_node(struct rig *r, const alk_node_options *o)
{
    alk_node *n;
    int rc = alk_node_new(&n, r->reg, o);

    if (rc)
        ck_assert_ptr_null(n);
    alk_node_unref(n);
    return rc;
}

static int node_options_pass(struct rig *r, void *o)
{
    strcpy(why, "-"); /* there is nowhere to say it */
    return open_node(r, o);
}

static int limits_pass_with_options(struct rig *r, void *o)
{
    alk_node_options n = r->options;

    n.limits = o;
    return open_node(r, &n);
}

static int identity_provider_pass(struct rig *r, void *o)
{
    alk_node_options n = r->options;

    n.identities = o;
    return open_node(r, &n);
}

static int ownership_provider_pass(struct rig *r, void *o)
{
    alk_node_options n = r->options;

    n.ownership = o;
    return open_node(r, &n);
}

/* Starts a call; the server keeps the loop alive for it. */
static void call_one(struct rig *r)
{
    alk_call_options o = {.size = sizeof o};

    ck_assert_int_eq(alk_connection_call(one, TEXT("t/later"), TEXT("1"), &o, NULL), ALK_OK);
    rig_until(r, r->later.call);
}

static void serve_one(struct rig *r)
{
    rig_serve(r);
    call_one(r);
}

static int fault_pass(struct rig *r, void *o)
{
    int rc;

    ((alk_fault *)o)->code = "OWN";
    serve_one(r);
    rc = alk_call_fail(r->later.call, o);
    ck_assert_int_eq(alk_call_reply(r->later.call, "1", 1), rc ? ALK_OK : ALK_EENDED);
    return rc;
}

static int call_options_pass(struct rig *r, void *o)
{
    (void)r;
    return alk_connection_call(one, TEXT("t/echo"), TEXT("1"), o, NULL);
}

static int call_options_pass_nested(struct rig *r, void *o)
{
    serve_one(r);
    return alk_call_invoke(r->later.call, TEXT("t/echo"), TEXT("1"), o, NULL);
}

static alk_request *asked_for;

static int serve_request(alk_request *request, void *ud)
{
    (void)ud;
    asked_for = request;
    return ALK_OK;
}

static int call_options_pass_of_request(struct rig *r, void *o)
{
    const alk_route route = {sizeof route, 0, "GET", "/hook", serve_request, NULL};
    struct client c;
    int rc;

    ck_assert_int_eq(alk_gateway_add_route(r->g, &route), ALK_OK);
    rig_serve(r);
    rig_client(r, &c);
    asked_for = NULL;
    client_send(&c, GET("/hook"));
    rig_until(r, asked_for);
    rc = alk_request_call(asked_for, TEXT("t/echo"), TEXT("1"), o, NULL);
    client_close(&c);
    return rc;
}

static alk_client *connected;

static void on_connect(alk_client *c, void *ud)
{
    (void)ud;
    connected = c;
}

static void serve_client(struct rig *r, struct client *c)
{
    alk_events_options eo = {.size = sizeof eo};
    alk_events *ev;

    eo.path = "/feed";
    eo.on_connect = on_connect;
    ck_assert_int_eq(alk_gateway_add_events(&ev, r->g, &eo), ALK_OK);
    rig_serve(r);
    ck_assert_int_eq(wsc_try(r, c, WS_UPGRADE("/feed", "")), 101);
}

static int call_options_pass_of_client(struct rig *r, void *o)
{
    struct client c;
    int rc;

    serve_client(r, &c);
    rc = alk_client_call(connected, TEXT("t/echo"), TEXT("1"), o, NULL);
    client_close(&c);
    return rc;
}

static int import_options_pass(struct rig *r, void *o)
{
    (void)r;
    return alk_connection_import(one, o, NULL, NULL);
}

static int gateway_options_pass(struct rig *r, void *o)
{
    alk_gateway *g;
    int rc = alk_gateway_new(&g, r->d, o, why, sizeof why);

    alk_gateway_free(g);
    return rc;
}

static int serve_route(alk_request *request, void *ud)
{
    (void)request;
    (void)ud;
    return ALK_OK;
}

static int route_pass(struct rig *r, void *o)
{
    alk_route *route = o;

    route->method = "GET";
    route->path = "/route";
    route->handler = serve_route;
    return alk_gateway_add_route(r->g, route);
}

static int events_options_pass(struct rig *r, void *o)
{
    alk_events *ev;

    ((alk_events_options *)o)->path = "/events";
    return alk_gateway_add_events(&ev, r->g, o);
}

static int server_options_pass(struct rig *r, void *o)
{
    alk_server *s;
    int rc;

    ((alk_server_options *)o)->gateway = r->g;
    rc = alk_server_open(&s, r->l, o, why, sizeof why);
    if (!rc)
        ck_assert_int_gt(alk_server_port(s), 0);
    return rc;
}

static int dial_options_pass(struct rig *r, void *o)
{
    alk_dialer *x;

    ((alk_dial_options *)o)->url = "ws://127.0.0.1:1";
    return alk_dial(&x, r->l, o, why, sizeof why);
}

static int http_options_pass(struct rig *r, void *o)
{
    return alk_loop_set_http(r->l, o, why, sizeof why);
}

static int mcp_options_pass(struct rig *r, void *o)
{
    alk_mcp *m;
    int rc;

    ((alk_mcp_options *)o)->url = "http://127.0.0.1:1/mcp";
    ((alk_mcp_options *)o)->namespace_prefix = "up";
    rc = alk_mcp_open(&m, r->l, o, why, sizeof why);
    if (!rc)
        alk_mcp_close(m);
    return rc;
}

#define INIT(name)                                                                                 \
    static void name##_init(void *o, size_t size)                                                  \
    {                                                                                              \
        alk_##name##_init(o, size);                                                                \
    }
INIT(operation)
INIT(limits)
INIT(node_options)
INIT(gateway_options)
INIT(server_options)
INIT(dial_options)
INIT(http_options)

/* The structs that a program begins with an initializer all begin like this one. */
#define PLAIN(name) "alk_" #name, ".size = sizeof(alk_" #name ")", sizeof(alk_##name), link_init
#define BEGUN(name) "alk_" #name, "alk_" #name "_init", sizeof(alk_##name), name##_init

#define FIRST(name, last) (offsetof(alk_##name, last) + sizeof((alk_##name *)0)->last)

static const struct border {
    const char *name, *start;
    size_t size;
    void (*init)(void *o, size_t size);
    int (*pass)(struct rig *r, void *o);
    size_t first; /* of the first version; 0: this is the first */
} borders[] = {
    {BEGUN(operation), operation_pass, FIRST(operation, ud_free)},
    {BEGUN(limits), limits_pass, FIRST(limits, write_rate)},
    {BEGUN(limits), limits_pass_with_options, FIRST(limits, write_rate)},
    {BEGUN(node_options), node_options_pass, FIRST(node_options, auto_import)},
    {PLAIN(call_options), call_options_pass, 0},
    {PLAIN(call_options), call_options_pass_nested, 0},
    {PLAIN(call_options), call_options_pass_of_request, 0},
    {PLAIN(call_options), call_options_pass_of_client, 0},
    {PLAIN(connection_options), connection_options_pass, 0},
    {PLAIN(import_options), import_options_pass, 0},
    {BEGUN(gateway_options), gateway_options_pass, FIRST(gateway_options, session_ud)},
    {PLAIN(events_options), events_options_pass, 0},
    {BEGUN(server_options), server_options_pass, FIRST(server_options, gateway)},
    {BEGUN(dial_options), dial_options_pass, FIRST(dial_options, ud)},
    {BEGUN(http_options), http_options_pass, 0},
    {PLAIN(mcp_options), mcp_options_pass, 0},
    {PLAIN(fault), fault_pass, FIRST(fault, details)},
    {PLAIN(link), link_pass, FIRST(link, ud)},
    {PLAIN(identity_provider), identity_provider_pass, FIRST(identity_provider, ud)},
    {PLAIN(ownership_provider), ownership_provider_pass, 0},
    {PLAIN(route), route_pass, 0},
};

/* Room for the newer program's struct, and guards. */
union room {
    uint32_t size;
    unsigned char bytes[512];
    void *aligned;
};

static int passed(const struct border *b, union room *o)
{
    struct rig *r = begin();
    int rc = b->pass(r, o);

    end(r);
    return rc;
}

static void refused(const struct border *b, union room *o, const char *reason)
{
    char wanted[200];

    ck_assert_msg(passed(b, o) == ALK_EINVAL, "%s", b->name);
    snprintf(wanted, sizeof wanted, reason, b->name, b->start);
    if (strcmp(why, "-") != 0)
        ck_assert_str_eq(why, wanted);
}

#define EACH (int)(sizeof borders / sizeof borders[0])

START_TEST(init_keeps_to_the_size_of_the_program)
{
    const struct border *b = &borders[_i];
    union room full, o;

    b->init(&full, b->size);
    for (size_t size = sizeof o.size; size <= b->size + MORE; size += sizeof o.size) {
        memset(&o, GUARD, sizeof o);
        b->init(&o, size);
        ck_assert_uint_eq(o.size, size);
        for (size_t i = sizeof o.size; i < size; i++)
            ck_assert_uint_eq(o.bytes[i], i < b->size ? full.bytes[i] : 0);
        for (size_t i = size; i < sizeof o; i++)
            ck_assert_uint_eq(o.bytes[i], GUARD);
    }
}
END_TEST

START_TEST(one_of_a_newer_program_is_taken_unless_it_asks_for_more)
{
    const struct border *b = &borders[_i];
    union room o;

    b->init(&o, b->size);
    ck_assert_int_eq(passed(b, &o), ALK_OK);
    memset(&o, GUARD, sizeof o);
    b->init(&o, b->size + MORE);
    ck_assert_msg(!passed(b, &o), "%s: %s", b->name, why);
    b->init(&o, b->size + MORE);
    o.bytes[b->size] = 1;
    refused(b, &o, "%s: sets what only a newer library knows");
    b->init(&o, b->size + MORE);
    o.bytes[b->size + MORE - 1] = 1;
    refused(b, &o, "%s: sets what only a newer library knows");
}
END_TEST

START_TEST(one_without_init_is_refused)
{
    const struct border *b = &borders[_i];
    union room o;

    memset(&o, 0, sizeof o);
    refused(b, &o, "%s: not initialised (%s)");
    b->init(&o, b->size);
    o.size = (uint32_t)(b->first ? b->first : b->size) - 8;
    refused(b, &o, "%s: not initialised (%s)");
    o.size = 0xa5a5a5a5u;
    refused(b, &o, "%s: not initialised (%s)");
}
END_TEST

/* The members that it does not know have their defaults, whatever lies behind its struct. */
START_TEST(one_of_an_older_program_is_taken)
{
    const struct border *b = &borders[_i];
    union room o;

    if (!b->first)
        return;
    memset(&o, GUARD, sizeof o);
    b->init(&o, b->first);
    ck_assert_msg(!passed(b, &o), "%s: %s", b->name, why);
}
END_TEST

static void count_free(void *ud)
{
    ++*(int *)ud;
}

START_TEST(ud_free_of_an_operation_runs_only_where_it_can_be_trusted)
{
    const struct border *b = &borders[0];
    union room o;
    alk_operation *op = (alk_operation *)(void *)&o;
    int freed = 0;

    b->init(&o, b->size + MORE);
    op->ud_free = count_free;
    op->ud = &freed;
    o.bytes[b->size] = 1;
    ck_assert_int_eq(passed(b, &o), ALK_EINVAL);
    ck_assert_int_eq(freed, 1);
    op->size = 0;
    ck_assert_int_eq(passed(b, &o), ALK_EINVAL);
    ck_assert_int_eq(freed, 1);
}
END_TEST

/* They lie as far apart as the program's struct is large. */
START_TEST(operations_in_a_row_are_found_by_their_size)
{
    struct {
        alk_operation op;
        uint64_t wish[MORE / 8];
    } ops[3];
    struct rig *r = begin();
    const char *names[] = {"r/a", "r/b", "r/c"};

    for (size_t i = 0; i < 3; i++) {
        alk_operation_init(&ops[i].op, sizeof ops[i]);
        ops[i].op.name = names[i];
    }
    ops[2].wish[0] = 1;
    ck_assert_int_eq(alk_connection_register_imported(one, &ops[0].op, 3), ALK_EINVAL);
    ck_assert_str_eq(why, "alk_operation: sets what only a newer library knows");
    ops[2].wish[0] = 0;
    ck_assert_int_eq(alk_connection_register_imported(one, &ops[0].op, 3), ALK_OK);
    end(r);
}
END_TEST

/* ---- what the library fills -------------------------------------------------------------------- */

static void stats_fill(struct rig *r, void *o, size_t size)
{
    alk_dispatcher_stats(r->d, o, size);
}

static void limits_fill(struct rig *r, void *o, size_t size)
{
    alk_node_get_limits(r->node, o, size);
}

static void provider_fill(struct rig *r, void *o, size_t size)
{
    static alk_identities *ids;

    (void)r;
    if (!ids)
        ids = alk_identities_new();
    alk_identities_provider(ids, o, size);
    if (size > sizeof(alk_identity_provider)) {
        alk_identities_free(ids);
        ids = NULL;
    }
}

static void context_fill(struct rig *r, void *o, size_t size)
{
    alk_call_get_context(r->later.call, o, size);
}

static void session_fill(struct rig *r, void *o, size_t size)
{
    (void)r;
    alk_client_session(connected, o, size);
}

START_TEST(results_keep_to_the_size_of_the_program)
{
    static const struct {
        size_t size;
        void (*fill)(struct rig *r, void *o, size_t size);
    } results[] = {
        {sizeof(alk_stats), stats_fill},
        {sizeof(alk_limits), limits_fill},
        {sizeof(alk_identity_provider), provider_fill},
        {sizeof(alk_session), session_fill},
        {sizeof(alk_call_context), context_fill},
    };
    struct rig *r = begin();
    union room full, o;
    struct client c;

    serve_client(r, &c);
    call_one(r);
    for (size_t k = 0; k < sizeof results / sizeof results[0]; k++) {
        size_t own = results[k].size;
        const size_t sizes[] = {8, own / 2 & ~(size_t)7, own, own + MORE};

        results[k].fill(r, &full, own);
        for (size_t s = 0; s < 4; s++) {
            memset(&o, GUARD, sizeof o);
            results[k].fill(r, &o, sizes[s]);
            ck_assert_uint_eq(o.size, sizes[s]);
            for (size_t i = 8; i < sizes[s]; i++) /* size may have padding behind it */
                ck_assert_uint_eq(o.bytes[i], i < own ? full.bytes[i] : 0);
            for (size_t i = sizes[s]; i < sizeof o; i++)
                ck_assert_uint_eq(o.bytes[i], GUARD);
        }
    }
    client_close(&c);
    end(r);
}
END_TEST

/* What was filled for a newer program can be given back. */
START_TEST(limits_can_be_changed_by_a_newer_program)
{
    struct rig *r = begin();
    union room o;

    alk_node_get_limits(r->node, (void *)&o, sizeof(alk_limits) + MORE);
    ck_assert_int_eq(limits_pass(r, &o), ALK_OK);
    end(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("abi");
    TCase *all = tcase_create("abi");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(all, init_keeps_to_the_size_of_the_program, 0, EACH);
    tcase_add_loop_test(all, one_of_a_newer_program_is_taken_unless_it_asks_for_more, 0, EACH);
    tcase_add_loop_test(all, one_of_an_older_program_is_taken, 0, EACH);
    tcase_add_loop_test(all, one_without_init_is_refused, 0, EACH);
    tcase_add_test(all, ud_free_of_an_operation_runs_only_where_it_can_be_trusted);
    tcase_add_test(all, operations_in_a_row_are_found_by_their_size);
    tcase_add_test(all, results_keep_to_the_size_of_the_program);
    tcase_add_test(all, limits_can_be_changed_by_a_newer_program);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
