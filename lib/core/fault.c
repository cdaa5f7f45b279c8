/* Implements fault.h: code, message, retryable and details, in this order, for envelopes, HTTP
 * answers and batches alike. Code and message are escaped here; they may be a remote's words. */
#include "core/fault.h"

#include <string.h>

int fault_put(struct buf *out, const alk_fault *f)
{
    int rc = buf_puts(out, "\"code\":") | buf_json_string(out, f->code, strlen(f->code));

    rc |= buf_puts(out, ",\"message\":") | buf_json_string(out, f->message, strlen(f->message));
    rc |= buf_puts(out, f->retryable ? ",\"retryable\":true" : ",\"retryable\":false");
    /* Details are JSON already, checked where the fault was made. */
    if (f->details)
        rc |= buf_puts(out, ",\"details\":") | buf_puts(out, f->details);
    return rc;
}
