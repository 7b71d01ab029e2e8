/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of <iomesh/snapshot.h> over real files that fail: the n-th request of the ring to
 * the store, or of SQLite to the metadata, then n+1, ... until none fires.
 *
 *   fault_snapshot [OPERATION [FAULT [N]]]
 *
 * Each fault has a copy of a prepared pool, and two lives. In the first the operation meets the
 * fault and ends, well or with an error and a sentence; the process ends, by closing or as if
 * killed. In the second nothing fails: what was acknowledged is there, what was refused is there
 * whole or not at all, every other snapshot, clone and volume shows what it did, the operation can
 * be done now, and pool check finds nothing.
 *
 * Exit status 1 names the first that is false.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "fault/failing.h"
#include "fault/lives.h"

#define BLOCKS 32u
#define BYTES (8 * MIB)

/* clang-format off */
enum operation {
    SNAPSHOT, DELETE, LIST, OPEN, GROUP, GROUP_DELETE, CLONE, CHANGED, ROLLBACK, FLATTEN,
    IMPORT_BEGIN, IMPORT_END, IMPORT_ABANDON, OPERATIONS
};
static const char *const operation_names[OPERATIONS] = {
    "snapshot", "delete", "list", "open", "group", "group-delete", "clone", "changed", "rollback",
    "flatten", "import-begin", "import-end", "import-abandon"};
/* clang-format on */

static const uint8_t uuid_one[IOMESH_UUID_BYTES] = "imported-one";
static const uint8_t uuid_two[IOMESH_UUID_BYTES] = "imported-two";
static uint8_t data[BLOCKS * BLOCK];

/* --- What is prepared ----------------------------------------------------------------------- */

static int create(const char *name)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    options.bytes = BYTES;
    return iomesh_volume_create_sync(pool, name, &options);
}

static int put(unsigned block, unsigned count, char byte)
{
    memset(data, byte, (size_t)count * BLOCK);
    return iomesh_write_sync(volume, (uint64_t)block * BLOCK, count * BLOCK, data, 0);
}

static int open_named(const char *name)
{
    return iomesh_volume_open_sync(pool, name, NULL, &volume);
}

static int close_named(int result)
{
    int closed = iomesh_volume_close_sync(volume);
    volume = NULL;
    return result != 0 ? result : closed;
}

/* A write to a volume that is opened for it. */
static int put_named(const char *name, unsigned block, unsigned count, char byte)
{
    int result = open_named(name);
    return result != 0 ? result : close_named(put(block, count, byte));
}

static int import_begin(const char *name, const uint8_t *uuid, const uint8_t *base)
{
    struct iomesh_import_options options = IOMESH_IMPORT_OPTIONS_INIT;
    options.bytes = BYTES;
    options.uuid = uuid;
    options.base = base;
    return iomesh_import_begin_sync(pool, name, &options, &volume);
}

/* Head of v: 'c' up to block 8, 'b' to 16, 'a' to 32. The snapshots "mid": 'b' and 'a'; "old": 'a';
 * clone k of "old" with 'k' in block 0; w: 'a', in a group with v; i: imported once. */
static bool template_make(void)
{
    static const char *const both[] = {"v", "w"};
    return must(pool_make("template"), "init") && must(engine_start(), "engine") &&
           must(pool_start("template"), "open") && must(create("v"), "create") &&
           must(create("w"), "create") && must(put_named("v", 0, BLOCKS, 'a'), "write") &&
           must(put_named("w", 0, BLOCKS, 'a'), "write") &&
           must(iomesh_snapshot_create_sync(pool, "v@old"), "snapshot") &&
           must(put_named("v", 0, 16, 'b'), "write") &&
           must(iomesh_snapshot_create_sync(pool, "v@mid"), "snapshot") &&
           must(put_named("v", 0, 8, 'c'), "write") &&
           must(iomesh_volume_clone_sync(pool, "v@old", "k"), "clone") &&
           must(put_named("k", 0, 1, 'k'), "write") &&
           must(iomesh_group_create_sync(pool, "g", both, 2), "group") &&
           must(import_begin("i@one", uuid_one, NULL), "import") &&
           must(put(0, BLOCKS, 'a'), "write") && must(iomesh_import_end_sync(volume), "import") &&
           must(all_close(), "close");
}

