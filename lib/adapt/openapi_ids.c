/* The names of imported operations. An operationId that is a name as it stands keeps it, and only
 * others make way, so that an operation does not lose its name to one that was mapped to it. */
#include "adapt/openapi_int.h"

#include <stdio.h>
#include <string.h>

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '~' || c == '-';
}

/* Segments as names have them: other characters become '_', and so do the dots of "." and "..";
 * empty segments are dropped. out has room for id.n bytes. */
static size_t map_id(struct str id, char *out)
{
    size_t n = 0, start = 0;

    for (size_t i = 0; i <= id.n; i++) {
        if (i < id.n && id.p[i] != '/') {
            out[n++] = name_char(id.p[i]) ? id.p[i] : '_';
            continue;
        }
        if (n - start == 1 && out[start] == '.')
            out[start] = '_';
        if (n - start == 2 && out[start] == '.' && out[start + 1] == '.')
            out[start] = out[start + 1] = '_';
        if (n > start && i < id.n) {
            out[n++] = '/';
            start = n;
        }
    }
    return n && out[n - 1] == '/' ? n - 1 : n;
}

/* "get_pets_favourite" of GET /pets/{id}/favourite. */
static struct str id_of_path(struct oas_import *im, const struct oas_item *item)
{
    char *text = arena_alloc(&im->arena, item->method.n + item->path.n + sizeof "_root"), *p = text;
    size_t start = 1, literals = 0;

    if (!text)
        return STR_NONE;
    for (size_t i = 0; i < item->method.n; i++) {
        char c = item->method.p[i];

        *p++ = c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
    }
    for (size_t i = 1; i <= item->path.n; i++) {
        struct str segment = {item->path.p + start, i - start};

        if (i < item->path.n && item->path.p[i] != '/')
            continue;
        start = i + 1;
        if (!segment.n || memchr(segment.p, '{', segment.n))
            continue;
        *p++ = '_';
        memcpy(p, segment.p, segment.n);
        p += segment.n;
        literals++;
    }
    if (!literals) {
        memcpy(p, "_root", 5);
        p += 5;
    }
    return (struct str){text, (size_t)(p - text)};
}

/* Too long for a name: what is cut off becomes a part of its hash. */
static size_t shorten(struct oas_import *im, struct str id, char *name, size_t n, size_t room)
{
    uint8_t hash[32];

    if (n <= room)
        return n;
    im->reg->host->sha256(id.p, id.n, hash);
    n = room - 9;
    /* Not behind a slash, nor behind half of a segment that is then a dot. */
    while (n && name[n - 1] == '/')
        n--;
    return n +
           (size_t)snprintf(name + n, 10, "_%02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
}

static int name_item(struct oas_import *im, struct oas_item *item)
{
    size_t prefix = strlen(im->o->namespace_prefix), room = NAME_MAX_BYTES - prefix - 1;
    struct str id = item->id.p ? item->id : id_of_path(im, item);
    char *name;
    size_t n;

    arena_reset(&im->scratch);
    name = id.p ? arena_alloc(&im->scratch, prefix + 1 + id.n + NAME_MAX_BYTES) : NULL;
    if (!name)
        return ALK_ENOMEM;
    memcpy(name, im->o->namespace_prefix, prefix);
    name[prefix] = '/';
    n = map_id(id, name + prefix + 1);
    /* Nothing of it can be in a name. */
    if (!n)
        name[prefix + 1 + n++] = '_';
    item->exact = item->id.p && n == id.n && n <= room && !memcmp(name + prefix + 1, id.p, n);
    n = prefix + 1 + shorten(im, id, name + prefix + 1, n, room);
    item->name = (struct str){arena_dup(&im->arena, name, n), n};
    return item->name.p ? ALK_OK : ALK_ENOMEM;
}

static bool claim(struct oas_import *im, struct oas_item *item)
{
    if (map_find(&im->names, item->name.p, item->name.n))
        return false;
    item->by_name.key = item->name.p;
    item->by_name.len = item->name.n;
    return !map_add(&im->names, &item->by_name);
}

/* The name is somebody else's: a number makes it this one's own. The numbers already given for a
 * name are not tried again (`next`), or many of one name would be a square. */
static int claim_numbered(struct oas_import *im, struct oas_item *item)
{
    struct map_node *n = map_find(&im->names, item->name.p, item->name.n);
    struct oas_item *owner = n ? container_of(n, struct oas_item, by_name) : NULL;
    char *name = arena_alloc(&im->arena, NAME_MAX_BYTES + 16);
    size_t cut = item->name.n < NAME_MAX_BYTES - 8 ? item->name.n : NAME_MAX_BYTES - 8;

    if (!owner || !name)
        return ALK_ENOMEM;
    for (uint32_t i = owner->next ? owner->next : 2; i <= OAS_OPERATIONS + 1; i++) {
        memcpy(name, item->name.p, cut);
        item->name = (struct str){name, cut + (size_t)snprintf(name + cut, 16, "_%u", i)};
        if (map_find(&im->names, name, item->name.n))
            continue;
        owner->next = i + 1;
        oas_warn(im, &item->op, "the name is taken: it is %s", name);
        return claim(im, item) ? ALK_OK : ALK_ENOMEM;
    }
    return oas_fail(im, ALK_ELIMIT, "too many operations of one name");
}

int oas_name_items(struct oas_import *im)
{
    int rc = ALK_OK;

    for (size_t i = 0; !rc && i < im->item_count; i++)
        rc = name_item(im, &im->items[i]);
    for (size_t i = 0; !rc && i < im->item_count; i++) {
        if (im->items[i].exact)
            im->items[i].named = claim(im, &im->items[i]);
    }
    for (size_t i = 0; !rc && i < im->item_count; i++) {
        struct oas_item *item = &im->items[i];

        if (!item->named && !(item->named = claim(im, item)))
            rc = claim_numbered(im, item);
        else if (item->id.p && !item->exact && !rc)
            oas_warn(im, &item->op, "the operationId is no name: it is %s", item->name.p);
    }
    return rc;
}
