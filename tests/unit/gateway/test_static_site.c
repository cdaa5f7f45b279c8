/* The static site in front of a reader of files that the test plays: which paths reach it, and what becomes of an answer
 * whose file changes while it is sent. */
#include "http_rig.h"

#include "support/suite.h"

/* The only file that may be open. */
static struct reader {
    bool open, refuses;
    const struct file_events *events;
    void *ud;
    char path[1100];
    int opens, nexts, closes;
} file;

static struct file_reader *open_file(void *ud, const char *root, const char *path,
                                     const struct file_events *events, void *events_ud)
{
    (void)ud;
    ck_assert_str_eq(root, "/site");
    ck_assert(!file.open);
    if (file.refuses)
        return NULL;
    file.open = true;
    file.opens++;
    file.events = events;
    file.ud = events_ud;
    snprintf(file.path, sizeof file.path, "%s", path);
    return (struct file_reader *)(void *)&file;
}

static void next_piece(struct file_reader *f)
{
    ck_assert_ptr_eq((void *)f, &file);
    ck_assert(file.open);
    file.nexts++;
}

static void close_file(struct file_reader *f)
{
    ck_assert_ptr_eq((void *)f, &file);
    ck_assert(file.open);
    file.open = false;
    file.closes++;
}

static const struct file_service files = {open_file, next_piece, close_file, NULL};

static void site_start(struct http *s)
{
    memset(&file, 0, sizeof file);
    http_new(s);
    s->options.decoy = ALK_DECOY_STATIC_SITE;
    s->options.decoy_target = "/site";
    http_start(s);
    gateway_service(s->g)->files = &files;
}

static const char *get(struct http *s, const char *method, const char *path)
{
    char request[2000];

    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\n" HOST "\r\n", method, path);
    return http_say(s, request);
}

static const struct {
    const char *path, *file, *type; /* file NULL: it does not reach the reader */
} paths[] = {
    {"/", "index.html", "text/html; charset=utf-8"},
    {"/a/", "a/index.html", "text/html; charset=utf-8"},
    {"/a/b.css?v=1", "a/b.css", "text/css; charset=utf-8"},
    {"/%61%20b.js", "a b.js", "text/javascript; charset=utf-8"},
    {"/x.html/y", "x.html/y", "application/octet-stream"},
    {"/css", "css", "application/octet-stream"},
    {"/a..b", "a..b", "application/octet-stream"},
    {"/\xc3\xa4.png", NULL, NULL}, /* not a request target */
    {"/%C3%A4.png", "ä.png", "image/png"},
    {"/%", NULL, NULL},
    {"/%4", NULL, NULL},
    {"/%g1", NULL, NULL},
    {"/%1g", NULL, NULL},
    {"/a%2fb", NULL, NULL},
    {"/%2e%2e/a", NULL, NULL},
    {"/a%252e", NULL, NULL},
    {"/a/../b", NULL, NULL},
    {"/./b", NULL, NULL},
    {"/.git/config", NULL, NULL},
    {"/a/.htpasswd", NULL, NULL},
    {"//a", NULL, NULL},
    {"/a//b", NULL, NULL},
    {"/a%00", NULL, NULL},
    {"/a%1f", NULL, NULL},
    {"/a%7f", NULL, NULL},
    {"/a%5cb", NULL, NULL},
};

START_TEST(a_path_names_a_file_below_the_directory_or_nothing)
{
    struct http s;

    site_start(&s);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        const char *got;
        char type[60];

        file.opens = 0;
        got = get(&s, "GET", paths[i].path);
        ck_assert_msg(file.opens == (paths[i].file != NULL), "%s", paths[i].path);
        if (!paths[i].file) {
            ck_assert_int_ge(http_status(got), 400);
        } else {
            ck_assert_str_eq(file.path, paths[i].file);
            file.events->opened(file.ud, true, 0);
            snprintf(type, sizeof type, "\r\nContent-Type: %s\r\n", paths[i].type);
            ck_assert_ptr_nonnull(strstr(http_got(&s), type));
            ck_assert_ptr_nonnull(strstr(http_got(&s), "\r\nContent-Length: 0\r\n"));
        }
        ck_assert(!file.open);
        http_hang_up(&s);
    }
    http_free(&s);
}
END_TEST

START_TEST(a_path_has_a_length_that_fits)
{
    char path[1200] = "/";
    struct http s;

    site_start(&s);
    memset(path + 1, 'a', 1100);
    path[1 + 1013] = 0;
    get(&s, "GET", path);
    ck_assert_int_eq(file.opens, 1);
    ck_assert_str_eq(file.path, path + 1);
    http_hang_up(&s);
    path[1 + 1013] = 'a';
    path[1 + 1014] = 0;
    ck_assert_int_eq(http_status(get(&s, "GET", path)), 404);
    ck_assert_int_eq(file.opens, 1);
    http_free(&s);
}
END_TEST

