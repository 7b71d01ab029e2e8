/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a catalog, one thing after the other, and whether the answers can be true. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/clan.h"

void clan_lane_forget(struct clan_lane *lane)
{
    struct clan_user *user = lane->user;
    free(lane->data);
    *lane = (struct clan_lane){.user = user};
}

/* --- Answers ---------------------------------------------------------------------------------- */

static bool may_fail(const struct clan_lane *lane, int result)
{
    switch (result) {
    case IOMESH_UNKNOWN:
    case IOMESH_FENCED:
    case IOMESH_CONFLICT:
    case -ETIMEDOUT:
    case -EBUSY:
    case -ENOENT:
    case -EEXIST:
    case -ENOSPC:
    case -EIO: /* All who were in sync lost their power. */
    case -ENOTCONN: return true;
    case -EPERM: return lane->kind == CLAN_RESIZE || lane->kind == CLAN_ROLLBACK;
    case -EINVAL: return lane->kind == CLAN_ABANDON;
    default: return false;
    }
}

/* Nothing of it has happened, nor will. */
static void answer_failed(const struct clan_lane *lane, int result)
{
    struct clan *clan = lane->user->clan;
    const struct clan_name *name = &clan->names[lane->name];
    struct clan_asked *asked = &clan->asked[lane->number];
    bool one = lane->kind == CLAN_CREATE || lane->kind == CLAN_RESIZE || lane->kind == CLAN_SNAP ||
               lane->kind == CLAN_GROUP;
    asked->failed = one;
    if (one && asked->seen)
        (void)clan_wrong(clan, "user %u, %u of \"%s\": it failed (%s), and has happened",
                         lane->user->number, lane->kind, lane->text, base_error_text(result));
    if (lane->kind == CLAN_CREATE && result == -EEXIST && name->volume == 0 &&
        name->freed_ns < lane->begun_ns)
        (void)clan_wrong(clan, "\"%s\" is said to be there, and is not", lane->text);
    bool whole =
        lane->kind == CLAN_DELETE || lane->kind == CLAN_RESIZE || lane->kind == CLAN_FLATTEN;
    if (whole && result == -ENOENT && name->volume != 0 && name->bound_ns < lane->begun_ns)
        (void)clan_wrong(clan, "\"%s\" is said not to be there, and is", lane->text);
}

static void answer_done(const struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    struct clan_counts *counts = &clan->counts;
    bool true_ = true;
    switch (lane->kind) {
    case CLAN_CREATE:
    case CLAN_SNAP:
    case CLAN_GROUP:
    case CLAN_RESIZE: true_ = clan->asked[lane->number].seen; break;
    case CLAN_DELETE: true_ = clan->names[lane->name].freed_ns >= lane->begun_ns; break;
    case CLAN_CLONE: true_ = clan->names[lane->other].bound_ns >= lane->begun_ns; break;
    default: break;
    }
    if (!true_)
        (void)clan_wrong(clan, "user %u, %u of \"%s\": it is said to have happened, and has not",
                         lane->user->number, lane->kind, lane->text);
    counts->done++;
    counts->clones += lane->kind == CLAN_CLONE ? 1 : 0;
    counts->flattened += lane->kind == CLAN_FLATTEN ? 1 : 0;
    counts->groups += lane->kind == CLAN_GROUP ? 1 : 0;
    counts->abandoned += lane->kind == CLAN_ABANDON ? 1 : 0;
    counts->resized += lane->kind == CLAN_RESIZE ? 1 : 0;
    counts->deleted += lane->kind == CLAN_DELETE ? 1 : 0;
}

/* Whatever was cut off is zeros, or stays. */
static void resize_ended(const struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    for (uint32_t i = 0; i < clan->write_count; i++) {
        struct clan_write *write = &clan->writes[i];
        if (write->aside && write->cut == CLAN_NONE && write->ended_ns == 0 &&
            write->volume == clan->names[lane->name].volume)
            write->ended_ns = clan->worlds.now_ns;
    }
}

