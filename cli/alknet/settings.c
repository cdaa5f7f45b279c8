/* Implements settings.h. The settings file has lines `url = URL` and `token = TOKEN`, and comments that
 * begin with #. */
#include "settings.h"
#include "input.h"
#include "print.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#define FILE_MAX 65536u

/* What the settings file says. Absent strings are NULL. */
struct saved {
    char *path, *url, *token;
};

int token_check(const char *text, size_t len)
{
    if (!len || len > TOKEN_MAX)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return -1;
    }
    return 0;
}

static char *take_token(struct mem *mem, const char *text, size_t len, const char *from)
{
    if (token_check(text, len)) {
        complain(
            "%s holds no token: one line of at most %u printable characters without spaces is one",
            from, TOKEN_MAX);
        return NULL;
    }
    return mem_dup(mem, text, len);
}

static char *read_token(struct mem *mem, const char *path)
{
    struct buf text;
    char *token = NULL;

    buf_init(&text, mem);
    if (input_file(&text, path, FILE_MAX, true) == 0) {
        while (text.len && isspace((unsigned char)buf_at(&text)[text.len - 1]))
            buf_truncate(&text, text.len - 1);
        token = take_token(mem, buf_at(&text), text.len, path);
    }
    if (text.data)
        mem_wipe(text.data, text.cap);
    buf_fini(&text);
    return token;
}

/* NULL when there is no such place. */
static char *saved_path(struct mem *mem)
{
    const char *dir = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    struct buf path;
    char *out;

    buf_init(&path, mem);
    if (dir && *dir == '/')
        buf_printf(&path, "%s/alknet/config", dir);
    else if (home && *home == '/')
        buf_printf(&path, "%s/.config/alknet/config", home);
    out = path.len ? mem_dup(mem, buf_at(&path), path.len) : NULL;
    buf_fini(&path);
    return out;
}

/* line is NUL-terminated and without its newline. */
static int saved_line(struct saved *saved, struct mem *mem, char *line, unsigned number)
{
    char *value = strchr(line, '='), *end = line + strlen(line), **member;

    line += strspn(line, " \t");
    while (end > line && isspace((unsigned char)end[-1]))
        *--end = 0;
    if (!*line || *line == '#')
        return 0;
    if (value) {
        char *name_end = value;

        *value++ = 0;
        value += strspn(value, " \t");
        while (name_end > line && isspace((unsigned char)name_end[-1]))
            *--name_end = 0;
    }
    member = strcmp(line, "url") == 0     ? &saved->url
             : strcmp(line, "token") == 0 ? &saved->token
                                          : NULL;
    if (!value || !member || *member || !*value) {
        /* The line may hold a token: it is not shown. */
        complain("%s:%u: expected 'url = URL' or 'token = TOKEN', each at most once", saved->path,
                 number);
        return OUTCOME_USAGE;
    }
    *member = mem_dup(mem, value, strlen(value));
    return 0;
}

static int saved_load(struct saved *saved, struct mem *mem)
{
    struct buf text;
    unsigned number = 0;
    char *line, *next;
    int rc;

    saved->path = saved_path(mem);
    if (!saved->path || (access(saved->path, F_OK) && (errno == ENOENT || errno == ENOTDIR)))
        return 0;
    buf_init(&text, mem);
    rc = input_file(&text, saved->path, FILE_MAX, true);
    buf_append(&text, "", 1);
    for (line = text.data; !rc && line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        rc = saved_line(saved, mem, line, ++number);
    }
    mem_wipe(text.data, text.cap);
    buf_fini(&text);
    return rc;
}

static void free_secret(struct mem *mem, char *secret)
{
    if (secret)
        mem_wipe(secret, strlen(secret));
    mem_free(mem, secret);
}

static int parse_unix(struct settings *s, struct mem *mem, const char *path, const char *from)
{
    if (!*path || strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path) {
        complain("%s: the path of a unix: URL has 1 to %zu bytes", from,
                 sizeof((struct sockaddr_un *)0)->sun_path - 1);
        return OUTCOME_USAGE;
    }
    s->socket = mem_dup(mem, path, strlen(path));
    s->base = mem_dup(mem, "http://localhost", 16);
    s->loopback = true;
    return 0;
}

static bool part(CURLU *url, CURLUPart what)
{
    char *text = NULL;
    bool there = curl_url_get(url, what, &text, 0) == CURLUE_OK;

    curl_free(text);
    return there;
}

/* What a base URL must not have. Such a URL may hold a secret, and is not shown. */
static const char *unwanted(CURLU *url)
{
    if (part(url, CURLUPART_USER) || part(url, CURLUPART_PASSWORD))
        return "a URL with a user or a password is refused: the token comes from --token-file, "
               "ALKNET_TOKEN or the settings file";
    if (part(url, CURLUPART_QUERY) || part(url, CURLUPART_FRAGMENT))
        return "a URL with a query or a fragment is refused: it is what the routes are appended to";
    return NULL;
}

