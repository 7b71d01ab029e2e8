/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: ours, and the authority that those of the others must come from. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls/inside.h"

/* OpenSSL's first word names the cause, the later ones the layers that it went through. */
static int refused(const char *path)
{
    const unsigned long code = ERR_peek_error();
    const char *reason =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    int result = FAIL(-EINVAL, "%s: %s", path, reason == NULL ? "cannot be used for TLS" : reason);
    ERR_clear_error();
    return result;
}

/* Nobody is there to be asked for a passphrase. */
static int no_passphrase(char *text, int bytes, int writing, void *context)
{
    (void)text;
    (void)bytes;
    (void)writing;
    (void)context;
    return -1;
}

static int load(SSL_CTX *context, const char *directory)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/server-cert.pem", directory);
    if (length < 0 || (size_t)length >= sizeof path)
        return FAIL(-EINVAL, "%s: too long a name", directory);
    if (SSL_CTX_use_certificate_chain_file(context, path) != 1)
        return refused(path);
    (void)snprintf(path, sizeof path, "%s/server-key.pem", directory);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return refused(path);
    (void)snprintf(path, sizeof path, "%s/ca-cert.pem", directory);
    if (SSL_CTX_load_verify_locations(context, path, NULL) != 1)
        return refused(path);
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (names == NULL)
        return refused(path);
    SSL_CTX_set_client_CA_list(context, names);
    return 0;
}

int tls_context_open(const char *directory, SSL_CTX **ret_context)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (context == NULL)
        return FAIL(-ENOMEM, "no memory for TLS");
    (void)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    /* Whoever is at the other end is a peer: its certificate is looked at as a server's. */
    (void)SSL_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
    /* Each connection shows its certificate: no resumption, no renegotiation. */
    SSL_CTX_set_options(context,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(context, 0);
    (void)SSL_CTX_set_mode(context,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    int result = load(context, directory);
    if (result != 0) {
        SSL_CTX_free(context);
        return result;
    }
    *ret_context = context;
    return 0;
}
