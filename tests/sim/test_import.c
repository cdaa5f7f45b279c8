/* from_call: what a remote serves becomes callable here, all at once or not at all, within bounds that the remote cannot
 * move. The remote is another node, or the test itself, which then answers services/list and services/schema as it likes. */
#include "sim/compose.h"
#include "support/node.h"

#define SPEC(name, more)                                                                           \
    "{\"name\":\"" name                                                                            \
    "\",\"namespace\":\"s\",\"op_type\":\"query\",\"visibility\":\"external\","                    \
    "\"input_schema\":null,\"output_schema\":null,\"error_schemas\":[],\"access_control\":"        \
    "{\"required_scopes\":[]" more "}}"
#define ANNOUNCED "{\"imported\":0,\"kind\":\"peer\",\"peer_id\":\"peer\",\"peers_call\":null}"
#define EVERYTHING "{\"allowed_ops\":[\"s/*\",\"t/*\",\"p/*\",\"services/*\"]}"

/* ---- a remote that the test plays ------------------------------------------------------------ */

struct played {
    struct world *w;
    struct wire *r;
    struct imported im;
    struct served root;
    struct wire *client;
};

static struct played *played_start(uint32_t kind)
{
    struct played *p = calloc(1, sizeof *p);
    alk_connection_options o;

    ck_assert_ptr_nonnull(p);
    p->w = world_new();
    add_op(p->w, &(struct op){.name = "x/root",
                              .handler = serve_later,
                              .ud = &p->root,
                              .environment = EVERYTHING,
                              .authority = "{\"label\":\"r\",\"scopes\":[\"s:use\"]}"});
    world_start(p->w);
    side_options(&o, &(struct side){.id = "peer", .kind = kind});
    p->r = wire_open(p->w, &o);
    alk_identity_unref(o.identity);
    p->client = wire_open(p->w, NULL);
    wire_request(p->client, "root", "x/root", "null");
    world_turn(p->w);
    return p;
}

static void played_free(struct played *p)
{
    wire_free(p->client);
    wire_free(p->r);
    served_free(&p->root);
    expect_idle(p->w);
    world_free(p->w);
    free(p);
}

static void begin(struct played *p, const char *prefix, const char *filter)
{
    alk_import_options o = {.size = sizeof o};

    memset(&p->im, 0, sizeof p->im);
    o.namespace_prefix = prefix;
    o.operation_filter = filter;
    ck_assert_int_eq(alk_connection_import(p->r->conn, &o, on_imported, &p->im), ALK_OK);
}

/* The next request is of that operation; its id. */
static void asked_for(struct played *p, const char *operation, char id[64], const char **input)
{
    const char *e = wire_next(p->r), *in;
    char want[200];

    ck_assert_msg(e != NULL, "%s was not asked for (%s)", operation, p->im.message);
    snprintf(want, sizeof want, "\"operationId\":\"/%s\",", operation);
    ck_assert_msg(strstr(e, want) != NULL, "%s", e);
    in = strstr(e, "\"input\":");
    *input = in + 8;
    snprintf(id, 64, "%s", wire_id(e));
}

static void answer(struct played *p, const char *id, const char *output)
{
    size_t size = strlen(output) + 200;
    char *text = malloc(size);

    ck_assert_ptr_nonnull(text);
    snprintf(text, size, "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":%s}}",
             id, output);
    ck_assert_int_eq(wire_feed(p->r, text), ALK_OK);
    free(text);
}

static void answer_list(struct played *p, const char *output)
{
    const char *input;
    char id[64];

    asked_for(p, "services/list", id, &input);
    answer(p, id, output);
}

static void answer_schema(struct played *p, const char *name, const char *output)
{
    const char *input;
    char id[64], want[400];

    asked_for(p, "services/schema", id, &input);
    snprintf(want, sizeof want, "{\"name\":\"%s\"}", name);
    ck_assert_msg(!strncmp(input, want, strlen(want)), "%s", input);
    answer(p, id, output);
}

static void refuse_schema(struct played *p, const char *code)
{
    const char *input;
    char id[64], text[400];

    asked_for(p, "services/schema", id, &input);
    snprintf(text, sizeof text,
             "{\"type\":\"call.error\",\"id\":\"%s\",\"payload\":{\"code\":\"%s\",\"message\":"
             "\"said no\",\"retryable\":false}}",
             id, code);
    ck_assert_int_eq(wire_feed(p->r, text), ALK_OK);
}

static void expect_done(struct played *p, int rc, size_t count)
{
    world_turn(p->w);
    ck_assert_int_eq(p->im.done, 1);
    ck_assert_msg(p->im.rc == rc, "%s: %s", alk_err_name(p->im.rc), p->im.message);
    ck_assert_uint_eq(p->im.count, count);
}

