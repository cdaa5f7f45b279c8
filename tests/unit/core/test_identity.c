/* Identities: what their text may look like, what becomes of it, and which rights it gives. */
#include "core/identity.h"
#include "support/suite.h"

#include <alknet/alknet.h>

#include <string.h>

#define TEXT(s) (s), strlen(s)

static const struct {
    const char *given, *kept; /* NULL: refused */
} texts[] = {
    {"{\"id\":\"a\"}", "{\"id\":\"a\",\"scopes\":[],\"resources\":{}}"},
    {"{\"id\":\"a\",\"scopes\":null,\"resources\":null}",
     "{\"id\":\"a\",\"scopes\":[],\"resources\":{}}"},
    {"{\"id\":\"a\",\"scopes\":[],\"resources\":{}}",
     "{\"id\":\"a\",\"scopes\":[],\"resources\":{}}"},
    {"{\"resources\":{\"d\":[]},\"scopes\":[\"x\"],\"id\":\"\\u0061\"}",
     "{\"id\":\"a\",\"scopes\":[\"x\"],\"resources\":{\"d\":[]}}"},
    {"{\"id\":\"a\",\"scopes\":[\"x\",\"y\"],\"resources\":{\"d\":[\"1\",\"2\"],\"e\":[\"\"]}}",
     "{\"id\":\"a\",\"scopes\":[\"x\",\"y\"],\"resources\":{\"d\":[\"1\",\"2\"],\"e\":[\"\"]}}"},
    {"", NULL},
    {"{}", NULL},
    {"[]", NULL},
    {"{\"id\":5}", NULL},
    {"{\"id\":[1,2]}", NULL},
    {"{\"id\":\"a\",\"scope\":[]}", NULL},
    {"{\"id\":\"a\",\"scopes\":{}}", NULL},
    {"{\"id\":\"a\",\"scopes\":\"x\"}", NULL},
    {"{\"id\":\"a\",\"scopes\":[\"x\",1]}", NULL},
    {"{\"id\":\"a\",\"scopes\":[[1,2]]}", NULL},
    {"{\"id\":\"a\",\"resources\":[]}", NULL},
    {"{\"id\":\"a\",\"resources\":{\"d\":\"1\"}}", NULL},
    {"{\"id\":\"a\",\"resources\":{\"d\":null}}", NULL},
    {"{\"id\":\"a\",\"resources\":{\"d\":[1]}}", NULL},
    {"{\"id\":\"a\",\"resources\":{\"d\":[],\"e\":5}}", NULL},
};

START_TEST(an_identity_is_kept_in_one_form_or_refused)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        alk_identity *id = alk_identity_new(TEXT(texts[i].given));
        const char *json;
        size_t len;

        ck_assert_msg(!id == !texts[i].kept, "%s", texts[i].given);
        if (!id)
            continue;
        json = alk_identity_json(id, &len);
        ck_assert_uint_eq(len, strlen(texts[i].kept));
        ck_assert_mem_eq(json, texts[i].kept, len);
        ck_assert_str_eq(alk_identity_id(id), "a");
        alk_identity_unref(id);
    }
}
END_TEST

START_TEST(a_resource_is_owned_by_its_whole_type_and_id)
{
    static const struct {
        const char *type, *id;
        bool owned;
    } rows[] = {
        {"doc", "1", true},  {"doc", "2", false},  {"dot", "2", true}, {"dot", "1", false},
        {"do", "1", false},  {"docs", "1", false}, {"doc", "", false}, {"doc", "11", false},
        {"doc", "12", true}, {"non", "1", false},  {"", "1", false},
    };
    alk_identity *id = alk_identity_new(
        TEXT("{\"id\":\"a\",\"resources\":{\"doc\":[\"1\",\"12\"],\"dot\":[\"2\"],\"non\":[]}}"));

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(identity_owns(id, TEXT(rows[i].type), TEXT(rows[i].id)) == rows[i].owned,
                      "%s %s", rows[i].type, rows[i].id);
    alk_identity_unref(id);
}
END_TEST

START_TEST(a_star_stands_for_a_whole_namespace_of_scopes)
{
    static const struct {
        const char *scope;
        int has;
    } rows[] = {{"a:read", 1}, {"a:", 0},    {"a", 0},     {"ab:read", 0}, {"b:x", 1},
                {"b:y", 0},    {"b:x:y", 0}, {"c:d:e", 0}, {"c:d:*", 1},   {"", 0}};
    alk_identity *id =
        alk_identity_new(TEXT("{\"id\":\"a\",\"scopes\":[\"a:*\",\"b:x\",\"c:d:*\",\"*\"]}"));

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(alk_identity_has_scope(id, TEXT(rows[i].scope)) == rows[i].has, "%s",
                      rows[i].scope);
    alk_identity_unref(id);
}
END_TEST

/* The rule in its plainest form. */
static bool gives(const char *held, const char *scope)
{
    const char *colon = strchr(held, ':');
    size_t space = colon ? (size_t)(colon - held) + 1 : 0;

    return !strcmp(held, scope) ||
           (colon && !strcmp(colon, ":*") && !strncmp(held, scope, space) && scope[space]);
}

/* Up to five of the characters that matter. */
static void draw(char text[8], unsigned *random)
{
    size_t len = 5;

    for (size_t i = 0; i < 5; i++) {
        *random = *random * 1103515245u + 12345u;
        text[i] = "ab:*"[(*random >> 16) % 4];
        if ((*random >> 20) % 5 == 0 && i < len)
            len = i;
    }
    text[len] = 0;
}

START_TEST(however_many_scopes_are_held_each_gives_what_it_gives_alone)
{
    unsigned random = 1;

    for (size_t round = 0; round < 300; round++) {
        char held[40][8], json[600], *p = json;
        size_t count = round % 40;
        alk_identity *id;

        p += sprintf(p, "{\"id\":\"a\",\"scopes\":[");
        for (size_t i = 0; i < count; i++) {
            draw(held[i], &random);
            p += sprintf(p, "%s\"%s\"", i ? "," : "", held[i]);
        }
        strcpy(p, "]}");
        id = alk_identity_new(TEXT(json));
        for (int i = 0; i < 100; i++) {
            char scope[8];
            int expected = 0;

            draw(scope, &random);
            for (size_t k = 0; k < count; k++)
                expected |= gives(held[k], scope);
            ck_assert_msg(alk_identity_has_scope(id, TEXT(scope)) == expected, "%s: %s", json,
                          scope);
        }
        alk_identity_unref(id);
    }
}
END_TEST

MAIN("identity", an_identity_is_kept_in_one_form_or_refused,
     a_resource_is_owned_by_its_whole_type_and_id, a_star_stands_for_a_whole_namespace_of_scopes,
     however_many_scopes_are_held_each_gives_what_it_gives_alone)
