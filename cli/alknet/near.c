/* The distance is the number of letters to add, drop, change, or swap with the next. A name that the
 * word is the beginning of, or the last segment of, is as near as one letter. */
#include "near.h"

#include <stdbool.h>
#include <string.h>

#define TOO_FAR 4u

void near_begin(struct near *n, const char *word)
{
    size_t len = strlen(word);

    n->word = word;
    n->distance = len < 3 ? 2 : len < 6 ? 3 : TOO_FAR;
    n->name[0] = 0;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Neither is longer than NEAR_MAX. */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][NEAR_MAX + 1], *before = rows[0], *above = rows[1], *row = rows[2], *old;
    size_t n = strlen(b);

    for (unsigned j = 0; j <= n; j++)
        above[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        old = before;
        before = above;
        above = row;
        row = old;
    }
    return above[n];
}

static bool is_part(const char *word, const char *name)
{
    size_t n = strlen(word), len = strlen(name);

    return n >= 2 && n < len &&
           (!strncmp(name, word, n) || (name[len - n - 1] == '/' && !strcmp(name + len - n, word)));
}

void near_try(struct near *n, const char *name)
{
    unsigned far;

    if (!*name || strlen(name) > NEAR_MAX || strlen(n->word) > NEAR_MAX)
        return;
    far = is_part(n->word, name) ? 1 : distance(n->word, name);
    if (far >= n->distance)
        return;
    n->distance = far;
    strcpy(n->name, name);
}
