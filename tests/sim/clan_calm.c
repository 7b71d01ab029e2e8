/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything works again. Whatever was under way ends; all that there is can be opened and read,
 * and what stores keep as copies of records are these; then all is deleted, and nothing is left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/metadata_copy.h"
#include "sim/clan.h"

#define ENDS_NS (120 * NS_PER_S)
#define TRIES 40u

static const enum metadata_kind volume_kinds[] = {METADATA_VOLUME, METADATA_GROUP, METADATA_MAP,
                                                  METADATA_SNAPSHOT};

static void wait_until(struct clan *clan, const char *what, uint64_t ns,
                       bool (*well)(struct clan *clan, char text[256]))
{
    char text[256] = "";
    uint64_t until_ns = clan->worlds.now_ns + ns;
    while (clan->wrong[0] == '\0' && !well(clan, text)) {
        clan_run(clan, 100 * NS_PER_MS);
        if (clan->worlds.now_ns > until_ns)
            (void)clan_wrong(clan, "%s: not within %llu s: %s", what,
                             (unsigned long long)(ns / NS_PER_S), text);
    }
}

/* --- Nothing is under way --------------------------------------------------------------------- */

static bool well_idle(struct clan *clan, char text[256])
{
    for (unsigned i = 0; i < CLAN_NODES; i++) {
        if (!clan->nodes[i].ready) {
            (void)snprintf(text, 256, "store %u is not open", i + 1);
            return false;
        }
    }
    for (unsigned i = 0; i < CLAN_USERS; i++) {
        const struct clan_user *user = &clan->users[i];
        if (!user->ready) {
            (void)snprintf(text, 256, "the catalog of user %u is not open", i);
            return false;
        }
        for (unsigned j = 0; j < CLAN_LANES; j++) {
            const struct clan_lane *lane = &user->lanes[j];
            if (lane->state == LANE_IDLE)
                continue;
            (void)snprintf(text, 256, "user %u, %u of \"%s\", state %u", i, lane->kind, lane->text,
                           lane->state);
            return false;
        }
    }
    return true;
}

static void check_fault(void *context, uint64_t volume, const char *text)
{
    (void)volume;
    (void)clan_wrong(context, "the metadata: %s", text);
}

static void check_volume(void *context, uint64_t volume, bool written)
{
    (void)context;
    (void)volume;
    (void)written;
}

static void checked(void *context, int result)
{
    struct clan *clan = context;
    clan->waiting = false;
    if (result != 0)
        (void)clan_wrong(clan, "looking at the metadata: %s", base_error_text(result));
}

static void look_records(struct clan *clan)
{
    struct catalog_check check = {
        .fault = check_fault, .volume = check_volume, .done = checked, .context = clan};
    clan->waiting = true;
    (void)catalog_check(clan->meta, &check);
    while (clan->waiting && clan->wrong[0] == '\0')
        clan_step(clan, clan->worlds.now_ns + NS_PER_S);
}

/* --- Asking, and waiting for it --------------------------------------------------------------- */

static struct clan_lane *lane_idle(struct clan *clan)
{
    unsigned first = (unsigned)prng_below(&clan->prng, CLAN_USERS * CLAN_LANES);
    for (unsigned i = 0; i < CLAN_USERS * CLAN_LANES; i++) {
        unsigned at = (first + i) % (CLAN_USERS * CLAN_LANES);
        struct clan_lane *lane = &clan->users[at % CLAN_USERS].lanes[at / CLAN_USERS];
        if (lane->state == LANE_IDLE)
            return lane;
    }
    abort();
}

static bool ask_wait(struct clan *clan, struct clan_lane *lane, enum clan_kind kind)
{
    uint64_t until_ns = clan->worlds.now_ns + ENDS_NS;
    if (!clan_lane_ask(lane, kind))
        return clan_wrong(clan, "refused at once: %s", base_last_error());
    while (lane->state == LANE_ASKED && clan->wrong[0] == '\0') {
        clan_step(clan, clan->worlds.now_ns + NS_PER_S);
        if (clan->worlds.now_ns > until_ns)
            (void)clan_wrong(clan, "all is calm, and %u of \"%s\" (\"%s\") does not end", kind,
                             clan_names[lane->name],
                             lane->snap == CLAN_NONE ? "" : clan_snaps[lane->snap]);
    }
    return clan->wrong[0] == '\0';
}