/* --- The first life ------------------------------------------------------------------------- */

static void see(void *context, const struct iomesh_snapshot_info *info)
{
    (void)info;
    ++*(unsigned *)context;
}

static int list(void)
{
    unsigned count = 0;
    int result = iomesh_snapshot_list_sync(pool, "v", IOMESH_SNAPSHOT_SPACE, see, &count);
    if (result == 0 && count != 3)
        (void)wrong("a list has %u snapshots of 3", count);
    return result;
}

static int changed(void)
{
    struct iomesh_snapshot_info info = {.size = sizeof info};
    struct iomesh_extent extents[8] = {{0}};
    int result = iomesh_snapshot_show_sync(pool, "v@mid", 0, &info);
    if (result == 0)
        result = iomesh_changed_sync(volume, info.cut, 0, BYTES, extents, COUNT_OF(extents));
    if (result > 0 && (extents[0].bytes != 8 * BLOCK || extents[0].flags != IOMESH_EXTENT_CHANGED))
        (void)wrong("%llu bytes with flags %u have changed", (unsigned long long)extents[0].bytes,
                    extents[0].flags);
    return result > 0 ? 0 : result;
}

static int operation_run(enum operation operation)
{
    static const char *const both[] = {"v", "w"};
    switch (operation) {
    case SNAPSHOT: return iomesh_snapshot_create_sync(pool, "v@new");
    case DELETE: return iomesh_snapshot_delete_sync(pool, "v@mid");
    case LIST: return list();
    case OPEN: return open_named("v@mid");
    case GROUP: return iomesh_group_create_sync(pool, "h", both, 2);
    case GROUP_DELETE: return iomesh_group_delete_sync(pool, "g");
    case CLONE: return iomesh_volume_clone_sync(pool, "v", "n");
    case CHANGED: return changed();
    case ROLLBACK: return iomesh_snapshot_rollback_sync(pool, "v@old", 0, NULL, NULL);
    case FLATTEN: return iomesh_volume_flatten_sync(pool, "k", NULL, NULL);
    case IMPORT_BEGIN: return import_begin("i@two", uuid_two, uuid_one);
    case IMPORT_END: return iomesh_import_end_sync(volume);
    default: return iomesh_import_abandon_sync(pool, "i", NULL, NULL);
    }
}

/* Some want v open, some an import begun. */
static bool operation_prepare(enum operation operation)
{
    if (!must(engine_start(), "engine") || !must(pool_start("pool"), "open"))
        return false;
    if (operation == IMPORT_END || operation == IMPORT_ABANDON) {
        if (!must(import_begin("i@two", uuid_two, uuid_one), "import") ||
            !must(put(4, 4, 'i'), "write"))
            return false;
        return operation == IMPORT_END || must(close_named(0), "close");
    }
    if (operation == SNAPSHOT || operation == CHANGED || operation == CLONE || operation == GROUP)
        return must(open_named("v"), "open volume");
    return true;
}

static void life_one(const struct fault_plan *plan, uint64_t n)
{
    enum operation operation = (enum operation)plan->operation;
    if (!operation_prepare(operation))
        return;
    base_clear_error();
    failing_arm((enum failing)plan->fault, n);
    outcome->result = operation_run(operation);
    outcome->fired = failing_mend();
    if (outcome->result != 0 && !outcome->fired)
        (void)wrong("nothing failed, and it ended with %d: %s", outcome->result,
                    iomesh_last_error());
    if (outcome->result != 0 && operation != CHANGED && iomesh_last_error()[0] == '\0')
        (void)wrong("it ended with %d and no sentence", outcome->result);
    while (failing_flying())
        (void)iomesh_wait(engine, 10000000);
    if (n % 2 == 0 && all_close() != 0 && !outcome->fired)
        (void)wrong("it does not close: %s", iomesh_last_error());
    outcome->ended = true;
}

/* --- The second life ------------------------------------------------------------------------ */

