/* What a hub offers to clients of NATS, on a bus that keeps each answer: which call a request is, as
 * whom, and what comes back of it; what is listed; and how little somebody can do who asks for too
 * much. */
#include "adapt/cluster_offer.h"
#include "core/dispatcher.h"
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

#define ID_LENGTH 32
#define TOKEN "a-token-of-the-services-own"

struct rig {
    struct bus bus;
    struct node n;
    struct offering *of;
    alk_identity_provider provider;
    uint64_t generation;
    const char *scopes; /* of whom the token stands for; NULL: nobody */
    int served;
    char patterns[16][200], queues[16][80];
    int answers, error; /* error: the number of the last one; 0: it was a result */
    char reply[100], text[400], *data;
    int refuse; /* what the bus says to the next answer */
};

/* ---- the bus, the provider ------------------------------------------------------------------- */

static int serve(struct bus *b, const char *pattern, const char *queue)
{
    struct rig *r = container_of(b, struct rig, bus);

    must(r->served < 16);
    snprintf(r->patterns[r->served], sizeof r->patterns[0], "%s", pattern);
    snprintf(r->queues[r->served++], sizeof r->queues[0], "%s", queue ? queue : "");
    return ALK_OK;
}

static void unsubscribe(struct bus *b, const char *subject)
{
    struct rig *r = container_of(b, struct rig, bus);
    int at = 0;

    while (at < r->served && strcmp(r->patterns[at], subject) != 0)
        at++;
    must(at < r->served);
    memmove(r->patterns[at], r->patterns[--r->served], sizeof r->patterns[0]);
}

static int answer(struct bus *b, const char *reply, const struct bus_error *e, const void *data,
                  size_t len)
{
    struct rig *r = container_of(b, struct rig, bus);
    int rc = r->refuse;

    r->refuse = 0;
    if (rc)
        return rc;
    if (b->largest && len > b->largest)
        return ALK_ELIMIT;
    r->answers++;
    r->error = e ? e->number : 0;
    snprintf(r->reply, sizeof r->reply, "%s", reply);
    snprintf(r->text, sizeof r->text, "%s", e ? e->text : "");
    free(r->data);
    must((r->data = malloc(len + 1)));
    memcpy(r->data, data, len);
    r->data[len] = 0;
    return ALK_OK;
}

static const struct bus_ops bus_ops = {
    .serve = serve, .answer = answer, .unsubscribe = unsubscribe};

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    struct rig *r = ud;

    if (!r->scopes || len != strlen(TOKEN) || memcmp(token, TOKEN, len))
        return ALK_KIND_NONE;
    *out = identity_of("services", r->scopes);
    return ALK_KIND_KEY;
}

static int by_fingerprint(void *ud, const char *fingerprint, size_t len, alk_identity **out)
{
    (void)ud;
    (void)fingerprint;
    (void)len;
    (void)out;
    return ALK_KIND_NONE;
}

static uint64_t generation(void *ud)
{
    return ((struct rig *)ud)->generation;
}

/* ---- the hub --------------------------------------------------------------------------------- */

static int fails(alk_call *call, void *ud)
{
    static const alk_fault conflict = {
        .size = sizeof conflict, .code = "CONFLICT", .message = "two\r\nlines"};

    (void)ud;
    return alk_call_fail(call, &conflict);
}

static int large(alk_call *call, void *ud)
{
    char *text = repeated("x", *(size_t *)ud, "\"", "\"");
    int rc = alk_call_reply(call, text, strlen(text));

    free(text);
    return rc == ALK_ELIMIT ? ALK_OK : rc;
}

static size_t largest = 100;

static void add(struct rig *r, const char *name, const char *access, const char *description)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.handler = serve_echo;
    op.access_control = access;
    op.description = description;
    world_add_full(r->n.w, &op);
}

