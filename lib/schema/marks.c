/* The stack of marks of check.h. It begins in the check itself and moves to the scratch arena when
 * that is full; pushing costs a step a word, so that the budget bounds it. A set is named by where
 * it begins and not by a pointer, since the words move when the stack grows. */
#include "schema/check.h"

#include <string.h>

/* The old words stay in the arena until the check is over; doubling bounds what that wastes. */
static bool grow(struct check *c, size_t need)
{
    size_t cap = c->mark_cap;
    uint64_t *words;

    while (cap < need)
        cap *= 2;
    words = arena_alloc(c->scratch, cap * sizeof *words);
    if (!words) {
        c->stop = SCHEMA_ENOMEM;
        return false;
    }
    memcpy(words, c->mark_words, c->mark_top * sizeof *words);
    c->mark_words = words;
    c->mark_cap = cap;
    return true;
}

/* Sets are pushed and popped like the calls that use them, so the newest is always on top. A set is
 * as long as its value has members, which a sender chooses; nested alternatives copy it once
 * each. */
size_t marks_push(struct check *c, size_t words)
{
    size_t marks = c->mark_top;

    if (!check_spend(c, words))
        return NO_MARKS;
    if (c->mark_cap - marks < words && !grow(c, marks + words))
        return NO_MARKS;
    memset(c->mark_words + marks, 0, words * sizeof *c->mark_words);
    c->mark_top = marks + words;
    return marks;
}
