/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORES_RETRY_NS NS_PER_S

/* --- Records -------------------------------------------------------------------------------- */

/* Where this id is, or would be. */
static uint32_t entry_index(const struct stores *stores, uint64_t id)
{
    uint32_t low = 0;
    uint32_t high = stores->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (stores->entries[middle]->record.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct stores_entry *entry_find(const struct stores *stores, uint64_t id)
{
    uint32_t at = entry_index(stores, id);
    bool found = at < stores->count && stores->entries[at]->record.id == id;
    return found ? stores->entries[at] : NULL;
}

static void entry_free(struct stores_entry *entry)
{
    metadata_store_done(&entry->record);
    free(entry);
}

/* What placement looks at is another. */
static void place_forget(struct stores *stores)
{
    free(stores->place);
    stores->place = NULL;
}

static void entry_tell(struct stores *stores, uint64_t id, const struct metadata_store *record)
{
    place_forget(stores);
    if (stores->options.changed != NULL)
        stores->options.changed(stores->options.context, id, record);
}

static void entry_remove(struct stores *stores, uint32_t at)
{
    struct stores_entry *entry = stores->entries[at];
    stores->count--;
    memmove(&stores->entries[at], &stores->entries[at + 1],
            (stores->count - at) * sizeof *stores->entries);
    entry_tell(stores, entry->record.id, NULL);
    entry_free(entry);
}

static struct stores_entry *entry_add(struct stores *stores, uint64_t id)
{
    if (stores->count == STORES_MAX)
        return NULL;
    if (stores->count == stores->capacity) {
        uint32_t capacity = MAX(2 * stores->capacity, 16u);
        struct stores_entry **entries = realloc(stores->entries, capacity * sizeof(void *));
        if (entries == NULL)
            return NULL;
        stores->entries = entries;
        stores->capacity = capacity;
    }
    struct stores_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    uint32_t at = entry_index(stores, id);
    memmove(&stores->entries[at + 1], &stores->entries[at],
            (stores->count - at) * sizeof *stores->entries);
    stores->entries[at] = entry;
    stores->count++;
    return entry;
}

static void entry_fault(const struct stores *stores, const struct meta_entry *from, int result)
{
    if (stores->options.fault == NULL)
        return;
    char text[256];
    (void)snprintf(text, sizeof text, "the record \"%.*s\" in the metadata: %s",
                   (int)MIN(from->key.length, 100u), (const char *)from->key.data,
                   base_error_text(result));
    stores->options.fault(stores->options.context, text);
}

/* Of a store, by its key. */
static bool entry_id(const struct meta_entry *from, uint64_t *ret_id)
{
    struct metadata_key_parts parts;
    if (metadata_key_parse(from->key.data, from->key.length, &parts) != 0 ||
        parts.kind != METADATA_STORE)
        return false;
    *ret_id = parts.id;
    return true;
}

static int entry_decode(const struct meta_entry *from, uint64_t *ret_id,
                        struct metadata_store *ret_record)
{
    if (!entry_id(from, ret_id))
        return IOMESH_CORRUPT;
    int result = metadata_store_decode(from->value.data, from->value.length, ret_record);
    if (result != 0 || ret_record->id == *ret_id)
        return result;
    metadata_store_done(ret_record);
    return IOMESH_CORRUPT;
}

/* The list and the watch may both tell of it, in any order: the newer one counts. */
static void entry_put(struct stores *stores, const struct meta_entry *from)
{
    struct metadata_store record = {0};
    uint64_t id;
    int result = entry_decode(from, &id, &record);
    struct stores_entry *entry = result != 0 ? NULL : entry_find(stores, id);
    bool known = entry != NULL;
    if (result == 0 && !known && (entry = entry_add(stores, id)) == NULL)
        result = -ENOMEM;
    if (result != 0) {
        metadata_store_done(&record);
        entry_fault(stores, from, result);
        if (entry_id(from, &id) && (entry = entry_find(stores, id)) != NULL)
            entry->listed = true;
        return;
    }
    entry->listed = true;
    if (known && from->modified_revision <= entry->revision) {
        metadata_store_done(&record);
        return;
    }
    metadata_store_done(&entry->record);
    entry->record = record;
    entry->revision = from->modified_revision;
    entry_tell(stores, id, &entry->record);
}

/* --- The watch ------------------------------------------------------------------------------ */

static void list_start(struct stores *stores);

static void list_again(struct timer *timer)
{
    list_start(CONTAINER_OF(timer, struct stores, timer));
}

static void list_later(struct stores *stores)
{
    stores->timer.fire = list_again;
    clock_set_after(stores->options.clock, &stores->timer, STORES_RETRY_NS);
}

static void watch_event(struct meta_watch *watch, const struct meta_event *event)
{
    struct stores *stores = CONTAINER_OF(watch, struct stores, watch);
    uint64_t id;
    if (event->kind == META_EVENT_PUT) {
        entry_put(stores, &event->entry);
        return;
    }
    if (!entry_id(&event->entry, &id))
        return;
    const struct stores_entry *entry = entry_find(stores, id);
    if (entry != NULL && entry->revision < event->revision)
        entry_remove(stores, entry_index(stores, id));
}

static void watch_ended(struct meta_watch *watch, int result)
{
    struct stores *stores = CONTAINER_OF(watch, struct stores, watch);
    stores->watching = false;
    if (result == IOMESH_COMPACTED)
        list_start(stores);
    else
        list_later(stores);
}

static void watch_start(struct stores *stores)
{
    struct metadata_key prefix = metadata_prefix(METADATA_STORE);
    int result = meta_watch_start(stores->options.meta, &stores->watch, META_SLICE(prefix),
                                  stores->from, watch_event, watch_ended);
    assert(result == 0); /* A prefix is short. */
    (void)result;
    stores->watching = true;
}

/* --- The list ------------------------------------------------------------------------------- */

static void list_next(struct stores *stores);

static void list_failed(struct stores *stores, int result)
{
    if (stores->ready) {
        list_later(stores);
        return;
    }
    stores_stop(stores);
    stores->done(stores->options.context, result);
}

static void list_ended(struct stores *stores)
{
    for (uint32_t i = stores->count; i > 0; i--) {
        if (!stores->entries[i - 1]->listed)
            entry_remove(stores, i - 1);
    }
    watch_start(stores);
    if (stores->ready)
        return;
    stores->ready = true;
    stores->done(stores->options.context, 0);
}

static void list_read(struct meta_request *request, int result)
{
    struct stores *stores = CONTAINER_OF(request, struct stores, request);
    if (stores->stopped)
        return;
    if (result != 0) {
        list_failed(stores, result);
        return;
    }
    const struct meta_response *response = &request->responses[0];
    if (stores->after.length == 0)
        stores->from = request->revision + 1;
    for (uint32_t i = 0; i < response->entry_count; i++)
        entry_put(stores, &response->entries[i]);
    if (!response->more || response->entry_count == 0) {
        list_ended(stores);
        return;
    }
    const struct meta_slice *last = &response->entries[response->entry_count - 1].key;
    if (last->length > sizeof stores->after.bytes) {
        list_failed(stores, IOMESH_CORRUPT);
        return;
    }
    memcpy(stores->after.bytes, last->data, last->length);
    stores->after.length = last->length;
    list_next(stores);
}

static int list_commit(struct stores *stores)
{
    struct metadata_key prefix = metadata_prefix(METADATA_STORE);
    meta_request_reset(&stores->request);
    meta_list(&stores->request, META_SLICE(prefix), META_SLICE(stores->after),
              META_LIST_ENTRIES_MAX);
    return meta_commit(stores->options.meta, &stores->request, list_read);
}

static void list_next(struct stores *stores)
{
    int result = list_commit(stores);
    if (result != 0)
        list_failed(stores, result);
}

static void list_start(struct stores *stores)
{
    stores->after.length = 0;
    for (uint32_t i = 0; i < stores->count; i++)
        stores->entries[i]->listed = false;
    list_next(stores);
}

/* --- From outside --------------------------------------------------------------------------- */

int stores_start(struct stores *stores, const struct stores_options *options,
                 void (*done)(void *context, int result))
{
    stores->options = *options;
    stores->done = done;
    stores->after.length = 0;
    return list_commit(stores);
}

void stores_stop(struct stores *stores)
{
    if (stores->options.meta == NULL)
        return;
    stores->stopped = true;
    clock_cancel(stores->options.clock, &stores->timer);
    if (stores->watching)
        meta_watch_cancel(stores->options.meta, &stores->watch);
    stores->watching = false;
}

bool stores_flying(const struct stores *stores)
{
    return stores->request.flying;
}

void stores_done(struct stores *stores)
{
    stores_stop(stores);
    for (uint32_t i = 0; i < stores->count; i++)
        entry_free(stores->entries[i]);
    free(stores->entries);
    free(stores->place);
    meta_request_done(&stores->request);
    *stores = (struct stores){0};
}

const struct metadata_store *stores_find(const struct stores *stores, uint64_t id)
{
    const struct stores_entry *entry = entry_find(stores, id);
    return entry == NULL ? NULL : &entry->record;
}

struct place *stores_place(struct stores *stores)
{
    if (stores->place != NULL)
        return stores->place;
    struct place_store *of = calloc(MAX(stores->count, 1u), sizeof *of);
    if (of == NULL)
        return NULL;
    for (uint32_t i = 0; i < stores->count; i++) {
        of[i] = place_store_of(&stores->entries[i]->record);
        /* It was made, and nobody has served it yet. */
        if (stores->entries[i]->record.address[0] == '\0')
            of[i].state = METADATA_STORE_DRAINING;
    }
    void *memory = malloc(place_bytes(stores->count));
    if (memory == NULL || place_init(memory, of, stores->count, &stores->place) != 0) {
        free(memory);
        stores->place = NULL;
    }
    free(of);
    return stores->place;
}