static void prepare(struct rig *r)
{
    memset(r, 0, sizeof *r);
    r->bus.ops = &bus_ops;
    node_add(&r->n);
    world_add(r->n.w, "t/fail", ALK_QUERY, fails, NULL);
    world_add(r->n.w, "t/large", ALK_QUERY, large, &largest);
    add(r, "a.b/c.d", NULL, NULL);
    add(r, "a/b/c.d", NULL, "quotes \" and\nlines");
    add(r, "x/known", "{\"authenticated\":true}", NULL);
    add(r, "x/scoped", "{\"required_scopes\":[\"x:scoped\"]}", NULL);
    r->provider = (alk_identity_provider){.size = sizeof r->provider,
                                          .by_token = by_token,
                                          .by_fingerprint = by_fingerprint,
                                          .generation = generation,
                                          .ud = r};
    r->n.w->options.identities = &r->provider;
}

static void open_with(struct rig *r, const char *token)
{
    const struct offering_options o = {
        .bus = &r->bus, .name = "north", .prefix = "t.alknet", .token = token};

    world_start(r->n.w);
    ck_assert_int_eq(offering_new(&r->of, r->n.w->d, &o), ALK_OK);
    ck_assert_int_eq(r->served, 0);
    offering_begin(r->of);
}

static void begin(struct rig *r, const char *token)
{
    prepare(r);
    open_with(r, token);
}

static void finish(struct rig *r)
{
    if (r->of)
        offering_close(r->of);
    world_turn(r->n.w);
    served_free(&r->n.query);
    served_free(&r->n.stream);
    world_turn(r->n.w);
    ck_assert_uint_eq(world_stats(r->n.w).message_bytes, 0);
    world_free(r->n.w);
    free(r->data);
}

static void say(struct rig *r, const char *subject, const char *reply, const char *payload)
{
    char *copy = strdup(payload); /* of its own, so that a byte read behind it is seen */

    r->bus.on_request(r->bus.ud, subject, reply, copy, strlen(payload));
    free(copy);
    world_turn(r->n.w);
}

/* The answer to a request for that operation: "DATA", or "NUMBER TEXT | DATA"; "nothing" yet. */
static const char *outcome(struct rig *r, const char *name, const char *payload)
{
    static char out[2000];
    char subject[900];
    int before = r->answers;

    snprintf(subject, sizeof subject, "t.alknet.services.north.%s", name);
    say(r, subject, "_INBOX.1", payload);
    if (r->answers == before)
        return "nothing";
    ck_assert_int_eq(r->answers, before + 1);
    ck_assert_str_eq(r->reply, "_INBOX.1");
    if (r->error)
        snprintf(out, sizeof out, "%d %s | %.900s", r->error, r->text, r->data);
    else
        snprintf(out, sizeof out, "%.1900s", r->data);
    return out;
}

static void expect(struct rig *r, const char *name, const char *payload, const char *expected)
{
    ck_assert_str_eq(outcome(r, name, payload), expected);
}

static const char *refusal(int status, const char *code, const char *message)
{
    static char out[1000];

    snprintf(out, sizeof out, "%d %s: %s | {\"code\":\"%s\",\"message\":\"%s\",\"retryable\":%s}",
             status, code, message, code, message, !strcmp(code, "BUSY") ? "true" : "false");
    return out;
}

/* ---- calls ----------------------------------------------------------------------------------- */

START_TEST(it_serves_its_operations_by_a_queue_and_its_listings_alone)
{
    struct rig r;
    int ids = 0;

    begin(&r, NULL);
    ck_assert_int_eq(r.served, 10);
    for (int i = 0; i < r.served; i++) {
        bool all = !strcmp(r.patterns[i], "t.alknet.services.north.>");
        const char *name = strstr(r.patterns[i], ".north");

        ck_assert_str_eq(r.queues[i], all ? "north" : "");
        ck_assert(all || !strncmp(r.patterns[i], "$SRV.", 5));
        ids += !all && name && strlen(name) == strlen(".north.") + ID_LENGTH;
    }
    ck_assert_int_eq(ids, 3);
    finish(&r);
}
END_TEST

