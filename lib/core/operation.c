/* Makes operations from their public description: every text is parsed and checked once, here, so
 * that a registered operation cannot be malformed, and a call finds nothing in it that could fail.
 *
 * It is strict. A member that is not known is refused everywhere, since a misspelled rule that
 * passed for an absent one would leave an operation open to all. Each refusal names the operation,
 * the member and the place, as the author of a registration has nothing else to go by. */
#include "core/operation.h"

#include "base/json.h"
#include "base/utf8.h"
#include "schema/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEC_DEPTH 100u /* what services/schema answers must fit in a message */
#define SPEC_VALUES 1000000u
/* Of what remotes may say as well, in an import: each check of access goes through the scopes. */
#define SCOPES_MAX 256u
#define ERRORS_MAX 256u
/* Each nested call goes through them. */
#define ENVIRONMENT_MAX 4096u

/* What each step of making one operation needs. The parse trees are in scratch and go with it;
 * what the operation keeps is copied into its own arena. */
struct maker {
    struct operation *op;
    const alk_operation *in;
    const struct host *host;
    struct mem *mem;
    bool imported;
    struct op_diag *diag;
    struct arena scratch;
};

/* Returns rc, so that a refusal is one line where it happens. */
static int bad(struct maker *m, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int bad(struct maker *m, int rc, const char *fmt, ...)
{
    int n = snprintf(m->diag->text, sizeof m->diag->text,
                     "operation %.256s: ", m->in->name ? m->in->name : "(no name)");
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(m->diag->text + n, sizeof m->diag->text - (size_t)n, fmt, ap);
    va_end(ap);
    return rc;
}

static const char *const type_names[] = {
    [ALK_QUERY] = "query", [ALK_MUTATION] = "mutation", [ALK_SUBSCRIPTION] = "subscription"};

const char *operation_type_name(uint32_t type)
{
    return type_names[type];
}

uint32_t operation_type(struct str name)
{
    for (uint32_t type = ALK_QUERY; type <= ALK_SUBSCRIPTION; type++) {
        if (str_is(name, type_names[type]))
            return type;
    }
    return 0;
}

static bool segment_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '~' || c == '-';
}

/* Names look like paths, and others put them into paths and patterns: "." and ".." would be
 * resolved away there (RFC 3986, 5.2.4), and an empty segment would make two names of one. No
 * character needs escaping in JSON or in a URL (they are unreserved in RFC 3986, 2.3). */
bool name_valid(const char *s, size_t len)
{
    size_t start = 0;

    if (len == 0 || len > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && s[i] != '/') {
            if (!segment_char(s[i]))
                return false;
            continue;
        }
        if (i == start || (i - start == 1 && s[start] == '.') ||
            (i - start == 2 && s[start] == '.' && s[start + 1] == '.'))
            return false;
        start = i + 1;
    }
    return true;
}

/* No slash, which ends it in "peer/ns/op". "local" is the node itself in services/list-peers. */
bool peer_id_valid(const char *s, size_t len)
{
    if (len < 1 || len > PEER_ID_MAX_BYTES || (len == 5 && !memcmp(s, "local", 5)))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!segment_char(s[i]) || s[i] == '~')
            return false;
    }
    return true;
}

bool name_reserved(struct str name)
{
    const char *slash = memchr(name.p, '/', name.n);
    size_t n = slash ? (size_t)(slash - name.p) : name.n;

    return (n == 8 && !memcmp(name.p, "services", 8)) || (n == 5 && !memcmp(name.p, "peers", 5));
}

int operation_by_name(const void *a, const void *b)
{
    const struct operation *x = *(struct operation *const *)a, *y = *(struct operation *const *)b;

    return strcmp(x->by_name.key, y->by_name.key);
}

struct str name_strip(const char *s, size_t len)
{
    return len && s[0] == '/' ? (struct str){s + 1, len - 1} : (struct str){s, len};
}

/* Parses a copy of a member's JSON text, since the parser works in place and the text is the
 * program's; *out is NULL when the member is not given. */
