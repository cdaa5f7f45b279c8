/* Fuzzes the import of OpenAPI documents: the first byte says with what options, the rest is the document, JSON or YAML.
 *
 * It is imported or refused with a reason; every warning is printable text; nothing is left in the registry of an import that
 * was refused; each operation has a specification that is JSON, an Accept that is one line, and makes requests to the
 * configured base and nowhere else, whatever its input. */
#include "adapt/openapi_int.h"
#include "base/json.h"
#include "base/utf8.h"

#include <alknet/openapi.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASE "https://api.example:8443/v1"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void warned(void *ud, const char *pointer, const char *text)
{
    unsigned *count = ud;

    ++*count;
    assert(*text && utf8_valid(text, strlen(text)) && utf8_valid(pointer, strlen(pointer)));
    for (const char *p = pointer; *p; p++)
        assert((unsigned char)*p >= 0x20);
}

static const char *secret(void *ud, const char *name, size_t *len)
{
    (void)ud;
    (void)name;
    *len = 6;
    return "s3cret";
}

/* One value in each parameter and in the body. */
static yyjson_doc *input_of(const struct oas_plan *plan, const char *value)
{
    yyjson_mut_doc *d = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *o = yyjson_mut_obj(d);
    yyjson_doc *doc;
    char *text;
    size_t len;

    yyjson_mut_doc_set_root(d, o);
    for (size_t i = 0; i < plan->param_count; i++)
        yyjson_mut_obj_add(
            o, yyjson_mut_strncpy(d, plan->params[i].member.p, plan->params[i].member.n),
            yyjson_mut_str(d, value));
    yyjson_mut_obj_add(o, yyjson_mut_str(d, "body"), yyjson_mut_str(d, value));
    text = yyjson_mut_write(d, 0, &len);
    yyjson_mut_doc_free(d);
    doc = yyjson_read(text, len, 0);
    free(text);
    assert(doc);
    return doc;
}

static void ask(const struct oas_plan *plan, const char *value)
{
    yyjson_doc *doc = input_of(plan, value);
    const uint8_t random[16] = {1};
    struct oas_complaint why;
    struct oas_request rq;
    struct mem mem;
    int rc;

    mem_init(&mem, NULL, NULL);
    oas_request_init(&rq, &mem);
    rc = oas_request_build(&rq, plan, yyjson_doc_get_root(doc), secret, NULL, random, &why);
    assert(rc == 0 || (rc == ALK_EINVAL && *why.text));
    if (!rc) {
        const char *url = buf_at(&rq.url), *headers = rq.headers.len ? buf_at(&rq.headers) : "";

        assert(!strncmp(url, BASE, strlen(BASE)) && strchr("/?", url[strlen(BASE)]));
        for (const char *p = url; *p; p++)
            assert(*p > 0x20 && *p < 0x7f && *p != '\\' && *p != '#');
        for (size_t i = 0; i < rq.headers.len; i++)
            assert(headers[i] != '\n' || (i && headers[i - 1] == '\r'));
    }
    oas_request_fini(&rq);
    yyjson_doc_free(doc);
    assert(mem.live == 0);
}

static void look(const struct operation *op)
{
    const struct oas_operation *own = op->ud;
    const struct oas_plan *plan = &own->plan;
    yyjson_doc *spec = yyjson_read(op->spec_json.p, op->spec_json.n, YYJSON_READ_NUMBER_AS_RAW);

    assert(spec);
    yyjson_doc_free(spec);
    assert(op->provenance == ALK_FROM_OPENAPI && op->forwards && !op->authority && !op->env);
    assert(plan->base.n == strlen(BASE) && !memcmp(plan->base.p, BASE, plan->base.n));
    assert(plan->headers.n > 2 &&
           memchr(plan->headers.p, '\n', plan->headers.n) == plan->headers.p + plan->headers.n - 1);
    ask(plan, "plain");
    ask(plan, "../..//evil@\\host?#%2e%2e\r\nX: y");
    ask(plan, "aGVsbG8=");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    alk_registry *reg = alk_registry_new();
    size_t before = reg->by_name.count, count = 0;
    char err[512] = "";
    alk_openapi_options o = {.size = sizeof o};
    unsigned warnings = 0;
    int rc;

    o.namespace_prefix = size && data[0] & 1 ? "a/b" : "x";
    o.is_public = size ? data[0] >> 1 & 1 : 0;
    o.auth = size && data[0] & 4 ? "{\"type\":\"api_key\",\"in\":\"query\",\"name\":\"k\"}" : NULL;
    o.operation_filter = size && data[0] & 8 ? "{\"exclude\":[\"*x*y*\"]}" : NULL;
    o.base_url = BASE;
    o.on_warning = warned;
    o.ud = &warnings;
    rc = alk_registry_import_openapi(reg, size ? (const char *)data + 1 : "", size ? size - 1 : 0,
                                     &o, &count, err, sizeof err);
    assert(reg->by_name.count == before + (rc ? 0 : count));
    if (rc) {
        assert(*err && utf8_valid(err, strlen(err)));
        assert(rc == ALK_EJSON || rc == ALK_EINVAL || rc == ALK_ELIMIT);
    }
    for (size_t i = 0; !rc && i <= reg->by_name.mask; i++) {
        for (struct map_node *n = reg->by_name.slots[i]; n; n = n->next) {
            if (!name_reserved((struct str){n->key, n->len}))
                look(container_of(n, struct operation, by_name));
        }
    }
    alk_registry_unref(reg);
    return 0;
}
