/* An assertion that costs nothing while it holds: ck_assert writes a record each time that it is
 * passed. */
#ifndef TESTS_SUPPORT_MUST_H
#define TESTS_SUPPORT_MUST_H

#include <check.h>

#define must(x)                                                                                    \
    do {                                                                                           \
        if (!(x))                                                                                  \
            ck_abort_msg("%s does not hold", #x);                                                  \
    } while (0)

#endif
