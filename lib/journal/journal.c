/* SPDX-License-Identifier: Apache-2.0 */
/* Open, append, write, complete. What happens to a batch later is in progress.c. */
#include "journal/journal.h"

#include <stdlib.h>

#include "journal/state.h"

enum room { ROOM_HERE, ROOM_NEXT, ROOM_FLYING, ROOM_FULL };

uint64_t journal_fit(const struct journal *journal, uint64_t at)
{
    uint64_t left = journal->options.blocks - at % journal->options.blocks;
    return left < journal->options.batch_blocks_max && !MUTANT(12) ? at + left : at;
}

struct journal_position journal_position_of(const struct journal *journal, uint64_t batch,
                                            uint64_t at)
{
    return (struct journal_position){.batch = batch, .block = at % journal->options.blocks};
}

struct journal_batch *journal_tracked(struct journal *journal, uint64_t number)
{
    assert(number >= journal->oldest && number <= journal->number);
    return &journal->tracked[number % JOURNAL_TRACKED];
}

static void open_batch(struct journal *journal, uint64_t number, uint64_t at)
{
    struct journal_slot *slot =
        LIST_ENTRY(list_pop_front(&journal->free), struct journal_slot, node);
    slot->number = number;
    slot->used = BATCH_HEADER_BYTES;
    slot->count = 0;
    slot->ended = false;
    journal->open = slot;
    journal->number = number;
    journal->open_at = journal_fit(journal, at);
    *journal_tracked(journal, number) = (struct journal_batch){.at = journal->open_at};
}

/* --- Open and close -------------------------------------------------------------------------- */

static int check_options(const struct journal_options *options)
{
    if (options->batch_blocks_max < 2 || options->batch_blocks_max > BATCH_BLOCKS_MAX)
        return FAIL(-EINVAL, "journal: batches of %u blocks", options->batch_blocks_max);
    if (options->in_flight_max < 1 || options->in_flight_max > JOURNAL_FLYING_MAX)
        return FAIL(-EINVAL, "journal: %u batches in flight", options->in_flight_max);
    if (options->blocks < 4ull * options->batch_blocks_max)
        return FAIL(-EINVAL, "journal: a region of %llu blocks is too small",
                    (unsigned long long)options->blocks);
    if (!device_holds(options->devices, options->place, options->blocks))
        return FAIL(-EINVAL, "journal: its region lies on no device");
    if (options->start.batch == 0 || options->start.block >= options->blocks)
        return FAIL(-EINVAL, "journal: cannot begin with batch %llu at block %llu",
                    (unsigned long long)options->start.batch,
                    (unsigned long long)options->start.block);
    return 0;
}

static int open_slots(struct journal *journal)
{
    unsigned count = journal->options.in_flight_max + 1;
    size_t each = (size_t)journal->options.batch_blocks_max * BLOCK_BYTES;
    uint8_t *buffers = aligned_alloc(BLOCK_BYTES, each * count);
    if (buffers == NULL)
        return FAIL(-ENOMEM, "journal: no memory for %u batches", count);
    for (unsigned i = 0; i < count; i++) {
        struct journal_slot *slot = &journal->slots[i];
        slot->journal = journal;
        slot->buffer = buffers + i * each;
        list_init(&slot->entries);
        list_push_back(&journal->free, &slot->node);
    }
    return 0;
}

int journal_open(const struct journal_options *options, struct journal **ret_journal)
{
    int result = check_options(options);
    if (result != 0)
        return result;
    struct journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL)
        return FAIL(-ENOMEM, "journal: no memory");
    journal->options = *options;
    if (journal->options.read_blocks == 0)
        journal->options.read_blocks = READER_BLOCKS;
    list_init(&journal->flying);
    list_init(&journal->free);
    result = open_slots(journal);
    if (result != 0) {
        free(journal);
        return result;
    }
    /* What came before the start is in the checkpoint that names the start. */
    uint64_t before = options->start.batch - 1;
    journal->written = journal->durable = before;
    journal->named = journal->sealed_named = journal->records_in = before;
    journal->oldest = journal->trim_batch = options->start.batch;
    open_batch(journal, options->start.batch, options->start.block);
    journal->trim_at = journal->open_at;
    *ret_journal = journal;
    return 0;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL)
        return;
    reader_done(&journal->reader);
    free(journal->slots[0].buffer);
    free(journal);
}

