/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation on a pool and its volumes with the n-th request failing, then n+1, ... until none
 * fires: of SQLite's files, of SQLite's memory, of the store's disk.
 *
 *   fault_catalog [OPERATION [FAULT [N]]]
 *
 * Never a crash, never a hang: it ends, well or with an error and a sentence. Then, with everything
 * mended, the process is killed, or power cut, and it starts again: what ended well is there, what
 * failed did not happen (IOMESH_UNKNOWN: one or the other), nothing is half made, other volumes are
 * as they were, the same operation can be done now, and the store is proved.
 *
 * Each fault is a fork of a prepared process. Exit status 1 names the first that is false.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault/fault.h"
#include "sim/catalog_rig.h"

#define SMALL (1ull << 20)
#define LARGE (3ull << 20)

enum operation { FORMAT, OPEN, CREATE, GROW, SHRINK, DELETE, CLOSE, CLONE, ROLLBACK, OPERATIONS };
static const char *const operation_names[OPERATIONS] = {
    "format", "open", "create", "grow", "shrink", "delete", "close", "clone", "rollback"};

enum fault {
    META_WRITE,
    META_SYNC,
    META_FULL,
    META_DEAD, /* From the n-th on. */
    META_MEMORY,
    DISK_READ_EIO,
    DISK_WRITE_EIO,
    DISK_FLUSH_EIO,
    DISK_SHORT,
    DISK_FULL,
    FAULTS
};
static const char *const fault_names[FAULTS] = {
    "meta-write", "meta-sync", "meta-full", "meta-dead", "meta-memory",
    "read-eio",   "write-eio", "flush-eio", "short",     "full"};

static struct catalog_rig rig;
static _Alignas(4096) uint8_t data[BLOCK_BYTES];

/* --- SQLite's memory ------------------------------------------------------------------------ */

static sqlite3_mem_methods memory;
static uint64_t memory_asked, memory_fails_at;

static bool memory_refused(void)
{
    return ++memory_asked == memory_fails_at;
}

static void *memory_malloc(int bytes)
{
    return memory_refused() ? NULL : memory.xMalloc(bytes);
}

static void *memory_realloc(void *old, int bytes)
{
    return memory_refused() ? NULL : memory.xRealloc(old, bytes);
}

static bool memory_open(void)
{
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory) != SQLITE_OK)
        return false;
    sqlite3_mem_methods failing = memory;
    failing.xMalloc = memory_malloc;
    failing.xRealloc = memory_realloc;
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) == SQLITE_OK;
}

/* --- Faults --------------------------------------------------------------------------------- */

static void fault_arm(enum fault fault, uint64_t n)
{
    static const int codes[] = {SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, SQLITE_FULL,
                                SQLITE_IOERR_WRITE};
    const struct sim_disk_counts *counts = &rig.disk->counts;
    struct sim_faults *faults = &rig.disk->faults;
    switch (fault) {
    case META_WRITE:
    case META_SYNC:
    case META_FULL:
    case META_DEAD:
        rig.vfs.fail_first = rig.vfs.operations + n;
        rig.vfs.fail_last = fault == META_DEAD ? UINT64_MAX : rig.vfs.fail_first;
        rig.vfs.fail_code = codes[fault];
        break;
    case META_MEMORY: memory_fails_at = memory_asked + n; break;
    case DISK_READ_EIO: faults->read_error_at = counts->reads + n; break;
    case DISK_WRITE_EIO: faults->write_error_at = counts->writes + n; break;
    case DISK_FLUSH_EIO: faults->flush_error_at = counts->flushes + n; break;
    case DISK_SHORT: faults->short_at = counts->reads + counts->writes + n; break;
    default: faults->full_at = counts->writes + n; break;
    }
}

static bool fault_reached(enum fault fault)
{
    const struct sim_disk_counts *counts = &rig.disk->counts;
    if (fault <= META_DEAD)
        return rig.vfs.operations >= rig.vfs.fail_first;
    if (fault == META_MEMORY)
        return memory_asked >= memory_fails_at;
    return counts->errors + counts->flush_errors + counts->shorts + counts->fulls > 0;
}