static int parse(struct maker *m, const char *member, const char *text, yyjson_val **out)
{
    static const struct json_limits limits = {SPEC_DEPTH, SPEC_VALUES};
    yyjson_alc alc = arena_alc(&m->scratch);
    struct json_error je;
    yyjson_doc *doc;
    size_t len;
    char *copy;
    int rc;

    *out = NULL;
    if (!text)
        return ALK_OK;
    len = strlen(text);
    copy = arena_alloc(&m->scratch, len + JSON_PADDING);
    if (!copy)
        return bad(m, ALK_ENOMEM, "out of memory");
    memcpy(copy, text, len);
    rc = json_parse(copy, len, &limits, &alc, &doc, &je);
    if (rc)
        return bad(m, json_err(rc), "%s: %s", member, je.text);
    *out = yyjson_doc_get_root(doc);
    return ALK_OK;
}

static struct str keep(struct maker *m, const char *s, size_t len)
{
    return (struct str){arena_dup(&m->op->arena, s, len), len};
}

/* The strings of an array member; absent is empty. where is for the message. */
static int strings(struct maker *m, yyjson_val *obj, const char *where, const char *member,
                   size_t most, const struct str **out, size_t *count)
{
    yyjson_val *arr = yyjson_obj_get(obj, member), *v;
    size_t i, n = yyjson_arr_size(arr);
    struct str *s;

    *out = NULL;
    *count = 0;
    if (!arr || yyjson_is_null(arr))
        return ALK_OK;
    if (!yyjson_is_arr(arr))
        return bad(m, ALK_EINVAL, "%s/%s: must be an array of strings", where, member);
    if (n > most)
        return bad(m, ALK_EINVAL, "%s/%s: must be at most %zu strings", where, member, most);
    s = arena_alloc(&m->op->arena, (n + 1) * sizeof *s);
    if (!s)
        return bad(m, ALK_ENOMEM, "out of memory");
    yyjson_arr_foreach(arr, i, n, v)
    {
        if (!yyjson_is_str(v) || !yyjson_get_len(v))
            return bad(m, ALK_EINVAL, "%s/%s/%zu: must be a string", where, member, i);
        s[i] = keep(m, yyjson_get_str(v), yyjson_get_len(v));
        if (!s[i].p)
            return bad(m, ALK_ENOMEM, "out of memory");
    }
    *out = s;
    *count = n;
    return ALK_OK;
}

static int text_member(struct maker *m, yyjson_val *obj, const char *where, const char *member,
                       struct str *out)
{
    yyjson_val *v = yyjson_obj_get(obj, member);

    *out = (struct str){"", 0};
    if (!v || yyjson_is_null(v))
        return ALK_OK;
    if (!yyjson_is_str(v))
        return bad(m, ALK_EINVAL, "%s/%s: must be a string", where, member);
    *out = keep(m, yyjson_get_str(v), yyjson_get_len(v));
    return out->p ? ALK_OK : bad(m, ALK_ENOMEM, "out of memory");
}

/* Without NUL: providers get these as C strings. */
static int string_member(struct maker *m, yyjson_val *obj, const char *where, const char *member,
                         struct str *out)
{
    int rc = text_member(m, obj, where, member, out);

    return !rc && memchr(out->p, 0, out->n)
               ? bad(m, ALK_EINVAL, "%s/%s: must be a string without NUL", where, member)
               : rc;
}

/* Where strictness is: see the head of this file. */
static int object_with(struct maker *m, yyjson_val *v, const char *what, const char *const *known)
{
    yyjson_val *unknown;
    char shown[JSON_SHOWN];

    if (!yyjson_is_obj(v))
        return bad(m, ALK_EINVAL, "%s: must be an object", what);
    unknown = json_unknown_member(v, known);
    return unknown ? bad(m, ALK_EINVAL, "%s/%s: unknown member", what, json_show(unknown, shown))
                   : ALK_OK;
}

