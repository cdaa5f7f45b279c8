/* Implements openapi_body.h but for multipart. */
#include "adapt/openapi_body.h"

#include "adapt/openapi_style.h"
#include "base/base64.h"
#include "base/json.h"

#include <alknet/alknet.h>

void oas_binary(struct oas_writer *w, yyjson_val *v)
{
    struct str s = json_string(v);
    char *p = NULL;
    size_t n;

    if (w->rc)
        return;
    if (!s.p)
        oas_complain(w, "must be a string of base64");
    else if (BASE64_BYTES(s.n) > w->most - w->out->len)
        oas_complain(w, "is too long to be sent");
    else if (!(p = buf_reserve(w->out, BASE64_BYTES(s.n))))
        w->rc = ALK_ENOMEM;
    if (!p)
        return;
    if (base64_decode(p, &n, s.p, s.n))
        buf_commit(w->out, n);
    else
        oas_complain(w, "is not base64");
}

static void text_body(struct oas_writer *w, yyjson_val *v)
{
    char room[OAS_SCALAR_MAX];

    if (yyjson_is_ctn(v))
        oas_complain(w, "must be a string");
    oas_put(w, oas_scalar(v, room));
}

void oas_body(struct oas_writer *w, const struct oas_plan *plan, yyjson_val *v,
              const char *boundary)
{
    struct oas_units form = {.w = w, .first = "", .sep = "&", .in = IN_QUERY};

    switch (plan->body) {
    case BODY_JSON:
        oas_json(w, v);
        return;
    case BODY_FORM:
        oas_form(&form, plan->parts, plan->part_count, v);
        return;
    case BODY_MULTIPART:
        oas_multipart(w, plan, v, boundary);
        return;
    case BODY_TEXT:
        text_body(w, v);
        return;
    default:
        oas_binary(w, v);
    }
}
