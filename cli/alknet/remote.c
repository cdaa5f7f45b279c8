/* Implements remote.h. */
#include "remote.h"
#include "http.h"
#include "print.h"
#include "ws.h"

#include <stdarg.h>
#include <string.h>

static const struct {
    const char *scheme;
    struct remote *(*open)(struct mem *mem, const struct options *o, const struct settings *s);
    /* NULL: there is no such command. */
    struct remote *(*open_curl)(struct mem *mem, const struct options *o, const struct settings *s);
    bool lasting; /* sessions, which can be lost and made again */
} transports[] = {
    {"http", http_open, curl_command_open, false},
    {"https", http_open, curl_command_open, false},
    {"unix", http_open, curl_command_open, false},
    {"ws", ws_open, NULL, true},
};

void reply_init(struct reply *reply, struct mem *mem)
{
    memset(reply, 0, sizeof *reply);
    buf_init(&reply->text, mem);
}

void reply_fini(struct reply *reply)
{
    yyjson_doc_free(reply->doc);
    buf_fini(&reply->text);
}

int reply_problem(struct reply *reply, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(reply->problem, sizeof reply->problem, format, ap);
    va_end(ap);
    return OUTCOME_CONNECTION;
}

int remote_open(struct remote **out, struct mem *mem, const struct options *o,
                const struct settings *settings, struct printer *printer)
{
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
        if (strcmp(transports[i].scheme, settings->scheme))
            continue;
        if (o->reconnect && !transports[i].lasting) {
            complain("%s: --reconnect is for ws://", settings->url);
            return OUTCOME_USAGE;
        }
        if (o->curl && !transports[i].open_curl) {
            complain("%s: curl has no command for that", settings->url);
            return OUTCOME_USAGE;
        }
        *out = (o->curl ? transports[i].open_curl : transports[i].open)(mem, o, settings);
        (*out)->printer = printer;
        return OUTCOME_OK;
    }
    complain("%s: the scheme of a URL is http, https, unix or ws", settings->url);
    return OUTCOME_USAGE;
}