static void fault_mend(void)
{
    rig.vfs.fail_first = rig.vfs.fail_last = 0;
    rig.disk->faults = (struct sim_faults){.read_error_one_in = 0};
    memory_fails_at = 0;
}

/* --- Operations ----------------------------------------------------------------------------- */

static void ended(void *context, int result)
{
    if (result != 0 && base_last_error()[0] == '\0')
        (void)catalog_rig_wrong(&rig, "it ended with %d and no sentence", result);
    catalog_rig_ended(context, result);
}

/* What an operation that was accepted, or not, ended with. */
static int end(int accepted)
{
    if (accepted != 0)
        return accepted;
    return catalog_rig_wait(&rig, &rig.waiting, "the operation") ? rig.ended : -ECANCELED;
}

static int operation_run(enum operation operation)
{
    static const struct catalog_create create = {.bytes = SMALL, .sector_bytes = 4096};
    rig.waiting = true;
    switch (operation) {
    case CREATE: return end(catalog_create(rig.catalog, "c", &create, ended, &rig));
    case GROW: return end(catalog_resize(rig.catalog, "a", LARGE, false, ended, &rig));
    case SHRINK: return end(catalog_resize(rig.catalog, "a", SMALL, true, ended, &rig));
    case DELETE: return end(catalog_delete(rig.catalog, "a", ended, &rig));
    case ROLLBACK:
        return end(catalog_snapshot_rollback(rig.catalog, "a", "s", false, NULL, ended, &rig));
    case CLONE: return end(catalog_clone(rig.catalog, "a", NULL, "c", ended, &rig));
    case FORMAT: return catalog_rig_format(&rig) ? 0 : -EIO;
    case OPEN: return catalog_rig_start(&rig) && catalog_rig_settle(&rig) ? 0 : -EIO;
    default: return catalog_rig_stop(&rig) ? 0 : -EIO;
    }
}

/* Whole stages speak through the rig: that they failed is fine, that they hang is not. */
static void operation_forgive(enum operation operation, int result)
{
    bool stage = operation == FORMAT || operation == OPEN || operation == CLOSE;
    if (stage && result != 0 && strstr(rig.wrong, "end") == NULL && strlen(rig.wrong) > 12)
        rig.wrong[0] = '\0';
}

/* --- What there is -------------------------------------------------------------------------- */

static struct {
    uint64_t a, b, c; /* Sizes; 0: no such volume. */
    bool others;
} seen;

static void look_each(void *context, const struct catalog_info *info)
{
    (void)context;
    if (strcmp(info->name, "a") == 0)
        seen.a = info->bytes;
    else if (strcmp(info->name, "b") == 0)
        seen.b = info->bytes;
    else if (strcmp(info->name, "c") == 0)
        seen.c = info->bytes;
    else
        seen.others = true;
}

static bool look(void)
{
    memset(&seen, 0, sizeof seen);
    rig.waiting = true;
    int result = end(catalog_list(rig.catalog, NULL, 100, look_each, ended, &rig));
    return result == 0 ? true : catalog_rig_wrong(&rig, "listing volumes: %d", result);
}

static struct catalog_handle *opened;

static void handle_opened(void *context, int result, struct catalog_handle *handle)
{
    opened = handle;
    catalog_rig_ended(context, result);
}

static void io_done(struct volume_io *io, int result)
{
    (void)io;
    catalog_rig_ended(&rig, result);
}

/* One request on a volume: opens it, and closes it again. */
static bool volume_io(const char *name, enum volume_io_kind kind, uint64_t offset)
{
    static struct volume_io io;
    rig.waiting = true;
    if (end(catalog_handle_open(rig.catalog, name, kind == VOLUME_READ, handle_opened, &rig)) != 0)
        return catalog_rig_wrong(&rig, "%s cannot be opened", name);
    io = (struct volume_io){.kind = kind, .offset = offset, .length = BLOCK_BYTES, .data = data};
    io.done = io_done;
    io.flags = kind == VOLUME_WRITE ? VOLUME_FUA : 0;
    rig.waiting = true;
    volume_submit(catalog_handle_volume(opened), &io);
    if (end(0) != 0)
        return catalog_rig_wrong(&rig, "%s cannot be read or written: %d", name, rig.ended);
    rig.waiting = true;
    catalog_handle_close(opened, catalog_rig_ended, &rig);
    return end(0) == 0;
}

