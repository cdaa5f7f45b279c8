/* The entry point of a plugin: a shared object, named in alknetd's configuration, that registers
 * operations.
 *
 *     #include <alknet/plugin.h>
 *
 *     const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;
 *
 *     int alk_plugin_register(alk_registry *reg, const char *config, size_t config_len, char *err,
 *                             size_t err_size)
 *     {
 *         alk_operation op;
 *         alk_operation_init(&op, sizeof op);
 *         op.name = "hello/greet";
 *         op.handler = greet;
 *         return alk_registry_add(reg, &op);
 *     }
 *
 * Built with  cc -shared -fPIC -o hello.so hello.c  and nothing to link with: alknetd itself
 * exports the functions of alknet/alknet.h, alknet/uv.h, alknet/gateway.h, alknet/yyjson.h and
 * yyjson. A plugin is a part of the daemon with all of its rights.
 *
 * Handlers run on the threads of the daemon's loops, several at a time when there are several
 * workers, and must not block; one that waits for something uses handles on alk_call_loop(call). */
#ifndef ALKNET_PLUGIN_H
#define ALKNET_PLUGIN_H

#include <alknet/alknet.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ALK_PLUGIN_EXPORT __attribute__((visibility("default")))
#else
#define ALK_PLUGIN_EXPORT
#endif

/* Changes when a plugin built for an earlier one could not run. */
#define ALK_PLUGIN_ABI 1

/* Both are defined by the plugin. One whose alk_plugin_abi is not the daemon's is refused before it
 * is called. */
extern ALK_PLUGIN_EXPORT const uint32_t alk_plugin_abi;

/* Called once, before the registry is frozen, also by alknetd --check: it registers and does
 * nothing else (no thread, no connection). config is JSON text: the plugin's "config", or the
 * content of its "config_file", or {}; it lives as long as the call. Returns 0, or an ALK_E code,
 * with the reason in err (err_size bytes at most with its NUL) where the registry's own error does
 * not say it; the daemon then does not start. The plugin stays loaded until every registration is
 * gone (ud_free). */
ALK_PLUGIN_EXPORT int alk_plugin_register(alk_registry *reg, const char *config, size_t config_len,
                                          char *err, size_t err_size);

#ifdef __cplusplus
}
#endif

#endif
