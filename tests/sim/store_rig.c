/* SPDX-License-Identifier: Apache-2.0 */
/* A rig's life: options from the seed, opening, crashing, proving. Requests: store_requests.c. */
#include "sim/store_rig.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/store_inside.h"
#include "sim/store_views.h"

#define STEPS_MAX 200000u

bool rig_wrong(struct rig *rig, const char *format, ...)
{
    if (rig->wrong[0] != '\0')
        return false;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(rig->wrong, sizeof rig->wrong, format, arguments);
    va_end(arguments);
    return false;
}

static void rig_event(void *context, const struct store_event *event)
{
    struct rig *rig = context;
    if (rig->verbose)
        (void)fprintf(stderr, "      %s: %s\n", event->severity >= STORE_ERROR ? "error" : "event",
                      event->text);
    /* Two reads in a row failed, and recovery had to decide without the data. */
    if (rig->faulty && strstr(event->text, "may be lost") != NULL)
        rig->media = true;
    /* Also what a scrub says that reads while everything moves. */
    if (event->kind == STORE_DAMAGE && !rig->faulty)
        (void)rig_wrong(rig, "damage, and no disk has a fault: %s", event->text);
}

static uint64_t draw(struct rig *rig, uint64_t low, uint64_t high)
{
    return low + prng_below(&rig->prng, high - low + 1);
}

/* Every limit is near: journals of a few batches, caches of a few pages, reserves of a few
 * blocks. */
static void rig_draw_options(struct rig *rig)
{
    struct store_options *options = &rig->options;
    options->clock = &rig->world.clock;
    options->device_count = rig->disk_count;
    for (unsigned i = 0; i < rig->disk_count; i++) {
        rig->disks[i]->disk.prepares = prng_one_in(&rig->prng, 2);
        options->devices[i].disk = &rig->disks[i]->disk;
        options->devices[i].class = (enum device_class)prng_below(&rig->prng, DEVICE_CLASSES);
    }
    options->cache_bytes = draw(rig, 96, 400) * BLOCK_BYTES;
    options->discard = prng_one_in(&rig->prng, 3);
    options->batch_blocks_max = (uint32_t)draw(rig, 2, 6);
    options->journal_bytes = draw(rig, 4, 16) * options->batch_blocks_max * BLOCK_BYTES;
    /* Whatever the reserve: no checkpoint may run out of space (lib/space/room.c). A store chooses
     * 320 blocks for itself at least. */
    options->reserve_bytes = draw(rig, 1, prng_one_in(&rig->prng, 2) ? 64 : 440) * BLOCK_BYTES;
    options->segments_max = 64;
    options->scratch_max = (uint32_t)draw(rig, 1, 3);
    options->quarantine_max = (uint32_t)draw(rig, 512, 2048);
    if (prng_one_in(&rig->prng, 3)) {
        options->scrub_bytes_per_s = draw(rig, 1, 256) << 20;
        options->scrub_interval_ns = draw(rig, 1, 2000) * NS_PER_MS;
    }
    options->event = rig_event;
    options->context = rig;
}

void rig_open(struct rig *rig, uint64_t seed)
{
    memset(rig, 0, sizeof *rig);
    world_open(&rig->world, seed);
    rig->prng = (struct prng){.state = seed ^ 0x5851f42d4c957f2du};
    rig->disk_count = prng_one_in(&rig->prng, 3) ? (unsigned)draw(rig, 2, RIG_DEVICES) : 1;
    static const char *const names[RIG_DEVICES] = {"disk-a", "disk-b", "disk-c"};
    /* From a little more than a store needs, so that it fills, to plenty. */
    uint64_t most = prng_one_in(&rig->prng, 3) ? 1300 : 3000;
    for (unsigned i = 0; i < MIN(rig->disk_count, RIG_DEVICES); i++)
        rig->disks[i] = sim_disk_open(&rig->world, names[i], draw(rig, 1200, most) * BLOCK_BYTES);
    rig_draw_options(rig);
    rig->depth = (unsigned)draw(rig, 1, RIG_REQUESTS);
    rig->next_id = 1;
    rig->spray = prng_one_in(&rig->prng, 3) ? 60 : 5;
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        struct rig_volume *volume = &rig->volumes[i];
        volume->rig = rig;
        volume->id = rig->next_id++;
        volume->sector_bytes = prng_one_in(&rig->prng, 2) ? 512 : 4096;
        if (model_open(&volume->model) != 0)
            abort();
    }
    for (unsigned i = 0; i < RIG_REQUESTS; i++) {
        rig->requests[i].rig = rig;
        rig->requests[i].data = aligned_alloc(BLOCK_BYTES, (RIG_REQUEST_BLOCKS + 1) * BLOCK_BYTES);
        if (rig->requests[i].data == NULL)
            abort();
    }
}

