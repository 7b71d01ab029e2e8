/* SPDX-License-Identifier: Apache-2.0 */
/* What is there after a crash against what may be there. */
#include <string.h>

#include "format/metadata.h"
#include "sim/catalog_drill.h"
#include "store/internal.h"

/* --- The metadata by itself ----------------------------------------------------------------- */

#define RECORDS_MAX 64u

struct records {
    struct metadata_volume volumes[RECORDS_MAX];
    uint32_t volume_count;
    uint64_t named[RECORDS_MAX];
    char names[RECORDS_MAX][CATALOG_NAME_BYTES_MAX + 1];
    uint32_t name_count;
    uint64_t next;
};

static int decode_name(const struct meta_entry *entry, struct records *records)
{
    struct metadata_key_parts parts;
    struct metadata_name name;
    int result = metadata_key_parse(entry->key.data, entry->key.length, &parts);
    if (result == 0)
        result = metadata_name_decode(entry->value.data, entry->value.length, &name);
    if (result != 0)
        return result;
    memcpy(records->names[records->name_count], parts.name, parts.name_length);
    records->named[records->name_count++] = name.volume;
    metadata_name_done(&name);
    return 0;
}

static int decode(const struct meta_response *responses, struct records *records)
{
    int result = 0;
    for (uint32_t i = 0; i < responses[0].entry_count && i < RECORDS_MAX && result == 0; i++) {
        const struct meta_entry *entry = &responses[0].entries[i];
        result = metadata_volume_decode(entry->value.data, entry->value.length,
                                        &records->volumes[records->volume_count++]);
    }
    for (uint32_t i = 0; i < responses[1].entry_count && i < RECORDS_MAX && result == 0; i++)
        result = decode_name(&responses[1].entries[i], records);
    if (result != 0 || responses[2].entry_count != 1)
        return result != 0 ? result : -ENOENT;
    struct metadata_counter counter = {0};
    result = metadata_counter_decode(responses[2].entries[0].value.data,
                                     responses[2].entries[0].value.length, &counter);
    records->next = counter.next;
    return result;
}

static void request_ended(struct meta_request *request, int result)
{
    catalog_rig_ended(&CONTAINER_OF(request, struct drill, request)->rig, result);
}

static bool records_read(struct drill *drill, struct records *records)
{
    struct catalog_rig *rig = &drill->rig;
    struct meta_request *request = &drill->request;
    memset(records, 0, sizeof *records);
    meta_request_reset(request);
    meta_list(request, META_TEXT("volume/"), META_TEXT(""), META_LIST_ENTRIES_MAX);
    meta_list(request, META_TEXT("name/"), META_TEXT(""), META_LIST_ENTRIES_MAX);
    meta_get(request, META_TEXT("counter/volume"));
    rig->waiting = true;
    if (meta_commit(rig->meta, request, request_ended) != 0)
        return catalog_rig_wrong(rig, "reading the metadata: %s", base_last_error());
    if (!catalog_rig_wait(rig, &rig->waiting, "reading the metadata"))
        return false;
    int result = rig->ended != 0 ? rig->ended : decode(request->responses, records);
    return result == 0 ? true : catalog_rig_wrong(rig, "the metadata cannot be read: %d", result);
}

static const struct drill_name *name_of(const struct drill *drill, uint64_t id)
{
    for (unsigned i = 0; i < DRILL_NAMES; i++) {
        if (drill->names[i].exists && drill->names[i].id == id)
            return &drill->names[i];
    }
    return NULL;
}

/* One record of a volume against the names, the counter, and the sequences that were used. */
static bool record_check(struct drill *drill, const struct records *records,
                         const struct metadata_volume *record, bool settled)
{
    unsigned long long id = record->id;
    unsigned named = 0;
    for (uint32_t i = 0; i < records->name_count; i++) {
        if (records->named[i] == record->id && strcmp(records->names[i], record->name) == 0)
            named++;
    }
    if (named != (record->state == METADATA_VOLUME_LIVE ? 1 : 0))
        return catalog_rig_wrong(&drill->rig, "volume %llu, state %d, has %u names", id,
                                 (int)record->state, named);
    if (record->id >= records->next)
        return catalog_rig_wrong(&drill->rig, "volume %llu: the counter is at %llu", id,
                                 (unsigned long long)records->next);
    if (settled && record->state != METADATA_VOLUME_LIVE)
        return catalog_rig_wrong(&drill->rig, "volume %llu is still being deleted", id);
    const struct drill_name *name = name_of(drill, record->id);
    if (name != NULL && record->sequence_end < name->sequence_high)
        return catalog_rig_wrong(&drill->rig, "volume %llu: lots end at %llu, used is up to %llu",
                                 id, (unsigned long long)record->sequence_end,
                                 (unsigned long long)name->sequence_high);
    return true;
}

