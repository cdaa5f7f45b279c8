/* Implements mutex.h on POSIX threads. Locking a plain mutex that was initialised cannot fail. */
#include "host/mutex.h"

#include "base/mem.h"

#include <pthread.h>

void *mutex_new(void)
{
    struct mem plain;
    pthread_mutex_t *m;

    mem_init(&plain, NULL, NULL);
    m = mem_alloc(&plain, sizeof *m);
    if (m && pthread_mutex_init(m, NULL)) {
        mem_free(&plain, m);
        return NULL;
    }
    return m;
}

void mutex_lock(void *mutex)
{
    pthread_mutex_lock(mutex);
}

void mutex_unlock(void *mutex)
{
    pthread_mutex_unlock(mutex);
}

void mutex_free(void *mutex)
{
    struct mem plain;

    pthread_mutex_destroy(mutex);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, mutex);
}
