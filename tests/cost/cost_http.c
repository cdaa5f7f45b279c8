/* HTTP/1.1: heads, bodies, requests one behind the other. */
#include "cost/cost.h"
#include "support/must.h"
#include "unit/wire/h1_wire.h"

MEASURED static void measured_feed(struct wire *w, const char *text, size_t piece)
{
    for (size_t left = strlen(text); left; text += piece, left -= piece) {
        piece = piece < left ? piece : left;
        wire_feed(w, text, piece);
    }
}

/* Takes the text over, and expects so many answers. */
static void serve(char *text, size_t piece, int answers)
{
    struct wire *w = wire_new(MODE_ECHO);

    w->limits.header_bytes = 1 << 20;
    w->limits.header_count = 10000;
    must(wire_open(w));
    measured_feed(w, text, piece);
    must(w->closed == answers && !w->e->closing);
    wire_free(w);
    free(text);
}

#define HEAD "POST /x HTTP/1.1\r\nHost: a\r\n"

static void h1_fields(size_t n)
{
    serve(cost_list(HEAD, "X-Field-#: some value, #\r\n", "", n, "\r\n"), SIZE_MAX, 1);
}

static void h1_fields_in_pieces(size_t n)
{
    serve(cost_list(HEAD, "X-Field-#: some value, #\r\n", "", n, "\r\n"), 3, 1);
}

static void h1_chunks(size_t n)
{
    serve(
        cost_list(HEAD "Transfer-Encoding: chunked\r\n\r\n", "1;e=f\r\nx\r\n", "", n, "0\r\n\r\n"),
        SIZE_MAX, 1);
}

static void h1_chunks_in_pieces(size_t n)
{
    serve(cost_list(HEAD "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", "", n, "0\r\n\r\n"), 3,
          1);
}

static void h1_requests(size_t n)
{
    serve(cost_list("", "GET /# HTTP/1.1\r\nHost: a\r\n\r\n", "", n, ""), 4096, (int)n);
}

/* Answers of which each wants a turn of its own, while more requests wait than are served. */
static void h1_slow_answers(size_t n)
{
    struct wire *w = wire_new(MODE_LATER);
    char *text = cost_list("", "GET /# HTTP/1.1\r\nHost: a\r\n\r\n", "", n, "");

    must(wire_open(w));
    measured_feed(w, text, 1000);
    must(w->closed == (int)n);
    wire_free(w);
    free(text);
}

const struct scenario cost_http[] = {
    {"h1-fields", h1_fields, 1000},
    {"h1-fields-in-pieces", h1_fields_in_pieces, 500},
    {"h1-chunks", h1_chunks, 2000},
    {"h1-chunks-in-pieces", h1_chunks_in_pieces, 1000},
    {"h1-requests", h1_requests, 200},
    {"h1-slow-answers", h1_slow_answers, 200},
    {NULL, NULL, 0},
};
