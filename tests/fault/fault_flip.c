/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One bit, then 64, flipped in each 4 KiB block of a small store, one block at a time: closed
 * cleanly, and killed with records in its journal a second after the last flush. The store opens,
 * or refuses with a sentence; what it reads is right, or an error; never wrong data. Then the same
 * for each pair of label and superblocks.
 *
 *   fault_flip
 *
 * What one flipped bit may cost: one superblock copy, nothing (the other copy is as good); a block
 * of data, that block; a page or a batch, what it held, as errors, as a store for reading only, or
 * as a refusal. (Killed less than a second after a flush, before a batch says that the flush
 * happened, a damaged block cannot be told from one that never arrived: what was there before is
 * back. That is not tried here.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/short_work.h"

static struct rig rig;
static struct short_work work;

struct results {
    uint64_t flips, opened, read_only, refused;
};
static struct results *results;

static bool prepare(bool killed)
{
    static const enum short_op ops[] = {
        SHORT_WRITE_512,      SHORT_WRITE_FUA,    SHORT_DISCARD_SOME,
        SHORT_WRITE_MANY,     SHORT_ZERO_NO_HOLE, SHORT_FLUSH,
        SHORT_WRITE_CROSSING, SHORT_FLUSH,        SHORT_WAIT};
    if (!short_prepare(&rig, 3, 0, false))
        return false;
    work = (struct short_work){.ops = ops, .count = COUNT_OF(ops)};
    if (!short_run(&work, &rig))
        return false;
    if (killed)
        rig_crash(&rig, false);
    else if (!rig_stop(&rig))
        return false;
    return true;
}

/* Of each 64 bytes of a block one bit, or one bit of the whole. */
static void flip(uint64_t block, bool many)
{
    uint32_t stride = many ? 64 : BLOCK_BYTES;
    for (uint32_t at = 0; at < BLOCK_BYTES; at += stride)
        (void)sim_disk_rot(rig.disks[0], block * BLOCK_BYTES + at, stride);
    __atomic_fetch_add(&results->flips, 1, __ATOMIC_RELAXED);
}

/* True if what is left of it told no lie. */
static bool honest(void)
{
    rig.faulty = true;
    base_clear_error();
    bool opened = rig_start(&rig);
    if (rig.wrong[0] != '\0')
        return false;
    if (!opened && (rig.store == NULL || rig.ended != 0)) {
        __atomic_fetch_add(&results->refused, 1, __ATOMIC_RELAXED);
        return strlen(base_last_error()) > 20 ? true : rig_wrong(&rig, "refused without a word");
    }
    if (!opened) {
        /* It said that its journal lost batches: what they held is not back. */
        __atomic_fetch_add(&results->read_only, 1, __ATOMIC_RELAXED);
        return store_state(rig.store) == STORE_READ_ONLY;
    }
    __atomic_fetch_add(&results->opened, 1, __ATOMIC_RELAXED);
    return short_settle(&rig, true);
}

static bool child_ended(pid_t child, const char *way, uint64_t first, uint64_t second)
{
    int status = 0;
    (void)waitpid(child, &status, 0);
    if (status == 0)
        return true;
    printf("FAILED: %s, blocks %llu and %llu: status %d\n", way, (unsigned long long)first,
           (unsigned long long)second, status);
    return false;
}

static bool try_blocks(const char *way, uint64_t first, uint64_t second, bool many)
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(60);
        flip(first, many);
        if (second != first)
            flip(second, many);
        bool good = honest();
        if (!good)
            printf("  %s\n", rig.wrong);
        (void)fflush(stdout);
        _exit(good ? 0 : 1);
    }
    return child_ended(child, way, first, second);
}

static bool each_block(const char *way)
{
    unsigned failures = 0;
    uint64_t blocks = rig.disks[0]->disk.size_bytes / BLOCK_BYTES;
    for (uint64_t block = 0; block < blocks && failures < 10; block++)
        failures +=
            try_blocks(way, block, block, false) && try_blocks(way, block, block, true) ? 0 : 1;
    static const uint64_t fixed[] = {0, 8, 16, 24, 32};
    for (unsigned a = 0; a < COUNT_OF(fixed); a++) {
        for (unsigned b = a + 1; b < COUNT_OF(fixed); b++)
            failures += try_blocks(way, fixed[a], fixed[b], false) ? 0 : 1;
    }
    return failures == 0;
}

int main(int argc, char **argv)
{
#ifdef IOMESH_MUTANTS
    mutant_active = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
#else
    (void)argc;
    (void)argv;
#endif
    results =
        mmap(NULL, sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        return 2;
    bool good = true;
    for (unsigned killed = 0; killed < 2; killed++) {
        if (!prepare(killed != 0)) {
            printf("%s\n", rig.wrong);
            return 1;
        }
        good = each_block(killed != 0 ? "killed" : "closed") && good;
    }
    printf("%llu blocks spoiled: %llu stores opened, %llu for reading only, %llu refused "
           "with a sentence\n",
           (unsigned long long)results->flips, (unsigned long long)results->opened,
           (unsigned long long)results->read_only, (unsigned long long)results->refused);
    (void)fflush(stdout);
    _exit(good ? 0 : 1);
}
