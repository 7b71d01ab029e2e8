/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/identity.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/service.h"

/* A socket that was handed over. */
static const char *of_socket(int fd, char room[IDENTITY_BYTES_MAX])
{
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
        struct sockaddr_storage bytes;
    } name = {.any.sa_family = AF_UNSPEC};
    socklen_t length = sizeof name;
    char host[INET6_ADDRSTRLEN];
    if (getsockname(fd, &name.any, &length) != 0)
        return NULL;
    if (name.any.sa_family == AF_UNIX && name.local.sun_path[0] != '\0')
        snprintf(room, IDENTITY_BYTES_MAX, "unix:%s", name.local.sun_path);
    else if (name.any.sa_family == AF_INET &&
             inet_ntop(AF_INET, &name.four.sin_addr, host, sizeof host) != NULL)
        snprintf(room, IDENTITY_BYTES_MAX, "tcp:%s:%u", host, ntohs(name.four.sin_port));
    else if (name.any.sa_family == AF_INET6 &&
             inet_ntop(AF_INET6, &name.six.sin6_addr, host, sizeof host) != NULL)
        snprintf(room, IDENTITY_BYTES_MAX, "tcp:[%s]:%u", host, ntohs(name.six.sin6_port));
    else
        return NULL;
    return room;
}

/* From the root on: another process may be in another directory. */
static const char *of_path(const char *path, char room[IDENTITY_BYTES_MAX])
{
    char directory[IDENTITY_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    const size_t length = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof directory)
        return NULL;
    memcpy(directory, slash == NULL ? "." : path, length);
    directory[length] = '\0';
    char *whole = realpath(directory, NULL);
    if (whole == NULL)
        return NULL;
    const int bytes =
        snprintf(room, IDENTITY_BYTES_MAX, "unix:%s%s%s", whole, strcmp(whole, "/") == 0 ? "" : "/",
                 slash != NULL ? slash + 1 : path);
    free(whole);
    return bytes < IDENTITY_BYTES_MAX ? room : NULL;
}

static const char *of_host(const char *address, char room[IDENTITY_BYTES_MAX])
{
    const char *port = strrchr(address, ':');
    if (port == NULL || strtoul(port + 1, NULL, 10) == 0 || strlen(address) >= IDENTITY_BYTES_MAX)
        return NULL;
    snprintf(room, IDENTITY_BYTES_MAX, "%s", address);
    return room;
}

const char *identity_address(const struct settings *settings, int passed,
                             char room[IDENTITY_BYTES_MAX])
{
    static const char local[] = "unix:";
    if (passed > 0)
        return of_socket(SERVICE_SOCKET_FIRST, room);
    if (settings->socket_count == 0)
        return NULL;
    const char *first = settings->sockets[0];
    if (strncmp(first, local, sizeof local - 1) == 0)
        return of_path(first + sizeof local - 1, room);
    return of_host(first, room);
}
