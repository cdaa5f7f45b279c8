/* Compiling and matching, and what a match may cost.
 *
 * PCRE2's own limit counts backtracks for each start position anew, and a repeated item scans any
 * number of characters for one count, so it does not bound time. Instead every item of a pattern is
 * preceded by a callout, and the callout function charges 1 for itself, 1 for 8 characters moved
 * since the last one, and a toll for what happens between callouts: a failed {n} can have scanned n
 * characters, a back reference compares any number, and captures are copied at each branch. PCRE2's
 * limits stay on as a second fence and bound memory.
 *
 * A match uses a few KiB on the stack; only one that backtracks deeply allocates, and frees at its
 * end. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "host/regex.h"

#include "base/host.h"
#include "host/regex_ecma.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PCRE2's backtracking frames that fit the stack: enough for all but a few patterns. */
#define STACK_FRAMES_KIB 4u
/* And its contexts and match data, which come from the same buffer. */
#define STACK_BYTES (STACK_FRAMES_KIB * 1024u + 1024u)
/* A repeated item moves so many characters in the time of one callout, about. */
#define CHARS_PER_UNIT 8u
/* 128 bytes of memory for a unit of effort: whoever may spend time may spend as much memory. */
#define EFFORT_PER_HEAP_KIB 8u

struct regex {
    pcre2_code *code;
    uint32_t toll;      /* for each callout */
    bool compares_back; /* a callout's toll grows with the subject */
};

/* What a match may still cost, in units of effort. */
struct meter {
    uint64_t left, toll;
    size_t at; /* where in the subject the last callout was, in bytes */
};

/* Serves PCRE2's requests from buf first; what does not fit comes from malloc. What lies in buf is
 * not given back: the match is over soon. */
struct pool {
    size_t used; /* a multiple of 16, as the size is */
    _Alignas(16) char buf[STACK_BYTES];
};

static void *pool_malloc(size_t size, void *ud)
{
    struct pool *pool = ud;
    void *at = pool->buf + pool->used;

    if (size > sizeof pool->buf - pool->used)
        return malloc(size);
    pool->used += (size + 15) & ~(size_t)15;
    return at;
}

static void pool_free(void *ptr, void *ud)
{
    struct pool *pool = ud;

    if ((uintptr_t)ptr - (uintptr_t)pool->buf >= sizeof pool->buf)
        free(ptr);
}

/* Called before each item of the pattern, by PCRE2_AUTO_CALLOUT. When the match backtracks the
 * position jumps back; a distance counts in either direction. */
static int charge(pcre2_callout_block *block, void *ud)
{
    struct meter *m = ud;
    size_t at = block->current_position, moved = at > m->at ? at - m->at : m->at - at;
    uint64_t cost = 1 + moved / CHARS_PER_UNIT + m->toll;

    m->at = at;
    if (cost > m->left)
        return PCRE2_ERROR_MATCHLIMIT;
    m->left -= cost;
    return 0;
}

static void *refuse(struct regex *re, char err[REGEX_ERROR_MAX], const char *why)
{
    snprintf(err, REGEX_ERROR_MAX, "%s", why);
    regex_free(re);
    return NULL;
}

/* Any thread, without a lock: PCRE2 keeps no state of its own. */
void *regex_new(const char *pattern, size_t len, char err[REGEX_ERROR_MAX])
{
    /* ECMA-262 with u, as near as PCRE2 comes to it: $ is the very end, [] matches nothing, \u and
     * \x as in ECMA-262, an unset back reference matches the empty string, \d and \w are ASCII.
     * NEVER_UCP and NEVER_BACKSLASH_C stand against a hole in the translation. */
    const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS |
                             PCRE2_ALT_BSUX | PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_UCP |
                             PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
    struct regex *re;
    struct ecma ecma;
    PCRE2_SIZE where, size;
    PCRE2_UCHAR why[96];
    int code;

    if (len > REGEX_MAX_PATTERN)
        return refuse(NULL, err, "the pattern is too long");
    if (ecma_translate(pattern, len, &ecma, err))
        return NULL;
    re = calloc(1, sizeof *re);
    if (!re || ecma.len > REGEX_MAX_TRANSLATED) {
        free(ecma.text);
        return refuse(re, err, re ? "the pattern is too long" : "out of memory");
    }
    re->code = pcre2_compile((PCRE2_SPTR)ecma.text, ecma.len, options, &code, &where, NULL);
    free(ecma.text);
    if (!re->code) {
        pcre2_get_error_message(code, why, sizeof why);
        return refuse(re, err, (char *)why);
    }
    /* (((a{9}){9}){9}…) is short and compiles to megabytes: repeated groups are copied. */
    pcre2_pattern_info(re->code, PCRE2_INFO_SIZE, &size);
    if (size > REGEX_MAX_CODE + REGEX_MAX_CODE_RATIO * len)
        return refuse(re, err, "the pattern's repeated groups are too large");
    re->toll = ecma.max_repeat / 16 + ecma.captures / 8;
    /* Captures are made only where a back reference needs them. */
    re->compares_back = ecma.captures != 0;
    return re;
}

/* PCRE2 keeps the code in one block. */
size_t regex_size(const void *regex)
{
    const struct regex *re = regex;
    PCRE2_SIZE size;

    pcre2_pattern_info(re->code, PCRE2_INFO_SIZE, &size);
    return sizeof *re + size;
}

/* No match may be under way. */
void regex_free(void *regex)
{
    struct regex *re = regex;

    if (!re)
        return;
    pcre2_code_free(re->code);
    free(re);
}

/* The match data has room for one pair of offsets: only whether it matches counts. */
static int run(const struct regex *re, const char *subject, size_t len, uint32_t heap_kib,
               struct meter *meter)
{
    struct pool pool;
    pcre2_general_context *general;
    pcre2_match_context *context = NULL;
    pcre2_match_data *data = NULL;
    int rc = PCRE2_ERROR_NOMEMORY;

    pool.used = 0;
    general = pcre2_general_context_create(pool_malloc, pool_free, &pool);
    if (general) {
        context = pcre2_match_context_create(general);
        data = pcre2_match_data_create(1, general);
    }
    if (context && data) {
        pcre2_set_heap_limit(context, heap_kib);
        pcre2_set_match_limit(context, (uint32_t)(meter->left + 1));
        pcre2_set_callout(context, charge, meter);
        rc = pcre2_match(re->code, (PCRE2_SPTR)subject, len, 0, 0, data, context);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_general_context_free(general);
    return rc;
}

/* A back reference may compare as many bytes as the subject has, between two callouts: so its toll
 * grows with the subject. */
int regex_match(const void *regex, const char *subject, size_t len, uint32_t effort)
{
    const struct regex *re = regex;
    struct meter meter = {effort, re->toll + (re->compares_back ? len / 256 : 0), 0};
    uint32_t heap = effort / EFFORT_PER_HEAP_KIB;
    int rc = run(re, subject, len, STACK_FRAMES_KIB, &meter);

    /* Again, with memory from the heap, and with what is left of the effort. */
    if (rc == PCRE2_ERROR_HEAPLIMIT && heap > STACK_FRAMES_KIB)
        rc = run(re, subject, len, heap < REGEX_MAX_HEAP_KIB ? heap : REGEX_MAX_HEAP_KIB, &meter);
    switch (rc) {
    case PCRE2_ERROR_NOMEMORY:
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
        return HOST_REGEX_TOO_COMPLEX;
    default:
        /* A negative code that is left says that the subject is not UTF-8. */
        return rc >= 0 ? HOST_REGEX_YES : HOST_REGEX_NO;
    }
}
