/* Outbound credentials: who gets them, that they are overwritten before their memory is given
 * back, and that nothing that leaves a node ever holds one.
 *
 * The library's default allocator is taken over: lib/base/mem.c is compiled into this file with a
 * realloc and a free that look into every block before it goes. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static const char *watched; /* must not be in memory that is given back; NULL: nothing is watched */
static int found, looked;

static void look(void *ptr)
{
    size_t len = watched ? strlen(watched) : 0;
    const char *p = ptr;

    looked++;
    for (size_t i = 0, n = ptr ? malloc_usable_size(ptr) : 0; len && i + len <= n; i++)
        found += !memcmp(p + i, watched, len);
}

static void watched_free(void *ptr)
{
    look(ptr);
    free(ptr);
}

/* Always moves, as realloc may. */
static void *watched_realloc(void *ptr, size_t size)
{
    void *p = malloc(size);
    size_t old = ptr ? malloc_usable_size(ptr) : 0;

    if (!p)
        return NULL;
    if (ptr)
        memcpy(p, ptr, old < size ? old : size);
    watched_free(ptr);
    return p;
}

#define realloc watched_realloc
#define free watched_free
#include "base/mem.c"
#undef realloc
#undef free

#include "support/suite.h"
#include "support/wire.h"

#include <stdio.h>

#define SECRET "s3cr3t-0f-th3-n0d3"

static alk_capabilities *with_secret(const char *name)
{
    alk_capabilities *caps = alk_capabilities_new();

    ck_assert_ptr_nonnull(caps);
    ck_assert_int_eq(alk_capabilities_set(caps, name, TEXT(SECRET)), ALK_OK);
    return caps;
}

/* ---- overwritten ----------------------------------------------------------------------------- */

START_TEST(the_watch_sees_what_is_given_back)
{
    struct mem mem;
    char *p;

    watched = SECRET;
    mem_init(&mem, NULL, NULL);
    p = mem_dup(&mem, TEXT("before " SECRET " behind"));
    mem_free(&mem, p);
    ck_assert_int_eq(found, 1);
}
END_TEST

START_TEST(secrets_are_overwritten_when_freed)
{
    alk_capabilities *caps;

    watched = SECRET;
    caps = with_secret("a");
    alk_capabilities_free(caps);
    ck_assert_int_gt(looked, 1);
    ck_assert_int_eq(found, 0);
}
END_TEST

START_TEST(secrets_are_overwritten_when_replaced)
{
    alk_capabilities *caps;

    watched = SECRET;
    caps = with_secret("a");
    ck_assert_int_eq(alk_capabilities_set(caps, "a", "new", 3), ALK_OK);
    ck_assert_int_eq(found, 0);
    ck_assert_int_eq(alk_capabilities_set(caps, "a", TEXT(SECRET SECRET)), ALK_OK);
    ck_assert_int_eq(alk_capabilities_set(caps, "a", "", 0), ALK_OK);
    ck_assert_int_eq(found, 0);
    alk_capabilities_free(caps);
    ck_assert_int_eq(found, 0);
}
END_TEST

START_TEST(no_copy_stays_behind_when_the_table_grows)
{
    alk_capabilities *caps;
    char name[16];

    watched = SECRET;
    caps = with_secret("first");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n%d", i);
        ck_assert_int_eq(alk_capabilities_set(caps, name, TEXT(SECRET)), ALK_OK);
    }
    ck_assert_int_eq(found, 0);
    alk_capabilities_free(caps);
    ck_assert_int_eq(found, 0);
}
END_TEST

START_TEST(the_registrys_copy_is_overwritten_when_the_registry_goes)
{
    alk_registry *reg;
    alk_operation op;

    watched = SECRET;
    reg = alk_registry_new();
    alk_operation_init(&op, sizeof op);
    op.name = "t/x";
    op.handler = serve_echo;
    op.capabilities = with_secret("t");
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    /* Refused with a copy made, and before: neither may leave one. */
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_EEXIST);
    op.name = "services/x";
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_EINVAL);
    op.name = "t/y";
    op.output_schema = "{\"type\":5}";
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_ESCHEMA);
    alk_capabilities_free((alk_capabilities *)op.capabilities);
    ck_assert_int_eq(found, 0);
    alk_registry_unref(reg);
    ck_assert_int_eq(found, 0);
}
END_TEST

/* ---- given to the handler -------------------------------------------------------------------- */

struct seen {
    char text[64];
    size_t len;
    bool other;
};

static int look_up(alk_call *call, void *ud)
{
    struct seen *s = ud;
    const char *secret = alk_call_capability(call, "t", &s->len);
    size_t len = 99;

    if (secret)
        memcpy(s->text, secret, s->len);
    s->other = alk_call_capability(call, "other", &len) != NULL;
    ck_assert_uint_eq(len, 0);
    return alk_call_reply(call, "true", 4);
}

