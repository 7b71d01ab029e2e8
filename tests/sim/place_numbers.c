/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 10,000 volumes on 10,000 stores: how long placement and a pass of the keeper take, how even
 * stores become, how much moves when there are more. Prints the numbers, and fails where they are
 * not what was promised: a second, 5 % of a store. Sanitizers pay no attention to seconds.
 *
 *   place_numbers [DIVISOR]   of the numbers of stores and volumes; 1
 */
#include <stdio.h>
#include <stdlib.h>

#include "sim/plan_model.h"

#define VOLUMES 10000u
#define SECOND_US 1000000u
#define FULLNESS_PPM 50000u

static unsigned faults;

static void promised(bool kept, const char *what)
{
    if (kept)
        return;
    printf("NOT KEPT: %s\n", what);
    faults++;
}

static void even(const char *what, struct crowd_fullness fullness)
{
    printf("  %s: %.2f %% full, from %.2f to %.2f\n", what, (double)fullness.mean_ppm / 1e4,
           (double)fullness.least_ppm / 1e4, (double)fullness.most_ppm / 1e4);
    promised(fullness.most_ppm < fullness.mean_ppm + FULLNESS_PPM &&
                 fullness.least_ppm + FULLNESS_PPM > fullness.mean_ppm,
             what);
}

/* 400 segments are 100 GiB. */
static void placed(const char *what, const struct crowd_shape *shape, uint32_t volumes, bool draw,
                   bool timed)
{
    struct crowd crowd;
    struct prng prng = {.state = 7};
    crowd_init(&crowd, 1, shape);
    uint64_t begin = crowd_cpu_us();
    for (uint32_t i = 0; i < volumes; i++)
        if (!crowd_create(&crowd, draw ? 40 + prng_below(&prng, 720) : 400, 3, PLACE_NODE, 0))
            promised(false, "a volume is refused");
    uint64_t us = crowd_cpu_us() - begin;
    printf("%s\n  %u volumes, %u groups placed on %u stores in %llu ms of a processor\n", what,
           volumes, crowd.group_count, crowd.store_count, (unsigned long long)us / 1000);
    even("after creation", crowd_fullness(&crowd));
    if (timed)
        promised(us < SECOND_US, "placement takes a second");
    crowd_done(&crowd);
}

static void balanced(const struct crowd_shape *shape, uint32_t volumes, uint32_t more, bool timed)
{
    struct plan_model model;
    uint64_t longest = 0;
    unsigned passes = 0;
    unsigned quiet = 0;
    uint64_t minimum = 0;
    plan_model_init(&model, 1, shape, volumes, 400, 3, PLACE_NODE);
    uint32_t before = model.crowd.store_count;
    uint64_t *had = calloc(before, sizeof *had);
    plan_model_add_stores(&model, shape, more);
    for (; passes < 1000 && quiet < 2; passes++) {
        plan_model_pass(&model);
        if (passes == 0)
            for (uint32_t i = 0; had != NULL && i < before; i++)
                had[i] = model.stores[i].record.bytes_used;
        longest = MAX(longest, model.pass_us);
        quiet = model.actions > 0 ? 0 : quiet + 1;
        plan_model_advance(&model, 1000 * NS_PER_S);
    }
    for (uint32_t i = 0; had != NULL && i < model.crowd.store_count; i++) {
        uint64_t has = model.stores[i].record.bytes_used;
        uint64_t begun = i < before ? had[i] : 0;
        minimum += has > begun ? has - begun : 0;
    }
    printf("%u stores more\n  %u passes over %u groups, the longest %llu ms of a processor\n",
           model.crowd.store_count - before, passes, model.group_count,
           (unsigned long long)longest / 1000);
    printf("  %llu GiB moved, %.2f of what stores have more than before\n",
           (unsigned long long)(model.balanced_bytes >> 30),
           (double)model.balanced_bytes / (double)MAX(1, minimum));
    even("after balancing", plan_model_fullness(&model));
    promised(model.wrong == NULL, model.wrong == NULL ? "" : model.wrong);
    promised(model.balanced_bytes < minimum + minimum / 4, "little more moves than must");
    if (timed)
        promised(longest < SECOND_US, "a pass takes a second");
    free(had);
    plan_model_done(&model);
}

/* A rack is silent: each group that has a copy there is a fact, and work. */
static void lost(const struct crowd_shape *shape, uint32_t volumes, bool timed)
{
    struct plan_model model;
    plan_model_init(&model, 1, shape, volumes, 400, 3, PLACE_NODE);
    uint32_t rack = shape->nodes * shape->stores;
    for (uint32_t i = 0; i < rack; i += shape->stores)
        plan_model_silent(&model, i, true);
    plan_model_notice(&model);
    model.now_ns += 601 * NS_PER_S;
    plan_model_pass(&model);
    printf("%u stores lost\n  a pass in %llu ms of a processor, %u actions, %u facts\n  %s\n", rack,
           (unsigned long long)model.pass_us / 1000, model.actions, model.facts, model.worst);
    promised(model.wrong == NULL, model.wrong == NULL ? "" : model.wrong);
    if (timed)
        promised(model.pass_us < SECOND_US, "a pass takes a second");
    plan_model_done(&model);
}

int main(int count, char **arguments)
{
    uint32_t divisor = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 1;
    bool timed = divisor == 1;
    uint32_t volumes = VOLUMES / MAX(1, divisor);
    uint32_t racks = MAX(1, 10 / MAX(1, divisor));
    struct crowd_shape shape = {.zones = 10,
                                .racks = racks,
                                .nodes = 20,
                                .stores = 5,
                                .named = true,
                                .store_bytes = 430ull << 30};
    placed("10 zones of racks of 20 nodes of 5 stores", &shape, volumes, false, timed);
    shape.uneven = true;
    shape.store_bytes = 190ull << 30;
    placed("Stores of 1, 2 and 4 times the size", &shape, volumes, false, timed);
    placed("And volumes of 10 to 190 GiB", &shape, volumes, true, timed);
    struct crowd_shape flat = {.zones = 1,
                               .racks = 1,
                               .nodes = 100 * racks,
                               .stores = 10,
                               .uneven = true,
                               .store_bytes = 190ull << 30};
    placed("No zones or racks, nodes of 10 stores", &flat, volumes, false, false);
    balanced(&shape, volumes, 20 * racks, timed);
    lost(&shape, volumes, timed);
    return faults == 0 ? 0 : 1;
}
