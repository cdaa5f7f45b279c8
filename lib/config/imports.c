/* Operations that come from descriptions of other services: what `imports` says, and the secrets
 * that it names. What can be told without the document is told here; the document itself is read by
 * whoever imports it.
 *
 * A document says where requests go that have a secret in them, so its file is one that has to
 * be trusted. */
#include "config/config_int.h"
#include "config/secret.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_MAX 16384u
#define PREFIX_MAX 128u

enum { AUTH_BEARER = 1, AUTH_BASIC, AUTH_KEY };

#define AT(member) offsetof(struct config_import, member)
static const char *const auth_types[] = {"bearer", "basic", "api_key", NULL};
static const char *const auth_places[] = {"header", "query", "cookie", NULL};
static const struct config_member auth_members[] = {
    {.name = "type",
     .type = CONFIG_WORD,
     .offset = AT(auth_type),
     .min = AUTH_BEARER,
     .words = auth_types},
    {.name = "in", .type = CONFIG_WORD, .offset = CONFIG_CHECK_ONLY, .words = auth_places},
    {.name = "name", .type = CONFIG_STRING, .offset = CONFIG_CHECK_ONLY, .min = 1, .max = 256},
    {.name = "file", .type = CONFIG_STRING, .required = 1, .offset = AT(secret_file), .min = 1},
    {0}};
static const struct config_shape auth_shape = {.members = auth_members};

static const struct config_member operations_members[] = {
    {.name = "include", .type = CONFIG_STRINGS, .offset = CONFIG_CHECK_ONLY},
    {.name = "exclude", .type = CONFIG_STRINGS, .offset = CONFIG_CHECK_ONLY},
    {.name = "methods", .type = CONFIG_STRINGS, .offset = CONFIG_CHECK_ONLY},
    {.name = "tags", .type = CONFIG_STRINGS, .offset = CONFIG_CHECK_ONLY},
    {0}};
static const struct config_shape operations_shape = {.members = operations_members};

static const struct config_member access_members[] = {
    {.name = "required_scopes", .type = CONFIG_STRINGS, .offset = CONFIG_CHECK_ONLY},
    {.name = "required_scopes_any", .type = CONFIG_STRINGS, .offset = CONFIG_CHECK_ONLY},
    {.name = "resource_type", .type = CONFIG_STRING, .offset = CONFIG_CHECK_ONLY, .min = 1},
    {.name = "resource_action", .type = CONFIG_STRING, .offset = CONFIG_CHECK_ONLY, .min = 1},
    {.name = "authenticated", .type = CONFIG_BOOL, .offset = CONFIG_CHECK_ONLY},
    {0}};
static const struct config_shape access_shape = {.members = access_members};

static const struct config_member members[] = {
    {.name = "openapi", .type = CONFIG_STRING, .offset = AT(document), .min = 1},
    {.name = "mcp", .type = CONFIG_STRING, .offset = AT(mcp), .min = 1},
    {.name = "progress", .type = CONFIG_BOOL, .offset = AT(progress)},
    {.name = "prefix",
     .type = CONFIG_STRING,
     .required = 1,
     .offset = AT(prefix),
     .min = 1,
     .max = PREFIX_MAX},
    {.name = "base_url", .type = CONFIG_STRING, .offset = AT(base_url), .min = 1},
    {.name = "auth", .type = CONFIG_MAPPING, .shape = &auth_shape},
    {.name = "credentials", .type = CONFIG_STRING_MAP, .offset = AT(credentials)},
    {.name = "operations", .type = CONFIG_MAPPING, .shape = &operations_shape},
    {.name = "access", .type = CONFIG_MAPPING, .shape = &access_shape},
    {.name = "public", .type = CONFIG_BOOL, .offset = AT(is_public)},
    {.name = "headers", .type = CONFIG_STRING_MAP, .offset = CONFIG_CHECK_ONLY},
    {.name = "variables", .type = CONFIG_STRING_MAP, .offset = CONFIG_CHECK_ONLY},
    {.name = "private_addresses", .type = CONFIG_BOOL, .offset = AT(private_addresses)},
    {.name = "response_bytes",
     .type = CONFIG_SIZE,
     .offset = AT(response_bytes),
     .min = 1024,
     .max = 1u << 30},
    {.name = "document_token_file", .type = CONFIG_STRING, .offset = AT(token_file), .min = 1},
    {0}};
