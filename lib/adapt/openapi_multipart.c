/* multipart/form-data, RFC 7578. Names are the input's: what could end a name or its line is
 * percent-encoded, as browsers do (HTML, "multipart form data"). That the boundary is in no part is
 * left to chance, of which it has 128 bits. Content types are only ever the plan's. */
#include "adapt/openapi_body.h"
#include "adapt/openapi_style.h"

#include <alknet/alknet.h>

static void put_name(struct oas_writer *w, struct str name)
{
    size_t from = 0;

    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];

        if (c >= 0x20 && c != '"' && c != 0x7f)
            continue;
        oas_put(w, (struct str){name.p + from, i - from});
        oas_encode(w, (struct str){name.p + i, 1}, NULL);
        from = i + 1;
    }
    oas_put(w, (struct str){name.p + from, name.n - from});
}

static void put_head(struct oas_writer *w, const char *boundary, struct str name, bool file,
                     struct str content_type)
{
    oas_puts(w, "--");
    oas_puts(w, boundary);
    oas_puts(w, "\r\nContent-Disposition: form-data; name=\"");
    put_name(w, name);
    if (file) {
        oas_puts(w, "\"; filename=\"");
        put_name(w, name);
    }
    oas_puts(w, "\"\r\nContent-Type: ");
    oas_put(w, content_type);
    oas_puts(w, "\r\n\r\n");
}

/* v is not null. */
static void put_part(struct oas_writer *w, const char *boundary, struct str name,
                     const struct oas_part *as, yyjson_val *v)
{
    bool json = as->json || (!as->binary && yyjson_is_ctn(v));
    char room[OAS_SCALAR_MAX];
    struct str type = as->content_type;

    if (!type.p)
        type = str_of(json         ? "application/json"
                      : as->binary ? "application/octet-stream"
                                   : "text/plain; charset=utf-8");
    put_head(w, boundary, name, as->binary, type);
    if (json)
        oas_json(w, v);
    else if (as->binary)
        oas_binary(w, v);
    else
        oas_put(w, oas_scalar(v, room));
    oas_puts(w, "\r\n");
}

/* Items are parts of their own (RFC 7578, section 4.3), but where the document wants the array as
 * one JSON text. */
static void put_member(struct oas_writer *w, const char *boundary, struct str name,
                       const struct oas_part *as, yyjson_val *v)
{
    struct oas_each e;

    if (!yyjson_is_arr(v) || as->json) {
        put_part(w, boundary, name, as, v);
        return;
    }
    for (oas_each(&e, w, v); oas_next(&e);) {
        if (!yyjson_is_null(e.val))
            put_part(w, boundary, name, as, e.val);
    }
}

void oas_multipart(struct oas_writer *w, const struct oas_plan *plan, yyjson_val *v,
                   const char *boundary)
{
    static const struct oas_part other;
    struct oas_each e;

    if (!yyjson_is_obj(v)) {
        oas_complain(w, "must be an object");
        return;
    }
    for (oas_each(&e, w, v); oas_next(&e);) {
        struct str name = oas_key(e.at.key);
        const struct oas_part *as = oas_part_of(plan->parts, plan->part_count, name);

        if (!yyjson_is_null(e.val))
            put_member(w, boundary, name, as ? as : &other, e.val);
    }
    oas_puts(w, "--");
    oas_puts(w, boundary);
    oas_puts(w, "--\r\n");
}
