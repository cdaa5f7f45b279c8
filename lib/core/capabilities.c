/* Outbound credentials: secrets that a handler shows to others. A secret is overwritten before its
 * memory is given back. Each has memory of its own, and the array that grows has only pointers to
 * them, so that no secret stays behind where realloc has moved something.
 *
 * Nothing here is printed, listed or sent. A handler gets a secret by its name, if its own
 * registration has it or its caller hands it down (call_secret). */
#include "core/operation.h"

#include <string.h>

/* mem_wipe and not memset, which a compiler may leave out for memory that is freed next. */
static void secret_wipe(struct mem *m, struct secret *s)
{
    mem_wipe(s->data, s->len);
    mem_free(m, s->data);
    s->data = NULL;
    s->len = 0;
}

alk_capabilities *alk_capabilities_new(void)
{
    struct mem plain;
    alk_capabilities *c;

    mem_init(&plain, NULL, NULL);
    c = mem_zalloc(&plain, sizeof *c);
    if (c)
        mem_init(&c->mem, NULL, NULL);
    return c;
}

void alk_capabilities_free(alk_capabilities *caps)
{
    struct mem plain;

    if (!caps)
        return;
    for (size_t i = 0; i < caps->count; i++) {
        secret_wipe(&caps->mem, &caps->secrets[i]);
        mem_free(&caps->mem, (char *)caps->secrets[i].name.p);
    }
    mem_free(&caps->mem, caps->secrets);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, caps);
}

/* Compared as it is: names are no secret, so the time that it takes tells nothing worth knowing. */
static struct secret *find(const alk_capabilities *caps, const char *name, size_t len)
{
    for (size_t i = 0; i < caps->count; i++) {
        if (caps->secrets[i].name.n == len && !memcmp(caps->secrets[i].name.p, name, len))
            return &caps->secrets[i];
    }
    return NULL;
}

/* The array may move. That is allowed while a set is built: calls point into an operation's set,
 * which never changes. */
static struct secret *append(alk_capabilities *caps, const char *name)
{
    struct secret *s = mem_realloc(&caps->mem, caps->secrets, (caps->count + 1) * sizeof *s);
    char *copy = mem_dup(&caps->mem, name, strlen(name));

    if (s)
        caps->secrets = s;
    if (!s || !copy) {
        mem_free(&caps->mem, copy);
        return NULL;
    }
    s = &caps->secrets[caps->count++];
    memset(s, 0, sizeof *s);
    s->name = (struct str){copy, strlen(copy)};
    return s;
}

int alk_capabilities_set(alk_capabilities *caps, const char *name, const void *secret, size_t len)
{
    struct secret *s = find(caps, name, strlen(name));
    char *copy;

    if (!*name)
        return ALK_EINVAL;
    /* The new one first: out of memory, the old one is still there. */
    copy = mem_dup(&caps->mem, secret, len);
    if (!copy || (!s && !(s = append(caps, name)))) {
        if (copy)
            mem_wipe(copy, len);
        mem_free(&caps->mem, copy);
        return ALK_ENOMEM;
    }
    secret_wipe(&caps->mem, s);
    s->data = copy;
    s->len = len;
    return ALK_OK;
}

const struct secret *capabilities_get(const alk_capabilities *caps, const char *name, size_t len)
{
    return caps ? find(caps, name, len) : NULL;
}

/* A registration has its own copy, so that the program may change or free its set afterwards. All
 * or nothing. */
int capabilities_copy(alk_capabilities **out, const alk_capabilities *caps)
{
    *out = NULL;
    if (!caps || !caps->count)
        return ALK_OK;
    *out = alk_capabilities_new();
    for (size_t i = 0; *out && i < caps->count; i++) {
        const struct secret *s = &caps->secrets[i];

        if (alk_capabilities_set(*out, s->name.p, s->data, s->len)) {
            alk_capabilities_free(*out);
            *out = NULL;
        }
    }
    return *out ? ALK_OK : ALK_ENOMEM;
}
