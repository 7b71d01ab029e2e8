/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of the metadata held against each other.
 *
 *   counter ──▶ a page of volumes ──▶ the names that they should have ──┐
 *                 ▲                                                      │ more
 *                 ├──────────────────────────────────────────────────────┘
 *                 └──▶ a page of names ──▶ the volumes that they should mean ──▶ ... ──┐
 *                                                                                      │
 *                  the volumes and groups that have them ◀── a page of snapshots ◀────┘
 *                       │
 *                       └──▶ a page of groups ──▶ the snapshots that are theirs ──▶ ... ──▶ done
 *
 * Each record was whole, by itself, when it was read; here it is asked whether they agree. What a
 * crash leaves always does: a volume and its name change in one transaction.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

#define PAGE META_OPS_MAX /* A transaction reads so many records. */

enum look_at { LOOK_VOLUMES, LOOK_NAMES, LOOK_SNAPSHOTS, LOOK_GROUPS };

/* One of a page, waiting for its other half. */
struct half {
    uint64_t id;
    uint64_t cut;
    char name[CATALOG_NAME_BYTES_MAX + 1];
    char group[CATALOG_NAME_BYTES_MAX + 1]; /* "": of none. */
};

/* A clone, and what it reads from. */
struct tie {
    uint64_t clone, volume, cut;
    bool found;
};

struct pool_check {
    struct meta *meta;
    struct catalog_check options;
    struct meta_request request;
    uint64_t ids_end; /* Every number that was given out is below. */
    enum look_at at;
    struct metadata_key after;
    bool more;
    struct tie *ties; /* As many as there are clones. */
    uint32_t tie_count, tie_capacity;
    uint32_t half_count;
    struct half halves[PAGE];
};

static struct pool_check *check_of(struct meta_request *request)
{
    return CONTAINER_OF(request, struct pool_check, request);
}