/* A view reads as this text says, a letter for each four blocks. */
static bool shows(const char *name, const char *text)
{
    struct iomesh_volume *view = NULL;
    if (!must(iomesh_volume_open_sync(pool, name, NULL, &view), name) ||
        !must(iomesh_read_sync(view, 0, sizeof data, data), name) ||
        !must(iomesh_volume_close_sync(view), name))
        return false;
    for (unsigned i = 0; i < sizeof data; i++) {
        if (data[i] != (uint8_t)text[i / BLOCK / 4])
            return wrong("%s has %#x at byte %u after a result of %d", name, data[i], i,
                         outcome->result);
    }
    return true;
}

static bool shows_clone(void)
{
    memset(data, 0, sizeof data);
    struct iomesh_volume *view = NULL;
    if (!must(iomesh_volume_open_sync(pool, "k", NULL, &view), "k") ||
        !must(iomesh_read_sync(view, 0, sizeof data, data), "k") ||
        !must(iomesh_volume_close_sync(view), "k"))
        return false;
    for (unsigned i = 0; i < sizeof data; i++) {
        if (data[i] != (i < BLOCK ? 'k' : 'a'))
            return wrong("the clone has %#x at byte %u", data[i], i);
    }
    return true;
}

/* Of something that the operation makes (or takes away): is it there? */
static bool is_there(const char *name, bool *ret_there)
{
    struct iomesh_snapshot_info info = {.size = sizeof info};
    struct iomesh_volume_info shown = {.size = sizeof shown};
    int result = strchr(name, '@') != NULL ? iomesh_snapshot_show_sync(pool, name, 0, &info)
                                           : iomesh_volume_show_sync(pool, name, &shown);
    *ret_there = result == 0;
    return result == 0 || result == -ENOENT ? true
                                            : wrong("%s cannot be looked at: %d", name, result);
}

/* It is there if it was made, not if it was refused, either if nobody knows. */
static bool thing_right(const char *name, bool makes, const char *text, bool *ret_there)
{
    bool unsure = outcome->result == IOMESH_UNKNOWN;
    if (!is_there(name, ret_there))
        return false;
    if (!unsure && *ret_there != (makes == (outcome->result == 0)))
        return wrong("%s is %sthere after a result of %d", name, *ret_there ? "" : "not ",
                     outcome->result);
    return !*ret_there || shows(name, text);
}

static bool rolled_right(void)
{
    struct iomesh_volume *view = NULL;
    if (!must(iomesh_volume_open_sync(pool, "v", NULL, &view), "v") ||
        !must(iomesh_read_sync(view, 0, BLOCK, data), "v") ||
        !must(iomesh_volume_close_sync(view), "v"))
        return false;
    if (outcome->result == 0 && data[0] != 'a')
        return wrong("it was rolled back, and shows %#x", data[0]);
    return shows("v", data[0] == 'a' ? "aaaaaaaa" : "ccbbaaaa");
}

/* An import into i: not begun, begun, or ended. Leaves it not begun if it was begun. */
static bool import_right(enum operation operation)
{
    struct iomesh_volume_info info = {.size = sizeof info};
    bool ended = false;
    bool sure = outcome->result == 0;
    if (!must(iomesh_volume_show_sync(pool, "i", &info), "i") || !is_there("i@two", &ended))
        return false;
    bool begun = info.flags & IOMESH_VOLUME_INCOMPLETE;
    if (begun && ended)
        return wrong("its import has ended and is not over");
    if (sure && (begun != (operation == IMPORT_BEGIN) || ended != (operation == IMPORT_END)))
        return wrong("an import was %s, %s", begun ? "begun" : "not begun",
                     ended ? "ended" : "not ended");
    if (begun && !must(iomesh_import_abandon_sync(pool, "i", NULL, NULL), "abandon"))
        return false;
    return shows("i", ended ? "aiaaaaaa" : "aaaaaaaa");
}