static int make_access(struct maker *m)
{
    static const char *const known[] = {"required_scopes", "required_scopes_any", "resource_type",
                                        "resource_action", "authenticated",       NULL};
    static const char where[] = "access_control";
    struct access *a = &m->op->access;
    yyjson_val *v, *auth;
    int rc = parse(m, where, m->in->access_control, &v);

    a->resource_type = a->resource_action = (struct str){"", 0};
    if (rc || !v)
        return rc;
    auth = yyjson_obj_get(v, "authenticated");
    if ((rc = object_with(m, v, where, known)) ||
        (rc = strings(m, v, where, "required_scopes", SCOPES_MAX, &a->scopes, &a->scope_count)) ||
        (rc = strings(m, v, where, "required_scopes_any", SCOPES_MAX, &a->any, &a->any_count)) ||
        (rc = string_member(m, v, where, "resource_type", &a->resource_type)) ||
        (rc = string_member(m, v, where, "resource_action", &a->resource_action)))
        return rc;
    if (auth && !yyjson_is_bool(auth) && !yyjson_is_null(auth))
        return bad(m, ALK_EINVAL, "%s/authenticated: must be true or false", where);
    /* Nobody can have one scope of an empty list. In a registration that is a mistake; remotes
     * write an empty list for "not given". */
    if (yyjson_is_arr(yyjson_obj_get(v, "required_scopes_any")) && !a->any_count && !m->imported)
        return bad(m, ALK_EINVAL, "%s/required_scopes_any: must not be empty", where);
    /* An action on nothing would be no rule at all, and look like one. */
    if (a->resource_action.n && !a->resource_type.n)
        return bad(m, ALK_EINVAL, "%s/resource_action: needs a resource_type", where);
    a->authenticated = yyjson_is_true(auth);
    return ALK_OK;
}

/* Only its form is checked. That it leads somewhere is up to each input, and where it does not,
 * access is denied. Without a type there would be nothing to check, and the author would believe
 * in a rule that is none. */
static int make_resource_path(struct maker *m)
{
    struct str p = str_of(m->in->resource_id_path);

    if (!p.p)
        return ALK_OK;
    if (m->in->resource_id_path_len)
        p.n = m->in->resource_id_path_len;
    if ((p.n && *p.p != '/') || !utf8_valid(p.p, p.n))
        return bad(m, ALK_EINVAL, "resource_id_path: must be a JSON pointer");
    for (size_t i = 0; i < p.n; i++) {
        if (p.p[i] == '~' && (i + 1 == p.n || (p.p[i + 1] != '0' && p.p[i + 1] != '1')))
            return bad(m, ALK_EINVAL, "resource_id_path: must be a JSON pointer");
    }
    if (!m->op->access.resource_type.n)
        return bad(m, ALK_EINVAL, "resource_id_path: needs a resource_type in access_control");
    m->op->resource_id_path = keep(m, p.p, p.n);
    return m->op->resource_id_path.p ? ALK_OK : bad(m, ALK_ENOMEM, "out of memory");
}

/* The id has a prefix, so that a record tells a handler from a person. That no configured identity
 * has the same one is looked at when identities are loaded (registry_has_authority). */
static int make_authority(struct maker *m)
{
    static const char *const known[] = {"label", "scopes", "resources", NULL};
    yyjson_val *v;
    const char *label, *why;
    char id[NAME_MAX_BYTES + 16];
    size_t len;
    int rc = parse(m, "authority", m->in->authority, &v);

    if (rc || !v)
        return rc;
    if ((rc = object_with(m, v, "authority", known)))
        return rc;
    label = json_str(v, "label", &len);
    if (!label || !len || len > NAME_MAX_BYTES || memchr(label, 0, len))
        return bad(m, ALK_EINVAL, "authority/label: must be a string of 1 to %u bytes",
                   NAME_MAX_BYTES);
    len = (size_t)snprintf(id, sizeof id, "handler:%s", label);
    m->op->authority =
        identity_make(id, len, yyjson_obj_get(v, "scopes"), yyjson_obj_get(v, "resources"), &why);
    if (m->op->authority)
        return ALK_OK;
    return bad(m, !strcmp(why, "out of memory") ? ALK_ENOMEM : ALK_EINVAL, "authority: %s", why);
}

/* "ns/op", or "ns/" with a star, which is stored as "ns/". A star stands at the end alone: what an
 * operation reaches must be plain to who reads its registration. */
static int check_pattern(struct maker *m, const char *member, struct str *s)
{
    struct str name = name_strip(s->p, s->n);

    if (name.n > 2 && name.p[name.n - 1] == '*' && name.p[name.n - 2] == '/' &&
        name_valid(name.p, name.n - 2))
        name.n--;
    else if (!name_valid(name.p, name.n))
        return bad(m, ALK_EINVAL, "environment/%s: \"%.256s\" is no operation name", member, s->p);
    *s = name;
    return ALK_OK;
}

