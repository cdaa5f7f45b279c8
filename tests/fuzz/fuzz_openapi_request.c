/* Fuzzes the making of requests: a plan that the first bytes choose, and an input.
 *
 * The input is the rest, where that is JSON; else the rest is a string, an item and a name in each
 * parameter and in the body. It must hold: the URL is the base and goes on with a path or a query;
 * it has no byte that no URL has, and no segment of dots, however often it is decoded; headers are
 * lines, one of them Cookie at most; a credential is shown once and is the plan's; forms are
 * encoded, JSON is JSON; no memory is kept. */
#include "adapt/openapi_plan.h"
#include "base/arena.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/utf8.h"
#include "support/memory.h"
#include "wire/http_head.h"

#include <alknet/alknet.h>

#include <stdio.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define PARAMS 4
#define PIECES 6
#define INIT(text)                                                                                 \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    const uint8_t *p;
    size_t n;
    struct oas_plan plan;
    struct oas_param params[PARAMS];
    struct oas_piece pieces[PIECES];
    long fail_in;
};

static const struct str bases[] = {INIT("http://h"), INIT("https://api.example:8443/v1"),
                                   INIT("http://[::1]:1/a/b"), INIT("http://127.0.0.1")};
static const struct oas_credential credentials[] = {
    {.show = SHOW_KEY, .in = IN_QUERY, .name = INIT("key"), .scheme = "s/secret"},
    {.show = SHOW_KEY, .in = IN_HEADER, .name = INIT("X-Key"), .scheme = "s/secret"},
    {.show = SHOW_KEY, .in = IN_COOKIE, .name = INIT("key"), .scheme = "s/secret"},
    {.show = SHOW_BASIC, .scheme = "s/secret"},
};
static const struct oas_requirement all_of_them = {credentials, 4};
static const struct oas_part parts[] = {
    {.name = INIT("m0"), .style = STYLE_DEEP},
    {.name = INIT("m1"), .style = STYLE_PIPE, .reserved = true},
    {.name = INIT("m2"), .binary = true},
    {.name = INIT("m3"), .json = true, .content_type = INIT("a/b")},
};

/* ---- the plan ---------------------------------------------------------------------------------- */

static uint8_t byte(struct fuzz *f)
{
    if (!f->n)
        return 0;
    f->n--;
    return *f->p++;
}

static struct str text(struct fuzz *f)
{
    size_t n = byte(f) % 16;
    struct str s = {(const char *)f->p, n < f->n ? n : f->n};

    f->p += s.n;
    f->n -= s.n;
    return s;
}

/* What an import lets pass. */
static bool choose_param(struct fuzz *f, struct oas_param *p, size_t i)
{
    static const char *const members[PARAMS] = {"m0", "m1", "m2", "m3"};
    uint8_t what = byte(f), how = byte(f);

    p->in = what % 5;
    p->style = what / 5 % 9;
    p->explode = how & 1;
    p->reserved = how & 2;
    p->required = how & 4;
    p->member = str_of(members[i]);
    p->name = how & 8 ? str_of("Key") : how & 16 ? str_of("x-key") : text(f);
    return (p->in != IN_HEADER || oas_header_allowed(p->name)) &&
           (p->in != IN_COOKIE || http_is_token(p->name));
}

/* Segments that the document itself makes of dots are refused by the import. */
static bool has_dots(const struct fuzz *f)
{
    char path[200];
    size_t n = 0, from = 0;

    for (size_t i = 0; i < f->plan.piece_count; i++) {
        const struct oas_piece *piece = &f->pieces[i];

        if (piece->param >= 0)
            path[n++] = 'p';
        else
            for (size_t k = 0; k < piece->literal.n; k++)
                path[n++] = piece->literal.p[k];
    }
    path[n] = '/';
    path[n + 1] = 0;
    for (size_t i = 0; i <= n; i++) {
        if (path[i] != '/')
            continue;
        if (i - from == strspn(path + from, ".") && (i - from == 1 || i - from == 2))
            return true;
        from = i + 1;
    }
    return false;
}