/* Whether x/root's handler can reach it: its request comes to the played remote under that name. */
static bool reaches(struct played *p, const char *local, const char *remote)
{
    struct asked a;
    char want[400];
    const char *e;
    bool ok;

    nest(&a, &p->root, local, "null", NULL);
    e = wire_next(p->r);
    if (e) {
        char id[64];

        snprintf(want, sizeof want, "\"operationId\":\"/%s\",", remote);
        ck_assert_msg(strstr(e, want) != NULL, "%s", e);
        snprintf(id, sizeof id, "%s", wire_id(e));
        answer(p, id, "1");
        world_turn(p->w);
        ck_assert_str_eq(asked_outcome(&a), "ok 1");
    } else {
        ck_assert_int_eq(a.ends, 1);
    }
    ok = e != NULL;
    asked_free(&a);
    return ok;
}

static void import_one(struct played *p, const char *name, const char *spec)
{
    char list[400];

    begin(p, NULL, NULL);
    snprintf(list, sizeof list, "{\"operations\":[{\"name\":\"%s\"}]}", name);
    answer_list(p, list);
    answer_schema(p, name, spec);
    expect_done(p, ALK_OK, 1);
}

START_TEST(all_pages_are_read_and_services_and_peers_are_left_out)
{
    struct played *p = played_start(ALK_KIND_PEER);
    const char *input;
    char id[64];

    begin(p, NULL, NULL);
    asked_for(p, "services/list", id, &input);
    ck_assert(!strncmp(input, "{}", 2));
    answer(p, id,
           "{\"operations\":[{\"name\":\"peers/call\"},{\"name\":\"s/a\"}],\"next_cursor\":\"c "
           "\\\"1\"}");
    asked_for(p, "services/list", id, &input);
    ck_assert(!strncmp(input, "{\"cursor\":\"c \\\"1\"}", 18));
    answer(p, id,
           "{\"operations\":[{\"name\":\"services/"
           "list\"},{\"name\":\"services\"},{\"name\":\"peers\"}],\"next_cursor\":\"2\"}");
    answer_list(p, "{\"operations\":[{\"name\":\"/s/b\"}]}");
    answer_schema(p, "s/a", SPEC("s/a", ""));
    answer_schema(p, "s/b", SPEC("s/b", ""));
    expect_done(p, ALK_OK, 2);
    ck_assert(reaches(p, "s/a", "s/a"));
    ck_assert(reaches(p, "s/b", "s/b"));
    ck_assert(!reaches(p, "services/x", "services/x"));
    played_free(p);
}
END_TEST

START_TEST(a_prefix_goes_before_each_name)
{
    struct played *p = played_start(ALK_KIND_PEER);

    begin(p, "p/q", NULL);
    answer_list(p, "{\"operations\":[{\"name\":\"s/a\"}]}");
    answer_schema(p, "s/a", SPEC("s/a", ""));
    expect_done(p, ALK_OK, 1);
    ck_assert(reaches(p, "p/q/s/a", "s/a"));
    ck_assert(!reaches(p, "s/a", "s/a"));
    played_free(p);
}
END_TEST

START_TEST(prefixes_that_are_no_names_or_reserved_are_refused)
{
    static const char *const bad[] = {"",         "/",     "a//b",       "..",     "a b",
                                      "services", "peers", "services/x", "peers/y"};
    struct played *p = played_start(ALK_KIND_PEER);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        alk_import_options o = {.size = sizeof o, .namespace_prefix = bad[i]};

        ck_assert_msg(alk_connection_import(p->r->conn, &o, on_imported, &p->im) == ALK_EINVAL,
                      "%s", bad[i]);
    }
    world_turn(p->w);
    ck_assert_int_eq(p->im.done, 0);
    wire_expect_nothing(p->r);
    played_free(p);
}
END_TEST

START_TEST(a_filter_takes_exact_remote_names)
{
    struct played *p = played_start(ALK_KIND_PEER);

    begin(p, "t", "[\"s/b\",\"/s/c\",\"s/none\",\"t/s/a\"]");
    answer_list(p, "{\"operations\":[{\"name\":\"s/a\"},{\"name\":\"s/b\"},{\"name\":\"s/"
                   "bb\"},{\"name\":\"s/c\"}]}");
    answer_schema(p, "s/b", SPEC("s/b", ""));
    answer_schema(p, "s/c", SPEC("s/c", ""));
    expect_done(p, ALK_OK, 2);
    begin(p, NULL, "[]");
    answer_list(p, "{\"operations\":[{\"name\":\"s/a\"}]}");
    expect_done(p, ALK_OK, 0);
    ck_assert(!reaches(p, "t/s/b", "s/b")); /* the set was replaced */
    played_free(p);
}
END_TEST

START_TEST(a_filter_that_is_no_array_of_strings_is_refused)
{
    static const char *const bad[] = {"", "{}", "\"s/a\"", "[1]", "[\"s/a\",null]", "["};
    struct played *p = played_start(ALK_KIND_PEER);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        alk_import_options o = {.size = sizeof o, .operation_filter = bad[i]};

        ck_assert_int_eq(alk_connection_import(p->r->conn, &o, on_imported, &p->im), ALK_EJSON);
    }
    wire_expect_nothing(p->r);
    played_free(p);
}
END_TEST

