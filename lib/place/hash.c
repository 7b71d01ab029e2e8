/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash that places. It is a format: two programs that disagree would place one group twice.
 * tests/unit/place/test_hash.c pins its values.
 *
 * Names: FNV-1a of 64 bits, begun at the parent's key, then mix() (the finalizer of splitmix64).
 */
#include "place/internal.h"

#define FNV_PRIME 0x100000001b3u
#define NODE_SALT 0x6e6f646500000000u  /* "node" */
#define STORE_SALT 0x73746f7265000000u /* "store" */

uint64_t place_mix(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

uint64_t place_key(uint64_t parent_key, const char *name)
{
    uint64_t hash = parent_key ^ 0xcbf29ce484222325u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * FNV_PRIME;
    return place_mix(hash + 1);
}

uint64_t place_node_key(const char *name)
{
    return place_key(NODE_SALT, name);
}

uint64_t place_store_key(uint64_t id)
{
    return place_mix(place_mix(id ^ STORE_SALT) + 1);
}

uint64_t place_seed(uint64_t volume, uint32_t group)
{
    return place_mix(place_mix(volume + 0x9e3779b97f4a7c15u) + group);
}

/* log2 of m / 2^63, 1 <= that < 2, bit by bit: squared, it has another bit if it reaches 2. */
static uint64_t log_slow(uint64_t mantissa)
{
    uint64_t log = 0;
    for (unsigned bit = 0; bit < PLACE_LOG_BITS; bit++) {
        place_wide square = (place_wide)mantissa * mantissa; /* 2^126 .. 2^128 */
        bool reached = square >> 127 != 0;
        mantissa = (uint64_t)(square >> (reached ? 64 : 63));
        log = log << 1 | reached;
    }
    return log;
}

void place_logs_fill(uint64_t logs[PLACE_LOG_ENTRIES])
{
    for (uint64_t i = 0; i < PLACE_LOG_ENTRIES - 1; i++)
        logs[i] = log_slow((256 + i) << 55);
    logs[PLACE_LOG_ENTRIES - 1] = 1ull << PLACE_LOG_BITS;
}

uint64_t place_neglog(const uint64_t logs[PLACE_LOG_ENTRIES], uint64_t hash)
{
    uint64_t value = hash == UINT64_MAX ? UINT64_MAX : hash + 1;
    unsigned shift = (unsigned)__builtin_clzll(value);
    uint64_t mantissa = value << shift; /* 2^63 .. 2^64 - 1 */
    uint64_t index = mantissa >> 55 & 255;
    uint64_t low = (256 + index) << 55;
    /* m = low * (1 + r), r < 2^-8: log2(1 + r) = log2(e) * (r - r^2/2 + r^3/3), within 2^-34. */
    uint64_t r = (uint64_t)(((place_wide)(mantissa - low) << 56) / low);
    uint64_t r2 = (uint64_t)((place_wide)r * r >> 56);
    uint64_t r3 = (uint64_t)((place_wide)r2 * r >> 56);
    uint64_t natural = r - r2 / 2 + r3 / 3;
    uint64_t log = logs[index] + (uint64_t)((place_wide)natural * 0x171547652b82fe17u >> 60);
    uint64_t neglog = ((uint64_t)(shift + 1) << PLACE_LOG_BITS) - log;
    /* Never nothing, or weight would not count. */
    return neglog == 0 || neglog > 64ull << PLACE_LOG_BITS ? 1 : neglog;
}
