/* The file of known peers: which fingerprint the server at an address has, as somebody has decided
 * who saw it. Lines `HOST:PORT FINGERPRINT`, and comments that begin with #. */
#ifndef ALK_CLI_ALKNET_KNOWN_H
#define ALK_CLI_ALKNET_KNOWN_H

/* Of that file, for host and port. *out is allocated, or NULL: it is not known. OUTCOME_USAGE after
 * a message. */
int known_find(const char *authority, char **out);

#endif
