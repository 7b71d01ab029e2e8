/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the lists. Volumes, their maps and their groups are in the same order: three cursors go
 * through them side by side, and only the pages at hand are in memory.
 */
#include <stdlib.h>
#include <string.h>

#include "keeper/survey_inside.h"

enum { LIST_VOLUMES, LIST_MAPS, LIST_GROUPS, LIST_FIRST };

static void survey_go_on(struct survey *survey);

/* --- Pages ------------------------------------------------------------------------------------ */

static void cursor_read(struct meta_request *request, int result)
{
    struct survey_cursor *cursor = CONTAINER_OF(request, struct survey_cursor, request);
    struct survey *survey = cursor->survey;
    cursor->flying = false;
    cursor->at = 0;
    if (result == 0 && survey->stopped)
        result = -ECANCELED;
    if (result == 0) {
        const struct meta_response *response = &request->responses[0];
        uint32_t count = response->entry_count;
        cursor->ended = !response->more || count == 0;
        const struct meta_slice *last = count == 0 ? NULL : &response->entries[count - 1].key;
        if (last != NULL && last->length > sizeof cursor->after.bytes)
            result = IOMESH_CORRUPT;
        if (last != NULL && result == 0) {
            memcpy(cursor->after.bytes, last->data, last->length);
            cursor->after.length = last->length;
        }
    }
    if (result != 0)
        survey_end(survey, result);
    else
        survey_go_on(survey);
}

static int cursor_page(struct survey_cursor *cursor)
{
    struct metadata_key prefix = metadata_prefix(cursor->kind);
    meta_request_reset(&cursor->request);
    meta_list(&cursor->request, META_SLICE(prefix), META_SLICE(cursor->after),
              META_LIST_ENTRIES_MAX);
    cursor->began = true;
    int result = meta_commit(cursor->survey->options.meta, &cursor->request, cursor_read);
    cursor->flying = result == 0;
    return result;
}

static void cursor_begin(struct survey *survey, unsigned list, enum metadata_kind kind)
{
    struct survey_cursor *cursor = &survey->lists[list];
    cursor->survey = survey;
    cursor->kind = kind;
    cursor->after.length = 0;
    cursor->at = 0;
    cursor->began = cursor->ended = false;
}

/* The next entry; NULL: there is none, or a page is on its way (flying), or `result` says why. */
static const struct meta_entry *cursor_peek(struct survey_cursor *cursor, int *result)
{
    const struct meta_response *response = &cursor->request.responses[0];
    if (cursor->began && cursor->at < response->entry_count)
        return &response->entries[cursor->at];
    if (!cursor->began || !cursor->ended)
        *result = cursor_page(cursor);
    return NULL;
}

/* --- Volumes ---------------------------------------------------------------------------------- */

static int volume_take(struct survey *survey, const struct meta_entry *entry)
{
    metadata_volume_done(&survey->volume);
    survey->volume.id = 0;
    memset(survey->sizes, 0, survey->size_count * sizeof *survey->sizes);
    survey->size_count = 0;
    survey->volume_told = false;
    int result = metadata_volume_decode(entry->value.data, entry->value.length, &survey->volume);
    if (result == -ENOMEM)
        return result;
    if (result != 0)
        survey->volume = (struct metadata_volume){0}; /* catalog_check() tells of it. */
    return 0;
}

static int volume_tell(struct survey *survey)
{
    const struct metadata_volume *record = &survey->volume;
    struct plan_volume volume = {
        .id = record->id,
        .state = record->state,
        .owned = record->owner_session != 0 && !record->owner_yields &&
                 survey_lives(survey, record->owner_session),
        .policy = record->policy,
        .groups = survey->size_count,
    };
    survey->volume_told = true;
    survey->volumes++;
    plan_volume(survey->plan, &volume);
    bool idle = !volume.owned && record->state != METADATA_VOLUME_DELETING;
    return idle ? survey_idle_add(survey, record->id) : 0;
}

/* The number that an entry is of; what is no key of ours is passed over. */
static uint64_t entry_volume(const struct meta_entry *entry)
{
    struct metadata_key_parts parts;
    bool ours = metadata_key_parse(entry->key.data, entry->key.length, &parts) == 0;
    return ours ? parts.id : 0;
}

static int map_tell(struct survey *survey, const struct meta_entry *entry)
{
    struct metadata_map *map = calloc(1, sizeof *map);
    if (map == NULL)
        return -ENOMEM;
    int result = metadata_map_decode(entry->value.data, entry->value.length, map);
    for (uint32_t i = 0; result == 0 && i < map->segment_count; i++)
        survey->size_count = MAX(survey->size_count, (uint32_t)map->groups[i] + 1);
    if (result == 0)
        (void)place_map_sizes(map, survey->sizes, SURVEY_GROUPS_MAX);
    metadata_map_done(map);
    free(map);
    return result == -ENOMEM ? result : 0;
}

static int group_tell(struct survey *survey, const struct meta_entry *entry)
{
    struct metadata_group group;
    int result = metadata_group_decode(entry->value.data, entry->value.length, &group);
    if (result != 0)
        return result == -ENOMEM ? result : 0;
    survey_group(survey, &group);
    metadata_group_done(&group);
    return 0;
}

