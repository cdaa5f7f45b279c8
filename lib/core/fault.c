/* Implements fault.h: code, message, retryable and details, in this order, for envelopes, HTTP
 * answers and batches alike. Code and message are escaped here; they may be a remote's words. */
#include "core/fault.h"

int fault_put(struct buf *out, const alk_fault *f)
{
    struct str code = fault_code(f), message = fault_message(f);
    int rc = buf_puts(out, "\"code\":") | buf_json_string(out, code.p, code.n);

    rc |= buf_puts(out, ",\"message\":") | buf_json_string(out, message.p, message.n);
    rc |= buf_puts(out, f->retryable ? ",\"retryable\":true" : ",\"retryable\":false");
    /* Details are JSON already, checked where the fault was made. */
    if (f->details)
        rc |= buf_puts(out, ",\"details\":") | buf_puts(out, f->details);
    return rc;
}
