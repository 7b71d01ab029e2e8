/* SPDX-License-Identifier: Apache-2.0 */
/* The truth after every transaction: what may have happened, and when. */
#include <stdio.h>
#include <string.h>

#include "sim/clan.h"

#define HIDDEN_NS (15 * NS_PER_S) /* Nobody knows when one was begun: not longer ago. */

const struct truth_key *clan_truth_find(const struct clan *clan, const void *key, size_t length)
{
    for (uint32_t i = 0; i < clan->truth.key_count; i++) {
        const struct truth_key *at = &clan->truth.keys[i];
        if (at->key_length == length && memcmp(at->bytes, key, length) == 0)
            return at;
    }
    return NULL;
}

unsigned clan_truth_keys(const struct clan *clan, struct metadata_key prefix)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < clan->truth.key_count; i++) {
        const struct truth_key *at = &clan->truth.keys[i];
        if (at->key_length >= prefix.length && memcmp(at->bytes, prefix.bytes, prefix.length) == 0)
            count++;
    }
    return count;
}

bool clan_truth_volume(const struct clan *clan, uint64_t id, struct metadata_volume *ret_record)
{
    struct metadata_key key = metadata_volume_key(id);
    const struct truth_key *at = clan_truth_find(clan, key.bytes, key.length);
    return at != NULL &&
           metadata_volume_decode(at->bytes + at->key_length, at->value_length, ret_record) == 0;
}

/* What was asked under a number has happened. */
static void happened(struct clan *clan, uint64_t number, const char *what)
{
    if (number == 0 || number >= clan->number) {
        (void)clan_wrong(clan, "%s that nobody asked for (%llu)", what, (unsigned long long)number);
        return;
    }
    if (clan->asked[number].failed)
        (void)clan_wrong(clan, "%s, and who asked was told that it failed", what);
    clan->asked[number].seen = true;
}

/* --- Volumes ---------------------------------------------------------------------------------- */

static uint64_t number_of(uint64_t bytes)
{
    uint64_t base = bytes > CLAN_SEGMENT ? CLAN_SEGMENT : 4ull << 20;
    return (bytes - base) / BLOCK_BYTES;
}

/* All that a rollback may have written is there, or will be. */
static void rollback_changed(struct clan *clan, struct clan_volume *of, uint64_t id, uint64_t cut)
{
    uint64_t now_ns = clan->worlds.now_ns;
    for (uint32_t i = 0; i < clan->write_count && of->rollback_cut != 0; i++) {
        struct clan_write *write = &clan->writes[i];
        if (write->volume == id && write->cut != CLAN_NONE && write->acked_ns == 0)
            write->acked_ns = write->ended_ns = now_ns;
    }
    uint32_t number = cut != 0 ? clan_cut_find(clan, id, cut) : CLAN_NONE;
    if (cut != 0 && number == CLAN_NONE)
        (void)clan_wrong(clan, "volume %llu is rolled back to a snapshot that never was",
                         (unsigned long long)id);
    for (uint32_t at = 0; at < CLAN_REGISTERS && number != CLAN_NONE; at++)
        clan->writes[clan_write_begin(clan, id, at, 0, number)].aside = true;
    clan->counts.rollbacks += of->rollback_cut != 0 ? 1 : 0;
    of->rollback_cut = cut;
}

/* What was cut off is gone. */
static void size_changed(struct clan *clan, struct clan_volume *of, uint64_t id, uint64_t bytes)
{
    for (uint32_t at = 0; at < CLAN_REGISTERS && bytes < of->bytes; at++) {
        if (clan_offsets[at] + BLOCK_BYTES <= bytes)
            continue;
        uint32_t number = clan_write_begin(clan, id, at, 0, CLAN_NONE);
        clan->writes[number].acked_ns = clan->writes[number].ended_ns = clan->worlds.now_ns;
    }
    of->bytes = bytes;
}

static void volume_put(struct clan *clan, const struct metadata_volume *record)
{
    if (record->id >= CLAN_VOLUMES) {
        (void)clan_wrong(clan, "too many volumes");
        return;
    }
    struct clan_volume *of = &clan->volumes[record->id];
    bool sized = !of->made ? record->parent_volume == 0
                           : of->bytes != record->bytes && of->rollback_cut == 0 &&
                                 record->rollback_cut == 0;
    if (of->gone)
        (void)clan_wrong(clan, "the number of a volume is used again");
    if (of->made && record->epoch < of->epoch)
        (void)clan_wrong(clan, "volume %llu: its epoch is lower than it was",
                         (unsigned long long)record->id);
    if (!of->made) {
        of->parent = record->parent_volume;
        of->parent_cut = record->parent_cut;
        of->bytes = record->bytes;
    }
    if (sized && record->state == METADATA_VOLUME_LIVE)
        happened(clan, number_of(record->bytes), "a volume was made, or has another size");
    of->made = true;
    of->epoch = record->epoch;
    if (record->rollback_cut != of->rollback_cut)
        rollback_changed(clan, of, record->id, record->rollback_cut);
    size_changed(clan, of, record->id, record->bytes);
}

/* --- Names ------------------------------------------------------------------------------------ */

