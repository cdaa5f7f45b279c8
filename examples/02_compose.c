/* A handler that calls others: shop/offer asks stock/count and stock/price side by side. Clients cannot call those two: they
 * are internal, and want a scope that only shop/offer's own authority holds. When the caller aborts, or one of the two fails,
 * the other one ends as well. */
#include <alknet/alknet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct offer {
    alk_call *call;
    char count[64], price[64];
};

static void on_part(alk_call *child, const alk_value *value, void *ud)
{
    struct offer *o = ud;
    size_t n;
    const char *json = alk_value_text(value, &n);

    snprintf(strstr(alk_call_operation(child), "count") ? o->count : o->price, 64, "%s", json ? json : "null");
}

static void on_part_end(alk_call *child, int why, const alk_fault *fault, void *ud)
{
    struct offer *o = ud;
    alk_fault failed = {sizeof failed, 0, "NO_OFFER", fault ? fault->message : "aborted", NULL};
    char text[200];
    int n = snprintf(text, sizeof text, "{\"count\":%s,\"price\":%s}", o->count, o->price);

    (void)child;
    if (why != ALK_END_OK)
        alk_call_fail(o->call, &failed); /* ALK_EENDED where the offer itself was aborted */
    else if (*o->count && *o->price)
        alk_call_reply(o->call, text, (size_t)n);
}

/* Comes once, after the ends of both parts. */
static void on_offer_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call, (void)why, (void)fault;
    free(ud);
}

static int offer(alk_call *call, void *ud)
{
    struct offer *o = calloc(1, sizeof *o);
    alk_call_options part = {.size = sizeof part, .on_event = on_part, .on_end = on_part_end, .ud = o};
    int rc = o ? alk_call_on_end(call, on_offer_end, o) : ALK_ENOMEM;

    (void)ud;
    if (!rc) {
        o->call = call;
        rc = alk_call_invoke(call, "stock/count", 11, "\"tea\"", 5, &part, NULL);
    }
    return rc ? rc : alk_call_invoke(call, "stock/price", 11, "\"tea\"", 5, &part, NULL);
}
