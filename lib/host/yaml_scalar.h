/* What a scalar of YAML is by the core schema of YAML 1.2 (10.3.2), and how JSON says it. */
#ifndef ALK_HOST_YAML_SCALAR_H
#define ALK_HOST_YAML_SCALAR_H

#include "base/buf.h"
#include "base/str.h"

enum yaml_kind { YAML_STRING, YAML_NULL, YAML_BOOL, YAML_INT, YAML_FLOAT, YAML_NOT_FINITE };

/* Of a plain one. There is a NUL behind s. */
enum yaml_kind yaml_plain_kind(struct str s);
/* Of one with a tag; -1 when it cannot be that, or the tag is not of the core schema. */
int yaml_tagged_kind(const char *tag, struct str s);

enum {
    YAML_SCALAR_OK,
    YAML_SCALAR_NOMEM,
    YAML_SCALAR_INFINITE,  /* JSON has no such number */
    YAML_SCALAR_TOO_LARGE, /* an octal or a hexadecimal number of more than 64 bits */
};
/* Appends s, which is of that kind and has a NUL behind it. */
int yaml_scalar_write(struct buf *out, enum yaml_kind kind, struct str s);

/* The tags of the core schema begin with it. */
#define YAML_CORE "tag:yaml.org,2002:"

#endif
