/* A URL is brought to one normal form as soon as it is read, whichever way it came, so that
 * comparing two (the settings file's token is for that file's URL alone) is comparing strings.
 * Whatever held a token is overwritten before it is freed, and no message quotes a line or a URL
 * that may hold one.
 *
 * The settings file has lines `url = URL` and `token = TOKEN`, and comments that begin with #. */
#include "settings.h"
#include "input.h"
#include "known.h"
#include "print.h"
#include "tls.h"

#include <alknet/alknet.h>
#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#define FILE_MAX 65536u
#define QUIC_PORT "4780"

/* What the settings file says. Absent strings are NULL. */
struct saved {
    char *path, *url, *token;
};

int token_check(const char *text, size_t len)
{
    if (!len || len > ALK_TOKEN_MAX)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return -1;
    }
    return 0;
}

static char *take_token(const char *text, size_t len, const char *from)
{
    if (token_check(text, len)) {
        complain(
            "%s holds no token: one line of at most %u printable characters without spaces is one",
            from, ALK_TOKEN_MAX);
        return NULL;
    }
    return xstrndup(text, len);
}

static char *read_token(const char *path)
{
    struct buffer text = {0};
    char *token = NULL;

    if (input_file(&text, path, FILE_MAX, true) == 0) {
        while (text.len && isspace((unsigned char)buffer_text(&text)[text.len - 1]))
            buffer_truncate(&text, text.len - 1);
        token = take_token(buffer_text(&text), text.len, path);
    }
    buffer_wipe(&text);
    return token;
}

char *settings_path(const char *name)
{
    const char *dir = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    struct buffer path = {0};
    char *out;

    if (dir && *dir == '/')
        buffer_printf(&path, "%s/alknet/%s", dir, name);
    else if (home && *home == '/')
        buffer_printf(&path, "%s/.config/alknet/%s", home, name);
    out = path.len ? xstrndup(buffer_text(&path), path.len) : NULL;
    buffer_free(&path);
    return out;
}

/* line is NUL-terminated and without its newline. */
static int saved_line(struct saved *saved, char *line, unsigned number)
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
    *member = xstrndup(value, strlen(value));
    return 0;
}

static int saved_load(struct saved *saved)
{
    struct buffer text = {0};
    unsigned number = 0;
    char *line, *next;
    int rc;

    saved->path = settings_path("config");
    if (!saved->path || (access(saved->path, F_OK) && (errno == ENOENT || errno == ENOTDIR)))
        return 0;
    rc = input_file(&text, saved->path, FILE_MAX, true);
    for (line = text.data; !rc && line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        rc = saved_line(saved, line, ++number);
    }
    buffer_wipe(&text);
    return rc;
}

