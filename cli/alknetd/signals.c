/* Handlers of the system's: libuv's tell its loop only, and that may be what does not go on; and
 * when one of its handles closes, the signal ends the process again. They do nothing but what
 * signal-safety(7) allows, and uv_async_send, which is made for it. */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/time.h>
#include <unistd.h>

#define LAST_MS 800

static int count, latest, hangup; /* atomic */
static uv_async_t *waked;         /* atomic */

static void set_clock(int ms)
{
    struct itimerval clock = {.it_value = {.tv_usec = ms * 1000}};

    setitimer(ITIMER_REAL, &clock, NULL);
}

static void wake_up(void)
{
    uv_async_t *wake = __atomic_load_n(&waked, __ATOMIC_ACQUIRE);

    if (wake)
        uv_async_send(wake);
}

static void on_hangup(int number)
{
    int error = errno;

    (void)number;
    __atomic_store_n(&hangup, 1, __ATOMIC_RELEASE);
    wake_up();
    errno = error;
}

static void on_stop(int number)
{
    int error = errno;

    __atomic_store_n(&latest, number, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&count, 1, __ATOMIC_ACQ_REL) == 2)
        set_clock(LAST_MS);
    wake_up();
    errno = error;
}

/* Says nothing: standard error may be a pipe that is full. */
static void on_clock(int number)
{
    (void)number;
    _exit(128 + __atomic_load_n(&latest, __ATOMIC_RELAXED));
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

    sigfillset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

void signals_watch(uv_async_t *wake)
{
    __atomic_store_n(&waked, wake, __ATOMIC_RELEASE);
    handle(SIGALRM, on_clock);
    handle(SIGTERM, on_stop);
    handle(SIGINT, on_stop);
    handle(SIGHUP, on_hangup);
}

int signals_count(int *last)
{
    int n = __atomic_load_n(&count, __ATOMIC_ACQUIRE);

    *last = __atomic_load_n(&latest, __ATOMIC_RELAXED);
    return n;
}

int signals_take_hangup(void)
{
    return __atomic_exchange_n(&hangup, 0, __ATOMIC_ACQ_REL);
}

void signals_end_wake(void)
{
    __atomic_store_n(&waked, NULL, __ATOMIC_RELEASE);
}

void signals_end(void)
{
    set_clock(0);
}
