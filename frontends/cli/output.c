/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const struct output *output, const struct target *target)
{
    return target_complain(target, "%s: %s",
                           output->fd == STDOUT_FILENO ? "standard output" : output->path,
                           strerror(errno));
}

/* Beside the file that it becomes; only its owner may read it. */
static int open_temporary(struct output *output)
{
    const size_t size = strlen(output->path) + sizeof ".part-XXXXXX";
    char *name = malloc(size);
    if (name == NULL)
        return -1;
    snprintf(name, size, "%s.part-XXXXXX", output->path);
    output->fd = mkostemp(name, O_CLOEXEC);
    if (output->fd >= 0) {
        output->temporary = name;
        return 0;
    }
    const int error = errno;
    free(name);
    errno = error;
    return -1;
}

int output_open(struct output *output, const struct target *target, const char *path)
{
    *output = (struct output){.path = path, .fd = -1};
    if (strcmp(path, "-") == 0) {
        output->fd = STDOUT_FILENO;
        return isatty(STDOUT_FILENO) != 1
                   ? 0
                   : target_complain(target, "standard output is a terminal, which a backup would "
                                             "spoil: name a FILE, or give it to another program");
    }
    struct stat there;
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode)) {
        if ((output->fd = open(path, O_WRONLY | O_CLOEXEC)) >= 0)
            return 0;
    } else if (open_temporary(output) == 0) {
        return 0;
    }
    return fail(output, target);
}

/* The name lasts once its directory is on disk. */
static int sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash == NULL   ? strdup(".")
                      : slash == path ? strdup("/")
                                      : strndup(path, (size_t)(slash - path));
    if (directory == NULL)
        return -1;
    const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(directory);
    const int result = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0)
        close(fd);
    return result;
}

int output_finish(struct output *output, const struct target *target)
{
    if (output->temporary == NULL)
        return 0;
    if (fsync(output->fd) != 0 || rename(output->temporary, output->path) != 0)
        return fail(output, target);
    free(output->temporary);
    output->temporary = NULL;
    return sync_directory(output->path) == 0 ? 0 : fail(output, target);
}

void output_close(struct output *output)
{
    if (output->temporary != NULL)
        unlink(output->temporary);
    free(output->temporary);
    output->temporary = NULL;
    if (output->fd >= 0 && output->fd != STDOUT_FILENO)
        close(output->fd);
    output->fd = -1;
}
