/* Implements http_head.h. */
#include "wire/http_head.h"

#include "base/ip.h"
#include "base/swar.h"

#define MAX_PORT_DIGITS 5u /* so that a port cannot overflow while it is read */
/* One KiB in all on 64 bits: a browser's request mostly fits. */
#define FIRST_SLOTS 16u
#define FIRST_ROOM 496u
/* The most by which it grows beyond what is there: a client that sends a bit of a head and waits
 * holds little more than it has sent. */
#define MORE_SLOTS 64u
#define MORE_ROOM 8192u

/* ---- memory ---------------------------------------------------------------------------------- */

static size_t head_size(size_t slots, size_t room)
{
    return sizeof(struct http_head) + slots * sizeof(struct http_header) + room;
}

size_t http_head_bytes(const struct http_head *head)
{
    return head_size(head->slots, head->room);
}

static void free_head(struct http_head *head, struct mem *mem)
{
    mem_wipe(http_head_text(head), head->room);
    mem_free(mem, head);
}

void http_head_free(struct http_head **head, struct mem *mem, struct meter *m)
{
    if (!*head)
        return;
    meter_resize(m, http_head_bytes(*head), 0);
    free_head(*head, mem);
    *head = NULL;
}

/* The fields move along, as their slices point into the text. */
static void move_head(struct http_head *to, struct http_head *from)
{
    const char *base = http_head_text(from);
    char *text = http_head_text(to);

    to->count = from->count;
    to->len = from->len;
    memcpy(text, base, from->len);
    for (uint32_t i = 0; i < from->count; i++) {
        to->headers[i] = from->headers[i];
        to->headers[i].name.p = text + (from->headers[i].name.p - base);
        to->headers[i].value.p = text + (from->headers[i].value.p - base);
    }
}

/* Twice as much, but not MORE_ at a time. */
static size_t grown(size_t have, size_t need, size_t more)
{
    if (need <= have)
        return have;
    have += have < more ? have : more;
    return have < need ? need : have;
}

/* Both blocks are counted while there are two. */
int http_head_grow(struct http_head **head, struct mem *mem, struct meter *m, size_t room,
                   size_t slots, size_t most)
{
    struct http_head *old = *head, *to;
    size_t had = old ? http_head_bytes(old) : 0, have = old ? old->slots : FIRST_SLOTS, bytes;

    if (old && room <= old->room && slots <= old->slots)
        return HTTP_HEAD_GROWN;
    slots = grown(have, slots, MORE_SLOTS);
    /* The limit may have been lowered meanwhile. */
    if (slots > most)
        slots = old && most < have ? have : most;
    room = grown(old ? old->room : FIRST_ROOM, room, MORE_ROOM);
    bytes = head_size(slots, room);
    if (!meter_resize(m, had, had + bytes))
        return HTTP_HEAD_REFUSED;
    to = mem_alloc(mem, bytes);
    if (!to) {
        meter_resize(m, had + bytes, had);
        return HTTP_HEAD_NO_MEMORY;
    }
    *to = (struct http_head){.slots = (uint32_t)slots, .room = (uint32_t)room};
    if (old) {
        move_head(to, old);
        free_head(old, mem);
    }
    meter_resize(m, had + bytes, bytes);
    *head = to;
    return HTTP_HEAD_GROWN;
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* tchar of RFC 9110, section 5.6.2; unreserved and sub-delims of RFC 3986, section 2. 3 is both. */
enum { CHAR_TOKEN = 1, CHAR_HOST = 2 };

static const uint8_t char_class[256] = {
    ['!'] = 3, ['#'] = 1, ['$'] = 3, ['%'] = 1, ['&'] = 3, ['\''] = 3, ['('] = 2, [')'] = 2,
    ['*'] = 3, ['+'] = 3, [','] = 2, ['-'] = 3, ['.'] = 3, [';'] = 2,  ['='] = 2, ['^'] = 1,
    ['_'] = 3, ['`'] = 1, ['|'] = 1, ['~'] = 3, ['0'] = 3, ['1'] = 3,  ['2'] = 3, ['3'] = 3,
    ['4'] = 3, ['5'] = 3, ['6'] = 3, ['7'] = 3, ['8'] = 3, ['9'] = 3,  ['A'] = 3, ['B'] = 3,
    ['C'] = 3, ['D'] = 3, ['E'] = 3, ['F'] = 3, ['G'] = 3, ['H'] = 3,  ['I'] = 3, ['J'] = 3,
    ['K'] = 3, ['L'] = 3, ['M'] = 3, ['N'] = 3, ['O'] = 3, ['P'] = 3,  ['Q'] = 3, ['R'] = 3,
    ['S'] = 3, ['T'] = 3, ['U'] = 3, ['V'] = 3, ['W'] = 3, ['X'] = 3,  ['Y'] = 3, ['Z'] = 3,
    ['a'] = 3, ['b'] = 3, ['c'] = 3, ['d'] = 3, ['e'] = 3, ['f'] = 3,  ['g'] = 3, ['h'] = 3,
    ['i'] = 3, ['j'] = 3, ['k'] = 3, ['l'] = 3, ['m'] = 3, ['n'] = 3,  ['o'] = 3, ['p'] = 3,
    ['q'] = 3, ['r'] = 3, ['s'] = 3, ['t'] = 3, ['u'] = 3, ['v'] = 3,  ['w'] = 3, ['x'] = 3,
    ['y'] = 3, ['z'] = 3,
};

/* A table and not isalnum: no locale, one load for each byte. */
static bool is_class(char c, int class)
{
    return char_class[(unsigned char)c] & class;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

bool http_starts_folded(struct str s, const char *lower)
{
    size_t n = strlen(lower);

    for (size_t i = 0; i < n && s.n >= n; i++) {
        char c = s.p[i];

        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != lower[i])
            return false;
    }
    return s.n >= n;
}

bool http_is_folded(struct str s, const char *lower)
{
    return s.n == strlen(lower) && http_starts_folded(s, lower);
}

void http_trim(struct str *s)
{
    while (s->n && (s->p[s->n - 1] == ' ' || s->p[s->n - 1] == '\t'))
        s->n--;
    while (s->n && (*s->p == ' ' || *s->p == '\t')) {
        s->p++;
        s->n--;
    }
}

bool http_is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_class(s.p[i], CHAR_TOKEN))
            return false;
    }
    return s.n > 0;
}

