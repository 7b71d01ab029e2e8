/* SPDX-License-Identifier: Apache-2.0 */
/* iomesh-cli: one command, one answer. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"

static int run(const struct command *command)
{
    static int (*const runs[])(const struct command *command) = {
        [COMMAND_POOL_INIT] = run_pool_init,         [COMMAND_POOL_STATUS] = run_pool_status,
        [COMMAND_POOL_CHECK] = run_pool_check,       [COMMAND_POOL_SCRUB] = run_pool_scrub,
        [COMMAND_VOLUME_CREATE] = run_volume_create, [COMMAND_VOLUME_LIST] = run_volume_list,
        [COMMAND_VOLUME_SHOW] = run_volume_show,     [COMMAND_VOLUME_RESIZE] = run_volume_resize,
        [COMMAND_VOLUME_DELETE] = run_volume_delete,
    };
    return runs[command->spec->id](command);
}

int main(int argc, char **argv)
{
    static struct command command;
    enum options_outcome outcome = words_read(&command, argc, argv);
    int status = outcome == OPTIONS_EXIT_USAGE ? 2 : EXIT_SUCCESS;
    if (outcome == OPTIONS_RUN) {
        signal(SIGPIPE, SIG_IGN);
        log_setup("iomesh-cli", command.log_level, command.log_json);
        status = run(&command);
    }
    if (fflush(stdout) != 0 && status == EXIT_SUCCESS) {
        if (command.log_json)
            log_line(LOG_LEVEL_ERROR, "standard output: %s", strerror(errno));
        else
            perror("iomesh-cli: standard output");
        status = EXIT_FAILURE;
    }
    words_done(&command);
    return status;
}
