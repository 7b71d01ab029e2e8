/* SPDX-License-Identifier: Apache-2.0 */
/* Chance from a seed: splitmix64 (Steele, Lea, Flood 2014). One stream per subsystem. */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state;
};

static inline uint64_t prng_next(struct prng *prng)
{
    uint64_t z = prng->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 .. limit - 1; limit > 0. */
static inline uint64_t prng_below(struct prng *prng, uint64_t limit)
{
    return prng_next(prng) % limit;
}

/* True once in `n`; never if n is 0. */
static inline bool prng_one_in(struct prng *prng, uint64_t n)
{
    return n != 0 && prng_below(prng, n) == 0;
}

/* An independent stream for a part. */
static inline struct prng prng_fork(struct prng *prng)
{
    return (struct prng){.state = prng_next(prng)};
}

#endif
