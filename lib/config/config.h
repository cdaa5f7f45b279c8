/* The configuration: what docs/configuration.md describes, as a struct.
 *
 * config_load checks a text and completes it; what it returns is consistent in itself, and every
 * file that it names beside plugins and folders has been read. Paths are relative to the folder of
 * the file that names them. Strings live as long as the configuration. Nothing here opens a socket,
 * loads a plugin or talks to a running node. */
#ifndef ALK_CONFIG_CONFIG_H
#define ALK_CONFIG_CONFIG_H

#include "config/check.h"

#include <alknet/tls.h>
#include <alknet/uv.h>
#include <sys/stat.h>

#define CONFIG_WORKERS_MAX 256u
#define CONFIG_LISTEN_MAX 64u
#define CONFIG_PLUGINS_MAX 256u
#define CONFIG_CONNECT_MAX 64u
#define CONFIG_IMPORTS_MAX 64u
#define CONFIG_CERTIFICATES_MAX 256u
#define CONFIG_SERVERS_MAX 16u /* of a cluster's broker */

/* A text, and how it is to be read. */
struct config_source {
    /* What messages call it, and relative to whose folder its paths are; YAML, or JSON when it ends
     * in ".json". NULL: there is no file, which means JSON, paths that are relative to the working
     * directory, and no folder in which a key or a certificate that nobody has named could be
     * kept. */
    const char *file;
    const char *text; /* NULL, for config_load: what the file holds */
    size_t len;
    uint32_t workers; /* in place of the member of that name; 0: not given */
    uint32_t cores;   /* what workers are by themselves */
    /* 1: for a program that is not alknetd: without `listen` nothing is listened on, and what is
     * alknetd's own is refused. */
    uint32_t embedded;
};

struct config_listen {
    const char *host; /* NULL with unix_path */
    uint32_t port;
    const char *unix_path;
    uint32_t mode; /* 0: the default */
    uint32_t tls, proxy_protocol, peer_credentials, quic;
};

struct config_certificate {
    const char *certificate, *key; /* files */
};

struct config_plugin {
    const char *path;
    yyjson_val *value;
    const char *file;
    char *config; /* JSON text */
    size_t config_len;
};

/* An outgoing connection. */
struct config_connect {
    const char *name; /* for the log */
    const char *url;
    uint32_t framed, local; /* of the URL: no upgrade; a Unix-domain socket */
    uint32_t quic;          /* likewise: alknet:// */
    const char *peer;       /* whom the remote is here; NULL: as its certificate says, or nobody */
    const char *token_file, *token_text;
    char *token;               /* of one of them; NULL: none, or forgotten */
    const char *ca_file, *pin; /* whom to trust, as alk_tls_options has it */
    struct config_certificate
        own;      /* what the remote gets; NULL: none. QUIC: key alone is a raw key */
    alk_tls *tls; /* NULL: the URL has none */
    uint32_t spread_ms;
    uint32_t reconnect, announce;
    uint32_t import;
    const char *prefix;
    yyjson_val *operations_value;
    char *operations; /* JSON text or NULL */
};

/* Operations of a service that an OpenAPI document describes. */
struct config_import {
    const char *document; /* a file, or a URL */
    const char *mcp;      /* of an MCP server, in place of a document: it is document too */
    uint32_t url;         /* document is a URL */
    const char *prefix, *base_url;
    uint32_t auth_type;      /* 0: not given */
    const char *secret_file; /* of auth */
    yyjson_val *credentials; /* scheme → file; NULL: none */
    uint32_t is_public, private_addresses, response_bytes, progress;
    const char *token_file;
    /* As alk_openapi_options has them: JSON text or NULL. */
    char *auth, *operations, *access, *headers, *variables;
    /* What the files hold; whoever imports may take them. */
    alk_capabilities *secrets;
    char *token; /* for the document's URL; NULL: none */
};

