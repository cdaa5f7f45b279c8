/* Times are nanoseconds of one monotonic clock; these are the units. 64 bits of them last 584
 * years, so a time and a limit can be added without a look. Times of day are kept apart, in
 * seconds: a clock that is set must not move a deadline. */
#ifndef ALK_BASE_TIME_H
#define ALK_BASE_TIME_H

#include <stdint.h>

#define MILLI UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

#endif