/* Until it is done, or there is nothing to do. */
static void ask(struct clan *clan, enum clan_kind kind, uint32_t name, uint32_t snap)
{
    for (unsigned i = 0; i < TRIES; i++) {
        struct clan_lane *lane = lane_idle(clan);
        lane->name = name;
        lane->snap = snap;
        if (!ask_wait(clan, lane, kind) || clan->answer == 0 || clan->answer == -ENOENT)
            return;
        clan_run(clan, NS_PER_S);
    }
    (void)clan_wrong(clan, "all is calm, and %u of \"%s\" (\"%s\") is refused: %s", kind,
                     clan_names[name], snap == CLAN_NONE ? "" : clan_snaps[snap],
                     base_error_text(clan->answer));
}

/* --- All that there is ------------------------------------------------------------------------ */

static struct clan_lane *holders[CLAN_NAMES];

static void read_all(struct clan *clan, struct clan_lane *lane)
{
    for (uint32_t at = 0; at < CLAN_REGISTERS && clan->wrong[0] == '\0'; at++) {
        uint64_t until_ns = clan->worlds.now_ns + ENDS_NS;
        clan_use_read(lane, at);
        while (lane->busy && clan->wrong[0] == '\0') {
            clan_step(clan, clan->worlds.now_ns + NS_PER_S);
            if (clan->worlds.now_ns > until_ns)
                (void)clan_wrong(clan, "all is calm, and a read of \"%s\" does not end",
                                 lane->text);
        }
    }
}

static struct clan_lane *hold_open(struct clan *clan, uint32_t name, uint32_t snap)
{
    for (unsigned i = 0; i < TRIES; i++) {
        struct clan_lane *lane = lane_idle(clan);
        lane->name = name;
        lane->snap = snap;
        lane->read_only = snap != CLAN_NONE;
        if (!ask_wait(clan, lane, CLAN_USE))
            return NULL;
        if (lane->state == LANE_OPEN)
            return lane;
        if (clan->answer == -ENOENT)
            return NULL;
        clan_run(clan, NS_PER_S);
    }
    (void)clan_wrong(clan, "all is calm, and \"%s\" cannot be opened: %s", clan_names[name],
                     base_error_text(clan->answer));
    return NULL;
}

static void close_wait(struct clan *clan, struct clan_lane *lane)
{
    uint64_t until_ns = clan->worlds.now_ns + ENDS_NS;
    clan_use_close(lane);
    while (lane->state != LANE_IDLE && clan->wrong[0] == '\0') {
        clan_step(clan, clan->worlds.now_ns + NS_PER_S);
        if (clan->worlds.now_ns > until_ns)
            (void)clan_wrong(clan, "all is calm, and a volume is not closed");
    }
}

static void look_name(struct clan *clan, uint32_t name)
{
    struct metadata_volume record = {0};
    holders[name] = NULL;
    if (clan->names[name].volume == 0 || clan->wrong[0] != '\0' ||
        !clan_truth_volume(clan, clan->names[name].volume, &record))
        return;
    bool incomplete = record.incomplete;
    metadata_volume_done(&record);
    if (incomplete) {
        ask(clan, CLAN_ABANDON, name, CLAN_NONE);
        return;
    }
    holders[name] = hold_open(clan, name, CLAN_NONE);
    if (holders[name] == NULL)
        return;
    read_all(clan, holders[name]);
    for (uint32_t snap = 0; snap < CLAN_SNAPS && clan->wrong[0] == '\0'; snap++) {
        struct clan_lane *lane = hold_open(clan, name, snap);
        if (lane == NULL)
            continue;
        read_all(clan, lane);
        close_wait(clan, lane);
    }
}

/* --- Copies of records ------------------------------------------------------------------------ */

static uint8_t list[PART_RECORDS_BLOCKS_MIN * BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));

