/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every public operation over real files that fail: the n-th request of the ring to the store, or
 * of SQLite to the metadata, then n+1, ... until none fires.
 *
 *   fault_api [OPERATION [FAULT [N]]]
 *
 * Each fault has a copy of a prepared pool, and two lives. In the first the operation meets the
 * fault: it ends, well or with an error and, where there is one, a sentence; a device that failed a
 * write or a flush is said to have failed; the process ends, by closing or as if killed. In the
 * second nothing fails: the pool opens, what was acknowledged is there, what was refused is there
 * or not, no block is a mixture, nothing else has changed, the operation can be done now, and pool
 * check finds nothing.
 *
 * Exit status 1 names the first that is false.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <iomesh/iomesh.h>

#include "base/base.h"
#include "fault/failing.h"
#include "fault/lives.h"

#define BLOCKS 16u    /* That an operation changes. */
#define OLD_BLOCKS 32 /* That hold 'a'. */
#define NEW_BLOCKS 48 /* And 'k', acknowledged and not flushed when its writer was killed. */
#define AFTER 20u     /* The block that is written after the fault. */

/* clang-format off */
enum operation {
    INIT, OPEN_CLOSED, OPEN_KILLED, CHECK, CREATE, GROW, SHRINK, DELETE, VOLUME_OPEN, READ, WRITE,
    WRITE_FUA, WRITE_PART, ZEROES, DISCARD, FLUSH, BLOCK_STATUS, CLOSE, OPERATIONS
};
static const char *const operation_names[OPERATIONS] = {
    "init", "open-closed", "open-killed", "check", "create", "grow", "shrink", "delete",
    "volume-open", "read", "write", "write-fua", "write-part", "zeroes", "discard", "flush",
    "block-status", "close"};
/* clang-format on */

static _Alignas(4096) uint8_t data[NEW_BLOCKS * BLOCK];

static int create(const char *name, uint64_t bytes)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    options.bytes = bytes;
    options.sector_bytes = 512;
    return iomesh_volume_create_sync(pool, name, &options);
}

static int put(unsigned block, unsigned count, char byte, uint32_t flags)
{
    memset(data, byte, (size_t)count * BLOCK);
    return iomesh_write_sync(volume, (uint64_t)block * BLOCK, count * BLOCK, data, flags);
}

/* A pool of two volumes, each with 32 blocks of 'a'; killed: and 'k' behind them in one. */
static bool template_make(const char *name, bool killed)
{
    static const char *const names[] = {"w", "v"};
    if (!must(pool_make(name), "init") || !must(engine_start(), "engine") ||
        !must(pool_start(name), "open"))
        return false;
    for (unsigned i = 0; i < COUNT_OF(names); i++) {
        if (!must(create(names[i], 8 * MIB), "create") ||
            !must(iomesh_volume_open_sync(pool, names[i], NULL, &volume), "open volume") ||
            !must(put(0, OLD_BLOCKS, 'a', IOMESH_FUA), "write"))
            return false;
        if (i + 1 < COUNT_OF(names))
            (void)iomesh_volume_close_sync(volume);
    }
    if (!killed)
        return must(all_close(), "close");
    return must(put(OLD_BLOCKS, NEW_BLOCKS - OLD_BLOCKS, 'k', 0), "write");
}

/* --- The first life ------------------------------------------------------------------------- */

static int show(uint64_t *ret_bytes, const char *name)
{
    struct iomesh_volume_info info = {.size = sizeof info};
    int result = iomesh_volume_show_sync(pool, name, &info);
    *ret_bytes = info.bytes;
    return result;
}

static int read_right(void)
{
    int result = iomesh_read_sync(volume, 0, OLD_BLOCKS * BLOCK, data);
    for (unsigned i = 0; i < OLD_BLOCKS * BLOCK && result == 0; i++) {
        if (data[i] != 'a')
            (void)wrong("a read gave something else than what was written, at %u", i);
    }
    return result;
}

