/* SPDX-License-Identifier: Apache-2.0 */
/* volume create, list, show, resize, delete */
#include <stdio.h>

#include "cli/listing.h"
#include "cli/snapshots.h"

static const struct flag_word volume_flags[] = {
    {IOMESH_VOLUME_INCOMPLETE, "incomplete"},
    {IOMESH_VOLUME_ROLLING_BACK, "rolling back"},
    {IOMESH_VOLUME_FLATTENED, "flattened"},
    {0, NULL},
};

/* What it was cloned from was deleted, and is kept for its clones. */
static bool parent_gone(const struct iomesh_volume_info *info)
{
    return (info->flags & IOMESH_VOLUME_PARENT_DELETED) != 0 ||
           ((info->flags & IOMESH_VOLUME_PARENT_HIDDEN) != 0 && info->parent_snapshot[0] != '\0');
}

/* "web@monday"; "(web@monday)": gone; "web": as it was once; "": it is no clone. */
static const char *shown_parent(const struct iomesh_volume_info *info,
                                char to[SNAPSHOT_NAME_BYTES + 2])
{
    const bool gone = parent_gone(info);
    snprintf(to, SNAPSHOT_NAME_BYTES + 2, "%s%s%s%s%s", gone ? "(" : "", info->parent,
             info->parent_snapshot[0] != '\0' ? "@" : "", info->parent_snapshot, gone ? ")" : "");
    return to;
}

static json_t *parent_json(const struct iomesh_volume_info *info)
{
    if (info->parent[0] == '\0')
        return json_null();
    return json_pack("{s:o, s:o, s:b, s:b}", "name", json_text(info->parent), "snapshot",
                     info->parent_snapshot[0] != '\0' ? json_text(info->parent_snapshot)
                                                      : json_null(),
                     "deleted", (info->flags & IOMESH_VOLUME_PARENT_DELETED) != 0, "hidden",
                     (info->flags & IOMESH_VOLUME_PARENT_HIDDEN) != 0);
}

static json_t *info_json(const struct iomesh_volume_info *info)
{
    char created[TEXT_BYTES];
    return json_pack("{s:o, s:o, s:o, s:i, s:o, s:s, s:i, s:i, s:o, s:o}", "name",
                     json_text(info->name), "id", json_number(info->id), "size_bytes",
                     json_number(info->bytes), "sector_bytes", (int)info->sector_bytes,
                     "created_ns", json_number(info->created_ns), "created",
                     text_time(info->created_ns, created), "open_count", (int)info->open_count,
                     "snapshot_count", (int)info->snapshot_count, "parent", parent_json(info),
                     "flags", flag_json(volume_flags, info->flags));
}

/* One volume, in full. */
static int info_print(const struct command *command, const struct iomesh_volume_info *info)
{
    if (command->json)
        return json_out(command, info_json(info));
    char size[TEXT_BYTES];
    char created[TEXT_BYTES];
    char parent[SNAPSHOT_NAME_BYTES + 2];
    printf("name       %s\n", info->name);
    printf("id         %llu\n", (unsigned long long)info->id);
    printf("size       %s (%llu bytes)\n", text_size(info->bytes, size),
           (unsigned long long)info->bytes);
    printf("sector     %u bytes\n", info->sector_bytes);
    printf("created    %s\n", text_time(info->created_ns, created));
    if (info->copies == 0)
        printf("open       %u times\n", info->open_count);
    else if (info->owner_address[0] == '\0' && info->owner_node[0] == '\0')
        printf("open       nowhere\n");
    else
        printf("open       on node %s, by %s\n", info->owner_node, info->owner_address);
    printf("snapshots  %llu\n", (unsigned long long)info->snapshot_count);
    if (info->parent[0] != '\0')
        printf("clone of   %s%s\n", shown_parent(info, parent),
               parent_gone(info) ? ": deleted, and kept for its clones" : "");
    if (info->copies > 0)
        printf("copies     %u, writes wait while fewer than %u are in sync\n", info->copies,
               info->copies_min);
    if (info->flags & IOMESH_VOLUME_INCOMPLETE)
        printf("state      incomplete: an import did not end; iomesh-cli volume abandon gives it "
               "up\n");
    else if (flag_text(volume_flags, info->flags)[0] != '\0')
        printf("state      %s\n", flag_text(volume_flags, info->flags));
    return 0;
}

