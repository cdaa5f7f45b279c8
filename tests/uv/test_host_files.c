/* Hosts whose configuration has a file, and what it shares with the connections that are dialled
 * later: a folder, the node's key, the peers. */
#include "uv/host_rig.h"

#include <alknet/tls.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/test_host.XXXXXX";

static void make_folder(void)
{
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[64];

    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static const char *file_in(const char *name)
{
    static char path[2][96];
    static int which;

    which ^= 1;
    snprintf(path[which], sizeof *path, "%s/%s", folder, name);
    return path[which];
}

static alk_host *host_with_file(const char *name, const char *yaml)
{
    alk_host_options o = {
        .size = sizeof o, .config = yaml, .config_len = strlen(yaml), .file = file_in(name)};

    return host_made(&o);
}

static uint64_t dials(alk_host *h, const char *entry)
{
    char err[640] = "";
    uint64_t id = 0;

    ck_assert_msg(alk_host_dial(h, TEXT(entry), 0, &id, err, sizeof err) == ALK_OK, "%s", err);
    return id;
}

static void is_refused(alk_host *h, const char *entry, const char *want)
{
    char err[640] = "";
    uint64_t id;

    ck_assert_int_eq(alk_host_dial(h, TEXT(entry), 0, &id, err, sizeof err), ALK_ECONFIG);
    ck_assert_str_eq(err, want);
}

/* Who serves whoever has some key. */
static alk_host *quic_server(int *port)
{
    alk_host *h = host_with_file("server.yaml", "listen: [{quic: true}]\nnode_key: server.key\n"
                                                "anonymous_peers: true\n");

    host_adds(h, "demo/x", ALK_QUERY, 1);
    host_starts(h);
    *port = host_listens(h);
    return h;
}

START_TEST(a_dialled_connection_shows_the_nodes_key_which_is_made_when_it_is_needed)
{
    char entry[256], key[ALK_TLS_FINGERPRINT];
    int port;
    alk_host *s = quic_server(&port), *c = host_with_file("client.yaml", "{}");
    struct stat before, after;

    ck_assert_int_eq(alk_key_fingerprint(file_in("server.key"), key, NULL, 0), ALK_OK);
    snprintf(entry, sizeof entry, "{\"url\":\"alknet://127.0.0.1:%d#%s\"}", port, key);
    host_starts(c);
    ck_assert_int_ne(access(file_in("alknetd.node.key"), F_OK), 0);
    for (int i = 0; i < 2; i++) {
        uint64_t id = dials(c, entry);
        alk_host_event e = host_expects(c, ALK_HOST_UP, id);

        host_gives(c, &e);
        ck_assert_int_eq(stat(file_in("alknetd.node.key"), i ? &after : &before), 0);
        ck_assert_int_eq(alk_host_abort(c, id), ALK_OK);
        host_sees(c, ALK_HOST_END, id, 1000, NULL);
    }
    ck_assert_int_eq(before.st_ino, after.st_ino);
    ck_assert_uint_eq(before.st_mode & 0777, 0600);
    host_ends(c);
    host_ends(s);
}
END_TEST

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(a_file_without_a_text_is_read_and_read_again)
{
    alk_host_options o = {.size = sizeof o, .file = file_in("read.yaml")};
    char path[96], err[640] = "";
    alk_host *h;

    snprintf(path, sizeof path, "%s", o.file);
    o.file = path;
    ck_assert_int_eq(alk_host_new(&h, &o, err, sizeof err), ALK_ECONFIG);
    ck_assert_msg(strstr(err, "No such file") != NULL, "%s", err);
    write_file(path, "log: {level: warn}\n", 0666);
    ck_assert_int_eq(alk_host_new(&h, &o, err, sizeof err), ALK_ECONFIG);
    ck_assert_msg(strstr(err, "everyone may write to it") != NULL, "%s", err);
    write_file(path, "log: {level: warn}\n", 0600);
    h = host_made(&o);
    host_starts(h);
    ck_assert_int_eq(alk_host_reload(h, NULL, 0), ALK_OK);
    host_sees(h, ALK_HOST_RELOADED, 0, ALK_OK, NULL);
    write_file(path, "log: {level: error}\n", 0600);
    ck_assert_int_eq(alk_host_reload(h, NULL, 0), ALK_OK);
    host_sees(h, ALK_HOST_RELOADED, 0, ALK_OK, "{\"message\":\"log\"}");
    write_file(path, "log: 1\n", 0600);
    ck_assert_int_eq(alk_host_reload(h, NULL, 0), ALK_OK);
    alk_host_event e = host_expects(h, ALK_HOST_RELOADED, 0);
    ck_assert_int_eq(e.rc, ALK_ECONFIG);
    ck_assert_msg(strstr(e.text, "read.yaml:1: log: ") != NULL, "%s", e.text);
    host_gives(h, &e);
    host_ends(h);
    h = host_of("{}");
    host_starts(h);
    ck_assert_int_eq(alk_host_reload(h, NULL, 0), ALK_EINVAL);
    host_ends(h);
}
END_TEST

START_TEST(without_a_file_a_key_has_to_be_named)
{
    char entry[256], text[128], fingerprint[ALK_TLS_FINGERPRINT];
    alk_host *c = host_of("{}");

    host_starts(c);
    is_refused(c, "{\"url\":\"alknet://127.0.0.1:1\"}",
               "connection:1: key: is missing, and there is no \"node_key\" in its place");
    ck_assert_int_eq(alk_key_new(file_in("k"), fingerprint, NULL, 0), ALK_OK);
    snprintf(entry, sizeof entry, "{\"url\":\"alknet://127.0.0.1:1\",\"key\":\"%s\"}",
             file_in("k"));
    dials(c, entry);
    host_ends(c);

    snprintf(text, sizeof text, "{\"node_key\":\"%s\"}", file_in("k"));
    c = host_of(text);
    host_starts(c);
    dials(c, "{\"url\":\"alknet://127.0.0.1:1\"}");
    host_ends(c);
}
END_TEST

START_TEST(peers_of_a_reload_can_be_dialled)
{
    static const char as_hub[] = "{\"url\":\"ws://127.0.0.1:1\",\"peer\":\"hub\"}";
    static const char with_hub[] = "peers: [{peer_id: hub, websocket: true}]";
    alk_host *h = host_with_file("a.yaml", "{}");
    alk_host_event e;

    host_starts(h);
    is_refused(h, as_hub, "connection:1: peer: is none of the peers");
    ck_assert_int_eq(alk_host_reload(h, TEXT(with_hub)), ALK_OK);
    e = host_expects(h, ALK_HOST_RELOADED, 0);
    ck_assert_int_eq(e.rc, ALK_OK);
    host_gives(h, &e);
    uint64_t id = dials(h, as_hub);
    e = host_expects(h, ALK_HOST_DOWN, id);
    host_gives(h, &e);
    ck_assert_int_eq(alk_host_reload(h, "{}", 2), ALK_OK);
    do {
        e = host_next(h);
        host_gives(h, &e);
    } while (e.kind != ALK_HOST_RELOADED);
    is_refused(h, as_hub, "connection:1: peer: is none of the peers");
    host_ends(h);
}
END_TEST

START_TEST(files_of_a_dialled_connection_are_in_the_configurations_folder)
{
    char want[160];
    alk_host *h = host_with_file("a.yaml", "{}");

    host_starts(h);
    snprintf(want, sizeof want, "connection:1: token_file: %s: No such file or directory",
             file_in("token"));
    is_refused(h, "{\"url\":\"ws://127.0.0.1:1\",\"token_file\":\"token\"}", want);
    host_ends(h);
}
END_TEST

START_TEST(connections_out_are_there_with_several_workers)
{
    alk_host *h = host_of("{\"workers\":2}");
    alk_host_event e;
    uint64_t id;

    host_starts(h);
    id = dials(h, "{\"url\":\"ws://127.0.0.1:1\"}");
    e = host_expects(h, ALK_HOST_DOWN, id);
    host_gives(h, &e);
    host_ends(h);
}
END_TEST

START_TEST(a_reload_names_what_only_a_start_reads)
{
    static const char changed[] = "listen: [{port: 0}]\ngateway: {stealth: true}";
    alk_host *h = host_with_file("a.yaml", "{}");
    alk_host_event e;

    host_starts(h);
    ck_assert_int_eq(alk_host_reload(h, TEXT(changed)), ALK_OK);
    e = host_expects(h, ALK_HOST_RELOADED, 0);
    ck_assert_int_eq(e.rc, ALK_OK);
    ck_assert_str_eq(e.text, "{\"message\":\"listen, gateway\"}");
    host_gives(h, &e);
    host_ends(h);
}
END_TEST

START_TEST(more_workers_than_there_may_be_are_refused)
{
    alk_host_options o = {.size = sizeof o, .workers = 257};
    char err[640] = "";
    alk_host *h;

    ck_assert_int_eq(alk_host_new(&h, &o, err, sizeof err), ALK_ECONFIG);
    ck_assert_str_eq(err, "configuration: workers: must be 256 at most");
}
END_TEST

START_TEST(more_sockets_than_there_may_be_are_refused)
{
    alk_host_options o = {.size = sizeof o, .sockets = 65};
    char err[640] = "";
    alk_host *h = host_made(&o);

    ck_assert_int_eq(alk_host_start(h, err, sizeof err), ALK_ECONFIG);
    ck_assert_str_eq(err, "sockets: must be 64 at most");
    alk_host_free(h);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("host_files");
    TCase *t = tcase_create("host_files");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, a_dialled_connection_shows_the_nodes_key_which_is_made_when_it_is_needed);
    tcase_add_test(t, a_file_without_a_text_is_read_and_read_again);
    tcase_add_test(t, without_a_file_a_key_has_to_be_named);
    tcase_add_test(t, peers_of_a_reload_can_be_dialled);
    tcase_add_test(t, files_of_a_dialled_connection_are_in_the_configurations_folder);
    tcase_add_test(t, connections_out_are_there_with_several_workers);
    tcase_add_test(t, a_reload_names_what_only_a_start_reads);
    tcase_add_test(t, more_workers_than_there_may_be_are_refused);
    tcase_add_test(t, more_sockets_than_there_may_be_are_refused);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