static int check_named(void)
{
    struct iomesh_check_result checked = IOMESH_CHECK_RESULT_INIT;
    int result = pool_check("pool", &checked);
    return result != 0 ? result : checked.faults != 0 ? -EIO : 0;
}

static int block_status(void)
{
    struct iomesh_extent extents[16];
    int result = iomesh_block_status_sync(volume, 0, 8 * MIB, extents, COUNT_OF(extents));
    return result > 0 ? 0 : result;
}

static int operation_run(enum operation operation)
{
    const uint64_t bytes = (uint64_t)BLOCKS * BLOCK;
    switch (operation) {
    case INIT: return pool_make("pool");
    case CHECK: return check_named();
    case OPEN_CLOSED:
    case OPEN_KILLED: return pool_start("pool");
    case CREATE: return create("c", MIB);
    case GROW: return iomesh_volume_resize_sync(pool, "w", 16 * MIB, 0);
    case SHRINK: return iomesh_volume_resize_sync(pool, "w", MIB, IOMESH_RESIZE_FORCE);
    case DELETE: return iomesh_volume_delete_sync(pool, "w");
    case VOLUME_OPEN: return iomesh_volume_open_sync(pool, "v", NULL, &volume);
    case READ: return read_right();
    case WRITE: return put(0, BLOCKS, 'b', 0);
    case WRITE_FUA: return put(0, BLOCKS, 'b', IOMESH_FUA);
    case WRITE_PART:
        memset(data, 'b', 512);
        return iomesh_write_sync(volume, 3 * BLOCK + 512, 512, data, 0);
    case ZEROES: return iomesh_write_zeroes_sync(volume, 0, bytes, IOMESH_NO_HOLE);
    case DISCARD: return iomesh_discard_sync(volume, 0, bytes, 0);
    case FLUSH: return iomesh_flush_sync(volume);
    case BLOCK_STATUS: return block_status();
    default: return all_close();
    }
}

static bool operation_prepare(enum operation operation)
{
    if (operation == INIT || operation == CHECK)
        return true;
    if (!must(engine_start(), "engine"))
        return false;
    if (operation == OPEN_CLOSED || operation == OPEN_KILLED)
        return true;
    if (!must(pool_start("pool"), "open"))
        return false;
    if (operation != VOLUME_OPEN &&
        !must(iomesh_volume_open_sync(pool, "v", NULL, &volume), "open volume"))
        return false;
    if (operation == FLUSH || operation == CLOSE)
        return must(put(0, BLOCKS, 'b', 0), "write");
    return true;
}

/* A device that failed says so; one that could not read has not. One that is full has not failed
 * for data, and has for the journal, whose space was taken when the pool was made. */
static bool state_right(enum failing failing)
{
    if (failing == WRITE_FULL)
        return true;
    struct iomesh_pool_status status = {.size = sizeof status};
    struct iomesh_device_status device = {.size = sizeof device};
    if (iomesh_pool_status(pool, &status) != 0 || iomesh_pool_device(pool, 0, &device) != 0)
        return wrong("its status cannot be asked for");
    bool failed = failing >= WRITE_EIO && failing <= FLUSH_EIO;
    if (failed != (status.state == IOMESH_POOL_FAILED) || failed != (device.failed != 0))
        return wrong("after %s the pool's state is %u, its device's %u", failing_names[failing],
                     status.state, device.failed);
    return true;
}

/* It goes on, or says that it does not; then it is closed, or killed. */
static void use_after(enum failing failing, bool close)
{
    while (engine != NULL && failing_flying())
        (void)iomesh_wait(engine, 10000000);
    if (pool != NULL && outcome->fired)
        (void)state_right(failing);
    if (volume != NULL) {
        outcome->after_result = put(AFTER, 1, 'c', 0);
        outcome->written_after = true;
        int flushed = iomesh_flush_sync(volume);
        if (outcome->after_result == 0 && failing > WRITE_FULL && failing != FLUSH_EIO)
            (void)must(flushed, "a flush after the metadata failed");
    }
    if (close && engine != NULL && all_close() != 0 && !outcome->fired)
        (void)wrong("it does not close: %s", iomesh_last_error());
}

