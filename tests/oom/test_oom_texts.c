/* Each allocation fails in turn, with texts of every length in front: so each of the small pieces that an arena is asked for
 * is once the one that needs a new chunk, which is not there. */
#include "oom/oom.h"

#include "core/import.h"
#include "base/json.h"

#define LONGEST 1100

static char padding[LONGEST + 1];

static const char *padded(size_t n)
{
    memset(padding, 'p', n);
    padding[n] = 0;
    return padding;
}

static size_t pad;

static bool identity_scenario(void)
{
    char json[LONGEST + 400];
    alk_identity *id;
    const char *text;
    size_t len;

    snprintf(json, sizeof json,
             "{\"id\":\"a%s\",\"scopes\":[\"one\",\"two\"],\"resources\":{\"doc\":[\"1\",\"2\"],"
             "\"box\":[\"3\"]}}",
             padded(pad));
    arm();
    id = alk_identity_new(TEXT(json));
    must(id || failed());
    disarm();
    if (!id)
        return false;
    text = alk_identity_json(id, &len);
    must(len == strlen(json) && !memcmp(text, json, len));
    must(alk_identity_has_scope(id, TEXT("two")) && !alk_identity_has_scope(id, TEXT("three")));
    alk_identity_unref(id);
    return true;
}

START_TEST(an_identity_is_whole_or_not_there)
{
    for (pad = 0; pad < LONGEST; pad += 16)
        exhaust(identity_scenario);
}
END_TEST

#define OPERATION_ERRORS                                                                           \
    "[{\"code\":\"A\",\"schema\":{\"type\":\"null\"},\"http_status\":410},{\"code\":\"B\"}]"

/* What a remote says of an operation: what is missing for want of memory must not look as if it had not been said. */
static bool spec_scenario(void)
{
    static const struct json_limits limits = {20, 1000};
    char json[LONGEST + 400];
    struct mem mem;
    struct arena given, a;
    alk_operation op;
    yyjson_doc *doc;
    yyjson_alc alc;
    char *copy;
    bool whole;

    mem_init(&mem, NULL, NULL);
    arena_init(&given, &mem, 16384);
    arena_init(&a, &mem, 1024);
    alc = arena_alc(&given);
    snprintf(json, sizeof json,
             "{\"op_type\":\"query\",\"error_schemas\":" OPERATION_ERRORS
             ",\"input_schema\":{\"a\":1},\"output_schema\":null,\"access_control\":{\"required_"
             "scopes\":[\"s\"]}}");
    copy = arena_alloc(&given, strlen(json) + JSON_PADDING);
    memcpy(copy, json, strlen(json));
    must(!json_parse(copy, strlen(json), &limits, &alc, &doc, NULL));
    arena_alloc(&a, pad);
    alk_operation_init(&op, sizeof op);
    arm();
    whole = import_spec(&a, yyjson_doc_get_root(doc), &op);
    must(whole || failed());
    disarm();
    if (whole) {
        must(op.type == ALK_QUERY);
        must(!strcmp(op.error_schemas, OPERATION_ERRORS));
        must(!strcmp(op.input_schema, "{\"a\":1}") && !op.output_schema);
        must(!strcmp(op.access_control, "{\"required_scopes\":[\"s\"]}"));
    }
    arena_fini(&a);
    arena_fini(&given);
    return whole;
}

START_TEST(what_a_remote_says_of_an_operation_is_whole_or_not_taken)
{
    for (pad = 16; pad < LONGEST; pad += 16)
        exhaust(spec_scenario);
}
END_TEST

MAIN("oom_texts", an_identity_is_whole_or_not_there,
     what_a_remote_says_of_an_operation_is_whole_or_not_taken)
