/* The handlers do nothing but what signal-safety(7) allows. The library's threads block signals, and
 * the main thread does while it starts the host, which may take as long as a plugin likes: so there
 * is a thread that does nothing but take them. */
#include "signals.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#define LAST_MS 800

static int count, latest, hangup, started, early, told = -1; /* atomic */
static int waked = -1;
static sigset_t own, before;

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

/* Asked in this order, as what is told is taken only after the start. */
static int starting(void)
{
    struct pollfd fd = {.fd = __atomic_load_n(&told, __ATOMIC_ACQUIRE), .events = POLLIN};

    return poll(&fd, 1, 0) <= 0 && !__atomic_load_n(&started, __ATOMIC_ACQUIRE);
}

static void on_stop(int number)
{
    int error = errno;

    __atomic_store_n(&latest, number, __ATOMIC_RELAXED);
    if (__atomic_load_n(&count, __ATOMIC_ACQUIRE) == 0 && starting())
        __atomic_store_n(&early, 1, __ATOMIC_RELEASE);
    int n = __atomic_add_fetch(&count, 1, __ATOMIC_ACQ_REL);
    if (n == 2 || (n == 1 && signals_early()))
        set_clock(LAST_MS);
    wake_up();
    errno = error;
}

/* Says nothing: standard error may be a pipe that is full. */
static void on_clock(int number)
{
    (void)number;
    if (signals_early() && __atomic_load_n(&count, __ATOMIC_ACQUIRE) == 1)
        _exit(0);
    _exit(128 + __atomic_load_n(&latest, __ATOMIC_RELAXED));
}

/* In place of SIG_IGN, which programs that a plugin starts would inherit. */
static void on_nothing(int number)
{
    (void)number;
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

    sigfillset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

void signals_hold(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM, SIGALRM};

    sigemptyset(&own);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&own, numbers[i]);
    sigprocmask(SIG_BLOCK, &own, &before);
    handle(SIGPIPE, on_nothing);
    handle(SIGUSR1, on_nothing);
    handle(SIGUSR2, on_nothing);
}

void signals_release(void)
{
    sigprocmask(SIG_SETMASK, &before, NULL);
}

/* Also those that the process was started with as blocked. */
static void *take_signals(void *unused)
{
    pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    for (;;)
        pause();
    return unused;
}

int signals_watch(void)
{
    pthread_t thread;

    waked = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (waked < 0)
        return -1;
    handle(SIGALRM, on_clock);
    handle(SIGTERM, on_stop);
    handle(SIGINT, on_stop);
    handle(SIGHUP, on_hangup);
    errno = pthread_create(&thread, NULL, take_signals, NULL);
    if (errno)
        return -1;
    pthread_detach(thread);
    return waked;
}

void signals_start(int fd)
{
    __atomic_store_n(&told, fd, __ATOMIC_RELEASE);
}

void signals_started(void)
{
    __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
}

int signals_early(void)
{
    return __atomic_load_n(&early, __ATOMIC_ACQUIRE);
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
    signal(SIGALRM, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}