START_TEST(a_request_is_a_call_and_its_answer_the_output)
{
    struct rig r;

    begin(&r, NULL);
    expect(&r, "t.echo", "[1, 2]", "[1,2]");
    expect(&r, "t.echo", "null", "null");
    expect(&r, "t.query", "7", "nothing");
    ck_assert_int_eq(r.n.query.starts, 1);
    served_reply(&r.n.query, "{\"late\":true}");
    world_turn(r.n.w);
    ck_assert_str_eq(r.data, "{\"late\":true}");
    ck_assert_int_eq(r.answers, 3);
    finish(&r);
}
END_TEST

START_TEST(no_payload_is_an_empty_object)
{
    struct rig r;

    begin(&r, NULL);
    expect(&r, "t.echo", "", "{}");
    finish(&r);
}
END_TEST

START_TEST(names_with_dots_are_told_from_those_with_slashes)
{
    struct rig r;

    begin(&r, NULL);
    expect(&r, "a%2Eb.c%2Ed", "1", "1");
    expect(&r, "a.b.c%2Ed", "2", "2");
    expect(&r, "a.b.c.d", "3", refusal(404, "NOT_FOUND", "operation not found: a/b/c/d"));
    finish(&r);
}
END_TEST

/* So that who may not publish to one, by the broker's rules, has no other for the same operation. */
START_TEST(an_operation_has_one_subject)
{
    static const char *const others[] = {"t/echo",   "/t.echo", ".t.echo", "t..echo", "t.echo.",
                                         "t%2eecho", "%2",      "t.\xc3",  "",        "t.e cho"};
    const char *none = "operation not found: this is no operation's subject";
    struct rig r;

    begin(&r, NULL);
    expect(&r, "t.echo", "1", "1");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect(&r, others[i], "1", refusal(404, "NOT_FOUND", none));
    finish(&r);
}
END_TEST

START_TEST(a_fault_has_its_status_and_its_code)
{
    struct rig r;

    begin(&r, NULL);
    expect(&r, "t.nothing", "{}", refusal(404, "NOT_FOUND", "operation not found: t/nothing"));
    expect(&r, "t.stream", "{}",
           refusal(400, "INVALID_OPERATION_TYPE", "t/stream is a subscription"));
    ck_assert_int_eq(r.n.stream.starts, 0);
    expect(&r, "t.fail", "{}",
           "500 CONFLICT: two\r\nlines | "
           "{\"code\":\"CONFLICT\",\"message\":\"two\\r\\nlines\",\"retryable\":false}");
    expect(&r, "t.echo",
           "{\"a\":", refusal(400, "INVALID_INPUT", "payload: unexpected end of data at byte 5"));
    expect(&r, "t.echo", "[1] 2",
           refusal(400, "INVALID_INPUT", "payload: unexpected content after document at byte 4"));
    finish(&r);
}
END_TEST

START_TEST(a_call_that_takes_too_long_is_answered)
{
    struct rig r;

    begin(&r, NULL);
    expect(&r, "t.query", "1", "nothing");
    world_advance(r.n.w, 60000);
    ck_assert_int_eq(r.error, 504);
    ck_assert_int_eq(r.answers, 1);
    finish(&r);
}
END_TEST

START_TEST(what_the_broker_does_not_carry_is_a_fault)
{
    struct rig r;

    begin(&r, NULL);
    r.bus.largest = 90;
    expect(&r, "t.large", "1", refusal(500, "INTERNAL", "output too large"));
    r.bus.largest = 20; /* nor the fault: its headers go alone */
    expect(&r, "t.large", "1", "500 INTERNAL: output too large | ");
    finish(&r);
}
END_TEST

START_TEST(an_answer_that_cannot_leave_harms_nothing)
{
    struct rig r;

    begin(&r, NULL);
    r.refuse = ALK_EAGAIN;
    expect(&r, "t.echo", "1", "nothing");
    r.refuse = ALK_ECLOSED;
    expect(&r, "t.nothing", "1", "nothing");
    expect(&r, "t.echo", "2", "2");
    finish(&r);
}
END_TEST

