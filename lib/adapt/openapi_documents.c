/* A document is read when the first reference leads to it, and stays: by its path below the folder.
 * One that could not be read stays too, with the reason, so that as many references to it cost one
 * attempt.
 *
 * A reference is resolved twice. As a URI, by RFC 3986 against what is around it, it may be that of
 * something that is there: then that is meant, however it looks like the network or a file. If not,
 * and it is relative, it is a path from the file that it stands in; whatever an $id or a $self says
 * about where that is, files lie where they lie. */
#include "adapt/openapi_documents.h"

#include "base/json.h"
#include "base/utf8.h"
#include "host/crypto.h"
#include "host/yaml.h"
#include "schema/uri.h"

#include <alknet/alknet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Of a document that was given without a URL: nobody can write one that means something else. */
#define OWN_SCHEME "document:///"
#define NAMES_BYTES (32u << 20) /* what $id and $anchor may cost, in all documents */
/* Two of the first, one of the second and a few words are a complaint of less than OAS_WHY. */
#define SHOWN_MAX 120u
#define FAULT_MAX 240u
#define ARENA_CHUNK 4096u

struct known {
    struct map_node by_uri;
    struct oas_place place;
};

/* ---- complaints ---- */

/* out holds SHOWN_MAX + 4 bytes. */
static const char *shown(char *out, struct str s)
{
    struct oas_line l = {out, SHOWN_MAX + 1, 0};

    *out = 0;
    if (!oas_line_add(&l, s))
        strcpy(out + l.len, "...");
    return out;
}

__attribute__((format(printf, 5, 6))) static int refuse(int code, char *why, size_t size,
                                                        struct str ref, const char *format, ...)
{
    char text[SHOWN_MAX + 4], reason[OAS_WHY];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    snprintf(why, size, "reference \"%s\" %s", shown(text, ref), reason);
    return code;
}

static int no_memory(char *why, size_t size)
{
    snprintf(why, size, "out of memory");
    return ALK_ENOMEM;
}

/* ---- reading ---- */

/* Why, without the document's name. What is of the document itself may hold anything. */
__attribute__((format(printf, 4, 5))) static int fault(char out[FAULT_MAX], int code, uint32_t line,
                                                       const char *format, ...)
{
    struct oas_line l = {out, FAULT_MAX, 0};
    char text[FAULT_MAX], at[24];
    va_list args;

    *out = 0;
    snprintf(at, sizeof at, "line %u: ", line);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (line)
        oas_line_add(&l, str_of(at));
    oas_line_add(&l, str_of(text));
    return code;
}

/* Of the C library's kind, so that a document that is none leaves nothing behind. */
static void *alc_malloc(void *mem, size_t size)
{
    return mem_alloc(mem, size);
}

static void *alc_realloc(void *mem, void *ptr, size_t old, size_t size)
{
    (void)old;
    return mem_realloc(mem, ptr, size);
}

static void alc_free(void *mem, void *ptr)
{
    mem_free(mem, ptr);
}

static size_t bytes_left(const struct oas_documents *d)
{
    return OAS_DOCUMENTS_BYTES - d->bytes;
}

/* What doc->text has. */
static int parse(struct oas_documents *d, struct oas_document *doc, char *why)
{
    const struct json_limits limits = {OAS_DEPTH, OAS_VALUES - d->values};
    const yyjson_alc alc = {alc_malloc, alc_realloc, alc_free, d->mem};
    struct json_error err;

    if (!buf_reserve(&doc->text, JSON_PADDING))
        return ALK_ENOMEM;
    switch (
        json_parse((char *)buf_at(&doc->text), doc->text.len, &limits, &alc, &doc->json, &err)) {
    case JSON_OK:
        d->values += (uint32_t)yyjson_doc_get_val_count(doc->json);
        return 0;
    case JSON_ENOMEM:
        return ALK_ENOMEM;
    case JSON_EDEPTH:
        return fault(why, ALK_EJSON, 0, "nested deeper than %u", OAS_DEPTH);
    case JSON_EVALUES:
        return fault(why, ALK_ELIMIT, 0, "more than %u values in all documents", OAS_VALUES);
    default:
        return fault(why, ALK_EJSON, 0, "%s", err.text);
    }
}

