/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot create, list, delete, rollback */
#include <stdio.h>

#include "cli/listing.h"
#include "cli/snapshots.h"

static const struct flag_word snapshot_flags[] = {
    {IOMESH_SNAPSHOT_DELETING, "deleting"},
    {IOMESH_SNAPSHOT_HIDDEN, "hidden"},
    {0, NULL},
};

static json_t *info_json(const struct iomesh_snapshot_info *info)
{
    char created[TEXT_BYTES];
    json_t *value = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:s, s:i, s:o, s:o}", "volume", json_text(info->volume), "name",
        json_text(info->name), "uuid", json_uuid(info->uuid), "size_bytes",
        json_number(info->bytes), "created_ns", json_number(info->created_ns), "created",
        text_time(info->created_ns, created), "clone_count", (int)info->clone_count, "group",
        info->group[0] != '\0' ? json_text(info->group) : json_null(), "flags",
        flag_json(snapshot_flags, info->flags));
    if (value != NULL && info->flags & IOMESH_SNAPSHOT_SPACE) {
        json_object_set_new(value, "unique_bytes", json_number(info->unique_bytes));
        json_object_set_new(value, "shared_bytes", json_number(info->shared_bytes));
    }
    return value;
}

int run_snapshot_create(struct target *target)
{
    const struct command *command = target->command;
    const char *name = command->arguments[0];
    struct iomesh_snapshot_info info;
    int result = target_snapshot_create(target, name);
    if (result == 0 && command->json)
        result = target_snapshot_show(target, name, &info);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command, info_json(&info));
    printf("snapshot %s is taken\n", name);
    return 0;
}

int run_snapshot_delete(struct target *target)
{
    const struct command *command = target->command;
    const char *name = command->arguments[0];
    struct iomesh_snapshot_info info;
    int result = target_snapshot_show(target, name, &info);
    if (result == 0)
        result = target_snapshot_delete(target, name);
    if (result == 0)
        result = target_settle(target, info.volume);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command, json_pack("{s:o, s:b, s:i}", "name", json_text(name), "deleted", 1,
                                           "clone_count", (int)info.clone_count));
    if (info.clone_count > 0)
        printf("snapshot %s is deleted; its space comes back when its %u clone%s deleted or "
               "flattened\n",
               name, info.clone_count, info.clone_count == 1 ? " is" : "s are");
    else
        printf("snapshot %s is deleted%s\n", name, target_background(target));
    return 0;
}

int run_snapshot_rollback(struct target *target)
{
    const struct command *command = target->command;
    const char *name = command->arguments[0];
    struct progress progress;
    target_progress(target, &progress, "what has begun goes on when the pool is opened next");
    int result = target_snapshot_rollback(target, name, command->force ? IOMESH_ROLLBACK_FORCE : 0,
                                          progress_on, &progress);
    progress_end(&progress);
    char volume[IOMESH_NAME_BYTES_MAX + 1];
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command,
                        json_pack("{s:o, s:b}", "name", json_text(name), "rolled_back", 1));
    if (volume_of(name, volume))
        printf("volume %s is again what snapshot %s shows\n", volume, name);
    return 0;
}

/* --- list ---------------------------------------------------------------------------------- */

static void list_each(void *context, const struct iomesh_snapshot_info *info)
{
    struct listing *listing = context;
    if (listing_is_json(listing)) {
        listing_add_json(listing, info_json(info));
        return;
    }
    const bool space = (info->flags & IOMESH_SNAPSHOT_SPACE) != 0;
    char size[TEXT_BYTES];
    char own[TEXT_BYTES];
    char shared[TEXT_BYTES];
    char clones[TEXT_BYTES];
    char created[TEXT_BYTES];
    snprintf(clones, sizeof clones, "%u", info->clone_count);
    const char *const cells[] = {info->name[0] != '\0' ? info->name : "(no name)",
                                 text_size(info->bytes, size),
                                 space ? text_size(info->unique_bytes, own) : "-",
                                 space ? text_size(info->shared_bytes, shared) : "-",
                                 clones,
                                 info->group,
                                 flag_text(snapshot_flags, info->flags),
                                 text_time(info->created_ns, created)};
    listing_add(listing, cells);
}

int run_snapshot_list(struct target *target)
{
    const struct command *command = target->command;
    static const char *const head[] = {"NAME",  "SIZE",  "UNIQUE",  "SHARED", "CLONES",
                                       "GROUP", "STATE", "CREATED", NULL};
    struct listing listing;
    listing_begin(&listing, command, head, 0xfu << 1);
    int result = target_snapshot_list(target, command->arguments[0],
                                      (command->all ? IOMESH_SNAPSHOT_ALL : 0) |
                                          (command->no_space ? 0 : IOMESH_SNAPSHOT_SPACE),
                                      list_each, &listing);
    return listing_end(&listing, target, result, "snapshots",
                       json_pack("{s:o}", "volume", json_text(command->arguments[0])));
}
