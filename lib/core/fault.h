/* A fault as JSON: the one form that callers of every kind get to see. What goes in here is told
 * to a remote; what it must not know goes to the log in its place (alk_call.note). */
#ifndef ALK_CORE_FAULT_H
#define ALK_CORE_FAULT_H

#include "base/buf.h"
#include "base/str.h"

#include <alknet/alknet.h>

/* Whole, whatever is in them: lengths of 0 are those of texts that end with NUL. */
static inline struct str fault_code(const alk_fault *f)
{
    return f->code_len ? (struct str){f->code, f->code_len} : str_of(f->code);
}
static inline struct str fault_message(const alk_fault *f)
{
    return f->message_len ? (struct str){f->message, f->message_len} : str_of(f->message);
}

/* The members of its object, without the braces: in some places others stand beside them. 0, or -1
 * out of memory. */
int fault_put(struct buf *out, const alk_fault *f);

#endif