START_TEST(two_equal_local_names_import_nothing_and_keep_the_old)
{
    struct played *p = played_start(ALK_KIND_PEER);

    import_one(p, "s/old", SPEC("s/old", ""));
    begin(p, NULL, NULL);
    answer_list(
        p, "{\"operations\":[{\"name\":\"s/a b\"},{\"name\":\"s/other\"},{\"name\":\"s/a_b\"}]}");
    answer_schema(p, "s/a b", SPEC("s/a b", ""));
    answer_schema(p, "s/other", SPEC("s/other", ""));
    answer_schema(p, "s/a_b", SPEC("s/a_b", ""));
    expect_done(p, ALK_ECOLLISION, 0);
    ck_assert_ptr_nonnull(strstr(p->im.message, "SAME_PEER_COLLISION"));
    ck_assert(reaches(p, "s/old", "s/old"));
    ck_assert(!reaches(p, "s/other", "s/other"));
    played_free(p);
}
END_TEST

START_TEST(a_name_listed_twice_is_a_collision)
{
    struct played *p = played_start(ALK_KIND_PEER);

    begin(p, NULL, NULL);
    answer_list(p, "{\"operations\":[{\"name\":\"s/a\"},{\"name\":\"s/a\"}]}");
    answer_schema(p, "s/a", SPEC("s/a", ""));
    answer_schema(p, "s/a", SPEC("s/a", ""));
    expect_done(p, ALK_ECOLLISION, 0);
    played_free(p);
}
END_TEST

START_TEST(odd_characters_of_a_remote_name_are_mapped_and_the_remote_hears_its_own)
{
    struct played *p = played_start(ALK_KIND_PEER);

    import_one(p, "s/a b", SPEC("s/a b", ""));
    ck_assert(reaches(p, "s/a_b", "s/a b"));
    import_one(p, "s/a\\u0000\\\"b", SPEC("s/a\\u0000\\\"b", ""));
    ck_assert(reaches(p, "s/a__b", "s/a\\u0000\\\"b"));
    played_free(p);
}
END_TEST

START_TEST(an_operation_gone_meanwhile_is_skipped)
{
    struct played *p = played_start(ALK_KIND_PEER);

    begin(p, NULL, NULL);
    answer_list(p, "{\"operations\":[{\"name\":\"s/gone\"},{\"name\":\"s/a\"}]}");
    refuse_schema(p, "NOT_FOUND");
    answer_schema(p, "s/a", SPEC("s/a", ""));
    expect_done(p, ALK_OK, 1);
    ck_assert(reaches(p, "s/a", "s/a"));
    played_free(p);
}
END_TEST

START_TEST(any_other_failure_ends_the_import_and_keeps_the_old)
{
    static const char *const lists[] = {"[]",
                                        "null",
                                        "{}",
                                        "{\"operations\":{}}",
                                        "{\"operations\":[7]}",
                                        "{\"operations\":[{\"name\":7}]}",
                                        "{\"operations\":[{}]}"};
    static const char *const specs[] = {
        "null",
        "[]",
        "{}",
        "{\"op_type\":\"other\"}",
        "{\"op_type\":7}",
        "{\"op_type\":\"query\",\"access_control\":[]}",
        "{\"op_type\":\"query\",\"access_control\":\"none\"}",
        "{\"op_type\":\"query\",\"access_control\":{\"required_scopes\":\"s:use\"}}",
        "{\"op_type\":\"query\",\"access_control\":{\"required_scopes\":[7]}}",
        "{\"op_type\":\"query\",\"access_control\":{\"authenticated\":\"yes\"}}",
    };
    struct played *p = played_start(ALK_KIND_PEER);
    char *many;

    import_one(p, "s/old", SPEC("s/old", ""));
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        begin(p, NULL, NULL);
        answer_list(p, lists[i]);
        expect_done(p, ALK_EREMOTE, 0);
        ck_assert_uint_gt(strlen(p->im.message), 0);
    }
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        begin(p, NULL, NULL);
        answer_list(p, "{\"operations\":[{\"name\":\"s/a\"}]}");
        answer_schema(p, "s/a", specs[i]);
        world_turn(p->w);
        ck_assert_msg(p->im.rc == ALK_EREMOTE, "%s: %s", specs[i], alk_err_name(p->im.rc));
        expect_done(p, ALK_EREMOTE, 0);
    }
    begin(p, NULL, NULL);
    answer_list(p, "{\"operations\":[{\"name\":\"s/a\"}]}");
    many = repeated("\"a\",", 256,
                    "{\"op_type\":\"query\",\"access_control\":{\"required_scopes\":[", "\"a\"]}}");
    answer_schema(p, "s/a", many);
    free(many);
    expect_done(p, ALK_EREMOTE, 0);
    begin(p, NULL, NULL);
    answer_list(p, "{\"operations\":[{\"name\":\"s/a\"},{\"name\":\"s/b\"}]}");
    answer_schema(p, "s/a", SPEC("s/a", ""));
    refuse_schema(p, "FORBIDDEN");
    expect_done(p, ALK_EREMOTE, 0);
    ck_assert_ptr_nonnull(strstr(p->im.message, "said no"));
    ck_assert(reaches(p, "s/old", "s/old"));
    ck_assert(!reaches(p, "s/a", "s/a"));
    played_free(p);
}
END_TEST

