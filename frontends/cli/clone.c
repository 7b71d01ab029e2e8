/* SPDX-License-Identifier: Apache-2.0 */
/* volume clone, flatten, abandon */
#include <errno.h>
#include <stdio.h>

#include "cli/progress.h"
#include "cli/run.h"
#include "cli/snapshots.h"

int run_volume_clone(const struct command *command)
{
    struct target target;
    int status = target_open(&target, command);
    if (status != 0)
        return status;
    const char *source = command->arguments[0];
    const char *name = command->arguments[1];
    int result = target_clone(&target, source, name);
    if (result != 0)
        status = target_fail(&target, result);
    else if (command->json)
        status = volume_show(&target, name);
    else
        printf("volume %s is made: a clone of %s\n", name, source);
    return target_close(&target, status);
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    progress_tell(context, done, total);
}

/* The tie is cut behind the answer, unless a snapshot needs it: waits for that a while. */
static int show_flat(struct target *target, const char *name, struct iomesh_volume_info *ret_info)
{
    static const uint64_t look_ns = 20000000u;
    int result = target_show(target, name, ret_info);
    for (unsigned looks = 0; looks < 50 && result >= 0; looks++) {
        if (ret_info->parent[0] == '\0' || ret_info->snapshot_count > 0)
            break;
        result = iomesh_wait(target->engine, look_ns);
        if (result >= 0)
            result = target_show(target, name, ret_info);
    }
    return result < 0 ? result : 0;
}

int run_volume_flatten(const struct command *command)
{
    struct target target;
    int status = target_open(&target, command);
    if (status != 0)
        return status;
    const char *name = command->arguments[0];
    struct progress progress;
    struct iomesh_volume_info info = {.size = sizeof info};
    progress_begin(&progress, "volume flatten");
    int result = target_flatten(&target, name, on_progress, &progress);
    progress_end(&progress);
    if (result == 0)
        result = show_flat(&target, name, &info);
    if (result != 0)
        status = target_fail(&target, result);
    else if (command->json)
        status = volume_show(&target, name);
    else if (info.parent[0] == '\0' || info.snapshot_count == 0)
        printf("volume %s is flat: it needs no other volume\n", name);
    else
        printf("volume %s has a copy of its own; its older snapshots still need its parent\n",
               name);
    return target_close(&target, status);
}

int run_volume_abandon(const struct command *command)
{
    struct target target;
    int status = target_open(&target, command);
    if (status != 0)
        return status;
    const char *name = command->arguments[0];
    struct progress progress;
    progress_begin(&progress, "volume abandon");
    int result = target_import_abandon(&target, name, on_progress, &progress);
    progress_end(&progress);
    struct iomesh_volume_info info = {.size = sizeof info};
    const bool kept = result == 0 && target_show(&target, name, &info) == 0;
    if (result != 0)
        status = target_fail(&target, result);
    else if (command->json)
        status = json_out(command, json_pack("{s:o, s:b, s:b}", "name", json_text(name),
                                             "abandoned", 1, "deleted", !kept));
    else
        printf("the import of %s is given up: %s\n", name,
               kept ? "it is what it was before" : "there is no such volume any more");
    return target_close(&target, status);
}
