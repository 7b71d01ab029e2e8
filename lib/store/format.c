/* SPDX-License-Identifier: Apache-2.0 */
/* Making a new, empty store: labels, a wiped journal, a free map, the first checkpoint. */
#include <string.h>

#include "store/opening.h"

static void format_sealed(struct store_flush *flush, int result)
{
    opening_end(CONTAINER_OF(flush, struct opening, flush),
                result == 0
                    ? 0
                    : FAIL(result, "the new store cannot be written: %s", base_error_text(result)));
}

static void label_written(struct device_io *io, int result)
{
    struct opening *opening = io->owner;
    if (result != 0) {
        opening_end(opening, FAIL(result, "%s: writing the label failed: %s",
                                  io->device->disk->name, base_error_text(result)));
        return;
    }
    opening->marked++;
    opening->next(opening);
}

/* Labels last: a store that was not finished is not one. */
static void format_label_next(struct opening *opening)
{
    struct store *store = opening->store;
    if (opening->marked == store->devices.count) {
        opening->flush.done = format_sealed;
        store_flush(store, &opening->flush);
        return;
    }
    unsigned i = opening->marked;
    const struct superblock_device *device = &store->super.devices[i];
    struct label label = {
        .version = STORE_FORMAT,
        .index = i,
        .base = device->base,
        .blocks = device->blocks,
        .class = device->class,
    };
    memcpy(label.store_uuid, opening->uuid, STORE_UUID_BYTES);
    memcpy(label.device_uuid, device->uuid, STORE_UUID_BYTES);
    label_encode(opening->blocks, &label);
    opening->io.owner = opening;
    device_submit(&store->devices, &opening->io, DISK_WRITE, device->base, 1, opening->blocks,
                  label_written);
}

static void format_checkpointed(void *context, int result)
{
    struct opening *opening = context;
    if (result != 0) {
        opening_end(opening,
                    FAIL(result, "the new store cannot be written: %s", base_error_text(result)));
        return;
    }
    opening->marked = 0;
    opening->next = format_label_next;
    format_label_next(opening);
}

static void format_mark_woken(struct page_waiter *waiter);

/* The labels, superblocks and journal are in use; everything else is free. */
static void format_mark(struct opening *opening)
{
    struct store *store = opening->store;
    for (; opening->marked < store->devices.count; opening->marked++) {
        const struct device *device = &store->devices.devices[opening->marked];
        struct extent fixed = {.place = device->base, .blocks = LABEL_AREA_BLOCKS};
        if (opening->marked == 0)
            fixed.blocks = (uint32_t)(SUPERBLOCK_AREA_BLOCKS + store->super.journal_blocks);
        int error = space_mark(store->space, fixed, true, &opening->waiter);
        if (error == -EAGAIN)
            return;
        if (error != 0) {
            opening_end(opening, error);
            return;
        }
    }
    opening_checkpoint(opening, true, format_checkpointed);
}

static void format_mark_woken(struct page_waiter *waiter)
{
    format_mark(CONTAINER_OF(waiter, struct opening, waiter));
}

static void format_wiped(struct opening *opening)
{
    struct store *store = opening->store;
    int error = opening_components(opening);
    if (error == 0)
        error = opening_journal(store, 1, (struct journal_position){.batch = 1, .block = 0});
    if (error != 0) {
        opening_end(opening, error);
        return;
    }
    store->checkpoint.incarnation = 1;
    store_flusher_open(store);
    space_format(store->space);
    list_init(&opening->waiter.node);
    opening->waiter.wake = format_mark_woken;
    format_mark(opening);
}

/* Room for the pages of the first checkpoint, and for what it takes and gives back unused: that is
 * taken for prepared later on, like all around it, so it must not be a hole in a file. */
static uint64_t format_pages(const struct store *store)
{
    return 64 + 4 * (uint64_t)store->devices.count;
}

static void format_wipe_next(struct opening *opening);

static void format_wiped_piece(struct device_io *io, int result)
{
    struct opening *opening = io->owner;
    if (result != 0) {
        opening_end(opening,
                    FAIL(result, "%s: writing the journal failed: %s",
                         opening->store->devices.devices[0].disk->name, base_error_text(result)));
        return;
    }
    format_wipe_next(opening);
}

/* Zeroes label, superblocks and journal: no batch or superblock of an earlier store survives, and
 * no later write pays for allocation below. */
