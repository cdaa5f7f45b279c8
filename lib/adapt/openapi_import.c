/* Implements alk_registry_import_openapi: reads the document, finds its operations, gives them
 * names, and has each made and added. What is wrong with one operation is a warning and leaves out
 * that one; what is wrong with the whole, or with the configuration, undoes all. */
#include "adapt/openapi_int.h"

#include "base/glob.h"
#include "base/json.h"
#include "base/utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define METHOD_MAX 32u

/* ---- what others of these files use ---------------------------------------------------------- */

/* What is said may have parts of the document in it, cut anywhere: it becomes one line of
 * UTF-8. */
static void print(char *out, size_t size, const char *fmt, va_list ap)
{
    struct oas_line line = {out, size, 0};
    char text[OAS_WHY], clean[3 * OAS_WHY];
    int n = vsnprintf(text, sizeof text, fmt, ap);

    *out = 0;
    n = n < (int)sizeof text ? n : (int)sizeof text - 1;
    oas_line_add(&line, (struct str){clean, utf8_scrub(clean, text, (size_t)n)});
}

void oas_warn(struct oas_import *im, const struct oas_place *at, const char *fmt, ...)
{
    char where[OAS_WHERE] = "", text[OAS_WHY];
    va_list ap;

    im->warnings++;
    if (!im->o->on_warning || im->warnings > OAS_WARNINGS)
        return;
    va_start(ap, fmt);
    print(text, sizeof text, fmt, ap);
    va_end(ap);
    if (at)
        oas_where(&im->docs, at, where, sizeof where);
    im->o->on_warning(im->o->ud, where, text);
}

int oas_fail(struct oas_import *im, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (im->err && im->err_size)
        print(im->err, im->err_size, fmt, ap);
    va_end(ap);
    return rc;
}

yyjson_val *oas_get(struct oas_import *im, const struct oas_place *of, const char *name)
{
    yyjson_val *v = NULL;

    if (of->val && oas_lookup_member(&of->doc->lookup, of->val, str_of(name), &v))
        im->lost = true;
    return v;
}

struct str oas_get_string(struct oas_import *im, const struct oas_place *of, const char *name)
{
    return json_string(oas_get(im, of, name));
}

bool oas_get_true(struct oas_import *im, const struct oas_place *of, const char *name)
{
    return yyjson_is_true(oas_get(im, of, name));
}

bool oas_look(struct oas_import *im)
{
    return oas_pay(&im->schemas, OAS_LOOK);
}

struct str oas_cut(struct str s, size_t most)
{
    return (struct str){s.p, s.p ? utf8_cut(s.p, s.n, most) : 0};
}

/* A chain is paid for as if it were as long as one may be. */
bool oas_follow(struct oas_import *im, const struct oas_place *at, struct oas_place *out)
{
    struct oas_place from = *at, to = *at;
    yyjson_val *ref = oas_get(im, at, "$ref");
    char why[OAS_WHY];
    int rc = ALK_OK;

    if (yyjson_is_str(ref)) {
        oas_look(im);
        rc = oas_resolve(&im->docs, &from, json_string(ref), &to, why, sizeof why);
    }
    if (!rc && yyjson_is_str(ref) && yyjson_is_str(oas_get(im, &to, "$ref"))) {
        oas_pay(&im->schemas, OAS_HOPS * OAS_LOOK);
        rc = oas_deref(&im->docs, &from, &to, why, sizeof why);
    }
    if (rc == ALK_ENOMEM)
        im->lost = true;
    else if (rc)
        oas_warn(im, &from, "%s", why);
    else
        *out = to;
    return !rc;
}

bool oas_member(struct oas_import *im, const struct oas_place *of, const char *name,
                struct oas_place *out)
{
    struct oas_place at = {of->doc, oas_get(im, of, name)};

    return at.val && oas_follow(im, &at, out);
}

struct str oas_keep(struct oas_import *im, struct str s)
{
    return (struct str){arena_dup(&im->service->arena, s.p, s.n), s.n};
}

struct str oas_media_type(struct str s, char *out, size_t size)
{
    size_t n = 0;

    for (; n < s.n && n < size && s.p[n] != ';'; n++)
        out[n] = s.p[n] >= 'A' && s.p[n] <= 'Z' ? (char)(s.p[n] + 'a' - 'A') : s.p[n];
    while (n && (out[n - 1] == ' ' || out[n - 1] == '\t'))
        n--;
    return (struct str){out, n};
}

bool oas_is_json(struct str t)
{
    return str_is(t, "application/json") || str_is(t, "text/json") ||
           (t.n > 5 && !memcmp(t.p + t.n - 5, "+json", 5));
}

/* ---- filter ---------------------------------------------------------------------------------- */

