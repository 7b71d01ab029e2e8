/* SPDX-License-Identifier: Apache-2.0 */
/* A volume, or a snapshot, that is open: it is read and written one block after the other. */
#include <stdlib.h>
#include <string.h>

#include "sim/clan.h"
#include "volume/inside.h"

#define WORDS (BLOCK_BYTES / sizeof(uint64_t))

static void closed(void *context, int result)
{
    struct clan_lane *lane = context;
    (void)result;
    clan_lane_forget(lane);
}

void clan_use_close(struct clan_lane *lane)
{
    lane->state = LANE_CLOSING;
    catalog_handle_close(lane->handle, closed, lane);
}

void clan_use_begin(struct clan_lane *lane, struct catalog_handle *handle)
{
    struct clan *clan = lane->user->clan;
    const struct volume *volume = catalog_handle_volume(handle);
    lane->state = LANE_OPEN;
    lane->handle = handle;
    lane->volume = volume_id(volume);
    lane->view = volume_view(volume);
    lane->left = 1 + (uint32_t)prng_below(&clan->prng, 30);
    clan->counts.used++;
    if (lane->view != VIEW_HEAD || lane->volume >= CLAN_VOLUMES)
        return;
    /* What it had open before, and shares; or somebody else has it by now. */
    struct clan_volume *of = &clan->volumes[lane->volume];
    lane->epoch = volume->epoch;
    if (lane->epoch == of->opened_epoch || lane->epoch < of->epoch)
        return;
    clan_write_ended(clan, lane->volume);
    of->opener = lane->user->number;
    of->opened_epoch = lane->epoch;
    of->opened_ns = clan->worlds.now_ns;
}

/* --- Requests --------------------------------------------------------------------------------- */

static void io_submit(struct clan_lane *lane, enum volume_io_kind kind, uint32_t flags);

/* Somebody else got it before this was asked. */
static void owner_look(const struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    const struct clan_volume *of = &clan->volumes[lane->volume];
    if (of->opened_epoch > lane->epoch && of->opened_ns < lane->io_ns)
        (void)clan_wrong(clan, "volume %llu is written by user %u, and user %u has it",
                         (unsigned long long)lane->volume, lane->user->number, of->opener);
}

static void write_acked(struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    struct clan_write *write = &clan->writes[lane->write];
    clan->counts.writes++;
    write->acked_ns = clan->worlds.now_ns;
    owner_look(lane);
}

static void read_look(struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    uint64_t words[WORDS];
    memcpy(words, lane->data, sizeof words);
    for (size_t i = 1; i < WORDS; i++) {
        if (words[i] != words[0])
            (void)clan_wrong(clan, "volume %llu, block %u is a mixture",
                             (unsigned long long)lane->volume, lane->at);
    }
    if (lane->view == VIEW_HEAD) {
        clan->counts.reads++;
        (void)clan_head_shows(clan, lane->volume, lane->at, words[0], lane->io_ns,
                              clan->worlds.now_ns);
    } else {
        clan->counts.views_read++;
        (void)clan_cut_shows(clan, lane->volume, lane->view, lane->at, words[0]);
    }
}

static void io_done(struct volume_io *io, int result)
{
    struct clan_lane *lane = CONTAINER_OF(io, struct clan_lane, io);
    struct clan *clan = lane->user->clan;
    lane->busy = false;
    if (result == IOMESH_FENCED || result == -EIO) { /* All who were in sync lost their power. */
        clan->counts.fenced++;
        lane->left = 0;
    } else if (result != 0) {
        (void)clan_wrong(clan, "user %u: \"%s\", volume %llu, block %u: %s", lane->user->number,
                         lane->text, (unsigned long long)lane->volume, lane->at,
                         base_error_text(result));
    } else if (lane->reads) {
        read_look(lane);
    } else if (lane->flushing || (io->flags & VOLUME_FUA) != 0) {
        write_acked(lane);
    } else if (prng_one_in(&clan->prng, 5)) {
        owner_look(lane); /* It stays in doubt. */
    } else {
        lane->flushing = true;
        io_submit(lane, VOLUME_FLUSH, 0);
    }
}

static void io_submit(struct clan_lane *lane, enum volume_io_kind kind, uint32_t flags)
{
    lane->busy = true;
    lane->io = (struct volume_io){
        .kind = kind,
        .flags = flags,
        .offset = kind != VOLUME_FLUSH ? clan_offsets[lane->at] : 0,
        .length = kind != VOLUME_FLUSH ? BLOCK_BYTES : 0,
        .data = lane->data,
        .done = io_done,
    };
    volume_submit(catalog_handle_volume(lane->handle), &lane->io);
}

static bool register_is(const struct clan_lane *lane, uint32_t at)
{
    return clan_offsets[at] + BLOCK_BYTES <= volume_bytes(catalog_handle_volume(lane->handle));
}

void clan_use_read(struct clan_lane *lane, uint32_t at)
{
    lane->at = at;
    lane->reads = true;
    lane->flushing = false;
    lane->io_ns = lane->user->clan->worlds.now_ns;
    if (lane->data == NULL)
        lane->data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    assert(lane->data != NULL);
    if (register_is(lane, at))
        io_submit(lane, VOLUME_READ, 0);
}

static void use_write(struct clan_lane *lane, uint32_t at)
{
    struct clan *clan = lane->user->clan;
    bool zero = prng_one_in(&clan->prng, 6);
    uint64_t value = zero ? 0 : ++clan->value;
    lane->reads = false;
    lane->at = at;
    lane->write = clan_write_begin(clan, lane->volume, at, value, CLAN_NONE);
    for (size_t i = 0; i < WORDS; i++)
        memcpy(lane->data + i * sizeof value, &value, sizeof value);
    io_submit(lane, zero ? VOLUME_DISCARD : VOLUME_WRITE,
              !zero && prng_one_in(&clan->prng, 2) ? VOLUME_FUA : 0);
}

static void use_ask(struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    uint32_t at = (uint32_t)prng_below(&clan->prng, CLAN_REGISTERS);
    bool room = clan->write_count + 500 < CLAN_WRITES;
    lane->left--;
    if (lane->data == NULL || lane->read_only || prng_one_in(&clan->prng, 2) || !room ||
        !register_is(lane, at)) {
        clan_use_read(lane, at);
        return;
    }
    lane->flushing = false;
    lane->io_ns = clan->worlds.now_ns;
    use_write(lane, at);
}

/* --- Imports ---------------------------------------------------------------------------------- */

static void import_ended(void *context, int result)
{
    struct clan_lane *lane = context;
    struct clan *clan = lane->user->clan;
    clan->counts.imports += result == 0 ? 1 : 0;
    lane->importing = lane->ending = false;
}

static void import_end(struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    clan->asked[lane->number].begun_ns = clan->worlds.now_ns;
    lane->ending = true;
    if (catalog_import_end(lane->handle, import_ended, lane) != 0)
        lane->importing = lane->ending = false;
}

void clan_use_turn(struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    if (lane->busy || lane->ending || clan->hold)
        return;
    if (lane->left > 0 && !clan->calm) {
        if (prng_one_in(&clan->prng, 4))
            use_ask(lane);
    } else if (lane->importing && catalog_handle_volume(lane->handle) != NULL &&
               prng_one_in(&clan->prng, 2)) {
        import_end(lane);
    } else {
        clan_use_close(lane);
    }
}
