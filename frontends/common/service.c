/* SPDX-License-Identifier: Apache-2.0 */
#include "common/service.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int service_sockets(void)
{
    enum { SOCKETS_MAX = 1024 }; /* More than any program serves; it refuses what is too many. */
    const char *pid = getenv("LISTEN_PID");
    const char *count_text = getenv("LISTEN_FDS");
    int count = 0;
    if (pid != NULL && count_text != NULL && strtol(pid, NULL, 10) == (long)getpid())
        count = (int)strtol(count_text, NULL, 10);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (count < 0)
        return 0;
    if (count > SOCKETS_MAX)
        count = SOCKETS_MAX;
    for (int fd = SERVICE_SOCKET_FIRST; fd < SERVICE_SOCKET_FIRST + count; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return count;
}

void service_tell(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0'; /* An abstract address. */
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    /* A manager that went away is not our trouble. */
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, length);
    close(fd);
}

double service_watchdog_seconds(void)
{
    const char *pid = getenv("WATCHDOG_PID");
    const char *text = getenv("WATCHDOG_USEC");
    if (text == NULL || (pid != NULL && strtol(pid, NULL, 10) != (long)getpid()))
        return 0.;
    const double us = strtod(text, NULL);
    return us > 0. ? us / 1e6 / 2. : 0.;
}
