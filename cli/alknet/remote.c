/* The scheme of the URL decides the transport, and one table says what each transport cannot do,
 * so that the commands never ask what they are talking to. */
#include "remote.h"
#include "http.h"
#include "print.h"
#include "ws.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static const struct {
    const char *scheme;
    struct remote *(*open)(const struct options *o, const struct settings *s);
    /* NULL: there is no such command. */
    struct remote *(*open_curl)(const struct options *o, const struct settings *s);
    bool lasting; /* sessions, which can be lost and made again */
} transports[] = {
    {"http", http_open, curl_command_open, false},
    {"https", http_open, curl_command_open, false},
    {"unix", http_open, curl_command_open, false},
    {"ws", ws_open, NULL, true},
    {"wss", ws_open, NULL, true},
    {"ws+unix", ws_open, NULL, true},
    {"alknet", ws_open, NULL, true},
    {"alknet+tls", ws_open, NULL, true},
    {"alknet+unix", ws_open, NULL, true},
};

void reply_free(struct reply *reply)
{
    yyjson_doc_free(reply->doc);
    buffer_free(&reply->text);
    *reply = (struct reply){0};
}

int reply_problem(struct reply *reply, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(reply->problem, sizeof reply->problem, format, ap);
    va_end(ap);
    return OUTCOME_CONNECTION;
}

const char *remote_hint(int number)
{
    switch (number) {
    case ECONNREFUSED:
        return "nothing listens there: is the server running, and is that its address?";
    case ENOENT:
        return "there is no such socket: is the server running, and is that its path?";
    case EACCES:
        return "its permissions let others in, not you";
    default:
        return NULL;
    }
}

void remote_put_fault(struct buffer *out, const alk_fault *f)
{
    buffer_puts(out, "{\"code\":");
    buffer_json_string(out, f->code, f->code_len ? f->code_len : strlen(f->code));
    buffer_puts(out, ",\"message\":");
    buffer_json_string(out, f->message, f->message_len ? f->message_len : strlen(f->message));
    buffer_printf(out, ",\"retryable\":%s", f->retryable ? "true" : "false");
    if (f->details)
        buffer_printf(out, ",\"details\":%s", f->details);
    buffer_puts(out, "}");
}

bool remote_lasts(const struct settings *settings)
{
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
        if (!strcmp(transports[i].scheme, settings->scheme))
            return transports[i].lasting;
    }
    return false;
}

int remote_open(struct remote **out, const struct options *o, const struct settings *settings,
                struct printer *printer)
{
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
        if (strcmp(transports[i].scheme, settings->scheme))
            continue;
        if (o->curl && (!transports[i].open_curl || o->pin)) {
            complain("%s: curl has no command for that", settings->url);
            return OUTCOME_USAGE;
        }
        *out = (o->curl ? transports[i].open_curl : transports[i].open)(o, settings);
        (*out)->printer = printer;
        return OUTCOME_OK;
    }
    complain("%s: the scheme of a URL is http, https, unix, alknet, ws, wss, ws+unix, alknet+tls "
             "or alknet+unix",
             settings->url);
    return OUTCOME_USAGE;
}
