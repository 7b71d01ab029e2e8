/* SPDX-License-Identifier: Apache-2.0 */
/* Why there is no ring: one sentence that names the cause and what to do. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "uring/ring.h"

/* A small number in a file below /proc; -1 if it is not there. */
static int refuse_read_number(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    char text[16] = "";
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    char *end = NULL;
    long number = strtol(text, &end, 10);
    return length > 0 && end != text ? (int)number : -1;
}

/* Whether a seccomp filter is on this process: containers bring one. */
static bool refuse_filtered(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    if (status == NULL)
        return false;
    char line[128];
    bool filtered = false;
    while (fgets(line, sizeof line, status) != NULL)
        filtered = filtered || strcmp(line, "Seccomp:\t2\n") == 0;
    (void)fclose(status);
    return filtered;
}

int uring_refused(int code)
{
    int disabled = refuse_read_number("/proc/sys/kernel/io_uring_disabled");
    struct utsname kernel = {.release = "?"};
    (void)uname(&kernel);
    if (code == -EPERM && disabled == 2)
        return FAIL(code, "io_uring is switched off on this machine: sysctl "
                          "kernel.io_uring_disabled is 2; set it to 0");
    if (code == -EPERM && disabled == 1)
        return FAIL(code, "io_uring is kept for privileged processes on this machine: sysctl "
                          "kernel.io_uring_disabled is 1; set it to 0, or put this user's group in "
                          "kernel.io_uring_group");
    if ((code == -EPERM || code == -ENOSYS || code == -EACCES) && refuse_filtered())
        return FAIL(code, "a seccomp filter, as containers have one, refuses io_uring to this "
                          "process: allow io_uring_setup, io_uring_enter and io_uring_register in "
                          "its profile");
    if (code == -EPERM || code == -EACCES)
        return FAIL(code,
                    "the system refuses io_uring to this process (%s): look at its security "
                    "policy (SELinux, AppArmor, a container's profile)",
                    strerror(-code));
    if (code == -ENOSYS)
        return FAIL(code,
                    "kernel %s has no io_uring: Linux 6.1 or later is needed, built with "
                    "CONFIG_IO_URING",
                    kernel.release);
    if (code == -EINVAL || code == -ENOTSUP)
        return FAIL(-ENOTSUP,
                    "kernel %s lacks features of io_uring that are needed: Linux 6.1 or "
                    "later is",
                    kernel.release);
    if (code == -ENOMEM)
        return FAIL(code, "no memory for a ring: raise the limit of locked memory (ulimit -l, "
                          "LimitMEMLOCK) or free some");
    return FAIL(code, "io_uring could not be set up: %s", strerror(-code));
}