START_TEST(what_a_remote_does_not_mention_is_taken_as_absent)
{
    struct played *p = played_start(ALK_KIND_PEER);

    import_one(p, "s/a",
               "{\"op_type\":\"query\",\"access_control\":{\"required_scopes\":[],\"required_"
               "scopes_any\":[],"
               "\"resource_type\":null,\"resource_action\":null,\"authenticated\":null},"
               "\"error_schemas\":[{\"code\":\"E\",\"description\":null,\"schema\":null,\"http_"
               "status\":null,\"new\":1}],"
               "\"added_later\":true}");
    ck_assert(reaches(p, "s/a", "s/a"));
    import_one(p, "s/b", "{\"op_type\":\"query\"}");
    ck_assert(reaches(p, "s/b", "s/b"));
    played_free(p);
}
END_TEST

START_TEST(an_imported_schema_that_does_not_compile_is_shown_and_not_enforced)
{
    struct played *p = played_start(ALK_KIND_PEER);
    struct asked a;

    import_one(p, "s/a", "{\"op_type\":\"query\",\"input_schema\":{\"type\":\"nonsense\"}}");
    ck_assert(reaches(p, "s/a", "s/a"));
    import_one(p, "s/b", "{\"op_type\":\"query\",\"input_schema\":{\"type\":\"string\"}}");
    nest(&a, &p->root, "s/b", "7", NULL);
    wire_expect_nothing(p->r);
    ck_assert_str_eq(a.code, "INVALID_INPUT");
    asked_free(&a);
    played_free(p);
}
END_TEST

START_TEST(an_imported_operations_access_control_is_checked_here)
{
    struct played *p = played_start(ALK_KIND_PEER);

    import_one(p, "s/a", SPEC("s/a", ",\"required_scopes_any\":[\"s:use\"]"));
    ck_assert(reaches(p, "s/a", "s/a"));
    import_one(p, "s/a", SPEC("s/a", ",\"required_scopes_any\":[\"s:other\"]"));
    ck_assert(!reaches(p, "s/a", "s/a"));
    played_free(p);
}
END_TEST

/* ---- bounds ---------------------------------------------------------------------------------- */

static char *list_of(int from, int to, const char *cursor)
{
    char *s = malloc((size_t)(to - from) * 32 + 100), *at = s;

    ck_assert_ptr_nonnull(s);
    at += sprintf(at, "{\"operations\":[");
    for (int i = from; i < to; i++)
        at += sprintf(at, "%s{\"name\":\"s/op%d\"}", i > from ? "," : "", i);
    at += sprintf(at, "]");
    if (cursor)
        at += sprintf(at, ",\"next_cursor\":\"%s\"", cursor);
    sprintf(at, "}");
    return s;
}

START_TEST(more_than_4096_operations_are_refused)
{
    struct played *p = played_start(ALK_KIND_PEER);
    char *list = list_of(0, 4000, "more");

    begin(p, NULL, NULL);
    answer_list(p, list);
    free(list);
    list = list_of(4000, 4097, NULL);
    answer_list(p, list);
    free(list);
    expect_done(p, ALK_ELIMIT, 0);
    wire_expect_nothing(p->r);
    played_free(p);
}
END_TEST

static char *spec_of(size_t bytes)
{
    char *s = malloc(bytes + 1);
    int n = sprintf(s, "{\"op_type\":\"query\",\"description\":\"");

    memset(s + n, 'd', bytes - (size_t)n);
    memcpy(s + bytes - 2, "\"}", 3);
    return s;
}

/* Anybody may hold one, so what it can make this node keep is less. */
START_TEST(a_key_may_serve_256_operations_of_a_mebibyte)
{
    struct played *p = played_start(ALK_KIND_KEY);
    char *list = list_of(0, 257, NULL), *spec;

    begin(p, NULL, NULL);
    answer_list(p, list);
    free(list);
    expect_done(p, ALK_ELIMIT, 0);
    ck_assert_ptr_nonnull(strstr(p->im.message, "more than 256 operations"));
    spec = spec_of(65536);
    list = list_of(0, 17, NULL);
    begin(p, NULL, NULL);
    answer_list(p, list);
    for (int i = 0; i < 16; i++) {
        char name[32];

        snprintf(name, sizeof name, "s/op%d", i);
        answer_schema(p, name, spec);
    }
    answer_schema(p, "s/op16", "{\"op_type\":\"query\"}");
    expect_done(p, ALK_ELIMIT, 0);
    ck_assert_ptr_nonnull(strstr(p->im.message, "1048576 bytes of specifications"));
    ck_assert_uint_eq(world_stats(p->w).message_bytes, 0);
    free(spec);
    free(list);
    played_free(p);
}
END_TEST