const struct config_shape config_import_shape = {.members = members,
                                                 .item_size = sizeof(struct config_import)};

static int complain(const struct config *cfg, size_t i, const char *member, const char *message,
                    struct config_error *err)
{
    char pointer[64], place[64];

    snprintf(pointer, sizeof pointer, "/imports/%zu/%s", i, member);
    snprintf(place, sizeof place, "imports[%zu].%s", i, member);
    for (char *c = place; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return config_complain(cfg, pointer, place, message, err);
}

/* ---- the text -------------------------------------------------------------------------------- */

static int finish_document(struct config *cfg, size_t i, struct config_import *im,
                           struct config_error *err)
{
    const char *member = im->mcp ? "mcp" : "openapi";
    size_t scheme = !strncmp(im->document, "https://", 8)  ? 8
                    : !strncmp(im->document, "http://", 7) ? 7
                                                           : 0;

    im->url = scheme != 0;
    if (im->url) {
        size_t host = strcspn(im->document + scheme, "/?#");

        if (!host || memchr(im->document + scheme, '@', host) || strchr(im->document, '#'))
            return complain(cfg, i, member,
                            "must be http[s]://HOST[:PORT][/PATH], without user and fragment", err);
        return 0;
    }
    if (im->mcp)
        return complain(cfg, i, member, "must begin with https:// or http://", err);
    if (strstr(im->document, "://"))
        return complain(cfg, i, "openapi", "must be a file, or begin with https:// or http://",
                        err);
    if (im->token_file)
        return complain(cfg, i, "document_token_file", "is for a document that has a URL", err);
    im->document = config_resolve(cfg, im->document);
    return im->document ? 0 : config_out_of_memory(cfg, err);
}

/* What belongs to documents, or to MCP, has no meaning with the other. */
static int finish_source(struct config *cfg, size_t i, struct config_import *im, yyjson_val *entry,
                         struct config_error *err)
{
    static const struct {
        const char *in, *name; /* in: NULL: the entry itself */
    } of_documents[] = {{NULL, "base_url"},    {NULL, "credentials"},
                        {NULL, "variables"},   {NULL, "document_token_file"},
                        {"auth", "type"},      {"operations", "methods"},
                        {"operations", "tags"}};
    char member[64];

    if (im->mcp ? im->document != NULL : !im->document)
        return complain(cfg, i, im->mcp ? "openapi" : "prefix",
                        im->mcp ? "does not go with \"mcp\""
                                : "needs \"openapi\", a document, or \"mcp\", a server, beside it",
                        err);
    if (!im->mcp)
        return im->progress ? complain(cfg, i, "progress", "is for \"mcp\"", err) : 0;
    for (size_t k = 0; k < sizeof of_documents / sizeof *of_documents; k++) {
        const char *in = of_documents[k].in, *name = of_documents[k].name;

        snprintf(member, sizeof member, "%s%s%s", in ? in : "", in ? "/" : "", name);
        if (yyjson_obj_get(in ? yyjson_obj_get(entry, in) : entry, name))
            return complain(cfg, i, member, "is for \"openapi\"", err);
    }
    im->document = im->mcp;
    return 0;
}

/* As alk_openapi_options.auth has it: without the file. */
static int write_auth(struct config *cfg, struct config_import *im, yyjson_val *auth,
                      struct config_error *err)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *own = yyjson_val_mut_copy(doc, auth);

    yyjson_mut_obj_remove_key(own, "file");
    im->auth = config_own(cfg, yyjson_mut_val_write(own, 0, NULL));
    yyjson_mut_doc_free(doc);
    return im->auth ? 0 : config_out_of_memory(cfg, err);
}

