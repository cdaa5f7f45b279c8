/* What the parts of the import of an OpenAPI document share: the import while it runs, one operation
 * as it is found and made, and what remains: a service, whose memory all of its operations are in.
 *
 *   openapi_import.c      the document: what is in it, all or nothing
 *   openapi_ids.c         what its operations are called here
 *   openapi_servers.c     where the service is, and how secrets are shown there
 *   openapi_operation.c   one operation, with openapi_params.c and openapi_content.c (openapi_build.h)
 *   openapi_answers.c     and what it answers
 *   openapi_call.c        a call of it */
#ifndef ALK_ADAPT_OPENAPI_INT_H
#define ALK_ADAPT_OPENAPI_INT_H

#include "adapt/openapi_plan.h"
#include "adapt/openapi_schema.h"
#include "adapt/openapi_url.h"
#include "core/registry.h"

#include <alknet/openapi.h>

#define OAS_OPERATIONS 16384u /* of one document */
#define OAS_PARAMS 256u       /* of one operation */
#define OAS_TYPES 16u         /* media types of its success */
#define OAS_REQUIREMENTS 16u  /* alternatives of its security, and schemes in each */
#define OAS_ENCODINGS 256u    /* properties of a form that have something special */
#define OAS_WARNINGS 1000u    /* that are told one by one */
#define OAS_PATH_BYTES 8192u
#define OAS_ID_BYTES 16384u     /* of an operationId */
#define OAS_SUMMARY_BYTES 1024u /* of a text in listings; more is cut */
#define OAS_TEXT_BYTES 16384u   /* of other descriptions that are not in schemas; more is cut */
/* What all operations have in sum, of inputs, and of answers, which are not compiled: where it is
 * more, others are left out. From three quarters on answers have no schemas. */
#define OAS_INPUTS_BYTES (32u << 20)
#define OAS_ANSWERS_BYTES (64u << 20)
/* What else an import holds at a time, beside the documents. */
#define OAS_MEMORY (128u << 20)

/* Lives as long as the last of its operations; only read, by any thread. */
struct oas_service {
    int refs; /* atomic */
    struct mem mem;
    struct arena arena;
};

/* The user data of one operation. */
struct oas_operation {
    struct oas_plan plan;
    struct oas_service *service;
    /* Media types of its success as the document has them, in lower case and without parameters;
     * none: any. */
    const struct str *types;
    size_t type_count;
};

/* An operation as it stands in the document. */
struct oas_item {
    struct map_node by_name;
    struct str path;                /* the key: "/pets/{id}" */
    struct str method;              /* "GET" */
    struct oas_place path_item, op; /* of a path item, where its reference leads */
    struct str id;                  /* p NULL: it has no operationId */
    struct str name;                /* here, with the prefix */
    uint32_t next;                  /* number for the next one of that name */
    bool exact;                     /* the name is the id as it is */
    bool named, added;
    /* Of what was added. */
    uint32_t type;
    const char *base;
};

struct oas_security {
    const struct oas_requirement *list;
    size_t count;
};

struct oas_import {
    alk_registry *reg;
    const alk_openapi_options *o;
    char *err;
    size_t err_size;
    struct oas_documents docs;
    struct oas_schemas schemas;
    struct oas_service *service;
    struct arena arena;   /* for the import */
    struct arena scratch; /* for the present operation */
    struct buf input, output, errors, text;
    struct map names;
    struct oas_item *items;
    size_t item_count, item_cap;
    struct oas_url base;
    struct str headers;                 /* lines that every request has */
    const struct oas_requirement *auth; /* of the options, in place of the document's security */
    yyjson_val *filter, *variables;
    struct oas_security security; /* the document's; list NULL: not read yet */
    struct meter meter;           /* of OAS_MEMORY */
    size_t held;                  /* of that */
    size_t inputs, answers;       /* of OAS_INPUTS_BYTES, and of OAS_ANSWERS_BYTES */
    bool full;                    /* OAS_MEMORY has been refused */
    bool lost;                    /* a look at a value had no memory */
    bool accepts;                 /* headers has Accept */
    uint64_t seed[2];
    uint32_t warnings;
    bool old; /* 3.0 */
};

/* openapi_import.c. Says what is left out or changed at a place (NULL: in general). */
void oas_warn(struct oas_import *im, const struct oas_place *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Fills err; returns rc. */
int oas_fail(struct oas_import *im, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The member of a value; NULL: there is none. In time that does not grow with the value, which other
 * operations may refer to as well. */
yyjson_val *oas_get(struct oas_import *im, const struct oas_place *of, const char *name);
struct str oas_get_string(struct oas_import *im, const struct oas_place *of, const char *name);
bool oas_get_true(struct oas_import *im, const struct oas_place *of, const char *name);
/* For each step of a loop over values: false: the import has cost what it may. */
bool oas_look(struct oas_import *im);
/* Its beginning, cut between characters. */
struct str oas_cut(struct str s, size_t most);
/* The member of a value, where a reference leads; false: there is none, or it leads nowhere, which
 * is a warning, or out of memory (lost). */
bool oas_member(struct oas_import *im, const struct oas_place *of, const char *name,
                struct oas_place *out);
bool oas_follow(struct oas_import *im, const struct oas_place *at, struct oas_place *out);
/* A copy in the service's arena, with a NUL; p NULL: out of memory. */
struct str oas_keep(struct oas_import *im, struct str s);
/* As Content-Type has it: without parameters, in lower case; cut to size. */
struct str oas_media_type(struct str s, char *out, size_t size);
bool oas_is_json(struct str media_type);
void oas_service_unref(struct oas_service *service);

/* openapi_ids.c: gives each item its name. */
int oas_name_items(struct oas_import *im);

/* openapi_servers.c */
/* The options that are JSON. */
int oas_read_options(struct oas_import *im);
int oas_read_base(struct oas_import *im);
/* Scheme, host and path before an operation's own. ALK_EINVAL: its server is elsewhere, which a
 * warning says. */
int oas_operation_base(struct oas_import *im, const struct oas_item *item, struct str *base);
int oas_read_security(struct oas_import *im, const struct oas_item *item, struct oas_plan *plan);

/* openapi_operation.c: fills op, whose texts are in im's buffers until the next one; op->ud is made
 * last. ALK_EINVAL: it is left out, and a warning says why. */
int oas_build(struct oas_import *im, const struct oas_item *item, alk_operation *op);
/* A token of RFC 9110, as the names of headers and cookies are. */
bool oas_token_valid(struct str s);

/* openapi_answers.c: output schema, error schemas, Accept, and what kind of operation it is. */
int oas_build_answers(struct oas_import *im, const struct oas_item *item, alk_operation *op,
                      struct oas_operation *own);

/* openapi_call.c */
int oas_call(alk_call *call, void *ud);
void oas_operation_free(void *ud);

#endif
