/* Implements ip.h: no locale, no resolver, and no form of an address that only some programs
 * know. */
#include "base/ip.h"

#include "base/hex.h"

#include <stdio.h>

#define GROUPS 8u /* of an IPv6 address, of 16 bits each */

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct ip ip_of_v4(const uint8_t b[4])
{
    struct ip a;

    memcpy(a.b, v4_prefix, sizeof v4_prefix);
    memcpy(a.b + sizeof v4_prefix, b, 4);
    return a;
}

static bool parse_v4(struct str s, uint8_t out[4])
{
    size_t at = 0;

    for (unsigned i = 0; i < 4; i++) {
        size_t begin = i ? at + 1 : 0;
        unsigned value = 0;

        if (i && (at == s.n || s.p[at] != '.'))
            return false;
        for (at = begin; at < s.n && at - begin < 3 && s.p[at] >= '0' && s.p[at] <= '9'; at++)
            value = value * 10 + (unsigned)(s.p[at] - '0');
        if (at == begin || value > 255 || (at - begin > 1 && s.p[begin] == '0'))
            return false;
        out[i] = (uint8_t)value;
    }
    return at == s.n;
}

/* One to four digits; the number of them. */
static size_t parse_group(struct str s, uint8_t out[2])
{
    unsigned value = 0;
    size_t n = 0;

    for (; n < s.n && n < 4 && hex_value(s.p[n]) >= 0; n++)
        value = value << 4 | (unsigned)hex_value(s.p[n]);
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return n;
}

/* Groups up to the end of s or to "::"; *n of them, and where it stopped. An IPv4 address takes the
 * place of the last two. */
static bool parse_groups(struct str s, uint8_t out[16], size_t *n, size_t *stop)
{
    size_t at = 0;

    *n = 0;
    while (at < s.n) {
        struct str rest = {s.p + at, s.n - at};
        size_t digits;

        if (*n + 2 <= GROUPS && parse_v4(rest, out + 2 * *n)) {
            *n += 2;
            at = s.n;
            break;
        }
        digits = *n < GROUPS ? parse_group(rest, out + 2 * *n) : 0;
        if (!digits)
            return false;
        ++*n;
        at += digits;
        if (at == s.n || (s.n - at > 1 && s.p[at] == ':' && s.p[at + 1] == ':'))
            break;
        if (s.p[at++] != ':' || at == s.n)
            return false;
    }
    *stop = at;
    return true;
}

/* "::" stands for one group of zeros at least, and only once. */
static bool parse_v6(struct str s, struct ip *out)
{
    uint8_t tail[16];
    size_t head, behind = 0, stop = 0;

    if (str_starts(s, "::"))
        head = 0;
    else if (!parse_groups(s, out->b, &head, &stop))
        return false;
    if (stop == s.n)
        return head == GROUPS;
    s = (struct str){s.p + stop + 2, s.n - stop - 2};
    if (!parse_groups(s, tail, &behind, &stop) || stop != s.n || head + behind >= GROUPS)
        return false;
    memset(out->b + 2 * head, 0, 2 * (GROUPS - head - behind));
    memcpy(out->b + 2 * (GROUPS - behind), tail, 2 * behind);
    return true;
}

bool ip_parse(struct str s, struct ip *out)
{
    uint8_t four[4];

    if (!s.n)
        return false;
    if (memchr(s.p, ':', s.n))
        return parse_v6(s, out);
    if (!parse_v4(s, four))
        return false;
    *out = ip_of_v4(four);
    return true;
}

bool ip_is_v4(const struct ip *a)
{
    return !memcmp(a->b, v4_prefix, sizeof v4_prefix);
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
    return !memcmp(a->b, b->b, sizeof a->b);
}

bool ip_is_loopback(const struct ip *a)
{
    static const struct ip one = {{[15] = 1}};

    return ip_is_v4(a) ? a->b[12] == 127 : ip_equal(a, &one);
}