/* Entries of the volume at hand, those before it passed over. True: that is all of them. */
static bool list_tell(struct survey *survey, unsigned list,
                      int (*tell)(struct survey *, const struct meta_entry *), int *result)
{
    struct survey_cursor *cursor = &survey->lists[list];
    for (;;) {
        const struct meta_entry *entry = cursor_peek(cursor, result);
        if (entry == NULL)
            return *result == 0 && !cursor->flying;
        uint64_t volume = entry_volume(entry);
        if (volume > survey->volume.id)
            return true;
        cursor->at++;
        if (volume == survey->volume.id && volume != 0)
            *result = tell(survey, entry);
        if (*result != 0)
            return false;
    }
}

/* True: the next volume; else a page is waited for, or it is over. */
static bool volume_go_on(struct survey *survey, int *result, bool *over)
{
    struct survey_cursor *volumes = &survey->lists[LIST_VOLUMES];
    if (survey->volume.id == 0) {
        const struct meta_entry *entry = cursor_peek(volumes, result);
        *over = entry == NULL && *result == 0 && !volumes->flying;
        if (entry == NULL)
            return false;
        volumes->at++;
        *result = volume_take(survey, entry);
        return *result == 0;
    }
    if (!survey->volume_told) {
        if (!list_tell(survey, LIST_MAPS, map_tell, result))
            return false;
        *result = volume_tell(survey);
        if (*result != 0)
            return false;
    }
    if (!list_tell(survey, LIST_GROUPS, group_tell, result))
        return false;
    metadata_volume_done(&survey->volume);
    survey->volume.id = 0;
    return true;
}

static void volumes_go_on(struct survey *survey)
{
    int result = 0;
    bool over = false;
    while (volume_go_on(survey, &result, &over))
        ;
    if (result != 0 || over)
        survey_end(survey, result);
}

/* --- What comes before ------------------------------------------------------------------------ */

static const struct {
    enum metadata_kind kind;
    int (*tell)(struct survey *, const struct meta_entry *);
} firsts[] = {
    {METADATA_SESSION, survey_session},
    {METADATA_WISH, survey_wish},
    {METADATA_PROGRESS, survey_progress},
};

static int firsts_go_on(struct survey *survey)
{
    struct survey_cursor *cursor = &survey->lists[LIST_FIRST];
    int result = 0;
    for (unsigned i = 0; i < COUNT_OF(firsts); i++) {
        if (cursor->kind != firsts[i].kind)
            continue;
        const struct meta_entry *entry;
        while ((entry = cursor_peek(cursor, &result)) != NULL && result == 0) {
            cursor->at++;
            result = firsts[i].tell(survey, entry);
        }
        if (result != 0 || cursor->flying)
            return result;
        cursor_begin(survey, LIST_FIRST,
                     i + 1 < COUNT_OF(firsts) ? firsts[i + 1].kind : METADATA_VOLUME);
    }
    return survey_plan(survey);
}

static void survey_go_on(struct survey *survey)
{
    if (survey->plan == NULL) {
        int result = firsts_go_on(survey);
        if (result != 0)
            survey_end(survey, result);
        if (result != 0 || survey->plan == NULL)
            return;
    }
    volumes_go_on(survey);
}

static void cluster_read(struct meta_request *request, int result)
{
    struct survey_cursor *cursor = CONTAINER_OF(request, struct survey_cursor, request);
    struct survey *survey = cursor->survey;
    if (result == 0 && survey->stopped)
        result = -ECANCELED;
    if (result == 0 && request->responses[0].entry_count == 0)
        result = -ENOENT;
    if (result == 0) {
        const struct meta_slice *value = &request->responses[0].entries[0].value;
        metadata_cluster_done(&survey->cluster);
        result = metadata_cluster_decode(value->data, value->length, &survey->cluster);
    }
    if (result != 0) {
        survey_end(survey, result);
        return;
    }
    cursor_begin(survey, LIST_FIRST, firsts[0].kind);
    survey_go_on(survey);
}

int survey_start(struct survey *survey, void (*done)(struct survey *survey, int result))
{
    assert(!survey->running);
    struct metadata_key key = metadata_cluster_key();
    if (survey->sizes == NULL)
        survey->sizes = calloc(SURVEY_GROUPS_MAX, sizeof *survey->sizes);
    if (survey->sizes == NULL)
        return -ENOMEM;
    plan_close(survey->plan);
    survey->plan = NULL;
    survey->wish_count = survey->idle_count = survey->session_count = survey->progress_count = 0;
    survey->volumes = survey->groups = 0;
    survey->stopped = false;
    survey->began_ns = clock_now_ns(survey->options.clock);
    survey->done = done;
    cursor_begin(survey, LIST_VOLUMES, METADATA_VOLUME);
    cursor_begin(survey, LIST_MAPS, METADATA_MAP);
    cursor_begin(survey, LIST_GROUPS, METADATA_GROUP);
    cursor_begin(survey, LIST_FIRST, METADATA_CLUSTER);
    struct meta_request *request = &survey->lists[LIST_FIRST].request;
    meta_request_reset(request);
    meta_get(request, META_SLICE(key));
    int result = meta_commit(survey->options.meta, request, cluster_read);
    survey->running = result == 0;
    return result;
}