static bool holds(const char *name, uint8_t byte)
{
    memset(data, 0, sizeof data);
    if (!volume_io(name, VOLUME_READ, 0))
        return false;
    for (unsigned i = 0; i < sizeof data; i++) {
        if (data[i] != byte)
            return catalog_rig_wrong(&rig, "%s lost what was in it", name);
    }
    return true;
}

static bool put(const char *name, uint8_t byte, uint64_t offset)
{
    memset(data, byte, sizeof data);
    return volume_io(name, VOLUME_WRITE, offset);
}

/* Old size, new size; after a result. */
static bool either(const char *name, uint64_t is, uint64_t old, uint64_t new, int result)
{
    bool may_old = result != 0;
    bool may_new = result == 0 || result == IOMESH_UNKNOWN;
    if ((is == old && may_old) || (is == new &&may_new))
        return true;
    return catalog_rig_wrong(&rig, "%s has %llu bytes after a result of %d", name,
                             (unsigned long long)is, result);
}

static bool looks_right(enum operation operation, int result)
{
    static const uint64_t a_old[OPERATIONS] = {
        [OPEN] = LARGE,   [CREATE] = LARGE, [GROW] = SMALL,  [SHRINK] = LARGE,
        [DELETE] = LARGE, [CLOSE] = LARGE,  [CLONE] = LARGE, [ROLLBACK] = LARGE};
    uint64_t a = a_old[operation];
    uint64_t a_new = operation == GROW ? LARGE : operation == SHRINK ? SMALL : a;
    if (!look())
        return false;
    bool right = either("a", seen.a, a, operation == DELETE ? 0 : a_new, result) &&
                 either("c", seen.c, 0,
                        operation == CREATE  ? SMALL
                        : operation == CLONE ? LARGE
                                             : 0,
                        result);
    if (right && (seen.others || seen.b != SMALL))
        right = catalog_rig_wrong(&rig, "another volume is not what it was");
    if (right && operation == CLONE && seen.c != 0)
        right = holds("c", 'a');
    /* What was begun is finished before anybody sees it; what was not leaves all as it was. */
    if (right && operation == ROLLBACK && result != 0 && !holds("a", 'x'))
        rig.wrong[0] = '\0';
    else if (right && operation == ROLLBACK && result != 0)
        return holds("b", 'b');
    return right && (seen.a == 0 || holds("a", 'a')) && holds("b", 'b');
}

/* --- One fault ------------------------------------------------------------------------------ */

static bool prepare(enum operation operation)
{
    if (operation == FORMAT)
        return true;
    static const struct catalog_create small = {.bytes = SMALL, .sector_bytes = 4096};
    static const struct catalog_create large = {.bytes = LARGE, .sector_bytes = 4096};
    if (!catalog_rig_format(&rig) || !catalog_rig_start(&rig))
        return false;
    rig.waiting = true;
    if (end(catalog_create(rig.catalog, "a", operation == GROW ? &small : &large, ended, &rig)) !=
        0)
        return catalog_rig_wrong(&rig, "create");
    rig.waiting = true;
    if (end(catalog_create(rig.catalog, "b", &small, ended, &rig)) != 0)
        return catalog_rig_wrong(&rig, "create");
    bool good = put("a", 'a', 0) && put("b", 'b', 0) &&
                (operation == GROW || put("a", 'a', LARGE - BLOCK_BYTES));
    if (good && operation == ROLLBACK) {
        static const uint8_t uuid[16] = {1};
        rig.waiting = true;
        good = end(catalog_snapshot_create(rig.catalog, "a", "s", uuid, ended, &rig)) == 0 &&
               put("a", 'x', 0);
    }
    return good && (operation != OPEN || catalog_rig_stop(&rig));
}