/* The arrays are this operation's own copies, so they may be changed in place. */
static int make_environment(struct maker *m)
{
    static const char *const known[] = {"allowed_ops", "peer_pinned", NULL};
    struct environment *e;
    yyjson_val *v;
    int rc = parse(m, "environment", m->in->environment, &v);

    if (rc || !v)
        return rc;
    if ((rc = object_with(m, v, "environment", known)))
        return rc;
    e = m->op->env = arena_zalloc(&m->op->arena, sizeof *e);
    if (!e)
        return bad(m, ALK_ENOMEM, "out of memory");
    if ((rc = strings(m, v, "environment", "allowed_ops", ENVIRONMENT_MAX, &e->allowed,
                      &e->allowed_count)) ||
        (rc = strings(m, v, "environment", "peer_pinned", ENVIRONMENT_MAX, &e->pinned,
                      &e->pinned_count)))
        return rc;
    for (size_t i = 0; !rc && i < e->allowed_count; i++)
        rc = check_pattern(m, "allowed_ops", (struct str *)&e->allowed[i]);
    for (size_t i = 0; !rc && i < e->pinned_count; i++) {
        const struct str *s = &e->pinned[i];
        const char *slash = memchr(s->p, '/', s->n);
        size_t id = slash ? (size_t)(slash - s->p) : 0;

        if (!peer_id_valid(s->p, id) || !name_valid(s->p + id + 1, s->n - id - 1))
            rc = bad(m, ALK_EINVAL, "environment/peer_pinned: \"%.256s\" is not peer/operation",
                     s->p);
    }
    return rc;
}

/* At registration and not at the first call: an author learns of a mistake at once, and a caller
 * cannot make the node compile. */
static int compile(struct maker *m, const char *member, yyjson_val *root, struct schema **out)
{
    struct schema_options o = {.host = m->host, .mem = m->mem};
    struct schema_diag diag;
    int rc;

    *out = NULL;
    if (!root)
        return ALK_OK;
    rc = schema_compile(out, root, &o, &diag);
    if (rc == SCHEMA_ENOMEM)
        return bad(m, ALK_ENOMEM, "out of memory");
    if (!rc)
        return ALK_OK;
    /* Of an imported operation it stays for display, and the text is a warning: the remote checks
     * its input itself, maybe with keywords that are not known here. */
    bad(m, ALK_ESCHEMA, "%s%s: %s", member, diag.path, diag.text);
    return m->imported ? ALK_OK : ALK_ESCHEMA;
}

/* Nobody checks details: it is compiled for its author to learn of a mistake, and thrown away. */
static int try_details(struct maker *m, yyjson_val *schema, const char *where)
{
    char member[64];
    struct schema *details;
    int rc;

    snprintf(member, sizeof member, "%s/schema", where);
    rc = compile(m, member, schema, &details);
    schema_free(details);
    return rc;
}

static int make_error(struct maker *m, yyjson_val *v, size_t at)
{
    static const char *const known[] = {"code", "description", "schema", "http_status", NULL};
    struct error_spec *e = &m->op->errors[at];
    yyjson_val *status = yyjson_obj_get(v, "http_status");
    yyjson_val *schema = yyjson_obj_get(v, "schema");
    struct str code, description;
    char where[48];
    int rc;

    snprintf(where, sizeof where, "error_schemas/%zu", at);
    if ((rc = object_with(m, v, where, known)) || (rc = text_member(m, v, where, "code", &code)) ||
        (rc = text_member(m, v, where, "description", &description)))
        return rc;
    if (!code.n)
        return bad(m, ALK_EINVAL, "%s/code: must be a string", where);
    if (status && !yyjson_is_null(status) &&
        (!yyjson_is_uint(status) || yyjson_get_uint(status) < 400 || yyjson_get_uint(status) > 599))
        return bad(m, ALK_EINVAL, "%s/http_status: must be 400 to 599", where);
    e->code = code;
    e->description = description;
    e->http_status = (int)yyjson_get_uint(status);
    if (schema && !yyjson_is_null(schema)) {
        yyjson_alc alc = arena_alc(&m->scratch);
        /* yyjson takes several times what it then fills. */
        char *text = yyjson_val_write_opts(schema, 0, &alc, &e->schema_json_len, NULL);

        e->schema_json = text ? arena_dup(&m->op->arena, text, e->schema_json_len) : NULL;
        if (!e->schema_json)
            return bad(m, ALK_ENOMEM, "out of memory");
        return m->imported ? ALK_OK : try_details(m, schema, where);
    }
    return ALK_OK;
}