/* A specification whose patterns are many times as large when they are compiled. */
static char *spec_of_patterns(void)
{
    static const char one[] = "{\"pattern\":\"(a|b){1,9}\"},";
    char *s = malloc(65536), *at = s;

    at += sprintf(at, "{\"op_type\":\"query\",\"input_schema\":{\"allOf\":[");
    while (at - s < 60000)
        at += sprintf(at, "%s", one);
    sprintf(at - 1, "]}}");
    return s;
}

/* What is kept is counted, and not its text: for the connection, and in the node's budget, which
 * gets all of it back. */
START_TEST(what_a_remote_makes_us_keep_is_bounded)
{
    struct played *p = played_start(ALK_KIND_KEY);
    char *list = list_of(0, 16, NULL), *spec = spec_of_patterns();
    uint64_t most = 0;

    begin(p, NULL, NULL);
    answer_list(p, list);
    for (int i = 0; i < 16 && !p->im.done; i++) {
        char name[32];

        snprintf(name, sizeof name, "s/op%d", i);
        answer_schema(p, name, spec);
        world_turn(p->w);
        most = world_stats(p->w).message_bytes > most ? world_stats(p->w).message_bytes : most;
    }
    expect_done(p, ALK_ELIMIT, 0);
    ck_assert_msg(strstr(p->im.message, "4194304 bytes of compiled operations") != NULL, "%s",
                  p->im.message);
    ck_assert_uint_gt(most, 1000000);
    ck_assert_uint_le(most, 6u << 20);
    ck_assert_uint_eq(world_stats(p->w).message_bytes, 0);
    free(spec);
    free(list);
    played_free(p);
}
END_TEST

START_TEST(what_is_kept_is_charged_as_long_as_it_is_kept)
{
    struct played *p = played_start(ALK_KIND_PEER);
    char *spec = spec_of(65536);

    import_one(p, "s/large", spec);
    ck_assert_uint_ge(world_stats(p->w).message_bytes, 65536);
    import_one(p, "s/small", "{\"op_type\":\"query\"}");
    ck_assert_uint_lt(world_stats(p->w).message_bytes, 10000);
    import_one(p, "s/large", spec);
    alk_connection_close(p->r->conn, ALK_CLOSE_SHUTDOWN);
    alk_connection_unref(p->r->conn);
    p->r->conn = NULL;
    world_turn(p->w);
    ck_assert_uint_eq(world_stats(p->w).message_bytes, 0);
    p->r->conn = alk_connection_ref(p->client->conn);
    free(spec);
    played_free(p);
}
END_TEST

START_TEST(schemas_are_fetched_side_by_side_but_not_too_many)
{
    struct played *p = played_start(ALK_KIND_PEER);
    char *list = list_of(0, 4096, NULL), id[40][64], *spec = SPEC("s/op", "");
    const char *input;
    int done = 0, open = 0, asked = 0;

    begin(p, NULL, NULL);
    answer_list(p, list);
    free(list);
    world_turn(p->w);
    while (done < 4096) {
        while (p->r->read < p->r->count) {
            asked_for(p, "services/schema", id[open++], &input);
            asked++;
            ck_assert_int_le(open, 32);
        }
        ck_assert_int_gt(open, 0);
        if (asked < 4096)
            ck_assert_int_eq(open, 32);
        answer(p, id[--open], spec); /* the youngest first */
        done++;
        world_turn(p->w);
    }
    expect_done(p, ALK_OK, 4096);
    ck_assert(reaches(p, "s/op4095", "s/op4095"));
    played_free(p);
}
END_TEST

START_TEST(a_specification_above_64_kib_or_8_mib_in_all_is_refused)
{
    struct played *p = played_start(ALK_KIND_PEER);
    char *list, *spec = spec_of(65536), *large = spec_of(65537), name[32];

    import_one(p, "s/fits", spec);
    begin(p, NULL, NULL);
    answer_list(p, "{\"operations\":[{\"name\":\"s/a\"}]}");
    answer_schema(p, "s/a", large);
    expect_done(p, ALK_ELIMIT, 0);
    ck_assert_ptr_nonnull(strstr(p->im.message, "s/a"));
    list = list_of(0, 129, NULL);
    begin(p, NULL, NULL);
    answer_list(p, list);
    for (int i = 0; i < 128; i++) {
        snprintf(name, sizeof name, "s/op%d", i);
        answer_schema(p, name, spec);
    }
    world_turn(p->w);
    ck_assert_int_eq(p->im.done, 0);
    answer_schema(p, "s/op128", "{\"op_type\":\"query\"}");
    expect_done(p, ALK_ELIMIT, 0);
    ck_assert(reaches(p, "s/fits", "s/fits"));
    free(list);
    free(spec);
    free(large);
    played_free(p);
}
END_TEST