bool drill_check_metadata(struct drill *drill, bool settled)
{
    static struct records records;
    if (!records_read(drill, &records))
        return false;
    uint32_t live = 0;
    bool right = true;
    for (uint32_t i = 0; i < records.volume_count; i++) {
        right = right && record_check(drill, &records, &records.volumes[i], settled);
        live += records.volumes[i].state == METADATA_VOLUME_LIVE ? 1 : 0;
        metadata_volume_done(&records.volumes[i]);
    }
    if (live != records.name_count)
        return catalog_rig_wrong(&drill->rig, "%u names, %u live volumes", records.name_count,
                                 live);
    return right;
}

/* --- The store ------------------------------------------------------------------------------ */

struct store_look {
    struct tree_path path;
    bool waits;
};

static void look_woken(struct tree_path *path)
{
    CONTAINER_OF(path, struct store_look, path)->waits = false;
}

bool drill_check_store(struct drill *drill)
{
    static struct store_look look;
    struct tree *tree = drill->rig.store->tree;
    struct segment_key key = {0};
    struct segment_key found;
    memset(&look, 0, sizeof look);
    tree_path_init(&look.path, tree, look_woken);
    for (;;) {
        int result = tree_next_segment(&look.path, &key, &found);
        if (result == -ENOENT)
            break;
        if (result == -EAGAIN) {
            look.waits = true;
            if (!catalog_rig_wait(&drill->rig, &look.waits, "looking into the store"))
                return false;
            continue;
        }
        if (result != 0)
            return catalog_rig_wrong(&drill->rig, "looking into the store: %d", result);
        if (name_of(drill, found.volume) == NULL)
            return catalog_rig_wrong(&drill->rig,
                                     "the store has segment %u of volume %llu, which is gone",
                                     found.segment, (unsigned long long)found.volume);
        key = (struct segment_key){.volume = found.volume + 1};
    }
    tree_path_close(&look.path);
    return true;
}

/* --- One name ------------------------------------------------------------------------------- */

struct seen {
    bool exists;
    uint64_t id, bytes, epoch;
};

static void verify_show(void *context, const struct catalog_info *info)
{
    struct seen *seen = context;
    *seen =
        (struct seen){.exists = true, .id = info->id, .bytes = info->bytes, .epoch = info->epoch};
}

/* Context: the drill's, for a cut may come before the answer. */
static void verify_each(void *context, const struct catalog_info *info)
{
    verify_show(((struct drill *)context)->seen, info);
}

static void verify_done(void *context, int result)
{
    catalog_rig_ended(&((struct drill *)context)->rig, result);
}

static bool verify_wrong(const struct drill_name *name, const struct seen *seen, const char *what)
{
    return catalog_rig_wrong(
        &name->drill->rig,
        "volume %s: %s: known number %llu, %llu bytes, epoch %llu%s; found number %llu, %llu "
        "bytes, epoch %llu%s; in doubt: %d",
        name->name, what, (unsigned long long)name->id, (unsigned long long)name->bytes,
        (unsigned long long)name->epoch, name->exists ? "" : " (absent)",
        (unsigned long long)seen->id, (unsigned long long)seen->bytes,
        (unsigned long long)seen->epoch, seen->exists ? "" : " (absent)", (int)name->doing);
}

/* Whether it is there, and what its record says. */
static bool verify_record(struct drill_name *name, const struct seen *seen)
{
    bool may_differ = name->doing == DRILL_CREATE || name->doing == DRILL_DELETE;
    if (seen->exists != name->exists && !may_differ)
        return verify_wrong(name, seen, "there or not");
    if (!seen->exists) {
        name->exists = false;
        return true;
    }
    if (name->doing == DRILL_CREATE && !name->exists) {
        if (seen->bytes != name->doing_bytes || seen->epoch != 0)
            return verify_wrong(name, seen, "created otherwise");
        name->exists = true;
        name->id = seen->id;
        name->bytes = seen->bytes;
        name->epoch = 0;
        name->sequence_high = 0;
        memset(name->tags, 0, sizeof name->tags);
        drill_note_id(name, seen->id);
        return true;
    }
    if (seen->id != name->id)
        return verify_wrong(name, seen, "another volume");
    if (seen->bytes != name->bytes &&
        !(name->doing == DRILL_RESIZE && seen->bytes == name->doing_bytes))
        return verify_wrong(name, seen, "size");
    if (seen->epoch < name->epoch)
        return verify_wrong(name, seen, "epoch");
    name->epoch = seen->epoch;
    return true;
}

