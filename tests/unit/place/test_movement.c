/* SPDX-License-Identifier: Apache-2.0 */
/* What changes when stores come and go: for placement made anew, which is the hash's own matter. */
#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <stdlib.h>

#include "sim/crowd.h"

#define GROUPS 20000u

static const struct crowd_shape shape = {
    .zones = 4, .racks = 4, .nodes = 8, .stores = 4, .named = true, .store_bytes = 1ull << 40};

/* Nobody has any load: only the hash decides. */
static uint64_t *choose_all(const struct crowd *crowd)
{
    uint64_t *chosen = calloc(3 * GROUPS, sizeof *chosen);
    for (uint32_t i = 0; i < GROUPS; i++) {
        struct place_request request = {
            .volume = i / 16, .group = i % 16, .copies = 3, .domain = PLACE_NODE};
        cr_assert_eq(place_choose(crowd->place, &request, &chosen[3 * i], NULL), 0);
    }
    return chosen;
}

/* Copies of `after` that were not in the same group of `before`, in parts of 10,000. */
static uint32_t moved(const uint64_t *before, const uint64_t *after)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < GROUPS; i++)
        for (uint32_t a = 0; a < 3; a++) {
            bool there = false;
            for (uint32_t b = 0; b < 3; b++)
                there = there || after[3 * i + a] == before[3 * i + b];
            count += !there;
        }
    return (uint32_t)((uint64_t)count * 10000 / (3ull * GROUPS));
}

Test(place_movement, a_new_node_takes_its_share_and_little_else_moves)
{
    struct crowd crowd;
    crowd_init(&crowd, 1, &shape);
    uint64_t *before = choose_all(&crowd);
    crowd_add_stores(&crowd, &shape, 1);
    uint64_t *after = choose_all(&crowd);
    uint32_t share = 10000 * shape.stores / crowd.store_count;
    uint32_t all = moved(before, after);
    cr_log_info("a node more of 129: %u of 10,000 copies moved, its share is %u\n", all, share);
    cr_assert_geq(all, share / 2);
    /* At each of three levels its share comes from its siblings. */
    cr_assert_leq(all, 3 * share);
    free(before);
    free(after);
    crowd_done(&crowd);
}

Test(place_movement, what_a_lost_store_held_moves_and_little_else)
{
    struct crowd crowd;
    crowd_init(&crowd, 1, &shape);
    uint64_t *before = choose_all(&crowd);
    place_set_state(crowd.place, 77, METADATA_STORE_OUT);
    uint64_t *after = choose_all(&crowd);
    uint32_t share = 10000 / crowd.store_count;
    uint32_t all = moved(before, after);
    cr_log_info("a store of 512 lost: %u of 10,000 copies moved, it held %u\n", all, share);
    cr_assert_leq(all, 5 * share);
    for (uint32_t i = 0; i < 3 * GROUPS; i++)
        cr_assert_neq(after[i], 78);
    /* And back again: as it was. */
    place_set_state(crowd.place, 77, METADATA_STORE_UP);
    uint64_t *again = choose_all(&crowd);
    cr_assert_arr_eq(before, again, 3 * GROUPS * sizeof *before);
    free(before);
    free(after);
    free(again);
    crowd_done(&crowd);
}