START_TEST(a_remote_that_lists_for_ever_is_cut_off)
{
    static const char *const pages[] = {
        "{\"operations\":[{\"name\":\"services/x\"}],\"next_cursor\":\"again\"}",
        "{\"operations\":[],\"next_cursor\":\"again\"}",
        "{\"operations\":[{\"name\":\"s/unwanted\"}],\"next_cursor\":\"again\"}",
    };
    struct played *p = played_start(ALK_KIND_PEER);

    for (size_t i = 0; i < 3; i++) {
        int n = 0;

        begin(p, NULL, "[\"s/wanted\"]");
        while (!p->im.done && n < 10000) {
            world_turn(p->w);
            if (p->r->read == p->r->count)
                break;
            answer_list(p, pages[i]);
            n++;
        }
        world_turn(p->w);
        ck_assert_msg(p->im.done, "page %zu: goes on after %d pages", i, n);
    }
    played_free(p);
}
END_TEST

/* ---- life ------------------------------------------------------------------------------------ */

START_TEST(one_import_at_a_time_and_its_end_is_told_once_when_the_connection_goes)
{
    struct played *p = played_start(ALK_KIND_PEER);
    alk_import_options o = {.size = sizeof o};

    begin(p, NULL, NULL);
    ck_assert_int_eq(alk_connection_import(p->r->conn, &o, on_imported, &p->im), ALK_EAGAIN);
    answer_list(p, "{\"operations\":[{\"name\":\"s/a\"},{\"name\":\"s/b\"}]}");
    answer_schema(p, "s/a", SPEC("s/a", ""));
    alk_connection_close(p->r->conn, ALK_CLOSE_SHUTDOWN);
    expect_done(p, ALK_ECLOSED, 0);
    ck_assert_int_eq(alk_connection_import(p->r->conn, &o, on_imported, &p->im), ALK_ECLOSED);
    ck_assert_int_eq(alk_connection_register_imported(p->r->conn, NULL, 0), ALK_ECLOSED);
    world_turn(p->w);
    ck_assert_int_eq(p->im.done, 1);
    played_free(p);
}
END_TEST

START_TEST(an_import_that_is_not_answered_ends_with_its_deadline)
{
    struct played *p = played_start(ALK_KIND_PEER);

    begin(p, NULL, NULL);
    world_turn(p->w);
    world_advance(p->w, 30000);
    expect_done(p, ALK_EREMOTE, 0);
    played_free(p);
}
END_TEST

START_TEST(a_swap_leaves_running_calls_alone)
{
    struct played *p = played_start(ALK_KIND_PEER);
    struct asked a, b;
    char id[64];

    import_one(p, "s/a", SPEC("s/a", ""));
    nest(&a, &p->root, "s/a", "1", NULL);
    snprintf(id, sizeof id, "%s", wire_id(wire_next(p->r)));
    import_one(p, "s/b", SPEC("s/b", ""));
    nest(&b, &p->root, "s/a", "1", NULL);
    world_turn(p->w);
    ck_assert_str_eq(b.code, "NOT_FOUND");
    ck_assert_int_eq(a.ends, 0);
    answer(p, id, "\"late\"");
    world_turn(p->w);
    ck_assert_str_eq(asked_outcome(&a), "ok \"late\"");
    asked_free(&a);
    asked_free(&b);
    played_free(p);
}
END_TEST

START_TEST(a_swap_between_start_and_queue_leaves_the_call_alone)
{
    struct played *p = played_start(ALK_KIND_PEER);
    struct asked a;
    char id[64];

    import_one(p, "s/a", SPEC("s/a", ""));
    begin(p, NULL, "[]");
    world_turn(p->w);
    answer_list(p, "{\"operations\":[]}");
    nest(&a, &p->root, "s/a", "1", NULL); /* queued; in the same turn the set goes */
    snprintf(id, sizeof id, "%s", wire_id(wire_next(p->r)));
    expect_done(p, ALK_OK, 0);
    answer(p, id, "2");
    world_turn(p->w);
    ck_assert_str_eq(asked_outcome(&a), "ok 2");
    asked_free(&a);
    played_free(p);
}
END_TEST

START_TEST(operations_registered_by_hand_stay_and_come_first)
{
    struct played *p = played_start(ALK_KIND_PEER);
    alk_operation ops[2];

    op_fill(&ops[0], &(struct op){.name = "s/hand"});
    op_fill(&ops[1], &(struct op){.name = "s/hand"});
    ck_assert_int_eq(alk_connection_register_imported(p->r->conn, ops, 2), ALK_EEXIST);
    ck_assert(!reaches(p, "s/hand", "s/hand"));
    ops[1].name = "s//bad";
    ck_assert_int_eq(alk_connection_register_imported(p->r->conn, ops, 2), ALK_EINVAL);
    ck_assert_int_eq(alk_connection_register_imported(p->r->conn, ops, 1), ALK_OK);
    ck_assert_int_eq(alk_connection_register_imported(p->r->conn, ops, 1), ALK_EEXIST);
    ck_assert(reaches(p, "s/hand", "s/hand"));
    import_one(p, "s/a", SPEC("s/a", ""));
    ck_assert(reaches(p, "s/hand", "s/hand"));
    ck_assert(reaches(p, "s/a", "s/a"));
    played_free(p);
}
END_TEST

/* ---- announce -------------------------------------------------------------------------------- */

