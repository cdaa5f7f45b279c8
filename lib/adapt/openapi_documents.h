/* The documents of one import: the one that was given, and the files that it refers to. JSON and
 * YAML alike become yyjson documents, by the rules of base/json.h.
 *
 * Nothing is fetched because a document says so. A reference leads to a place in the document that
 * it stands in, to a document that is there already and is known by a URI ($self, $id, the root's
 * URL), or to a file below the folder of the root's file, which is then read once: by no absolute
 * path, over no symbolic link, and not out of that folder. Everything else is refused.
 *
 * Places stay valid until oas_documents_close, which frees all of it at once. For one thread. */
#ifndef ALK_ADAPT_OPENAPI_DOCUMENTS_H
#define ALK_ADAPT_OPENAPI_DOCUMENTS_H

#include "adapt/openapi_lookup.h"
#include "adapt/openapi_names.h"
#include "base/buf.h"
#include "host/files.h"

#define OAS_DOCUMENT_BYTES (64u << 20)   /* one document, also what YAML stands for as JSON */
#define OAS_DOCUMENTS_BYTES (128u << 20) /* all of them */
#define OAS_FILES 4096u                  /* the root and those that it leads to */
#define OAS_VALUES 8000000u              /* of all documents, names of members counted */
#define OAS_YAML_VALUES 1000000u /* of one YAML document, once its aliases are written out */
#define OAS_YAML_ANCHORS 10000u  /* of one YAML document */
#define OAS_DEPTH 128u           /* objects and arrays within each other */
#define OAS_HOPS 64u             /* references that lead to references */
#define OAS_REF_BYTES 4096u      /* a longer reference is refused */

#define OAS_WHY 512u   /* room that holds every complaint whole */
#define OAS_WHERE 512u /* room for a pointer; what is longer is cut at its end */

struct oas_document {
    struct map_node by_path;
    /* Below the folder of the root's file, with '/' and without dot segments: "schemas/pet.yaml".
     * Of a root that was given as text alone: empty. */
    struct str path;
    yyjson_val *root; /* NULL: it could not be read */
    uint32_t number;  /* the root's is 0; the others in the order in which they were reached */
    struct oas_lookup lookup; /* for members of objects that may be large */
    /* What follows is openapi_documents.c's. */
    const char *fault; /* why it could not be read: it is not tried again */
    int fault_code;
    struct buf text; /* as JSON, to which json refers */
    yyjson_doc *json;
    struct oas_names names;
};

/* A value and the document that it is of. */
struct oas_place {
    struct oas_document *doc;
    yyjson_val *val;
};

struct oas_source {
    const char *text; /* the root; NULL: it is read from `file` */
    size_t len;
    const char *file; /* where the root is or was; NULL: no other file may be referred to */
    const char *url;  /* by which the root may be referred to as well; NULL: it has none */
};

struct oas_documents {
    struct oas_document *root;
    /* What follows is openapi_documents.c's. */
    struct mem *mem;
    struct arena arena;
    struct folder folder;
    bool has_folder;
    struct map by_path, by_uri;
    uint64_t seed[2];
    size_t bytes, names_left;
    uint32_t values, files;
};

/* Reads the root. The texts of `from` are not needed afterwards. On failure there is nothing to
 * close, and why says what is wrong with which line or byte. ALK_EJSON (neither JSON nor YAML, or
 * beyond the limits), ALK_ESYSTEM, ALK_EINVAL (the file: a folder, a FIFO), ALK_ENOMEM. */
int oas_documents_open(struct oas_documents *d, struct mem *mem, const struct oas_source *from,
                       char *why, size_t why_size);
void oas_documents_close(struct oas_documents *d);

/* Where ref leads that stands at `from`: any value at or below which it was read, since an $id
 * around it counts. ref is a URI reference as it stands in the document: "#/components/schemas/X",
 * "#anchor", "pet.yaml#/X", "../b.json", percent-encoded. One step: what is there may be a
 * reference again. In time that does not grow with the size of the objects on the way, but for
 * their first use. ALK_EINVAL (it leads nowhere, is refused, or what it leads to cannot be read;
 * why names it and the reason), ALK_ELIMIT (what it leads to is beyond the limits of all documents
 * together), ALK_ENOMEM. */
int oas_resolve(struct oas_documents *d, const struct oas_place *from, struct str ref,
                struct oas_place *out, char *why, size_t why_size);
/* Follows "$ref" from a place as long as there is one that is a string; *out is from itself where
 * there is none. Members beside "$ref" are not looked at. As oas_resolve, and ALK_EINVAL for a
 * circle and for more than OAS_HOPS; *out is then the place at which it ended. */
int oas_deref(struct oas_documents *d, const struct oas_place *from, struct oas_place *out,
              char *why, size_t why_size);
/* Where a place is, for a warning: a JSON pointer ("/paths/~1pets/get"), behind "FILE#" in another
 * document than the root. Printable: control characters are shown as escapes. Written with a NUL
 * and cut to size; false when out of memory, with "" in out. */
bool oas_where(struct oas_documents *d, const struct oas_place *place, char *out, size_t size);

#endif
