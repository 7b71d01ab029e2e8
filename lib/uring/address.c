/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as people write them. */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uring/stream.h"

static int address_parse_unix(const char *path, struct stream_address *address)
{
    struct sockaddr_un *name = (struct sockaddr_un *)&address->bytes;
    size_t length = strlen(path);
    if (length == 0)
        return FAIL(-EINVAL, "unix: needs a path behind it");
    if (length >= sizeof name->sun_path)
        return FAIL(-ENAMETOOLONG, "unix:%s: a socket's path has at most %zu bytes", path,
                    sizeof name->sun_path - 1);
    name->sun_family = AF_UNIX;
    memcpy(name->sun_path, path, length + 1);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    address->is_unix = true;
    (void)snprintf(address->text, sizeof address->text, "unix:%s", path);
    return 0;
}

/* "HOST:PORT" or "[HOST]:PORT" taken apart. */
static int address_split(const char *text, char *ret_host, size_t host_size, char *ret_port,
                         size_t port_size)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0')
        return FAIL(-EINVAL, "tcp:%s: say tcp:HOST:PORT", text);
    const char *host = text;
    size_t host_length = (size_t)(colon - text);
    if (host_length >= 2 && text[0] == '[' && colon[-1] == ']') {
        host++;
        host_length -= 2;
    } else if (memchr(host, ':', host_length) != NULL) {
        return FAIL(-EINVAL, "tcp:%s: put an IPv6 address in brackets, tcp:[HOST]:PORT", text);
    }
    if (host_length >= host_size || strlen(colon + 1) >= port_size)
        return FAIL(-EINVAL, "tcp:%s: too long", text);
    memcpy(ret_host, host, host_length);
    ret_host[host_length] = '\0';
    /* getaddrinfo() takes any number and keeps its low 16 bits. */
    char *end;
    if (strtoul(colon + 1, &end, 10) > UINT16_MAX && *end == '\0')
        return FAIL(-EINVAL, "tcp:%s: a port is at most 65535", text);
    (void)snprintf(ret_port, port_size, "%s", colon + 1);
    return 0;
}

static int address_parse_tcp(const char *text, int flags, struct stream_address *address)
{
    char host[128];
    char port[32];
    int result = address_split(text, host, sizeof host, port, sizeof port);
    if (result != 0)
        return result;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (error == EAI_NONAME && (flags & AI_NUMERICHOST))
        return -ENOENT;
    if (error == EAI_SYSTEM)
        return FAIL(-errno, "tcp:%s: %s", text, strerror(errno));
    if (error != 0)
        return FAIL(error == EAI_MEMORY ? -ENOMEM : -EINVAL, "tcp:%s: %s", text,
                    gai_strerror(error));
    memcpy(&address->bytes, found->ai_addr, found->ai_addrlen);
    address->length = found->ai_addrlen;
    freeaddrinfo(found);
    address_name((const struct sockaddr *)&address->bytes, address->length, address->text);
    return 0;
}

static int address_parse_any(const char *text, int flags, struct stream_address *ret_address)
{
    *ret_address = (struct stream_address){0};
    if (strncmp(text, "unix:", 5) == 0)
        return address_parse_unix(text + 5, ret_address);
    if (strncmp(text, "tcp:", 4) == 0)
        return address_parse_tcp(text + 4, flags, ret_address);
    return FAIL(-EINVAL, "%s: an address is unix:PATH or tcp:HOST:PORT%s", text,
                flags & AI_PASSIVE ? ", or fd:NUMBER for a socket that was given" : "");
}

int address_parse(const char *text, bool passive, struct stream_address *ret_address)
{
    return address_parse_any(text, passive ? AI_PASSIVE : 0, ret_address);
}

int address_parse_numeric(const char *text, bool passive, struct stream_address *ret_address)
{
    return address_parse_any(text, AI_NUMERICHOST | (passive ? AI_PASSIVE : 0), ret_address);
}

void address_name(const struct sockaddr *address, socklen_t length,
                  char ret_text[STREAM_NAME_BYTES])
{
    char host[100];
    char port[16];
    if (address->sa_family == AF_UNIX) {
        const struct sockaddr_un *name = (const struct sockaddr_un *)address;
        bool named = length > offsetof(struct sockaddr_un, sun_path) && name->sun_path[0] != '\0';
        (void)snprintf(ret_text, STREAM_NAME_BYTES, "unix:%.108s", named ? name->sun_path : "");
        return;
    }
    if (getnameinfo(address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        (void)snprintf(ret_text, STREAM_NAME_BYTES, "unknown");
        return;
    }
    bool six = address->sa_family == AF_INET6;
    (void)snprintf(ret_text, STREAM_NAME_BYTES, "tcp:%s%s%s:%s", six ? "[" : "", host,
                   six ? "]" : "", port);
}