/* --- Completion ------------------------------------------------------------------------------ */

static void end_entries(struct list *entries, int result)
{
    for (struct list *node; (node = list_pop_front(entries)) != NULL;) {
        struct journal_entry *entry = LIST_ENTRY(node, struct journal_entry, node);
        entry->done(entry, result);
    }
}

static void release(struct journal *journal, struct journal_slot *slot)
{
    list_remove(&slot->node);
    list_push_back(&journal->free, &slot->node);
    journal->flying_count--;
}

/* No entry is left waiting; what still flies only brings its buffer back. */
static void fail(struct journal *journal, int error)
{
    struct list entries;
    list_init(&entries);
    REACH(journal_write_failed);
    journal->failed = error;
    /* No space below, too: here it was promised. The store hears of it even if no entry waits. */
    struct device_set *devices = journal->options.devices;
    device_fail(devices, device_at(devices, journal->options.place), error);
    LIST_EACH_SAFE (&journal->flying, node, after) {
        struct journal_slot *slot = LIST_ENTRY(node, struct journal_slot, node);
        list_splice_back(&entries, &slot->entries);
        if (slot->ended)
            release(journal, slot);
    }
    if (!MUTANT(18))
        list_splice_back(&entries, &journal->open->entries);
    end_entries(&entries, MUTANT(14) ? 0 : IOMESH_FAILED);
}

static void batch_written(struct journal *journal, struct journal_slot *slot)
{
    struct list entries;
    list_init(&entries);
    list_splice_back(&entries, &slot->entries);
    journal_tracked(journal, slot->number)->written = true;
    journal->written = slot->number;
    journal->named = MAX(journal->named, slot->durable);
    release(journal, slot);
    journal_advance(journal);
    end_entries(&entries, 0);
}

static void slot_written(struct device_io *io, int result)
{
    struct journal_slot *slot = CONTAINER_OF(io, struct journal_slot, io);
    struct journal *journal = slot->journal;
    slot->ended = true;
    if (journal->failed != 0) {
        release(journal, slot);
        return;
    }
    if (result != 0 && !MUTANT(10)) {
        fail(journal, result);
        return;
    }
    if (list_first(&journal->flying) != &slot->node)
        REACH(journal_out_of_order);
    if (MUTANT(2))
        end_entries(&slot->entries, 0);
    for (struct list *node; (node = list_first(&journal->flying)) != NULL;) {
        struct journal_slot *first = LIST_ENTRY(node, struct journal_slot, node);
        if (!first->ended)
            break;
        batch_written(journal, first);
    }
    journal_give_room(journal);
}

/* --- Sealing: the open batch becomes a write ------------------------------------------------- */

static void seal(struct journal *journal)
{
    struct journal_slot *slot = journal->open;
    slot->durable = MUTANT(9) ? journal->written : journal->durable;
    const struct batch_header header = {
        .incarnation = journal->options.incarnation,
        .number = slot->number,
        .durable = slot->durable,
        .bytes_used = slot->used,
        .record_count = slot->count,
    };
    batch_seal(slot->buffer, &header);
    journal->sealed_named = slot->durable;
    journal->mark_wanted = false;
    if (slot->count > 0)
        journal->records_in = slot->number;
    uint32_t blocks = batch_blocks(slot->used);
    uint64_t at = journal->open_at;
    journal->stats.batches++;
    journal->stats.blocks_written += blocks;
    list_push_back(&journal->flying, &slot->node);
    journal->flying_count++;
    open_batch(journal, slot->number + 1, at + blocks);
    if (journal->open_at % journal->options.blocks == 0)
        REACH(journal_wrapped);
    device_submit(journal->options.devices, &slot->io, DISK_WRITE,
                  journal->options.place + at % journal->options.blocks, blocks, slot->buffer,
                  slot_written);
}