static bool choose_plan(struct fuzz *f)
{
    static const struct str literals[] = {INIT("/"),   INIT("/a"),   INIT("."),   INIT(".."),
                                          INIT("/x."), INIT("b/"),   INIT(";v="), INIT("/%41"),
                                          INIT("//"),  INIT("-/.-"), INIT("@e"),  INIT("%2")};
    uint8_t what = byte(f), more = byte(f);
    size_t count = byte(f) % (PARAMS + 1);

    f->plan.method = "POST";
    f->plan.base = bases[what % 4];
    f->plan.body = what / 4 % 6;
    f->plan.content_type = (struct str)INIT("x/y");
    f->plan.headers = (struct str)INIT("Accept: */*\r\nX-Key: theirs\r\nCookie: a=b\r\n");
    f->plan.security = more & 1 ? &all_of_them : NULL;
    f->plan.security_count = more & 1;
    f->plan.parts = more & 2 ? parts : NULL;
    f->plan.part_count = more & 2 ? 4 : 0;
    f->fail_in = more & 4 ? more >> 3 : 0;
    f->plan.params = f->params;
    f->plan.pieces = f->pieces;
    for (size_t i = 0; i < count; i++)
        f->plan.param_count += choose_param(f, &f->params[f->plan.param_count], i);
    for (count = byte(f) % (PIECES + 1); f->plan.piece_count < count; f->plan.piece_count++) {
        struct oas_piece *piece = &f->pieces[f->plan.piece_count];
        uint8_t which = byte(f);

        piece->param = which & 1 && f->plan.param_count ? which / 2 % (int)f->plan.param_count : -1;
        if (piece->param >= 0 && f->params[piece->param].in != IN_PATH)
            piece->param = -1;
        piece->literal = literals[which / 2 % (sizeof literals / sizeof literals[0])];
    }
    return !has_dots(f);
}

/* ---- the input --------------------------------------------------------------------------------- */

static yyjson_val *parse(struct arena *a, const char *data, size_t n)
{
    const struct json_limits limits = {200, 1000000};
    yyjson_alc alc = arena_alc(a);
    char *copy = arena_alloc(a, n + JSON_PADDING);
    yyjson_doc *doc;

    MUST(copy);
    if (n)
        memcpy(copy, data, n);
    return json_parse(copy, n, &limits, &alc, &doc, NULL) ? NULL : yyjson_doc_get_root(doc);
}

static yyjson_val *choose_input(struct arena *a, struct mem *mem, const uint8_t *data, size_t n)
{
    yyjson_val *v = parse(a, (const char *)data, n);
    char *scrubbed = malloc(3 * n + 1);
    struct buf s, b;

    MUST(scrubbed);
    buf_init(&s, mem);
    buf_init(&b, mem);
    if (!v) {
        MUST(!buf_json_string(&s, scrubbed, utf8_scrub(scrubbed, (const char *)data, n)));
        MUST(!buf_append(&s, "", 1));
        MUST(!buf_printf(
            &b, "{\"m0\":%s,\"m1\":[%s,\"x\",%s],\"m2\":{%s:%s},\"m3\":{\"key\":%s,%s:1},",
            buf_at(&s), buf_at(&s), buf_at(&s), buf_at(&s), buf_at(&s), buf_at(&s), buf_at(&s)));
        MUST(!buf_printf(&b, "\"body\":{%s:%s,\"m1\":[%s]}}", buf_at(&s), buf_at(&s), buf_at(&s)));
        v = parse(a, buf_at(&b), b.len);
    }
    free(scrubbed);
    buf_fini(&s);
    buf_fini(&b);
    return v;
}

/* ---- judging ----------------------------------------------------------------------------------- */

static size_t decode(char *to, const char *from, size_t n, bool *any)
{
    size_t len = 0;

    *any = false;
    for (size_t i = 0; i < n; i++) {
        if (from[i] == '%' && n - i > 2 && hex_value(from[i + 1]) >= 0 &&
            hex_value(from[i + 2]) >= 0) {
            to[len++] = (char)(hex_value(from[i + 1]) << 4 | hex_value(from[i + 2]));
            i += 2;
            *any = true;
        } else {
            to[len++] = from[i];
        }
    }
    return len;
}

static void judge_path(const char *path, size_t n)
{
    char *copy = malloc(n + 1);
    bool any = true;

    MUST(copy && (!n || path[0] == '/'));
    memcpy(copy, path, n);
    while (any) {
        for (size_t i = 0, from = 0; i <= n; i++) {
            if (i < n && copy[i] != '/' && copy[i] != '\\')
                continue;
            MUST(i - from != 1 || copy[from] != '.');
            MUST(i - from != 2 || copy[from] != '.' || copy[from + 1] != '.');
            from = i + 1;
        }
        n = decode(copy, copy, n, &any);
    }
    free(copy);
}

/* How many units of a query have that name, decoded and in any case. */
static size_t named(const char *query, const char *name)
{
    size_t count = 0, len = strlen(name);

    while (*query) {
        size_t n = strcspn(query, "&"), name_len = strcspn(query, "=&");
        char *copy = malloc(name_len + 1);
        bool any;

        MUST(copy);
        name_len = decode(copy, query, name_len, &any);
        count += name_len == len && http_is_folded((struct str){copy, len}, name);
        free(copy);
        query += n + (query[n] == '&');
    }
    return count;
}

