"""Compiles alknet._native: libalknet within an extension module, made by cffi.

The library is that of the repository around this folder, which make builds, and elsewhere the one that pkg-config knows.
Its static form goes into the module, so that nothing but shared libraries of the system is needed at run time.
"""

import os
import pathlib
import shlex
import subprocess

import cffi

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def pkg_config(*arguments):
    command = os.environ.get("PKG_CONFIG", "pkg-config")
    return subprocess.run([command, *arguments, "libalknet"], check=True, stdout=subprocess.PIPE, text=True).stdout


def build_library():
    """The static library of the repository, and a libalknet.pc beside it."""
    build = pathlib.Path(os.environ.get("ALKNET_BUILD", ROOT / "build")).resolve()
    description = build / "lib/pkgconfig/libalknet.pc"
    subprocess.run(
        ["make", "-s", "-C", str(ROOT), f"B={build}", str(build / "lib/libalknet.a"), str(description)], check=True
    )
    path = os.environ.get("PKG_CONFIG_PATH")
    os.environ["PKG_CONFIG_PATH"] = os.pathsep.join([str(description.parent)] + ([path] if path else []))


def flags():
    if (ROOT / "include/alknet/host.h").exists():
        build_library()
    try:
        library = pathlib.Path(pkg_config("--variable=libdir").strip()) / "libalknet.a"
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit("alknet: pkg-config knows no libalknet: install the library, or build within its repository")
    if library.exists():
        link = pkg_config("--static", "--libs").replace("-lalknet", str(library), 1)
    else:
        link = pkg_config("--libs")
    return {
        "extra_compile_args": shlex.split(pkg_config("--cflags")),
        # No other copy of the library in the process is meant by the names in this one.
        "extra_link_args": shlex.split(link) + ["-Wl,--exclude-libs,ALL", "-Wl,--strip-debug"],
        "depends": [str(pathlib.Path(__file__).resolve())] + ([str(library)] if library.exists() else []),
    }


ffi = cffi.FFI()
ffi.cdef("""
    #define ALK_EINVAL ...
    #define ALK_ENOMEM ...
    #define ALK_EAGAIN ...
    #define ALK_EENDED ...
    #define ALK_EJSON ...
    #define ALK_ECLOSED ...
    #define ALK_ESYSTEM ...
    #define ALK_QUERY ...
    #define ALK_MUTATION ...
    #define ALK_SUBSCRIPTION ...
    #define ALK_INTERNAL_ONLY ...
    #define ALK_EXTERNAL ...
    #define ALK_END_OK ...
    #define ALK_END_FAULT ...
    #define ALK_NO_TIMEOUT ...
    #define ALK_CONTINUE_RUNNING ...
    #define ALK_LOG_ERROR ...
    #define ALK_LOG_WARN ...
    #define ALK_LOG_INFO ...
    #define ALK_LOG_DEBUG ...
    #define ALK_HOST_CALL ...
    #define ALK_HOST_VALUE ...
    #define ALK_HOST_END ...
    #define ALK_HOST_ROOM ...
    #define ALK_HOST_UP ...
    #define ALK_HOST_DOWN ...
    #define ALK_HOST_LISTENING ...
    #define ALK_HOST_LOG ...
    #define ALK_HOST_RELOADED ...
    #define ALK_HOST_DRAINING ...
    #define ALK_HOST_STOPPED ...

    const char *alk_strerror(int err);
    const char *alk_version(void);

    void alk_token_hash(const char *token, size_t len, char *out);

    typedef struct alk_operation {
        uint32_t type;
        uint32_t visibility;
        const char *name;
        const char *description;
        const char *input_schema;
        const char *output_schema;
        const char *error_schemas;
        const char *access_control;
        const char *resource_id_path;
        const char *authority;
        const char *environment;
        size_t description_len, resource_id_path_len;
        ...;
    } alk_operation;
    void alk_operation_init(alk_operation *op, size_t size);

    typedef struct alk_host alk_host;
    typedef struct alk_host_options {
        uint32_t size;
        uint32_t workers;
        const char *config;
        size_t config_len;
        uint32_t queue_events;
        uint32_t queue_bytes;
        uint32_t log_events;
        ...;
    } alk_host_options;
    int alk_host_new(alk_host **out, const alk_host_options *o, char *err, size_t err_size);
    void alk_host_free(alk_host *h);
    int alk_host_add(alk_host *h, const alk_operation *op, uint64_t tag, char *err, size_t err_size);
    int alk_host_start(alk_host *h, char *err, size_t err_size);
    int alk_host_reload(alk_host *h, const char *config, size_t len);
    int alk_host_stop(alk_host *h, int graceful);

    typedef struct alk_host_event {
        uint32_t kind;
        int32_t rc;
        uint64_t id;
        uint64_t tag;
        const char *text;
        size_t text_len;
        uint32_t timeout_ms;
        uint64_t connection;
        const char *request_id, *parent_id;
        const char *identity, *originator;
        const char *forwarded_for;
        const char *traceparent;
        const char *address;
        size_t request_id_len, parent_id_len;
        ...;
    } alk_host_event;
    int alk_host_fd(alk_host *h);
    int alk_host_wait(alk_host *h, uint32_t timeout_ms);
    size_t alk_host_drain(alk_host *h, alk_host_event *out, size_t event_size, size_t max);
    void alk_host_release(alk_host *h, alk_host_event *events, size_t event_size, size_t count);

    int alk_host_reply(alk_host *h, uint64_t id, const char *json, size_t len);
    int alk_host_emit(alk_host *h, uint64_t id, const char *json, size_t len);
    int alk_host_complete(alk_host *h, uint64_t id);
    int alk_host_fail(alk_host *h, uint64_t id, const char *json, size_t len);

    typedef struct alk_host_call_options {
        uint32_t size;
        uint32_t stream;
        uint32_t timeout_ms;
        uint32_t policy;
        uint64_t connection;
        const char *peer;
        uint64_t parent;
        const char *identity;
        const char *traceparent;
        ...;
    } alk_host_call_options;
    int alk_host_call(alk_host *h, const char *operation, size_t operation_len, const char *input, size_t input_len,
                      const alk_host_call_options *o, uint64_t *id);
    int alk_host_pause(alk_host *h, uint64_t id, int paused);
    int alk_host_abort(alk_host *h, uint64_t id);
    int alk_host_dial(alk_host *h, const char *json, size_t len, uint64_t tag, uint64_t *id, char *err, size_t err_size);

    void reply_all(alk_host *h, const uint64_t *answers, size_t count, const char *texts);
    """)
# Each function here lets go of the interpreter's lock, and gets it back late where another thread computes.
SOURCE = """
#include <alknet/host.h>

/* answers: ids and lengths by turns, of texts that lie one behind the other. */
static void reply_all(alk_host *h, const uint64_t *answers, size_t count, const char *texts)
{
    for (size_t i = 0; i < count; i++) {
        alk_host_reply(h, answers[2 * i], texts, answers[2 * i + 1]);
        texts += answers[2 * i + 1];
    }
}
"""
ffi.set_source("alknet._native", SOURCE, **flags())

if __name__ == "__main__":
    ffi.compile(verbose=True)