/* Equal ones in the order of the list. */
static int by_code(const void *a, const void *b)
{
    const struct error_spec *x = *(struct error_spec *const *)a;
    const struct error_spec *y = *(struct error_spec *const *)b;
    int c;

    if (x->code.n != y->code.n)
        return x->code.n < y->code.n ? -1 : 1;
    c = memcmp(x->code.p, y->code.p, x->code.n);
    return c ? c : (x > y) - (x < y);
}

/* A code twice would have two meanings, and the schema of which one would be a matter of luck. */
static int check_codes(struct maker *m)
{
    const struct operation *op = m->op;
    struct error_spec **sorted = arena_alloc(&m->scratch, (op->error_count + 1) * sizeof *sorted);

    if (!sorted)
        return bad(m, ALK_ENOMEM, "out of memory");
    for (size_t i = 0; i < op->error_count; i++)
        sorted[i] = &op->errors[i];
    qsort(sorted, op->error_count, sizeof *sorted, by_code);
    for (size_t i = 1; i < op->error_count; i++) {
        if (str_eq(sorted[i - 1]->code, sorted[i]->code))
            return bad(m, ALK_EINVAL, "error_schemas/%zu/code: \"%.64s\" twice",
                       (size_t)(sorted[i] - op->errors), sorted[i]->code.p);
    }
    return ALK_OK;
}

static int make_errors(struct maker *m)
{
    yyjson_val *v, *item;
    size_t i, n;
    int rc = parse(m, "error_schemas", m->in->error_schemas, &v);

    if (rc || !v)
        return rc;
    if (!yyjson_is_arr(v) || yyjson_arr_size(v) > ERRORS_MAX)
        return bad(m, ALK_EINVAL, "error_schemas: must be an array of at most %u", ERRORS_MAX);
    m->op->errors = arena_zalloc(&m->op->arena, (yyjson_arr_size(v) + 1) * sizeof *m->op->errors);
    if (!m->op->errors)
        return bad(m, ALK_ENOMEM, "out of memory");
    yyjson_arr_foreach(v, i, n, item)
    {
        m->op->error_count = i + 1;
        if ((rc = make_error(m, item, i)))
            return rc;
    }
    return check_codes(m);
}

static int make_name(struct maker *m)
{
    const alk_operation *in = m->in;
    struct operation *op = m->op;
    struct str name;
    const char *slash;

    if (!in->name)
        return bad(m, ALK_EINVAL, "name: missing");
    name = name_strip(in->name, strlen(in->name));
    if (!name_valid(name.p, name.n))
        return bad(m, ALK_EINVAL,
                   "name: must be segments of A-Z a-z 0-9 _ . ~ - joined by '/', at most %u bytes",
                   NAME_MAX_BYTES);
    name = keep(m, name.p, name.n);
    if (!name.p)
        return bad(m, ALK_ENOMEM, "out of memory");
    op->by_name.key = name.p;
    op->by_name.len = name.n;
    /* The namespace is the first segment; a name of one segment is its own. */
    slash = memchr(name.p, '/', name.n);
    op->namespace_len = (uint32_t)(slash ? (size_t)(slash - name.p) : name.n);
    if (in->description) {
        op->description_len = in->description_len ? in->description_len : strlen(in->description);
        if (!utf8_valid(in->description, op->description_len))
            return bad(m, ALK_EINVAL, "description: must be UTF-8");
        op->description = arena_dup(&op->arena, in->description, op->description_len);
        if (!op->description)
            return bad(m, ALK_ENOMEM, "out of memory");
    }
    return ALK_OK;
}

/* Numbers of a program: one that is out of range may be of a newer version, and must not be taken
 * for something else. */