static void answer_look(struct clan_lane *lane, int result)
{
    struct clan *clan = lane->user->clan;
    clan_say(clan, "user %u: %u of \"%s\": %s", lane->user->number, lane->kind, lane->text,
             result == 0 ? "done" : base_last_error());
    clan->answer = result;
    if (lane->kind == CLAN_RESIZE && result != IOMESH_UNKNOWN)
        resize_ended(lane);
    if (result == 0) {
        answer_done(lane);
        return;
    }
    clan->counts.refused++;
    clan->counts.unknown += result == IOMESH_UNKNOWN ? 1 : 0;
    if (!may_fail(lane, result))
        (void)clan_wrong(clan, "user %u, %u of \"%s\": %s: %s", lane->user->number, lane->kind,
                         lane->text, base_error_text(result), base_last_error());
    if (result != IOMESH_UNKNOWN)
        answer_failed(lane, result);
}

static void answered(void *context, int result)
{
    struct clan_lane *lane = context;
    answer_look(lane, result);
    clan_lane_forget(lane);
}

static void opened(void *context, int result, struct catalog_handle *handle)
{
    struct clan_lane *lane = context;
    answer_look(lane, result);
    if (result == 0)
        clan_use_begin(lane, handle);
    else
        clan_lane_forget(lane);
}

/* --- Asking ----------------------------------------------------------------------------------- */

static const char *snap_of(const struct clan_lane *lane)
{
    return lane->snap == CLAN_NONE ? NULL : clan_snaps[lane->snap];
}

static int ask_group(struct clan_lane *lane, const uint8_t uuid[16])
{
    const char *names[] = {clan_names[lane->name], clan_names[lane->other]};
    uint8_t uuids[2][16];
    memcpy(uuids[0], uuid, 16);
    memcpy(uuids[1], uuid, 16);
    uuids[1][15] = 1;
    return catalog_group_create(lane->user->catalog, clan_snaps[lane->snap], names, 2,
                                (const uint8_t(*)[16])uuids, answered, lane);
}

static int ask_use(struct clan_lane *lane)
{
    struct catalog *catalog = lane->user->catalog;
    lane->user->clan->counts.forced += lane->force ? 1 : 0;
    if (lane->force)
        return catalog_handle_open_force(catalog, lane->text, opened, lane);
    return catalog_handle_open(catalog, lane->text, lane->read_only, opened, lane);
}

static int ask_new(struct clan_lane *lane, const uint8_t uuid[16])
{
    struct catalog_create create = {.bytes = lane->bytes, .sector_bytes = 4096, .copies = 3};
    struct catalog_import import = {
        .bytes = lane->bytes, .sector_bytes = 4096, .snapshot = clan_snaps[lane->snap]};
    memcpy(import.uuid, uuid, sizeof import.uuid);
    lane->importing = lane->kind == CLAN_IMPORT;
    return lane->importing
               ? catalog_import_begin(lane->user->catalog, lane->text, &import, opened, lane)
               : catalog_create(lane->user->catalog, lane->text, &create, answered, lane);
}

static int ask_some(struct clan_lane *lane)
{
    struct catalog *catalog = lane->user->catalog;
    const char *name = clan_names[lane->name];
    const char *snap = snap_of(lane);
    uint8_t uuid[16] = {0};
    memcpy(uuid, &lane->number, sizeof lane->number);
    switch (lane->kind) {
    case CLAN_USE: return ask_use(lane);
    case CLAN_CREATE:
    case CLAN_IMPORT: return ask_new(lane, uuid);
    case CLAN_DELETE: return catalog_delete(catalog, name, answered, lane);
    case CLAN_RESIZE:
        return catalog_resize(catalog, name, lane->bytes, lane->force, answered, lane);
    case CLAN_SNAP: return catalog_snapshot_create(catalog, name, snap, uuid, answered, lane);
    case CLAN_DROP: return catalog_snapshot_delete(catalog, name, snap, answered, lane);
    case CLAN_GROUP: return ask_group(lane, uuid);
    case CLAN_UNGROUP: return catalog_group_delete(catalog, snap, answered, lane);
    case CLAN_CLONE:
        return catalog_clone(catalog, name, snap, clan_names[lane->other], answered, lane);
    case CLAN_FLATTEN: return catalog_flatten(catalog, name, NULL, answered, lane);
    case CLAN_ROLLBACK:
        return catalog_snapshot_rollback(catalog, name, snap, lane->force, NULL, answered, lane);
    case CLAN_ABANDON: return catalog_import_abandon(catalog, name, NULL, answered, lane);
    default: return -EINVAL;
    }
}

