/* SPDX-License-Identifier: Apache-2.0 */
#include "format/part_state.h"

#include <string.h>

#include "format/pointer.h"

#define PART_STATE_VERSION 1u
#define FLAG_RETIRED 1u
#define FLAG_COUNTED 2u
#define ROLE_LAST 2u
#define USED_BYTES 72u

static bool saved_sane(const struct part_saved *saved)
{
    return saved->role <= ROLE_LAST && !volume_is_system(saved->volume) &&
           saved->epoch <= SEQUENCE_MAX && saved->watermark <= SEQUENCE_MAX &&
           saved->heard <= SEQUENCE_MAX && saved->settled <= SEQUENCE_MAX &&
           saved->flushed <= saved->watermark && saved->role_generation <= saved->generation;
}

void part_state_put(uint8_t to[PART_STATE_BYTES], const struct part_saved *saved)
{
    memset(to, 0, PART_STATE_BYTES);
    if (!saved->used)
        return;
    assert(saved_sane(saved));
    put16(to, PART_STATE_VERSION);
    to[2] = saved->role;
    to[3] = (uint8_t)((saved->retired ? FLAG_RETIRED : 0) | (saved->counted ? FLAG_COUNTED : 0));
    put32(to + 4, saved->group);
    put64(to + 8, saved->volume);
    put64(to + 16, saved->epoch);
    put64(to + 24, saved->watermark);
    put64(to + 32, saved->heard);
    put64(to + 40, saved->flushed);
    put32(to + 48, saved->generation);
    put64(to + 64, saved->settled);
    put32(to + 52, saved->role_generation);
    put32(to + 56, saved->aside);
    put32(to + 60, saved->boot);
}

static bool zeros(const uint8_t *from, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        if (from[i] != 0)
            return false;
    }
    return true;
}

int part_state_get(const uint8_t from[PART_STATE_BYTES], struct part_saved *ret_saved)
{
    uint16_t version = get16(from);
    memset(ret_saved, 0, sizeof *ret_saved);
    if (version == 0)
        return zeros(from, PART_STATE_BYTES) ? 0 : IOMESH_CORRUPT;
    if (version != PART_STATE_VERSION)
        return IOMESH_FORMAT;
    ret_saved->used = true;
    ret_saved->role = from[2];
    ret_saved->retired = (from[3] & FLAG_RETIRED) != 0;
    ret_saved->counted = (from[3] & FLAG_COUNTED) != 0;
    ret_saved->group = get32(from + 4);
    ret_saved->volume = get64(from + 8);
    ret_saved->epoch = get64(from + 16);
    ret_saved->watermark = get64(from + 24);
    ret_saved->heard = get64(from + 32);
    ret_saved->flushed = get64(from + 40);
    ret_saved->generation = get32(from + 48);
    ret_saved->settled = get64(from + 64);
    ret_saved->role_generation = get32(from + 52);
    ret_saved->aside = get32(from + 56);
    ret_saved->boot = get32(from + 60);
    bool sane = from[3] <= (FLAG_RETIRED | FLAG_COUNTED) && saved_sane(ret_saved) &&
                zeros(from + USED_BYTES, PART_STATE_BYTES - USED_BYTES);
    return sane ? 0 : IOMESH_CORRUPT;
}