/* Whether `blocks` blocks at `at` leave what is not trimmed alone. */
static bool fits(const struct journal *journal, uint64_t at, uint32_t blocks)
{
    return at + blocks - journal->trim_at <= journal->options.blocks || MUTANT(7);
}

/* Another batch can be opened behind the open one. */
static bool can_seal(const struct journal *journal)
{
    return journal->number + 1 - journal->oldest < JOURNAL_TRACKED;
}

static bool may_fly(const struct journal *journal)
{
    return journal->flying_count < journal->options.in_flight_max;
}

static enum room find_room(const struct journal *journal, uint32_t length)
{
    const struct journal_slot *slot = journal->open;
    uint32_t used = slot->used + BATCH_RECORD_BYTES + length;
    if (used <= journal->options.batch_blocks_max * BLOCK_BYTES)
        return fits(journal, journal->open_at, batch_blocks(used)) ? ROOM_HERE : ROOM_FULL;
    uint64_t next_at = journal_fit(journal, journal->open_at + batch_blocks(slot->used));
    uint32_t blocks = batch_blocks(BATCH_HEADER_BYTES + BATCH_RECORD_BYTES + length);
    if (!fits(journal, next_at, blocks) || !can_seal(journal))
        return ROOM_FULL;
    return may_fly(journal) ? ROOM_NEXT : ROOM_FLYING;
}

uint32_t journal_record_bytes_max(const struct journal *journal)
{
    uint32_t bytes = journal->options.batch_blocks_max * BLOCK_BYTES;
    return MIN(bytes - BATCH_HEADER_BYTES - BATCH_RECORD_BYTES, BATCH_RECORD_MAX);
}

int journal_append(struct journal *journal, struct journal_entry *entry, const void *record,
                   uint32_t length, journal_done_fn *done)
{
    assert(length > 0 && length <= journal_record_bytes_max(journal));
    /* Without a device no trim will make room. */
    if (journal->failed != 0 || journal->options.devices->failed != 0)
        return IOMESH_FAILED;
    enum room room = find_room(journal, length);
    if (room == ROOM_FLYING || room == ROOM_FULL) {
        REACH(journal_append_refused);
        journal->stats.waits_room += room == ROOM_FLYING;
        journal->stats.waits_full += room == ROOM_FULL;
        if (journal->refused_length == 0)
            journal->refused_length = length;
        return -EAGAIN;
    }
    if (room == ROOM_NEXT)
        seal(journal);
    struct journal_slot *slot = journal->open;
    slot->used = batch_add(slot->buffer, slot->used, record, length);
    slot->count++;
    journal_tracked(journal, slot->number)->outstanding++;
    entry->batch = slot->number;
    entry->done = done;
    list_push_back(&slot->entries, &entry->node);
    journal->stats.records++;
    journal->stats.bytes_records += length;
    return 0;
}

void journal_on_room(struct journal *journal, void (*on_room)(void *context), void *context)
{
    journal->on_room = on_room;
    journal->on_room_context = context;
}

void journal_give_room(struct journal *journal)
{
    if (journal->refused_length == 0 || journal->on_room == NULL)
        return;
    if (journal->failed == 0 && find_room(journal, journal->refused_length) > ROOM_NEXT)
        return;
    journal->refused_length = 0;
    journal->on_room(journal->on_room_context);
}

void journal_turn(struct journal *journal)
{
    /* Who waits in the open batch waits for nothing: it might never be sent. */
    if (journal->failed == 0 && journal->options.devices->failed != 0)
        fail(journal, journal->options.devices->failed);
    if (!MUTANT(19))
        journal_give_room(journal);
    if (journal->failed != 0 || !may_fly(journal) || !can_seal(journal))
        return;
    if (journal->open->count > 0) {
        seal(journal);
    } else if (journal->mark_wanted && fits(journal, journal->open_at, 1)) {
        REACH(journal_mark_sent);
        journal->stats.marks++;
        seal(journal);
    }
}

bool journal_idle(const struct journal *journal)
{
    return list_empty(&journal->flying) && list_empty(&journal->open->entries);
}

void journal_stats(const struct journal *journal, struct journal_stats *ret_stats)
{
    *ret_stats = journal->stats;
}