bool clan_lane_ask(struct clan_lane *lane, enum clan_kind kind)
{
    struct clan *clan = lane->user->clan;
    const char *snap = snap_of(lane);
    lane->kind = kind;
    lane->begun_ns = clan->worlds.now_ns;
    lane->number = clan->number++;
    lane->state = LANE_ASKED;
    clan->counts.asked++;
    clan->asked[lane->number] = (struct clan_asked){.kind = kind, .begun_ns = lane->begun_ns};
    (void)snprintf(lane->text, sizeof lane->text, "%s%s%s", clan_names[lane->name],
                   kind == CLAN_USE && snap != NULL ? "@" : "",
                   kind == CLAN_USE && snap != NULL ? snap : "");
    lane->bytes = (prng_one_in(&clan->prng, 2) ? 4ull << 20 : CLAN_SEGMENT) +
                  (uint64_t)lane->number * BLOCK_BYTES;
    if (kind == CLAN_RESIZE && lane->force)
        clan_write_shrinks(clan, clan->names[lane->name].volume, lane->bytes);
    clan_say(clan, "user %u: asks %u of \"%s\" (snap %d, other %u, number %u)", lane->user->number,
             kind, lane->text, (int)lane->snap, lane->other, lane->number);
    if (ask_some(lane) == 0)
        return true;
    clan_lane_forget(lane);
    return false;
}

/* --- Drawing ---------------------------------------------------------------------------------- */

static bool is_single(enum clan_kind kind)
{
    return kind == CLAN_SNAP || kind == CLAN_IMPORT;
}

static enum clan_kind draw_kind(struct clan *clan, bool exists)
{
    static const enum clan_kind kinds[] = {
        CLAN_USE,   CLAN_USE,   CLAN_USE,     CLAN_USE,      CLAN_USE,     CLAN_USE,
        CLAN_USE,   CLAN_USE,   CLAN_DELETE,  CLAN_DELETE,   CLAN_RESIZE,  CLAN_SNAP,
        CLAN_SNAP,  CLAN_SNAP,  CLAN_DROP,    CLAN_DROP,     CLAN_GROUP,   CLAN_UNGROUP,
        CLAN_CLONE, CLAN_CLONE, CLAN_FLATTEN, CLAN_ROLLBACK, CLAN_ABANDON, CLAN_CREATE,
    };
    if (!exists && prng_one_in(&clan->prng, 4))
        return prng_one_in(&clan->prng, 4) ? CLAN_IMPORT : CLAN_CREATE;
    return kinds[prng_below(&clan->prng, COUNT_OF(kinds))];
}

static void lane_draw(struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    struct prng *prng = &clan->prng;
    lane->name = (uint32_t)prng_below(prng, CLAN_NAMES);
    lane->other = (lane->name + 1 + (uint32_t)prng_below(prng, CLAN_NAMES - 1)) % CLAN_NAMES;
    enum clan_kind kind = draw_kind(clan, clan->names[lane->name].volume != 0);
    for (uint32_t i = 0; kind == CLAN_CLONE && i < CLAN_NAMES && !prng_one_in(prng, 4); i++) {
        if (clan->names[i].volume == 0 && i != lane->name)
            lane->other = i;
    }
    bool grouped = kind == CLAN_GROUP || kind == CLAN_UNGROUP;
    lane->snap = grouped ? CLAN_SINGLES + (uint32_t)prng_below(prng, CLAN_SNAPS - CLAN_SINGLES)
                         : (uint32_t)prng_below(prng, is_single(kind) ? CLAN_SINGLES : CLAN_SNAPS);
    bool head =
        kind == CLAN_USE ? !prng_one_in(prng, 3) : kind == CLAN_CLONE && prng_one_in(prng, 3);
    if (head)
        lane->snap = CLAN_NONE;
    lane->read_only = kind == CLAN_USE && (!head || prng_one_in(prng, 4));
    lane->force = !lane->read_only && prng_one_in(prng, kind == CLAN_USE ? 10 : 2);
    (void)clan_lane_ask(lane, kind);
}

void clan_lane_turn(struct clan_lane *lane)
{
    struct clan *clan = lane->user->clan;
    if (lane->state == LANE_OPEN)
        clan_use_turn(lane);
    else if (lane->state == LANE_IDLE && !clan->calm && !clan->hold &&
             clan->number < CLAN_NUMBERS - 1000 && prng_one_in(&clan->prng, 120))
        lane_draw(lane);
}
