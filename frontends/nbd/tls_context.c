/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: ours, and the authority that a client's must come from. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/tls.h"

/* OpenSSL's first word names the cause ("No such file or directory", "bad decrypt"), the later ones
 * the layers that it went through. */
static int fail(char *error, size_t error_bytes, const char *path)
{
    const unsigned long code = ERR_peek_error();
    const char *reason =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    snprintf(error, error_bytes, "%s: %s", path, reason == NULL ? "cannot be used" : reason);
    ERR_clear_error();
    return -EINVAL;
}

/* A daemon has nobody to ask: notes that a passphrase would be needed, and gives none. */
static int no_passphrase(char *text, int bytes, int writing, void *asked)
{
    (void)text;
    (void)bytes;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static int load_key(SSL_CTX *ssl, const char *path, char *error, size_t error_bytes)
{
    bool asked = false;
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ssl, &asked);
    const bool loaded = SSL_CTX_use_PrivateKey_file(ssl, path, SSL_FILETYPE_PEM) == 1 &&
                        SSL_CTX_check_private_key(ssl) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
    if (loaded)
        return 0;
    const int result = fail(error, error_bytes, path);
    if (asked)
        snprintf(error, error_bytes, "%s: has a passphrase: store the key without one", path);
    return result;
}

static int load(SSL_CTX *ssl, const char *directory, char *error, size_t error_bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/ca-cert.pem", directory);
    if (SSL_CTX_load_verify_locations(ssl, path, NULL) != 1)
        return fail(error, error_bytes, path);
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (names == NULL)
        return fail(error, error_bytes, path);
    SSL_CTX_set_client_CA_list(ssl, names);
    snprintf(path, sizeof path, "%s/server-cert.pem", directory);
    if (SSL_CTX_use_certificate_chain_file(ssl, path) != 1)
        return fail(error, error_bytes, path);
    snprintf(path, sizeof path, "%s/server-key.pem", directory);
    return load_key(ssl, path, error, error_bytes);
}

int tls_context_open(const char *directory, char *error, size_t error_bytes,
                     struct tls_context **ret_context)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    struct tls_context *context = calloc(1, sizeof *context);
    if (ssl == NULL || context == NULL) {
        SSL_CTX_free(ssl);
        free(context);
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    /* Each connection shows its certificate: no resumption, no renegotiation. */
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    const int result = load(ssl, directory, error, error_bytes);
    if (result != 0) {
        SSL_CTX_free(ssl);
        free(context);
        return result;
    }
    context->ssl = ssl;
    *ret_context = context;
    return 0;
}

void tls_context_close(struct tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}
