/* A lock that is held for a few instructions, for layers that know no threads. A char, 0 at first.
 * Nobody may allocate, call out or wait while holding it: the others burn their time slice
 * meanwhile. */
#ifndef ALK_BASE_SPIN_H
#define ALK_BASE_SPIN_H

static inline void spin_lock(char *lock)
{
    while (__atomic_test_and_set(lock, __ATOMIC_ACQUIRE))
        ;
}

static inline void spin_unlock(char *lock)
{
    __atomic_clear(lock, __ATOMIC_RELEASE);
}

#endif
