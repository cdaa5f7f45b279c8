/* Implements node.h. */
#include "support/node.h"

#include <stdio.h>
#include <string.h>

void node_add(struct node *n)
{
    memset(n, 0, sizeof *n);
    n->w = world_new();
    world_add(n->w, "t/query", ALK_QUERY, serve_later, &n->query);
    world_add(n->w, "t/stream", ALK_SUBSCRIPTION, serve_later, &n->stream);
    world_add(n->w, "t/echo", ALK_MUTATION, serve_echo, NULL);
}

void node_start(struct node *n)
{
    world_start(n->w);
    n->r = wire_open(n->w, NULL);
}

void node_init(struct node *n)
{
    node_add(n);
    node_start(n);
}

void node_fini(struct node *n)
{
    served_free(&n->query);
    served_free(&n->stream);
    wire_free(n->r);
    world_free(n->w);
}

void node_serve(struct node *n, const char *id, const char *operation)
{
    wire_request(n->r, id, operation, "null");
    wire_expect_nothing(n->r);
}

void node_ask(struct node *n, struct asked *a, bool stream, char id[64])
{
    const char *envelope;

    if (stream)
        ask_stream(a, n->r->conn, "x/y", "null");
    else
        ask(a, n->r->conn, "x/y", "null");
    envelope = wire_next(n->r);
    must(envelope && strstr(envelope, "\"call.requested\""));
    snprintf(id, 64, "%s", wire_id(envelope));
}

void node_feed(struct node *n, const char *type, const char *id, const char *payload)
{
    char text[2000];

    must(snprintf(text, sizeof text, "{\"type\":\"%s\",\"id\":\"%s\",\"payload\":%s}", type, id,
                  payload) < (int)sizeof text);
    must(wire_feed(n->r, text) == ALK_OK);
}

char *repeated(const char *piece, size_t times, const char *before, const char *behind)
{
    size_t n = strlen(piece);
    char *s = malloc(strlen(before) + n * times + strlen(behind) + 1), *p = s;

    must(s);
    p += sprintf(p, "%s", before);
    for (size_t i = 0; i < times; i++, p += n)
        memcpy(p, piece, n);
    strcpy(p, behind);
    return s;
}
