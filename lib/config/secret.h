/* Memory that may hold a token or a key: what the allocator gets back has been overwritten, also
 * when a block grows. */
#ifndef ALK_CONFIG_SECRET_H
#define ALK_CONFIG_SECRET_H

#include <yyjson.h>

/* For any block of malloc, or NULL. */
void secret_free(void *memory);
/* As realloc. */
void *secret_realloc(void *memory, size_t size);
/* The same for yyjson. */
extern const yyjson_alc secret_alc;

#endif
