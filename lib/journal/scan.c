/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery. One pass once around the region from the start finds the chain and looks at every block
 * behind it:
 *
 *   in the chain ──(no batch with the next number where it must be)──▶ beyond it ──▶ verdict
 *
 * A power cut keeps any subset of what was not flushed: a hole with batches beyond it is no damage
 * by itself. It is when one of them, or one in the chain, knew the missing one to be durable.
 */
#include "journal/journal.h"
#include "journal/state.h"

enum look { LOOK_BATCH, LOOK_NOTHING, LOOK_LATER };

/* Is there a batch at `at`? Its bytes stay until the reader is asked again. */
static enum look look(struct journal *journal, uint64_t at, struct batch_header *ret_header,
                      const uint8_t **ret_bytes)
{
    uint32_t available;
    const uint8_t *bytes = reader_at(&journal->reader, at, 1, &available);
    if (bytes == NULL)
        return LOOK_LATER;
    struct batch_header header;
    if (batch_header_get(bytes, &header) != 0)
        return LOOK_NOTHING;
    if (header.incarnation != journal->options.incarnation) {
        REACH(journal_old_incarnation);
        if (!MUTANT(5))
            return LOOK_NOTHING;
    }
    uint32_t blocks = batch_blocks(header.bytes_used);
    if (blocks > journal->options.batch_blocks_max)
        return LOOK_NOTHING;
    bytes = reader_at(&journal->reader, at, blocks, &available);
    if (bytes == NULL)
        return LOOK_LATER;
    if (batch_get(bytes, (size_t)available * BLOCK_BYTES, ret_header) != 0) {
        REACH(journal_batch_torn);
        return LOOK_NOTHING;
    }
    *ret_bytes = bytes;
    return LOOK_BATCH;
}

/* --- Scan ------------------------------------------------------------------------------------ */

static void note_batch(struct journal *journal, const struct batch_header *header, bool in_chain)
{
    struct journal_scan *scan = &journal->scan;
    scan->last = MAX(scan->last, header->number);
    if (in_chain) {
        scan->batches++;
        scan->records += header->record_count;
        scan->end.batch++;
    } else if (header->number >= scan->end.batch) {
        REACH(journal_beyond);
        scan->beyond++;
    }
    if (in_chain || !MUTANT(8))
        scan->durable = MAX(scan->durable, header->durable);
}

static void end_chain(struct journal *journal)
{
    journal->in_chain = false;
    journal->chain_end_at = journal->scan_at;
    journal->scan.end.block = journal->scan_at % journal->options.blocks;
    if (journal->scan_at == journal->scan_end_at)
        REACH(journal_chain_fills_region);
}

static void judge(struct journal *journal)
{
    struct journal_scan *scan = &journal->scan;
    scan->unreadable = journal->reader.unreadable;
    uint64_t left = journal->scan_end_at - journal->chain_end_at;
    uint64_t blocks = MIN(left, journal->options.batch_blocks_max);
    if (scan->end.batch <= scan->durable) {
        REACH(journal_damaged);
        scan->damaged = !MUTANT(4);
    }
    if (reader_missed(&journal->reader, journal->chain_end_at, blocks)) {
        REACH(journal_end_unreadable);
        scan->damaged = !MUTANT(15);
    }
    journal->read_done(journal->read_context, 0);
}

/* One step; false if the reader must be waited for. */
static bool scan_once(struct journal *journal)
{
    struct batch_header header;
    const uint8_t *bytes;
    if (journal->scan_at == journal->scan_end_at) {
        end_chain(journal);
        return true;
    }
    enum look found = look(journal, journal->scan_at, &header, &bytes);
    if (found == LOOK_LATER)
        return false;
    bool next = found == LOOK_BATCH && (header.number == journal->scan.end.batch || MUTANT(13));
    /* The chain leaves out the end of the region where a batch might not fit. */
    bool in_chain = journal->in_chain && journal_fit(journal, journal->scan_at) == journal->scan_at;
    if (in_chain && !next) {
        end_chain(journal);
        return true;
    }
    if (found == LOOK_BATCH)
        note_batch(journal, &header, in_chain);
    journal->scan_at += found == LOOK_BATCH ? batch_blocks(header.bytes_used) : 1;
    return true;
}

static void scan_ready(struct journal_reader *reader)
{
    struct journal *journal = CONTAINER_OF(reader, struct journal, reader);
    while (journal->in_chain || journal->scan_at < journal->scan_end_at) {
        if (!scan_once(journal))
            return;
    }
    judge(journal);
}