static void judge_url(const struct oas_plan *plan, const struct buf *b)
{
    const char *url = buf_at(b), *rest = url + plan->base.n;
    size_t n = strlen(url), path = strcspn(rest, "?");

    MUST(b->len == n + 1 && n < OAS_URL_MAX && !memcmp(url, plan->base.p, plan->base.n));
    MUST(!*rest || *rest == '/' || *rest == '?');
    for (size_t i = 0; i < n; i++)
        MUST(url[i] > 0x20 && url[i] < 0x7f && url[i] != '#' && url[i] != '\\' && url[i] != '"');
    for (size_t i = 0; rest[i]; i++)
        MUST(!strchr("[]|<>^`{}", rest[i]));
    judge_path(rest, path);
    if (plan->security_count) {
        MUST(named(rest + path + 1, "key") == 1);
        MUST(strlen(rest) >= 8 && !strcmp(rest + strlen(rest) - 8, "key=open"));
    }
}

static void judge_headers(const struct oas_plan *plan, const struct buf *b)
{
    struct str h = {b->len ? buf_at(b) : "", b->len};
    size_t cookies = 0, keys = 0, authorizations = 0;

    MUST(h.n < OAS_HEADERS_MAX);
    while (h.n) {
        const char *end = memchr(h.p, '\n', h.n), *colon = memchr(h.p, ':', h.n);
        struct str name, line;

        MUST(end && end > h.p && end[-1] == '\r' && colon && colon < end);
        line = (struct str){h.p, (size_t)(end - 1 - h.p)};
        name = (struct str){h.p, (size_t)(colon - h.p)};
        for (size_t i = 0; i < line.n; i++)
            MUST((unsigned char)line.p[i] >= 0x20 && line.p[i] != 0x7f);
        MUST(http_is_token(name) && colon[1] == ' ');
        cookies += http_is_folded(name, "cookie");
        keys += http_is_folded(name, "x-key");
        authorizations += http_is_folded(name, "authorization");
        h = (struct str){end + 1, h.n - line.n - 2};
    }
    MUST(cookies == 1 && keys == 1 && authorizations == plan->security_count);
}

static void judge_body(const struct oas_plan *plan, const struct oas_request *rq)
{
    const char *p = rq->body.len ? buf_at(&rq->body) : "";

    MUST(rq->body.len < OAS_BODY_MAX && (rq->has_body || !rq->body.len));
    if (!rq->has_body)
        return;
    if (plan->body == BODY_JSON) {
        yyjson_doc *doc = yyjson_read(p, rq->body.len, YYJSON_READ_NUMBER_AS_RAW);

        MUST(doc);
        yyjson_doc_free(doc);
    }
    for (size_t i = 0; plan->body == BODY_FORM && i < rq->body.len; i++)
        MUST(p[i] > 0x20 && p[i] < 0x7f && !strchr("\"#+<>[\\]^`{|}", p[i]));
    if (plan->body == BODY_MULTIPART)
        MUST(rq->body.len >= 38 && !memcmp(p + rq->body.len - 4, "--\r\n", 4));
}

static const char *secret(void *ud, const char *name, size_t *len)
{
    (void)ud;
    (void)name;
    *len = 4;
    return "open";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t random[16] = "0123456789abcdef";
    struct fuzz f = {.p = data, .n = size};
    struct oas_complaint why = {"", ""};
    struct memory memory = {0};
    struct oas_request rq;
    struct arena arena;
    struct mem mem, own;
    yyjson_val *input;
    int rc;

    if (size > 100000 || !choose_plan(&f))
        return 0;
    mem_init(&own, NULL, NULL);
    arena_init(&arena, &own, 256);
    input = choose_input(&arena, &own, f.p, f.n);
    memory.fail_in = f.fail_in;
    mem_init(&mem, memory_realloc, &memory);
    oas_request_init(&rq, &mem);
    rc = oas_request_build(&rq, &f.plan, input, secret, NULL, random, &why);
    MUST(rc == ALK_OK || rc == ALK_EINVAL || rc == ALK_ENOMEM);
    MUST((rc == ALK_EINVAL) == (*why.text != 0) && memchr(why.path, 0, sizeof why.path));
    MUST((rc == ALK_ENOMEM) == memory.failed);
    MUST(utf8_valid(why.path, strlen(why.path)));
    if (rc == ALK_OK) {
        judge_url(&f.plan, &rq.url);
        judge_headers(&f.plan, &rq.headers);
        judge_body(&f.plan, &rq);
    }
    oas_request_fini(&rq);
    MUST(!memory.live);
    arena_fini(&arena);
    MUST(!own.live);
    return 0;
}
