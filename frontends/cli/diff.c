/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot diff */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"
#include "cli/snapshots.h"

enum { EXTENTS_MAX = 4096 };

struct telling {
    const struct command *command;
    struct iomesh_extent *extents; /* EXTENTS_MAX */
    uint64_t offset, length;       /* Of the range that is not told yet. */
    bool told;                     /* One was. */
};

static void tell(struct telling *telling)
{
    if (telling->length == 0)
        return;
    if (telling->command->json)
        printf("%s  {\"offset\": %" PRIu64 ", \"length\": %" PRIu64 "}",
               telling->told ? ",\n" : "\n", telling->offset, telling->length);
    else
        printf("%20" PRIu64 " %20" PRIu64 "\n", telling->offset, telling->length);
    telling->told = true;
    telling->length = 0;
}

/* Neighbours that differ in what is there now are one range. */
static void add(struct telling *telling, uint64_t offset, uint64_t length)
{
    if (telling->length > 0 && telling->offset + telling->length == offset) {
        telling->length += length;
        return;
    }
    tell(telling);
    telling->offset = offset;
    telling->length = length;
}

static int walk(struct telling *telling, struct iomesh_volume *volume, uint64_t since)
{
    const uint64_t bytes = iomesh_volume_bytes(volume);
    for (uint64_t offset = 0; offset < bytes;) {
        const int count = iomesh_changed_sync(volume, since, offset, bytes - offset,
                                              telling->extents, EXTENTS_MAX);
        if (count <= 0)
            return count;
        for (int i = 0; i < count; i++) {
            if (telling->extents[i].flags & IOMESH_EXTENT_CHANGED)
                add(telling, offset, telling->extents[i].bytes);
            offset += telling->extents[i].bytes;
        }
    }
    tell(telling);
    return 0;
}

/* The list is printed as it is found, however long it is. */
static int print(struct target *target, const char *name, uint64_t since)
{
    struct telling telling = {.command = target->command,
                              .extents = calloc(EXTENTS_MAX, sizeof(struct iomesh_extent))};
    if (telling.extents == NULL)
        return target_fail(target, -ENOMEM);
    struct iomesh_volume *volume = NULL;
    int result = target_volume_open(target, name, IOMESH_VOLUME_READ_ONLY, &volume);
    if (result == 0) {
        fputs(target->command->json ? "[" : "              OFFSET               LENGTH\n", stdout);
        result = walk(&telling, volume, since);
        if (result == 0 && target->command->json)
            puts(telling.told ? "\n]" : "]");
    }
    int status = result == 0 ? 0 : target_fail(target, result);
    result = iomesh_volume_close_sync(volume);
    if (result != 0 && status == 0)
        status = target_fail(target, result);
    free(telling.extents);
    if (status == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        status = target_complain(target, "standard output: %s", strerror(errno));
    return status;
}

int run_snapshot_diff(struct target *target)
{
    const char *from = target->command->arguments[0];
    const char *to = target->command->arguments[1];
    struct iomesh_snapshot_info older;
    struct iomesh_snapshot_info newer;
    int result = target_snapshot_show(target, from, &older);
    if (result == 0 && strchr(to, '@') != NULL) {
        result = target_snapshot_show(target, to, &newer);
        if (result == 0 && newer.cut <= older.cut)
            return target_complain(target, "%s is no older than %s: give the older one first", from,
                                   to);
    }
    return result != 0 ? target_fail(target, result) : print(target, to, older.cut);
}
