/* What an import costs: `import FILE` reads a document of OpenAPI into a registry and freezes that. Prints, as JSON, how many
 * operations came with how many warnings, the CPU time of this process for it in ms, and by how much its resident memory
 * grew at most, in KiB. */
#include <alknet/openapi.h>
#include <stdio.h>
#include <sys/resource.h>

static void warned(void *ud, const char *pointer, const char *text)
{
    (void)pointer, (void)text;
    ++*(unsigned *)ud;
}

static double cpu_ms(const struct rusage *u)
{
    return ((double)u->ru_utime.tv_sec + (double)u->ru_stime.tv_sec) * 1e3 +
           ((double)u->ru_utime.tv_usec + (double)u->ru_stime.tv_usec) / 1e3;
}

int main(int argc, char **argv)
{
    alk_registry *reg = alk_registry_new();
    struct rusage before, after;
    alk_openapi_options o;
    unsigned warnings = 0;
    char err[512] = "";
    size_t count;

    alk_openapi_options_init(&o, sizeof o);
    o.namespace_prefix = "x";
    o.base_url = "https://api.example";
    o.file = argc > 1 ? argv[1] : "openapi.yaml";
    o.on_warning = warned;
    o.ud = &warnings;
    getrusage(RUSAGE_SELF, &before);
    if (!reg || alk_registry_import_openapi_file(reg, &o, &count, err, sizeof err) ||
        alk_registry_freeze(reg)) {
        fprintf(stderr, "import: %s: %s\n", o.file, err);
        return 1;
    }
    getrusage(RUSAGE_SELF, &after);
    printf("{\"operations\":%zu,\"warnings\":%u,\"cpu_ms\":%.1f,\"peak_kib\":%ld}\n", count,
           warnings, cpu_ms(&after) - cpu_ms(&before), after.ru_maxrss - before.ru_maxrss);
    alk_registry_unref(reg);
    return 0;
}
