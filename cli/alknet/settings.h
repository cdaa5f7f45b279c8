/* Where the remote is and what token it gets.
 *
 * URL: option, ALKNET_URL, context, settings file, default. Token: --token-file, ALKNET_TOKEN,
 * settings file; never an argument, which other users of the machine can read. The settings file's
 * token goes only to that file's own URL (the default URL, if it names none), so that `-u` cannot
 * carry it elsewhere; and ALKNET_TOKEN to a context's URL only where the environment names that
 * node, so that a context cannot. In clear text (http, ws) a token goes to this machine only, unless
 * --clear is given, and through no proxy. Files that hold a token are refused when anyone but their
 * owner can read or write them. The settings file is not opened when it is not needed. */
#ifndef ALK_CLI_ALKNET_SETTINGS_H
#define ALK_CLI_ALKNET_SETTINGS_H

#include "options.h"
#include "buffer.h"

#define DEFAULT_URL "http://127.0.0.1:4780"
#define URL_MAX 2048u

struct settings {
    char scheme[16]; /* "http", "https", "unix", ...: lower case */
    char *url;       /* normal form, without a slash at the end; shown in messages */
    /* What the path of a route is appended to; http://localhost for a unix: URL. Of a ws: URL with
     * a name of this machine, which libuv would look up elsewhere, it has the address. */
    char *base;
    char *socket;         /* path, or NULL */
    char *authority;      /* host:port of an alknet: URL; NULL: it is none */
    char *pin;            /* the server's fingerprint, by the URL or the known peers; NULL: none */
    char *resolve;        /* as CURLOPT_RESOLVE has it, for a name of this machine; NULL: none */
    char *token;          /* NULL: none */
    const char *no_token; /* what to say to whom is refused for lack of one */
    bool loopback;        /* this machine */
    bool direct;          /* no proxy may be asked */
};

/* OUTCOME_USAGE after a message. In both cases settings_fini follows. */
int settings_load(struct settings *s, const struct options *o);
void settings_fini(struct settings *s);
/* Where a file of settings is; NULL: there is no such place. */
char *settings_path(const char *name);
/* Whether it can be a URL of a node; OUTCOME_USAGE after a message. */
int settings_check_url(const char *text);
/* 0 when text can be a bearer token. */
int token_check(const char *text, size_t len);

#endif
