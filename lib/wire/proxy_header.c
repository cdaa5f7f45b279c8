/* Implements proxy_header.h.
 *
 * The first byte tells the versions apart, and the next are compared as they come with what has to
 * be there: who does not speak the protocol is found out by his first bytes. What stands behind the
 * addresses of version 2 is passed over; nothing here needs it.
 *
 * A header that could be read in two ways is a fault: whoever sent it is no proxy that may say who
 * anybody is. */
#include "wire/proxy_header.h"

#define V2_BYTES_V4 12u /* two addresses and two ports */
#define V2_BYTES_V6 36u
#define V2_BYTES_UNIX 216u

static const char v1_begin[] = "PROXY ";
static const char v2_begin[] = "\r\n\r\n\0\r\nQUIT\n";
#define V1_BEGIN (sizeof v1_begin - 1)
#define V2_BEGIN (sizeof v2_begin - 1)

static int at_fault(struct proxy_header *h, const char *what)
{
    h->fault = what;
    return PROXY_FAULT;
}

/* ---- version 1 ------------------------------------------------------------------------------- */

/* The text up to the next space, which is taken too, or up to the end. */
static struct str next_word(struct str *s)
{
    const char *space = s->n ? memchr(s->p, ' ', s->n) : NULL;
    struct str word = {s->p, space ? (size_t)(space - s->p) : s->n};
    size_t taken = word.n + (space != NULL);

    *s = (struct str){s->p + taken, s->n - taken};
    return word;
}

/* Decimal, without leading zeros. */
static bool is_port(struct str s)
{
    unsigned value = 0;

    for (size_t i = 0; i < s.n && s.n <= 5; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(s.p[i] - '0');
    }
    return s.n && s.n <= 5 && value <= 65535 && (s.n == 1 || *s.p != '0');
}

static bool is_address(struct str s, bool v6, struct ip *out)
{
    return ip_parse(s, out) && (memchr(s.p, ':', s.n) != NULL) == v6;
}

/* line: behind "PROXY ", without its end. Whatever follows UNKNOWN is for nobody. */
static int judge_line(struct proxy_header *h, struct str line)
{
    struct str family = next_word(&line), source, target, from, to;
    bool v6 = str_is(family, "TCP6");
    struct ip unused;

    if (str_is(family, "UNKNOWN"))
        return PROXY_DONE;
    if (!v6 && !str_is(family, "TCP4"))
        return at_fault(h, "PROXY: neither TCP4, TCP6 nor UNKNOWN");
    source = next_word(&line);
    target = next_word(&line);
    from = next_word(&line);
    to = line; /* with a space in it when there is more */
    if (!is_address(source, v6, &h->source) || !is_address(target, v6, &unused))
        return at_fault(h, "PROXY: not two addresses of its family");
    if (!is_port(from) || !is_port(to))
        return at_fault(h, "PROXY: not two ports at its end");
    h->has_source = true;
    return PROXY_DONE;
}

static int take_v1(struct proxy_header *h, char c)
{
    if (h->len <= V1_BEGIN)
        return c == v1_begin[h->len - 1] ? PROXY_MORE : at_fault(h, "no PROXY header");
    if (c == '\n') {
        if (h->kept[h->len - 2] != '\r')
            return at_fault(h, "PROXY: the line ends without CR");
        return judge_line(h, (struct str){h->kept + V1_BEGIN, h->len - V1_BEGIN - 2});
    }
    return h->len < PROXY_V1_MAX ? PROXY_MORE : at_fault(h, "PROXY: the line is too long");
}

/* ---- version 2 ------------------------------------------------------------------------------- */

static unsigned byte_at(const struct proxy_header *h, size_t i)
{
    return (unsigned char)h->kept[i];
}

/* How long the addresses are. Of none (AF_UNSPEC) nothing is known. false: no family of a
 * stream. */
static bool address_bytes(unsigned family, size_t *out)
{
    switch (family) {
    case 0x00: /* AF_UNSPEC, or what the proxy does not know */
        *out = 0;
        return true;
    case 0x11:
        *out = V2_BYTES_V4;
        return true;
    case 0x21:
        *out = V2_BYTES_V6;
        return true;
    case 0x31:
        *out = V2_BYTES_UNIX;
        return true;
    default:
        return false;
    }
}

static int judge_head(struct proxy_header *h)
{
    size_t rest = byte_at(h, 14) << 8 | byte_at(h, 15), need;

    h->total = PROXY_V2_HEAD + rest;
    if (byte_at(h, 12) != 0x20 && byte_at(h, 12) != 0x21)
        return at_fault(h, "PROXY: neither LOCAL nor PROXY of version 2");
    if (!address_bytes(byte_at(h, 13), &need))
        return at_fault(h, "PROXY: not a stream's family of addresses");
    if (rest > PROXY_V2_REST)
        return at_fault(h, "PROXY: the header is too long");
    if (byte_at(h, 12) == 0x21 && rest < need)
        return at_fault(h, "PROXY: the header is too short for its addresses");
    return PROXY_MORE;
}

/* LOCAL is the proxy itself, which looks whether we are there: whatever it says of addresses does
 * not count. */
static int conclude(struct proxy_header *h)
{
    const uint8_t *source = (const uint8_t *)h->kept + PROXY_V2_HEAD;

    h->has_source = byte_at(h, 12) == 0x21 && (byte_at(h, 13) == 0x11 || byte_at(h, 13) == 0x21);
    if (h->has_source && byte_at(h, 13) == 0x11)
        h->source = ip_of_v4(source);
    else if (h->has_source)
        memcpy(h->source.b, source, sizeof h->source.b);
    return PROXY_DONE;
}

static int take_v2(struct proxy_header *h, char c)
{
    if (h->len <= V2_BEGIN && c != v2_begin[h->len - 1])
        return at_fault(h, "no PROXY header");
    if (h->len == PROXY_V2_HEAD && judge_head(h) == PROXY_FAULT)
        return PROXY_FAULT;
    return h->len >= PROXY_V2_HEAD && h->len == h->total ? conclude(h) : PROXY_MORE;
}

int proxy_header_feed(struct proxy_header *h, const char *data, size_t len, size_t *used)
{
    int rc = PROXY_MORE;

    for (*used = 0; *used < len && rc == PROXY_MORE; ++*used) {
        char c = data[*used];

        if (h->len < sizeof h->kept)
            h->kept[h->len] = c;
        h->len++;
        rc = h->kept[0] == v2_begin[0] ? take_v2(h, c) : take_v1(h, c);
    }
    return rc;
}