static void free_secret(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

/* text: a URL with one of these schemes. */
static int parse_unix(struct settings *s, const char *text, const char *from)
{
    const char *path = strchr(text, ':') + 1;

    snprintf(s->scheme, sizeof s->scheme, "%.*s", (int)(path - text - 1), text);
    if (!*path || strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path) {
        complain("%s: the path of %s: URLs has 1 to %zu bytes", from, s->scheme,
                 sizeof((struct sockaddr_un *)0)->sun_path - 1);
        return OUTCOME_USAGE;
    }
    s->socket = xstrndup(path, strlen(path));
    s->url = xstrndup(text, strlen(text));
    s->base =
        strcmp(s->scheme, "unix") ? xstrndup(text, strlen(text)) : xstrndup("http://localhost", 16);
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

/* Its fragment is the server's fingerprint. */
static bool is_quic(CURLU *url)
{
    char *scheme = NULL;
    bool quic = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                strcmp(scheme, "alknet") == 0;

    curl_free(scheme);
    return quic;
}

/* What a base URL must not have. Such a URL may hold a secret, and is not shown. */
static const char *unwanted(CURLU *url)
{
    if (part(url, CURLUPART_USER) || part(url, CURLUPART_PASSWORD))
        return "a URL with a user or a password is refused: the token comes from --token-file, "
               "ALKNET_TOKEN or the settings file";
    if (part(url, CURLUPART_QUERY) || (part(url, CURLUPART_FRAGMENT) && !is_quic(url)))
        return "a URL with a query or a fragment is refused: the routes are appended to it";
    return NULL;
}

/* RFC 6761, 6.3: these names mean this machine. Whoever answers for names is not asked. */
static bool is_loopback_name(const char *host)
{
    static const char suffix[] = ".localhost";
    size_t len = strlen(host);

    return strcasecmp(host, "localhost") == 0 ||
           (len >= sizeof suffix && strcasecmp(host + len + 1 - sizeof suffix, suffix) == 0);
}

/* host as in a URL: an IPv6 address has brackets. */
static bool is_loopback_address(const char *host)
{
    struct in6_addr six;
    struct in_addr four;
    char text[INET6_ADDRSTRLEN + 2];

    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    snprintf(text, sizeof text, "%s", host + (*host == '['));
    text[strcspn(text, "]")] = 0;
    return inet_pton(AF_INET6, text, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

/* Makes sure that the name of this machine leads to it, over either transport. Over TLS that is the
 * certificate's to prove, for the name as it is. */
static int pin(struct settings *s, CURLU *url, const char *host)
{
    char *port = NULL;
    struct buffer entry = {0};

    if (strcmp(s->scheme, "wss") == 0 || strncmp(s->scheme, "alknet", 6) == 0)
        return 0;
    if (strcmp(s->scheme, "ws") == 0)
        return curl_url_set(url, CURLUPART_HOST, "127.0.0.1", 0);
    if (curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
        return -1;
    buffer_printf(&entry, "%s:%s:127.0.0.1,[::1]", host, port);
    s->resolve = xstrndup(buffer_text(&entry), entry.len);
    buffer_free(&entry);
    curl_free(port);
    return 0;
}

static char *whole_of(CURLU *url)
{
    char *whole = NULL, *copy = NULL;
    size_t len;

    if (curl_url_get(url, CURLUPART_URL, &whole, CURLU_NO_DEFAULT_PORT) == 0) {
        for (len = strlen(whole); len && whole[len - 1] == '/';)
            len--;
        copy = xstrndup(whole, len);
    }
    curl_free(whole);
    return copy;
}

/* The fingerprint is a part of its own from here on. */
static int take_quic(struct settings *s, CURLU *url, const char *host)
{
    char *port = NULL, *fragment = NULL;
    struct buffer authority = {0};

    if (strcmp(s->scheme, "alknet") != 0 || !host)
        return 0;
    curl_url_get(url, CURLUPART_PORT, &port, 0);
    curl_url_get(url, CURLUPART_FRAGMENT, &fragment, 0);
    buffer_printf(&authority, "%s:%s", host, port ? port : QUIC_PORT);
    s->authority = xstrndup(buffer_text(&authority), authority.len);
    if (fragment && *fragment)
        s->pin = xstrndup(fragment, strlen(fragment));
    buffer_free(&authority);
    curl_free(port);
    curl_free(fragment);
    return curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
}

static int normalize(struct settings *s, CURLU *url)
{
    char *scheme = NULL, *host = NULL;
    int rc = -1;

    /* Not every scheme has a host; those that we know do. */
    curl_url_get(url, CURLUPART_HOST, &host, 0);
    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == 0 && strlen(scheme) < sizeof s->scheme) {
        bool name = host && is_loopback_name(host);

        snprintf(s->scheme, sizeof s->scheme, "%s", scheme);
        if (take_quic(s, url, host) == 0)
            s->url = whole_of(url);
        s->loopback = name || (host && is_loopback_address(host));
        rc = s->url && name ? pin(s, url, host) : 0;
        s->base = whole_of(url);
        rc = s->url && s->base ? rc : -1;
    }
    curl_free(scheme);
    curl_free(host);
    return rc;
}

/* What is wrong with text, or NULL with everything set but the token. */
static const char *parse_http(struct settings *s, const char *text)
{
    CURLU *url = curl_url();
    const char *wrong;

    if (!url || !strstr(text, "://"))
        wrong = "the URL has no scheme: it looks like http://HOST:PORT or unix:PATH";
    else if (curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME))
        wrong = "the URL is malformed";
    else
        wrong = unwanted(url);
    if (!wrong && normalize(s, url))
        wrong = "the URL is malformed";
    curl_url_cleanup(url);
    return wrong;
}

/* Sets everything but the token. from: where the text stands, for messages. */
static int parse_url(struct settings *s, const char *text, const char *from)
{
    static const char *const local[] = {"unix:", "ws+unix:", "alknet+unix:"};
    const char *wrong;

    if (strlen(text) > URL_MAX) {
        complain("%s: the URL is longer than %u bytes", from, URL_MAX);
        return OUTCOME_USAGE;
    }
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        if (!strncmp(text, local[i], strlen(local[i])))
            return parse_unix(s, text, from);
    }
    wrong = parse_http(s, text);
    if (wrong) {
        complain("%s: %s", from, wrong);
        return OUTCOME_USAGE;
    }
    return 0;
}

int settings_check_url(const char *text)
{
    struct settings s = {0};
    int rc = parse_url(&s, text, "--url");

    settings_fini(&s);
    return rc;
}

static int choose_url(struct settings *s, const struct options *o, const struct saved *saved)
{
    const char *env = getenv("ALKNET_URL");

    if (o->url)
        return parse_url(s, o->url, "--url");
    if (env && *env)
        return parse_url(s, env, "ALKNET_URL");
    if (saved->url)
        return parse_url(s, saved->url, saved->path);
    return parse_url(s, DEFAULT_URL, "the default");
}

/* The token of the settings file, if it is meant for the URL that was chosen. */
static int saved_token(struct settings *s, const struct options *o, const struct saved *saved)
{
    struct settings home = {0};
    int rc = parse_url(&home, saved->url ? saved->url : DEFAULT_URL, saved->path);

    if (rc == 0 && strcmp(home.url, s->url) == 0) {
        s->token = take_token(saved->token, strlen(saved->token), saved->path);
        rc = s->token ? 0 : OUTCOME_USAGE;
    } else if (rc == 0 && o->verbose) {
        remark("the token in %s is for %s, and is not sent to %s", saved->path, home.url, s->url);
    }
    settings_fini(&home);
    return rc;
}

/* Whoever is on the way can read what is not encrypted, and use it. A ping over HTTP has no
 * token. */
static int check_clear(struct settings *s, const struct options *o)
{
    bool http = strcmp(s->scheme, "http") == 0, clear = http || strcmp(s->scheme, "ws") == 0;

    s->direct = s->loopback || (s->token && clear);
    if (!s->token || !clear || s->loopback || o->clear || (http && o->command == COMMAND_PING))
        return 0;
    complain("the token would go to %s in clear text, and others on the way could read it: use "
             "https://, or say --clear",
             s->url);
    return OUTCOME_USAGE;
}

/* Whether the environment's token is for the node that was chosen: where a context chose it, only if
 * the environment names that node, too. */
static int fits_environment(const struct settings *s, const struct options *o, bool *fits)
{
    const char *name = getenv("ALKNET_CONTEXT"), *url = getenv("ALKNET_URL");
    struct settings home = {0};
    int rc = 0;

    *fits = !o->in_context || (name && !strcmp(name, o->in_context));
    if (*fits || !url || !*url)
        return 0;
    rc = parse_url(&home, url, "ALKNET_URL");
    *fits = rc == 0 && !strcmp(home.url, s->url);
    settings_fini(&home);
    return rc;
}

int settings_load(struct settings *s, const struct options *o)
{
    const char *url = getenv("ALKNET_URL");
    char *token = getenv("ALKNET_TOKEN");
    bool has_url = o->url || (url && *url), in_env = !o->token_file && token && *token, fits = true;
    bool has_token = o->token_file || in_env;
    struct saved saved = {0};
    int rc = 0;

    memset(s, 0, sizeof *s);
    s->no_token = "no token was sent: see --token-file and ALKNET_TOKEN";
    if (!has_url)
        rc = saved_load(&saved);
    if (rc == 0)
        rc = choose_url(s, o, &saved);
    if (rc == 0 && in_env)
        rc = fits_environment(s, o, &fits);
    if (!fits) {
        s->no_token = "no token was sent: ALKNET_TOKEN is not for a context: 'alknet context set "
                      "NAME --token-file FILE'";
        has_token = false;
    }
    if (rc == 0 && has_url && !has_token)
        rc = saved_load(&saved);
    if (rc == 0 && s->authority && !s->pin && !o->pin && !o->insecure)
        rc = known_find(s->authority, &s->pin);
    if (rc == 0)
        rc = tls_check(o, s);
    if (rc == 0 && o->token_file)
        s->token = read_token(o->token_file);
    else if (rc == 0 && has_token)
        s->token = take_token(token, strlen(token), "ALKNET_TOKEN");
    else if (rc == 0 && saved.token)
        rc = saved_token(s, o, &saved);
    if (rc == 0 && has_token && !s->token)
        rc = OUTCOME_USAGE;
    if (rc == 0)
        rc = check_clear(s, o);
    /* /proc shows the environment for as long as the program runs. */
    if (token)
        explicit_bzero(token, strlen(token));
    free(saved.path);
    free(saved.url);
    free_secret(saved.token);
    return rc;
}

void settings_fini(struct settings *s)
{
    free(s->url);
    free(s->base);
    free(s->socket);
    free(s->authority);
    free(s->pin);
    free(s->resolve);
    free_secret(s->token);
}