static int make_flags(struct maker *m)
{
    const alk_operation *in = m->in;

    if (in->type < ALK_QUERY || in->type > ALK_SUBSCRIPTION)
        return bad(m, ALK_EINVAL, "type: must be query, mutation or subscription");
    if (in->visibility != ALK_EXTERNAL && in->visibility != ALK_INTERNAL_ONLY)
        return bad(m, ALK_EINVAL, "visibility: must be external or internal");
    if (in->provenance > ALK_SESSION)
        return bad(m, ALK_EINVAL, "provenance: unknown");
    if (!in->handler && in->provenance != ALK_FROM_JSONSCHEMA)
        return bad(m, ALK_EINVAL, "handler: missing");
    m->op->type = (uint8_t)in->type;
    m->op->visibility = (uint8_t)in->visibility;
    m->op->provenance = (uint8_t)in->provenance;
    m->op->handler = in->handler;
    m->op->ud = in->ud;
    return ALK_OK;
}

/* By what stands at the schema's root. */
static bool never_object(yyjson_val *schema)
{
    yyjson_val *type = yyjson_obj_get(schema, "type"), *item;
    yyjson_arr_iter it = yyjson_arr_iter_with(type);

    while ((item = yyjson_arr_iter_next(&it))) {
        if (yyjson_equals_str(item, "object"))
            return false;
    }
    return type && !yyjson_equals_str(type, "object");
}

/* The name first, since the messages about all others name the operation. Resource path behind
 * access, which says whether it has a meaning. */
static int make_all(struct maker *m)
{
    yyjson_val *input, *output;
    int rc;

    if ((rc = make_name(m)) || (rc = make_flags(m)) || (rc = make_access(m)) ||
        (rc = make_resource_path(m)) || (rc = make_authority(m)) || (rc = make_environment(m)) ||
        (rc = make_errors(m)) || (rc = parse(m, "input_schema", m->in->input_schema, &input)) ||
        (rc = parse(m, "output_schema", m->in->output_schema, &output)) ||
        (rc = compile(m, "input_schema", input, &m->op->input)))
        return rc;
    /* Only debug_outputs looks at it, for the author of the handler. What others describe by the
     * thousand, and long, would cost most of its import and of its memory by that. */
    if (!m->imported && (rc = compile(m, "output_schema", output, &m->op->output)))
        return rc;
    m->op->bare = never_object(input);
    m->op->blocks = yyjson_is_true(yyjson_obj_get(output, OPERATION_BLOCKS));
    if (capabilities_copy(&m->op->caps, m->in->capabilities))
        return bad(m, ALK_ENOMEM, "out of memory");
    return operation_write(m->op, input, output, m->mem, &m->scratch)
               ? bad(m, ALK_ENOMEM, "out of memory")
               : ALK_OK;
}

int operation_new(struct operation **out, const alk_operation *in, const struct host *host,
                  struct mem *mem, bool imported, struct op_diag *diag)
{
    struct maker m = {.in = in, .host = host, .mem = mem, .imported = imported, .diag = diag};
    int rc;

    *out = NULL;
    diag->text[0] = 0;
    m.op = mem_zalloc(mem, sizeof *m.op);
    if (!m.op)
        return bad(&m, ALK_ENOMEM, "out of memory");
    arena_init(&m.op->arena, mem, 1024);
    arena_init(&m.scratch, mem, 4096);
    rc = make_all(&m);
    arena_fini(&m.scratch);
    if (rc) {
        operation_free(m.op, mem);
        return rc;
    }
    /* Last: until then a failure frees the operation without touching what is the caller's. */
    m.op->ud_free = in->ud_free;
    *out = m.op;
    return ALK_OK;
}

size_t operation_memory(const struct operation *op)
{
    return sizeof *op + op->arena.bytes + schema_memory(op->input) + schema_memory(op->output);
}

/* Also of one that is half made: what is not there is NULL or counted as 0. */
void operation_free(struct operation *op, struct mem *mem)
{
    if (op->ud_free)
        op->ud_free(op->ud);
    schema_free(op->input);
    schema_free(op->output);
    alk_identity_unref(op->authority);
    alk_capabilities_free(op->caps);
    arena_fini(&op->arena);
    mem_free(mem, op);
}
