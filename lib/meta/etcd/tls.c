/* SPDX-License-Identifier: Apache-2.0 */
/* TLS to the members: 1.2 or newer, their certificates checked against their names, h2 agreed. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "meta/etcd/inside.h"

static const uint8_t alpn[] = {2, 'h', '2'};

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

static int load(const struct meta_etcd_place *place, SSL_CTX *tls)
{
    if (strcmp(place->ca, "system") == 0) {
        if (SSL_CTX_set_default_verify_paths(tls) != 1)
            return refused("the certificates that this machine trusts");
    } else if (SSL_CTX_load_verify_locations(tls, place->ca, NULL) != 1) {
        return refused(place->ca);
    }
    if (place->cert[0] == '\0')
        return 0;
    SSL_CTX_set_default_passwd_cb(tls, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(tls, place->cert) != 1)
        return refused(place->cert);
    if (SSL_CTX_use_PrivateKey_file(tls, place->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(tls) != 1)
        return refused(place->key);
    return 0;
}

int etcd_tls_open(const struct meta_etcd_place *place, SSL_CTX **ret_tls)
{
    *ret_tls = NULL;
    if (place->ca[0] == '\0')
        return 0;
    ERR_clear_error();
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL)
        return FAIL(-ENOMEM, "no memory for TLS");
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    int result = load(place, tls);
    if (result == 0 && SSL_CTX_set_alpn_protos(tls, alpn, sizeof alpn) != 0)
        result = FAIL(-ENOMEM, "no memory for TLS");
    if (result != 0) {
        SSL_CTX_free(tls);
        return result;
    }
    *ret_tls = tls;
    return 0;
}

SSL *etcd_tls_new(SSL_CTX *tls, int fd, const char *host)
{
    uint8_t address[16];
    SSL *ssl = SSL_new(tls);
    if (ssl == NULL)
        return NULL;
    bool is_address =
        inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    int named = is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host)
                           : SSL_set1_host(ssl, host) && SSL_set_tlsext_host_name(ssl, host);
    if (named != 1 || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return ssl;
}

void etcd_tls_word(SSL *ssl, char *ret_text, size_t room)
{
    long verified = SSL_get_verify_result(ssl);
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    if (verified != X509_V_OK)
        (void)snprintf(ret_text, room, "its certificate: %s",
                       X509_verify_cert_error_string(verified));
    else
        (void)snprintf(ret_text, room, "TLS: %s", reason == NULL ? "the connection broke" : reason);
    ERR_clear_error();
}