static int parse_json(struct oas_documents *d, struct oas_document *doc, struct str text, char *why)
{
    char *copy = buf_reserve(&doc->text, text.n + JSON_PADDING);

    if (!copy)
        return ALK_ENOMEM;
    memcpy(copy, text.p, text.n);
    buf_commit(&doc->text, text.n);
    return parse(d, doc, why);
}

/* What aliases stand for is counted also where it ends in a failure: it has taken its time. */
static int parse_yaml(struct oas_documents *d, struct oas_document *doc, struct str text, char *why)
{
    const uint32_t left = OAS_VALUES - d->values;
    const uint32_t values = left < OAS_YAML_VALUES ? left : OAS_YAML_VALUES;
    const size_t bytes = bytes_left(d) < OAS_DOCUMENT_BYTES ? bytes_left(d) : OAS_DOCUMENT_BYTES;
    const struct yaml_limits limits = {
        .depth = OAS_DEPTH,
        .values = values,
        .anchors = OAS_YAML_ANCHORS,
        .alias_values = values,
        .bytes = bytes,
        .alias_bytes = bytes,
    };
    struct yaml_error err;
    struct yaml_text yaml;
    int rc = yaml_read(&yaml, d->mem, text.p, text.n, &limits, false, false, &err);

    d->bytes += yaml.json.len < bytes ? yaml.json.len : bytes;
    doc->text = yaml.json;
    if (!rc)
        return parse(d, doc, why);
    d->values += yaml.values;
    return rc == ALK_ENOMEM ? rc : fault(why, rc, err.line, "%s", err.text);
}

static bool is_json(struct str *text)
{
    size_t i = 0, bom = utf8_bom(text->p, text->n);

    *text = (struct str){text->p + bom, text->n - bom};
    while (i < text->n &&
           (text->p[i] == ' ' || text->p[i] == '\t' || text->p[i] == '\n' || text->p[i] == '\r'))
        i++;
    return i < text->n && text->p[i] == '{';
}

static int parse_document(struct oas_documents *d, struct oas_document *doc, struct str text,
                          char *why)
{
    if (text.n > OAS_DOCUMENT_BYTES)
        return fault(why, ALK_EJSON, 0, "is larger than %u bytes", OAS_DOCUMENT_BYTES);
    if (text.n > bytes_left(d))
        return fault(why, ALK_ELIMIT, 0, "more than %u bytes in all documents",
                     OAS_DOCUMENTS_BYTES);
    d->bytes += text.n;
    return is_json(&text) ? parse_json(d, doc, text, why) : parse_yaml(d, doc, text, why);
}

/* ---- what a document is called ---- */

/* The first counts. */
static int know(struct oas_documents *d, struct str uri, struct oas_document *doc, yyjson_val *val)
{
    struct known *k;

    if (map_find(&d->by_uri, uri.p, uri.n))
        return 0;
    if (!(k = arena_alloc(&d->arena, sizeof *k)))
        return ALK_ENOMEM;
    k->by_uri.key = uri.p;
    k->by_uri.len = uri.n;
    k->place = (struct oas_place){doc, val};
    return map_add(&d->by_uri, &k->by_uri) ? ALK_ENOMEM : 0;
}

/* url: NULL for what was found by its path alone. */
static int base_of(struct oas_documents *d, struct oas_document *doc, const char *url,
                   struct str *base)
{
    struct str self = json_string(yyjson_obj_get(doc->root, "$self")), unused;
    char uri[OAS_URI_MAX];
    size_t len = 0;
    int rc = 0;

    *base = uri_split(str_of(url), &unused);
    if (!url) {
        len = (size_t)snprintf(uri, sizeof uri, OWN_SCHEME "%.*s", (int)doc->path.n, doc->path.p);
        *base = (struct str){uri, len < sizeof uri ? len : 0};
    }
    if (!(base->p = arena_dup(&d->arena, base->p, base->n)))
        return ALK_ENOMEM;
    if (url)
        rc = know(d, *base, doc, doc->root);
    self = uri_split(self, &unused);
    if (rc || !self.n || !uri_resolve(*base, self, uri, sizeof uri, &len))
        return rc;
    *base = (struct str){arena_dup(&d->arena, uri, len), len};
    return base->p ? know(d, *base, doc, doc->root) : ALK_ENOMEM;
}

