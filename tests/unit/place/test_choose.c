/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "sim/crowd.h"

#define STORES_MAX 64u
static struct place_store stores[STORES_MAX];
static char names[STORES_MAX][3][8];

/* Nodes of so many stores, in racks of two nodes, in zones of two racks. */
static struct place *pool(uint32_t nodes, uint32_t per_node)
{
    struct place *place;
    uint32_t count = 0;
    for (uint32_t node = 0; node < nodes; node++)
        for (uint32_t i = 0; i < per_node; i++, count++) {
            names[count][0][0] = (char)('A' + node / 4);
            names[count][1][0] = (char)('0' + node / 2);
            names[count][2][0] = (char)('a' + node);
            stores[count] = (struct place_store){.id = 100 + count,
                                                 .zone = names[count][0],
                                                 .rack = names[count][1],
                                                 .node = names[count][2],
                                                 .bytes = 1ull << 40};
        }
    cr_assert_eq(crowd_open(stores, count, &place), 0);
    return place;
}

static struct place *anew(struct place *place, uint32_t count)
{
    crowd_close(place);
    cr_assert_eq(crowd_open(stores, count, &place), 0);
    return place;
}

static void refused(struct place *place, const struct place_request *request, const char *text)
{
    uint64_t chosen[METADATA_MEMBERS_MAX];
    cr_assert_eq(place_choose(place, request, chosen, NULL), -ENOSPC);
    cr_assert_str_eq(base_last_error(), text);
}

Test(place_choose, has_these_answers_for_ever)
{
    static const uint64_t golden[4][3] = {
        {120, 106, 128}, {131, 102, 117}, {118, 106, 130}, {124, 112, 106}};
    struct place *place = pool(12, 3);
    for (uint32_t i = 0; i < 4; i++) {
        struct place_request request = {
            .volume = 7 + i / 2, .group = i % 2, .copies = 3, .domain = PLACE_NODE};
        uint64_t chosen[3];
        cr_assert_eq(place_choose(place, &request, chosen, NULL), 0);
        cr_assert_arr_eq(chosen, golden[i], sizeof chosen, "%u: %lu %lu %lu", i,
                         (unsigned long)chosen[0], (unsigned long)chosen[1],
                         (unsigned long)chosen[2]);
    }
    crowd_close(place);
}

Test(place_choose, the_widest_domain_that_there_are_enough_of_keeps_copies_apart)
{
    struct place_request request = {.copies = 3, .domain = PLACE_NODE};
    uint64_t chosen[3];
    for (uint32_t nodes = 3; nodes <= 12; nodes++) {
        struct place *place = pool(nodes, 2);
        for (request.volume = 1; request.volume < 50; request.volume++) {
            cr_assert_eq(place_choose(place, &request, chosen, NULL), 0);
            struct place_spread spread = place_spread(place, chosen, 3);
            cr_assert_eq(spread.shared[PLACE_NODE], 0);
            cr_assert_eq(spread.shared[PLACE_RACK], nodes > 4 ? 0 : 1);
            cr_assert_eq(spread.shared[PLACE_ZONE], nodes > 8 ? 0 : nodes > 4 ? 1 : 3);
        }
        crowd_close(place);
    }
}

Test(place_choose, first_comes_the_node_of_the_hint_and_if_it_is_full_its_rack)
{
    struct place *place = pool(12, 2);
    struct place_request request = {
        .copies = 3, .domain = PLACE_NODE, .hint = {.zone = "B", .rack = "3", .node = "g"}};
    uint64_t chosen[3];
    for (request.volume = 1; request.volume < 50; request.volume++) {
        cr_assert_eq(place_choose(place, &request, chosen, NULL), 0);
        cr_assert(chosen[0] == 112 || chosen[0] == 113); /* The seventh node. */
        cr_assert_eq(place_spread(place, chosen, 3).shared[PLACE_ZONE], 0);
    }
    place_charge(place, place_index(place, 112), 1ll << 40, 0);
    cr_assert_eq(place_choose(place, &request, chosen, NULL), 0);
    cr_assert_eq(chosen[0], 113);
    place_set_state(place, place_index(place, 113), METADATA_STORE_DRAINING);
    cr_assert_eq(place_choose(place, &request, chosen, NULL), 0);
    cr_assert(chosen[0] == 114 || chosen[0] == 115); /* In the same rack. */
    crowd_close(place);
}

Test(place_choose, media_are_wishes_that_are_kept)
{
    struct place *place = pool(4, 3);
    uint64_t chosen[4];
    for (uint32_t i = 0; i < 12; i++)
        stores[i].media = (enum metadata_media)(i % 3);
    place = anew(place, 12);
    for (uint32_t media = 0; media < 3; media++) {
        struct place_request request = {
            .volume = media, .copies = 4, .domain = PLACE_NODE, .media = 1u << media};
        cr_assert_eq(place_choose(place, &request, chosen, NULL), 0);
        for (uint32_t i = 0; i < 4; i++)
            cr_assert_eq((chosen[i] - 100) % 3, media);
    }
    crowd_close(place);
}

