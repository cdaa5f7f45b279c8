/* The documents of an import: where references lead, in one document and across files, what is
 * refused and how it is told, and that no choice of names, references or files costs more than its
 * length and the limits say. */
#include "adapt/openapi_documents.h"

#include "support/memory.h"
#include "support/suite.h"

#include <alknet/alknet.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct memory memory;
static struct mem mem;
static struct oas_documents docs;
static char folder[64], why[OAS_WHY];

/* ---- files ---- */

static void in_folder(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s/%s", folder, name);
}

static void put(const char *name, const char *text)
{
    char path[200];
    FILE *f;

    in_folder(path, sizeof path, name);
    f = fopen(path, "w");
    ck_assert_msg(f != NULL, "%s", path);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static void begin(void)
{
    char path[200];

    memset(&memory, 0, sizeof memory);
    mem_init(&mem, memory_realloc, &memory);
    strcpy(folder, "/tmp/alknet-oas-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    in_folder(path, sizeof path, "api");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    in_folder(path, sizeof path, "api/sub");
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void end(void)
{
    char command[100];

    ck_assert_uint_eq(memory.live, 0);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

/* ---- opening and asking ---- */

static void open_source(const struct oas_source *from)
{
    int rc = oas_documents_open(&docs, &mem, from, why, sizeof why);

    ck_assert_msg(rc == 0, "%d: %s", rc, why);
}

static void open_text(const char *text)
{
    open_source(&(struct oas_source){.text = text, .len = strlen(text)});
}

/* name is below the folder. */
static void open_file(const char *name)
{
    char path[200];

    in_folder(path, sizeof path, name);
    open_source(&(struct oas_source){.file = path});
}

static int try_text(const char *text, size_t len)
{
    *why = 0;
    return oas_documents_open(&docs, &mem, &(struct oas_source){.text = text, .len = len}, why,
                              sizeof why);
}

static struct oas_place root(void)
{
    return (struct oas_place){docs.root, docs.root->root};
}

static int try_ref(const struct oas_place *from, const char *ref, struct oas_place *to)
{
    *why = 0;
    return oas_resolve(&docs, from, str_of(ref), to, why, sizeof why);
}

static struct oas_place at(const struct oas_place *from, const char *ref)
{
    struct oas_place to;
    int rc = try_ref(from, ref, &to);

    ck_assert_msg(rc == 0, "%s: %d, %s", ref, rc, why);
    return to;
}

/* want: the value as JSON. */
static void check_value(yyjson_val *val, const char *what, const char *want)
{
    char *text = yyjson_val_write(val, 0, NULL);

    ck_assert_msg(text && !strcmp(text, want), "%s: %s, want %s", what, text, want);
    free(text);
}

static void leads(const struct oas_place *from, const char *ref, const char *want)
{
    check_value(at(from, ref).val, ref, want);
}

/* want: the reason, whole, when it begins so. */
static void refused(const struct oas_place *from, const char *ref, const char *want)
{
    struct oas_place to;
    int rc = try_ref(from, ref, &to);

    ck_assert_msg(rc == ALK_EINVAL, "%s: %d", ref, rc);
    ck_assert_msg(!strncmp(why, want, strlen(want)), "%s: says \"%s\"", ref, why);
}

static void check_where(const struct oas_place *place, const char *want)
{
    char where[OAS_WHERE];

    ck_assert(oas_where(&docs, place, where, sizeof where));
    ck_assert_str_eq(where, want);
}

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/* ---- one document ---- */

START_TEST(json_and_yaml_are_told_by_their_first_character)
{
    static const char *const texts[] = {
        "{\"a\":{\"b\":[1,\"x\"]}}",
        " \r\n\t{\"a\":{\"b\":[1,\"x\"]}}",
        "\xef\xbb\xbf{\"a\":{\"b\":[1,\"x\"]}}",
        "a:\n  b: [1, x]\n",
        "# {\na: {b: [1, x]}\n",
        "\xef\xbb\xbf"
        "a: {b: [1, x]}",
    };

    begin();
    for (size_t i = 0; i < COUNT(texts); i++) {
        open_text(texts[i]);
        check_value(docs.root->root, texts[i], "{\"a\":{\"b\":[1,\"x\"]}}");
        ck_assert_uint_eq(docs.root->path.n, 0);
        oas_documents_close(&docs);
    }
    end();
}
END_TEST

START_TEST(what_is_no_document_is_told_with_its_place)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{\"a\":}", "the document: unexpected character"},
        {"{\"a\":1,\"a\":2}", "the document: duplicate member \"a\""},
        {"a: 1\na: 2\n", "the document: duplicate member \"a\""},
        {"a:\n  - b\n - c\n", "the document: line 3: "},
        {"", "the document: there is nothing in it"},
        {"a: !secret\n  x\n", "the document: line 1: tag \"!secret\""},
        {"a: !<%0a%1b> x\n", "the document: line 1: tag \"\\u000a\\u001b\""},
    };
    char deep[400];

    begin();
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_int_eq(try_text(cases[i].text, strlen(cases[i].text)), ALK_EJSON);
        ck_assert_msg(!strncmp(why, cases[i].why, strlen(cases[i].why)), "says \"%s\"", why);
    }
    for (int json = 0; json < 2; json++) {
        int n = json ? sprintf(deep, "{\"a\":") : 0;

        memset(deep + n, '[', 130);
        memset(deep + n + 130, ']', 130);
        strcpy(deep + n + 260, json ? "}" : "");
        ck_assert_int_eq(try_text(deep, strlen(deep)), ALK_EJSON);
        ck_assert_ptr_nonnull(strstr(why, "nested deeper than 128"));
    }
    end();
}
END_TEST

START_TEST(pointers_are_decoded_twice)
{
    struct oas_place from;

    begin();
    open_text("{\"a/b\":1,\"m~n\":2,\"c%d\":3,\"e f\":4,\"\xc3\xa9\":5,\"\":6,\"~1\":7,"
              "\"l\":[10,11],\"__proto__\":8,\"o\":{\"\":{\"\":9}}}");
    from = root();
    leads(&from, "#/a~1b", "1");
    leads(&from, "#/a%7E1b", "1");
    leads(&from, "#/m~0n", "2");
    leads(&from, "#/c%25d", "3");
    leads(&from, "#/e%20f", "4");
    leads(&from, "#/%c3%A9", "5");
    leads(&from, "#/\xc3\xa9", "5");
    leads(&from, "#/", "6");
    leads(&from, "#/~01", "7");
    leads(&from, "#/l/1", "11");
    leads(&from, "#/__proto__", "8");
    leads(&from, "#/o//", "9");
    leads(&from, "#/o/", "{\"\":9}");
    ck_assert_ptr_eq(at(&from, "#").val, docs.root->root);
    ck_assert_ptr_eq(at(&from, "").val, docs.root->root);
    refused(&from, "#/l/2", "reference \"#/l/2\" leads nowhere");
    refused(&from, "#/l/01", "reference \"#/l/01\" leads nowhere");
    refused(&from, "#/l/-", "reference \"#/l/-\" leads nowhere");
    refused(&from, "#/l/99999999999999999999", "reference ");
    refused(&from, "#/x~2", "reference ");
    refused(&from, "#/x~", "reference ");
    refused(&from, "#/a~1b/x", "reference ");
    refused(&from, "#/constructor", "reference ");
    refused(&from, "#/\x01\n\"", "reference \"#/\\u0001\\u000a\"\" leads nowhere");
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(a_place_knows_its_pointer)
{
    struct oas_place place;
    char where[12];

    begin();
    open_text(
        "{\"paths\":{\"/pets/{id}~\":{\"get\":[0,{\"x\\ny\":[]}]}},\"e\":{\"\":1},"
        "\"l\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,[17],18],"
        "\"m\":{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,"
        "\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1,\"p\":{},\"q\":{\"r\":[1]}},\"z\":{}}");
    place = root();
    check_where(&place, "");
    place = at(&place, "#/paths/~1pets~1{id}~0/get/1/x%0Ay");
    check_where(&place, "/paths/~1pets~1{id}~0/get/1/x\\u000ay");
    place = at(&place, "#/e/");
    check_where(&place, "/e/");
    place = at(&place, "#/l/17/0");
    check_where(&place, "/l/17/0");
    place = at(&place, "#/l/18");
    check_where(&place, "/l/18");
    place = at(&place, "#/m/a");
    check_where(&place, "/m/a");
    place = at(&place, "#/m/p");
    check_where(&place, "/m/p");
    place = at(&place, "#/m/q/r/0");
    check_where(&place, "/m/q/r/0");
    place = at(&place, "#/z");
    check_where(&place, "/z");
    place = at(&(struct oas_place){docs.root, docs.root->root}, "#/m/q/r");
    ck_assert(oas_where(&docs, &place, where, 6));
    ck_assert_str_eq(where, "/m/q/");
    oas_documents_close(&docs);

    open_text("{\"\xc3\xa9\xc3\xa9\":{\"a\":1}}");
    place = root();
    place = at(&place, "#/\xc3\xa9\xc3\xa9/a");
    ck_assert(oas_where(&docs, &place, where, 5));
    ck_assert_str_eq(where, "/\xc3\xa9");
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(a_chain_is_followed_and_a_circle_is_told)
{
    struct oas_place from, to;
    char text[20000];
    int n = 0;

    begin();
    open_text("{\"a\":{\"$ref\":\"#/b\"},\"b\":{\"$ref\":\"#/c\",\"x\":1},\"c\":{\"y\":2},"
              "\"d\":{\"$ref\":\"#/d\"},\"e\":{\"$ref\":\"#/f\"},\"f\":{\"$ref\":\"#/g\"},"
              "\"g\":{\"$ref\":\"#/f\"},\"h\":{\"$ref\":7},\"i\":{\"$ref\":\"#/none\"},\"j\":[1]}");
    from = root();
    from = at(&from, "#/a");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), 0);
    check_where(&to, "/c");
    from = at(&from, "#/h");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), 0);
    ck_assert_ptr_eq(to.val, from.val);
    from = at(&from, "#/j");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), 0);
    ck_assert_ptr_eq(to.val, from.val);
    from = at(&from, "#/i");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), ALK_EINVAL);
    ck_assert_str_eq(why, "reference \"#/none\" leads nowhere");
    from = at(&from, "#/d");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), ALK_EINVAL);
    ck_assert_str_eq(why, "reference \"#/d\" refers to itself in a circle");
    from = at(&from, "#/e");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), ALK_EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "refers to itself in a circle"));
    oas_documents_close(&docs);

    for (int i = 0; i < 70; i++)
        n += sprintf(text + n, "\"a%d\": {$ref: '#/a%d'}\n", i, i + 1);
    sprintf(text + n, "a70: {}\n");
    open_text(text);
    from = root();
    from = at(&from, "#/a6");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), 0);
    check_where(&to, "/a70");
    from = at(&from, "#/a5");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), ALK_EINVAL);
    ck_assert_str_eq(why, "reference \"#/a70\" comes after 64 others that lead to it");
    oas_documents_close(&docs);
    end();
}
END_TEST