static void life_one(const struct fault_plan *plan, uint64_t n)
{
    enum operation operation = (enum operation)plan->operation;
    enum failing failing = (enum failing)plan->fault;
    if (!operation_prepare(operation))
        return;
    base_clear_error();
    failing_arm(failing, n);
    outcome->result = operation_run(operation);
    outcome->fired = failing_mend();
    if (outcome->result != 0 && !outcome->fired)
        (void)wrong("nothing failed, and it ended with %d: %s", outcome->result,
                    iomesh_last_error());
    bool names = operation < VOLUME_OPEN;
    if (outcome->result != 0 && names && operation != CHECK && iomesh_last_error()[0] == '\0')
        (void)wrong("it ended with %d and no sentence", outcome->result);
    use_after(failing, n % 2 == 0);
    outcome->ended = true;
}

/* --- The second life ------------------------------------------------------------------------ */

/* What a block may hold: all old, or all new, as the operation ended. */
static bool block_right(enum operation operation, unsigned block, char old)
{
    static const uint8_t zeros[BLOCK] = {0};
    const uint8_t *bytes = data + (size_t)block * BLOCK;
    bool changed = operation >= WRITE && operation <= CLOSE && operation != BLOCK_STATUS &&
                   block < BLOCKS && (operation != WRITE_PART || block == 3);
    bool sure = operation == FLUSH || operation == CLOSE || outcome->result == 0;
    uint8_t now[BLOCK], before[BLOCK];
    memset(before, old, BLOCK);
    memcpy(now, before, BLOCK);
    if (operation == WRITE_PART && changed)
        memset(now + 512, 'b', 512);
    else if (changed)
        memset(now, 'b', BLOCK);
    if (changed && (operation == ZEROES || operation == DISCARD))
        memcpy(now, zeros, BLOCK);
    if (block == AFTER && outcome->written_after) {
        memset(now, 'c', BLOCK);
        sure = outcome->after_result == 0;
    }
    if (memcmp(bytes, now, BLOCK) == 0 || (!sure && memcmp(bytes, before, BLOCK) == 0))
        return true;
    return wrong("block %u begins with %#x after results of %d and %d", block, bytes[0],
                 outcome->result, outcome->after_result);
}

static bool contents_right(enum operation operation)
{
    unsigned blocks = operation == OPEN_KILLED ? NEW_BLOCKS : OLD_BLOCKS;
    if (!must(iomesh_volume_open_sync(pool, "v", NULL, &volume), "open volume") ||
        !must(iomesh_read_sync(volume, 0, blocks * BLOCK, data), "read"))
        return false;
    for (unsigned i = 0; i < blocks; i++) {
        if (!block_right(operation, i, i < OLD_BLOCKS ? 'a' : 'k'))
            return false;
    }
    return true;
}

/* A size after a result. */
static bool size_right(const char *name, uint64_t old, uint64_t new)
{
    uint64_t bytes = 0;
    int result = show(&bytes, name);
    if (result != 0 && result != -ENOENT)
        return wrong("%s cannot be looked at: %d", name, result);
    bool may_old = outcome->result != 0;
    bool may_new = outcome->result == 0 || outcome->result == IOMESH_UNKNOWN;
    bytes = result == 0 ? bytes : 0;
    if ((bytes == new &&may_new) || (bytes == old && (may_old || old == new)))
        return true;
    return wrong("%s has %llu bytes after a result of %d", name, (unsigned long long)bytes,
                 outcome->result);
}

static bool sizes_right(enum operation operation)
{
    uint64_t w = operation == GROW     ? 16 * MIB
                 : operation == SHRINK ? MIB
                 : operation == DELETE ? 0
                                       : 8 * MIB;
    return size_right("w", 8 * MIB, w) && size_right("v", 8 * MIB, 8 * MIB) &&
           size_right("c", 0, operation == CREATE ? MIB : 0);
}