/* Of a cluster: who has it open. */
static json_t *owner_json(const struct iomesh_volume_info *info)
{
    if (info->owner_address[0] == '\0' && info->owner_node[0] == '\0')
        return json_null();
    return json_pack("{s:o, s:o}", "node", json_text(info->owner_node), "address",
                     json_text(info->owner_address));
}

int volume_show(struct target *target, const char *name)
{
    struct iomesh_volume_info info = {.size = sizeof info};
    json_t *json = NULL;
    struct table table = {0};
    const bool asks = target->command->json;
    int result = target_show(target, name, &info);
    if (result == 0 && target_is_cluster(target->command))
        result = copies_of(target, name, asks ? &json : NULL, &table);
    if (result != 0)
        return target_fail(target, result);
    int status = 0;
    if (asks) {
        json_t *root = info_json(&info);
        if (root != NULL && json != NULL) {
            json_object_set_new(root, "copies", json);
            json_object_set_new(root, "owner", owner_json(&info));
        }
        status = json_out(target->command, root);
    } else {
        status = info_print(target->command, &info);
        if (table.row_count > 0)
            table_print(&table, stdout);
    }
    table_done(&table);
    return status;
}

/* What a command did, as the volume is now. */
static int show_after(struct target *target, const char *did)
{
    const struct command *command = target->command;
    struct iomesh_volume_info info = {.size = sizeof info};
    int result = target_show(target, command->arguments[0], &info);
    if (result != 0)
        return target_fail(target, result);
    char size[TEXT_BYTES];
    if (command->json)
        return info_print(command, &info);
    printf("volume %s %s: %s\n", info.name, did, text_size(info.bytes, size));
    return 0;
}

int run_volume_create(struct target *target)
{
    const struct command *command = target->command;
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    options.bytes = command->size;
    options.sector_bytes = command->sector;
    options.copies = command->copies;
    options.copies_min = command->copies_min;
    options.domain = command->domain;
    options.classes = command->classes;
    int result = target_create(target, command->arguments[0], &options);
    return result != 0 ? target_fail(target, result) : show_after(target, "is made");
}

int run_volume_resize(struct target *target)
{
    const struct command *command = target->command;
    int result = target_resize(target, command->arguments[0], command->size,
                               command->force ? IOMESH_RESIZE_FORCE : 0);
    return result != 0 ? target_fail(target, result) : show_after(target, "is resized");
}

int run_volume_delete(struct target *target)
{
    const struct command *command = target->command;
    const char *name = command->arguments[0];
    int result = target_delete(target, name);
    if (result == 0)
        result = target_settle(target, NULL);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command, json_pack("{s:o, s:b}", "name", json_text(name), "deleted", 1));
    printf("volume %s is deleted%s\n", name, target_background(target));
    return 0;
}

int run_volume_show(struct target *target)
{
    const struct command *command = target->command;
    return volume_show(target, command->arguments[0]);
}

static void list_each(void *context, const struct iomesh_volume_info *info)
{
    struct listing *listing = context;
    if (listing_is_json(listing)) {
        listing_add_json(listing, info_json(info));
        return;
    }
    char size[TEXT_BYTES];
    char created[TEXT_BYTES];
    char sector[TEXT_BYTES];
    char open[TEXT_BYTES];
    char snapshots[TEXT_BYTES];
    char parent[SNAPSHOT_NAME_BYTES + 2];
    snprintf(sector, sizeof sector, "%u", info->sector_bytes);
    snprintf(open, sizeof open, "%u", info->open_count);
    snprintf(snapshots, sizeof snapshots, "%llu", (unsigned long long)info->snapshot_count);
    const char *const cells[] = {info->name,
                                 text_size(info->bytes, size),
                                 sector,
                                 open,
                                 snapshots,
                                 shown_parent(info, parent),
                                 flag_text(volume_flags, info->flags),
                                 text_time(info->created_ns, created)};
    listing_add(listing, cells);
    if (parent_gone(info))
        listing->note = "(PARENT): deleted, and kept until its last clone is deleted or flattened";
}

int run_volume_list(struct target *target)
{
    const struct command *command = target->command;
    static const char *const head[] = {"NAME",   "SIZE",  "SECTOR",  "OPEN", "SNAPSHOTS",
                                       "PARENT", "STATE", "CREATED", NULL};
    struct listing listing;
    listing_begin(&listing, command, head, 0xfu << 1);
    int result = target_list(target, list_each, &listing);
    return listing_end(&listing, target, result, "volumes", NULL);
}