/* ---- names ---- */

START_TEST(anchors_and_ids_name_parts_of_a_document)
{
    struct oas_place from, inner;

    begin();
    open_text("{\"$self\":\"https://e.example/api/openapi.json#x\",\"s\":{"
              "\"a\":{\"$anchor\":\"one\",\"v\":1},"
              "\"b\":{\"x\":{\"$anchor\":\"one\",\"v\":2},\"$id\":\"b.json\",\"$defs\":{\"n\":3},"
              "\"c\":{\"$id\":\"sub/c.json#\",\"y\":{\"$dynamicAnchor\":\"dyn\"},\"z\":5},\"t\":8},"
              "\"d\":{\"$id\":\"urn:some:thing\",\"w\":6},\"e\":{\"$id\":\"#old\",\"v\":7}}}");
    from = root();
    leads(&from, "#one", "{\"$anchor\":\"one\",\"v\":1}");
    leads(&from, "#old", "{\"$id\":\"#old\",\"v\":7}");
    leads(&from, "https://e.example/api/openapi.json#/s/d/w", "6");
    leads(&from, "openapi.json#/s/d/w", "6");
    leads(&from, "b.json#one", "{\"$anchor\":\"one\",\"v\":2}");
    leads(&from, "https://e.example/api/b.json#/$defs/n", "3");
    leads(&from, "sub/c.json#/z", "5");
    leads(&from, "../api/./sub/c.json#dyn", "{\"$dynamicAnchor\":\"dyn\"}");
    leads(&from, "urn:some:thing#/w", "6");
    refused(&from, "#two", "reference \"#two\" leads nowhere");
    refused(&from, "#dyn", "reference \"#dyn\" leads nowhere");
    refused(&from, "https://e.example/api/other.json",
            "reference \"https://e.example/api/other.json\" would need the network");
    inner = at(&from, "#/s/b/c/z");
    check_where(&inner, "/s/b/c/z");
    leads(&inner, "#/z", "5");
    leads(&inner, "#/s/d/w", "6"); /* not of the resource, but of the document */
    leads(&inner, "../b.json#/$defs/n", "3");
    inner = at(&from, "#/s/b/t"); /* behind one that ends, and in the one around it */
    leads(&inner, "#one", "{\"$anchor\":\"one\",\"v\":2}");
    inner = at(&from, "#/s/e/v");
    leads(&inner, "b.json#/$defs/n", "3");
    inner = at(&from, "#/s/b/$defs/n");
    leads(&inner, "#/$defs/n", "3");
    leads(&inner, "#one", "{\"$anchor\":\"one\",\"v\":2}");
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(the_roots_url_is_the_root)
{
    struct oas_place from;

    begin();
    open_source(&(struct oas_source){
        .text = "a: {$id: x/y, b: 1}\n", .len = 20, .url = "https://e.example/v1/openapi.yaml"});
    from = root();
    leads(&from, "https://e.example/v1/openapi.yaml#/a/b", "1");
    leads(&from, "openapi.yaml#/a/b", "1");
    leads(&from, "/v1/x/y#/b", "1");
    refused(&from, "other.yaml", "reference \"other.yaml\" leads to another file");
    oas_documents_close(&docs);
    end();
}
END_TEST

/* ---- files ---- */

START_TEST(references_lead_through_files_relative_to_the_one_they_stand_in)
{
    struct oas_place from, pet, to;

    begin();
    put("api/openapi.yaml", "a: {$ref: 'sub/pet.yaml#/Pet'}\nb: 1\n");
    put("api/sub/pet.yaml", "Pet: {$ref: '../common.json#/x~1y'}\nTag: {$ref: '#/Pet'}\n");
    put("api/common.json", "{\"x/y\":{\"$ref\":\"openapi.yaml#/b\"},\"s p\":{\"q\":true}}");
    put("api/sub/s p%41.yaml", "deep: 2\n");
    open_file("api/openapi.yaml");
    ck_assert(str_is(docs.root->path, "openapi.yaml"));
    from = root();
    from = at(&from, "#/a");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), 0);
    check_where(&to, "/b");
    ck_assert_ptr_eq(to.doc, docs.root);
    pet = at(&from, "./sub/../sub/pet.yaml#/Pet");
    check_where(&pet, "sub/pet.yaml#/Pet");
    ck_assert(str_is(pet.doc->path, "sub/pet.yaml"));
    ck_assert_uint_eq(pet.doc->number, 1);
    to = at(&pet, "#/Tag");
    check_where(&to, "sub/pet.yaml#/Tag");
    leads(&pet, "../common.json#/s%20p/q", "true");
    leads(&pet, "s%20p%2541.yaml#/deep", "2");
    leads(&pet, "%73%20p%2541.yaml", "{\"deep\":2}");
    ck_assert_uint_eq(docs.files, 4);
    ck_assert_ptr_eq(at(&from, "sub/pet.yaml").doc, pet.doc);
    ck_assert_uint_eq(docs.files, 4);
    refused(&from, "pet.yaml#/Pet",
            "reference \"pet.yaml#/Pet\" cannot be followed: pet.yaml: No such file or directory");
    refused(&pet, "#/None", "reference \"#/None\" leads nowhere");
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(a_text_with_a_file_beside_it_reads_others_from_there)
{
    struct oas_place from;
    char path[200];

    begin();
    put("api/x.yaml", "v: 5\n");
    in_folder(path, sizeof path, "api/never-written.yaml");
    open_source(&(struct oas_source){.text = "a: 1\n", .len = 5, .file = path});
    from = root();
    leads(&from, "x.yaml#/v", "5");
    leads(&from, "never-written.yaml#/a", "1");
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(circles_through_files_end)
{
    struct oas_place from, to;

    begin();
    put("api/a.yaml", "x: {$ref: 'b.yaml#/x'}\n");
    put("api/b.yaml", "x: {$ref: 'sub/c.yaml#/x'}\n");
    put("api/sub/c.yaml", "x: {$ref: '../a.yaml#/x'}\n");
    open_file("api/a.yaml");
    from = root();
    from = at(&from, "#/x");
    ck_assert_int_eq(oas_deref(&docs, &from, &to, why, sizeof why), ALK_EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "refers to itself in a circle"));
    ck_assert_uint_eq(docs.files, 3);
    oas_documents_close(&docs);
    end();
}
END_TEST