START_TEST(a_handler_gets_the_secrets_of_its_own_registration_only)
{
    struct world *w = world_new();
    struct seen with = {.len = 0}, without = {.len = 0};
    alk_operation op;
    struct wire *r;

    alk_operation_init(&op, sizeof op);
    op.name = "t/with";
    op.handler = look_up;
    op.ud = &with;
    op.capabilities = with_secret("t");
    world_add_full(w, &op);
    alk_capabilities_free((alk_capabilities *)op.capabilities);
    world_add(w, "t/without", ALK_QUERY, look_up, &without);
    world_start(w);
    r = wire_open(w, NULL);
    wire_request(r, "1", "t/with", "null");
    wire_expect(r, RESPONDED("1", "true"));
    wire_request(r, "2", "t/without", "null");
    wire_expect(r, RESPONDED("2", "true"));
    ck_assert_uint_eq(with.len, strlen(SECRET));
    ck_assert_str_eq(with.text, SECRET);
    ck_assert(!with.other);
    ck_assert_uint_eq(without.len, 0);
    ck_assert(!without.other);
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(secrets_are_bytes_and_a_registration_keeps_the_state_at_its_time)
{
    struct world *w = world_new();
    struct seen s = {.len = 0};
    alk_capabilities *caps = alk_capabilities_new();
    alk_operation op;
    struct wire *r;

    ck_assert_int_eq(alk_capabilities_set(caps, "t", "a\0b", 3), ALK_OK);
    ck_assert_int_eq(alk_capabilities_set(caps, "", "x", 1), ALK_EINVAL);
    alk_operation_init(&op, sizeof op);
    op.name = "t/x";
    op.handler = look_up;
    op.ud = &s;
    op.capabilities = caps;
    world_add_full(w, &op);
    ck_assert_int_eq(alk_capabilities_set(caps, "t", "later", 5), ALK_OK);
    ck_assert_int_eq(alk_capabilities_set(caps, "other", "later", 5), ALK_OK);
    alk_capabilities_free(caps);
    world_start(w);
    r = wire_open(w, NULL);
    wire_request(r, "1", "t/x", "null");
    wire_expect(r, RESPONDED("1", "true"));
    ck_assert_uint_eq(s.len, 3);
    ck_assert_mem_eq(s.text, "a\0b", 3);
    ck_assert(!s.other);
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- never in any output --------------------------------------------------------------------- */

static int fail_all_ways(alk_call *call, void *ud)
{
    int *n = ud;
    alk_fault f = {.size = sizeof f, .code = "OWN", .message = "no", .details = "{}"};

    return ++*n == 1 ? alk_call_fail(call, &f)
           : *n == 2 ? ALK_ESYSTEM
                     : alk_call_reply(call, "{}", 2);
}

START_TEST(nothing_that_leaves_the_node_has_a_secret_in_it)
{
    static const char *const requests[][2] = {
        {"t/x", "{}"},
        {"t/x", "{}"},
        {"t/x", "{}"},
        {"t/x", "5"},
        {"t/none", "{}"},
        {"services/list", "{}"},
        {"services/schema", "{\"name\":\"t/x\"}"},
        {"services/schema", "{\"name\":\"t/x\",\"peer\":\"local\"}"},
        {"services/list-peers", "{}"},
    };
    struct world *w = world_new();
    alk_connection_options o = {.size = sizeof o};
    alk_operation op;
    struct wire *r;
    int n = 0;

    alk_operation_init(&op, sizeof op);
    op.name = "t/x";
    op.handler = fail_all_ways;
    op.ud = &n;
    op.input_schema = "{\"type\":\"object\"}";
    op.authority = "{\"label\":\"x\",\"scopes\":[\"a\"]}";
    op.capabilities = with_secret("t");
    world_add_full(w, &op);
    ck_assert_int_eq(alk_registry_add(w->reg, &op), ALK_EEXIST);
    ck_assert_ptr_null(strstr(alk_registry_error(w->reg), SECRET));
    alk_capabilities_free((alk_capabilities *)op.capabilities);
    world_start(w);
    o.identity = identity_of("someone", "[\"peers:list\"]");
    r = wire_open(w, &o);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        char id[16];

        snprintf(id, sizeof id, "%zu", i);
        wire_request(r, id, requests[i][0], requests[i][1]);
    }
    world_turn(w);
    ck_assert_uint_eq(r->count, sizeof requests / sizeof requests[0]);
    for (size_t i = 0; i < r->count; i++) {
        ck_assert_ptr_null(strstr(r->sent[i], SECRET));
        ck_assert_ptr_null(strstr(r->sent[i], "apabilit"));
    }
    ck_assert_uint_gt(w->log.len, 0);
    ck_assert(!world_logged(w, SECRET));
    wire_free(r);
    alk_identity_unref(o.identity);
    world_free(w);
}
END_TEST

MAIN("capabilities", the_watch_sees_what_is_given_back, secrets_are_overwritten_when_freed,
     secrets_are_overwritten_when_replaced, no_copy_stays_behind_when_the_table_grows,
     the_registrys_copy_is_overwritten_when_the_registry_goes,
     a_handler_gets_the_secrets_of_its_own_registration_only,
     secrets_are_bytes_and_a_registration_keeps_the_state_at_its_time,
     nothing_that_leaves_the_node_has_a_secret_in_it)
