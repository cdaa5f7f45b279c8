/* What the system knows of this process, for the metrics. */
#ifndef ALK_HOST_PROCESS_H
#define ALK_HOST_PROCESS_H

#include "base/host.h"

void process_read(struct host_process *out);

#endif
