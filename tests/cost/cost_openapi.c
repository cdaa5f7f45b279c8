/* The gateway's OpenAPI document, by the operations that a caller may call. */
#include "cost/cost.h"
#include "support/must.h"
#include "unit/gateway/http_rig.h"

static int nothing(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_reply(call, "null", 4);
}

MEASURED static const char *measured_say(struct http *s, const char *request)
{
    return http_say(s, request);
}

/* Each operation has codes and schemas of its own, and some that all have. */
static void openapi_operations(size_t n)
{
    struct http s;

    http_new(&s);
    for (size_t i = 0; i < n; i++) {
        alk_operation op;
        char name[40], errors[600];

        snprintf(name, sizeof name, "ns/operation-%zu", i);
        snprintf(errors, sizeof errors,
                 "[{\"code\":\"HTTP_404\",\"schema\":{\"$defs\":{\"a\":{\"type\":\"string\"}},"
                 "\"properties\":{\"message\":{\"$ref\":\"#/$defs/a\"}}}},{\"code\":\"HTTP_422\","
                 "\"schema\":{\"type\":\"object\"}},{\"code\":\"OWN_%zu\",\"http_status\":409,"
                 "\"schema\":{\"properties\":{\"own\":{\"const\":%zu}}}}]",
                 i, i);
        alk_operation_init(&op, sizeof op);
        op.name = name;
        op.handler = nothing;
        op.error_schemas = errors;
        world_add_full(s.w, &op);
    }
    http_start(&s);
    must(http_status(measured_say(&s, REQUEST("GET /openapi.json", BEARER))) == 200);
    http_free(&s);
}

const struct scenario cost_openapi[] = {
    {"openapi-operations", openapi_operations, 2000},
    {NULL, NULL, 0},
};
