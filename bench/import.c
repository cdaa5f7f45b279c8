/* What an import of OpenAPI documents costs:  import FILE...
 *
 * Each document is read from its file, which may refer to others beside it, into a registry of its
 * own, that is then frozen and stays. One line of JSON on standard output: how many operations came
 * of how many documents, how many documents were refused, warnings in sum, the CPU time of it all,
 * the peak of resident memory and what remains of it at the end, both above what there was at the
 * beginning. */
#include <alknet/openapi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct sums {
    size_t operations, documents, refused;
    unsigned warnings;
};

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* A field of /proc/self/status, in MB. */
static double memory_mb(const char *field)
{
    FILE *f = fopen("/proc/self/status", "r");
    size_t n = strlen(field);
    char line[256];
    double kib = 0;

    while (f && fgets(line, sizeof line, f)) {
        if (!strncmp(line, field, n) && line[n] == ':')
            kib = strtod(line + n + 1, NULL);
    }
    if (f)
        fclose(f);
    return kib * 1024 / 1e6;
}

/* The peak is counted from here. */
static void forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");

    if (f) {
        fputs("5", f);
        fclose(f);
    }
}

static void warned(void *ud, const char *pointer, const char *text)
{
    struct sums *s = ud;

    (void)pointer;
    (void)text;
    s->warnings++;
}

static void import(const char *file, struct sums *s)
{
    alk_registry *reg = alk_registry_new();
    alk_openapi_options o = {.size = sizeof o};
    char why[512] = "";
    size_t count = 0;

    o.namespace_prefix = "bench";
    o.base_url = "https://service.example";
    o.file = file;
    o.is_public = 1;
    o.on_warning = warned;
    o.ud = s;
    if (!reg || alk_registry_import_openapi(reg, NULL, 0, &o, &count, why, sizeof why)) {
        fprintf(stderr, "%s: %s\n", file, why);
        s->refused++;
    } else if (alk_registry_freeze(reg)) {
        fprintf(stderr, "%s: %s\n", file, alk_registry_error(reg));
        exit(1);
    } else {
        s->operations += count;
        s->documents++;
    }
}

int main(int argc, char **argv)
{
    double before, start, took;
    struct sums s = {0};

    if (argc < 2) {
        fputs("usage: import FILE...\n", stderr);
        return 1;
    }
    forget_peak();
    before = memory_mb("VmRSS");
    start = cpu_ms();
    for (int i = 1; i < argc; i++)
        import(argv[i], &s);
    took = cpu_ms() - start;
    printf("{\"operations\":%zu,\"documents\":%zu,\"refused\":%zu,\"warnings\":%u,\"cpu_ms\":%.1f,"
           "\"peak_mb\":%.1f,\"kept_mb\":%.1f}\n",
           s.operations, s.documents, s.refused, s.warnings, took, memory_mb("VmHWM") - before,
           memory_mb("VmRSS") - before);
    return 0;
}