/* ---- who --------------------------------------------------------------------------------------- */

START_TEST(without_a_token_who_asks_is_nobody)
{
    struct rig r;

    prepare(&r);
    r.scopes = "[\"x:scoped\"]";
    open_with(&r, NULL);
    expect(&r, "x.known", "1", refusal(401, "FORBIDDEN", "authentication required"));
    expect(&r, "x.scoped", "1", refusal(401, "FORBIDDEN", "authentication required"));
    finish(&r);
}
END_TEST

START_TEST(with_a_token_who_asks_is_whom_it_stands_for)
{
    struct rig r;

    prepare(&r);
    r.scopes = "[]";
    open_with(&r, TOKEN);
    expect(&r, "x.known", "1", "1");
    expect(&r, "x.scoped", "1", refusal(403, "FORBIDDEN", "not allowed to call x/scoped"));
    finish(&r);
}
END_TEST

START_TEST(a_token_that_is_taken_away_makes_no_stranger)
{
    const char *none = "the service's own token does not resolve";
    struct rig r;

    prepare(&r);
    r.scopes = "[\"x:scoped\"]";
    open_with(&r, TOKEN);
    expect(&r, "x.scoped", "1", "1");
    r.scopes = NULL;
    r.generation++;
    expect(&r, "x.scoped", "1", refusal(403, "FORBIDDEN", none));
    expect(&r, "t.echo", "1", refusal(403, "FORBIDDEN", none));
    say(&r, "$SRV.INFO", "_INBOX.2", "");
    ck_assert_ptr_nonnull(strstr(r.data, "\"endpoints\":[]"));
    r.scopes = "[]";
    r.generation++;
    expect(&r, "x.known", "1", "1");
    expect(&r, "x.scoped", "1", refusal(403, "FORBIDDEN", "not allowed to call x/scoped"));
    finish(&r);
}
END_TEST

START_TEST(calls_that_run_end_with_the_token)
{
    struct rig r;

    prepare(&r);
    r.scopes = "[]";
    open_with(&r, TOKEN);
    expect(&r, "t.query", "1", "nothing");
    r.scopes = NULL;
    r.generation++;
    world_turn(r.n.w);
    ck_assert_int_eq(r.answers, 1);
    ck_assert_int_eq(r.error, 403);
    ck_assert_str_eq(r.text, "FORBIDDEN: the credential has been revoked");
    ck_assert_int_eq(r.n.query.ends, 1);
    finish(&r);
}
END_TEST

START_TEST(a_token_that_is_nobodys_from_the_beginning_calls_nothing)
{
    struct rig r;

    begin(&r, TOKEN);
    ck_assert(world_logged(r.n.w, "services.token - - the presented token does not resolve"));
    expect(&r, "t.echo", "1",
           refusal(403, "FORBIDDEN", "the service's own token does not resolve"));
    r.scopes = "[]";
    r.generation++;
    expect(&r, "t.echo", "1", "1");
    ck_assert(world_logged(r.n.w, "services.token - - resolves"));
    finish(&r);
}
END_TEST

/* ---- too much ---------------------------------------------------------------------------------- */

START_TEST(who_wants_no_answer_is_not_heard)
{
    static const char *const replies[] = {NULL, "$JS.API.STREAM.DELETE.all", "$SYS.REQ",
                                          "t.alknet.announce", "t.alknet.services.north.t.echo"};
    struct rig r;

    begin(&r, NULL);
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        say(&r, "t.alknet.services.north.t.query", replies[i], "1");
        say(&r, "$SRV.PING", replies[i], "");
    }
    ck_assert_int_eq(r.answers, 0);
    ck_assert_int_eq(r.n.query.starts, 0);
    say(&r, "t.alknet.services.north.t.echo", "t.alknetted", "1");
    ck_assert_int_eq(r.answers, 1);
    finish(&r);
}
END_TEST

