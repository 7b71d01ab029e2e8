/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation of a store with its n-th disk request failing, then n+1, ... until none fires.
 *
 *   fault_store [OPERATION [FAULT [N]]]
 *
 * Reads, writes and flushes fail with EIO, reads and writes come up short, writes find the disk
 * full; on each disk. Never a crash, never a hang: each operation ends, with an error or well; a
 * failed store still closes. Then, on disks that work again, the store is proved, opened, settled
 * (what a flush or FUA covered is there), written and proved again.
 *
 * Each fault is a fork of a prepared process. Exit status 1 names the first that is false.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault/fault.h"
#include "sim/short_work.h"

/* What is done beside the operations of short_work.h. */
enum { OPEN_CLEAN = SHORT_KINDS, OPEN_KILLED, READ, OPERATIONS };

enum { READ_EIO, WRITE_EIO, FLUSH_EIO, SHORT_IO, FULL, FAULTS };

static const char *const fault_names[FAULTS] = {"read-eio", "write-eio", "flush-eio", "short",
                                                "full"};

static struct rig rig;
static struct short_work work;

static const char *operation_name(unsigned operation)
{
    static const char *const names[] = {"open-clean", "open-killed", "read"};
    return operation < SHORT_KINDS ? short_op_names[operation] : names[operation - SHORT_KINDS];
}

/* --- Faults --------------------------------------------------------------------------------- */

static void fault_arm(struct sim_disk *disk, unsigned fault, uint64_t n)
{
    const struct sim_disk_counts *counts = &disk->counts;
    switch (fault) {
    case READ_EIO: disk->faults.read_error_at = counts->reads + n; break;
    case WRITE_EIO: disk->faults.write_error_at = counts->writes + n; break;
    case FLUSH_EIO: disk->faults.flush_error_at = counts->flushes + n; break;
    case SHORT_IO: disk->faults.short_at = counts->reads + counts->writes + n; break;
    default: disk->faults.full_at = counts->writes + n; break;
    }
}

static uint64_t faults_fired(const struct sim_disk *disk)
{
    const struct sim_disk_counts *counts = &disk->counts;
    return counts->errors + counts->flush_errors + counts->shorts + counts->fulls;
}

/* --- One fault ------------------------------------------------------------------------------ */

static void run(enum short_op op, unsigned volume)
{
    const enum short_op ops[] = {op};
    work = (struct short_work){.ops = ops, .count = 1, .volume = volume};
    (void)short_run(&work, &rig);
}

/* The process dies; what a failed flush dropped is gone, as after a power cut. */
static void restart(void)
{
    rig_crash(&rig, false);
}

static bool operation_prepare(unsigned operation)
{
    if (operation == OPEN_CLEAN)
        return rig_stop(&rig);
    if (operation == SHORT_FLUSH)
        run(SHORT_WRITE_MANY, 0);
    if (operation == OPEN_KILLED) {
        run(SHORT_WRITE_CROSSING, 0);
        run(SHORT_FLUSH, 0);
        run(SHORT_WRITE_MANY, 1);
        restart();
    }
    if (operation == READ) {
        rig_stop(&rig);
        return rig_start(&rig);
    }
    return true;
}

static void operation_run(unsigned operation)
{
    if (operation < SHORT_KINDS)
        run((enum short_op)operation, 0);
    else if (operation == READ)
        (void)short_settle(&rig, false);
    else
        (void)rig_start(&rig);
}

/* A store that failed still ends what it is asked, and closes. */
static void use_after(uint64_t n)
{
    if (rig.gave_up || rig.store == NULL || rig.engine == NULL)
        return;
    for (unsigned v = 0; v < RIG_VOLUMES && rig.wrong[0] == '\0'; v++) {
        if (rig.volumes[v].volume == NULL)
            continue;
        run(SHORT_WRITE_512, v);
        run(SHORT_FLUSH, v);
        break;
    }
    if (n % 2 == 0 && rig.wrong[0] == '\0')
        (void)rig_stop(&rig);
}

static bool prove(void)
{
    if (!rig_check(&rig) || !rig_start(&rig) || !short_settle(&rig, true) ||
        !short_delete_again(&rig))
        return false;
    for (unsigned v = 0; v < RIG_VOLUMES && rig.wrong[0] == '\0'; v++) {
        if (rig.volumes[v].volume != NULL)
            run(SHORT_WRITE_CROSSING, v);
    }
    return rig.wrong[0] == '\0' && rig_stop(&rig) && rig_check(&rig) && rig_start(&rig) &&
           short_settle(&rig, false) && rig_stop(&rig);
}

static enum fault_verdict fault_run(const struct fault_plan *plan, uint64_t n)
{
    struct sim_disk *disk = rig.disks[plan->disk];
    if (!operation_prepare(plan->operation))
        return FAULT_BROKE;
    uint64_t before = faults_fired(disk);
    rig.faulty = true;
    fault_arm(disk, plan->fault, n);
    operation_run(plan->operation);
    bool fired = faults_fired(disk) > before;
    disk->faults = (struct sim_faults){.read_error_one_in = 0};
    if (rig.wrong[0] == '\0')
        use_after(n);
    rig.faulty = rig.gave_up = false;
    restart();
    if (rig.wrong[0] == '\0')
        (void)prove();
    return rig.wrong[0] != '\0' ? FAULT_BROKE : fired ? FAULT_HELD : FAULT_NOT_FIRED;
}

/* --- Every fault ---------------------------------------------------------------------------- */

static uint64_t fired_total;

static bool each_fault(unsigned operation, unsigned fault, uint64_t only)
{
    struct fault_plan plan = {
        .run = fault_run,
        .operation = operation,
        .fault = fault,
        .operation_name = operation_name(operation),
        .fault_name = fault_names[fault],
        .wrong = rig.wrong,
        .only = only,
    };
    bool good = true;
    for (; plan.disk < rig.disk_count && good; plan.disk++)
        good = fault_each(&plan, &fired_total);
    return good;
}

/* True if nothing was false on a store that this seed draws. */
static bool each_operation(const char *operation_only, const char *fault_only, uint64_t only)
{
    bool good = true;
    for (unsigned operation = 0; operation < OPERATIONS && good; operation++) {
        if (operation_only != NULL && strcmp(operation_only, operation_name(operation)) != 0)
            continue;
        uint64_t before = fired_total;
        for (unsigned fault = 0; fault < FAULTS && good; fault++) {
            if (fault_only == NULL || strcmp(fault_only, fault_names[fault]) == 0)
                good = each_fault(operation, fault, only);
        }
        printf("%-16s %llu faults on %u disks\n", operation_name(operation),
               (unsigned long long)(fired_total - before), rig.disk_count);
    }
    return good;
}

int main(int argc, char **argv)
{
#ifdef IOMESH_MUTANTS
    mutant_active = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    argc = 1;
#endif
    bool good = true;
    /* A store of one disk, and the first that has more. */
    for (uint64_t seed = 3, stores = 0; stores < 2 && good; seed++) {
        if (!short_prepare(&rig, seed, 0, true)) {
            printf("%s\n", rig.wrong);
            return 1;
        }
        if ((rig.disk_count > 1) != (stores == 1))
            continue;
        stores++;
        good = each_operation(argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL,
                              argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
    }
    (void)fflush(stdout);
    _exit(good && fired_total > 0 ? 0 : 1);
}