/* The one thing that none of these may do is to be opened: the secret is where each would lead. */
START_TEST(nothing_outside_of_the_folder_is_read)
{
    static const struct {
        const char *ref, *why;
    } cases[] = {
        {"../secret.yaml", "leads out of the folder"},
        {"sub/../../secret.yaml", "leads out of the folder"},
        {"%2e%2e/secret.yaml", "leads out of the folder"},
        {"..%2fsecret.yaml", "leads out of the folder"},
        {"..%2Fapi/../../secret.yaml", "leads out of the folder"},
        {"..\\secret.yaml", "has a backslash or a control character"},
        {"..%5csecret.yaml", "has a backslash or a control character"},
        {"link.yaml", "cannot be followed: link.yaml: symbolic links are not followed"},
        {"away/secret.yaml", "cannot be followed: away/secret.yaml: symbolic links are not"},
        {"fifo", "cannot be followed: fifo: is no regular file"},
        {"sub", "cannot be followed: sub: is no regular file"},
        {"/etc/passwd", "is an absolute path"},
        {"%2fetc/passwd", "is an absolute path"},
        {"//host/x.yaml", "would need the network, and nothing is fetched"},
        {"http://127.0.0.1:1/x.yaml", "would need the network, and nothing is fetched"},
        {"https://e.example/x#/y", "would need the network, and nothing is fetched"},
        {"HTTP://e.example/x", "has a scheme, and nothing is fetched"},
        {"file:///etc/passwd", "has a scheme, and nothing is fetched"},
        {"file:openapi.yaml", "has a scheme, and nothing is fetched"},
        {"document:///openapi.yaml", "has a scheme, and nothing is fetched"},
        {"data:application/json,{}", "has a scheme, and nothing is fetched"},
        {"a%00.yaml", "has a backslash or a control character"},
        {"a%0a.yaml", "has a backslash or a control character"},
        {"%ff.yaml", "is not UTF-8"},
        {"openapi.yaml?x=1", "has a query, and a file has none"},
        {"?x", "has a query, and a file has none"},
        {"sub/", "names no file"},
        {"..", "names no file"},
    };
    struct oas_place from;
    char path[200], want[OAS_WHY];

    begin();
    put("secret.yaml", "secret: 1\n");
    put("api/openapi.yaml", "a: 1\n");
    in_folder(path, sizeof path, "api/link.yaml");
    ck_assert_int_eq(symlink("../secret.yaml", path), 0);
    in_folder(path, sizeof path, "api/away");
    ck_assert_int_eq(symlink("..", path), 0);
    in_folder(path, sizeof path, "api/fifo");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    open_file("api/openapi.yaml");
    from = root();
    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(want, sizeof want, "reference \"%s\" %s", cases[i].ref, cases[i].why);
        refused(&from, cases[i].ref, want);
    }
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(a_file_that_is_wrong_is_told_each_time_and_read_once)
{
    struct oas_place from;
    char path[200];

    begin();
    put("api/openapi.json", "{}");
    put("api/bad.yaml", "a: 1\nb: [\n");
    put("api/empty.json", "");
    open_file("api/openapi.json");
    from = root();
    refused(&from, "empty.json",
            "reference \"empty.json\" cannot be followed: empty.json: there is");
    refused(&from, "bad.yaml#/a",
            "reference \"bad.yaml#/a\" cannot be followed: bad.yaml: line 3: ");
    put("api/bad.yaml", "a: 1\n");
    refused(&from, "bad.yaml#/a",
            "reference \"bad.yaml#/a\" cannot be followed: bad.yaml: line 3: ");
    ck_assert_uint_eq(docs.files, 3);
    oas_documents_close(&docs);

    in_folder(path, sizeof path, "api/none.yaml");
    ck_assert_int_eq(
        oas_documents_open(&docs, &mem, &(struct oas_source){.file = path}, why, sizeof why),
        ALK_ESYSTEM);
    ck_assert_ptr_nonnull(strstr(why, "/api/none.yaml: No such file or directory"));
    in_folder(path, sizeof path, "api/sub");
    ck_assert_int_eq(
        oas_documents_open(&docs, &mem, &(struct oas_source){.file = path}, why, sizeof why),
        ALK_EINVAL);
    in_folder(path, sizeof path, "api/bad.yaml");
    put("api/bad.yaml", "a: 1\nb: [\n");
    ck_assert_int_eq(
        oas_documents_open(&docs, &mem, &(struct oas_source){.file = path}, why, sizeof why),
        ALK_EJSON);
    ck_assert_ptr_nonnull(strstr(why, "/api/bad.yaml: line 3: "));
    end();
}
END_TEST