static int lists_asked(struct played *p)
{
    int n = 0;

    world_turn(p->w);
    p->w->now++; /* a timer of now is due in the next turn of a later time */
    world_turn(p->w);
    while (p->r->read < p->r->count) {
        const char *e = p->r->sent[p->r->read++];

        if (strstr(e, "\"operationId\":\"/services/list\"")) {
            answer(p, wire_id(e), "{\"operations\":[]}");
            n++;
        }
        world_turn(p->w);
    }
    return n;
}

START_TEST(announced_imports_are_a_second_apart)
{
    struct played *p = played_start(ALK_KIND_PEER);
    int n;

    wire_request(p->r, "1", "services/announce", "{}");
    ck_assert_int_eq(lists_asked(p), 1);
    for (int i = 0; i < 50; i++) {
        char id[16];

        snprintf(id, sizeof id, "a%d", i);
        wire_request(p->r, id, "services/announce", "{}");
    }
    ck_assert_int_eq(lists_asked(p), 0);
    world_advance(p->w, 999);
    ck_assert_int_eq(lists_asked(p), 0);
    world_advance(p->w, 1);
    ck_assert_int_eq(lists_asked(p), 1);
    n = 0;
    for (int i = 0; i < 100; i++) {
        char id[16];

        snprintf(id, sizeof id, "b%d", i);
        wire_request(p->r, id, "services/announce", "{}");
        world_advance(p->w, 100);
        n += lists_asked(p);
    }
    ck_assert_int_le(n, 10);
    ck_assert_int_ge(n, 9);
    played_free(p);
}
END_TEST

START_TEST(what_is_announced_during_an_import_is_imported_after_it)
{
    struct played *p = played_start(ALK_KIND_PEER);
    const char *input;
    char id[64];

    wire_request(p->r, "1", "services/announce", "{}");
    p->w->now++;
    asked_for(p, "services/list", id, &input);
    wire_request(p->r, "2", "services/announce", "{}");
    wire_expect_nothing(p->r);
    world_advance(p->w, 5000);
    wire_expect_nothing(p->r); /* one at a time, and answered when it is done */
    answer(p, id, "{\"operations\":[]}");
    wire_expect(p->r, RESPONDED("1", ANNOUNCED));
    p->w->now++;
    asked_for(p, "services/list", id, &input);
    wire_expect_nothing(p->r);
    answer(p, id, "{\"operations\":[]}");
    wire_expect(p->r, RESPONDED("2", ANNOUNCED));
    world_advance(p->w, 5000);
    ck_assert_int_eq(lists_asked(p), 0);
    played_free(p);
}
END_TEST

START_TEST(an_announcement_is_not_lost_to_an_import_by_hand)
{
    struct played *p = played_start(ALK_KIND_PEER);
    const char *input;
    char id[64];

    wire_request(p->r, "1", "services/announce", "{}");
    ck_assert_int_eq(lists_asked(p), 1);
    wire_request(p->r, "2", "services/announce", "{}"); /* due in a second */
    wire_expect_nothing(p->r);
    world_advance(p->w, 500);
    begin(p, NULL, NULL);
    asked_for(p, "services/list", id, &input);
    world_advance(p->w, 600);
    answer(p, id, "{\"operations\":[]}");
    world_turn(p->w);
    world_advance(p->w, 2000);
    ck_assert_int_eq(lists_asked(p), 1);
    played_free(p);
}
END_TEST

START_TEST(an_announcement_fails_with_what_its_import_failed_with)
{
    struct played *p = played_start(ALK_KIND_PEER);
    const char *input;
    char id[64];

    wire_request(p->r, "1", "services/announce", "{}");
    p->w->now++;
    asked_for(p, "services/list", id, &input);
    answer(p, id, "{\"operations\":7}");
    world_turn(p->w);
    ck_assert_ptr_nonnull(strstr(wire_next(p->r), "\"code\":\"IMPORT_FAILED\""));
    wire_request(p->r, "2", "services/announce", "{}");
    world_turn(p->w);
    wire_abort(p->r, "2");
    world_advance(p->w, 1000);
    ck_assert_int_eq(lists_asked(p), 1); /* nobody waits for it any more */
    wire_expect_nothing(p->r);
    played_free(p);
}
END_TEST

START_TEST(announcing_needs_an_identity_and_a_connection)
{
    struct played *p = played_start(ALK_KIND_PEER);
    struct asked a;

    wire_request(p->client, "1", "services/announce", "{}");
    wire_expect_error(p->client, "1", "FORBIDDEN", "authentication required");
    nest(&a, &p->root, "services/announce", "{}", NULL);
    world_turn(p->w);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(a.why, ALK_END_FAULT);
    ck_assert_int_eq(lists_asked(p), 0);
    asked_free(&a);
    played_free(p);
}
END_TEST

