/* Fuzzes patterns and what they are matched with: the first line is the pattern, the rest the subject.
 *
 * A pattern is either compiled or refused with a reason; a match is yes, no or too complex, the same each time, and its
 * effort bounds its time. */
#include "base/host.h"
#include "base/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define EFFORT 20000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct host *h = host_default();
    const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
    size_t len = line ? (size_t)(line - data) : size, rest = line ? size - len - 1 : 0;
    char err[128] = "", *pattern = malloc(len + 1), *subject = malloc(rest + 1);
    void *re;

    /* Copies of their own, so that a read beyond either end is seen. */
    memcpy(pattern, data, len);
    memcpy(subject, data + size - rest, rest);
    if (utf8_valid(pattern, len) && utf8_valid(subject, rest)) {
        re = h->regex_new(pattern, len, err);
        assert(re || (err[0] && memchr(err, 0, sizeof err)));
        if (re) {
            int first = h->regex_match(re, subject, rest, EFFORT);

            assert(first == HOST_REGEX_YES || first == HOST_REGEX_NO ||
                   first == HOST_REGEX_TOO_COMPLEX);
            assert(h->regex_match(re, subject, rest, EFFORT) == first);
            h->regex_free(re);
        }
    }
    free(pattern);
    free(subject);
    return 0;
}