/* ---- what is made to be slow or large ---- */

START_TEST(a_million_properties_are_found_in_time_that_does_not_grow_with_their_square)
{
    size_t size = 40u << 20, n = 0, count = 1000000;
    char *text = malloc(size), ref[40], want[40];
    struct oas_place from, to;
    double start;

    begin();
    n = (size_t)sprintf(text, "{\"p\":{");
    for (size_t i = 0; i < count; i++)
        n += (size_t)sprintf(text + n, "%s\"n%zu\":%zu", i ? "," : "", i, i);
    n += (size_t)sprintf(text + n, "}}");
    start = cpu_seconds();
    open_source(&(struct oas_source){.text = text, .len = n});
    from = root();
    for (size_t i = 0; i < count; i += 5) {
        snprintf(ref, sizeof ref, "#/p/n%zu", i);
        to = at(&from, ref);
        ck_assert_uint_eq(yyjson_get_uint(to.val), i);
        check_where(&to, ref + 1);
    }
    snprintf(want, sizeof want, "#/p/n%zu", count);
    refused(&from, want, "reference ");
    ck_assert_msg(cpu_seconds() - start < 15, "%f s", cpu_seconds() - start);
    oas_documents_close(&docs);
    free(text);
    end();
}
END_TEST

START_TEST(three_thousand_files_are_read)
{
    enum { FILES = 3000 };
    struct oas_place from, to;
    char name[64], text[300];
    double start;

    begin();
    put("api/openapi.yaml", "first: {$ref: 'sub/f0.yaml#/schema/properties/next'}\n");
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "api/sub/f%d.yaml", i);
        snprintf(text, sizeof text,
                 "schema:\n  type: object\n  description: number %d\n  properties:\n"
                 "    next: {x: 'f%d.yaml#/schema/properties/next'}\n",
                 i, (i * 7 + 1) % FILES);
        put(name, text);
    }
    start = cpu_seconds();
    open_file("api/openapi.yaml");
    from = root();
    for (int i = 0; i < 3 * FILES; i++) {
        snprintf(name, sizeof name, "sub/f%d.yaml#/schema/properties/next/x", i % FILES);
        to = at(&from, name);
        to = at(&to, yyjson_get_str(to.val));
    }
    ck_assert_uint_eq(docs.files, FILES + 1);
    ck_assert_msg(cpu_seconds() - start < 10, "%f s", cpu_seconds() - start);
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(no_more_files_than_the_limit_are_read)
{
    struct oas_place from, to;
    char name[40];
    int rc = 0;

    begin();
    put("api/openapi.yaml", "a: 1\n");
    open_file("api/openapi.yaml");
    from = root();
    for (int i = 0; i < 4095; i++) {
        snprintf(name, sizeof name, "none%d.yaml", i);
        refused(&from, name, "reference ");
    }
    rc = try_ref(&from, "more.yaml", &to);
    ck_assert_int_eq(rc, ALK_ELIMIT);
    ck_assert_str_eq(why, "reference \"more.yaml\" leads to more than 4096 files");
    leads(&from, "openapi.yaml#/a", "1");
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(a_document_of_100_mb_is_refused)
{
    size_t size = 100u << 20;
    char *text = malloc(size), path[200];
    struct oas_place from;

    begin();
    memset(text, ' ', size);
    ck_assert_int_eq(try_text(text, size), ALK_EJSON);
    ck_assert_str_eq(why, "the document: is larger than 67108864 bytes");
    free(text);
    put("api/openapi.yaml", "a: 1\n");
    put("api/large.json", "{}");
    in_folder(path, sizeof path, "api/large.json");
    ck_assert_int_eq(truncate(path, (off_t)size), 0);
    ck_assert_int_eq(
        oas_documents_open(&docs, &mem, &(struct oas_source){.file = path}, why, sizeof why),
        ALK_EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "/api/large.json: is larger than 67108864 bytes"));
    open_file("api/openapi.yaml");
    from = root();
    refused(&from, "large.json",
            "reference \"large.json\" cannot be followed: large.json: is larger");
    oas_documents_close(&docs);
    ck_assert_uint_lt(memory.largest, 1u << 20);
    end();
}
END_TEST

