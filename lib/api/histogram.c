/* SPDX-License-Identifier: Apache-2.0 */
/* Log-linear buckets: four for each doubling, so that a quantile is right within a quarter. */
#include "api/pool.h"

#define FIRST_BIT 10u /* The first bucket ends at 1 << FIRST_BIT. */

void api_histogram_add(struct iomesh_histogram *histogram, uint64_t ns)
{
    unsigned bucket = 0;
    if (ns >> FIRST_BIT != 0) {
        unsigned bit = 63u - (unsigned)__builtin_clzll(ns);
        bucket = (bit - FIRST_BIT) * 4 + (unsigned)(ns >> (bit - 2) & 3) + 1;
    }
    histogram->buckets[MIN(bucket, IOMESH_HISTOGRAM_BUCKETS - 1)]++;
    histogram->count++;
    histogram->sum_ns += ns;
}

uint64_t iomesh_histogram_bound_ns(uint32_t bucket)
{
    if (bucket == 0)
        return 1ull << FIRST_BIT;
    if (bucket >= IOMESH_HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX;
    uint64_t quarters = 4 + (bucket - 1) % 4 + 1;
    return quarters << ((bucket - 1) / 4 + FIRST_BIT - 2);
}

uint64_t iomesh_histogram_quantile_ns(const struct iomesh_histogram *histogram, uint32_t permille)
{
    uint64_t wanted = DIV_CEIL(histogram->count * MIN(permille, 1000u), 1000);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < IOMESH_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && seen >= wanted)
            return iomesh_histogram_bound_ns(i);
    }
    return 0;
}
