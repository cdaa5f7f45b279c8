/* The handlers do nothing but what signal-safety(7) allows. The library's threads block signals, so
 * that they run on the main thread, whatever the loops do. */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#define LAST_MS 800

static int count, latest, hangup; /* atomic */
static int waked = -1;

static void set_clock(int ms)
{
    struct itimerval clock = {.it_value = {.tv_usec = ms * 1000}};

    setitimer(ITIMER_REAL, &clock, NULL);
}

static void wake_up(void)
{
    const uint64_t one = 1;

    (void)!write(waked, &one, sizeof one);
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

int signals_watch(void)
{
    waked = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (waked < 0)
        return -1;
    handle(SIGALRM, on_clock);
    handle(SIGTERM, on_stop);
    handle(SIGINT, on_stop);
    handle(SIGHUP, on_hangup);
    return waked;
}

void signals_seen(void)
{
    uint64_t n;

    (void)!read(waked, &n, sizeof n);
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

void signals_end(void)
{
    set_clock(0);
}
