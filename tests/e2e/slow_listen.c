/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To be preloaded: after a program listens it is held up, so that clients come before its next
 * step.
 */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int listen(int fd, int backlog);

int listen(int fd, int backlog)
{
    const int result = (int)syscall(SYS_listen, fd, backlog);
    const struct timespec while_clients_come = {.tv_nsec = 300000000};
    (void)nanosleep(&while_clients_come, NULL);
    return result;
}
