/* Reading JSON, and identities out of it. */
#include "base/arena.h"
#include "base/json.h"
#include "core/id_memory.h"
#include "cost/cost.h"
#include "support/world.h"

MEASURED static int measured_parse(char *text, size_t len, const yyjson_alc *alc)
{
    static const struct json_limits limits = {128, 10000000};
    yyjson_doc *doc;

    return json_parse(text, len, &limits, alc, &doc, NULL);
}

/* Takes the text over. */
static void parse(char *text)
{
    size_t len = strlen(text);
    struct mem mem;
    struct arena arena;
    yyjson_alc alc;

    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 4096);
    alc = arena_alc(&arena);
    text = realloc(text, len + JSON_PADDING);
    must(text && measured_parse(text, len, &alc) == JSON_OK);
    arena_fini(&arena);
    free(text);
}

static void members(size_t n)
{
    parse(cost_list("{", "\"k#\":0", ",", n, "}"));
}

static void objects_in_objects(size_t n)
{
    char *few = cost_list("{", "\"k#\":0", ",", 14, ",\"#\":{\"a\":{\"b\":{\"c\":{}}}}}");

    parse(cost_list("[", few, ",", n, "]"));
    free(few);
}

/* Names of which each is long, and like all others but for its end. */
static void names_alike(size_t n)
{
    parse(cost_list("{", "\"------------------------------------------------#\":0", ",", n, "}"));
}

static void arrays_and_strings(size_t n)
{
    parse(cost_list("[", "[\"#\",[],\"\\n\",1.5e3]", ",", n, "]"));
}

MEASURED static alk_identity *measured_identity(const char *text)
{
    return alk_identity_new(TEXT(text));
}

static void identity(char *text)
{
    alk_identity *who = measured_identity(text);

    must(who);
    alk_identity_unref(who);
    free(text);
}

static void resources_of_identity(size_t n)
{
    identity(cost_list("{\"id\":\"a\",\"resources\":{", "\"t#\":[\"r#\"]", ",", n, "}}"));
}

static void scopes_of_identity(size_t n)
{
    identity(cost_list("{\"id\":\"a\",\"scopes\":[", "\"s:#\"", ",", n, "]}"));
}

MEASURED static void measured_ids(struct id_memory *m, size_t n)
{
    char id[32];

    for (size_t i = 0; i < n; i++) {
        snprintf(id, sizeof id, "%07zu", i);
        must(memory_add(m, (struct str){id, 7}, i, n));
    }
    /* As many again, so that each makes the oldest go. */
    for (size_t i = 0; i < n; i++) {
        snprintf(id, sizeof id, "x%07zu", i);
        must(memory_add(m, (struct str){id, 8}, n, n));
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(id, sizeof id, "x%07zu", i);
        must(memory_take(m, (struct str){id, 8}, n));
    }
}

static void id_memory(size_t n)
{
    static const uint64_t seed[2] = {1, 2};
    struct id_memory m;
    struct mem mem;

    mem_init(&mem, NULL, NULL);
    memory_init(&m, &mem, seed);
    measured_ids(&m, n);
    memory_trim(&m, UINT64_MAX, 0);
    must(mem.live == 0);
}

const struct scenario cost_json[] = {
    {"json-members", members, 10000},
    {"json-objects-in-objects", objects_in_objects, 500},
    {"json-names-alike", names_alike, 5000},
    {"json-arrays-and-strings", arrays_and_strings, 5000},
    {"identity-resources", resources_of_identity, 1000},
    {"identity-scopes", scopes_of_identity, 2000},
    {"id-memory", id_memory, 2000},
    {NULL, NULL, 0},
};