/* How many a store has of one kind of a volume; each is as the truth has it, or `text` says. */
static unsigned copies_of(struct clan_node *node, uint64_t volume, enum metadata_kind kind,
                          char text[256])
{
    unsigned count = 0;
    uint32_t at = 0;
    bool exact = kind == METADATA_VOLUME;
    struct metadata_copy copy;
    struct metadata_key key =
        exact ? metadata_volume_key(volume) : metadata_volume_prefix(kind, volume);
    char prefix[METADATA_KEY_BYTES_MAX + 1] = {0};
    memcpy(prefix, key.bytes, exact ? key.length - 1 : key.length);
    struct part_request request = {.kind = PART_RECORDS,
                                   .group = (uint32_t)strlen(prefix),
                                   .count = PART_RECORDS_BLOCKS_MIN,
                                   .data = list,
                                   .key = prefix};
    int result = clan_node_ask(node, &request);
    if (result != 0)
        (void)clan_wrong(node->clan, "store %u, a list of records: %s", node->number + 1,
                         base_error_text(result));
    for (uint64_t i = 0; i < request.found && result == 0; i++) {
        int length = metadata_copy_listed(list + at, request.bytes - at, &copy);
        assert(length > 0);
        at += (uint32_t)length;
        if (exact &&
            (copy.key_length != key.length || memcmp(copy.key, key.bytes, key.length) != 0))
            continue;
        const struct truth_key *is = clan_truth_find(node->clan, copy.key, copy.key_length);
        count++;
        if (is == NULL || is->value_length + METADATA_COPY_STAMP_BYTES != copy.bytes ||
            memcmp(is->bytes + is->key_length, copy.data + METADATA_COPY_STAMP_BYTES,
                   is->value_length) != 0)
            (void)snprintf(text, 256, "store %u: its copy of %s is %s", node->number + 1, copy.key,
                           is == NULL ? "of nothing" : "another");
    }
    return count;
}

static bool copies_are(struct clan *clan, uint64_t volume, uint64_t store, char text[256])
{
    for (unsigned i = 0; i < COUNT_OF(volume_kinds); i++) {
        enum metadata_kind kind = volume_kinds[i];
        unsigned wanted = kind == METADATA_VOLUME
                              ? 1
                              : clan_truth_keys(clan, metadata_volume_prefix(kind, volume));
        unsigned count = copies_of(&clan->nodes[store - 1], volume, kind, text);
        if (count != wanted)
            (void)snprintf(text, 256,
                           "store %llu has copies of %u records of volume %llu, kind "
                           "%u, of %u",
                           (unsigned long long)store, count, (unsigned long long)volume, kind,
                           wanted);
    }
    clan->counts.copies_compared++;
    return text[0] == '\0';
}

static bool group_of(const struct clan *clan, uint64_t volume, struct metadata_group *ret_group)
{
    struct metadata_key key = metadata_group_key(volume, 0);
    const struct truth_key *at = clan_truth_find(clan, key.bytes, key.length);
    return at != NULL &&
           metadata_group_decode(at->bytes + at->key_length, at->value_length, ret_group) == 0;
}

/* In sync, nothing of it being deleted, and stores know all of it. */
static bool volume_is_well(struct clan *clan, uint64_t volume, char text[256])
{
    struct metadata_group group;
    text[0] = '\0';
    if (!group_of(clan, volume, &group)) {
        (void)snprintf(text, 256, "volume %llu has no group", (unsigned long long)volume);
        return false;
    }
    for (uint32_t i = 0; i < group.member_count && text[0] == '\0'; i++) {
        if (group.members[i].state != METADATA_IN_SYNC)
            (void)snprintf(text, 256, "volume %llu: the copy on store %llu is not in sync",
                           (unsigned long long)volume, (unsigned long long)group.members[i].store);
    }
    for (uint32_t i = 0; i < group.member_count && text[0] == '\0'; i++)
        (void)copies_are(clan, volume, group.members[i].store, text);
    metadata_group_done(&group);
    return text[0] == '\0';
}

/* Nothing that was deleted is kept without need. */
static bool cuts_are_well(const struct clan *clan, uint64_t volume, char text[256])
{
    struct metadata_key prefix = metadata_volume_prefix(METADATA_SNAPSHOT, volume);
    for (uint32_t i = 0; i < clan->truth.key_count; i++) {
        const struct truth_key *key = &clan->truth.keys[i];
        struct metadata_snapshot record = {0};
        if (key->key_length < prefix.length ||
            memcmp(key->bytes, prefix.bytes, prefix.length) != 0 ||
            metadata_snapshot_decode(key->bytes + key->key_length, key->value_length, &record) != 0)
            continue;
        if (record.state == METADATA_SNAPSHOT_DELETING ||
            (record.state == METADATA_SNAPSHOT_HIDDEN && record.clones == 0))
            (void)snprintf(text, 256, "volume %llu: the snapshot at %llu does not go",
                           (unsigned long long)volume, (unsigned long long)record.cut);
        metadata_snapshot_done(&record);
    }
    return text[0] == '\0';
}

