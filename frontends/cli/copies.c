/* SPDX-License-Identifier: Apache-2.0 */
/* Where a cluster's volume is, and how each of its copies is. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <iomesh/store.h>

#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

struct place {
    uint64_t store;
    bool answers;
    char node[IOMESH_TEXT_BYTES_MAX + 1];
};

struct gathering {
    struct place *places;
    size_t count, room;
    json_t *json; /* NULL: the table. */
    struct table *table;
    uint64_t now_ns;
    bool failed;
};

static void on_store(void *context, const struct iomesh_store_info *info)
{
    struct gathering *gathering = context;
    if (gathering->count == gathering->room) {
        size_t room = 2 * gathering->room + 16;
        struct place *places = realloc(gathering->places, room * sizeof *places);
        gathering->failed = gathering->failed || places == NULL;
        if (places == NULL)
            return;
        gathering->places = places;
        gathering->room = room;
    }
    struct place *place = &gathering->places[gathering->count++];
    *place = (struct place){.store = info->id, .answers = info->answers != 0};
    memcpy(place->node, info->node, sizeof place->node);
}

static const struct place *place_of(const struct gathering *gathering, uint64_t store)
{
    static const struct place gone = {.node = "(not in the pool)"};
    for (size_t i = 0; i < gathering->count; i++) {
        if (gathering->places[i].store == store)
            return &gathering->places[i];
    }
    return &gone;
}

static json_t *copy_json(const struct gathering *gathering, const struct iomesh_copy_info *info)
{
    const struct place *place = place_of(gathering, info->store);
    return json_pack(
        "{s:i, s:o, s:o, s:b, s:s, s:s, s:o, s:i, s:o, s:o, s:o, s:o}", "group", (int)info->group,
        "store", json_number(info->store), "node", json_text(place->node), "answers",
        place->answers, "state", text_copy_state(info->state), "reason", text_reason(info->reason),
        "since_ns", info->since_ns != 0 ? json_number(info->since_ns) : json_null(), "generation",
        (int)info->generation, "copied_bytes", json_number(info->copied_bytes), "segments_done",
        json_number(info->segments_done), "segments_total", json_number(info->segments_total),
        "second_bytes", json_number(info->second_bytes));
}

/* "62 %, 3.1 GiB copied, 240 MiB a second"; "" if nothing is known. */
static void progress_text(const struct iomesh_copy_info *info, char to[3 * TEXT_BYTES])
{
    char copied[TEXT_BYTES], second[TEXT_BYTES];
    to[0] = '\0';
    if (info->segments_total == 0)
        return;
    int length = snprintf(to, 3 * TEXT_BYTES, "%" PRIu64 " %%, %s copied",
                          info->segments_done * 100 / info->segments_total,
                          text_size(info->copied_bytes, copied));
    if (info->second_bytes > 0 && length > 0)
        snprintf(to + length, 3 * TEXT_BYTES - (size_t)length, ", %s a second",
                 text_size(info->second_bytes, second));
}

static void copy_row(const struct gathering *gathering, const struct iomesh_copy_info *info)
{
    const struct place *place = place_of(gathering, info->store);
    char group[TEXT_BYTES], store[TEXT_BYTES], since[TEXT_BYTES] = "";
    char state[2 * TEXT_BYTES], node[IOMESH_TEXT_BYTES_MAX + 16];
    char progress[3 * TEXT_BYTES];
    snprintf(group, sizeof group, "%u", info->group);
    snprintf(store, sizeof store, "%" PRIu64, info->store);
    snprintf(node, sizeof node, "%s%s", place->node, place->answers ? "" : ", silent");
    snprintf(state, sizeof state, "%s%s%s", text_copy_state(info->state),
             info->reason != IOMESH_REASON_NONE ? ": " : "",
             info->reason != IOMESH_REASON_NONE ? text_reason(info->reason) : "");
    if (info->since_ns != 0 && info->since_ns <= gathering->now_ns)
        (void)text_duration(gathering->now_ns - info->since_ns, since);
    progress_text(info, progress);
    const char *const cells[] = {group, store, node, state, since, progress};
    table_add(gathering->table, cells);
}

static void on_copy(void *context, const struct iomesh_copy_info *info)
{
    struct gathering *gathering = context;
    if (gathering->json == NULL)
        copy_row(gathering, info);
    else if (json_array_append_new(gathering->json, copy_json(gathering, info)) != 0)
        gathering->failed = true;
}

int copies_of(struct target *target, const char *name, json_t **ret_json, struct table *ret_table)
{
    static const char *const head[] = {"GROUP", "STORE", "NODE", "COPY", "FOR", "PROGRESS"};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct gathering gathering = {
        .json = ret_json != NULL ? json_array() : NULL,
        .table = ret_table,
        .now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
    };
    *ret_table = (struct table){.column_count = sizeof head / sizeof *head, .right = 3u};
    if (ret_json == NULL)
        table_add(ret_table, head);
    int result = iomesh_store_list_sync(target->pool, on_store, &gathering);
    if (result == 0)
        result = iomesh_volume_copies_sync(target->pool, name, on_copy, &gathering);
    if (result == 0 && (gathering.failed || ret_table->failed))
        result = -ENOMEM;
    free(gathering.places);
    if (result != 0) {
        json_decref(gathering.json);
        table_done(ret_table);
    } else if (ret_json != NULL) {
        *ret_json = gathering.json;
    }
    return result;
}
