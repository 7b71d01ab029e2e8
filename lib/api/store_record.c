/* SPDX-License-Identifier: Apache-2.0 */
#include "api/store_record.h"

#include <string.h>

#define MAKE_TRIES_MAX 16u

static struct store_record *record_of(struct meta_request *request)
{
    return CONTAINER_OF(request, struct store_record, request);
}

static int record_commit(struct store_record *record, meta_done_fn *done)
{
    return meta_commit(record->pool->meta, &record->request, done);
}

/* With what the metadata said, if that is all there is to say. */
static void record_end(struct store_record *record, int result)
{
    if (result < 0 && result != -ENOENT && result != IOMESH_CONFLICT)
        (void)FAIL(result, "%s: the metadata: %s", record->pool->url, base_error_text(result));
    record->done(record, result);
}

static void record_forget(struct store_record *record)
{
    metadata_store_done(&record->record);
    record->record = (struct metadata_store){0};
    record->revision = 0;
}

static int record_take(struct store_record *record, const struct meta_entry *entry)
{
    struct metadata_store read = {0};
    int result = metadata_store_decode(entry->value.data, entry->value.length, &read);
    if (result != 0)
        return result;
    metadata_store_done(&record->record);
    record->record = read;
    record->revision = entry->modified_revision;
    return 0;
}

void store_record_done(struct store_record *record)
{
    metadata_store_done(&record->record);
    meta_request_done(&record->request);
}

bool store_record_flying(const struct store_record *record)
{
    return record->request.flying;
}

/* --- By its number -------------------------------------------------------------------------- */

static void read_done(struct meta_request *request, int result)
{
    struct store_record *record = record_of(request);
    const struct meta_response *response = &request->responses[0];
    if (result == 0 && request->responses[1].entry_count == 0) {
        result = -ESTALE; /* Who has no pool has removed nothing. */
    } else if (result == 0 && response->entry_count == 0) {
        record->revision = 0;
        result = FAIL(-ENOENT, "store %llu has no record in the metadata: it was removed",
                      (unsigned long long)record->record.id);
    } else if (result == 0) {
        result = record_take(record, &response->entries[0]);
    }
    record_end(record, result);
}

int store_record_read(struct store_record *record, store_record_fn *done)
{
    struct metadata_key key = metadata_store_key(record->record.id);
    struct metadata_key pool = metadata_cluster_key();
    record->done = done;
    meta_request_reset(&record->request);
    meta_get(&record->request, META_SLICE(key));
    meta_get(&record->request, META_SLICE(pool));
    return record_commit(record, read_done);
}

/* --- By its uuid ---------------------------------------------------------------------------- */

static int list_page(struct store_record *record);

/* 0: it is not on this page; 1: it is; or why nobody knows. */
static int list_look(struct store_record *record, const struct meta_response *response)
{
    for (uint32_t i = 0; i < response->entry_count; i++) {
        const struct meta_entry *entry = &response->entries[i];
        struct metadata_store read = {0};
        if (metadata_store_decode(entry->value.data, entry->value.length, &read) != 0)
            continue; /* Whoever lists stores tells of it. */
        bool found = memcmp(read.uuid, record->uuid, sizeof read.uuid) == 0;
        metadata_store_done(&read);
        if (found)
            return record_take(record, entry) == 0 ? 1 : -ENOMEM;
    }
    return 0;
}

static void list_done(struct meta_request *request, int result)
{
    struct store_record *record = record_of(request);
    const struct meta_response *response = &request->responses[0];
    if (result == 0)
        result = list_look(record, response);
    if (result != 0) {
        record->listed(record, MIN(result, 0));
        return;
    }
    const struct meta_entry *last =
        response->entry_count > 0 ? &response->entries[response->entry_count - 1] : NULL;
    if (!response->more || last == NULL || last->key.length > sizeof record->after.bytes) {
        record->listed(record, -ENOENT);
        return;
    }
    memcpy(record->after.bytes, last->key.data, last->key.length);
    record->after.length = last->key.length;
    result = list_page(record);
    if (result != 0)
        record->listed(record, result);
}

static int list_page(struct store_record *record)
{
    struct metadata_key prefix = metadata_prefix(METADATA_STORE);
    meta_request_reset(&record->request);
    meta_list(&record->request, META_SLICE(prefix), META_SLICE(record->after),
              META_LIST_ENTRIES_MAX);
    return record_commit(record, list_done);
}

static int list_start(struct store_record *record, store_record_fn *listed)
{
    record->listed = listed;
    record->after.length = 0;
    return list_page(record);
}

static void find_listed(struct store_record *record, int result)
{
    if (result == -ENOENT)
        (void)FAIL(result, "the pool has no record of it: it was removed from the pool, or never "
                           "belonged to it");
    record_end(record, result);
}

int store_record_find(struct store_record *record, const uint8_t uuid[16], store_record_fn *done)
{
    memcpy(record->uuid, uuid, sizeof record->uuid);
    record->done = done;
    record_forget(record);
    return list_start(record, find_listed);
}

/* --- A new one ------------------------------------------------------------------------------ */

static int make_read(struct store_record *record);

static void make_put(struct meta_request *request, int result)
{
    struct store_record *record = record_of(request);
    bool again = (result == 0 && !request->succeeded) || result == IOMESH_UNKNOWN;
    if (again && ++record->tries < MAKE_TRIES_MAX) {
        result = make_read(record);
        if (result == 0)
            return;
    } else if (again && result == 0) {
        result = IOMESH_CONFLICT;
    }
    if (result == 0)
        record->revision = request->revision;
    record_end(record, result);
}