/* The broker is trusted with nothing, nor with sending only what was asked for. */
START_TEST(what_was_not_subscribed_to_is_not_heard)
{
    static const char *const others[] = {
        "", "x", "$SRV", "$SRV.OTHER", "t.alknet.services.north", "t.alknet.services.south.t.echo"};
    struct rig r;

    begin(&r, NULL);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *copy = strdup(others[i]); /* of its own, so that a byte read behind it is seen */

        say(&r, copy, "_INBOX.1", "1");
        free(copy);
    }
    ck_assert_int_eq(r.answers, 0);
    finish(&r);
}
END_TEST

/* Who is refused costs nothing that stays, also where no turn comes. */
START_TEST(refused_requests_do_not_pile_up)
{
    struct rig r;

    begin(&r, NULL);
    for (int i = 0; i < 5000; i++)
        r.bus.on_request(r.bus.ud, "t.alknet.services.north.t.nothing", "_INBOX.1", "1", 1);
    ck_assert_int_eq(r.answers, 5000);
    ck_assert_uint_eq(world_stats(r.n.w).calls, 0);
    finish(&r);
}
END_TEST

START_TEST(so_many_calls_run_at_once_and_no_more)
{
    struct rig r;

    begin(&r, NULL);
    for (int i = 0; i < (int)SERVICE_CALLS_MAX; i++)
        r.bus.on_request(r.bus.ud, "t.alknet.services.north.t.query", "_INBOX.1", "1", 1);
    world_turn(r.n.w);
    ck_assert_int_eq(r.answers, 0);
    expect(&r, "t.echo", "1", refusal(503, "BUSY", "too many calls"));
    served_reply(&r.n.query, "1");
    world_turn(r.n.w);
    expect(&r, "t.echo", "1", "1");
    finish(&r);
}
END_TEST

START_TEST(inputs_are_as_large_as_over_http)
{
    struct rig r;
    char *input = repeated("1,", 600, "[", "1]");

    prepare(&r);
    r.n.w->limits.anonymous_bytes = 1024;
    r.n.w->limits.body_bytes = 2048;
    r.scopes = "[]";
    open_with(&r, NULL);
    expect(&r, "t.echo", input, refusal(413, "INVALID_INPUT", "payload: too large"));
    offering_close(r.of);
    ck_assert_int_eq(
        offering_new(&r.of, r.n.w->d,
                     &(struct offering_options){
                         .bus = &r.bus, .name = "north", .prefix = "t.alknet", .token = TOKEN}),
        ALK_OK);
    expect(&r, "t.echo", input, input);
    r.n.w->limits.body_bytes = 1024;
    ck_assert_int_eq(alk_node_set_limits(r.n.w->node, &r.n.w->limits), ALK_OK);
    expect(&r, "t.echo", input, refusal(413, "INVALID_INPUT", "payload: too large"));
    free(input);
    finish(&r);

    input = repeated("1,", 300, "[", "1]");
    prepare(&r);
    r.n.w->limits.body_bytes = 512; /* nobody may send more than somebody */
    open_with(&r, NULL);
    expect(&r, "t.echo", input, refusal(413, "INVALID_INPUT", "payload: too large"));
    free(input);
    finish(&r);
}
END_TEST

START_TEST(a_hub_that_drains_says_so)
{
    struct rig r;

    begin(&r, NULL);
    alk_dispatcher_drain(r.n.w->d);
    expect(&r, "t.echo", "1", refusal(503, "BUSY", "shutting down"));
    finish(&r);
}
END_TEST

START_TEST(what_has_begun_can_end_and_begin_again)
{
    struct rig r;

    begin(&r, NULL);
    expect(&r, "t.query", "1", "nothing");
    offering_end(r.of);
    ck_assert_int_eq(r.served, 0);
    served_reply(&r.n.query, "2");
    world_turn(r.n.w);
    ck_assert_str_eq(r.data, "2");
    offering_begin(r.of);
    ck_assert_int_eq(r.served, 10);
    expect(&r, "t.echo", "1", "1");
    finish(&r);
}
END_TEST

