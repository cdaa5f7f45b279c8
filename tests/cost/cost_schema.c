/* Compiling schemas, and checking values against them. */
#include "base/json.h"
#include "cost/cost.h"
#include "schema/schema.h"
#include "support/world.h"

struct judge {
    struct mem mem;
    struct arena arena;
    struct schema *schema;
};

/* Takes the text over. */
static yyjson_val *parse(struct judge *j, char *text)
{
    static const struct json_limits limits = {128, 10000000};
    yyjson_alc alc = arena_alc(&j->arena);
    size_t len = strlen(text);
    char *copy = arena_alloc(&j->arena, len + JSON_PADDING);
    yyjson_doc *doc;

    must(copy);
    memcpy(copy, text, len);
    free(text);
    must(json_parse(copy, len, &limits, &alc, &doc, NULL) == JSON_OK);
    return yyjson_doc_get_root(doc);
}

MEASURED static int measured_compile(struct judge *j, yyjson_val *root)
{
    struct schema_options o = {.host = host_default(), .mem = &j->mem};
    struct schema_diag diag;

    return schema_compile(&j->schema, root, &o, &diag);
}

MEASURED static int measured_check(struct judge *j, yyjson_val *value)
{
    return schema_check(j->schema, value, UINT32_MAX, &j->arena, NULL);
}

static void start(struct judge *j)
{
    mem_init(&j->mem, NULL, NULL);
    arena_init(&j->arena, &j->mem, 4096);
}

static void end(struct judge *j)
{
    schema_free(j->schema);
    arena_fini(&j->arena);
    must(j->mem.live == 0);
}

static void compile(char *schema)
{
    struct judge j;

    start(&j);
    must(measured_compile(&j, parse(&j, schema)) == SCHEMA_OK);
    end(&j);
}

static void check(char *schema, char *value)
{
    struct schema_options o = {.host = host_default()};
    struct schema_diag diag;
    struct judge j;

    start(&j);
    o.mem = &j.mem;
    must(schema_compile(&j.schema, parse(&j, schema), &o, &diag) == SCHEMA_OK);
    must(measured_check(&j, parse(&j, value)) == SCHEMA_OK);
    end(&j);
}

/* So many members, from the last to the first. */
static char *backwards(const char *before, size_t n, const char *behind)
{
    char *text = malloc(strlen(before) + n * 24 + strlen(behind) + 1), *p = text;

    must(text);
    p += sprintf(p, "%s{", before);
    for (size_t i = n; i-- > 0;)
        p += sprintf(p, "\"p%07zu\":%zu%s", i, i % 10, i ? "," : "}");
    strcpy(p, behind);
    return text;
}

/* ---- compiling ------------------------------------------------------------------------------- */

static void compile_properties(size_t n)
{
    compile(cost_list("{\"properties\":{", "\"p#\":{\"type\":\"string\",\"maxLength\":1#}", ",", n,
                      "}}"));
}

static void compile_enum(size_t n)
{
    compile(cost_list("{\"enum\":[", "\"v#\",[1#],{\"a\":\"#\"}", ",", n, "]}"));
}

/* Pointers, into an object and into an array; '#' cannot stand for itself in a list. */
static void compile_defs(size_t n)
{
    char *text = malloc(n * 120 + 100), *p = text;

    must(text);
    p += sprintf(p, "{\"$defs\":{");
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, "%s\"d%zu\":{\"minLength\":1}", i ? "," : "", i);
    p += sprintf(p, "},\"anyOf\":[");
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, "%s{\"$ref\":\"#/$defs/d%zu\"},{\"not\":{\"$ref\":\"#/anyOf/%zu\"}}",
                     i ? "," : "", n - 1 - i, 2 * i);
    strcpy(p, "]}");
    compile(text);
}

static void compile_chain(size_t n)
{
    char *text = malloc(n * 48 + 100), *p = text;

    must(text);
    p += sprintf(p, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, "\"d%zu\":{\"$ref\":\"#/$defs/d%zu\"},", i, i + 1);
    sprintf(p, "\"d%zu\":true}}", n);
    compile(text);
}

