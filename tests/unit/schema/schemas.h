/* Schemas that between them use every keyword and each way to refer to another, with a value and its verdict. */
#ifndef TESTS_UNIT_SCHEMA_SCHEMAS_H
#define TESTS_UNIT_SCHEMA_SCHEMAS_H

#include "base/json.h"
#include "schema/schema.h"

#include <string.h>

#define D7 "\"$schema\":\"http://json-schema.org/draft-07/schema#\""
#define D2020 "https://json-schema.org/draft/2020-12"

struct row {
    const char *schema, *value;
    int verdict; /* of the schema, when it has no value */
};

static const struct row schemas[] = {
    {"{\"type\":[\"integer\",\"null\"],\"minimum\":1,\"multipleOf\":0.5,\"maximum\":1e300}", "7",
     0},
    {"{\"const\":123456789012345678901234567890}", "123456789012345678901234567891", 1},
    {"{\"enum\":[1,\"a\",[1,2],{\"a\":1}]}", "{\"a\":2}", 1},
    {"{\"properties\":{\"a\":true,\"b\":{\"pattern\":\"^x+$\"}},\"patternProperties\":{\"^y\":{"
     "\"minLength\":2}},\"additionalProperties\":false,\"required\":[\"a\"],\"minProperties\":1}",
     "{\"a\":1,\"b\":\"xx\",\"y1\":\"ab\",\"z\":0}", 1},
    {"{\"propertyNames\":{\"maxLength\":2},\"dependentRequired\":{\"a\":[\"b\"]},"
     "\"dependentSchemas\":{\"a\":{\"required\":[\"c\"]}}}",
     "{\"a\":1,\"b\":2,\"long\":3}", 1},
    {"{\"prefixItems\":[true,{\"type\":\"string\"}],\"items\":{\"type\":\"integer\"},\"contains\":{"
     "\"const\":3},\"minContains\":2,\"uniqueItems\":true}",
     "[1,\"b\",3]", 1},
    {"{\"uniqueItems\":true}", "[[1],[2],{\"a\":1,\"b\":2},{\"b\":2,\"a\":1.0}]", 1},
    {"{\"allOf\":[{\"properties\":{\"a\":true}},{\"if\":{\"required\":[\"a\"]},\"then\":{"
     "\"properties\":{\"b\":true}},\"else\":false}],\"unevaluatedProperties\":false}",
     "{\"a\":1,\"b\":2,\"c\":3}", 1},
    {"{\"anyOf\":[{\"prefixItems\":[true]},{\"contains\":{\"const\":2}}],\"unevaluatedItems\":"
     "false,"
     "\"oneOf\":[true,false],\"not\":{\"type\":\"object\"}}",
     "[1,2,3]", 1},
    {"{\"$id\":\"http://here/s\",\"$defs\":{\"n\":{\"$anchor\":\"n\",\"type\":\"null\"},\"m/~\":{"
     "\"$id\":\"sub\",\"type\":\"string\"}},\"properties\":{\"a\":{\"$ref\":\"#n\"},\"b\":{\"$"
     "ref\":"
     "\"#/$defs/m~1~0\"},\"c\":{\"$ref\":\"sub\"},\"d\":{\"$ref\":\"http://other/d#x\"},\"e\":{"
     "\"$ref\":\"#/$defs/unknown/0/x\"}},\"unknown\":[{\"x\":1}]}",
     NULL, 1},
    {"{\"$id\":\"http://here/s\",\"$defs\":{\"n\":{\"$anchor\":\"n\",\"type\":\"null\"}},"
     "\"properties\":{\"a\":{\"$ref\":\"#n\"},\"d\":{\"$ref\":\"http://other/"
     "d#x\"},\"e\":{\"$ref\":"
     "\"#/extra/0\"}},\"extra\":[{\"const\":1}]}",
     "{\"a\":null,\"d\":1,\"e\":2}", 1},
    {"{\"$id\":\"http://here/"
     "t\",\"$dynamicAnchor\":\"node\",\"properties\":{\"c\":{\"$dynamicRef\":"
     "\"#node\"}},\"unevaluatedProperties\":false}",
     "{\"c\":{\"c\":{\"x\":1}}}", 1},
    {"{\"$ref\":\"" D2020 "/schema\"}", "{\"type\":1,\"properties\":{\"a\":{\"minimum\":0}}}", 1},
    {"{\"$schema\":\"http://other/m\",\"$id\":\"http://here/v\",\"type\":\"object\"}", "1", 1},
    {"{\"$schema\":\"http://nowhere/\"}", NULL, 1},
    {"{" D7 ",\"items\":[true,{\"type\":\"string\"}],\"additionalItems\":false}", "[1,\"a\",2]", 1},
    {"{" D7 ",\"dependencies\":{\"a\":[\"b\"],\"b\":{\"maxProperties\":1}},\"definitions\":{\"x\":{"
     "\"$id\":\"#x\",\"type\":\"integer\"}},\"properties\":{\"a\":{\"$ref\":\"#x\"}}}",
     "{\"a\":1,\"b\":2}", 1},
    {"{\"required\":[\"a\",\"a\"]}", NULL, 1},
    {"{\"$ref\":\"#/$defs/none\"}", NULL, 1},
    {"true", "1", 0},
};

/* The document that schemas refer to and the metaschema that they name. */
static inline yyjson_val *resolve(void *ud, const char *uri, size_t len)
{
    yyjson_val *const *others = ud;

    return len == 14 && !memcmp(uri, "http://other/d", len)   ? others[0]
           : len == 14 && !memcmp(uri, "http://other/m", len) ? others[1]
                                                              : NULL;
}

static const char *const others[] = {
    "{\"$id\":\"http://other/d\",\"$defs\":{\"a\":{\"$anchor\":\"x\",\"type\":\"integer\"}}}",
    "{\"$schema\":\"" D2020 "/schema\",\"$vocabulary\":{\"" D2020 "/vocab/core\":true,\"" D2020
    "/vocab/applicator\":true,\"" D2020 "/vocab/validation\":true}}",
};

#endif