bool http_is_host(struct str s)
{
    size_t i = 0, port;

    if (s.n && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        struct str inside = {s.p + 1, end ? (size_t)(end - s.p - 1) : 0};
        struct ip address;

        if (!inside.n || !memchr(inside.p, ':', inside.n) || !ip_parse(inside, &address))
            return false;
        i = inside.n + 2;
    } else {
        while (i < s.n &&
               (is_class(s.p[i], CHAR_HOST) ||
                (s.p[i] == '%' && s.n - i > 2 && is_hex(s.p[i + 1]) && is_hex(s.p[i + 2]))))
            i += s.p[i] == '%' ? 3 : 1;
        if (!i)
            return false;
    }
    if (i == s.n)
        return true;
    if (s.p[i++] != ':' || s.n - i > MAX_PORT_DIGITS)
        return false;
    for (port = 0; i < s.n && is_digit(s.p[i]); i++)
        port = port * 10 + (size_t)(s.p[i] - '0');
    return i == s.n && port <= 65535;
}

/* Spaces, controls and bytes above 0x7e are in no URI. */
bool http_is_target(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '#')
            return false;
    }
    return true;
}

bool http_serves_method(struct str s)
{
    return !str_is(s, "CONNECT") && !str_is(s, "PRI");
}

/* The path stays undecoded: what %2F is in it, only the application can say. */
bool http_split_target(struct http_request *r, struct str t)
{
    const char *question = t.n ? memchr(t.p, '?', t.n) : NULL;

    if (str_is(t, "*")) {
        r->path = t;
        return str_is(r->method, "OPTIONS");
    }
    if (question)
        r->query = (struct str){question + 1, (size_t)(t.p + t.n - question - 1)};
    r->path = (struct str){t.p, question ? (size_t)(question - t.p) : t.n};
    if (!r->path.n)
        r->path = (struct str){"/", 1};
    return *r->path.p == '/';
}

/* ---- of answers ------------------------------------------------------------------------------ */

bool http_is_bare(const struct http_request *r, int status)
{
    return status == 204 || status == 304 || str_is(r->method, "HEAD");
}

char *http_put_field(char *to, struct str s)
{
    if (s.n)
        memcpy(to, s.p, s.n);
    if (swar_has_below(s.p, s.n, 0x20)) {
        for (size_t i = 0; i < s.n; i++)
            to[i] = s.p[i] == '\r' || s.p[i] == '\n' || !s.p[i] ? ' ' : s.p[i];
    }
    return to + s.n;
}

char *http_put_decimal(char *to, uint64_t v)
{
    char digits[HTTP_DECIMAL_MAX];
    size_t i = sizeof digits;

    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    memcpy(to, digits + i, sizeof digits - i);
    return to + sizeof digits - i;
}