/* What was asked for can be had now. */
static bool again_right(enum operation operation)
{
    uint64_t bytes = 0;
    bool there = show(&bytes, operation == CREATE ? "c" : "w") == 0;
    if ((operation == CREATE && there) || (operation == DELETE && !there))
        return true;
    if (operation < CREATE || operation == VOLUME_OPEN || operation == CLOSE || operation == READ)
        return true;
    return must(operation_run(operation), "it cannot be done now");
}

static bool life_two(enum operation operation)
{
    if (operation == INIT) {
        char path[128];
        path_of(path, "", "pool");
        if (outcome->result != 0 && access(path, F_OK) == 0)
            return wrong("a pool that was not made left something");
        return (outcome->result == 0 || must(pool_make("pool"), "it cannot be made now")) &&
               checks_out();
    }
    return must(engine_start(), "engine") && must(pool_start("pool"), "open") &&
           contents_right(operation) && sizes_right(operation) && again_right(operation) &&
           must(all_close(), "close") && checks_out();
}

/* --- One fault ------------------------------------------------------------------------------ */

static enum fault_verdict fault_run(const struct fault_plan *plan, uint64_t n)
{
    enum operation operation = (enum operation)plan->operation;
    memset(outcome, 0, sizeof *outcome);
    directory_remove("pool");
    if (operation != INIT && !directory_copy(operation == OPEN_KILLED ? "killed" : "closed"))
        return FAULT_BROKE;
    bool good = apart(life_one, plan, n) && outcome->wrong[0] == '\0' && life_two(operation);
    if (!good || outcome->wrong[0] != '\0')
        return FAULT_BROKE;
    return outcome->fired ? FAULT_HELD : FAULT_NOT_FIRED;
}

/* --- Every fault ---------------------------------------------------------------------------- */

static void templates_make(const struct fault_plan *plan, uint64_t killed)
{
    (void)plan;
    (void)template_make(killed != 0 ? "killed" : "closed", killed != 0);
}

static bool each_fault(enum operation operation, const char *only, uint64_t n, uint64_t *fired)
{
    uint64_t before = *fired;
    struct fault_plan plan = {
        .run = fault_run,
        .operation = operation,
        .operation_name = operation_names[operation],
        .wrong = outcome->wrong,
        .only = n,
    };
    for (plan.fault = 0; plan.fault < FAILINGS; plan.fault++) {
        plan.fault_name = failing_names[plan.fault];
        if (only != NULL && strcmp(only, plan.fault_name) != 0)
            continue;
        /* Check reads everything, and to it all of these are one. */
        if (operation == CHECK && (plan.fault == READ_SHORT || plan.fault == READ_NOTHING))
            continue;
        if (!fault_each(&plan, fired))
            return false;
    }
    printf("%-12s %llu faults\n", operation_names[operation],
           (unsigned long long)(*fired - before));
    return true;
}

int main(int argc, char **argv)
{
#ifdef IOMESH_MUTANTS
    mutant_active = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    argc = 1;
#endif
    verbose = argc > 3;
    bool good = lives_begin() && apart(templates_make, NULL, 0) && apart(templates_make, NULL, 1) &&
                outcome->wrong[0] == '\0';
    if (!good)
        printf("it cannot begin: %s\n", outcome->wrong);
    uint64_t fired = 0;
    for (unsigned operation = 0; operation < OPERATIONS && good; operation++) {
        if (argc < 2 || strcmp(argv[1], operation_names[operation]) == 0)
            good = each_fault((enum operation)operation, argc > 2 ? argv[2] : NULL,
                              argc > 3 ? strtoull(argv[3], NULL, 10) : 0, &fired);
    }
    lives_end();
    (void)fflush(stdout);
    _exit(good && fired > 0 ? 0 : 1);
}
