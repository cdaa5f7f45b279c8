/* Locks of threads. */
#ifndef ALK_HOST_MUTEX_H
#define ALK_HOST_MUTEX_H

/* The functions of struct host (base/host.h). */
void *mutex_new(void);
void mutex_lock(void *mutex);
void mutex_unlock(void *mutex);
void mutex_free(void *mutex);

#endif