bool ip_within(const struct ip *a, const struct ip *net, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    return ip_is_v4(a) == ip_is_v4(net) && !memcmp(a->b, net->b, whole) &&
           (!rest || !((a->b[whole] ^ net->b[whole]) >> (8 - rest)));
}

static unsigned group(const struct ip *a, unsigned i)
{
    return (unsigned)a->b[2 * i] << 8 | a->b[2 * i + 1];
}

/* The first of the longest runs of zeros becomes "::", when it has two groups at least (RFC 5952,
 * 4.2). */
void ip_text(const struct ip *a, char out[IP_TEXT_SIZE])
{
    unsigned gap = GROUPS, longest = 1;
    size_t n = 0;

    if (ip_is_v4(a)) {
        snprintf(out, IP_TEXT_SIZE, "%u.%u.%u.%u", a->b[12], a->b[13], a->b[14], a->b[15]);
        return;
    }
    for (unsigned i = 0, run = 0; i < GROUPS; i++) {
        run = group(a, i) ? 0 : run + 1;
        if (run > longest) {
            longest = run;
            gap = i + 1 - run;
        }
    }
    for (unsigned i = 0; i < GROUPS; i++) {
        if (i == gap) {
            n += (size_t)snprintf(out + n, IP_TEXT_SIZE - n, "::");
            i += longest - 1;
        } else {
            n += (size_t)snprintf(out + n, IP_TEXT_SIZE - n, "%s%x",
                                  n && out[n - 1] != ':' ? ":" : "", group(a, i));
        }
    }
}

/* ---- who can reach it --------------------------------------------------------------------------- */

struct net {
    const char *address;
    unsigned bits;
};

static bool in_any(const struct ip *a, const struct net *nets, size_t count, unsigned base)
{
    for (size_t i = 0; i < count; i++) {
        struct ip net;

        if (ip_parse(str_of(nets[i].address), &net) && ip_within(a, &net, base + nets[i].bits))
            return true;
    }
    return false;
}

/* An IPv4 address within one of IPv6, by which it can be reached where somebody translates. */
static bool embedded_v4(const struct ip *a, struct ip *out)
{
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};

    if (!memcmp(a->b, nat64, 12)) {
        *out = ip_of_v4(a->b + 12);
        return true;
    }
    if (a->b[0] == 0x20 && a->b[1] == 0x02) { /* 6to4 */
        *out = ip_of_v4(a->b + 2);
        return true;
    }
    return false;
}

bool ip_is_public(const struct ip *a)
{
    static const struct net v4[] = {
        {"0.0.0.0", 8},      {"10.0.0.0", 8},     {"100.64.0.0", 10}, {"127.0.0.0", 8},
        {"169.254.0.0", 16}, {"172.16.0.0", 12},  {"192.0.0.0", 24},  {"192.0.2.0", 24},
        {"192.88.99.0", 24}, {"192.168.0.0", 16}, {"198.18.0.0", 15}, {"198.51.100.0", 24},
        {"203.0.113.0", 24}, {"224.0.0.0", 4},    {"240.0.0.0", 4},
    };
    /* Within 2000::/3, which alone is routed. */
    static const struct net v6[] = {{"2001::", 23}, {"2001:db8::", 32}, {"3fff::", 20}};
    struct ip inner;

    if (ip_is_v4(a))
        return !in_any(a, v4, sizeof v4 / sizeof v4[0], IP_V4_BITS);
    if (embedded_v4(a, &inner))
        return ip_is_public(&inner);
    return (a->b[0] & 0xe0) == 0x20 && !in_any(a, v6, sizeof v6 / sizeof v6[0], 0);
}

/* ---- hosts of URLs ------------------------------------------------------------------------------ */

bool ip_parse_host(struct str host, struct ip *out)
{
    if (host.n > 2 && *host.p == '[')
        host = (struct str){host.p + 1, host.n - 2};
    return ip_parse(host, out);
}

bool ip_host_is_local(struct str host)
{
    return str_is(host, "localhost") ||
           (host.n > 10 && !memcmp(host.p + host.n - 10, ".localhost", 10));
}