static bool listed(yyjson_val *list, struct str s)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;

    while ((item = yyjson_arr_iter_next(&it))) {
        if (glob_match(json_string(item), s))
            return true;
    }
    return false;
}

static bool tagged(struct oas_import *im, yyjson_val *tags, yyjson_val *of)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(of);
    yyjson_val *item;

    while (oas_look(im) && (item = yyjson_arr_iter_next(&it))) {
        if (yyjson_is_str(item) && listed(tags, json_string(item)))
            return true;
    }
    return false;
}

static bool wanted(struct oas_import *im, const struct oas_item *item)
{
    yyjson_val *include = yyjson_obj_get(im->filter, "include");
    yyjson_val *exclude = yyjson_obj_get(im->filter, "exclude");
    yyjson_val *methods = yyjson_obj_get(im->filter, "methods");
    yyjson_val *tags = yyjson_obj_get(im->filter, "tags");
    struct buf *b = &im->text;
    struct str line;

    if (!im->filter)
        return true;
    buf_consume(b, b->len);
    if (buf_append(b, item->method.p, item->method.n) || buf_puts(b, " ") ||
        buf_append(b, item->path.p, item->path.n))
        return false;
    line = (struct str){buf_at(b), b->len};
    if (include && !listed(include, line) && !(item->id.p && listed(include, item->id)))
        return false;
    if (listed(exclude, line) || (item->id.p && listed(exclude, item->id)))
        return false;
    return (!methods || listed(methods, item->method)) &&
           (!tags || tagged(im, tags, oas_get(im, &item->op, "tags")));
}

/* ---- finding --------------------------------------------------------------------------------- */

static int found(struct oas_import *im, const struct oas_item *item)
{
    if (!yyjson_is_obj(item->op.val)) {
        oas_warn(im, &item->op, "is no object");
        return ALK_OK;
    }
    if (!wanted(im, item))
        return ALK_OK;
    if (im->item_count == OAS_OPERATIONS)
        return oas_fail(im, ALK_ELIMIT, "the document has more than %u operations", OAS_OPERATIONS);
    if (im->item_count == im->item_cap) {
        size_t cap = im->item_cap ? 2 * im->item_cap : 64;
        struct oas_item *items =
            arena_realloc(&im->arena, im->items, im->item_cap * sizeof *items, cap * sizeof *items);

        if (!items)
            return ALK_ENOMEM;
        im->items = items;
        im->item_cap = cap;
    }
    im->items[im->item_count++] = *item;
    return ALK_OK;
}

/* Of what RFC 9110 calls a token, what methods are. TRACE shows what was sent, secrets too; CONNECT is no
 * request for a resource. */
static bool method_valid(struct str m)
{
    for (size_t i = 0; i < m.n; i++) {
        if (m.p[i] < 'A' || m.p[i] > 'Z')
            return false;
    }
    return m.n && m.n <= METHOD_MAX && !str_is(m, "TRACE") && !str_is(m, "CONNECT");
}

/* A reference in place of an operation is none of OpenAPI's, and what documents of many files have
 * nevertheless. */
static int find_method(struct oas_import *im, struct oas_item *item, yyjson_val *op)
{
    struct oas_place at = {item->path_item.doc, op};

    if (!oas_follow(im, &at, &item->op))
        return ALK_OK;
    item->id = oas_get_string(im, &item->op, "operationId");
    if (item->id.n > OAS_ID_BYTES)
        oas_warn(im, &item->op, "the operationId is longer than %u bytes", OAS_ID_BYTES);
    if (!item->id.n || item->id.n > OAS_ID_BYTES)
        item->id = STR_NONE;
    if (method_valid(item->method))
        return found(im, item);
    oas_warn(im, &item->op, "requests of this method are not made");
    return ALK_OK;
}

static int find_additional(struct oas_import *im, struct oas_item *item)
{
    yyjson_obj_iter it =
        yyjson_obj_iter_with(oas_get(im, &item->path_item, "additionalOperations"));
    yyjson_val *key;
    int rc = ALK_OK;

    while (!rc && oas_look(im) && (key = yyjson_obj_iter_next(&it))) {
        item->method = json_string(key);
        rc = find_method(im, item, yyjson_obj_iter_get_val(key));
    }
    return rc;
}

static int find_path(struct oas_import *im, struct oas_item *item)
{
    static const struct {
        const char *key, *method;
    } methods[] = {{"get", "GET"},         {"put", "PUT"},     {"post", "POST"},
                   {"delete", "DELETE"},   {"patch", "PATCH"}, {"head", "HEAD"},
                   {"options", "OPTIONS"}, {"query", "QUERY"}, {"trace", "TRACE"}};
    int rc = ALK_OK;

    for (size_t i = 0; !rc && i < sizeof methods / sizeof methods[0]; i++) {
        yyjson_val *op = oas_get(im, &item->path_item, methods[i].key);

        item->method = str_of(methods[i].method);
        if (op)
            rc = find_method(im, item, op);
    }
    return rc ? rc : find_additional(im, item);
}