START_TEST(without_memory_an_announced_import_waits_and_does_not_spin)
{
    struct played *p = played_start(ALK_KIND_PEER);

    wire_request(p->r, "1", "services/announce", "{}");
    ck_assert_int_eq(lists_asked(p), 1);
    wire_request(p->r, "2", "services/announce", "{}");
    world_turn(p->w);
    p->r->read = p->r->count;
    p->w->memory.fail_in = 1;
    p->w->memory.fail_all = true;
    p->w->now += 2000 * MS;
    alk_dispatcher_turn(p->w->d, p->w->now); /* comes back */
    p->w->memory.fail_in = 0;
    p->w->memory.fail_all = p->w->memory.failed = false;
    world_advance(p->w, 3000);
    ck_assert_int_eq(lists_asked(p), 1);
    played_free(p);
}
END_TEST

/* Whatever allocation fails, an operation is never imported without its access control. */
START_TEST(short_memory_never_opens_an_operation)
{
    for (long fail = 1; fail < 400; fail++) {
        struct played *p = played_start(ALK_KIND_PEER);
        alk_import_options o = {.size = sizeof o};
        struct asked a;
        alk_call_options co;
        bool through = false;

        p->w->memory.fail_in = fail;
        p->w->memory.count = 0;
        if (!alk_connection_import(p->r->conn, &o, on_imported, &p->im)) {
            for (int i = 0; i < 3 && !p->im.done && !p->r->closes; i++) {
                const char *e;
                char id[64];

                alk_dispatcher_turn(p->w->d, p->w->now);
                if (p->r->read == p->r->count)
                    continue;
                e = p->r->sent[p->r->read++];
                snprintf(id, sizeof id, "%s", wire_id(e));
                if (strstr(e, "services/list")) {
                    char text[300];

                    snprintf(text, sizeof text,
                             "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":{"
                             "\"operations\":[{\"name\":\"s/a\"}]}}}",
                             id);
                    alk_connection_feed(p->r->conn, 0, TEXT(text));
                } else {
                    char text[900];

                    snprintf(text, sizeof text,
                             "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":{"
                             "\"op_type\":\"query\","
                             "\"input_schema\":{\"type\":\"object\",\"properties\":{\"deep\":{\"$"
                             "ref\":\"#\"}}},"
                             "\"access_control\":{\"required_scopes\":[\"never:held\"],"
                             "\"authenticated\":true}}}}",
                             id);
                    alk_connection_feed(p->r->conn, 0, TEXT(text));
                }
            }
            world_turn(p->w);
        }
        through = !p->w->memory.failed;
        p->w->memory.fail_in = 0;
        p->w->memory.failed = false;
        world_turn(p->w);
        p->r->read = p->r->count;
        asked_options(&a, &co);
        if (p->root.ends == 0) {
            ck_assert_int_eq(alk_call_invoke(p->root.call, TEXT("s/a"), TEXT("{}"), &co, &a.call),
                             ALK_OK);
            world_turn(p->w);
            if (p->r->closes == 0)
                ck_assert_uint_eq(p->r->read, p->r->count);
            ck_assert_int_eq(a.ends, 1);
            ck_assert(
                !strcmp(a.code, p->im.done && p->im.rc == ALK_OK ? "FORBIDDEN" : "NOT_FOUND"));
        }
        asked_free(&a);
        played_free(p);
        if (through)
            return;
    }
    ck_abort_msg("the import never went through");
}
END_TEST

MAIN("import", all_pages_are_read_and_services_and_peers_are_left_out,
     a_prefix_goes_before_each_name, prefixes_that_are_no_names_or_reserved_are_refused,
     a_filter_takes_exact_remote_names, a_filter_that_is_no_array_of_strings_is_refused,
     two_equal_local_names_import_nothing_and_keep_the_old, a_name_listed_twice_is_a_collision,
     odd_characters_of_a_remote_name_are_mapped_and_the_remote_hears_its_own,
     an_operation_gone_meanwhile_is_skipped, any_other_failure_ends_the_import_and_keeps_the_old,
     what_a_remote_does_not_mention_is_taken_as_absent,
     an_imported_schema_that_does_not_compile_is_shown_and_not_enforced,
     an_imported_operations_access_control_is_checked_here, more_than_4096_operations_are_refused,
     a_key_may_serve_256_operations_of_a_mebibyte, what_a_remote_makes_us_keep_is_bounded,
     what_is_kept_is_charged_as_long_as_it_is_kept,
     schemas_are_fetched_side_by_side_but_not_too_many,
     a_specification_above_64_kib_or_8_mib_in_all_is_refused,
     a_remote_that_lists_for_ever_is_cut_off,
     one_import_at_a_time_and_its_end_is_told_once_when_the_connection_goes,
     an_import_that_is_not_answered_ends_with_its_deadline, a_swap_leaves_running_calls_alone,
     a_swap_between_start_and_queue_leaves_the_call_alone,
     operations_registered_by_hand_stay_and_come_first, announced_imports_are_a_second_apart,
     what_is_announced_during_an_import_is_imported_after_it,
     an_announcement_is_not_lost_to_an_import_by_hand,
     an_announcement_fails_with_what_its_import_failed_with,
     announcing_needs_an_identity_and_a_connection,
     without_memory_an_announced_import_waits_and_does_not_spin,
     short_memory_never_opens_an_operation)