/* names is as empty as it was when it fails. */
static int name_document(struct oas_documents *d, struct oas_document *doc, const char *url,
                         char *why)
{
    size_t values = yyjson_doc_get_val_count(doc->json);
    struct str base;
    int rc = base_of(d, doc, url, &base);

    if (rc)
        return rc;
    rc = oas_names_init(&doc->names, &d->arena, d->seed, doc->root, values, base, &d->names_left);
    for (uint32_t i = 1; i < doc->names.count && !rc; i++) {
        const struct oas_resource *r = &doc->names.resources[i];

        rc = know(d, r->uri, doc, doc->root + r->begin);
    }
    if (rc)
        oas_names_fini(&doc->names);
    return rc == ALK_ELIMIT ? fault(why, rc, 0, "has too many names ($id, $anchor)") : rc;
}

/* ---- documents ---- */

static int add_document(struct oas_documents *d, struct str path, struct oas_document **out)
{
    struct oas_document *doc = arena_zalloc(&d->arena, sizeof *doc);

    if (!doc || !(doc->path.p = arena_dup(&d->arena, path.p, path.n)))
        return ALK_ENOMEM;
    doc->path.n = path.n;
    doc->by_path.key = doc->path.p;
    doc->by_path.len = path.n;
    doc->number = d->files;
    buf_init(&doc->text, d->mem);
    if (map_add(&d->by_path, &doc->by_path))
        return ALK_ENOMEM;
    d->files++;
    *out = doc;
    return 0;
}

/* Without a root there is nothing of it. */
static void empty_document(struct oas_document *doc)
{
    doc->root = NULL;
    yyjson_doc_free(doc->json);
    doc->json = NULL;
    buf_fini(&doc->text);
}

static int fill_document(struct oas_documents *d, struct oas_document *doc, struct str text,
                         const char *url, char *why)
{
    int rc = parse_document(d, doc, text, why);

    if (!rc) {
        doc->root = yyjson_doc_get_root(doc->json);
        oas_lookup_init(&doc->lookup, &d->arena, d->seed, doc->root);
        rc = name_document(d, doc, url, why);
    }
    if (rc)
        empty_document(doc);
    return rc;
}

static int read_file(struct oas_documents *d, struct oas_document *doc, char *why)
{
    char err[FOLDER_PATH_MAX + 128], *data;
    size_t len;
    int rc = folder_read(&d->folder, doc->path.p, OAS_DOCUMENT_BYTES, &data, &len, err, sizeof err);

    if (rc == ALK_ENOMEM)
        return rc;
    if (rc)
        return fault(why, ALK_EINVAL, 0, "%s", err + doc->path.n + sizeof ": " - 1);
    rc = fill_document(d, doc, (struct str){data, len}, NULL, why);
    file_free(data, len);
    return rc;
}

/* The document of a path by folder_path. It may have a fault, or, after a want of memory, neither
 * that nor a root. */
static int reach(struct oas_documents *d, const char *path, struct oas_document **out)
{
    struct map_node *known = map_find(&d->by_path, path, strlen(path));
    struct oas_document *doc;
    char why[FAULT_MAX];
    int rc;

    if (known) {
        *out = container_of(known, struct oas_document, by_path);
        return 0;
    }
    if (d->files == OAS_FILES)
        return ALK_ELIMIT;
    if ((rc = add_document(d, str_of(path), out)))
        return rc;
    doc = *out;
    rc = read_file(d, doc, why);
    if (!rc || rc == ALK_ENOMEM)
        return rc;
    doc->fault_code = rc == ALK_ELIMIT ? rc : ALK_EINVAL;
    doc->fault = arena_dup(&d->arena, why, strlen(why));
    return doc->fault ? 0 : ALK_ENOMEM;
}

/* ---- references ---- */

/* What is known by a URI comes first. */
static const struct oas_place *find_known(const struct oas_documents *d, struct str base,
                                          struct str uri)
{
    char resolved[OAS_URI_MAX];
    struct map_node *node;
    size_t len;

    if (!d->by_uri.count || !uri_resolve(base, uri, resolved, sizeof resolved, &len))
        return NULL;
    node = map_find(&d->by_uri, resolved, len);
    return node ? &container_of(node, struct known, by_uri)->place : NULL;
}

/* Of a reference without its fragment; NULL: nothing. */
static const char *needs_more_than_files(struct str uri)
{
    const char *end = memchr(uri.p, ':', uri.n), *slash = memchr(uri.p, '/', uri.n);

    if (str_starts(uri, "//") || str_starts(uri, "http:") || str_starts(uri, "https:"))
        return "would need the network, and nothing is fetched";
    if (end && (!slash || end < slash))
        return "has a scheme, and nothing is fetched";
    return memchr(uri.p, '?', uri.n) ? "has a query, and a file has none" : NULL;
}