void rig_close(struct rig *rig)
{
    rig_views_close(rig);
    for (unsigned i = 0; i < RIG_VOLUMES; i++)
        model_close(&rig->volumes[i].model);
    for (unsigned i = 0; i < RIG_REQUESTS; i++)
        free(rig->requests[i].data);
    world_close(&rig->world);
}

/* One event of the world and one turn of the engine. False: power is off, or nothing is to come. */
bool rig_turn(struct rig *rig)
{
    if (rig->world.off || rig->wrong[0] != '\0')
        return false;
    if (!world_step(&rig->world))
        return false;
    if (rig->engine != NULL)
        volume_engine_turn(rig->engine);
    bool again = true;
    for (unsigned turns = 0; again && rig->store != NULL && !rig->world.off; turns++) {
        store_turn(rig->store);
        again = rig->store != NULL && store_turn_needed(rig->store);
        if (rig->engine != NULL && volume_engine_turn_needed(rig->engine)) {
            volume_engine_turn(rig->engine);
            again = true;
        }
        if (turns > 20000)
            return rig_wrong(rig, "the store turns and turns, and no time passes");
    }
    return true;
}

static void rig_opened(void *context, int result)
{
    struct rig *rig = context;
    rig->waiting = false;
    rig->ended = result;
    if (result != 0)
        rig->store = NULL;
}

/* Formatted or closed: the store is gone either way. */
static void rig_gone(void *context, int result)
{
    rig_opened(context, result);
    ((struct rig *)context)->store = NULL;
}

bool rig_wait(struct rig *rig, const bool *until_false, const char *what)
{
    /* A turn first: what was asked for may need no event. */
    if (rig->store != NULL && !rig->world.off)
        store_turn(rig->store);
    for (uint64_t steps = 0; *until_false; steps++) {
        if (!rig_turn(rig))
            return rig->world.off || rig->wrong[0] != '\0'
                       ? false
                       : rig_wrong(rig, "%s: nothing is to come, and it has not ended", what);
        if (steps > STEPS_MAX)
            return rig_wrong(rig, "%s: does not end", what);
    }
    return true;
}

bool rig_format(struct rig *rig)
{
    uint8_t uuid[16];
    for (unsigned i = 0; i < sizeof uuid; i++)
        uuid[i] = (uint8_t)prng_next(&rig->prng);
    rig->waiting = true;
    if (store_format(&rig->options, uuid, false, &rig->store, rig_gone, rig) != 0)
        return rig_wrong(rig, "format refused: %s", base_last_error());
    if (!rig_wait(rig, &rig->waiting, "format"))
        return false;
    return rig->ended == 0 ? true : rig_wrong(rig, "format: %s", base_last_error());
}

static void rig_want_sequences(void *context)
{
    struct rig_volume *volume = context;
    /* What the metadata would remember before the volume hears of it. */
    volume->sequence_end += 64;
    volume_extend_sequences(volume->volume, volume->sequence_end);
}

uint64_t rig_volume_bytes(void)
{
    return (uint64_t)(RIG_SEGMENTS + 4) * SEGMENT_BLOCKS * BLOCK_BYTES;
}

bool rig_open_volume(struct rig *rig, struct rig_volume *volume)
{
    struct volume_parent parents[RIG_SNAPS];
    struct volume_options options = {
        .id = volume->id,
        .view = VIEW_HEAD,
        .bytes = rig_volume_bytes(),
        .sector_bytes = volume->sector_bytes,
        .epoch = ++volume->epoch,
        .sequence = volume->sequence_end + 1,
        .sequence_end = volume->sequence_end + 65,
        .want_sequences = rig_want_sequences,
        .context = volume,
    };
    volume->sequence_end += 65;
    if (rig->views != NULL)
        rig_views_options(volume, &options, parents);
    if (volume_open(rig->engine, &options, &volume->volume) != 0)
        return rig_wrong(rig, "opening a volume: %s", base_last_error());
    return true;
}