static void check_fault(struct pool_check *check, uint64_t volume, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void check_fault(struct pool_check *check, uint64_t volume, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    check->options.fault(check->options.context, volume, text);
}

static void check_end(struct pool_check *check, int result)
{
    struct catalog_check options = check->options;
    for (uint32_t i = 0; i < check->tie_count && result == 0; i++) {
        const struct tie *tie = &check->ties[i];
        if (!tie->found)
            check_fault(check, tie->clone,
                        "volume %llu is a clone of volume %llu at cut %llu, of which there is no "
                        "record",
                        (unsigned long long)tie->clone, (unsigned long long)tie->volume,
                        (unsigned long long)tie->cut);
    }
    meta_request_done(&check->request);
    free(check->ties);
    free(check);
    options.done(options.context, result);
}

static void check_commit(struct pool_check *check, meta_done_fn *done)
{
    int result = meta_commit(check->meta, &check->request, done);
    if (result != 0)
        check_end(check, result);
}

static void check_page(struct pool_check *check);

static void check_next(struct pool_check *check)
{
    if (check->more) {
        check_page(check);
        return;
    }
    if (check->at == LOOK_GROUPS) {
        check_end(check, 0);
        return;
    }
    check->at++;
    check->after.length = 0;
    check_page(check);
}

/* --- Volumes, and the names that they should have ------------------------------------------- */

/* The volume by itself. Its name is of use if it is true. */
static bool volume_sound(struct pool_check *check, const struct metadata_volume *record)
{
    uint64_t id = record->id;
    if (id == 0 || id >= check->ids_end)
        check_fault(check, id, "volume %llu: its number was never given out",
                    (unsigned long long)id);
    if (record->sector_bytes != 512 && record->sector_bytes != BLOCK_BYTES)
        check_fault(check, id, "volume %llu: its sector has %u bytes", (unsigned long long)id,
                    record->sector_bytes);
    if (catalog_check_name(record->name) != 0 ||
        catalog_check_size(record->name, record->bytes) != 0) {
        check_fault(check, id, "volume %llu: %s", (unsigned long long)id, base_last_error());
        return false;
    }
    return true;
}

static int tie_add(struct pool_check *check, const struct metadata_volume *record)
{
    if (check->tie_count == check->tie_capacity) {
        uint32_t capacity = MAX(2 * check->tie_capacity, 64u);
        struct tie *ties = realloc(check->ties, capacity * sizeof *ties);
        if (ties == NULL)
            return -ENOMEM;
        check->ties = ties;
        check->tie_capacity = capacity;
    }
    check->ties[check->tie_count++] = (struct tie){
        .clone = record->id, .volume = record->parent_volume, .cut = record->parent_cut};
    return 0;
}

static void volume_take(struct pool_check *check, const struct meta_entry *entry)
{
    struct metadata_volume record = {0};
    struct metadata_key_parts parts = {0};
    int result = metadata_key_parse(entry->key.data, entry->key.length, &parts);
    if (result == 0)
        result = metadata_volume_decode(entry->value.data, entry->value.length, &record);
    if (result != 0 || record.id != parts.id) {
        check_fault(check, parts.id, "the record of volume %llu: %s", (unsigned long long)parts.id,
                    result != 0 ? base_error_text(result) : "is another volume's");
    } else {
        bool sound = volume_sound(check, &record);
        if (record.parent_volume != 0 && tie_add(check, &record) != 0)
            check_fault(check, record.id, "volume %llu: no memory to look for its parent",
                        (unsigned long long)record.id);
        if (sound && record.state == METADATA_VOLUME_LIVE) {
            struct half *half = &check->halves[check->half_count++];
            half->id = record.id;
            memcpy(half->name, record.name, sizeof half->name);
        }
        check->options.volume(check->options.context, record.id, record.epoch > 0);
    }
    metadata_volume_done(&record);
}

static void names_read(struct meta_request *request, int result)
{
    struct pool_check *check = check_of(request);
    for (uint32_t i = 0; i < check->half_count && result == 0; i++) {
        const struct half *half = &check->halves[i];
        const struct meta_response *response = &request->responses[i];
        struct metadata_name name = {0};
        bool there = response->entry_count > 0 &&
                     metadata_name_decode(response->entries[0].value.data,
                                          response->entries[0].value.length, &name) == 0;
        if (!there || name.volume != half->id)
            check_fault(check, half->id, "volume %llu is called \"%s\", but that name %s",
                        (unsigned long long)half->id, half->name,
                        there ? "is another volume's" : "is nobody's");
        metadata_name_done(&name);
    }
    if (result != 0)
        check_end(check, result);
    else
        check_next(check);
}

/* --- Names, and the volumes that they should mean ------------------------------------------- */

static void name_take(struct pool_check *check, const struct meta_entry *entry)
{
    struct metadata_key_parts parts = {0};
    struct metadata_name name = {0};
    struct half *half = &check->halves[check->half_count];
    int result = metadata_key_parse(entry->key.data, entry->key.length, &parts);
    if (result == 0)
        result = metadata_name_decode(entry->value.data, entry->value.length, &name);
    if (result == 0 && parts.name_length > CATALOG_NAME_BYTES_MAX)
        result = IOMESH_CORRUPT;
    if (result != 0) {
        check_fault(check, 0, "the record of a name: %s", base_error_text(result));
    } else {
        half->id = name.volume;
        memcpy(half->name, parts.name, parts.name_length);
        half->name[parts.name_length] = '\0';
        check->half_count++;
    }
    metadata_name_done(&name);
}

static void volumes_read(struct meta_request *request, int result)
{
    struct pool_check *check = check_of(request);
    for (uint32_t i = 0; i < check->half_count && result == 0; i++) {
        const struct half *half = &check->halves[i];
        const struct meta_response *response = &request->responses[i];
        struct metadata_volume record = {0};
        bool there = response->entry_count > 0 &&
                     metadata_volume_decode(response->entries[0].value.data,
                                            response->entries[0].value.length, &record) == 0;
        const char *wrong = NULL;
        if (!there)
            wrong = "has no record";
        else if (record.state != METADATA_VOLUME_LIVE)
            wrong = "was deleted";
        else if (strcmp(record.name, half->name) != 0)
            wrong = "has another name";
        if (wrong != NULL)
            check_fault(check, half->id, "the name \"%s\" means volume %llu, which %s", half->name,
                        (unsigned long long)half->id, wrong);
        metadata_volume_done(&record);
    }
    if (result != 0)
        check_end(check, result);
    else
        check_next(check);
}

/* --- Snapshots, and the volumes that have them ------------------------------------------------ */

static void snapshot_sound(struct pool_check *check, const struct metadata_snapshot *record)
{
    uint32_t clones = 0;
    for (uint32_t i = 0; i < check->tie_count; i++) {
        struct tie *tie = &check->ties[i];
        if (tie->volume != record->volume || tie->cut != record->cut)
            continue;
        tie->found = true;
        clones++;
    }
    if (clones != record->clones)
        check_fault(check, record->volume,
                    "snapshot \"%s\" of volume %llu says that it has %u clones, but there are %u",
                    record->name, (unsigned long long)record->volume, record->clones, clones);
    else if (clones > 0 && record->state == METADATA_SNAPSHOT_DELETING)
        check_fault(check, record->volume,
                    "snapshot \"%s\" of volume %llu is being deleted, but %u clones need it",
                    record->name, (unsigned long long)record->volume, clones);
}

static void snapshot_take(struct pool_check *check, const struct meta_entry *entry)
{
    struct metadata_key_parts parts = {0};
    struct metadata_snapshot record = {0};
    struct half *half = &check->halves[check->half_count];
    int result = metadata_key_parse(entry->key.data, entry->key.length, &parts);
    if (result == 0)
        result = metadata_snapshot_decode(entry->value.data, entry->value.length, &record);
    if (result == 0 && (record.volume != parts.id || record.cut != parts.index))
        result = IOMESH_CORRUPT;
    if (result != 0) {
        check_fault(check, parts.id, "the record of a snapshot of volume %llu: %s",
                    (unsigned long long)parts.id, base_error_text(result));
    } else {
        snapshot_sound(check, &record);
        half->id = record.volume;
        half->cut = record.cut;
        memcpy(half->name, record.name, sizeof half->name);
        memcpy(half->group, record.group, sizeof half->group);
        /* One that goes, or that only its clones keep, is of no group any more. */
        if (record.state != METADATA_SNAPSHOT_LIVE)
            half->group[0] = '\0';
        check->half_count++;
    }
    metadata_snapshot_done(&record);
}

/* Whether the group that a snapshot names has it. */
static void group_has(struct pool_check *check, const struct half *half,
                      const struct meta_response *response)
{
    struct metadata_together together = {0};
    bool named = false;
    bool there = response->entry_count > 0 &&
                 metadata_together_decode(response->entries[0].value.data,
                                          response->entries[0].value.length, &together) == 0;
    for (uint32_t i = 0; there && i < together.part_count; i++)
        named =
            named || (together.parts[i].volume == half->id && together.parts[i].cut == half->cut);
    if (!named)
        check_fault(check, half->id,
                    "snapshot \"%s\" of volume %llu is of the group \"%s\", which %s", half->name,
                    (unsigned long long)half->id, half->group,
                    there ? "does not have it" : "has no record");
    metadata_together_done(&together);
}

static void owners_read(struct meta_request *request, int result)
{
    struct pool_check *check = check_of(request);
    uint32_t at = 0;
    for (uint32_t i = 0; i < check->half_count && result == 0; i++) {
        const struct half *half = &check->halves[i];
        if (request->responses[at++].entry_count == 0)
            check_fault(check, half->id, "snapshot \"%s\" is of volume %llu, which has no record",
                        half->name, (unsigned long long)half->id);
        if (half->group[0] != '\0')
            group_has(check, half, &request->responses[at++]);
    }
    if (result != 0)
        check_end(check, result);
    else
        check_next(check);
}

/* --- Groups, and the snapshots that are theirs ----------------------------------------------- */

static void group_take(struct pool_check *check, const struct meta_entry *entry)
{
    struct metadata_key_parts parts = {0};
    struct metadata_together together = {0};
    int result = metadata_key_parse(entry->key.data, entry->key.length, &parts);
    if (result == 0)
        result = metadata_together_decode(entry->value.data, entry->value.length, &together);
    if (result == 0 && (parts.name_length != strlen(together.name) ||
                        memcmp(parts.name, together.name, parts.name_length) != 0))
        result = IOMESH_CORRUPT;
    if (result != 0)
        check_fault(check, 0, "the record of a group of snapshots: %s", base_error_text(result));
    for (uint32_t i = 0; result == 0 && i < together.part_count; i++) {
        struct half *half = &check->halves[check->half_count++];
        half->id = together.parts[i].volume;
        half->cut = together.parts[i].cut;
        memcpy(half->group, together.name, sizeof half->group);
    }
    metadata_together_done(&together);
}

static void parts_read(struct meta_request *request, int result)
{
    struct pool_check *check = check_of(request);
    for (uint32_t i = 0; i < check->half_count && result == 0; i++) {
        const struct half *half = &check->halves[i];
        const struct meta_response *response = &request->responses[i];
        struct metadata_snapshot record = {0};
        bool there = response->entry_count > 0 &&
                     metadata_snapshot_decode(response->entries[0].value.data,
                                              response->entries[0].value.length, &record) == 0;
        const char *wrong = NULL;
        if (!there)
            wrong = "has no record";
        else if (record.state != METADATA_SNAPSHOT_LIVE)
            wrong = "was deleted";
        else if (strcmp(record.group, half->group) != 0)
            wrong = record.group[0] == '\0' ? "is of no group" : "is of another group";
        if (wrong != NULL)
            check_fault(check, half->id,
                        "the group \"%s\" has the snapshot of volume %llu at cut %llu, which %s",
                        half->group, (unsigned long long)half->id, (unsigned long long)half->cut,
                        wrong);
        metadata_snapshot_done(&record);
    }
    if (result != 0)
        check_end(check, result);
    else
        check_next(check);
}

/* --- A page --------------------------------------------------------------------------------- */

static const struct {
    enum metadata_kind kind;
    uint32_t entries; /* Of a page: what each of them asks for fits into one transaction. */
    void (*take)(struct pool_check *check, const struct meta_entry *entry);
    meta_done_fn *read;
} looks[] = {
    [LOOK_VOLUMES] = {METADATA_VOLUME, PAGE, volume_take, names_read},
    [LOOK_NAMES] = {METADATA_NAME, PAGE, name_take, volumes_read},
    [LOOK_SNAPSHOTS] = {METADATA_SNAPSHOT, PAGE / 2, snapshot_take, owners_read},
    [LOOK_GROUPS] = {METADATA_TOGETHER, PAGE / METADATA_PARTS_MAX, group_take, parts_read},
};

static void half_ask(struct pool_check *check, const struct half *half)
{
    struct metadata_key key = metadata_volume_key(half->id);
    if (check->at == LOOK_VOLUMES)
        key = metadata_name_key(half->name, strlen(half->name));
    else if (check->at == LOOK_GROUPS)
        key = metadata_snapshot_key(half->id, half->cut);
    meta_get(&check->request, META_SLICE(key));
    if (check->at != LOOK_SNAPSHOTS || half->group[0] == '\0')
        return;
    key = metadata_together_key(half->group, strlen(half->group));
    meta_get(&check->request, META_SLICE(key));
}

static void page_read(struct meta_request *request, int result)
{
    struct pool_check *check = check_of(request);
    if (result != 0) {
        check_end(check, result);
        return;
    }
    const struct meta_response *response = &request->responses[0];
    check->half_count = 0;
    check->more = response->more && response->entry_count > 0;
    for (uint32_t i = 0; i < response->entry_count; i++)
        looks[check->at].take(check, &response->entries[i]);
    if (check->more) {
        const struct meta_slice *last = &response->entries[response->entry_count - 1].key;
        check->more = last->length <= sizeof check->after.bytes;
        check->after.length = MIN(last->length, sizeof check->after.bytes);
        memcpy(check->after.bytes, last->data, check->after.length);
    }
    if (check->half_count == 0) {
        check_next(check);
        return;
    }
    meta_request_reset(&check->request);
    for (uint32_t i = 0; i < check->half_count; i++)
        half_ask(check, &check->halves[i]);
    check_commit(check, looks[check->at].read);
}

static void check_page(struct pool_check *check)
{
    struct metadata_key prefix = metadata_prefix(looks[check->at].kind);
    meta_request_reset(&check->request);
    meta_list(&check->request, META_SLICE(prefix), META_SLICE(check->after),
              looks[check->at].entries);
    check_commit(check, page_read);
}

static void counter_read(struct meta_request *request, int result)
{
    struct pool_check *check = check_of(request);
    struct metadata_counter counter = {0};
    if (result != 0) {
        check_end(check, result);
        return;
    }
    const struct meta_response *response = &request->responses[0];
    if (response->entry_count == 0 ||
        metadata_counter_decode(response->entries[0].value.data, response->entries[0].value.length,
                                &counter) != 0) {
        check_fault(check, 0, "the metadata does not say which numbers of volumes were given out");
        counter.next = UINT64_MAX;
    }
    check->ids_end = counter.next;
    metadata_counter_done(&counter);
    check_page(check);
}

int catalog_check(struct meta *meta, const struct catalog_check *options)
{
    struct pool_check *check = calloc(1, sizeof *check);
    if (check == NULL)
        return FAIL(-ENOMEM, "checking the metadata of a pool: no memory");
    check->meta = meta;
    check->options = *options;
    struct metadata_key key = metadata_counter_key(CATALOG_COUNTER);
    meta_get(&check->request, META_SLICE(key));
    int result = meta_commit(meta, &check->request, counter_read);
    if (result != 0) {
        meta_request_done(&check->request);
        free(check);
    }
    return result;
}
