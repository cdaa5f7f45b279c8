/* Implements addresses.h. The family of the first address begins. */
#include "uv/addresses.h"

#include <string.h>

/* The next one of that family, or not of it, from `from` on; NULL: there is none. */
static const struct addrinfo *find(const struct addrinfo *from, int family, int same)
{
    while (from && (from->ai_family == family) != same)
        from = from->ai_next;
    return from;
}

static void add(struct addresses *a, const struct addrinfo **one, int family, int same)
{
    if (!*one || a->count == ADDRESSES_MAX)
        return;
    memcpy(&a->list[a->count++], (*one)->ai_addr, (*one)->ai_addrlen);
    *one = find((*one)->ai_next, family, same);
}

void addresses_take(struct addresses *a, const struct addrinfo *all)
{
    int family = all ? all->ai_family : 0;
    const struct addrinfo *first = find(all, family, 1), *other = find(all, family, 0);

    a->count = a->next = 0;
    while ((first || other) && a->count < ADDRESSES_MAX) {
        add(a, &first, family, 1);
        add(a, &other, family, 0);
    }
}

const struct sockaddr *addresses_next(struct addresses *a)
{
    return a->next < a->count ? (const struct sockaddr *)&a->list[a->next++] : NULL;
}
