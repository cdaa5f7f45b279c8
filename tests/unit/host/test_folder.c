/* Files below a folder: what a path may be, and that nothing outside of it is read, nor anything
 * that is no regular file. */
#include "host/files.h"

#include "support/suite.h"

#include <alknet/alknet.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ---- paths ---- */

START_TEST(paths_become_the_same_however_they_are_written)
{
    static const struct {
        const char *from, *path, *want;
    } cases[] = {
        {"", "a", "a"},
        {"", "a/b.yaml", "a/b.yaml"},
        {"", "./a", "a"},
        {"", "a/./b//c", "a/b/c"},
        {"", "a/../b", "b"},
        {"", "a/b/../../c", "c"},
        {"", "...", "..."},
        {"", "..a", "..a"},
        {"x.yaml", "y.yaml", "y.yaml"},
        {"sub/x.yaml", "y.yaml", "sub/y.yaml"},
        {"sub/x.yaml", "../y.yaml", "y.yaml"},
        {"sub/deep/x.yaml", "../../y/../z.yaml", "z.yaml"},
        {"sub/deep/x.yaml", "../sub/y", "sub/sub/y"},
        {"", "\xc3\xa9 %2e.yaml", "\xc3\xa9 %2e.yaml"},
    };
    char out[FOLDER_PATH_MAX];

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *why = folder_path(str_of(cases[i].from), str_of(cases[i].path), out);

        ck_assert_msg(!why, "%s: %s", cases[i].path, why);
        ck_assert_str_eq(out, cases[i].want);
    }
}
END_TEST

START_TEST(what_is_no_path_below_the_folder_is_refused)
{
    static const struct {
        const char *from;
        struct str path;
        const char *why;
    } cases[] = {
        {"", {"/etc/passwd", 11}, "is an absolute path"},
        {"sub/x", {"/y", 2}, "is an absolute path"},
        {"", {"//host/y", 8}, "is an absolute path"},
        {"", {"../x", 4}, "leads out of the folder"},
        {"sub/x", {"../../y", 7}, "leads out of the folder"},
        {"", {"a/../../x", 9}, "leads out of the folder"},
        {"", {"a/b/../../../a/b", 16}, "leads out of the folder"},
        {"", {"", 0}, "names no file"},
        {"", {".", 1}, "names no file"},
        {"sub/x", {"..", 2}, "names no file"},
        {"", {"a/", 2}, "names no file"},
        {"", {"a/b/..", 6}, "names no file"},
        {"", {"a/.", 3}, "names no file"},
        {"", {"..\\x", 4}, "has a backslash or a control character"},
        {"", {"a\0b", 3}, "has a backslash or a control character"},
        {"", {"a\nb", 3}, "has a backslash or a control character"},
        {"", {"a\x7f", 2}, "has a backslash or a control character"},
        {"", {"a\xff", 2}, "is not UTF-8"},
    };
    char out[FOLDER_PATH_MAX];

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *why = folder_path(str_of(cases[i].from), cases[i].path, out);

        ck_assert_msg(why != NULL, "%s was taken", cases[i].path.p);
        ck_assert_str_eq(why, cases[i].why);
    }
}
END_TEST

START_TEST(a_path_may_be_as_long_as_there_is_room)
{
    char path[2 * FOLDER_PATH_MAX], out[FOLDER_PATH_MAX];

    memset(path, 'x', sizeof path);
    ck_assert_ptr_null(folder_path(STR_NONE, (struct str){path, FOLDER_PATH_MAX - 2}, out));
    ck_assert_uint_eq(strlen(out), FOLDER_PATH_MAX - 2);
    ck_assert_str_eq(folder_path(STR_NONE, (struct str){path, FOLDER_PATH_MAX - 1}, out),
                     "is too long");
    for (size_t i = 1; i < sizeof path; i += 2)
        path[i] = '/';
    ck_assert_str_eq(folder_path(STR_NONE, (struct str){path, sizeof path - 1}, out),
                     "is too long");
    for (size_t i = 0; i < FOLDER_PATH_MAX - 2; i += 2)
        memcpy(path + i, "./", 2);
    strcpy(path + FOLDER_PATH_MAX - 2, "y");
    ck_assert_ptr_null(folder_path(str_of("sub/x"), str_of(path), out));
    ck_assert_str_eq(out, "sub/y");
}
END_TEST

/* ---- files ---- */

