/* Times are nanoseconds of one monotonic clock; these are the units. */
#ifndef ALK_BASE_TIME_H
#define ALK_BASE_TIME_H

#include <stdint.h>

#define MILLI UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

#endif