static bool well_held(struct clan *clan, char text[256])
{
    for (uint32_t i = 0; i < CLAN_NAMES; i++) {
        if (holders[i] == NULL)
            continue;
        if (!volume_is_well(clan, holders[i]->volume, text) ||
            !cuts_are_well(clan, holders[i]->volume, text))
            return false;
    }
    return true;
}

/* --- Everything goes -------------------------------------------------------------------------- */

static bool well_empty(struct clan *clan, char text[256])
{
    for (uint32_t i = 0; i < clan->truth.key_count; i++) {
        const struct truth_key *key = &clan->truth.keys[i];
        struct metadata_key_parts parts;
        if (metadata_key_parse(key->bytes, key->key_length, &parts) != 0)
            return clan_wrong(clan, "what key is this?");
        if (parts.kind == METADATA_CLUSTER || parts.kind == METADATA_COUNTER ||
            parts.kind == METADATA_STORE || parts.kind == METADATA_SESSION ||
            parts.kind == METADATA_KEEPER)
            continue;
        (void)snprintf(text, 256, "%.*s", (int)key->key_length, (const char *)key->bytes);
        return false;
    }
    return true;
}

static void empty(struct clan *clan)
{
    for (uint32_t name = 0; name < CLAN_NAMES && clan->wrong[0] == '\0'; name++) {
        if (holders[name] != NULL)
            close_wait(clan, holders[name]);
    }
    for (uint32_t snap = CLAN_SINGLES; snap < CLAN_SNAPS && clan->wrong[0] == '\0'; snap++)
        ask(clan, CLAN_UNGROUP, 0, snap);
    for (uint32_t name = 0; name < CLAN_NAMES; name++) {
        for (uint32_t snap = 0; snap < CLAN_SNAPS && clan->wrong[0] == '\0'; snap++) {
            if (clan->names[name].volume != 0)
                ask(clan, CLAN_DROP, name, snap);
        }
    }
    for (uint32_t name = 0; name < CLAN_NAMES && clan->wrong[0] == '\0'; name++)
        ask(clan, CLAN_DELETE, name, CLAN_NONE);
    wait_until(clan, "all is deleted, and something stays", 2 * ENDS_NS, well_empty);
}

static void prove(struct clan *clan)
{
    clan_run(clan, 40 * NS_PER_S); /* Stores forget behind their answers. */
    for (unsigned i = 0; i < CLAN_NODES && clan->wrong[0] == '\0'; i++) {
        char text[256] = "";
        for (uint64_t id = 1; id < CLAN_VOLUMES && clan->volumes[id].made; id++) {
            for (unsigned k = 0; k < COUNT_OF(volume_kinds); k++) {
                if (copies_of(&clan->nodes[i], id, volume_kinds[k], text) > 0)
                    (void)clan_wrong(clan, "all is deleted: %s (volume %llu)", text,
                                     (unsigned long long)id);
            }
        }
    }
    for (unsigned i = 0; i < CLAN_USERS; i++)
        clan->worlds.stopped[clan->users[i].machine] = true;
    for (unsigned i = 0; i < CLAN_NODES && clan->wrong[0] == '\0'; i++)
        clan_node_prove(&clan->nodes[i], true);
}

void clan_judge(struct clan *clan)
{
    clan->calm = true;
    wait_until(clan, "what was under way ends", ENDS_NS, well_idle);
    clan->hold = true;
    look_records(clan);
    for (uint32_t name = 0; name < CLAN_NAMES && clan->wrong[0] == '\0'; name++)
        look_name(clan, name);
    wait_until(clan, "volumes are well", ENDS_NS, well_held);
    if (clan->wrong[0] == '\0')
        empty(clan);
    if (clan->wrong[0] == '\0')
        prove(clan);
}
