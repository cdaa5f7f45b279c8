/* Codes and HTTP's statuses: which status a fault has, and which code an answer of the gateway's
 * own. docs/http.md has it in words. A status of the gateway's own choice (a wrong host, a body
 * that is too large) is given where that is found out. */
#include "gateway/gateway_int.h"

#include "core/fault.h"

/* In both directions the first entry counts. */
static const struct {
    const char *code;
    int status;
} table[] = {
    {ALK_NOT_FOUND, 404},     {ALK_INVALID_INPUT, 422},
    {ALK_INVALID_INPUT, 400}, {ALK_INVALID_OPERATION_TYPE, 400},
    {ALK_FORBIDDEN, 403},     {ALK_FORBIDDEN, 401},
    {ALK_TIMEOUT, 504},       {ALK_BUSY, 503},
    {ALK_BUSY, 429},          {ALK_INTERNAL, 500},
};

#define TABLE_LENGTH (sizeof table / sizeof table[0])

/* Whatever else is wrong with a request is wrong with what came. */
const char *code_of_status(int status)
{
    for (size_t i = 0; i < TABLE_LENGTH; i++) {
        if (table[i].status == status)
            return table[i].code;
    }
    return ALK_INVALID_INPUT;
}

/* 0: it is not one of the protocol's own. */
static int status_of_code(struct str code)
{
    for (size_t i = 0; i < TABLE_LENGTH; i++) {
        if (str_is(code, table[i].code))
            return table[i].status;
    }
    return 0;
}

/* What an operation says of its own failure is passed on as it is, where that cannot be taken for a
 * word of the gateway's: 401 would ask for a token, 413 would blame the body, a redirect would lead
 * elsewhere. */
static int passed_on(int status)
{
    static const int as_is[] = {400, 403, 404, 409, 410, 412, 422, 423, 429, 451};

    if (status >= 500 && status <= 599)
        return status;
    for (size_t i = 0; i < sizeof as_is / sizeof as_is[0]; i++) {
        if (as_is[i] == status)
            return status;
    }
    return 502;
}

/* n of a code HTTP_<n>; 0: it is none. */
static int number_of(struct str code)
{
    const char *n = code.p + 5;

    if (code.n != 8 || !str_starts(code, "HTTP_") || n[0] < '1' || n[0] > '5' || n[1] < '0' ||
        n[1] > '9' || n[2] < '0' || n[2] > '9')
        return 0;
    return (n[0] - '0') * 100 + (n[1] - '0') * 10 + (n[2] - '0');
}

/* Of a code of an operation's own. http_status: what is declared for it; 0: nothing. */
static int status_of_own(struct str code, int http_status)
{
    int status = number_of(code);

    if (!status)
        status = http_status;
    return status ? passed_on(status) : 500;
}

int status_of_text(int rc, const struct json_error *je)
{
    if (rc == ALK_ENOMEM || rc == ALK_ELIMIT)
        return 503;
    return je->status == JSON_EVALUES ? 413 : 400;
}

bool status_passes(int status)
{
    return passed_on(status) == status;
}

int status_of_declared(const struct error_spec *e)
{
    return status_of_code(e->code) ? 0 : status_of_own(e->code, e->http_status);
}

/* What the operation declares for the code; 0: nothing. */
static int declared(const struct operation *op, struct str code)
{
    for (size_t i = 0; op && i < op->error_count; i++) {
        if (str_eq(op->errors[i].code, code))
            return op->errors[i].http_status;
    }
    return 0;
}

/* The rate first: its code is BUSY, but it is the caller who is too fast, not the node that is too
 * slow. */
int status_of_call(const alk_call *c, const alk_fault *f, bool identified)
{
    struct str code = fault_code(f);
    int status = status_of_code(code);

    if (c->over_rate)
        return 429;
    if (status == 403 && !identified)
        return 401;
    return status ? status : status_of_own(code, declared(c->op, code));
}
