/* SPDX-License-Identifier: Apache-2.0 */
/* iomesh-cli: one command, one answer. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"
#include "cli/target.h"

static int run(const struct command *command)
{
    static int (*const alone[COMMAND_NOT_BUILT])(const struct command *command) = {
        [COMMAND_POOL_INIT] = run_pool_init,       [COMMAND_POOL_CHECK] = run_pool_check,
        [COMMAND_POOL_REBUILD] = run_pool_rebuild, [COMMAND_VOLUME_EXPORT] = run_volume_export,
        [COMMAND_STORE_CHECK] = run_store_check,   [COMMAND_VOLUME_IMPORT] = run_volume_import,
    };
    static int (*const runs[COMMAND_NOT_BUILT])(struct target * target) = {
        [COMMAND_POOL_STATUS] = run_pool_status,
        [COMMAND_POOL_SCRUB] = run_pool_scrub,
        [COMMAND_POOL_SHOW] = run_pool_show,
        [COMMAND_POOL_SET] = run_pool_set,
        [COMMAND_STORE_LIST] = run_store_list,
        [COMMAND_STORE_ADD] = run_store_add,
        [COMMAND_STORE_DRAIN] = run_store_drain,
        [COMMAND_STORE_UNDRAIN] = run_store_undrain,
        [COMMAND_STORE_REMOVE] = run_store_remove,
        [COMMAND_VOLUME_CREATE] = run_volume_create,
        [COMMAND_VOLUME_LIST] = run_volume_list,
        [COMMAND_VOLUME_SHOW] = run_volume_show,
        [COMMAND_VOLUME_RESIZE] = run_volume_resize,
        [COMMAND_VOLUME_DELETE] = run_volume_delete,
        [COMMAND_VOLUME_CLONE] = run_volume_clone,
        [COMMAND_VOLUME_FLATTEN] = run_volume_flatten,
        [COMMAND_VOLUME_ABANDON] = run_volume_abandon,
        [COMMAND_SNAPSHOT_CREATE] = run_snapshot_create,
        [COMMAND_SNAPSHOT_LIST] = run_snapshot_list,
        [COMMAND_SNAPSHOT_DELETE] = run_snapshot_delete,
        [COMMAND_SNAPSHOT_ROLLBACK] = run_snapshot_rollback,
        [COMMAND_SNAPSHOT_DIFF] = run_snapshot_diff,
        [COMMAND_GROUP_CREATE] = run_group_create,
        [COMMAND_GROUP_LIST] = run_group_list,
        [COMMAND_GROUP_DELETE] = run_group_delete,
    };
    const enum command_id id = command->spec->id;
    if (alone[id] != NULL)
        return alone[id](command);
    struct target target;
    const int status = target_open(&target, command);
    return status != 0 ? status : target_close(&target, runs[id](&target));
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
