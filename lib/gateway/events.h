/* Shared by events.c and event_client.c: an event gateway and its clients.
 *
 * The engine's callbacks only queue; one task per client does what is due, in the dispatcher's turn
 * and in this order:
 *   on_connect
 *   waiting events, one handler at a time
 *   on_disconnect, once code is set
 *   the end, once ws is NULL
 * A client is on its gateway's lists until on_disconnect has returned, and has events and conn
 * until its stream is gone. */
#ifndef ALK_GATEWAY_EVENTS_H
#define ALK_GATEWAY_EVENTS_H

#include "gateway/gateway_int.h"
#include "base/map.h"

struct alk_events {
    struct list link; /* in the gateway's list */
    struct alk_gateway *g;
    struct seat *seat;   /* with the other loops' gateways of that path */
    struct map handlers; /* by event; in the gateway's arena */
    struct map clients;  /* by id */
    struct list all;     /* clients, greeted or not */
    size_t count;        /* of those that are greeted */
    uint32_t message_bytes, queue_bytes;
    void (*on_connect)(alk_client *c, void *ud);
    void (*on_disconnect)(alk_client *c, int code, void *ud);
    void *ud;
    struct ws_limits limits[2]; /* of clients without identity, with one */
};

/* One that has arrived; in the arena of its message. */
struct event {
    struct list link;
    const struct event_handler *handler;
    struct msg *msg;
    size_t bytes;
};

struct alk_client {
    struct alk_dispatcher *d;  /* a reference */
    struct alk_events *events; /* NULL: released */
    struct gate_conn *conn;
    struct ws *ws; /* NULL: the stream is gone */
    struct list link;
    struct map_node by_id;
    struct task task;
    struct list waiting; /* events */
    size_t waiting_count, waiting_bytes;
    struct event *current;
    struct list calls;
    uint32_t call_count;
    struct credential *by; /* a reference; NULL: nobody */
    struct watcher on_by;
    struct account *payer; /* a reference */
    struct str tenant;
    void *data;
    int code; /* why it ended: a close code of RFC 6455; 0: it has not */
    int refs; /* the gateway's, each call's, the application's */
    char id[ID_SIZE], trace[56], remote[64];
    bool greeted, parted;
    bool handling, next; /* its handler is on the stack, and has called alk_client_next */
};

/* events.c */
/* It is over, and what waits is dropped; on_disconnect follows in a turn. The socket is closed with
 * the code and why. */
void client_end(struct alk_client *c, int code, const char *why);
/* Likewise 1013; what waits is still handled. */
void client_evict(struct alk_client *c, const char *why);

/* event_client.c */
/* A notice of another loop's, for the clients that are here. */
void events_notice(void *ud, const struct notice *n);
/* The client has left: aborts its calls. */
void client_abort_calls(struct alk_client *c);

#endif