static int finish_auth(struct config *cfg, size_t i, struct config_import *im, yyjson_val *entry,
                       struct config_error *err)
{
    yyjson_val *auth = yyjson_obj_get(entry, "auth");
    yyjson_val *in = yyjson_obj_get(auth, "in"), *name = yyjson_obj_get(auth, "name");

    if (!auth)
        return 0;
    if (im->auth_type == AUTH_KEY && (!in || !name))
        return complain(cfg, i, "auth", "an api_key needs \"in\" and \"name\"", err);
    if (im->auth_type != AUTH_KEY && (in || name))
        return complain(cfg, i, in ? "auth/in" : "auth/name", "belongs to the type api_key", err);
    if (im->auth_type && im->credentials)
        return complain(cfg, i, "credentials", "does not go with \"auth\" that has a \"type\"",
                        err);
    im->secret_file = config_resolve(cfg, im->secret_file);
    if (!im->secret_file)
        return config_out_of_memory(cfg, err);
    return im->auth_type ? write_auth(cfg, im, auth, err) : 0;
}

/* A rule that says nothing would let everybody in, which is to be said in so many words. */
static int finish_access(struct config *cfg, size_t i, struct config_import *im, yyjson_val *entry,
                         struct config_error *err)
{
    yyjson_val *access = yyjson_obj_get(entry, "access");
    yyjson_val *any = yyjson_obj_get(access, "required_scopes_any");

    if (!access)
        return 0;
    if (im->is_public)
        return complain(cfg, i, "public", "does not go with \"access\"", err);
    if (yyjson_obj_get(access, "resource_action") && !yyjson_obj_get(access, "resource_type"))
        return complain(cfg, i, "access/resource_action", "needs a \"resource_type\"", err);
    if (any && !yyjson_arr_size(any))
        return complain(cfg, i, "access/required_scopes_any", "must not be empty", err);
    if (!any && !yyjson_arr_size(yyjson_obj_get(access, "required_scopes")) &&
        !yyjson_obj_get(access, "resource_type") &&
        !yyjson_is_true(yyjson_obj_get(access, "authenticated")))
        return complain(cfg, i, "access", "restricts nobody; \"public: true\" lets everybody call",
                        err);
    return config_list_text(cfg, access, &im->access, err);
}

/* Each prefix is a source of its own, which a reload finds by it. */
static int check_prefix(const struct config *cfg, size_t i, struct config_error *err)
{
    const struct config_import *items = cfg->imports.items;
    char message[64];

    for (size_t k = 0; k < i; k++) {
        if (!strcmp(items[k].prefix, items[i].prefix)) {
            snprintf(message, sizeof message, "is that of imports[%zu] already", k);
            return complain(cfg, i, "prefix", message, err);
        }
    }
    return 0;
}