/* The document that uri means, which is relative to where `from` is. */
static int find_file(struct oas_documents *d, const struct oas_document *from, struct str ref,
                     struct str uri, struct oas_document **out, char *why, size_t size)
{
    const char *fault_of = needs_more_than_files(uri);
    char path[OAS_REF_BYTES], normal[FOLDER_PATH_MAX];
    int rc;

    if (fault_of)
        return refuse(ALK_EINVAL, why, size, ref, "%s", fault_of);
    if (!d->has_folder)
        return refuse(ALK_EINVAL, why, size, ref,
                      "leads to another file, and the document was not read from one");
    memcpy(path, uri.p, uri.n);
    uri.n = uri_decode(path, uri.n);
    if ((fault_of = folder_path(from->path, (struct str){path, uri.n}, normal)))
        return refuse(ALK_EINVAL, why, size, ref, "%s", fault_of);
    rc = reach(d, normal, out);
    if (rc == ALK_ELIMIT)
        return refuse(rc, why, size, ref, "leads to more than %u files", OAS_FILES);
    return rc ? no_memory(why, size) : 0;
}

static int find_fragment(struct oas_document *doc, const struct oas_resource *in,
                         struct str fragment, yyjson_val **out)
{
    *out = doc->root + in->begin;
    if (fragment.n == 0)
        return 0;
    if (*fragment.p == '/')
        return oas_lookup_pointer(&doc->lookup, *out, fragment, out);
    *out = oas_names_anchor(&doc->names, in, fragment);
    return 0;
}

/* Many do not know what an $id changes: what is not in the resource may be in the document. */
static int find_place(struct oas_document *doc, const struct oas_resource *in, struct str fragment,
                      struct oas_place *out)
{
    const struct oas_resource *whole = oas_names_around(&doc->names, doc->root);
    int rc = find_fragment(doc, in, fragment, &out->val);

    out->doc = doc;
    return out->val || rc || in == whole ? rc : find_fragment(doc, whole, fragment, &out->val);
}

static int no_document(const struct oas_document *doc, struct str ref, char *why, size_t size)
{
    char path[SHOWN_MAX + 4];

    if (!doc->fault)
        return no_memory(why, size);
    return refuse(doc->fault_code, why, size, ref, "cannot be followed: %s: %s",
                  shown(path, doc->path), doc->fault);
}

int oas_resolve(struct oas_documents *d, const struct oas_place *from, struct str ref,
                struct oas_place *out, char *why, size_t why_size)
{
    const struct oas_resource *in = oas_names_around(&from->doc->names, from->val);
    struct oas_document *doc = from->doc;
    const struct oas_place *known;
    char decoded[OAS_REF_BYTES];
    struct str fragment, uri;
    int rc;

    if (ref.n > OAS_REF_BYTES)
        return refuse(ALK_EINVAL, why, why_size, ref, "is longer than %u bytes", OAS_REF_BYTES);
    uri = uri_split(ref, &fragment);
    if (uri.n && (known = find_known(d, in->uri, uri))) {
        doc = known->doc;
        in = doc->root ? oas_names_around(&doc->names, known->val) : NULL;
    } else if (uri.n) {
        if ((rc = find_file(d, from->doc, ref, uri, &doc, why, why_size)))
            return rc;
        in = doc->root ? oas_names_around(&doc->names, doc->root) : NULL;
    }
    if (!in)
        return no_document(doc, ref, why, why_size);
    memcpy(decoded, fragment.p, fragment.n);
    fragment = (struct str){decoded, uri_decode(decoded, fragment.n)};
    if ((rc = find_place(doc, in, fragment, out)))
        return no_memory(why, why_size);
    return out->val ? 0 : refuse(ALK_EINVAL, why, why_size, ref, "leads nowhere");
}

