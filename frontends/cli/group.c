/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot group create, list, delete */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/listing.h"
#include "cli/snapshots.h"

int run_group_create(struct target *target)
{
    const struct command *command = target->command;
    const char *group = command->arguments[0];
    const unsigned count = command->argument_count - 1;
    int result = target_group_create(target, group, command->arguments + 1, count);
    if (result != 0)
        return target_fail(target, result);
    if (command->json) {
        json_t *volumes = json_array();
        for (unsigned i = 0; i < count; i++)
            json_array_append_new(volumes, json_text(command->arguments[1 + i]));
        return json_out(command,
                        json_pack("{s:o, s:o}", "name", json_text(group), "volumes", volumes));
    }
    printf("snapshot group %s is taken: %u volume%s at one instant\n", group, count,
           count == 1 ? "" : "s");
    return 0;
}

/* The volumes of a group, before it goes. */
struct members {
    const char *group;
    char *volumes[IOMESH_GROUP_VOLUMES_MAX];
    uint32_t count;
};

static void note_members(void *context, const struct iomesh_group_info *info)
{
    struct members *members = context;
    if (strcmp(info->name, members->group) != 0)
        return;
    for (uint32_t i = 0; i < info->volume_count && i < IOMESH_GROUP_VOLUMES_MAX; i++)
        if ((members->volumes[members->count] = strdup(info->volumes[i])) != NULL)
            members->count++;
}

static int delete_group(struct target *target, const char *group)
{
    struct members members = {.group = group};
    int result = target_group_list(target, note_members, &members);
    if (result == 0)
        result = target_group_delete(target, group);
    for (uint32_t i = 0; i < members.count; i++) {
        if (result == 0)
            result = target_settle(target, members.volumes[i]);
        free(members.volumes[i]);
    }
    return result;
}

int run_group_delete(struct target *target)
{
    const struct command *command = target->command;
    const char *group = command->arguments[0];
    int result = delete_group(target, group);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command, json_pack("{s:o, s:b}", "name", json_text(group), "deleted", 1));
    printf("snapshot group %s is deleted%s\n", group, target_background(target));
    return 0;
}

/* "a, b, c"; NULL: no memory. The caller's. */
static char *join(const struct iomesh_group_info *info)
{
    size_t size = 1;
    for (uint32_t i = 0; i < info->volume_count; i++)
        size += strlen(info->volumes[i]) + 2;
    char *text = malloc(size);
    char *end = text;
    if (text == NULL)
        return NULL;
    *end = '\0';
    for (uint32_t i = 0; i < info->volume_count; i++)
        end += snprintf(end, size - (size_t)(end - text), "%s%s", i == 0 ? "" : ", ",
                        info->volumes[i]);
    return text;
}

static void list_each(void *context, const struct iomesh_group_info *info)
{
    struct listing *listing = context;
    char created[TEXT_BYTES];
    text_time(info->created_ns, created);
    if (listing_is_json(listing)) {
        json_t *volumes = json_array();
        for (uint32_t i = 0; i < info->volume_count; i++)
            json_array_append_new(volumes, json_text(info->volumes[i]));
        listing_add_json(listing, json_pack("{s:o, s:o, s:o, s:s}", "name", json_text(info->name),
                                            "volumes", volumes, "created_ns",
                                            json_number(info->created_ns), "created", created));
        return;
    }
    char *volumes = join(info);
    if (volumes == NULL)
        listing->table.failed = 1;
    else
        listing_add(listing, (const char *const[]){info->name, created, volumes});
    free(volumes);
}

int run_group_list(struct target *target)
{
    const struct command *command = target->command;
    struct listing listing;
    listing_begin(&listing, command, (const char *const[]){"NAME", "CREATED", "VOLUMES", NULL}, 0);
    int result = target_group_list(target, list_each, &listing);
    return listing_end(&listing, target, result, "groups", NULL);
}
