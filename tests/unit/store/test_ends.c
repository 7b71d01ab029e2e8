/* SPDX-License-Identifier: Apache-2.0 */
/* How a store ends when a device fails: everybody who waits is told, and so is who closes it. */
#include <stdlib.h>

#include "unit/store/rig.h"

#define OPS_MAX 200u
#define STEPS_MAX 200000u

static struct store_op *ops;
static uint64_t sequence;
static unsigned under_way;

static void write_done(struct store_op *write, int result)
{
    write->result = result;
    under_way--;
}

/* False: it waits for ever. Timers of the store go on firing, so that the world never rests. */
static bool turn_while(const bool *waits, const unsigned *count)
{
    for (unsigned steps = 0; (waits != NULL && *waits) || (count != NULL && *count > 0); steps++) {
        if (steps == STEPS_MAX || !world_step(&world))
            return false;
        do
            store_turn(store);
        while ((waits == NULL || *waits) && store_turn_needed(store));
    }
    return true;
}

static void open_store(uint32_t segments_max)
{
    open_world(16384);
    options.cache_bytes = 1; /* As small as it can be. */
    options.segments_max = segments_max;
    format_store();
    start_store();
    data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    ops = calloc(OPS_MAX, sizeof *ops);
    cr_assert(data != NULL && ops != NULL);
}

static void forget(void)
{
    world_close(&world);
    free(ops);
    free(data);
}

static void write_at(unsigned index, uint64_t block)
{
    struct store_op *write = &ops[index];
    write->kind = STORE_WRITE;
    write->volume = 7;
    write->view = VIEW_HEAD;
    write->block = block;
    write->count = 1;
    write->data = data;
    write->sequence = ++sequence;
    write->epoch = 1;
    write->done = write_done;
    under_way++;
    store_submit(store, write);
}

Test(store_ends, who_closes_hears_of_a_device_that_failed_meanwhile)
{
    open_store(0);
    disk->faults.write_error_at = disk->counts.writes + 1;
    write_at(0, 5);
    store_close(store, done, NULL);
    cr_assert_eq(wait_for_it(), IOMESH_FAILED);
    cr_assert_eq(under_way, 0);
    cr_assert_eq(ops[0].result, IOMESH_FAILED);
    forget();
}

/* More map pages than the cache holds dirty, in more segments than are held in memory, and the
 * n-th flush or write fails. */
static void fail_while_many_wait(uint64_t stride, uint32_t segments_max, bool flush, uint64_t n)
{
    open_store(segments_max);
    if (flush)
        disk->faults.flush_error_at = disk->counts.flushes + n;
    else
        disk->faults.write_error_at = disk->counts.writes + n;
    for (unsigned i = 0; i < OPS_MAX; i++)
        write_at(i, i * stride);
    cr_assert(turn_while(NULL, &under_way), "stride %llu, %s %llu: %u wait for ever",
              (unsigned long long)stride, flush ? "flush" : "write", (unsigned long long)n,
              under_way);
    waiting = true;
    store_close(store, done, NULL);
    cr_assert(turn_while(&waiting, NULL), "stride %llu, %s %llu: it does not close",
              (unsigned long long)stride, flush ? "flush" : "write", (unsigned long long)n);
    forget();
}

Test(store_ends, nobody_waits_for_ever_for_a_store_that_failed, .timeout = 120)
{
    for (uint64_t n = 1; n <= 12; n++) {
        fail_while_many_wait(MAP_BLOCKS, 0, true, n);
        fail_while_many_wait(SEGMENT_BLOCKS, 64, true, n);
    }
    for (uint64_t n = 1; n <= 600; n += 23) {
        fail_while_many_wait(MAP_BLOCKS, 0, false, n);
        fail_while_many_wait(SEGMENT_BLOCKS, 64, false, n);
    }
}
