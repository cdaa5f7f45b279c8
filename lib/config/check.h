/* Checks a value of a configuration against a static table and stores it in a struct at the same
 * time.
 *
 * A table (config_shape) names the members that a mapping may have, what each must be, and the
 * offset at which it is stored. A member that is not in the table is an error, which suggests the
 * nearest name that is. Stored strings and values point into the text, which must outlive the
 * struct. The first fault ends the check, with its line and its place. */
#ifndef ALK_CONFIG_CHECK_H
#define ALK_CONFIG_CHECK_H

#include "config/text.h"

enum config_type {
    CONFIG_BOOL = 1,     /* uint32_t 0 or 1 */
    CONFIG_NUMBER,       /* uint32_t from min to max; or the first of words, which is 0 */
    CONFIG_SIZE,         /* uint32_t bytes from min to max; also "64KiB", "4MiB" */
    CONFIG_TIME,         /* uint32_t ms from min to max; also "200ms", "30s", "5m", "1h" */
    CONFIG_MODE,         /* uint32_t: a file's, of a string of octal digits such as "0660" */
    CONFIG_WORD,         /* uint32_t: the index in words, which ends with NULL, plus min */
    CONFIG_STRING,       /* const char *, min to max bytes (max 0: 4096), no NUL in it */
    CONFIG_STRINGS,      /* yyjson_val *: a list of strings that are not empty */
    CONFIG_STRING_LISTS, /* yyjson_val *: a mapping of lists of strings */
    CONFIG_STRING_MAP,   /* yyjson_val *: a mapping of strings */
    CONFIG_MAPPING,      /* of shape; stored in the same struct */
    CONFIG_LIST,         /* struct config_list: mappings of shape, min to max (0: any number) */
    CONFIG_ANY,          /* yyjson_val * */
};

#define CONFIG_CHECK_ONLY UINT32_MAX /* as offset: the value is not stored */

struct config_member {
    const char *name; /* NULL ends the table */
    uint8_t type;
    uint8_t required;
    uint32_t offset;
    uint32_t min, max;
    const char *const *words;
    const struct config_shape *shape;
};

struct config_shape {
    const struct config_member *members;
    uint32_t item_size; /* of one list item; 0: items are not stored */
    void (*item_init)(void *item);
};

struct config_list {
    void *items;
    size_t count;
};

/* Returns 0 or -1. Lists that have been stored by then belong to the caller in both cases. */
int config_check(const struct config_text *text, yyjson_val *value, const char *place,
                 const struct config_shape *shape, void *into, struct config_error *err);

#endif
