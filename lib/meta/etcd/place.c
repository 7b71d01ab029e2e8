/* SPDX-License-Identifier: Apache-2.0 */
/* The name of a cluster's pool. */
#include <stdio.h>
#include <stdlib.h>

#include "meta/etcd/inside.h"

#define SCHEME "etcd://"

/* A piece of the URL. */
struct piece {
    const char *text;
    size_t length;
};

static struct piece piece_until(const char **text, const char *stops)
{
    struct piece piece = {.text = *text, .length = strcspn(*text, stops)};
    *text += piece.length;
    return piece;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Copies, %XX decoded. False: too long, or a byte that is none or zero. */
static bool piece_copy(struct piece piece, char *to, size_t room)
{
    size_t used = 0;
    for (size_t i = 0; i < piece.length; i++) {
        char byte = piece.text[i];
        if (byte == '%') {
            int high = i + 2 < piece.length ? hex_digit(piece.text[i + 1]) : -1;
            int low = i + 2 < piece.length ? hex_digit(piece.text[i + 2]) : -1;
            int value = high < 0 || low < 0 ? 0 : high * 16 + low;
            byte = (char)value;
            i += 2;
        }
        if (byte == '\0' || used + 1 == room)
            return false;
        to[used++] = byte;
    }
    to[used] = '\0';
    return true;
}

static bool piece_number(struct piece piece, uint32_t least, uint32_t most, uint32_t *ret_number)
{
    uint32_t number = 0;
    if (piece.length == 0 || piece.length > 9)
        return false;
    for (size_t i = 0; i < piece.length; i++) {
        if (piece.text[i] < '0' || piece.text[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(piece.text[i] - '0');
    }
    *ret_number = number;
    return number >= least && number <= most;
}

/* HOST:PORT or [ADDRESS]:PORT. */
static bool endpoint_parse(struct piece piece, struct meta_etcd_endpoint *endpoint)
{
    struct piece host = piece;
    uint32_t port;
    while (host.length > 0 && host.text[host.length - 1] != ':')
        host.length--;
    struct piece digits = {piece.text + host.length, piece.length - host.length};
    if (host.length < 2 || !piece_number(digits, 1, 65535, &port))
        return false;
    host.length--;
    if (host.length > 2 && host.text[0] == '[' && host.text[host.length - 1] == ']') {
        host.text++;
        host.length -= 2;
    } else if (memchr(host.text, ':', host.length) != NULL) {
        return false; /* Of an address with colons nobody can tell where it ends. */
    }
    (void)snprintf(endpoint->port, sizeof endpoint->port, "%u", port);
    return host.length > 0 && memchr(host.text, '@', host.length) == NULL &&
           piece_copy(host, endpoint->host, sizeof endpoint->host);
}

static int endpoints_parse(const char *url, struct piece all, struct meta_etcd_place *place)
{
    const char *at = all.text;
    while (at <= all.text + all.length) {
        struct piece one = {.text = at};
        while (at + one.length < all.text + all.length && at[one.length] != ',')
            one.length++;
        if (place->endpoint_count == META_ETCD_ENDPOINTS_MAX)
            return FAIL(-E2BIG, "%s: more than %u endpoints", url, META_ETCD_ENDPOINTS_MAX);
        if (!endpoint_parse(one, &place->endpoints[place->endpoint_count++]))
            return FAIL(-EINVAL, "%s: `%.*s` is no endpoint: say HOST:PORT", url, (int)one.length,
                        one.text);
        at += one.length + 1;
    }
    return 0;
}

static int pool_parse(const char *url, struct piece pool, struct meta_etcd_place *place)
{
    while (pool.length > 0 && pool.text[0] == '/') {
        pool.text++;
        pool.length--;
    }
    while (pool.length > 0 && pool.text[pool.length - 1] == '/')
        pool.length--;
    if (pool.length == 0)
        return FAIL(-EINVAL, "%s: name the pool: etcd://HOST:PORT/POOL", url);
    if (!piece_copy(pool, place->pool, sizeof place->pool))
        return FAIL(-EINVAL, "%s: a pool's name has 1 to %u bytes", url, META_ETCD_POOL_BYTES_MAX);
    return 0;
}

/* True: it is the option of that name. */
static bool name_is(struct piece name, const char *text)
{
    return name.length == strlen(text) && memcmp(name.text, text, name.length) == 0;
}

static int option_parse(const char *url, struct piece name, struct piece value,
                        struct meta_etcd_place *place)
{
    const struct {
        const char *name;
        char *to;
    } texts[] = {{"ca", place->ca},
                 {"cert", place->cert},
                 {"key", place->key},
                 {"user", place->user},
                 {"password-file", place->password_file}};
    uint32_t number;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (!name_is(name, texts[i].name))
            continue;
        if (texts[i].to[0] != '\0')
            return FAIL(-EINVAL, "%s: `%s` is said twice", url, texts[i].name);
        if (value.length == 0 || !piece_copy(value, texts[i].to, META_ETCD_NAME_BYTES_MAX + 1))
            return FAIL(-EINVAL, "%s: `%s` is empty or too long", url, texts[i].name);
        return 0;
    }
    if (name_is(name, "wait")) {
        if (!piece_number(value, 1, 3600, &number))
            return FAIL(-EINVAL, "%s: `wait` takes 1 to 3600 seconds", url);
        place->wait_ns = number * NS_PER_S;
        return 0;
    }
    if (name_is(name, "max-txn-ops")) {
        if (!piece_number(value, 16, 4096, &place->txn_ops))
            return FAIL(-EINVAL, "%s: `max-txn-ops` takes 16 to 4096", url);
        return 0;
    }
    return FAIL(-EINVAL, "%s: there is no option `%.*s`", url, (int)name.length, name.text);
}

static int together(const char *url, const struct meta_etcd_place *place)
{
    bool cert = place->cert[0] != '\0';
    if (cert != (place->key[0] != '\0'))
        return FAIL(-EINVAL, "%s: `cert` and `key` go together", url);
    if (cert && place->ca[0] == '\0')
        return FAIL(-EINVAL, "%s: `cert` needs `ca`: who signed the members' certificates", url);
    if ((place->user[0] != '\0') != (place->password_file[0] != '\0'))
        return FAIL(-EINVAL, "%s: `user` and `password-file` go together", url);
    return 0;
}

int meta_etcd_place_parse(const char *url, struct meta_etcd_place *ret_place)
{
    *ret_place =
        (struct meta_etcd_place){.wait_ns = META_ETCD_WAIT_NS, .txn_ops = META_ETCD_TXN_OPS};
    if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
        return FAIL(-EINVAL, "%s: a cluster's pool is named etcd://HOST:PORT/POOL", url);
    const char *at = url + strlen(SCHEME);
    int result = endpoints_parse(url, piece_until(&at, "/?"), ret_place);
    if (result == 0)
        result = pool_parse(url, piece_until(&at, "?"), ret_place);
    while (result == 0 && *at != '\0') {
        at++;
        struct piece name = piece_until(&at, "=&");
        if (*at != '=')
            return FAIL(-EINVAL, "%s: `%.*s` has no value", url, (int)name.length, name.text);
        at++;
        result = option_parse(url, name, piece_until(&at, "&"), ret_place);
    }
    return result != 0 ? result : together(url, ret_place);
}
