/* The node's limits are in milliseconds and may change at any time, from any thread; an engine's
 * are in nanoseconds and its own thread's. So they are read one by one, each as a whole. */
#include "gateway/engine_limits.h"

#include "base/time.h"
#include "core/node.h"

void http_limits(const alk_node *n, struct http_limits *out)
{
    out->header_bytes = LIMIT(n, header_bytes);
    out->header_count = LIMIT(n, header_count);
    out->url_bytes = LIMIT(n, url_bytes);
    out->header_timeout = LIMIT(n, header_timeout_ms) * MILLI;
    out->body_timeout = LIMIT(n, body_timeout_ms) * MILLI;
    out->keepalive_timeout = LIMIT(n, keepalive_ms) * MILLI;
    out->write_timeout = LIMIT(n, write_timeout_ms) * MILLI;
    out->write_rate = LIMIT(n, write_rate);
    out->write_high = LIMIT(n, queue_high);
    out->streams = LIMIT(n, http2_streams);
    out->resets = LIMIT(n, http2_resets);
}

/* In one place for sessions that were accepted, sessions that were dialled, and clients of
 * events. */
void session_limits(const alk_node *n, struct ws_limits *out)
{
    out->message_bytes = LIMIT(n, websocket_bytes);
    out->fragments = LIMIT(n, websocket_fragments);
    out->controls = LIMIT(n, websocket_controls);
    out->write_high = LIMIT(n, queue_high);
    out->ping = LIMIT(n, ping_ms) * MILLI;
    out->idle = LIMIT(n, idle_ms) * MILLI;
    out->close = LIMIT(n, close_ms) * MILLI;
    out->evict = LIMIT(n, evict_ms) * MILLI;
    out->starve = LIMIT(n, body_timeout_ms) * MILLI;
}