static void compile_anchors(size_t n)
{
    char *text = malloc(n * 80 + 100), *p = text;

    must(text);
    p += sprintf(p, "{\"allOf\":[");
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, "%s{\"$anchor\":\"a%zu\",\"items\":{\"$ref\":\"#a%zu\"}}", i ? "," : "", i,
                     n - 1 - i);
    strcpy(p, "]}");
    compile(text);
}

static void compile_patterns(size_t n)
{
    compile(cost_list("{\"patternProperties\":{", "\"^p#[a-z]{2,5}$\":true", ",", n, "}}"));
}

static void compile_required(size_t n)
{
    compile(cost_list("{\"required\":[", "\"p#\"", ",", n, "]}"));
}

static void compile_dependencies(size_t n)
{
    compile(cost_list("{\"dependentRequired\":{", "\"p#\":[\"q#\",\"r\"]", ",", n, "}}"));
}

/* ---- checking -------------------------------------------------------------------------------- */

static void check_enum(size_t n)
{
    check(cost_list("{\"items\":{\"enum\":[", "\"v#\",[1#],{\"a\":\"#\"}", ",", n, "]}}"),
          cost_list("[", "{\"a\":\"#\"},\"v#\",[1#.0]", ",", n, "]"));
}

static void check_const(size_t n)
{
    char *one = backwards("{\"const\":", n, "}"), *p, *value = malloc(n * 24 + 3);

    must(value);
    p = value;
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, "%s\"p%07zu\":%zu", i ? "," : "{", i, i % 10);
    strcpy(p, "}");
    check(one, value);
}

static void check_unique(size_t n)
{
    check(cost_list("{\"uniqueItems\":true}", "", "", 0, ""),
          cost_list("[", "{\"a\":\"#\",\"b\":1#},\"#\",1#", ",", n, "]"));
}

static void check_properties(size_t n)
{
    check(cost_list("{\"additionalProperties\":false,\"properties\":{",
                    "\"p#\":{\"type\":\"integer\"}", ",", n, "}}"),
          backwards("", n, ""));
}

static void check_required(size_t n)
{
    check(cost_list("{\"required\":[", "\"p#\"", ",", n, "]}"), backwards("", n, ""));
}

static void check_dependencies(size_t n)
{
    check(cost_list("{\"dependentRequired\":{", "\"p#\":[\"p0000000\",\"p0000001\"]", ",", n - 1,
                    "}}"),
          backwards("", n, ""));
}

static void check_unevaluated(size_t n)
{
    char *half =
        cost_list("{\"unevaluatedProperties\":{\"type\":\"integer\"},\"allOf\":[{\"properties\":{",
                  "\"p#\":true", ",", n / 2,
                  "}},{\"anyOf\":[{\"required\":[\"none\"]},{\"minProperties\":1}]}]}");

    check(half, backwards("", n, ""));
}

static void check_items(size_t n)
{
    check(cost_list("{\"unevaluatedItems\":false,\"prefixItems\":[", "{\"type\":\"string\"}", ",",
                    n, "],\"contains\":{\"const\":\"0000001\"}}"),
          cost_list("[", "\"#\"", ",", n, "]"));
}

static void check_text(size_t n)
{
    check(cost_list("{\"minLength\":5,\"pattern\":\"^[a-z]*$\"}", "", "", 0, ""),
          cost_list("\"", "abcdefgh", "", n, "\""));
}

const struct scenario cost_schema[] = {
    {"compile-properties", compile_properties, 500},
    {"compile-enum", compile_enum, 1000},
    {"compile-defs", compile_defs, 500},
    {"compile-chain", compile_chain, 1000},
    {"compile-anchors", compile_anchors, 500},
    {"compile-patterns", compile_patterns, 100},
    {"compile-required", compile_required, 2000},
    {"compile-dependencies", compile_dependencies, 1000},
    {"check-enum", check_enum, 500},
    {"check-const", check_const, 2000},
    {"check-unique", check_unique, 1000},
    {"check-properties", check_properties, 2000},
    {"check-required", check_required, 2000},
    {"check-dependencies", check_dependencies, 2000},
    {"check-unevaluated", check_unevaluated, 2000},
    {"check-items", check_items, 2000},
    {"check-text", check_text, 1000},
    {NULL, NULL, 0},
};