static bool is_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (strncmp(host, "127.", 4) == 0 && !host[strspn(host, "0123456789.")]);
}

static int normalize(struct settings *s, struct mem *mem, CURLU *url)
{
    char *scheme = NULL, *host = NULL, *whole = NULL;
    int rc = -1;

    /* Not every scheme has a host; those that we know do. */
    curl_url_get(url, CURLUPART_HOST, &host, 0);
    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == 0 &&
        curl_url_get(url, CURLUPART_URL, &whole, CURLU_NO_DEFAULT_PORT) == 0 &&
        strlen(scheme) < sizeof s->scheme) {
        size_t len = strlen(whole);

        while (len && whole[len - 1] == '/')
            len--;
        snprintf(s->scheme, sizeof s->scheme, "%s", scheme);
        s->base = mem_dup(mem, whole, len);
        s->loopback = host && is_loopback(host);
        rc = 0;
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(whole);
    return rc;
}

/* What is wrong with text, or NULL with scheme, base and loopback set. */
static const char *parse_http(struct settings *s, struct mem *mem, const char *text)
{
    CURLU *url = curl_url();
    const char *wrong;

    if (!url || !strstr(text, "://"))
        wrong = "the URL has no scheme: it looks like http://HOST:PORT or unix:PATH";
    else if (curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME))
        wrong = "the URL is malformed";
    else
        wrong = unwanted(url);
    if (!wrong && normalize(s, mem, url))
        wrong = "the URL is malformed";
    curl_url_cleanup(url);
    return wrong;
}

/* Sets everything but the token. from: where the text stands, for messages. */
static int parse_url(struct settings *s, struct mem *mem, const char *text, const char *from)
{
    const char *wrong;
    struct buf shown;

    if (strlen(text) > URL_MAX) {
        complain("%s: the URL is longer than %u bytes", from, URL_MAX);
        return OUTCOME_USAGE;
    }
    if (strncmp(text, "unix:", 5) == 0) {
        snprintf(s->scheme, sizeof s->scheme, "unix");
        if (parse_unix(s, mem, text + 5, from))
            return OUTCOME_USAGE;
        buf_init(&shown, mem);
        buf_printf(&shown, "unix:%s", s->socket);
        s->url = mem_dup(mem, buf_at(&shown), shown.len);
        buf_fini(&shown);
        return 0;
    }
    wrong = parse_http(s, mem, text);
    if (wrong) {
        complain("%s: %s", from, wrong);
        return OUTCOME_USAGE;
    }
    s->url = mem_dup(mem, s->base, strlen(s->base));
    return 0;
}

static int choose_url(struct settings *s, struct mem *mem, const struct options *o,
                      const struct saved *saved)
{
    const char *env = getenv("ALKNET_URL");

    if (o->url)
        return parse_url(s, mem, o->url, "--url");
    if (env && *env)
        return parse_url(s, mem, env, "ALKNET_URL");
    if (saved->url)
        return parse_url(s, mem, saved->url, saved->path);
    return parse_url(s, mem, DEFAULT_URL, "the default");
}

/* The token of the settings file, if it is meant for the URL that was chosen. */
static int saved_token(struct settings *s, struct mem *mem, const struct options *o,
                       const struct saved *saved)
{
    struct settings home = {0};
    int rc = parse_url(&home, mem, saved->url ? saved->url : DEFAULT_URL, saved->path);

    if (rc == 0 && strcmp(home.url, s->url) == 0) {
        s->token = take_token(mem, saved->token, strlen(saved->token), saved->path);
        rc = s->token ? 0 : OUTCOME_USAGE;
    } else if (rc == 0 && o->verbose) {
        remark("the token in %s is for %s, and is not sent to %s", saved->path, home.url, s->url);
    }
    settings_fini(&home, mem);
    return rc;
}

int settings_load(struct settings *s, struct mem *mem, const struct options *o)
{
    const char *url = getenv("ALKNET_URL"), *token = getenv("ALKNET_TOKEN");
    bool has_url = o->url || (url && *url), has_token = o->token_file || (token && *token);
    struct saved saved = {0};
    int rc = 0;

    memset(s, 0, sizeof *s);
    if (!has_url || !has_token)
        rc = saved_load(&saved, mem);
    if (rc == 0)
        rc = choose_url(s, mem, o, &saved);
    if (rc == 0 && o->token_file)
        s->token = read_token(mem, o->token_file);
    else if (rc == 0 && has_token)
        s->token = take_token(mem, token, strlen(token), "ALKNET_TOKEN");
    else if (rc == 0 && saved.token)
        rc = saved_token(s, mem, o, &saved);
    if (rc == 0 && has_token && !s->token)
        rc = OUTCOME_USAGE;
    mem_free(mem, saved.path);
    mem_free(mem, saved.url);
    free_secret(mem, saved.token);
    return rc;
}

void settings_fini(struct settings *s, struct mem *mem)
{
    mem_free(mem, s->url);
    mem_free(mem, s->base);
    mem_free(mem, s->socket);
    free_secret(mem, s->token);
}