START_TEST(calls_that_run_when_it_closes_are_answered)
{
    struct rig r;

    begin(&r, NULL);
    expect(&r, "t.query", "1", "nothing");
    offering_close(r.of);
    r.of = NULL;
    ck_assert_int_eq(r.answers, 1);
    ck_assert_int_eq(r.error, 500);
    ck_assert_str_eq(r.text, "INTERNAL: connection closed");
    world_turn(r.n.w);
    ck_assert_int_eq(r.n.query.ends, 1);
    finish(&r);
}
END_TEST

/* ---- listings ---------------------------------------------------------------------------------- */

static bool has(const struct rig *r, const char *text)
{
    return strstr(r->data, text) != NULL;
}

START_TEST(a_ping_is_who_it_is)
{
    static const char begins[] =
        "{\"type\":\"io.nats.micro.v1.ping_response\",\"name\":\"north\",\"id\":\"";
    struct rig r;

    begin(&r, NULL);
    say(&r, "$SRV.PING", "_INBOX.1", "");
    ck_assert(!strncmp(r.data, begins, sizeof begins - 1));
    ck_assert_uint_eq(strcspn(r.data + sizeof begins - 1, "\""), ID_LENGTH);
    ck_assert_str_eq(r.data + sizeof begins - 1 + ID_LENGTH,
                     "\",\"version\":\"" ALK_VERSION "\",\"metadata\":{}}");
    finish(&r);
}
END_TEST

START_TEST(who_asks_sees_what_he_may_call)
{
    struct rig r;

    begin(&r, NULL);
    say(&r, "$SRV.INFO.north", "_INBOX.1", "");
    ck_assert(has(&r, "{\"type\":\"io.nats.micro.v1.info_response\""));
    ck_assert(has(&r, "\"description\":\"alknet hub north\",\"endpoints\":[{"));
    ck_assert(has(&r, "{\"name\":\"a-b-c-d\",\"subject\":\"t.alknet.services.north.a%2Eb.c%2Ed\","
                      "\"queue_group\":\"north\",\"metadata\":{\"operation\":\"a.b/c.d\","
                      "\"op_type\":\"query\"}}"));
    ck_assert(has(&r, "\"subject\":\"t.alknet.services.north.a.b.c%2Ed\",\"queue_group\":\"north\","
                      "\"metadata\":{\"operation\":\"a/b/c.d\",\"op_type\":\"query\","
                      "\"description\":\"quotes \\\" and\\nlines\"}}"));
    ck_assert(has(&r, "services.list\""));
    ck_assert(!has(&r, "t/stream"));
    ck_assert(!has(&r, "x/"));
    ck_assert(has(&r, "],\"metadata\":{}}"));
    finish(&r);

    prepare(&r);
    r.scopes = "[\"x:scoped\"]";
    open_with(&r, TOKEN);
    say(&r, "$SRV.INFO.north.id", "_INBOX.1", "");
    ck_assert(has(&r, "x/known"));
    ck_assert(has(&r, "x/scoped"));
    finish(&r);
}
END_TEST

START_TEST(a_listing_that_the_broker_does_not_carry_says_that_it_is_cut)
{
    struct rig r;

    begin(&r, NULL);
    r.bus.largest = 700;
    say(&r, "$SRV.INFO", "_INBOX.1", "");
    ck_assert_uint_le(strlen(r.data), 700);
    ck_assert(has(&r, "a.b/c.d"));
    ck_assert(!has(&r, "t/query"));
    ck_assert(has(&r, "\"}}],\"metadata\":{\"incomplete\":\"true\"}}"));
    finish(&r);
}
END_TEST

static uint64_t ticks;

static uint64_t slow_clock(void)
{
    return ticks += 1000;
}