/* Holes are no JSON, and are counted all the same. */
START_TEST(all_documents_together_are_bounded)
{
    static const char *const large[] = {"b.json", "c.json", "d.json"};
    struct oas_place from, to;
    char path[200];

    begin();
    put("api/a.json", "{\"x\":1}");
    put("api/e.json", "{\"y\":2}");
    for (size_t i = 0; i < COUNT(large); i++) {
        snprintf(path, sizeof path, "api/%s", large[i]);
        put(path, "{}");
        snprintf(path, sizeof path, "%s/api/%s", folder, large[i]);
        ck_assert_int_eq(truncate(path, 60 << 20), 0);
    }
    open_file("api/a.json");
    from = root();
    refused(&from, "b.json", "reference \"b.json\" cannot be followed: b.json: unexpected");
    refused(&from, "c.json", "reference \"c.json\" cannot be followed: c.json: unexpected");
    ck_assert_int_eq(try_ref(&from, "d.json", &to), ALK_ELIMIT);
    ck_assert_str_eq(why, "reference \"d.json\" cannot be followed: d.json: more than 134217728 "
                          "bytes in all documents");
    leads(&from, "e.json#/y", "2");
    oas_documents_close(&docs);
    end();
}
END_TEST

/* Each is small, and none is a document; all of them together must not take minutes. */
START_TEST(alias_bombs_in_many_files_are_paid_from_one_purse)
{
    char bomb[2000], name[40];
    struct oas_place from, to;
    int n = sprintf(bomb, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    double start;

    for (int i = 1; i < 12; i++) {
        n += sprintf(bomb + n, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            n += sprintf(bomb + n, "%s*a%d", k ? "," : "", i - 1);
        n += sprintf(bomb + n, "]\n");
    }
    begin();
    put("api/openapi.yaml", "a: 1\n");
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "api/sub/%d.yaml", i);
        put(name, bomb);
    }
    open_file("api/openapi.yaml");
    from = root();
    start = cpu_seconds();
    refused(&from, "sub/0.yaml",
            "reference \"sub/0.yaml\" cannot be followed: sub/0.yaml: line 7: aliases stand for");
    for (int i = 1; i < 200; i++) {
        snprintf(name, sizeof name, "sub/%d.yaml", i);
        ck_assert_int_lt(try_ref(&from, name, &to), 0);
    }
    ck_assert_uint_le(docs.values, OAS_VALUES);
    ck_assert_uint_gt(docs.values, OAS_VALUES / 2);
    ck_assert_msg(cpu_seconds() - start < 15, "%f s", cpu_seconds() - start);
    oas_documents_close(&docs);
    ck_assert_int_eq(try_text(bomb, (size_t)n), ALK_EJSON);
    end();
}
END_TEST