START_TEST(a_file_goes_out_piece_by_piece)
{
    struct http s;

    site_start(&s);
    ck_assert_str_eq(get(&s, "GET", "/a"), "");
    file.events->opened(file.ud, true, 6);
    ck_assert_int_eq(http_status(http_got(&s)), 200);
    ck_assert_int_eq(file.nexts, 1);
    file.events->piece(file.ud, "abc", 3);
    ck_assert_int_eq(file.nexts, 2);
    file.events->piece(file.ud, "def", 3);
    ck_assert_int_eq(file.nexts, 2);
    ck_assert(!file.open);
    ck_assert_ptr_nonnull(strstr(http_got(&s), "\r\n\r\nabcdef"));
    ck_assert_ptr_nonnull(s.e);
    http_free(&s);
}
END_TEST

START_TEST(a_slow_client_holds_the_reader_back)
{
    static const char block[65536] = "";
    struct http s;
    int pieces = 0;

    site_start(&s);
    get(&s, "GET", "/a");
    file.events->opened(file.ud, true, 100 * sizeof block);
    s.room = 0;
    for (; pieces < 100 && file.nexts > pieces; pieces++)
        file.events->piece(file.ud, block, sizeof block);
    ck_assert_int_lt(pieces, 20);
    s.room = -1;
    http_settle(&s);
    ck_assert_int_eq(file.nexts, pieces + 1);
    /* Room comes while a piece is under way. */
    http_settle(&s);
    ck_assert_int_eq(file.nexts, pieces + 1);
    http_hang_up(&s);
    ck_assert_int_eq(file.closes, 1);
    http_free(&s);
}
END_TEST

START_TEST(a_file_that_grows_is_cut_and_one_that_shrinks_ends_the_connection)
{
    struct http s;

    site_start(&s);
    get(&s, "GET", "/a");
    file.events->opened(file.ud, true, 2);
    file.events->piece(file.ud, "abc", 3);
    ck_assert_ptr_nonnull(strstr(http_got(&s), "\r\n\r\nab"));
    ck_assert_ptr_null(strstr(http_got(&s), "abc"));
    ck_assert(!file.open);
    get(&s, "GET", "/a");
    file.events->opened(file.ud, true, 2);
    file.events->piece(file.ud, "", 0);
    http_settle(&s);
    ck_assert_ptr_null(s.e);
    ck_assert(!file.open);
    http_free(&s);
}
END_TEST

START_TEST(what_is_not_there_looks_like_any_other_failure)
{
    struct http s;

    site_start(&s);
    get(&s, "GET", "/a");
    file.events->opened(file.ud, false, 0);
    ck_assert_int_eq(http_status(http_got(&s)), 404);
    ck_assert(!file.open);
    ck_assert_int_eq(http_status(get(&s, "POST", "/a")), 404);
    ck_assert_int_eq(file.opens, 1);
    file.refuses = true;
    ck_assert_int_eq(http_status(get(&s, "GET", "/a")), 503);
    file.refuses = false;
    get(&s, "HEAD", "/a");
    file.events->opened(file.ud, true, 5);
    ck_assert_ptr_nonnull(strstr(http_got(&s), "\r\nContent-Length: 5\r\n"));
    ck_assert(!file.open);
    ck_assert_int_eq(file.nexts, 0);
    http_free(&s);
}
END_TEST

START_TEST(without_a_reader_nothing_is_found)
{
    struct http s;

    site_start(&s);
    gateway_service(s.g)->files = NULL;
    ck_assert_int_eq(http_status(get(&s, "GET", "/")), 404);
    http_free(&s);
}
END_TEST

START_TEST(a_piece_is_counted_while_its_file_is_open)
{
    alk_limits l;
    struct http s;

    site_start(&s);
    get(&s, "GET", "/a");
    ck_assert(file.open);
    ck_assert_uint_eq(world_stats(s.w).message_bytes, FILE_PIECE);
    file.events->opened(file.ud, true, 0);
    http_got(&s);
    ck_assert_uint_eq(world_stats(s.w).message_bytes, 0);
    alk_node_get_limits(s.w->node, &l, sizeof l);
    l.message_budget = FILE_PIECE;
    ck_assert_int_eq(alk_node_set_limits(s.w->node, &l), ALK_OK);
    ck_assert_int_eq(http_status(get(&s, "GET", "/a")), 503);
    ck_assert_int_eq(file.opens, 1);
    http_free(&s);
}
END_TEST

MAIN("static_site", a_path_names_a_file_below_the_directory_or_nothing,
     a_path_has_a_length_that_fits, a_file_goes_out_piece_by_piece,
     a_slow_client_holds_the_reader_back,
     a_file_that_grows_is_cut_and_one_that_shrinks_ends_the_connection,
     what_is_not_there_looks_like_any_other_failure, without_a_reader_nothing_is_found,
     a_piece_is_counted_while_its_file_is_open)
