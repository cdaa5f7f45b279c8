/* Shared by the files of the MCP server, which stands on the gateway's requests: token, Host, Origin,
 * limits and access have been, or are, looked at as for any other route.
 *
 *   mcp_serve.c    messages: which era, what is asked, and whether it may be
 *   mcp_answer.c   answers, as one object or as a stream of events
 *   mcp_call.c     tools/call
 *   mcp_tools.c    which tools there are, and how they are described
 *   mcp_streams.c  sessions, and streams on which a client hears of changes
 *
 * A request's record lies in its message, which a call takes over; r->mcp is it until one of the
 * two is gone. */
#ifndef ALK_ADAPT_MCP_SERVE_H
#define ALK_ADAPT_MCP_SERVE_H

#include "adapt/mcp.h"
#include "base/buf.h"
#include "gateway/gateway_int.h"

#define MCP_SERVER_INFO "{\"name\":\"alknet\",\"version\":\"" ALK_VERSION "\"}"
#define MCP_PAGE 100u               /* tools of a page */
#define MCP_PAGE_BYTES (256u << 10) /* beyond which a page ends */

struct mcp {
    struct alk_request *r;
    yyjson_val *params; /* in the message */
    struct str id;      /* as JSON; p NULL: a notification, or not known */
    struct str token;   /* that progress is told with, as JSON; p NULL: nobody asks for it */
    bool stateless;     /* revision 2026-07-28 */
    double told;        /* progress so far, which only grows */
    bool tells;         /* its values have told of progress themselves */
    uint64_t wanted;    /* so many values of a subscription; UINT64_MAX: all */
    uint64_t values;    /* that have come */
    uint32_t taken;     /* of these, since the turn was others' */
    struct buf last;    /* its last value */
    /* By session and id, so that it can be cancelled; key NULL: it cannot. */
    struct map_node running;
    struct list stream; /* of those that hear of changes */
    uint64_t heard;     /* so many changes */
};

/* Of a gateway, from the first message on. */
struct mcp_service {
    struct alk_gateway *g;
    struct map running;
    struct list streams;
    struct timer look; /* for what was discovered, while there are streams */
    uint64_t changes;  /* when that was looked at last */
    /* Of direct tools, whose names are not their operations'; made anew when something else has
     * been discovered. */
    struct arena arena;
    struct map tools;
    uint64_t indexed; /* changes at that time, and one more; 0: not made yet */
};

/* mcp_answer.c */
/* The answer is a stream of events from here on. 0, or the request has been reset. */
int mcp_answer_stream(struct mcp *x);
/* One message on that stream, whole in b unless rc says that there was no memory for it. */
void mcp_answer_event(struct mcp *x, struct buf *b, int rc);
/* The buffer of an answer, with what comes before its result. */
int mcp_answer_begin(struct mcp *x, struct buf *b);
/* Closes the result, which is an object with at least one member, and sends it: the request is
 * answered. */
void mcp_answer_end(struct mcp *x, struct buf *b, int rc, const struct http_header *extra,
                    size_t n);
/* data: JSON, NULL: none. */
void mcp_answer_error(struct mcp *x, int status, int code, const char *data, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void mcp_answer_value(struct mcp *x, const struct operation *op, const char *text, size_t len);
void mcp_answer_fault(struct mcp *x, const alk_fault *f);
/* value: what of a subscription's value is shown as progress; p NULL: that it goes on. */
void mcp_answer_progress(struct mcp *x, struct str value);

/* mcp_serve.c */
/* Whether a header says what the body says; else that has been answered. */
bool mcp_mirrored(struct mcp *x, const char *name, yyjson_val *body);

/* mcp_call.c */
static inline bool mcp_answerable(const struct mcp *x)
{
    return x->r->x && !x->r->ended;
}
void mcp_call_start(struct mcp *x, struct str operation, const struct target *target,
                    yyjson_val *input, int want, const struct call_sink *sink, uint32_t timeout_ms);
/* The last that a call does to its request, which may be gone behind it. */
void mcp_call_over(alk_call *c, struct mcp *x);
void mcp_tools_call(struct mcp *x);
void mcp_tools_list(struct mcp *x);

/* mcp_tools.c */
extern const struct operation mcp_list_operation, mcp_search_operation;
enum mcp_fixed { MCP_NO_FIXED, MCP_SEARCH, MCP_SCHEMA, MCP_CALL, MCP_BATCH };
enum mcp_fixed mcp_fixed_tool(struct str name);
/* An argument of a tool that a header says again (x-mcp-header in the operation's schema). */
struct mcp_mirror {
    struct mcp_mirror *next;
    const char *member, *header;
};
/* Of a direct tool. */
struct mcp_direct {
    struct map_node by_name;
    struct str operation; /* in the index, as they all are */
    struct mcp_mirror *mirrors;
};
/* NULL: there is none. *failed: out of memory. */
const struct mcp_direct *mcp_direct_tool(struct alk_gateway *g, struct str name, bool *failed);
void mcp_index_free(struct mcp_service *s);

/* mcp_streams.c */
struct mcp_service *mcp_service(struct alk_gateway *g);
/* false: it names a session that is not there, which has been answered. */
bool mcp_session(struct mcp *x);
void mcp_serve_initialize(struct mcp *x);
void mcp_serve_listen(struct mcp *x);
void mcp_serve_get(struct mcp *x);
void mcp_serve_delete(struct mcp *x);
/* So that notifications/cancelled finds its call, whose message has that arena. */
void mcp_run(struct mcp *x, struct arena *a);
void mcp_cancel(struct mcp *x);
void mcp_forget(struct mcp *x);

/* For struct gateway_above. */
void mcp_serve(struct alk_request *r);
void mcp_close(struct alk_request *r);
void mcp_free(struct alk_gateway *g);

#endif