START_TEST(each_operation_is_counted)
{
    struct rig r;

    begin(&r, NULL);
    r.n.w->d->clock = slow_clock;
    outcome(&r, "t.echo", "1");
    outcome(&r, "t.echo", "2");
    outcome(&r, "t.fail", "1");
    outcome(&r, "t.nothing", "1");
    outcome(&r, "x.known", "1");
    say(&r, "$SRV.STATS", "_INBOX.1", "");
    ck_assert(has(&r, "{\"type\":\"io.nats.micro.v1.stats_response\""));
    ck_assert(has(&r, "\"subject\":\"t.alknet.services.north.t.echo\",\"queue_group\":\"north\","
                      "\"num_requests\":2,\"num_errors\":0,"));
    ck_assert(has(&r, "t.fail\",\"queue_group\":\"north\",\"num_requests\":1,\"num_errors\":1,"));
    ck_assert(has(&r, "\"last_error\":\"500:CONFLICT\"}"));
    ck_assert(!has(&r, "two")); /* a fault's message is its caller's */
    ck_assert(has(&r, "t.query\",\"queue_group\":\"north\",\"num_requests\":0,\"num_errors\":0,"
                      "\"processing_time\":0,\"average_processing_time\":0,\"last_error\":\"\"}"));
    ck_assert(!has(&r, "nothing"));
    ck_assert(!has(&r, "x.known"));
    ck_assert(has(&r, "\"started\":\"20"));
    finish(&r);
}
END_TEST

START_TEST(so_many_listings_are_made_in_a_second)
{
    struct rig r;

    begin(&r, NULL);
    for (int i = 0; i < 10 * (int)SERVICE_LISTINGS; i++)
        say(&r, "$SRV.INFO", "_INBOX.1", "");
    ck_assert_int_eq(r.answers, (int)SERVICE_LISTINGS);
    expect(&r, "t.echo", "1", "1");
    world_advance(r.n.w, 1000);
    say(&r, "$SRV.PING", "_INBOX.1", "");
    ck_assert_int_eq(r.answers, (int)SERVICE_LISTINGS + 2);
    finish(&r);
}
END_TEST

START_TEST(the_log_says_when_it_can_be_asked)
{
    struct rig r;

    prepare(&r);
    world_start(r.n.w);
    ck_assert_int_eq(
        offering_new(&r.of, r.n.w->d,
                     &(struct offering_options){.bus = &r.bus, .name = "north", .prefix = "p"}),
        ALK_OK);
    r.bus.on_state(r.bus.ud, true, NULL);
    ck_assert(!world_logged(r.n.w, "services."));
    offering_begin(r.of);
    ck_assert(world_logged(r.n.w, "services.up"));
    r.bus.on_state(r.bus.ud, false, "the broker has gone");
    ck_assert(world_logged(r.n.w, "the broker has gone"));
    finish(&r);
}
END_TEST

MAIN("cluster_offer", it_serves_its_operations_by_a_queue_and_its_listings_alone,
     a_request_is_a_call_and_its_answer_the_output, no_payload_is_an_empty_object,
     names_with_dots_are_told_from_those_with_slashes, a_fault_has_its_status_and_its_code,
     a_call_that_takes_too_long_is_answered, what_the_broker_does_not_carry_is_a_fault,
     an_answer_that_cannot_leave_harms_nothing, without_a_token_who_asks_is_nobody,
     an_operation_has_one_subject, what_was_not_subscribed_to_is_not_heard,
     refused_requests_do_not_pile_up, calls_that_run_end_with_the_token,
     what_has_begun_can_end_and_begin_again, with_a_token_who_asks_is_whom_it_stands_for,
     a_token_that_is_taken_away_makes_no_stranger,
     a_token_that_is_nobodys_from_the_beginning_calls_nothing, who_wants_no_answer_is_not_heard,
     so_many_calls_run_at_once_and_no_more, inputs_are_as_large_as_over_http,
     a_hub_that_drains_says_so, calls_that_run_when_it_closes_are_answered, a_ping_is_who_it_is,
     who_asks_sees_what_he_may_call, a_listing_that_the_broker_does_not_carry_says_that_it_is_cut,
     each_operation_is_counted, so_many_listings_are_made_in_a_second,
     the_log_says_when_it_can_be_asked)