static char outside[64], inside[80];
static struct folder folder;

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* OUTSIDE/secret, OUTSIDE/inside/{a,sub/b,link,away/,fifo}: inside is the folder. */
static void begin(void)
{
    char err[200];

    strcpy(outside, "/tmp/alknet-folder-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(outside));
    snprintf(inside, sizeof inside, "%s/inside", outside);
    ck_assert_int_eq(chdir(outside), 0);
    ck_assert(!mkdir("inside", 0700) && !mkdir("inside/sub", 0700) && !mkdir("other", 0700));
    put("secret", "secret");
    put("other/secret", "secret");
    put("inside/a", "A");
    put("inside/sub/b", "BB");
    put("inside/empty", "");
    ck_assert(!symlink("../secret", "inside/link") && !symlink("a", "inside/near") &&
              !symlink("../other", "inside/away") && !symlink("sub", "inside/close") &&
              !mkfifo("inside/fifo", 0600));
    ck_assert_msg(!folder_open(&folder, inside, err, sizeof err), "%s", err);
    ck_assert_int_eq(chdir("/"), 0);
}

static void end(void)
{
    char command[100];

    folder_close(&folder);
    snprintf(command, sizeof command, "rm -r '%s'", outside);
    ck_assert_int_eq(system(command), 0);
}

static void check_read(const char *path, const char *want)
{
    char err[200] = "", *data;
    size_t len;
    int rc = folder_read(&folder, path, 100, &data, &len, err, sizeof err);

    ck_assert_msg(rc == 0, "%s", err);
    ck_assert_str_eq(data, want);
    ck_assert_uint_eq(len, strlen(want));
    file_free(data, len);
}

static void check_refused(const char *path, size_t most, int code, const char *why)
{
    char err[200] = "", want[200], *data;
    size_t len;
    int rc = folder_read(&folder, path, most, &data, &len, err, sizeof err);

    ck_assert_msg(rc == code, "%s: %d, %s", path, rc, err);
    snprintf(want, sizeof want, "%s: %s", path, why);
    ck_assert_str_eq(err, want);
    ck_assert_ptr_null(data);
}

START_TEST(files_below_the_folder_are_read)
{
    begin();
    check_read("a", "A");
    check_read("sub/b", "BB");
    check_read("sub/../a", "A");
    check_read("not-there/../a", "A");
    check_read("empty", "");
    end();
}
END_TEST

START_TEST(the_folder_stays_the_one_that_was_opened)
{
    begin();
    ck_assert_int_eq(chdir(outside), 0);
    ck_assert(!rename("inside", "moved") && !symlink("other", "inside"));
    check_read("sub/b", "BB");
    check_refused("secret", 100, ALK_ESYSTEM, "No such file or directory");
    ck_assert_int_eq(chdir("/"), 0);
    end();
}
END_TEST

START_TEST(no_symbolic_link_is_followed)
{
    begin();
    check_refused("link", 100, ALK_ESYSTEM, "symbolic links are not followed");
    check_refused("near", 100, ALK_ESYSTEM, "symbolic links are not followed");
    check_refused("away/secret", 100, ALK_ESYSTEM, "symbolic links are not followed");
    check_refused("close/b", 100, ALK_ESYSTEM, "symbolic links are not followed");
    end();
}
END_TEST

START_TEST(only_a_regular_file_of_that_size_is_read)
{
    struct folder dev;
    char err[200], *data;
    size_t len;

    begin();
    check_refused("fifo", 100, ALK_EINVAL, "is no regular file");
    check_refused("sub", 100, ALK_EINVAL, "is no regular file");
    check_refused("sub/b", 1, ALK_EINVAL, "is larger than 1 bytes");
    check_refused("none", 100, ALK_ESYSTEM, "No such file or directory");
    check_refused("a/b", 100, ALK_ESYSTEM, "Not a directory");
    check_refused("../secret", 100, ALK_EINVAL, "leads out of the folder");
    ck_assert_int_eq(folder_open(&dev, "/dev", err, sizeof err), 0);
    ck_assert_int_eq(folder_read(&dev, "zero", 100, &data, &len, err, sizeof err), ALK_EINVAL);
    ck_assert_str_eq(err, "zero: is no regular file");
    folder_close(&dev);
    end();
}
END_TEST

START_TEST(a_folder_that_is_none_is_told)
{
    struct folder none;
    char err[200];

    ck_assert_int_eq(folder_open(&none, "/nonexistent", err, sizeof err), ALK_ESYSTEM);
    ck_assert_str_eq(err, "/nonexistent: No such file or directory");
    ck_assert_int_eq(folder_open(&none, "/dev/null", err, sizeof err), ALK_ESYSTEM);
}
END_TEST

MAIN("folder", paths_become_the_same_however_they_are_written,
     what_is_no_path_below_the_folder_is_refused, a_path_may_be_as_long_as_there_is_room,
     files_below_the_folder_are_read, the_folder_stays_the_one_that_was_opened,
     no_symbolic_link_is_followed, only_a_regular_file_of_that_size_is_read,
     a_folder_that_is_none_is_told)
