/* Exact comparison of JSON numbers, whatever their size. JSON Schema compares by mathematical
 * value, and a double would make 9007199254740993 equal to 9007199254740992. */
#ifndef ALK_SCHEMA_NUMBER_H
#define ALK_SCHEMA_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#define NUMBER_TEXT 32u

/* Canonical: what fits 64 bits is an integer, all else a decimal 0.d1d2…dn * 10^exp with d1 and dn
 * not 0. */
struct number {
    enum { NUMBER_SIGNED, NUMBER_UNSIGNED, NUMBER_DECIMAL } kind;
    bool negative; /* of a decimal */
    union {
        int64_t i;
        uint64_t u; /* above INT64_MAX */
    } as;
    const char *digits; /* may hold one '.' among them */
    uint32_t count;
    int64_t exp;
    char text[NUMBER_TEXT]; /* of a double that was built in memory */
};

/* v is a number of any representation. The text of a raw one is referred to. */
void number_read(struct number *n, yyjson_val *v);
/* The text of a number that has none; its length. 0 for a double that is not finite. */
size_t number_write(yyjson_val *v, char text[NUMBER_TEXT]);
int number_cmp(const struct number *a, const struct number *b);
bool number_is_integer(const struct number *n);
/* Equal numbers have the same. */
uint64_t number_hash(const struct number *n);
/* b is above 0 and number_can_divide. *cost is about the digits looked at. */
bool number_is_multiple(const struct number *a, const struct number *b, uint64_t *cost);
/* The significant digits fit 64 bits. */
bool number_can_divide(const struct number *n);
/* Integers of at least 0 as they are, larger ones UINT64_MAX. False for others. */
bool number_to_count(const struct number *n, uint64_t *out);

#endif
