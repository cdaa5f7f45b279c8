/* Implements abi.h. A struct is read by memcpy and never by its members before its size is known:
 * it may be shorter than the type, or lie in memory that nobody has set.
 *
 * The first version's size is the least that a program can have. What is longer than ours is taken
 * as long as the rest is zero: then the newer program asks for nothing that this library would have
 * to know. */
#include "base/abi.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* No version of any struct is as large: such a size is what happened to lie in memory. */
#define SANE_MAX 4096u

void abi_fill(const struct abi *a, void *theirs, size_t size, const void *own)
{
    size_t n = size < a->size ? size : a->size;
    uint32_t told = (uint32_t)size;

    memcpy(theirs, own, n);
    memset((char *)theirs + n, 0, size - n);
    memcpy(theirs, &told, sizeof told);
}

static bool all_zero(const unsigned char *p, size_t n)
{
    while (n && !*p)
        p++, n--;
    return !n;
}

/* A struct of our own size, which nearly all are, is not copied. own is filled before anything can
 * be refused, so after a failure its members are the defaults. */
const void *abi_take(const struct abi *a, void *own, const void *theirs, char *err, size_t err_size)
{
    uint32_t size;

    if (!theirs)
        return a->defaults;
    memcpy(&size, theirs, sizeof size);
    if (size == a->size)
        return theirs;
    memcpy(own, a->defaults, a->size);
    if (size < a->first || size > SANE_MAX) {
        if (err)
            snprintf(err, err_size, "%s: not initialised (%s)", a->name, a->start);
        return NULL;
    }
    memcpy(own, theirs, size < a->size ? size : a->size);
    memcpy(own, &a->size, sizeof a->size);
    if (size > a->size && !all_zero((const unsigned char *)theirs + a->size, size - a->size)) {
        if (err)
            snprintf(err, err_size, "%s: sets what only a newer library knows", a->name);
        return NULL;
    }
    return own;
}
