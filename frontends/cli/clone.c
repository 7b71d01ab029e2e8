/* SPDX-License-Identifier: Apache-2.0 */
/* volume clone, flatten, abandon */
#include <stdio.h>

#include "cli/progress.h"
#include "cli/run.h"
#include "cli/snapshots.h"

int run_volume_clone(struct target *target)
{
    const struct command *command = target->command;
    const char *source = command->arguments[0];
    const char *name = command->arguments[1];
    int result = target_clone(target, source, name);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return volume_show(target, name);
    printf("volume %s is made: a clone of %s\n", name, source);
    return 0;
}

static void note_kept(void *context, const struct iomesh_snapshot_info *info)
{
    *(bool *)context |= (info->flags & IOMESH_SNAPSHOT_DELETING) == 0;
}

/* The tie is cut behind the answer, unless a snapshot needs it, perhaps one that is kept for a
 * clone: waits for that a while. */
static int show_flat(struct target *target, const char *name, struct iomesh_volume_info *ret_info,
                     bool *ret_kept)
{
    static const uint64_t look_ns = 20000000u;
    *ret_kept = false;
    int result = target_show(target, name, ret_info);
    if (result >= 0)
        result = target_snapshot_list(target, name, IOMESH_SNAPSHOT_ALL, note_kept, ret_kept);
    const unsigned most = *ret_kept ? 10 : 50;
    for (unsigned looks = 0; looks < most && result >= 0 && ret_info->parent[0] != '\0'; looks++) {
        result = iomesh_wait(target->engine, look_ns);
        if (result >= 0)
            result = target_show(target, name, ret_info);
    }
    return result < 0 ? result : 0;
}

static void tell_flat(const char *name, const struct iomesh_volume_info *info, bool kept)
{
    if (info->parent[0] == '\0')
        printf("volume %s is flat: it needs no other volume\n", name);
    else if (kept)
        printf("volume %s has a copy of its own; older snapshots of it, or their clones, still "
               "need %s\n",
               name, info->parent);
    else
        printf("volume %s has a copy of its own; its tie to %s is cut in the background\n", name,
               info->parent);
}

int run_volume_flatten(struct target *target)
{
    const struct command *command = target->command;
    const char *name = command->arguments[0];
    struct progress progress;
    struct iomesh_volume_info info = {.size = sizeof info};
    bool kept;
    target_progress(target, &progress,
                    "what was copied stays, and the same command goes on from there");
    int result = target_flatten(target, name, progress_on, &progress);
    progress_end(&progress);
    if (result == 0)
        result = show_flat(target, name, &info, &kept);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return volume_show(target, name);
    tell_flat(name, &info, kept);
    return 0;
}

int run_volume_abandon(struct target *target)
{
    const struct command *command = target->command;
    const char *name = command->arguments[0];
    struct progress progress;
    target_progress(target, &progress, "what has begun goes on when the pool is opened next");
    int result = target_import_abandon(target, name, progress_on, &progress);
    progress_end(&progress);
    struct iomesh_volume_info info = {.size = sizeof info};
    const bool kept = result == 0 && target_show(target, name, &info) == 0;
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command, json_pack("{s:o, s:b, s:b}", "name", json_text(name), "abandoned",
                                           1, "deleted", !kept));
    printf("the import of %s is given up: %s\n", name,
           kept ? "it is what it was before" : "there is no such volume any more");
    return 0;
}