int oas_deref(struct oas_documents *d, const struct oas_place *from, struct oas_place *out,
              char *why, size_t why_size)
{
    struct oas_place at = *from, before = *from;
    yyjson_val *ref;
    int rc = 0;

    for (uint32_t hops = 0; !rc; hops++) {
        *out = at;
        if (oas_lookup_member(&at.doc->lookup, at.val, str_of("$ref"), &ref))
            return no_memory(why, why_size);
        if (!yyjson_is_str(ref))
            return 0;
        if (hops == OAS_HOPS)
            return refuse(ALK_EINVAL, why, why_size, json_string(ref),
                          "comes after %u others that lead to it", OAS_HOPS);
        rc = oas_resolve(d, out, json_string(ref), &at, why, why_size);
        if (!rc && at.val == before.val)
            return refuse(ALK_EINVAL, why, why_size, json_string(ref),
                          "refers to itself in a circle");
        /* A circle is longer than the way to it only until a power of two is passed. */
        if ((hops & (hops + 1)) == 0)
            before = at;
    }
    return rc;
}

bool oas_where(struct oas_documents *d, const struct oas_place *place, char *out, size_t size)
{
    struct oas_line l = {out, size, 0};

    *out = 0;
    if (place->doc != d->root &&
        (!oas_line_add(&l, place->doc->path) || !oas_line_add(&l, str_of("#"))))
        return true;
    if (!oas_lookup_where(&place->doc->lookup, place->val, out + l.len, size - l.len))
        return true;
    *out = 0;
    return false;
}

/* ---- all of them ---- */

/* The root's folder, and what it is called there: a name that is no path names nothing. */
static int open_folder(struct oas_documents *d, const char *file, char *name, char *why,
                       size_t why_size)
{
    const char *slash = strrchr(file, '/');
    size_t len = slash > file ? (size_t)(slash - file) : 1;
    char *path = mem_dup(d->mem, slash ? file : ".", len);
    int rc;

    if (!path)
        return no_memory(why, why_size);
    rc = folder_open(&d->folder, path, why, why_size);
    mem_free(d->mem, path);
    d->has_folder = !rc;
    if (folder_path(STR_NONE, str_of(slash ? slash + 1 : file), name))
        *name = 0;
    return rc;
}

static int read_root(struct oas_documents *d, const struct oas_source *from, char *why,
                     size_t why_size)
{
    const char *name = from->file ? from->file : "the document";
    struct str text = {from->text, from->len};
    char text_why[FAULT_MAX], shown_name[SHOWN_MAX + 4];
    char *data = NULL;
    int rc = 0;

    if (!from->text) {
        rc = file_read(from->file, 0, OAS_DOCUMENT_BYTES, &data, &text.n, why, why_size);
        text.p = data;
    }
    if (rc)
        return rc == ALK_ENOMEM ? no_memory(why, why_size) : rc;
    rc = fill_document(d, d->root, text, from->url, text_why);
    file_free(data, text.n);
    if (rc == ALK_ENOMEM)
        return no_memory(why, why_size);
    if (rc)
        snprintf(why, why_size, "%s: %s", shown(shown_name, str_of(name)), text_why);
    return rc ? ALK_EJSON : 0;
}

int oas_documents_open(struct oas_documents *d, struct mem *mem, const struct oas_source *from,
                       char *why, size_t why_size)
{
    char name[FOLDER_PATH_MAX] = "";
    int rc;

    memset(d, 0, sizeof *d);
    d->mem = mem;
    d->names_left = NAMES_BYTES;
    arena_init(&d->arena, mem, ARENA_CHUNK);
    map_init(&d->by_path, mem, d->seed);
    map_init(&d->by_uri, mem, d->seed);
    if (crypto_random(d->seed, sizeof d->seed)) {
        snprintf(why, why_size, "no random bytes");
        return ALK_ESYSTEM;
    }
    rc = from->file ? open_folder(d, from->file, name, why, why_size) : 0;
    if (!rc && (rc = add_document(d, str_of(name), &d->root)))
        no_memory(why, why_size);
    if (!rc)
        rc = read_root(d, from, why, why_size);
    if (rc)
        oas_documents_close(d);
    return rc;
}

void oas_documents_close(struct oas_documents *d)
{
    struct map_node *n;

    while ((n = map_any(&d->by_uri)))
        map_del(&d->by_uri, n);
    while ((n = map_any(&d->by_path))) {
        struct oas_document *doc = container_of(n, struct oas_document, by_path);

        map_del(&d->by_path, n);
        if (doc->root) {
            oas_lookup_fini(&doc->lookup);
            oas_names_fini(&doc->names);
        }
        empty_document(doc);
    }
    map_fini(&d->by_uri);
    map_fini(&d->by_path);
    arena_fini(&d->arena);
    if (d->has_folder)
        folder_close(&d->folder);
}
