/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a read may show. Each write of a block has a value of its own (zeros: many have). A write is
 * acknowledged here once it is durable, so a power cut takes nothing away that is. What was not
 * acknowledged may have happened at any time until somebody else has the volume open.
 *
 * A read shows a write that had begun, unless a write that began later, when the first had ended,
 * was acknowledged before the read began. A snapshot is a read of each block at some moment while
 * it was being taken; once it was read it never shows anything else.
 */
#include <stdio.h>

#include "sim/clan.h"

uint32_t clan_cut_find(const struct clan *clan, uint64_t volume, uint64_t cut)
{
    for (uint32_t i = 0; i < clan->cut_count; i++) {
        if (clan->cuts[i].volume == volume && clan->cuts[i].cut == cut)
            return i;
    }
    return CLAN_NONE;
}

uint32_t clan_write_begin(struct clan *clan, uint64_t volume, uint32_t at, uint64_t value,
                          uint32_t cut)
{
    if (clan->write_count == CLAN_WRITES) {
        (void)clan_wrong(clan, "no room to remember writes");
        return 0;
    }
    clan->writes[clan->write_count] = (struct clan_write){
        .volume = volume, .value = value, .at = at, .cut = cut, .begun_ns = clan->worlds.now_ns};
    return clan->write_count++;
}

void clan_write_ended(struct clan *clan, uint64_t volume)
{
    for (uint32_t i = 0; i < clan->write_count; i++) {
        struct clan_write *write = &clan->writes[i];
        if (write->volume == volume && write->acked_ns == 0 && write->ended_ns == 0 &&
            !write->aside)
            write->ended_ns = clan->worlds.now_ns;
    }
}

void clan_write_shrinks(struct clan *clan, uint64_t volume, uint64_t bytes)
{
    for (uint32_t at = 0; at < CLAN_REGISTERS && volume != 0; at++) {
        if (clan_offsets[at] + BLOCK_BYTES > bytes)
            clan->writes[clan_write_begin(clan, volume, at, 0, CLAN_NONE)].aside = true;
    }
}

static uint64_t end_of(const struct clan_write *write)
{
    if (write->ended_ns != 0)
        return write->ended_ns;
    return write->acked_ns != 0 ? write->acked_ns : UINT64_MAX;
}

/* Something else was surely there before a read began, all of it after `end_ns`. */
static bool is_over(const struct clan *clan, uint64_t volume, uint32_t at, uint64_t end_ns,
                    uint64_t read_ns)
{
    for (uint32_t i = 0; i < clan->write_count; i++) {
        const struct clan_write *write = &clan->writes[i];
        if (write->volume == volume && write->at == at && write->acked_ns != 0 &&
            write->acked_ns < read_ns && write->begun_ns > end_ns)
            return true;
    }
    return false;
}

static bool cut_may(struct clan *clan, uint32_t cut, uint32_t at, uint64_t value, bool fix);

/* What was there at its birth. */
static bool birth_may(struct clan *clan, uint64_t volume, uint32_t at, uint64_t value, bool fix)
{
    const struct clan_volume *of = &clan->volumes[volume];
    if (of->parent == 0)
        return value == 0;
    return cut_may(clan, clan_cut_find(clan, of->parent, of->parent_cut), at, value, fix);
}

static bool head_may(struct clan *clan, uint64_t volume, uint32_t at, uint64_t value,
                     uint64_t begun_ns, uint64_t ended_ns, bool fix)
{
    for (uint32_t i = 0; i < clan->write_count; i++) {
        const struct clan_write *write = &clan->writes[i];
        if (write->volume != volume || write->at != at || write->begun_ns > ended_ns ||
            is_over(clan, volume, at, end_of(write), begun_ns))
            continue;
        if (write->cut == CLAN_NONE ? write->value == value
                                    : cut_may(clan, write->cut, at, value, false))
            return true;
    }
    return !is_over(clan, volume, at, 0, begun_ns) && birth_may(clan, volume, at, value, fix);
}

static bool cut_may(struct clan *clan, uint32_t number, uint32_t at, uint64_t value, bool fix)
{
    if (number == CLAN_NONE)
        return clan_wrong(clan, "nobody knows the snapshot");
    struct clan_cut *cut = &clan->cuts[number];
    if (clan_offsets[at] + BLOCK_BYTES > cut->bytes)
        return value == 0;
    if (cut->fixed[at])
        return cut->values[at] == value;
    if (!head_may(clan, cut->volume, at, value, cut->begun_ns, cut->taken_ns, fix))
        return false;
    if (fix) {
        cut->fixed[at] = true;
        cut->values[at] = value;
    }
    return true;
}

/* For who looks for what was wrong. */
static void tell(const struct clan *clan, uint64_t volume, uint32_t at)
{
    for (uint32_t i = 0; i < clan->write_count && clan->verbose; i++) {
        const struct clan_write *write = &clan->writes[i];
        if (write->volume == volume && write->at == at)
            clan_say(clan, "      %llu (cut %d): %.6f acked %.6f ended %.6f",
                     (unsigned long long)write->value, (int)write->cut,
                     (double)write->begun_ns / 1e9, (double)write->acked_ns / 1e9,
                     (double)write->ended_ns / 1e9);
    }
}

bool clan_head_shows(struct clan *clan, uint64_t volume, uint32_t at, uint64_t value,
                     uint64_t begun_ns, uint64_t ended_ns)
{
    if (head_may(clan, volume, at, value, begun_ns, ended_ns, true))
        return true;
    tell(clan, volume, at);
    return clan_wrong(clan, "volume %llu, block %u shows %llu, which is not what was written",
                      (unsigned long long)volume, at, (unsigned long long)value);
}

bool clan_cut_shows(struct clan *clan, uint64_t volume, uint64_t cut, uint32_t at, uint64_t value)
{
    uint32_t number = clan_cut_find(clan, volume, cut);
    if (cut_may(clan, number, at, value, true))
        return true;
    tell(clan, volume, at);
    return clan_wrong(
        clan,
        "volume %llu, the snapshot at %llu, block %u shows %llu, and is known to be "
        "%llu, or it was not written by then",
        (unsigned long long)volume, (unsigned long long)cut, at, (unsigned long long)value,
        (unsigned long long)(number != CLAN_NONE ? clan->cuts[number].values[at] : 0));
}