bool rig_start(struct rig *rig)
{
    rig->waiting = true;
    rig->options.incarnation_min = rig->incarnation;
    if (store_open(&rig->options, &rig->store, rig_opened, rig) != 0)
        return rig_wrong(rig, "open refused: %s", base_last_error());
    if (!rig_wait(rig, &rig->waiting, "open"))
        return false;
    rig->gave_up = rig->faulty && (rig->ended != 0 || store_state(rig->store) != STORE_READY);
    if (rig->gave_up)
        return false;
    if (rig->ended != 0)
        return rig_wrong(rig, "open: %s", base_last_error());
    if (store_state(rig->store) != STORE_READY)
        return rig_wrong(rig, "open: the store is not ready");
    if (store_incarnation(rig->store) <= rig->incarnation)
        return rig_wrong(rig, "an incarnation was used twice");
    rig->incarnation = store_incarnation(rig->store);
    struct volume_engine_options engine = {.store = rig->store, .op_count = 24, .bounce_count = 4};
    if (volume_engine_open(&engine, &rig->engine) != 0)
        return rig_wrong(rig, "volume engine: %s", base_last_error());
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        if (!rig->volumes[i].deleting && !rig_open_volume(rig, &rig->volumes[i]))
            return false;
    }
    return true;
}

/* Forgets every object, as a crash does, and gives the disks what survived. */
void rig_crash(struct rig *rig, bool power_cut)
{
    for (unsigned i = 0; i < RIG_REQUESTS; i++) {
        rig->requests[i].busy = false;
        memset(&rig->requests[i].io, 0, sizeof rig->requests[i].io);
        rig->requests[i].snap = NULL;
    }
    if (rig->views != NULL)
        rig_views_crash(rig);
    /* No destructor runs in a crash: the memory goes with the process of this seed. */
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        rig->volumes[i].volume = NULL;
        rig->volumes[i].asked = false;
    }
    rig->engine = NULL;
    rig->store = NULL;
    if (power_cut) {
        rig->counts.cuts++;
        world_restart(&rig->world);
    } else {
        rig->counts.kills++;
        world_kill(&rig->world);
    }
}

bool rig_stop(struct rig *rig)
{
    if (rig->views != NULL && !rig_views_stop(rig))
        return false;
    for (unsigned i = 0; i < RIG_VOLUMES; i++) {
        struct rig_volume *volume = &rig->volumes[i];
        if (volume->volume == NULL)
            continue;
        volume->sequence_end = volume_sequence(volume->volume);
        volume_close(volume->volume);
        volume->volume = NULL;
    }
    volume_engine_close(rig->engine);
    rig->engine = NULL;
    rig->waiting = true;
    store_close(rig->store, rig_gone, rig);
    if (!rig_wait(rig, &rig->waiting, "close"))
        return false;
    rig->counts.clean_closes++;
    return rig->ended == 0 || rig->faulty ? true : rig_wrong(rig, "close: %d", rig->ended);
}

/* --- Proof ------------------------------------------------------------------------------------ */

static void check_fault(void *context, const struct store_fault *fault)
{
    (void)rig_wrong(context, "pool check: %s", fault->text);
}

static void check_done(void *context, int result, const struct store_checked *checked)
{
    struct rig *rig = context;
    rig->waiting = false;
    rig->ended = result;
    rig->checked = *checked;
    if (checked->faults != 0)
        (void)rig_wrong(rig, "pool check: %llu faults", (unsigned long long)checked->faults);
}

/* Opens the store for reading only, on what a crash left or a clean close, and proves it. */
bool rig_check(struct rig *rig)
{
    struct store_options options = rig->options;
    options.read_only = true;
    /* What replay changes may be more than that: it finds the memory. */
    options.cache_bytes = (prng_one_in(&rig->prng, 2) ? 1024ull : 64ull) * BLOCK_BYTES;
    rig->waiting = true;
    if (store_open(&options, &rig->store, rig_opened, rig) != 0)
        return rig_wrong(rig, "check: open refused: %s", base_last_error());
    if (!rig_wait(rig, &rig->waiting, "check: open"))
        return false;
    if (rig->ended != 0)
        return rig_wrong(rig, "check: open: %s", base_last_error());
    struct store_check check = {
        .fault = check_fault, .done = check_done, .context = rig, .data = true};
    rig->waiting = true;
    if (store_check_start(rig->store, &check) != 0)
        return rig_wrong(rig, "check: %s", base_last_error());
    if (!rig_wait(rig, &rig->waiting, "check"))
        return false;
    if (rig->ended != 0)
        return rig_wrong(rig, "check: ended with %d", rig->ended);
    rig->waiting = true;
    store_close(rig->store, rig_gone, rig);
    if (!rig_wait(rig, &rig->waiting, "check: close"))
        return false;
    return true;
}
