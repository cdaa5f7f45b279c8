/* YAML for programs that take it from people: JSON text is made of it, with the line of each value
 * for what there is to complain of. By the core schema of YAML 1.2; refused is what JSON cannot
 * say. Aliases are written out, within limits, so that the text may come from strangers. */
#ifndef ALKNET_YAML_H
#define ALKNET_YAML_H

#include <alknet/alknet.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_yaml alk_yaml;

/* Values are counted with the names of members, bytes are those of the JSON text. */
typedef struct alk_yaml_options {
    uint32_t size;         /* set by alk_yaml_options_init */
    uint32_t depth;        /* 128: lists and mappings within each other, at most 1024 */
    uint32_t values;       /* 1,000,000: in all, also those that aliases stand for */
    uint32_t bytes;        /* 64 MiB: likewise */
    uint32_t anchors;      /* 10,000 */
    uint32_t alias_values; /* 1,000,000: of those that aliases stand for alone */
    uint32_t alias_bytes;  /* 64 MiB: likewise */
} alk_yaml_options;

ALK_API void alk_yaml_options_init(alk_yaml_options *o, size_t size);
/* o may be NULL: the defaults. On failure err has the reason and *line, unless it is 0, says where;
 * both may be NULL. ALK_EINVAL (o), ALK_EJSON, ALK_ENOMEM. */
ALK_API int alk_yaml_read(alk_yaml **out, const char *text, size_t len, const alk_yaml_options *o,
                          uint32_t *line, char *err, size_t err_size);
/* The JSON text, compact, NUL behind its *len bytes; lives as long as y. It may have a member
 * twice, if the YAML has. */
ALK_API const char *alk_yaml_json(const alk_yaml *y, size_t *len);
/* The line on which the value began that is the index-th of the text, from 0, names of members
 * counted; of what an alias stands for, the line behind its anchor. 0: there is no such value. A
 * yyjson document has its values in this order, one behind the other. */
ALK_API uint32_t alk_yaml_line(const alk_yaml *y, size_t index);
/* Wipes it first: there may be secrets in it. NULL is fine. */
ALK_API void alk_yaml_free(alk_yaml *y);

#ifdef __cplusplus
}
#endif

#endif