static int make_encode(struct store_record *record, struct metadata_bytes *counter,
                       struct metadata_bytes *value)
{
    struct metadata_counter next = {.next = record->counter_next + 1};
    record->record.id = record->counter_next;
    int result = metadata_counter_encode(&next, counter);
    return result != 0 ? result : metadata_store_encode(&record->record, value);
}

static int make_commit(struct store_record *record)
{
    struct meta_request *request = &record->request;
    struct metadata_bytes counter = {0}, value = {0};
    int result = make_encode(record, &counter, &value);
    if (result == 0) {
        struct metadata_key pool = metadata_cluster_key();
        struct metadata_key numbers = metadata_counter_key(STORE_RECORD_COUNTER);
        struct metadata_key key = metadata_store_key(record->record.id);
        meta_request_reset(request);
        meta_if_present(request, META_SLICE(pool));
        meta_if_modified(request, META_SLICE(numbers), record->counter_revision);
        meta_if_absent(request, META_SLICE(key));
        meta_put(request, META_SLICE(numbers), META_SLICE(counter), 0);
        meta_put(request, META_SLICE(key), META_SLICE(value), 0);
        result = record_commit(record, make_put);
    }
    metadata_bytes_done(&counter);
    metadata_bytes_done(&value);
    return result;
}

static void make_listed(struct store_record *record, int result)
{
    if (result == -ENOENT)
        result = make_commit(record);
    else if (result == 0 && record->tries == 0)
        result = FAIL(-EEXIST, "a store of the same uuid has a record already");
    else if (result == 0) {
        record->done(record, 0); /* What nobody knew of. */
        return;
    }
    if (result != 0)
        record_end(record, result);
}

static void make_counted(struct meta_request *request, int result)
{
    struct store_record *record = record_of(request);
    const struct meta_response *response = &request->responses[0];
    struct metadata_counter counter = {.next = 1};
    record->counter_revision = 0;
    if (result == 0 && response->entry_count > 0) {
        const struct meta_entry *entry = &response->entries[0];
        result = metadata_counter_decode(entry->value.data, entry->value.length, &counter);
        record->counter_revision = entry->modified_revision;
    }
    if (result == 0) {
        record->counter_next = MAX(counter.next, 1u);
        metadata_counter_done(&counter);
        result = list_start(record, make_listed);
    }
    if (result != 0)
        record_end(record, result);
}

static int make_read(struct store_record *record)
{
    struct metadata_key numbers = metadata_counter_key(STORE_RECORD_COUNTER);
    meta_request_reset(&record->request);
    meta_get(&record->request, META_SLICE(numbers));
    return record_commit(record, make_counted);
}

int store_record_make(struct store_record *record, store_record_fn *done)
{
    memcpy(record->uuid, record->record.uuid, sizeof record->uuid);
    record->done = done;
    record->tries = 0;
    return make_read(record);
}

/* --- Changing it ---------------------------------------------------------------------------- */

static void put_done(struct meta_request *request, int result)
{
    struct store_record *record = record_of(request);
    if (result == 0 && !request->succeeded)
        result = IOMESH_CONFLICT;
    if (result == 0)
        record->revision = request->revision;
    record_end(record, result);
}

int store_record_put(struct store_record *record, store_record_fn *done)
{
    struct metadata_key key = metadata_store_key(record->record.id);
    struct metadata_bytes value = {0};
    record->done = done;
    int result = metadata_store_encode(&record->record, &value);
    if (result != 0)
        return result;
    meta_request_reset(&record->request);
    meta_if_modified(&record->request, META_SLICE(key), record->revision);
    meta_put(&record->request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return record_commit(record, put_done);
}

/* --- Who has it ----------------------------------------------------------------------------- */

static int owner_page(struct store_record *record);

static bool owner_is(const struct store_record *record, const struct meta_entry *entry)
{
    struct metadata_session session = {0};
    if (metadata_session_decode(entry->value.data, entry->value.length, &session) != 0)
        return false;
    bool is = strcmp(session.node, record->record.node) == 0 &&
              strcmp(session.address, record->record.address) == 0;
    metadata_session_done(&session);
    return is;
}

static void owner_listed(struct meta_request *request, int result)
{
    struct store_record *record = record_of(request);
    const struct meta_response *response = &request->responses[0];
    if (result != 0) {
        record_end(record, result);
        return;
    }
    for (uint32_t i = 0; i < response->entry_count; i++) {
        if (owner_is(record, &response->entries[i])) {
            record->done(record, 1);
            return;
        }
    }
    const struct meta_entry *last =
        response->entry_count > 0 ? &response->entries[response->entry_count - 1] : NULL;
    if (!response->more || last == NULL || last->key.length > sizeof record->after.bytes) {
        record->done(record, 0);
        return;
    }
    memcpy(record->after.bytes, last->key.data, last->key.length);
    record->after.length = last->key.length;
    result = owner_page(record);
    if (result != 0)
        record_end(record, result);
}

static int owner_page(struct store_record *record)
{
    struct metadata_key prefix = metadata_prefix(METADATA_SESSION);
    meta_request_reset(&record->request);
    meta_list(&record->request, META_SLICE(prefix), META_SLICE(record->after),
              META_LIST_ENTRIES_MAX);
    return record_commit(record, owner_listed);
}

int store_record_owner(struct store_record *record, store_record_fn *done)
{
    record->done = done;
    record->after.length = 0;
    return owner_page(record);
}