static int find_items(struct oas_import *im)
{
    struct oas_place root = {im->docs.root, im->docs.root->root}, paths;
    yyjson_obj_iter it;
    yyjson_val *key;
    int rc = ALK_OK;

    if (!oas_member(im, &root, "paths", &paths) || !yyjson_is_obj(paths.val)) {
        oas_warn(im, &root, "has no paths");
        return ALK_OK;
    }
    it = yyjson_obj_iter_with(paths.val);
    while (!rc && (key = yyjson_obj_iter_next(&it))) {
        struct oas_place at = {paths.doc, yyjson_obj_iter_get_val(key)};
        struct oas_item item = {.path = json_string(key)};

        if (str_starts(item.path, "x-"))
            continue;
        if (!item.path.n || item.path.p[0] != '/')
            oas_warn(im, &at, "a path must begin with a slash");
        else if (item.path.n > OAS_PATH_BYTES)
            oas_warn(im, &at, "a path may have %u bytes", OAS_PATH_BYTES);
        else if (oas_follow(im, &at, &item.path_item))
            rc = find_path(im, &item);
    }
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static const struct abi abi_openapi_options = ABI_PLAIN(alk_openapi_options, ud);

static int check_version(struct oas_import *im)
{
    yyjson_val *root = im->docs.root->root;
    struct str version = json_string(yyjson_obj_get(root, "openapi"));

    if (yyjson_obj_get(root, "swagger"))
        return oas_fail(im, ALK_EINVAL,
                        "the document is of Swagger 2.0: convert it to OpenAPI 3 first");
    im->old = str_starts(version, "3.0");
    if (!im->old && !str_starts(version, "3.1") && !str_starts(version, "3.2"))
        return oas_fail(im, ALK_EINVAL, "the document is no OpenAPI 3.0, 3.1 or 3.2: openapi is %s",
                        version.p ? "something else" : "missing");
    return ALK_OK;
}

/* One operation that cannot be registered is left out; its plan goes with it. */
static int add(struct oas_import *im, const struct oas_item *item, const alk_operation *op)
{
    int rc = registry_add_forwarder(im->reg, op);
    const char *why = alk_registry_error(im->reg);

    if (rc == ALK_EEXIST || rc == ALK_EFROZEN || rc == ALK_ENOMEM)
        return oas_fail(im, rc, "%s", rc == ALK_EFROZEN ? alk_strerror(rc) : why);
    if (*why)
        oas_warn(im, &item->op, "%s", why);
    return rc ? ALK_EINVAL : ALK_OK;
}

static int make_items(struct oas_import *im, size_t *count)
{
    size_t done = 0;
    int rc = im->lost ? ALK_ENOMEM : ALK_OK;

    for (; !rc && done < im->item_count; done++) {
        struct oas_item *item = &im->items[done];
        alk_operation op;

        arena_reset(&im->scratch);
        rc = oas_build(im, item, &op);
        if (!rc)
            rc = add(im, item, &op);
        item->added = !rc;
        if (!rc) {
            item->type = op.type;
            item->base = ((struct oas_operation *)op.ud)->plan.base.p;
        }
        *count += item->added;
        if (rc == ALK_EINVAL)
            rc = ALK_OK;
        if (im->lost)
            rc = ALK_ENOMEM;
    }
    for (size_t i = 0; rc && i < done; i++) {
        if (im->items[i].added)
            registry_remove(im->reg, im->items[i].name.p, im->items[i].name.n);
        *count = 0;
    }
    return rc;
}

static void tell_items(const struct oas_import *im)
{
    for (size_t i = 0; im->o->on_operation && i < im->item_count; i++) {
        const struct oas_item *item = &im->items[i];

        if (item->added)
            im->o->on_operation(im->o->ud, item->name.p, item->type, item->method.p, item->base,
                                item->path.p);
    }
}

static bool meter_take(struct meter *m, size_t bytes, bool begins)
{
    struct oas_import *im = container_of(m, struct oas_import, meter);

    (void)begins;
    if (bytes > OAS_MEMORY - im->held) {
        im->full = true;
        return false;
    }
    im->held += bytes;
    return true;
}

static void meter_force(struct meter *m, size_t bytes)
{
    container_of(m, struct oas_import, meter)->held += bytes;
}

static void meter_give(struct meter *m, size_t bytes)
{
    container_of(m, struct oas_import, meter)->held -= bytes;
}

static const struct meter_ops meter_ops = {meter_take, meter_force, meter_give, NULL};

static struct oas_service *service_new(void)
{
    struct oas_service *service;
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    service = mem_zalloc(&plain, sizeof *service);
    if (!service)
        return NULL;
    service->refs = 1;
    mem_init(&service->mem, NULL, NULL);
    arena_init(&service->arena, &service->mem, 65536);
    return service;
}

void oas_service_unref(struct oas_service *service)
{
    struct mem plain;

    if (__atomic_fetch_sub(&service->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    arena_fini(&service->arena);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, service);
}

static int import_opened(struct oas_import *im, size_t *count)
{
    int rc;

    if ((rc = check_version(im)))
        return rc;
    oas_schemas_init(&im->schemas, &im->docs, im->old, im->seed);
    map_init(&im->names, im->docs.mem, im->seed);
    arena_charge(&im->schemas.arena, &im->meter);
    arena_charge(&im->schemas.scratch, &im->meter);
    if (!(rc = oas_read_options(im)) && !(rc = oas_read_base(im)) && !(rc = find_items(im)) &&
        !(rc = oas_name_items(im)))
        rc = make_items(im, count);
    if (!rc)
        tell_items(im);
    if (im->warnings > OAS_WARNINGS && im->o->on_warning) {
        char text[64];

        snprintf(text, sizeof text, "and %u more", im->warnings - OAS_WARNINGS);
        im->o->on_warning(im->o->ud, "", text);
    }
    for (struct map_node *n; (n = map_any(&im->names));)
        map_del(&im->names, n);
    map_fini(&im->names);
    oas_schemas_fini(&im->schemas);
    return rc;
}

static bool prefix_valid(const char *prefix)
{
    return prefix && name_valid(prefix, strlen(prefix)) && strlen(prefix) <= NAME_MAX_BYTES / 2 &&
           !name_reserved(str_of(prefix));
}

static int import(alk_registry *reg, const struct oas_source *from, const alk_openapi_options *o,
                  size_t *count, char *err, size_t err_size)
{
    struct oas_import im = {.reg = reg, .o = o, .err = err, .err_size = err_size};
    struct buf *const bufs[] = {&im.input, &im.output, &im.errors, &im.text};
    char why[OAS_WHY];
    struct mem mem;
    int rc;

    *count = 0;
    if (reg->frozen)
        return oas_fail(&im, ALK_EFROZEN, "%s", alk_strerror(ALK_EFROZEN));
    if (!prefix_valid(o->namespace_prefix))
        return oas_fail(&im, ALK_EINVAL,
                        "namespace_prefix: must be the beginning of a name, at most %u bytes, and "
                        "not services or peers",
                        NAME_MAX_BYTES / 2);
    if (o->is_public && o->access_control)
        return oas_fail(&im, ALK_EINVAL, "is_public: there is an access rule");
    if (reg->host->random(im.seed, sizeof im.seed))
        return oas_fail(&im, ALK_ESYSTEM, "there is no randomness");
    mem_init(&mem, NULL, NULL);
    rc = oas_documents_open(&im.docs, &mem, from, why, sizeof why);
    if (rc)
        return oas_fail(&im, rc, "%s", why);
    im.meter.ops = &meter_ops;
    arena_init(&im.arena, &mem, 16384);
    arena_init(&im.scratch, &mem, 16384);
    arena_charge(&im.arena, &im.meter);
    arena_charge(&im.scratch, &im.meter);
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        buf_init(bufs[i], &mem);
        buf_charge(bufs[i], &im.meter);
    }
    im.service = service_new();
    if (im.service)
        arena_charge(&im.service->arena, &im.meter);
    rc = im.service ? import_opened(&im, count) : ALK_ENOMEM;
    if (rc == ALK_ENOMEM && im.full)
        rc = oas_fail(&im, ALK_ELIMIT, "what the document describes needs more than %u bytes",
                      OAS_MEMORY);
    else if (rc == ALK_ENOMEM)
        oas_fail(&im, rc, "out of memory");
    if (im.service) {
        arena_charge(&im.service->arena, NULL);
        oas_service_unref(im.service);
    }
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        buf_fini(bufs[i]);
    arena_fini(&im.scratch);
    arena_fini(&im.arena);
    oas_documents_close(&im.docs);
    assert(mem.live == 0);
    return rc;
}

int alk_registry_import_openapi(alk_registry *reg, const char *document, size_t len,
                                const alk_openapi_options *o, size_t *count, char *err,
                                size_t err_size)
{
    alk_openapi_options own;
    struct oas_source from = {.text = document, .len = len};
    size_t unused;

    o = abi_take(&abi_openapi_options, &own, o, err, err_size);
    if (o && !document && !o->file && err)
        snprintf(err, err_size, "file: missing");
    if (!o || (!document && !o->file))
        return ALK_EINVAL;
    from.file = o->file;
    from.url = o->document_url;
    return import(reg, &from, o, count ? count : &unused, err, err_size);
}