static void format_wipe_next(struct opening *opening)
{
    struct store *store = opening->store;
    uint64_t end = SUPERBLOCK_AREA_BLOCKS + store->super.journal_blocks + format_pages(store);
    uint64_t place = opening->wiped;
    if (store->options.progress != NULL)
        store->options.progress(store->options.context, place * BLOCK_BYTES, end * BLOCK_BYTES);
    if (place == end) {
        format_wiped(opening);
        return;
    }
    uint32_t blocks = (uint32_t)MIN(end - place, 256);
    opening->wiped += blocks;
    opening->io.owner = opening;
    device_submit(&store->devices, &opening->io, DISK_ZERO, place, blocks, NULL,
                  format_wiped_piece);
}

/* Anything: a store, a file system, a table of partitions. */
static bool format_holds(const uint8_t block[BLOCK_BYTES])
{
    for (unsigned i = 0; i < BLOCK_BYTES; i++) {
        if (block[i] != 0)
            return true;
    }
    return false;
}

static int format_refuse(struct opening *opening)
{
    struct store *store = opening->store;
    for (unsigned i = 0; i < store->options.device_count; i++) {
        struct label label;
        const struct disk *disk = store->options.devices[i].disk;
        if (opening->reads[i].result != 0)
            return FAIL(opening->reads[i].result, "%s: cannot be read: %s", disk->name,
                        base_error_text(opening->reads[i].result));
        if (opening->overwrite)
            continue;
        const uint8_t *block = opening->blocks + (size_t)i * BLOCK_BYTES;
        int error = label_decode(block, &label);
        if (error == 0 || label.version != 0)
            return FAIL(-EEXIST,
                        "%s: carries a store already; wipe it first if its data may be lost",
                        disk->name);
        if (format_holds(block))
            return FAIL(-EEXIST,
                        "%s: its first block is not empty, it may hold a file system; wipe it "
                        "first if its data may be lost",
                        disk->name);
    }
    return 0;
}

/* Each device gets a base on a region's boundary: growing one later moves nothing. */
static int format_layout(struct opening *opening)
{
    struct store *store = opening->store;
    struct superblock *super = &store->super;
    uint64_t base = 0;
    for (unsigned i = 0; i < store->options.device_count; i++) {
        const struct store_device *from = &store->options.devices[i];
        struct device *device = &store->devices.devices[i];
        uint64_t blocks = from->disk->size_bytes / BLOCK_BYTES;
        if (base + blocks > PLACE_MAX)
            return FAIL(-EFBIG, "%s: a store holds at most 256 TiB over its devices",
                        from->disk->name);
        *device = (struct device){
            .disk = from->disk, .base = base, .blocks = blocks, .class = from->class};
        struct superblock_device *named = &super->devices[i];
        named->base = base;
        named->blocks = blocks;
        named->class = (uint32_t)from->class;
        memcpy(named->uuid, opening->uuid, STORE_UUID_BYTES);
        named->uuid[STORE_UUID_BYTES - 1] ^= (uint8_t)(i + 1);
        base += ROUND_UP(blocks, REGION_BLOCKS);
    }
    store->devices.count = store->options.device_count;
    super->device_count = store->options.device_count;
    return 0;
}

static int format_sizes(struct opening *opening)
{
    struct store *store = opening->store;
    struct superblock *super = &store->super;
    super->version = STORE_FORMAT;
    memcpy(super->uuid, opening->uuid, STORE_UUID_BYTES);
    memcpy(super->pool_uuid, store->options.pool_uuid, sizeof super->pool_uuid);
    super->replay_batch = 1;
    sizes_choose(store, super);
    for (unsigned i = 0; i < store->devices.count; i++) {
        const struct device *device = &store->devices.devices[i];
        uint64_t fixed = i == 0 ? SUPERBLOCK_AREA_BLOCKS + super->journal_blocks : 8;
        uint64_t needed = fixed + (i == 0 ? 2 * super->reserve_blocks + format_pages(store) : 64);
        if (device->blocks < needed)
            return FAIL(-EINVAL, "%s: %llu bytes are too few, it needs at least %llu",
                        device->disk->name, (unsigned long long)device->disk->size_bytes,
                        (unsigned long long)needed * BLOCK_BYTES);
    }
    return 0;
}

static void format_labels_read(struct opening *opening)
{
    int error = format_refuse(opening);
    if (error == 0)
        error = format_layout(opening);
    if (error == 0)
        error = format_sizes(opening);
    if (error != 0) {
        opening_end(opening, error);
        return;
    }
    format_wipe_next(opening);
}

int store_format(const struct store_options *options, const uint8_t uuid[16], bool overwrite,
                 struct store **ret_store, store_done_fn *done, void *context)
{
    struct opening *opening;
    int error = opening_begin(options, done, context, &opening);
    if (error != 0)
        return error;
    opening->fresh = true;
    opening->overwrite = overwrite;
    memcpy(opening->uuid, uuid, STORE_UUID_BYTES);
    opening_read_labels(opening, format_labels_read);
    *ret_store = opening->store;
    return 0;
}
