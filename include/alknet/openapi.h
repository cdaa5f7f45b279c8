/* Operations from descriptions: OpenAPI documents (3.0, 3.1, 3.2), whose services are then called
 * over HTTP, and JSON Schemas, which are described alone. Pure: a document in, registrations out.
 * What cannot be imported of a document is left out with a warning; the rest comes.
 *
 * The operation of a path and method is NAMESPACE/OPERATION_ID: a subscription where its success is
 * text/event-stream, a query for GET and HEAD, else a mutation. Its input is an object with a
 * property for each parameter, and `body`. docs/openapi.md has the whole. */
#ifndef ALKNET_OPENAPI_H
#define ALKNET_OPENAPI_H

#include <alknet/alknet.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_openapi_options {
    uint32_t size; /* sizeof(alk_openapi_options) */
    /* 1: anybody may call what is imported; else access_control says who; without both it can be
     * called by other operations only. */
    uint32_t is_public;
    const char *namespace_prefix; /* "github", "acme/github": segments of an operation's name */
    /* Where the service is: scheme, host, path before all paths. It alone is reached, whatever the
     * document says. NULL: the document's first server; relative to document_url where that is
     * given, and then of its origin; else a public one, unless private_addresses is set. */
    const char *base_url;
    const char *document_url;
    /* Path by which the document was read: it may refer to other files below the same folder.
     * NULL: it may not. */
    const char *file;
    const char *access_control; /* as in alk_operation */
    /* {"include":["pattern"],"exclude":["pattern"],"methods":["GET"],"tags":["name"]}, all
     * optional; a pattern is an operationId, or "METHOD /path", and may have stars. NULL: all. */
    const char *operation_filter;
    const char *default_headers;  /* {"Name":"value"}: sent with each request */
    const char *server_variables; /* {"name":"value"}: of the document's server */
    /* {"type":"bearer"}, {"type":"basic"}, {"type":"api_key","in":"header|query|cookie","name":""}:
     * how the credential is shown. NULL: as the document's security schemes say. */
    const char *auth;
    /* The secret NAMESPACE is shown as the document's security wants it ("user:password" where that
     * is basic); NAMESPACE/SCHEME is that scheme's alone. Copied into each registration. */
    const alk_capabilities *capabilities;
    uint32_t private_addresses; /* 1: the service may be at an address that is not public */
    uint32_t response_bytes;    /* of one answer; 0: the HTTP client's limit */
    /* What is left out or changed, and where: a JSON pointer, behind "FILE#" in another file. Called
     * inside the import; of more than 1,000 the rest is counted in one. */
    void (*on_warning)(void *ud, const char *pointer, const char *text);
    /* What has been imported, one by one, once all of it has: the name here, ALK_QUERY and so on;
     * where its requests go: base is an URL, behind which the document's path comes. Called inside
     * the import. */
    void (*on_operation)(void *ud, const char *name, uint32_t type, const char *method,
                         const char *base, const char *path);
    void *ud;
} alk_openapi_options;

/* Adds what the document describes, JSON or YAML; NULL: what is in o->file. All of it or, on failure,
 * nothing; err (may be NULL) then says why. count (may be NULL): how many. Handlers reach their service by the HTTP
 * client of their call's loop (alk_loop_set_http). ALK_EINVAL (options, base URL; no OpenAPI),
 * ALK_EJSON (not JSON, not YAML, or beyond the limits), ALK_EEXIST (an operation of that name is
 * there already), ALK_ELIMIT, ALK_EFROZEN, ALK_ENOMEM, ALK_ESYSTEM (the file cannot be
 * read). */
ALK_API int alk_registry_import_openapi(alk_registry *reg, const char *document, size_t len,
                                        const alk_openapi_options *o, size_t *count, char *err,
                                        size_t err_size);
/* Adds operations that are described and cannot be called (INTERNAL): a JSON array of
 * {"name","namespace"?,"description"?,"op_type"?,"visibility"?,"input_schema"?,"output_schema"?,
 *  "error_schemas"?,"access_control"?,"resource_id_path"?}, as services/schema answers them; a query
 * where no type is given. They are internal unless "visibility" is "external" and there is an
 * "access_control", which may be empty. All or nothing. ALK_EJSON, ALK_EINVAL (what is not known
 * too), ALK_ESCHEMA, ALK_EEXIST, ALK_EFROZEN, ALK_ENOMEM; alk_registry_error says more. */
ALK_API int alk_registry_import_jsonschema(alk_registry *reg, const char *json, size_t len);

/* What was found outside, while the node runs: a frozen registry for each source, looked up behind
 * the node's own, whose names win; of two sources' those of the first. Takes the place of what the
 * source had at once; calls that run keep what they were started with, and each dispatcher lets go
 * of the rest in its next turn, where ud_free may run. NULL: it has nothing any more. At most 256
 * sources, with names of 1 to 256 bytes of UTF-8. Its operations call no others: none has an
 * authority or an environment. Holds a reference. Thread-safe.
 * ALK_EFROZEN (it is not), ALK_EINVAL (source, authority, environment), ALK_ELIMIT, ALK_ENOMEM. */
ALK_API int alk_node_set_discovered(alk_node *node, const char *source, alk_registry *reg);

#ifdef __cplusplus
}
#endif

#endif