/* Who cuts off whatever is called so: it may be another now. */
static void name_shrinks(struct clan *clan, uint32_t name)
{
    for (uint32_t i = 0; i < CLAN_USERS * CLAN_LANES; i++) {
        const struct clan_lane *lane = &clan->users[i / CLAN_LANES].lanes[i % CLAN_LANES];
        if (lane->state == LANE_ASKED && lane->kind == CLAN_RESIZE && lane->force &&
            lane->name == name)
            clan_write_shrinks(clan, clan->names[name].volume, lane->bytes);
    }
}

static void names_look(struct clan *clan)
{
    for (uint32_t i = 0; i < CLAN_NAMES; i++) {
        struct clan_name *name = &clan->names[i];
        struct metadata_key key = metadata_name_key(clan_names[i], strlen(clan_names[i]));
        const struct truth_key *at = clan_truth_find(clan, key.bytes, key.length);
        struct metadata_name record = {0};
        if (at != NULL &&
            metadata_name_decode(at->bytes + at->key_length, at->value_length, &record) != 0)
            (void)clan_wrong(clan, "the record of a name cannot be read");
        if (record.volume != name->volume) {
            if (name->volume != 0)
                name->freed_ns = clan->worlds.now_ns;
            if (record.volume != 0)
                name->bound_ns = clan->worlds.now_ns;
            name->volume = record.volume;
            if (record.volume != 0)
                name_shrinks(clan, i);
        }
        metadata_name_done(&record);
    }
}

/* --- Snapshots -------------------------------------------------------------------------------- */

/* Taken for a clone of a volume as it is: of one of those that are being made, or were. */
static uint64_t hidden_begun(const struct clan *clan)
{
    uint64_t now_ns = clan->worlds.now_ns;
    uint64_t begun_ns = CLOCK_NEVER;
    for (uint32_t i = 0; i < CLAN_USERS * CLAN_LANES; i++) {
        const struct clan_lane *lane = &clan->users[i / CLAN_LANES].lanes[i % CLAN_LANES];
        if (lane->state == LANE_ASKED && lane->kind == CLAN_CLONE)
            begun_ns = MIN(begun_ns, lane->begun_ns);
    }
    return begun_ns != CLOCK_NEVER ? begun_ns : now_ns - MIN(now_ns, HIDDEN_NS);
}

static void cut_new(struct clan *clan, const struct metadata_snapshot *record)
{
    uint32_t number;
    if (clan->cut_count == CLAN_CUTS) {
        (void)clan_wrong(clan, "too many snapshots");
        return;
    }
    struct clan_cut *cut = &clan->cuts[clan->cut_count++];
    *cut = (struct clan_cut){.volume = record->volume,
                             .cut = record->cut,
                             .bytes = record->bytes,
                             .begun_ns = hidden_begun(clan),
                             .taken_ns = clan->worlds.now_ns};
    memcpy(&number, record->uuid, sizeof number);
    if (record->state == METADATA_SNAPSHOT_LIVE) {
        happened(clan, number, "a snapshot was taken");
        if (clan->wrong[0] == '\0')
            cut->begun_ns = clan->asked[number].begun_ns;
        cut->uuid = number;
    }
}

static void snapshot_put(struct clan *clan, const struct metadata_snapshot *record)
{
    uint32_t number = clan_cut_find(clan, record->volume, record->cut);
    bool deleting = record->state == METADATA_SNAPSHOT_DELETING;
    if (number == CLAN_NONE && !deleting)
        cut_new(clan, record);
    if (deleting && clan_truth_keys(clan, metadata_reader_prefix(record->volume, record->cut)) > 0)
        (void)clan_wrong(clan, "a snapshot of volume %llu is deleted while somebody reads it",
                         (unsigned long long)record->volume);
}

/* --- Looking ---------------------------------------------------------------------------------- */

static void key_look(struct clan *clan, const struct truth_key *key)
{
    struct metadata_key_parts parts;
    const uint8_t *value = key->bytes + key->key_length;
    struct metadata_volume volume = {0};
    struct metadata_snapshot snapshot = {0};
    int result = metadata_key_parse(key->bytes, key->key_length, &parts);
    if (result == 0 && parts.kind == METADATA_VOLUME) {
        result = metadata_volume_decode(value, key->value_length, &volume);
        if (result == 0)
            volume_put(clan, &volume);
        metadata_volume_done(&volume);
    }
    if (result == 0 && parts.kind == METADATA_SNAPSHOT) {
        result = metadata_snapshot_decode(value, key->value_length, &snapshot);
        if (result == 0)
            snapshot_put(clan, &snapshot);
        metadata_snapshot_done(&snapshot);
    }
    if (result != 0)
        (void)clan_wrong(clan, "a record cannot be read");
}

void clan_truth_look(struct clan *clan)
{
    uint64_t before = clan->revision;
    if (clan->truth.revision == before)
        return;
    clan->revision = clan->truth.revision;
    for (uint32_t i = 0; i < clan->truth.key_count; i++) {
        if (clan->truth.keys[i].modified > before)
            key_look(clan, &clan->truth.keys[i]);
    }
    names_look(clan);
    for (uint64_t id = 1; id < CLAN_VOLUMES; id++) {
        struct clan_volume *of = &clan->volumes[id];
        struct metadata_key key = metadata_volume_key(id);
        if (of->made && !of->gone && clan_truth_find(clan, key.bytes, key.length) == NULL)
            of->gone = true;
    }
}
