/* Hosts at moments that hardly ever come by themselves: names that take long to look up, threads
 * that are slow to go on. */
#include "host_rig.h"
#include "serve/host_int.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <unistd.h>

#define ADD 1

#define INSTEAD __attribute__((visibility("default")))

/* In place of the C library's. */
static unsigned look_up_ms, go_on_ms, refuse_in;

INSTEAD int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                        struct addrinfo **out)
{
    (void)host;
    (void)service;
    (void)hints;
    *out = NULL;
    usleep(look_up_ms * 1000);
    return EAI_FAIL;
}

/* The new thread runs before the one that has made it goes on; or there is none. */
INSTEAD int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                           void *ud)
{
    static int (*theirs)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    int rc;

    if (refuse_in && !--refuse_in)
        return EAGAIN;
    if (!theirs)
        *(void **)&theirs = dlsym(RTLD_NEXT, "pthread_create");
    rc = theirs(thread, attr, fn, ud);
    usleep(go_on_ms * 1000);
    return rc;
}

/* The loop's end waits for the lookup; what is submitted meanwhile has its end all the same. */
START_TEST(what_is_submitted_while_the_loop_closes_has_its_end)
{
    static const char entry[] = "{\"url\":\"ws://slow.test:1\"}";
    alk_host *h = host_of("{}");
    char err[200];
    uint64_t ids[2], dialled;
    int ends = 0;

    look_up_ms = 500;
    host_adds(h, "demo/add", ALK_QUERY, ADD);
    host_starts(h);
    ck_assert_int_eq(alk_host_dial(h, TEXT(entry), 0, &dialled, err, sizeof err), ALK_OK);
    usleep(100000);
    ck_assert_int_eq(alk_host_stop(h, 0), ALK_OK);
    usleep(100000);
    ids[0] = host_calls(h, "demo/add", "1", NULL);
    ck_assert_int_eq(alk_host_dial(h, TEXT(entry), 0, &ids[1], err, sizeof err), ALK_OK);
    for (;;) {
        alk_host_event e = host_next(h);

        if (e.kind == ALK_HOST_END && (e.id == ids[0] || e.id == ids[1])) {
            ck_assert_ptr_nonnull(e.text);
            ends++;
        }
        host_gives(h, &e);
        if (e.kind == ALK_HOST_STOPPED)
            break;
    }
    ck_assert_int_eq(ends, 2);
    alk_host_free(h);
}
END_TEST

static void *start(void *ud)
{
    host_starts(ud);
    return NULL;
}

static void call_by_http(int port)
{
    static const char request[] =
        "POST /call HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Content-Length: 34\r\n\r\n{\"operation\":\"demo/add\",\"input\":1}";
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    ck_assert_int_eq(write(fd, request, sizeof request - 1), (ssize_t)sizeof request - 1);
}

START_TEST(a_call_that_comes_during_the_start_is_answered)
{
    alk_host *h = host_of("{\"listen\":[{\"host\":\"127.0.0.1\",\"port\":0}]}");
    pthread_t thread;

    host_adds(h, "demo/add", ALK_QUERY, ADD);
    ck_assert_int_eq(pthread_create(&thread, NULL, start, h), 0);
    go_on_ms = 300;
    call_by_http(host_listens(h));
    uint64_t call = host_serves(h, ADD);
    host_replies(h, call, "1");
    pthread_join(thread, NULL);
    host_sees(h, ALK_HOST_END, call, ALK_END_OK, NULL);
    host_ends(h);
}
END_TEST

START_TEST(a_start_without_threads_fails_and_brings_no_event)
{
    static const char config[] = "{\"workers\":3,\"listen\":[{\"host\":\"127.0.0.1\",\"port\":0}]}";
    alk_host_options o = {
        .size = sizeof o, .config = config, .config_len = sizeof config - 1, .log_events = 1};
    alk_host *h = host_made(&o);
    char err[200] = "";
    uint64_t id;

    go_on_ms = 50;
    refuse_in = (unsigned)_i + 1;
    ck_assert_int_ne(alk_host_start(h, err, sizeof err), ALK_OK);
    ck_assert_msg(strstr(err, "thread") != NULL, "%s", err);
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, NULL, &id), ALK_ECLOSED);
    ck_assert_int_eq(alk_host_wait(h, 0), 0);
    alk_host_free(h);
}
END_TEST

/* A thread of the program was about to log something when the host stopped. */
START_TEST(nothing_comes_behind_the_last_event)
{
    alk_host_options o = {.size = sizeof o, .log_events = 1};
    alk_host *h = host_made(&o);
    alk_host_event e;

    host_starts(h);
    ck_assert_int_eq(alk_host_stop(h, 0), ALK_OK);
    do {
        e = host_next(h);
        host_gives(h, &e);
    } while (e.kind != ALK_HOST_STOPPED);
    events_put_log(&h->events, event_new(ALK_HOST_LOG, "{}", 2));
    ck_assert_int_eq(alk_host_wait(h, 0), 0);
    ck_assert_uint_eq(alk_host_drain(h, &e, sizeof e, 1), 0);
    alk_host_free(h);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("host_moments");
    TCase *t = tcase_create("host_moments");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(t, 30);
    tcase_add_test(t, a_call_that_comes_during_the_start_is_answered);
    tcase_add_test(t, what_is_submitted_while_the_loop_closes_has_its_end);
    tcase_add_loop_test(t, a_start_without_threads_fails_and_brings_no_event, 0, 4);
    tcase_add_test(t, nothing_comes_behind_the_last_event);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