Test(place_choose, chances_go_by_capacity)
{
    struct place *place = pool(3, 1);
    uint64_t counts[3] = {0};
    stores[1].bytes = 2ull << 40;
    stores[2].bytes = 2ull << 40;
    stores[2].weight_percent = 50;
    place = anew(place, 3);
    for (uint64_t volume = 0; volume < 4000; volume++) {
        struct place_request request = {
            .volume = volume, .copies = 1, .domain = PLACE_STORE, .bytes = 256ull << 20};
        uint64_t chosen;
        cr_assert_eq(place_choose(place, &request, &chosen, NULL), 0);
        counts[chosen - 100]++;
        place_charge(place, (uint32_t)(chosen - 100), 0, 256 << 20);
    }
    cr_assert_eq(counts[0] + counts[1] + counts[2], 4000);
    cr_assert(counts[0] >= 998 && counts[0] <= 1002, "%lu", (unsigned long)counts[0]);
    cr_assert(counts[1] >= 1998 && counts[1] <= 2002, "%lu", (unsigned long)counts[1]);
    crowd_close(place);
}

Test(place_choose, a_refusal_says_what_is_short_and_what_to_do)
{
    struct place *place = pool(2, 2);
    struct place_request request = {.copies = 3, .domain = PLACE_NODE};
    refused(place, &request,
            "3 copies on different nodes need 3 nodes, and there are 2: add 1 node, ask for fewer "
            "copies, or let copies share a node");
    request.copies = 2;
    request.media = 1u << METADATA_SSD | 1u << METADATA_HDD;
    refused(place, &request,
            "2 copies on different nodes need 2 nodes with ssd or hdd stores, and there are 0 (2 "
            "more are without such a store): add 2 nodes, ask for fewer copies, or let copies "
            "share a node");
    crowd_close(place);
    place = pool(4, 1);
    stores[0].state = METADATA_STORE_OUT;
    stores[1].state = METADATA_STORE_DRAINING;
    stores[2].bytes_used = stores[2].bytes;
    place = anew(place, 4);
    request.media = 0;
    refused(place, &request,
            "2 copies on different nodes need 2 nodes, and there is 1 (2 more are draining or out, "
            "1 more is full): add 1 node, make space, ask for fewer copies, or let copies share a "
            "node");
    place_set_state(place, 3, METADATA_STORE_OUT);
    request.copies = 1;
    request.domain = PLACE_STORE;
    refused(place, &request,
            "a copy needs a store, and there are 0 (3 more are draining or out, 1 more is full): "
            "add 1 store, make space");
    crowd_close(place);
}

Test(place_choose, stores_of_a_node_share_it_only_if_that_is_asked_for)
{
    struct place *place = pool(1, 3);
    struct place_request request = {.copies = 3, .domain = PLACE_STORE};
    uint64_t chosen[3];
    cr_assert_eq(place_choose(place, &request, chosen, NULL), 0);
    cr_assert_eq(chosen[0] + chosen[1] + chosen[2], 100 + 101 + 102);
    request.domain = PLACE_NODE;
    cr_assert_eq(place_choose(place, &request, chosen, NULL), -ENOSPC);
    crowd_close(place);
}

/* By mistake or while it is moved: it must not count as two. */
Test(place_choose, a_node_said_to_be_in_two_racks_is_one_node)
{
    struct place *place = pool(3, 1);
    stores[2].node = stores[1].node;
    place = anew(place, 3);
    struct place_request request = {.copies = 3, .domain = PLACE_NODE};
    uint64_t chosen[3];
    cr_assert_eq(place_choose(place, &request, chosen, NULL), -ENOSPC);
    cr_assert_eq(place_domain(place, 1, PLACE_NODE), place_domain(place, 2, PLACE_NODE));
    crowd_close(place);
}

Test(place_choose, two_stores_of_one_id_are_refused)
{
    struct place *place = pool(2, 1);
    crowd_close(place);
    stores[1].id = stores[0].id;
    cr_assert_eq(crowd_open(stores, 2, &place), -EINVAL);
    cr_assert_str_eq(base_last_error(), "two stores have the id 64");
}

Test(place_choose, a_pool_without_stores_refuses)
{
    struct place *place;
    uint64_t chosen;
    struct place_refusal refusal;
    struct place_request request = {.copies = 1, .domain = PLACE_STORE};
    cr_assert_eq(crowd_open(NULL, 0, &place), 0);
    cr_assert_eq(place_choose(place, &request, &chosen, &refusal), -ENOSPC);
    cr_assert_eq(refusal.all, 0);
    cr_assert_eq(place_another(place, &request, NULL, 0, &chosen, NULL), -ENOSPC);
    crowd_close(place);
}
