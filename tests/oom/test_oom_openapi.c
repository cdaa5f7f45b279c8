/* Each allocation of an import fails in turn: it is whole, or nothing of it is there. */
#include "oom/oom.h"

#include "core/registry.h"

#include <alknet/openapi.h>

static const char json[] =
    "{\"openapi\":\"3.0.3\",\"servers\":[{\"url\":\"https://{r}.example/v1\",\"variables\":{\"r\":{"
    "\"default\":\"eu\"}}}],\"security\":[{\"key\":[]},{\"b\":[]}],\"paths\":{\"/p/{id}/x\":{"
    "\"parameters\":[{\"$ref\":\"#/components/parameters/Id\"}],\"post\":{\"operationId\":\"a b\","
    "\"summary\":\"s\",\"parameters\":[{\"name\":\"id\",\"in\":\"query\",\"content\":{"
    "\"application/json\":{\"schema\":{\"enum\":[{\"a\":1}]}}}}],\"requestBody\":{\"content\":{"
    "\"multipart/form-data\":{\"schema\":{\"$ref\":\"#/components/schemas/N\"},\"encoding\":{"
    "\"f\":{\"contentType\":\"image/png\"}}}}},\"responses\":{\"200\":{\"description\":\"\","
    "\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/"
    "N\"}}}},\"404\":"
    "{\"description\":\"n\",\"content\":{\"application/json\":{\"schema\":{\"$ref\":"
    "\"#/components/schemas/E\"}}}}}},\"get\":{\"responses\":{\"200\":{\"description\":\"\","
    "\"content\":{\"text/event-stream\":{}}}}},\"put\":{\"operationId\":\"a_b\"}}},\"components\":{"
    "\"parameters\":{\"Id\":{\"name\":\"id\",\"in\":\"path\",\"required\":true,\"schema\":{"
    "\"type\":"
    "\"string\"}}},\"securitySchemes\":{\"key\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":"
    "\"X-Key\"},\"b\":{\"type\":\"http\",\"scheme\":\"basic\"}},\"schemas\":{\"N\":{\"type\":"
    "\"object\",\"nullable\":true,\"required\":[\"f\",\"id\"],\"properties\":{\"f\":{\"type\":"
    "\"string\",\"format\":\"binary\"},\"id\":{\"readOnly\":true},\"next\":{\"oneOf\":[{\"$ref\":"
    "\"#/components/schemas/N\"},{\"$ref\":\"#/components/schemas/E\"}],\"discriminator\":{"
    "\"propertyName\":\"k\",\"mapping\":{\"e\":\"E\"}}}}},\"E\":{\"type\":\"object\"}}}}";

static const char yaml[] =
    "openapi: 3.1.0\n"
    "servers: [{url: https://a.example}]\n"
    "paths:\n"
    "  /a: &a\n"
    "    get: {operationId: one, parameters: [{name: q, in: query, schema: {$ref: '#/x'}}]}\n"
    "  /b: *a\n"
    "x: {type: string}\n";

static void warned(void *ud, const char *pointer, const char *text)
{
    (void)ud;
    (void)pointer;
    must(*text);
}

static bool import(const char *document, size_t len, size_t count)
{
    alk_registry *reg = alk_registry_new();
    alk_capabilities *secrets = alk_capabilities_new();
    size_t before, got = 0;
    alk_openapi_options o = {.size = sizeof o};
    char err[256] = "";
    int rc;

    must(reg && secrets && !alk_capabilities_set(secrets, "x", "s", 1));
    before = reg->by_name.count;
    o.namespace_prefix = "x";
    o.default_headers = "{\"X-A\":\"1\"}";
    o.operation_filter = "{\"exclude\":[\"none*\"]}";
    o.access_control = "{\"required_scopes\":[\"s\"]}";
    o.capabilities = secrets;
    o.on_warning = warned;
    arm();
    rc = alk_registry_import_openapi(reg, document, len, &o, &got, err, sizeof err);
    ok(rc);
    must(rc == 0 || *err);
    must(reg->by_name.count == before + (rc ? 0 : count) && (rc || got == count));
    disarm();
    alk_capabilities_free(secrets);
    alk_registry_unref(reg);
    return rc == 0;
}

static bool json_scenario(void)
{
    return import(json, strlen(json), 3);
}

static bool yaml_scenario(void)
{
    return import(yaml, strlen(yaml), 2);
}

START_TEST(an_import_is_whole_or_not_there)
{
    exhaust(json_scenario);
}
END_TEST

START_TEST(so_is_one_of_yaml)
{
    exhaust(yaml_scenario);
}
END_TEST

MAIN("oom_openapi", an_import_is_whole_or_not_there, so_is_one_of_yaml)
