/* SPDX-License-Identifier: Apache-2.0 */
/* Where a backup goes: standard output, a device, or a file that is there only once it is whole. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>

#include "cli/target.h"

struct output {
    const char *path;
    char *temporary; /* Its name until then; NULL: none. */
    int fd;
};

/* `path`: "-" is standard output. 0, or an exit status after a sentence. */
int output_open(struct output *output, const struct target *target, const char *path);
/* Whole: on disk, and under its own name. 0, or an exit status after a sentence. */
int output_finish(struct output *output, const struct target *target);
/* Leaves nothing behind unless it was finished. */
void output_close(struct output *output);

#endif
