/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of written batches: applied, durable, trimmed. */
#include "journal/journal.h"
#include "journal/state.h"

void journal_advance(struct journal *journal)
{
    while (journal->oldest < journal->number) {
        const struct journal_batch *batch = journal_tracked(journal, journal->oldest);
        if (!batch->written || batch->outstanding > 0)
            return;
        journal->oldest++;
    }
}

void journal_applied(struct journal *journal, struct journal_entry *entry)
{
    struct journal_batch *batch = journal_tracked(journal, entry->batch);
    assert(batch->outstanding > 0);
    batch->outstanding--;
    journal_advance(journal);
}

uint64_t journal_applied_through(const struct journal *journal)
{
    return MUTANT(3) ? journal->written : journal->oldest - 1;
}

void journal_set_durable(struct journal *journal, uint64_t batch)
{
    assert(batch <= journal_applied_through(journal));
    journal->durable = MAX(journal->durable, batch);
}

uint64_t journal_durable(const struct journal *journal)
{
    return journal->durable;
}

bool journal_durable_unnamed(const struct journal *journal)
{
    /* Of marks nobody needs to know that they are durable: else each would ask for another. */
    return journal->durable > journal->named && journal->records_in > journal->named && !MUTANT(16);
}

void journal_mark(struct journal *journal)
{
    if (journal->failed == 0 && journal->sealed_named < journal->durable)
        journal->mark_wanted = true;
}

struct journal_position journal_replay_start(const struct journal *journal)
{
    uint64_t number = MUTANT(6) ? journal->number : journal->oldest;
    return journal_position_of(journal, number, journal->tracked[number % JOURNAL_TRACKED].at);
}

void journal_trim(struct journal *journal, struct journal_position start)
{
    assert(start.batch >= journal->trim_batch && (start.batch <= journal->oldest || MUTANT(6)));
    assert(start.block < journal->options.blocks);
    uint64_t blocks = journal->options.blocks;
    if (start.batch == journal->trim_batch)
        return;
    /* Another batch at the same place is a whole lap further. */
    uint64_t step = (start.block + blocks - journal->trim_at % blocks) % blocks;
    journal->trim_at += step == 0 ? blocks : step;
    journal->trim_batch = start.batch;
    assert(journal->trim_at <= journal->open_at);
}

uint64_t journal_used_blocks(const struct journal *journal)
{
    uint32_t open = journal->open->count > 0 ? batch_blocks(journal->open->used) : 0;
    return journal->open_at - journal->trim_at + open;
}

uint64_t journal_blocks(const struct journal *journal)
{
    return journal->options.blocks;
}
