/* What the files of the configuration share; others see config.h. */
#ifndef ALK_CONFIG_CONFIG_INT_H
#define ALK_CONFIG_CONFIG_INT_H

#include "config/config.h"

#define CONFIG_NOT_GIVEN UINT32_MAX /* a number before the text was read */

extern const struct config_shape config_peer_shape, config_key_shape, config_user_shape,
    config_connect_shape, config_lone_connect_shape, config_import_shape, config_http_shape,
    config_tls_shape, config_cluster_shape;

/* Of rules.c: completes what the text says, without another file. */
int config_finish(struct config *cfg, const struct config_source *from, struct config_error *err);

/* Of identities.c: reads identities_file (unless NULL) and joins it with the configuration's own
 * entries. */
int config_join_identities(struct config *cfg, struct config_error *err);

/* Of connect.c: completes what `connect` says, without a file; then reads its tokens and
 * certificates and finds its peers among those of within, which needs the identities. */
int config_finish_connect(struct config *cfg, struct config_error *err);
int config_join_connect(struct config *cfg, const struct config *within, struct config_error *err);

/* Of imports.c: completes what `imports` says, without a file; then reads its secrets. */
int config_finish_imports(struct config *cfg, struct config_error *err);
int config_join_imports(struct config *cfg, struct config_error *err);
void config_free_imports(struct config *cfg);
/* A file that holds one line, for secret_free. */
int config_read_secret(const char *path, char **out, size_t *len, struct config_error *err);

/* Of http.c, likewise for `http`. */
void config_init_http(struct config *cfg);
int config_finish_http(struct config *cfg, struct config_error *err);
int config_join_http(struct config *cfg, struct config_error *err);

/* Of cluster.c, likewise for `cluster`; behind config_finish_tls. */
int config_finish_cluster(struct config *cfg, struct config_error *err);
int config_join_cluster(struct config *cfg, struct config_error *err);

/* Of tls.c: completes what `tls` says. Then, as alk_tls_options has them, for free; NULL: out of
 * memory. */
int config_finish_tls(struct config *cfg, struct config_error *err);
char *config_certificates_text(const struct config_certificate *items, size_t count);

/* Of file.c: the whole content, *data NUL-terminated and for secret_free; refused as
 * config_check_file says. */
int config_read_file(const char *path, int secret, char **data, size_t *len,
                     struct config_error *err);
/* CONFIG_JSON for what ends in ".json", else CONFIG_YAML. */
int config_format_of(const char *path);

/* Of read.c: path relative to the folder of the configuration; NULL when out of memory. */
const char *config_resolve(struct config *cfg, const char *path);
/* The JSON text of a list in *out, unless it is NULL. */
int config_list_text(struct config *cfg, yyjson_val *list, char **out, struct config_error *err);
int config_out_of_memory(const struct config *cfg, struct config_error *err);

#endif
