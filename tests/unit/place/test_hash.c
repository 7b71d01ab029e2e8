/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "place/internal.h"

/* These are a format: whoever changes them places what exists elsewhere. */
Test(place_hash, has_these_values_for_ever)
{
    cr_assert_eq(place_mix(1), 0x5692161d100b05e5u);
    cr_assert_eq(place_key(0, ""), 0xed94a4756e62ee24u);
    cr_assert_eq(place_key(0, "zone1"), 0x86e5e62f826feae3u);
    cr_assert_eq(place_key(place_key(0, "zone1"), "rack2"), 0xf4729b11764ecf17u);
    cr_assert_eq(place_node_key("node3"), 0xb976e22731fff362u);
    cr_assert_eq(place_store_key(1), 0xe700b5b8d68a6d81u);
    cr_assert_eq(place_seed(1, 0), 0xdce423fc82c0d5b8u);
    cr_assert_eq(place_seed(0x123456789a, 15), 0x5bd72053fee60329u);
}

Test(place_hash, a_logarithm_is_right_to_eight_digits_and_its_bound_below_it)
{
    uint64_t logs[PLACE_LOG_ENTRIES];
    struct prng prng = {.state = 1};
    place_logs_fill(logs);
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t hash = prng_next(&prng) >> prng_below(&prng, 64);
        if (prng_one_in(&prng, 3))
            hash = ~hash >> 24 << 24;
        double exact = -log2(ldexp((double)hash + 1, -64));
        double ours = ldexp((double)place_neglog(logs, hash), -(int)PLACE_LOG_BITS);
        cr_assert_float_eq(ours, exact, 1e-9 + exact * 1e-8, "%016lx: %.12g, not %.12g",
                           (unsigned long)hash, ours, exact);
        double least = ldexp((double)place_neglog_least(hash), -(int)PLACE_LOG_BITS);
        cr_assert_leq(least, ours + 1e-10);
    }
}

Test(place_hash, a_logarithm_is_never_nothing)
{
    uint64_t logs[PLACE_LOG_ENTRIES];
    place_logs_fill(logs);
    cr_assert_gt(place_neglog(logs, UINT64_MAX), 0);
    cr_assert_eq(place_neglog(logs, 0), 64ull << PLACE_LOG_BITS);
}