START_TEST(a_hundred_thousand_anchors_are_refused)
{
    size_t size = 4u << 20, n = 0;
    char *text = malloc(size);

    begin();
    for (int i = 0; i < 100000; i++)
        n += (size_t)sprintf(text + n, "- &a%d x\n", i);
    ck_assert_int_eq(try_text(text, n), ALK_EJSON);
    ck_assert_str_eq(why, "the document: line 10001: more than 10000 anchors");
    free(text);
    end();
}
END_TEST

/* Each $id costs a URI of its own, and that of what is around it may be long. */
START_TEST(what_names_cost_is_bounded)
{
    size_t size = 32u << 20, n = 0;
    char *text = malloc(size);

    begin();
    n = (size_t)sprintf(text, "{\"$id\":\"http://e.example/");
    memset(text + n, 'x', 3000);
    n += 3000;
    n += (size_t)sprintf(text + n, "/\",\"a\":[0");
    for (int i = 0; i < 200000; i++)
        n += (size_t)sprintf(text + n, ",{\"$id\":\"%d\"}", i);
    n += (size_t)sprintf(text + n, "]}");
    ck_assert_int_eq(try_text(text, n), ALK_EJSON);
    ck_assert_str_eq(why, "the document: has too many names ($id, $anchor)");
    free(text);
    end();
}
END_TEST