struct config {
    struct config_text text;
    struct config_text identities_text; /* of identities_file; doc NULL: none */
    const char *folder;          /* of its file, with the slash; NULL: the working directory */
    uint32_t has_file, embedded; /* as config_source has them */
    uint32_t is_connect;         /* it is one entry of connect and no more */
    uint32_t workers;
    uint32_t demo;
    uint32_t debug_outputs;
    uint32_t core_dumps;
    struct config_list listen;  /* of config_listen; at least one, unless it is embedded */
    struct config_list plugins; /* of config_plugin */
    struct config_list connect; /* of config_connect */
    struct config_list imports; /* of config_import */
    struct {
        alk_http_options o;
        const char *proxy_file;
        yyjson_val *no_proxy_value;
        uint32_t http2;
    } http;
    uint32_t has_metrics;
    struct config_listen metrics;
    uint32_t forwarded_for; /* ALK_FORWARD_ */
    uint32_t auto_import;
    const char *announce_scope; /* NULL: none is needed */
    char *peers_call;           /* as alk_registry_enable_peers takes it; NULL: none */
    size_t peers_call_len;
    const char *identities_file;
    char *identities; /* {"peers","keys","users"} as alk_identities_load takes it */
    size_t identities_len;
    alk_limits limits;
    struct {
        uint32_t decoy; /* ALK_DECOY_ */
        const char *target;
        uint32_t stealth;
        uint32_t websocket;
        const char *tenant_header;
        const char *health_path;
        yyjson_val *hosts_value, *origins_value, *proxies_value;
        char *hosts, *origins, *proxies; /* JSON text or NULL */
    } gateway;
    struct {
        struct config_list items; /* of config_certificate, at least one */
        uint32_t self_signed;     /* is made if it is not there */
        yyjson_val *names_value;
        const char *names;  /* JSON text: what that one is for */
        char *certificates; /* JSON text, as alk_tls_options has it */
        uint32_t ask;       /* ALK_TLS_ASK_ */
        uint32_t tickets;
        uint32_t given; /* certificates are */
        uint32_t used;  /* some listener has TLS */
        uint32_t quic;  /* or QUIC */
    } tls;
    struct {
        uint32_t given;
        const char *name, *prefix;
        yyjson_val *servers_value;
        const char **servers; /* of NATS: URLs */
        size_t server_count;
        const char *user; /* or a token, or a file of NATS' own; NULL, all: it is nobody */
        const char *password_file, *token_file;
        const char *credentials, *nkey_seed_file;
        const char *password, *token; /* what the files hold, or NULL */
        uint32_t tls;
        const char *ca, *certificate, *key; /* files */
        uint32_t services;
        const char *services_token_file;
        const char *services_token; /* what it holds, or NULL */
    } cluster;
    const char *node_key;    /* file of the raw key of QUIC; NULL: none is used */
    uint32_t node_key_given; /* it is named */
    uint32_t node_key_used;
    uint32_t anonymous_peers;
    uint32_t mcp; /* ALK_MCP_ */
    struct {
        uint32_t json;
        uint32_t level; /* ALK_LOG_ */
        const char *file;
    } log;
    struct config_list owned; /* of char *: memory that goes with it */
};

/* Returns 0, or -1 with the reason in err and *out NULL. What s points to may go. */
int config_load(struct config **out, const struct config_source *s, struct config_error *err);
/* The same without touching any file; identities_file and the plugins' config_file are then not
 * read. */
int config_parse(struct config **out, const struct config_source *s, struct config_error *err);
/* One entry of `connect` by itself, JSON, which may have "token" in place of token_file,
 * "reconnect" and "announce" besides: a configuration of one connection, whose files have been
 * read. Its folder, its peers and the node's key are those of within. */
int config_load_connect(struct config **out, const char *json, size_t len,
                        const struct config *within, struct config_error *err);
void config_free(struct config *cfg);
/* Remembers memory to be freed with the configuration; frees it and returns NULL when out of
 * memory. */
char *config_own(struct config *cfg, char *memory);
/* Those of connections, once they are dialled: a token that is replaced is nowhere then. */
void config_forget_tokens(struct config *cfg);
/* These, and what other files of secrets held: of one that is kept for what it says of peers. */
void config_forget_secrets(struct config *cfg);
/* The members whose change needs a restart and that differ, as "listen, log"; "" when there are
 * none. */
void config_changes(const struct config *before, const struct config *after, char *out,
                    size_t size);

/* Gives the identities to ids; a fault names file and line. reserved as in alk_identities_load. */
int config_give_identities(const struct config *cfg, alk_identities *ids, int64_t unix_time,
                           const alk_registry *reserved, struct config_error *err);
/* Whether what is in a file may be trusted: a regular one of root or of who runs this, which nobody
 * else may write to. secret: nor read. */
int config_check_file(const char *path, const struct stat *st, int secret,
                      struct config_error *err);
/* Reads the files of TLS that connect[i] names, whose URL has it; *out stays NULL where the URL has
 * none, or the node's key is still to be made. Returns 0, or -1 with the reason in err. */
int config_connect_tls(const struct config *cfg, size_t i, alk_tls **out, struct config_error *err);
/* err says what is wrong with a file; now it also says where the file is named. Returns -1. */
int config_blame(const struct config *cfg, const char *pointer, struct config_error *err);
/* A complaint about the value that an RFC 6901 pointer leads to, or about what is around it. */
int config_complain(const struct config *cfg, const char *pointer, const char *place,
                    const char *message, struct config_error *err);

#endif