static bool verify_tag(struct drill_name *name, unsigned block, uint64_t bytes, uint64_t tag)
{
    uint64_t offset = drill_offsets[block];
    bool cut = name->doing == DRILL_RESIZE && offset >= name->doing_bytes;
    bool written = name->writing && name->write_block == block && tag == name->write_tag;
    uint64_t known = offset < name->bytes ? name->tags[block] : 0;
    if (tag != known && !written && !(cut && tag == 0))
        return catalog_rig_wrong(&name->drill->rig,
                                 "volume %s, %llu bytes, at %llu: %llu, but it was %llu",
                                 name->name, (unsigned long long)bytes, (unsigned long long)offset,
                                 (unsigned long long)tag, (unsigned long long)known);
    name->tags[block] = tag;
    return true;
}

static void verify_opened(void *context, int result, struct catalog_handle *handle)
{
    struct drill_name *name = context;
    name->handle = handle;
    catalog_rig_ended(&name->drill->rig, result);
}

static void verify_read(struct volume_io *io, int result)
{
    catalog_rig_ended(&CONTAINER_OF(io, struct drill_name, io)->drill->rig, result);
}

static bool verify_block(struct drill_name *name, unsigned block, uint64_t bytes)
{
    struct catalog_rig *rig = &name->drill->rig;
    name->io.kind = VOLUME_READ;
    name->io.flags = 0;
    name->io.offset = drill_offsets[block];
    name->io.length = BLOCK_BYTES;
    name->io.data = name->data;
    name->io.done = verify_read;
    rig->waiting = true;
    volume_submit(catalog_handle_volume(name->handle), &name->io);
    if (!catalog_rig_wait(rig, &rig->waiting, "reading"))
        return false;
    if (rig->ended != 0)
        return catalog_rig_wrong(rig, "volume %s: reading: %d", name->name, rig->ended);
    uint64_t tag;
    memcpy(&tag, name->data, sizeof tag);
    for (size_t i = 0; i < BLOCK_BYTES; i += sizeof tag) {
        if (memcmp(name->data + i, &tag, sizeof tag) != 0)
            return catalog_rig_wrong(rig, "volume %s: a block is a mixture", name->name);
    }
    return verify_tag(name, block, bytes, tag);
}

static bool verify_data(struct drill_name *name, uint64_t bytes)
{
    struct catalog_rig *rig = &name->drill->rig;
    rig->waiting = true;
    if (catalog_handle_open(rig->catalog, name->name, true, verify_opened, name) != 0)
        return catalog_rig_wrong(rig, "volume %s: opening: %s", name->name, base_last_error());
    if (!catalog_rig_wait(rig, &rig->waiting, "opening"))
        return false;
    if (rig->ended != 0)
        return catalog_rig_wrong(rig, "volume %s: opening: %s", name->name, base_last_error());
    bool right = true;
    for (unsigned i = 0; i < DRILL_BLOCKS && right; i++) {
        if (drill_offsets[i] < bytes)
            right = verify_block(name, i, bytes);
        else
            name->tags[i] = 0;
    }
    if (!right)
        return false;
    struct catalog_handle *handle = name->handle;
    name->handle = NULL;
    rig->waiting = true;
    catalog_handle_close(handle, catalog_rig_ended, rig);
    return catalog_rig_wait(rig, &rig->waiting, "closing");
}

static bool verify_name(struct drill_name *name)
{
    struct drill *drill = name->drill;
    struct catalog_rig *rig = &drill->rig;
    static struct seen seen;
    seen = (struct seen){0};
    drill->seen = &seen;
    rig->waiting = true;
    if (catalog_show(rig->catalog, name->name, verify_each, verify_done, drill) != 0)
        return catalog_rig_wrong(rig, "showing: %s", base_last_error());
    if (!catalog_rig_wait(rig, &rig->waiting, "showing"))
        return false;
    if (rig->ended != 0 && rig->ended != -ENOENT)
        return catalog_rig_wrong(rig, "showing %s: %s", name->name, base_last_error());
    bool was = name->exists;
    uint64_t bytes = name->bytes;
    if (!verify_record(name, &seen) || (seen.exists && !verify_data(name, seen.bytes)))
        return false;
    drill->counts.verified++;
    if (name->doing >= DRILL_CREATE && name->doing <= DRILL_RESIZE) {
        drill->counts.in_doubt++;
        drill->counts.happened += was != seen.exists || bytes != seen.bytes ? 1 : 0;
    }
    name->bytes = seen.exists ? seen.bytes : 0;
    name->doing = DRILL_NONE;
    name->writing = false;
    return true;
}

bool drill_verify(struct drill *drill)
{
    for (unsigned i = 0; i < DRILL_NAMES; i++) {
        if (!verify_name(&drill->names[i]))
            return false;
    }
    return true;
}