START_TEST(a_long_reference_is_refused_and_shown_cut)
{
    char *ref = malloc(10001);
    struct oas_place from;

    begin();
    open_text("{}");
    from = root();
    memset(ref, '\x01', 10000);
    ref[10000] = 0;
    refused(&from, ref, "reference \"\\u0001\\u0001");
    ck_assert_ptr_nonnull(strstr(why, "...\" is longer than 4096 bytes"));
    memcpy(ref, "#/", 2);
    memset(ref + 2, 'x', 4094);
    ref[4096] = 0;
    refused(&from, ref, "reference \"#/xxxx");
    ck_assert_ptr_nonnull(strstr(why, "...\" leads nowhere"));
    oas_documents_close(&docs);
    free(ref);
    end();
}
END_TEST

/* A complaint has its end, however long what it names is. */
START_TEST(every_complaint_has_room)
{
    char name[2100], text[600];
    struct oas_place from;

    begin();
    put("api/openapi.yaml", "a: 1\n");
    memset(text, '\x02', sizeof text);
    memcpy(text, "{\"", 2);
    strcpy(text + 500, "\":1,}");
    open_file("api/openapi.yaml");
    from = root();
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 100 ? 'n' : '/';
    name[0] = 'm';
    name[sizeof name - 1] = 0;
    refused(&from, name, "reference \"mnnn");
    ck_assert_ptr_nonnull(strstr(why, "...: No such file or directory"));
    ck_assert_uint_lt(strlen(why), OAS_WHY - 1);
    oas_documents_close(&docs);
    end();
}
END_TEST