int journal_scan_start(struct journal *journal, void (*done)(void *context, int result),
                       void *context)
{
    journal->reader.devices = journal->options.devices;
    journal->reader.place = journal->options.place;
    journal->reader.region_blocks = journal->options.blocks;
    journal->reader.piece_blocks = journal->options.read_blocks;
    journal->reader.headroom = journal->options.batch_blocks_max;
    int result = reader_init(&journal->reader);
    if (result != 0)
        return result;
    uint64_t before = journal->options.start.batch - 1;
    journal->scan =
        (struct journal_scan){.end = journal->options.start, .last = before, .durable = before};
    journal->in_chain = true;
    journal->read_done = done;
    journal->read_context = context;
    journal->scan_at = journal->trim_at;
    journal->scan_end_at = journal->trim_at + journal->options.blocks;
    if (MUTANT(11))
        journal->scan_end_at = ROUND_UP(journal->trim_at + 1, journal->options.blocks);
    reader_start(&journal->reader, journal->scan_at, journal->scan_end_at, scan_ready);
    return 0;
}

const struct journal_scan *journal_scanned(const struct journal *journal)
{
    return &journal->scan;
}

/* --- Replay ---------------------------------------------------------------------------------- */

static void replay_settle(struct journal *journal)
{
    if (journal->reader.flying > 0)
        return;
    journal->replay = REPLAY_NONE;
    journal->read_done(journal->read_context, journal->replay_result);
}

static void replay_end(struct journal *journal, int result)
{
    /* Nothing more is asked for; what still flies is waited for. */
    journal->reader.end_at = journal->reader.read_at;
    journal->replay = REPLAY_ENDING;
    journal->replay_result = result;
    replay_settle(journal);
}

/* The next batch of the chain; false if it must be waited for, or if there is none. */
static bool replay_fetch(struct journal *journal)
{
    journal->scan_at = journal_fit(journal, journal->scan_at);
    enum look found =
        look(journal, journal->scan_at, &journal->replay_header, &journal->replay_bytes);
    if (found == LOOK_LATER)
        return false;
    if (found != LOOK_BATCH || journal->replay_header.number != journal->replay_batch) {
        REACH(journal_replay_corrupt);
        journal->replay_bytes = NULL;
        replay_end(journal, IOMESH_CORRUPT);
        return false;
    }
    journal->replay_offset = BATCH_HEADER_BYTES;
    return true;
}

/* All records of the batch at hand; false if the visitor asked to stop. */
static bool replay_batch(struct journal *journal)
{
    const struct batch_header *header = &journal->replay_header;
    bool certain = header->number <= journal->scan.durable || MUTANT(17);
    const uint8_t *record;
    uint32_t length;
    while (batch_next(journal->replay_bytes, header, &journal->replay_offset, &record, &length)) {
        journal->replay = REPLAY_VISITING;
        int answer = journal->visit(journal->read_context, header->number, certain, record, length);
        /* It may have been continued already, from within. */
        if (answer != 0 && journal->replay == REPLAY_VISITING) {
            REACH(journal_replay_paused);
            journal->replay = REPLAY_PAUSED;
            return false;
        }
        journal->replay = REPLAY_RUNNING;
    }
    journal->replay_bytes = NULL;
    journal->scan_at += batch_blocks(header->bytes_used);
    journal->replay_batch++;
    return true;
}

static void replay_run(struct journal *journal)
{
    while (journal->replay_bytes != NULL || journal->replay_batch < journal->scan.end.batch) {
        if (journal->replay_bytes == NULL && !replay_fetch(journal))
            return;
        if (!replay_batch(journal))
            return;
    }
    replay_end(journal, 0);
}

static void replay_ready(struct journal_reader *reader)
{
    struct journal *journal = CONTAINER_OF(reader, struct journal, reader);
    if (journal->replay == REPLAY_RUNNING)
        replay_run(journal);
    else if (journal->replay == REPLAY_ENDING)
        replay_settle(journal);
}

void journal_replay_start_visit(struct journal *journal, journal_visit_fn *visit,
                                void (*done)(void *context, int result), void *context)
{
    assert(!journal->in_chain && journal->replay == REPLAY_NONE);
    journal->replay = REPLAY_RUNNING;
    journal->visit = visit;
    journal->read_done = done;
    journal->read_context = context;
    journal->replay_batch = journal->options.start.batch;
    journal->replay_bytes = NULL;
    journal->scan_at = journal->trim_at;
    /* At least one block, so that an empty chain, too, ends later. */
    uint64_t end_at = MAX(journal->chain_end_at, journal->trim_at + 1);
    reader_start(&journal->reader, journal->scan_at, end_at, replay_ready);
}

void journal_replay_continue(struct journal *journal)
{
    assert(journal->replay == REPLAY_VISITING || journal->replay == REPLAY_PAUSED);
    bool paused = journal->replay == REPLAY_PAUSED;
    journal->replay = REPLAY_RUNNING;
    if (paused)
        replay_run(journal);
}
