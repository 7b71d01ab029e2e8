/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/catalog_rig.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURNS_MAX 3000000u
#define DISK_BLOCKS 2500u

bool catalog_rig_wrong(struct catalog_rig *rig, const char *format, ...)
{
    if (rig->wrong[0] != '\0')
        return false;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(rig->wrong, sizeof rig->wrong, format, arguments);
    va_end(arguments);
    return false;
}

static void rig_store_event(void *context, const struct store_event *event)
{
    const struct catalog_rig *rig = context;
    if (rig->verbose)
        (void)fprintf(stderr, "      store %d: %s\n", (int)event->severity, event->text);
}

static void rig_power_gone(void *context)
{
    struct catalog_rig *rig = context;
    world_cut(&rig->world);
}

void catalog_rig_open(struct catalog_rig *rig, uint64_t seed, const char *path)
{
    memset(rig, 0, sizeof *rig);
    world_open(&rig->world, seed);
    rig->prng = (struct prng){.state = seed ^ 0x2545f4914f6cdd1du};
    rig->path = path;
    rig->disk = sim_disk_open(&rig->world, "disk", (uint64_t)DISK_BLOCKS * BLOCK_BYTES);
    meta_vfs_open(&rig->vfs, seed);
    rig->vfs.on_cut = rig_power_gone;
    rig->vfs.on_cut_context = rig;
    rig->store_options = (struct store_options){
        .clock = &rig->world.clock,
        .devices = {{.disk = &rig->disk->disk, .class = DEVICE_SSD}},
        .device_count = 1,
        .cache_bytes = 256ull * BLOCK_BYTES,
        .batch_blocks_max = 4,
        .journal_bytes = 64ull * BLOCK_BYTES,
        .reserve_bytes = 320ull * BLOCK_BYTES,
        .segments_max = 64,
        .quarantine_max = 1024,
        .event = rig_store_event,
        .context = rig,
    };
    rig->catalog_options = (struct catalog_options){
        .clock = &rig->world.clock,
        .context = rig,
    };
}

void catalog_rig_close(struct catalog_rig *rig)
{
    if (rig->meta != NULL)
        meta_close(rig->meta);
    meta_vfs_close(&rig->vfs);
    world_close(&rig->world);
}

/* --- Turning -------------------------------------------------------------------------------- */

bool catalog_rig_turn(struct catalog_rig *rig)
{
    bool steps = rig->meta_one_in < 2 || prng_one_in(&rig->prng, rig->meta_one_in);
    if (rig->meta != NULL && steps)
        (void)meta_sqlite_step(rig->meta);
    if (rig->world.off || rig->wrong[0] != '\0')
        return false;
    if (rig->meta != NULL)
        (void)meta_poll(rig->meta);
    (void)world_step(&rig->world);
    if (rig->world.off) {
        meta_vfs_power_off(&rig->vfs);
        return false;
    }
    if (rig->volumes != NULL)
        volume_engine_turn(rig->volumes);
    if (rig->store != NULL)
        store_turn(rig->store);
    if (rig->catalog != NULL)
        (void)catalog_turn(rig->catalog);
    return true;
}

bool catalog_rig_wait(struct catalog_rig *rig, const bool *until_false, const char *what)
{
    for (uint64_t turns = 0; *until_false; turns++) {
        if (!catalog_rig_turn(rig))
            return false;
        if (turns > TURNS_MAX)
            return catalog_rig_wrong(rig, "%s: does not end", what);
    }
    return rig->wrong[0] == '\0' && !rig->world.off;
}

void catalog_rig_ended(void *context, int result)
{
    struct catalog_rig *rig = context;
    rig->waiting = false;
    rig->ended = result;
}

static void rig_store_gone(void *context, int result)
{
    struct catalog_rig *rig = context;
    rig->store = NULL;
    catalog_rig_ended(rig, result);
}

static void rig_store_opened(void *context, int result)
{
    if (result != 0)
        rig_store_gone(context, result);
    else
        catalog_rig_ended(context, 0);
}

static void rig_catalog_gone(void *context, int result)
{
    struct catalog_rig *rig = context;
    rig->catalog = NULL;
    catalog_rig_ended(rig, result);
}

static void rig_catalog_opened(void *context, int result)
{
    if (result != 0)
        rig_catalog_gone(context, result);
    else
        catalog_rig_ended(context, 0);
}

/* `accepted`: what the call said that will end in rig->ended. */
static bool rig_end(struct catalog_rig *rig, int accepted, const char *what)
{
    if (accepted != 0)
        return catalog_rig_wrong(rig, "%s: refused: %s", what, base_last_error());
    if (!catalog_rig_wait(rig, &rig->waiting, what))
        return false;
    return rig->ended == 0 ? true : catalog_rig_wrong(rig, "%s: %s", what, base_last_error());
}

/* --- A life --------------------------------------------------------------------------------- */

static void rig_no_wakeup(void *context)
{
    (void)context;
}

bool catalog_rig_open_meta(struct catalog_rig *rig, bool create)
{
    struct meta_sqlite_options options = {
        .path = rig->path != NULL ? rig->path : "meta.db",
        .vfs = rig->path != NULL ? NULL : rig->vfs.name,
        .create = create,
        .clock = &rig->world.clock,
        .wakeup = rig_no_wakeup,
    };
    if (meta_sqlite_open(&options, &rig->meta) == 0)
        return true;
    return rig->world.off ? false : catalog_rig_wrong(rig, "metadata: %s", base_last_error());
}