START_TEST(want_of_memory_is_told_and_nothing_leaks)
{
    struct oas_place from, to;
    char path[200];
    int rc = ALK_ENOMEM;

    begin();
    put("api/openapi.yaml", "$self: x\na: {$ref: 'sub/b.json#one'}\nl: &l [1, 2]\nm: *l\n");
    put("api/sub/b.json",
        "{\"$id\":\"y\",\"z\":{\"$anchor\":\"one\",\"p\":[0,1,2,3,4,5,6,7,8,9,10,11,"
        "12,13,14,15,16,17,18]}}");
    in_folder(path, sizeof path, "api/openapi.yaml");
    for (long fail = 1; rc == ALK_ENOMEM; fail++) {
        ck_assert_int_lt(fail, 200);
        memset(&memory, 0, sizeof memory);
        memory.fail_in = fail;
        mem_init(&mem, memory_realloc, &memory);
        rc = oas_documents_open(&docs, &mem, &(struct oas_source){.file = path}, why, sizeof why);
        if (!rc) {
            from = root();
            rc = oas_resolve(&docs, &from, str_of("#/a"), &from, why, sizeof why);
            if (!rc)
                rc = oas_deref(&docs, &from, &to, why, sizeof why);
            if (!rc)
                rc = oas_resolve(&docs, &to, str_of("#/z/p/17"), &to, why, sizeof why);
            ck_assert_msg(rc == 0 || rc == ALK_ENOMEM, "%s", why);
            /* Once there is memory again, it is no worse than that. */
            if (rc) {
                int again = oas_resolve(&docs, &from, str_of("sub/b.json"), &to, why, sizeof why);

                ck_assert(again == 0 || again == ALK_ENOMEM);
            }
            oas_documents_close(&docs);
        }
        ck_assert_int_eq(rc, memory.failed ? ALK_ENOMEM : 0);
        if (rc)
            ck_assert_str_eq(why, "out of memory");
        ck_assert_uint_eq(memory.live, 0);
    }
    end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        json_and_yaml_are_told_by_their_first_character,
        what_is_no_document_is_told_with_its_place,
        pointers_are_decoded_twice,
        a_place_knows_its_pointer,
        a_chain_is_followed_and_a_circle_is_told,
        anchors_and_ids_name_parts_of_a_document,
        the_roots_url_is_the_root,
        references_lead_through_files_relative_to_the_one_they_stand_in,
        a_text_with_a_file_beside_it_reads_others_from_there,
        circles_through_files_end,
        nothing_outside_of_the_folder_is_read,
        a_file_that_is_wrong_is_told_each_time_and_read_once,
        a_million_properties_are_found_in_time_that_does_not_grow_with_their_square,
        three_thousand_files_are_read,
        no_more_files_than_the_limit_are_read,
        a_document_of_100_mb_is_refused,
        all_documents_together_are_bounded,
        alias_bombs_in_many_files_are_paid_from_one_purse,
        a_hundred_thousand_anchors_are_refused,
        what_names_cost_is_bounded,
        a_long_reference_is_refused_and_shown_cut,
        every_complaint_has_room,
        want_of_memory_is_told_and_nothing_leaks,
    };
    Suite *suite = suite_create("openapi_documents");
    TCase *t = tcase_create("openapi_documents");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < COUNT(tests); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