/* What it was to do, and that it can be done now. */
static bool operation_right(enum operation operation)
{
    bool there = false;
    switch (operation) {
    case SNAPSHOT:
        if (!thing_right("v@new", true, "ccbbaaaa", &there))
            return false;
        break;
    case DELETE:
        if (!thing_right("v@mid", false, "bbbbaaaa", &there))
            return false;
        there = !there;
        break;
    case GROUP:
        if (!thing_right("v@h", true, "ccbbaaaa", &there) ||
            !thing_right("w@h", true, "aaaaaaaa", &there))
            return false;
        break;
    case GROUP_DELETE:
        if (!thing_right("v@g", false, "ccbbaaaa", &there) ||
            !thing_right("w@g", false, "aaaaaaaa", &there))
            return false;
        there = !there;
        break;
    case CLONE:
        if (!thing_right("n", true, "ccbbaaaa", &there))
            return false;
        break;
    case ROLLBACK:
        if (!rolled_right())
            return false;
        break;
    case CHANGED: return must(open_named("v"), "open volume") && must(changed(), "now");
    default: break;
    }
    if (operation >= IMPORT_BEGIN)
        return import_right(operation);
    return there || must(operation_run(operation), "it cannot be done now");
}

static bool others_right(enum operation operation)
{
    return (operation == ROLLBACK || shows("v", "ccbbaaaa")) && shows("v@old", "aaaaaaaa") &&
           (operation == DELETE || shows("v@mid", "bbbbaaaa")) && shows("w", "aaaaaaaa") &&
           shows_clone() && shows("i@one", "aaaaaaaa");
}

static bool life_two(enum operation operation)
{
    return must(engine_start(), "engine") && must(pool_start("pool"), "open") &&
           others_right(operation) && operation_right(operation) && others_right(operation) &&
           must(all_close(), "close") && checks_out();
}

/* --- Every fault ---------------------------------------------------------------------------- */

static void run_life_two(const struct fault_plan *plan, uint64_t n)
{
    (void)n;
    (void)life_two((enum operation)plan->operation);
}

static enum fault_verdict fault_run(const struct fault_plan *plan, uint64_t n)
{
    memset(outcome, 0, sizeof *outcome);
    bool good = directory_copy("template") && apart(life_one, plan, n) &&
                outcome->wrong[0] == '\0' && apart(run_life_two, plan, n);
    if (!good || outcome->wrong[0] != '\0')
        return FAULT_BROKE;
    return outcome->fired ? FAULT_HELD : FAULT_NOT_FIRED;
}

static void make_template(const struct fault_plan *plan, uint64_t n)
{
    (void)plan, (void)n;
    (void)template_make();
}

static bool each_fault(enum operation operation, const char *only, uint64_t n, uint64_t *fired)
{
    uint64_t before = *fired;
    struct fault_plan plan = {.run = fault_run,
                              .operation = operation,
                              .operation_name = operation_names[operation],
                              .wrong = outcome->wrong,
                              .only = n};
    for (plan.fault = 0; plan.fault < FAILINGS; plan.fault++) {
        plan.fault_name = failing_names[plan.fault];
        /* A read that fails is one, however. */
        if (plan.fault == READ_SHORT || plan.fault == READ_NOTHING || plan.fault == READ_BAD)
            continue;
        if ((only == NULL || strcmp(only, plan.fault_name) == 0) && !fault_each(&plan, fired))
            return false;
    }
    printf("%-14s %llu faults\n", operation_names[operation],
           (unsigned long long)(*fired - before));
    return true;
}

int main(int argc, char **argv)
{
    verbose = argc > 3;
    uint64_t fired = 0;
    bool good = lives_begin() && apart(make_template, NULL, 0) && outcome->wrong[0] == '\0';
    if (!good)
        printf("it cannot begin: %s\n", outcome->wrong);
    for (unsigned operation = 0; operation < OPERATIONS && good; operation++) {
        if (argc < 2 || strcmp(argv[1], operation_names[operation]) == 0)
            good = each_fault((enum operation)operation, argc > 2 ? argv[2] : NULL,
                              argc > 3 ? strtoull(argv[3], NULL, 10) : 0, &fired);
    }
    lives_end();
    (void)fflush(stdout);
    _exit(good && fired > 0 ? 0 : 1);
}
