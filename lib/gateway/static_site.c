/* The decoy as a static site: GET and HEAD of regular files below one directory. The path is taken
 * apart before anything touches the file system: what decodes to "..", a slash, a backslash or a
 * NUL inside a segment is not found. The reader of the files (wire/transport.h) follows no link on
 * top of that.
 *
 * One piece of a file is in memory at a time, and counted for who asks: the next one is asked for
 * when the client has taken most of the last. A site is freed before the answer ends, so that no
 * event of a reader comes behind it. */
#include "gateway/gateway_int.h"

#include "base/hex.h"

#include <string.h>

#define PATH_MAX_BYTES 1024u

struct site {
    struct file_reader *file;
    uint64_t left;
    bool waiting; /* for a piece */
    char path[PATH_MAX_BYTES];
};

/* Neither "", nor ".", "..", nor anything hidden: .git and .htpasswd are nobody's to see. */
static bool segment_ok(const char *s, size_t n)
{
    return n > 0 && s[0] != '.';
}

/* "/a/b" to "a/b", "/" and "/a/" with index.html; false: not a path that can exist. It is decoded
 * once, as it will be opened, and judged after that; an escaped "%" or "/" is refused, since it
 * could only be meant for a second decoder. */
static bool clean_path(struct str raw, char out[PATH_MAX_BYTES])
{
    size_t n = 0, start = 0;

    for (size_t i = 1; i < raw.n; i++) {
        char c = raw.p[i];

        if (c == '%') {
            if (i + 2 >= raw.n || hex_value(raw.p[i + 1]) < 0 || hex_value(raw.p[i + 2]) < 0)
                return false;
            c = (char)(hex_value(raw.p[i + 1]) << 4 | hex_value(raw.p[i + 2]));
            i += 2;
            if (c == '/' || c == '%')
                return false;
        }
        if ((unsigned char)c < 0x20 || c == '\\' || c == 0x7f ||
            n + sizeof "index.html" >= PATH_MAX_BYTES)
            return false;
        if (c == '/') {
            if (!segment_ok(out + start, n - start))
                return false;
            start = n + 1;
        }
        out[n++] = c;
    }
    if (n == start)
        n += (size_t)(memcpy(out + n, "index.html", 10) ? 10 : 0);
    out[n] = 0;
    return segment_ok(out + start, n - start);
}

/* By the ending alone. With nosniff, a browser takes our word for it, and a file that somebody
 * could write is not run as a page. */
static const char *type_of(const char *path)
{
    static const struct {
        const char *ending, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".txt", "text/plain; charset=utf-8"},
        {".xml", "application/xml"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},
        {".webp", "image/webp"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".wasm", "application/wasm"},
        {".pdf", "application/pdf"},
    };
    size_t n = strlen(path);

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t e = strlen(types[i].ending);

        if (n > e && !strcmp(path + n - e, types[i].ending))
            return types[i].type;
    }
    return "application/octet-stream";
}

/* The size is announced before anything is read. */
static void on_opened(void *ud, bool found, uint64_t size)
{
    struct alk_request *r = ud;
    struct site *s = r->site;
    const char *type = type_of(s->path);
    const struct http_header h[] = {
        {STR("Content-Type"), str_of(type)},
        {STR("X-Content-Type-Options"), STR("nosniff")},
    };

    if (!found) {
        site_abort(r);
        reply_decoy_error(r, 404);
        return;
    }
    r->started = true;
    s->left = size;
    if (r->x->ops->start(r->x, 200, h, 2, size)) {
        r->x->ops->reset(r->x);
        return;
    }
    if (!size || str_is(r->x->req.method, "HEAD")) {
        r->ended = true;
        site_abort(r);
        r->x->ops->end(r->x);
        return;
    }
    s->waiting = true;
    r->g->service.files->next(s->file);
}

/* The file may change under us: one that has grown is cut to what was announced, one that has
 * shrunk resets the exchange, so that its answer is not taken for whole. */
static void on_piece(void *ud, const char *data, size_t len)
{
    struct alk_request *r = ud;
    struct site *s = r->site;

    s->waiting = false;
    if (len > s->left)
        len = (size_t)s->left; /* it has grown since; what was announced counts */
    if (!len || r->x->ops->write(r->x, data, len)) {
        r->ended = true;
        site_abort(r);
        r->x->ops->reset(r->x);
        return;
    }
    s->left -= len;
    if (!s->left) {
        r->ended = true;
        site_abort(r);
        r->x->ops->end(r->x);
        return;
    }
    if (r->x->ops->queued(r->x) <= r->g->limits.write_high)
        site_more(r);
}

/* Two reasons ask for the next piece (room, the piece before), and only one may be under way. */
void site_more(struct alk_request *r)
{
    if (r->site->waiting || !r->started)
        return;
    r->site->waiting = true;
    r->g->service.files->next(r->site->file);
}

/* After close, no event of the reader comes: valid at any time, also from inside one. */
void site_abort(struct alk_request *r)
{
    if (r->site->file)
        r->g->service.files->close(r->site->file);
    meter_resize(&r->payer->meter, FILE_PIECE, 0);
    mem_free(&r->g->mem, r->site);
    r->site = NULL;
}

/* Every failure looks like a file that is not there. */
void site_serve(struct alk_request *r)
{
    static const struct file_events events = {on_opened, on_piece};
    const struct file_service *files = r->g->service.files;
    const struct str m = r->x->req.method;
    struct site *s = NULL;

    if (files && (str_is(m, "GET") || str_is(m, "HEAD")))
        s = mem_zalloc(&r->g->mem, sizeof *s);
    if (!s || !clean_path(r->x->req.path, s->path)) {
        mem_free(&r->g->mem, s);
        reply_decoy_error(r, 404);
        return;
    }
    if (!meter_grow(&r->payer->meter, 0, FILE_PIECE, true)) {
        mem_free(&r->g->mem, s);
        reply_decoy_error(r, 503);
        return;
    }
    r->site = s;
    s->file = files->open(files->ud, r->g->decoy_target.p, s->path, &events, r);
    if (!s->file) {
        site_abort(r);
        reply_decoy_error(r, 503);
    }
}
