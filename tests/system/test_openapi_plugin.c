/* A plugin for the tests of imported OpenAPI documents: alknetd with the operations of any of them.
 *
 * Its configuration is {"imports": [...]}: the members of alk_openapi_options by their names;
 * `capabilities` by name; `document`: the text in place of the file. How
 * each went is written to the file `report`: {"rc","count","error","warnings":[[pointer,text]],
 * "cpu_ms","peak_kib"}. One that fails ends the start, unless it `may_fail`. */
#include <alknet/openapi.h>
#include <alknet/plugin.h>
#include <alknet/yyjson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;

static const char *text_of(yyjson_val *import, const char *name)
{
    return yyjson_get_str(yyjson_obj_get(import, name));
}

static uint32_t number_of(yyjson_val *import, const char *name)
{
    return (uint32_t)yyjson_get_uint(yyjson_obj_get(import, name));
}

static alk_capabilities *capabilities_of(yyjson_val *secrets)
{
    alk_capabilities *caps = alk_capabilities_new();
    size_t i, n;
    yyjson_val *key, *val;

    yyjson_obj_foreach(secrets, i, n, key, val)
        alk_capabilities_set(caps, yyjson_get_str(key), yyjson_get_str(val), yyjson_get_len(val));
    return caps;
}

struct report {
    yyjson_mut_doc *doc;
    yyjson_mut_val *warnings;
};

static void on_warning(void *ud, const char *pointer, const char *text)
{
    struct report *r = ud;
    yyjson_mut_val *pair = yyjson_mut_arr(r->doc);

    yyjson_mut_arr_add_strcpy(r->doc, pair, pointer);
    yyjson_mut_arr_add_strcpy(r->doc, pair, text);
    yyjson_mut_arr_append(r->warnings, pair);
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static unsigned long peak_kib(void)
{
    unsigned long kib = 0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");

    while (f && fgets(line, sizeof line, f) && !sscanf(line, "VmHWM: %lu", &kib))
        ;
    if (f)
        fclose(f);
    return kib;
}

static void write_report(struct report *r, const char *path, int rc, size_t count,
                         const char *error, double ms)
{
    yyjson_mut_val *root = yyjson_mut_obj(r->doc);

    yyjson_mut_doc_set_root(r->doc, root);
    yyjson_mut_obj_add_int(r->doc, root, "rc", rc);
    yyjson_mut_obj_add_uint(r->doc, root, "count", count);
    yyjson_mut_obj_add_str(r->doc, root, "error", error);
    yyjson_mut_obj_add_real(r->doc, root, "cpu_ms", ms);
    yyjson_mut_obj_add_uint(r->doc, root, "peak_kib", peak_kib());
    yyjson_mut_obj_add_val(r->doc, root, "warnings", r->warnings);
    if (!yyjson_mut_write_file(path, r->doc, 0, NULL, NULL))
        abort();
}

static void read_options(alk_openapi_options *o, yyjson_val *import)
{
    *o = (alk_openapi_options){.size = sizeof *o};
    o->namespace_prefix = text_of(import, "namespace_prefix");
    o->base_url = text_of(import, "base_url");
    o->document_url = text_of(import, "document_url");
    o->file = text_of(import, "file");
    o->access_control = text_of(import, "access_control");
    o->operation_filter = text_of(import, "operation_filter");
    o->default_headers = text_of(import, "default_headers");
    o->server_variables = text_of(import, "server_variables");
    o->auth = text_of(import, "auth");
    o->is_public = number_of(import, "is_public");
    o->private_addresses = number_of(import, "private_addresses");
    o->response_bytes = number_of(import, "response_bytes");
}

static int import_one(alk_registry *reg, yyjson_val *import, char *err, size_t err_size)
{
    struct report r = {.doc = yyjson_mut_doc_new(NULL)};
    yyjson_val *document = yyjson_obj_get(import, "document");
    alk_openapi_options o;
    alk_capabilities *caps;
    double begun = cpu_ms();
    size_t count = 0;
    int rc;

    r.warnings = yyjson_mut_arr(r.doc);
    read_options(&o, import);
    caps = capabilities_of(yyjson_obj_get(import, "capabilities"));
    o.capabilities = caps;
    o.on_warning = on_warning;
    o.ud = &r;
    err[0] = 0;
    rc = document ? alk_registry_import_openapi(reg, yyjson_get_str(document),
                                                yyjson_get_len(document), &o, &count, err, err_size)
                  : alk_registry_import_openapi(reg, NULL, 0, &o, &count, err, err_size);
    if (yyjson_obj_get(import, "report"))
        write_report(&r, text_of(import, "report"), rc, count, err, cpu_ms() - begun);
    alk_capabilities_free(caps);
    yyjson_mut_doc_free(r.doc);
    return yyjson_is_true(yyjson_obj_get(import, "may_fail")) ? 0 : rc;
}

int alk_plugin_register(alk_registry *reg, const char *config, size_t config_len, char *err,
                        size_t err_size)
{
    yyjson_doc *doc = yyjson_read(config, config_len, 0);
    yyjson_val *imports = yyjson_obj_get(yyjson_doc_get_root(doc), "imports");
    int rc = 0;

    for (size_t i = 0; !rc && i < yyjson_arr_size(imports); i++)
        rc = import_one(reg, yyjson_arr_get(imports, i), err, err_size);
    yyjson_doc_free(doc);
    return rc;
}