bool catalog_rig_format(struct catalog_rig *rig)
{
    uint8_t uuids[2][16];
    for (unsigned i = 0; i < sizeof uuids; i++)
        uuids[i / 16][i % 16] = (uint8_t)prng_next(&rig->prng);
    rig->waiting = true;
    int accepted =
        store_format(&rig->store_options, uuids[1], false, &rig->store, rig_store_gone, rig);
    if (!rig_end(rig, accepted, "format") || !catalog_rig_open_meta(rig, true))
        return false;
    rig->waiting = true;
    return rig_end(rig, catalog_format(rig->meta, uuids[0], uuids[1], catalog_rig_ended, rig),
                   "format of the metadata");
}

static void rig_looked(void *context, int result, const struct catalog_look *look)
{
    struct catalog_rig *rig = context;
    if (result == 0) {
        if (look->incarnation < rig->incarnation)
            (void)catalog_rig_wrong(rig, "the incarnation of the store went back");
        rig->incarnation = look->incarnation;
    }
    catalog_rig_ended(rig, result);
}

bool catalog_rig_start(struct catalog_rig *rig)
{
    if (rig->meta == NULL && !catalog_rig_open_meta(rig, false))
        return false;
    rig->waiting = true;
    if (!rig_end(rig, catalog_look(rig->meta, rig_looked, rig), "look"))
        return false;
    rig->store_options.incarnation_min = rig->incarnation;
    rig->waiting = true;
    if (!rig_end(rig, store_open(&rig->store_options, &rig->store, rig_store_opened, rig), "store"))
        return false;
    struct volume_engine_options volumes = {.store = rig->store, .op_count = 24, .bounce_count = 4};
    if (volume_engine_open(&volumes, &rig->volumes) != 0)
        return catalog_rig_wrong(rig, "volume engine: %s", base_last_error());
    rig->catalog_options.meta = rig->meta;
    rig->catalog_options.store = rig->store;
    rig->catalog_options.volumes = rig->volumes;
    rig->waiting = true;
    return rig_end(rig, catalog_open(&rig->catalog_options, &rig->catalog, rig_catalog_opened, rig),
                   "catalog");
}

bool catalog_rig_stop(struct catalog_rig *rig)
{
    rig->waiting = true;
    catalog_close(rig->catalog, rig_catalog_gone, rig);
    if (!rig_end(rig, 0, "closing the catalog"))
        return false;
    volume_engine_close(rig->volumes);
    rig->volumes = NULL;
    rig->waiting = true;
    store_close(rig->store, rig_store_gone, rig);
    if (!rig_end(rig, 0, "closing the store"))
        return false;
    /* A lease may have run out meanwhile: that is a request of the metadata's own. */
    while (meta_flying(rig->meta) > 0) {
        if (!catalog_rig_turn(rig))
            return false;
    }
    meta_close(rig->meta);
    rig->meta = NULL;
    return true;
}

/* No destructor runs in a crash: what there was stays in memory, known to the leak checker. */
static void rig_bury(struct catalog_rig *rig)
{
    static void *dead[512];
    static unsigned count;
    dead[count++ % COUNT_OF(dead)] = rig->store;
    dead[count++ % COUNT_OF(dead)] = rig->volumes;
    rig->store = NULL;
    rig->volumes = NULL;
}

void catalog_rig_crash(struct catalog_rig *rig, bool power_cut)
{
    if (power_cut) {
        world_cut(&rig->world);
        meta_vfs_power_off(&rig->vfs);
    }
    /* What the metadata is still asked for ends: after a cut in vain, after a kill as if it had
     * ended just before. */
    while (rig->meta != NULL && meta_flying(rig->meta) > 0) {
        (void)meta_sqlite_step(rig->meta);
        (void)meta_poll(rig->meta);
    }
    if (rig->catalog != NULL)
        catalog_abandon(rig->catalog);
    rig->catalog = NULL;
    meta_close(rig->meta);
    rig->meta = NULL;
    if (power_cut) {
        world_restart(&rig->world);
        meta_vfs_restart(&rig->vfs);
    } else {
        world_kill(&rig->world);
    }
    rig_bury(rig);
}

bool catalog_rig_settle(struct catalog_rig *rig)
{
    for (uint64_t turns = 0;; turns++) {
        struct catalog_counts counts;
        catalog_counts(rig->catalog, &counts);
        if (rig->world.off || rig->wrong[0] != '\0')
            return false;
        if (counts.looked && counts.deletions == 0 && counts.operations == 0)
            return true;
        if (!catalog_rig_turn(rig))
            return false;
        if (turns > TURNS_MAX)
            return catalog_rig_wrong(rig, "deletions do not end");
    }
}

/* --- Proof ---------------------------------------------------------------------------------- */

static void check_fault(void *context, const struct store_fault *fault)
{
    (void)catalog_rig_wrong(context, "pool check: %s", fault->text);
}

static void check_done(void *context, int result, const struct store_checked *checked)
{
    struct catalog_rig *rig = context;
    if (checked->faults != 0)
        (void)catalog_rig_wrong(rig, "pool check: %llu faults",
                                (unsigned long long)checked->faults);
    catalog_rig_ended(rig, result);
}

bool catalog_rig_check(struct catalog_rig *rig)
{
    struct store_options options = rig->store_options;
    options.read_only = true;
    options.cache_bytes = 4096ull * BLOCK_BYTES;
    rig->waiting = true;
    if (!rig_end(rig, store_open(&options, &rig->store, rig_store_opened, rig), "check: open"))
        return false;
    struct store_check check = {
        .fault = check_fault, .done = check_done, .context = rig, .data = true};
    rig->waiting = true;
    if (!rig_end(rig, store_check_start(rig->store, &check), "check"))
        return false;
    rig->waiting = true;
    store_close(rig->store, rig_store_gone, rig);
    return rig_end(rig, 0, "check: close");
}