int config_finish_imports(struct config *cfg, struct config_error *err)
{
    struct config_import *items = cfg->imports.items;
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(cfg->text.doc), "imports");

    for (size_t i = 0; i < cfg->imports.count; i++) {
        struct config_import *im = &items[i];
        yyjson_val *entry = yyjson_arr_get(list, i);

        if (check_prefix(cfg, i, err) < 0 || finish_source(cfg, i, im, entry, err) < 0 ||
            finish_document(cfg, i, im, err) < 0 || finish_auth(cfg, i, im, entry, err) < 0 ||
            finish_access(cfg, i, im, entry, err) < 0 ||
            config_list_text(cfg, yyjson_obj_get(entry, "operations"), &im->operations, err) < 0 ||
            config_list_text(cfg, yyjson_obj_get(entry, "headers"), &im->headers, err) < 0 ||
            config_list_text(cfg, yyjson_obj_get(entry, "variables"), &im->variables, err) < 0)
            return -1;
        if (im->token_file && !(im->token_file = config_resolve(cfg, im->token_file)))
            return config_out_of_memory(cfg, err);
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

int config_read_secret(const char *path, char **out, size_t *len, struct config_error *err)
{
    char *data;
    size_t good = 0;

    if (config_read_file(path, 1, &data, len, err) < 0)
        return -1;
    if (*len && data[*len - 1] == '\n')
        data[--*len] = 0;
    if (*len && data[*len - 1] == '\r')
        data[--*len] = 0;
    while (good < *len && (unsigned char)data[good] >= 0x20 && data[good] != 0x7f)
        good++;
    if (*len && *len <= SECRET_MAX && good == *len) {
        *out = data;
        return 0;
    }
    secret_free(data);
    return config_fail(err, path, 0, "",
                       "holds no secret: one line of at most %u bytes, without control characters",
                       SECRET_MAX);
}

static int add_secret(struct config *cfg, struct config_import *im, const char *name,
                      const char *path, bool basic, struct config_error *err)
{
    char *secret;
    size_t len;
    int rc;

    if (config_read_secret(path, &secret, &len, err) < 0)
        return -1;
    if (basic && !strchr(secret, ':'))
        rc = config_fail(err, path, 0, "", "must be USER:PASSWORD");
    else
        rc = alk_capabilities_set(im->secrets, name, secret, len) == ALK_OK
                 ? 0
                 : config_out_of_memory(cfg, err);
    secret_free(secret);
    return rc;
}

static int read_credentials(struct config *cfg, struct config_import *im, struct config_error *err)
{
    size_t i, max;
    yyjson_val *scheme, *file;
    int rc = 0;

    yyjson_obj_foreach(im->credentials, i, max, scheme, file)
    {
        size_t len = strlen(im->prefix) + 1 + yyjson_get_len(scheme) + 1;
        const char *path = config_resolve(cfg, yyjson_get_str(file));
        char *name = malloc(len);

        if (!name || !path) {
            free(name);
            return config_out_of_memory(cfg, err);
        }
        snprintf(name, len, "%s/%s", im->prefix, yyjson_get_str(scheme));
        rc = add_secret(cfg, im, name, path, false, err);
        free(name);
        if (rc < 0)
            break;
    }
    return rc;
}

/* A file that imports[i] names there. */
static int blame(const struct config *cfg, size_t i, const char *member, struct config_error *err)
{
    char pointer[96];

    snprintf(pointer, sizeof pointer, "/imports/%zu/%.64s", i, member);
    return config_blame(cfg, pointer, err);
}

static int check_document(const struct config_import *im, struct config_error *err)
{
    struct stat st;

    if (im->url)
        return 0;
    if (stat(im->document, &st) < 0)
        return config_fail(err, im->document, 0, "", "%s", strerror(errno));
    return config_check_file(im->document, &st, 0, err);
}

int config_join_imports(struct config *cfg, struct config_error *err)
{
    struct config_import *items = cfg->imports.items;
    size_t len;

    for (size_t i = 0; i < cfg->imports.count; i++) {
        struct config_import *im = &items[i];

        if (check_document(im, err) < 0)
            return blame(cfg, i, "openapi", err);
        im->secrets = alk_capabilities_new();
        if (!im->secrets)
            return config_out_of_memory(cfg, err);
        if (im->secret_file &&
            add_secret(cfg, im, im->prefix, im->secret_file, im->auth_type == AUTH_BASIC, err) < 0)
            return blame(cfg, i, "auth/file", err);
        if (read_credentials(cfg, im, err) < 0)
            return blame(cfg, i, "credentials", err);
        if (im->token_file && config_read_secret(im->token_file, &im->token, &len, err) < 0)
            return blame(cfg, i, "document_token_file", err);
    }
    return 0;
}

void config_free_imports(struct config *cfg)
{
    struct config_import *items = cfg->imports.items;

    for (size_t i = 0; i < cfg->imports.count; i++) {
        alk_capabilities_free(items[i].secrets);
        secret_free(items[i].token);
    }
    free(items);
}