/* It failed or not: a pool, or one that can be made now. */
static bool format_again(int result)
{
    if (result == 0)
        return catalog_rig_start(&rig) && catalog_rig_stop(&rig) && catalog_rig_check(&rig);
    if (rig.meta != NULL)
        meta_close(rig.meta);
    rig.meta = NULL;
    rig.store = NULL;
    rig.waiting = true;
    if (store_open(&rig.store_options, &rig.store, catalog_rig_ended, &rig) == 0 && end(0) != 0)
        rig.store = NULL;
    if (rig.store != NULL && store_state(rig.store) != STORE_READY)
        return catalog_rig_wrong(&rig, "a store that was made in half opens");
    rig.store = NULL;
    uint8_t uuid[16] = {1};
    rig.waiting = true;
    int again =
        end(store_format(&rig.store_options, uuid, true, &rig.store, catalog_rig_ended, &rig));
    rig.store = NULL;
    return again == 0 && catalog_rig_check(&rig)
               ? true
               : catalog_rig_wrong(&rig, "it cannot be formatted now: %d", again);
}

static bool prove(enum operation operation, int result)
{
    if (operation == FORMAT)
        return format_again(result);
    if (!catalog_rig_start(&rig) || !catalog_rig_settle(&rig) || !looks_right(operation, result))
        return false;
    if (operation != OPEN && operation != CLOSE) {
        bool done = operation == CREATE || operation == CLONE ? seen.c != 0
                    : operation == DELETE                     ? seen.a == 0
                                          : seen.a == (operation == GROW ? LARGE : SMALL);
        int again = done && operation != ROLLBACK ? 0 : operation_run(operation);
        if (again != 0 || !looks_right(operation, 0))
            return catalog_rig_wrong(&rig, "it cannot be done now: %d", again);
    }
    return catalog_rig_settle(&rig) && catalog_rig_stop(&rig) && catalog_rig_check(&rig);
}

static enum fault_verdict fault_run(const struct fault_plan *plan, uint64_t n)
{
    enum operation operation = (enum operation)plan->operation;
    enum fault fault = (enum fault)plan->fault;
    if (!prepare(operation))
        return FAULT_BROKE;
    fault_arm(fault, n);
    int result = operation_run(operation);
    bool fired = fault_reached(fault);
    fault_mend();
    operation_forgive(operation, result);
    if (!fired && result != 0)
        (void)catalog_rig_wrong(&rig, "nothing failed, and it ended with %d", result);
    if (rig.wrong[0] != '\0')
        return FAULT_BROKE;
    if (operation != FORMAT && (rig.meta != NULL || rig.store != NULL))
        catalog_rig_crash(&rig, fault == META_SYNC || fault == DISK_FLUSH_EIO || n % 2 == 0);
    return !prove(operation, result) ? FAULT_BROKE : fired ? FAULT_HELD : FAULT_NOT_FIRED;
}

/* --- Every fault ---------------------------------------------------------------------------- */

static uint64_t fired_total;

static bool each_fault(enum operation operation, const char *fault_only, uint64_t only)
{
    uint64_t before = fired_total;
    struct fault_plan plan = {
        .run = fault_run,
        .operation = operation,
        .operation_name = operation_names[operation],
        .wrong = rig.wrong,
        .only = only,
    };
    for (plan.fault = 0; plan.fault < FAULTS; plan.fault++) {
        plan.fault_name = fault_names[plan.fault];
        if (fault_only != NULL && strcmp(fault_only, plan.fault_name) != 0)
            continue;
        if (!fault_each(&plan, &fired_total))
            return false;
    }
    printf("%-8s %llu faults\n", operation_names[operation],
           (unsigned long long)(fired_total - before));
    return true;
}

int main(int argc, char **argv)
{
#ifdef IOMESH_MUTANTS
    mutant_active = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    argc = 1;
#endif
    if (!memory_open())
        return 2;
    catalog_rig_open(&rig, 5, NULL);
    bool good = true;
    for (unsigned operation = 0; operation < OPERATIONS && good; operation++) {
        if (argc < 2 || strcmp(argv[1], operation_names[operation]) == 0)
            good = each_fault((enum operation)operation, argc > 2 ? argv[2] : NULL,
                              argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
    }
    (void)fflush(stdout);
    _exit(good && fired_total > 0 ? 0 : 1);
}
