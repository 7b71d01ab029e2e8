/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: a net above a net. Streams over TCP are sealed; those over unix sockets are left as they
 * are, for the permissions of the socket's file say who may come.
 *
 * Owns the certificates, of which a directory has three files, as an NBD server's does:
 *
 *     ca-cert.pem       who may sign those of the others
 *     server-cert.pem   ours, and what leads to the above
 *     server-key.pem    its key, without a passphrase
 *
 * Promises: TLS 1.2 or newer; both ends show a certificate, and a stream is given to nobody before
 * the other one's was found to be signed by the authority, valid today, and meant for a server. All
 * who have one are alike: an end does not look at the name in it. Who it is, is said inside (the
 * pool, the store, the session). A client's certificate of the same authority (clientAuth alone) is
 * refused: what may use an NBD export may not be a store.
 *
 * A handshake that takes too long, or fails, ends its connection, and is told to `notice`; who
 * connected gets -EPROTO (or why the connection ended) and base_last_error(). With TLS 1.3 who
 * connects has a stream before the other end has looked at its certificate: if that is refused, the
 * first fill or receive ends with -EKEYREJECTED, and base_last_error() says why.
 *
 * Handshakes allocate, and so does OpenSSL within its own limits. A stream has about 200 KiB.
 */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include "host/host.h"

struct tls_options {
    struct net *below; /* Outlives this one. */
    struct clock *clock;
    const char *directory; /* Copied. */
    uint64_t handshake_ns; /* 0: 5 s. */
    /* Whom it did not let in, and why; a sentence, valid during the call. NULL: nobody listens. */
    void (*notice)(void *context, const char *sentence);
    void *context;
};

/* 0, or -EINVAL (a file is not there, or not what it should be), -ENOMEM with a sentence. Blocks
 * for reading the files. */
int tls_net_open(const struct tls_options *options, struct net **ret_net);
/* The files again, for handshakes from now on. If they cannot be used, those before stay: result
 * and sentence as above. */
int tls_net_reload(struct net *net);
/* Nothing is open on it any more. NULL is fine. */
void tls_net_close(struct net *net);

#endif
