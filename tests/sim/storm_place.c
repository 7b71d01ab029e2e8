/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement over pools of any shape, drawn from seeds and held against its promises the slow way
 * (place_oracle.c); then how even a larger pool becomes, and the planted bugs.
 *
 *   storm_place [SEEDS [FIRST]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/mutants.h"
#include "sim/place_oracle.h"

static uint64_t seed_now;

#define REQUIRE(condition, ...)                                                      \
    do {                                                                             \
        if (!(condition)) {                                                          \
            (void)fprintf(stderr, "seed %llu: ", (unsigned long long)seed_now);      \
            (void)fprintf(stderr, __VA_ARGS__);                                      \
            (void)fprintf(stderr, " (%s:%d: %s)\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

static struct crowd_shape shape_draw(struct prng *prng)
{
    return (struct crowd_shape){
        .zones = 1 + (uint32_t)prng_below(prng, 4),
        .racks = 1 + (uint32_t)prng_below(prng, 3),
        .nodes = 1 + (uint32_t)prng_below(prng, 4),
        .stores = 1 + (uint32_t)prng_below(prng, 3),
        .named = !prng_one_in(prng, 4),
        .uneven = prng_one_in(prng, 2),
        .mixed = prng_one_in(prng, 3),
        .store_bytes = 64ull << 30,
    };
}

/* Some drain, some are out, some are full or nearly so. */
static void trouble(struct crowd *crowd, struct prng *prng)
{
    uint64_t often = 2 + prng_below(prng, 12);
    for (uint32_t i = 0; i < crowd->store_count; i++) {
        struct place_store *store = &crowd->stores[i];
        store->bytes_used = store->bytes / 100 * prng_below(prng, 101);
        if (!prng_one_in(prng, often))
            store->bytes_used /= 2;
        if (prng_one_in(prng, often))
            store->state = METADATA_STORE_DRAINING;
        else if (prng_one_in(prng, often))
            store->state = METADATA_STORE_OUT;
    }
    crowd_close(crowd->place);
    REQUIRE(crowd_open(crowd->stores, crowd->store_count, &crowd->place) == 0, "open");
}

static struct place_request request_draw(struct crowd *crowd, struct prng *prng)
{
    struct place_request request = {
        .volume = prng_next(prng),
        .group = (uint32_t)prng_below(prng, 20),
        .copies = 1 + (uint32_t)prng_below(prng, 5),
        .domain = (enum place_level)prng_below(prng, PLACE_LEVELS),
        .media = (uint32_t)prng_below(prng, 8),
        .bytes = prng_below(prng, 1ull << 36),
    };
    if (prng_one_in(prng, 3)) {
        uint32_t near = (uint32_t)prng_below(prng, crowd->store_count);
        request.hint = (struct place_hint){.zone = crowd->names[near].zone,
                                           .rack = crowd->names[near].rack,
                                           .node = crowd->names[near].node};
    }
    return request;
}

/* Told in another order, with what was decided before: the same answer. */
static void same_elsewhere(const struct crowd *crowd, const struct place_request *request,
                           const uint64_t *stores, struct prng *prng)
{
    uint32_t count = crowd->store_count;
    struct place_store *shuffled = malloc(count * sizeof *shuffled);
    uint64_t again[METADATA_MEMBERS_MAX];
    struct place *other;
    REQUIRE(shuffled != NULL, "memory");
    memcpy(shuffled, crowd->stores, count * sizeof *shuffled);
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)prng_below(prng, i);
        struct place_store swap = shuffled[i - 1];
        shuffled[i - 1] = shuffled[j];
        shuffled[j] = swap;
    }
    REQUIRE(crowd_open(shuffled, count, &other) == 0, "open");
    REQUIRE(place_choose(other, request, again, NULL) == 0, "refused in another order");
    REQUIRE(memcmp(again, stores, request->copies * sizeof *stores) == 0, "another answer");
    crowd_close(other);
    free(shuffled);
}

/* One copy is lost, or the store of one is to be left: where does it go? */
static void one_more(struct crowd *crowd, const struct place_request *request, uint64_t *stores)
{
    uint64_t members[METADATA_MEMBERS_MAX];
    uint64_t lost = stores[0];
    uint32_t stay = request->copies - 1;
    memcpy(members, stores + 1, stay * sizeof *members);
    place_set_state(crowd->place, place_index(crowd->place, lost), METADATA_STORE_OUT);
    enum metadata_store_state before = crowd->stores[lost - 1].state;
    crowd->stores[lost - 1].state = METADATA_STORE_OUT;
    struct place_refusal refusal;
    if (place_another(crowd->place, request, members, stay, &members[stay], &refusal) == 0) {
        const char *fault = oracle_judge(crowd, request, members, stay + 1, stay);
        REQUIRE(fault == NULL, "one more copy: %s", fault);
    } else {
        uint32_t fit = oracle_fit(crowd, request->domain, request->media);
        REQUIRE(fit <= stay && refusal.fit == fit, "one more copy: refused with %u", fit);
    }
    crowd->stores[lost - 1].state = before;
    place_set_state(crowd->place, place_index(crowd->place, lost), before);
}

/* If a store of the hinted node may be chosen, the first copy is on one. */
static void near_enough(const struct crowd *crowd, const struct place_request *request,
                        uint64_t first)
{
    const char *node = request->hint.node;
    if (node == NULL || strcmp(crowd->names[first - 1].node, node) == 0)
        return;
    struct crowd there = *crowd; /* As if there were no other node. */
    struct place_store *stores = calloc(crowd->store_count, sizeof *stores);
    REQUIRE(stores != NULL, "memory");
    memcpy(stores, crowd->stores, crowd->store_count * sizeof *stores);
    for (uint32_t i = 0; i < crowd->store_count; i++)
        if (strcmp(crowd->names[i].node, node) != 0)
            stores[i].state = METADATA_STORE_OUT;
    there.stores = stores;
    REQUIRE(oracle_fit(&there, PLACE_STORE, request->media) == 0, "the first copy is elsewhere");
    free(stores);
}

static void one_pool(uint64_t seed)
{
    seed_now = seed;
    struct prng prng = {.state = seed};
    struct crowd_shape shape = shape_draw(&prng);
    struct crowd crowd;
    crowd_init(&crowd, seed, &shape);
    trouble(&crowd, &prng);
    for (unsigned i = 0; i < 20; i++) {
        struct place_request request = request_draw(&crowd, &prng);
        uint64_t stores[METADATA_MEMBERS_MAX];
        struct place_refusal refusal;
        uint32_t fit = oracle_fit(&crowd, request.domain, request.media);
        int result = place_choose(crowd.place, &request, stores, &refusal);
        REQUIRE((result == 0) == (fit >= request.copies), "%u fit, %u wanted: %d", fit,
                request.copies, result);
        if (result != 0) {
            REQUIRE(refusal.fit == fit && refusal.wanted == request.copies, "refusal");
            continue;
        }
        const char *fault = oracle_judge(&crowd, &request, stores, request.copies, 0);
        REQUIRE(fault == NULL, "%s", fault);
        near_enough(&crowd, &request, stores[0]);
        same_elsewhere(&crowd, &request, stores, &prng);
        one_more(&crowd, &request, stores);
    }
    crowd_done(&crowd);
}

/* --- How even -------------------------------------------------------------------------------- */

static void even_pool(uint64_t seed)
{
    seed_now = seed;
    struct crowd_shape shape = {.zones = 4,
                                .racks = 2,
                                .nodes = 5,
                                .stores = 5,
                                .named = true,
                                .uneven = true,
                                .store_bytes = 190ull << 30};
    struct crowd crowd;
    crowd_init(&crowd, seed, &shape);
    for (unsigned i = 0; i < 200; i++)
        REQUIRE(crowd_create(&crowd, 400, 3, PLACE_NODE, 0), "refused");
    struct crowd_fullness fullness = crowd_fullness(&crowd);
    REQUIRE(fullness.most_ppm < fullness.mean_ppm + 50000, "fullest %llu of %llu ppm",
            (unsigned long long)fullness.most_ppm, (unsigned long long)fullness.mean_ppm);
    REQUIRE(fullness.least_ppm + 50000 > fullness.mean_ppm, "emptiest %llu of %llu ppm",
            (unsigned long long)fullness.least_ppm, (unsigned long long)fullness.mean_ppm);
    uint32_t least = UINT32_MAX;
    uint32_t most = 0;
    for (uint32_t i = 0; i < crowd.group_count; i++) {
        least = MIN(least, crowd.groups[i].segments);
        most = MAX(most, crowd.groups[i].segments);
    }
    REQUIRE(most - least <= 2, "groups of %u and %u segments", least, most);
    crowd_done(&crowd);
}

/* What moves brings both nearer to even, whatever is drawn. */
static void moves(uint64_t seed)
{
    seed_now = seed;
    struct prng prng = {.state = seed};
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t segment = 1 + prng_below(&prng, PLACE_SEGMENT_BYTES);
        uint32_t segments = 1 + (uint32_t)prng_below(&prng, 4096);
        uint64_t excess = prng_below(&prng, 4096) * segment;
        uint64_t missing = prng_below(&prng, 4096) * segment;
        uint64_t wanted = MIN(excess, missing);
        uint32_t some = place_move_segments(segments * segment, segments,
                                            (uint32_t)prng_below(&prng, 70), excess, missing);
        REQUIRE(some <= segments, "more than there is");
        REQUIRE(some * segment < 2 * wanted || some == 0, "%u of %u moved for %llu", some, segments,
                (unsigned long long)(wanted / segment));
    }
}

static void everything(uint64_t first, unsigned seeds)
{
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        one_pool(seed);
        if (seed % 100 == 1)
            even_pool(seed);
        if (seed % 10 == 1)
            moves(seed);
    }
}

static bool mutant_is_caught(int number)
{
    (void)fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        mutant_active = number;
        /* What it says is what was to be expected. */
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        everything(1, 200);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child, "wait");
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static const struct {
    int number;
    const char *what;
} mutants[] = {
#define MUTANT_ROW(number, what) {number, what},
    PLACE_MUTANTS(MUTANT_ROW)
#undef MUTANT_ROW
};

int main(int count, char **arguments)
{
    unsigned seeds = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 2000;
    uint64_t first = count > 2 ? strtoull(arguments[2], NULL, 10) : 1;
    int missed = 0;
    everything(first, seeds);
    printf("%u pools\n", seeds);
    for (unsigned i = 0; first == 1 && i < COUNT_OF(mutants); i++) {
        bool caught = mutant_is_caught(mutants[i].number);
        printf("%-8s %d: %s\n", caught ? "caught" : "MISSED", mutants[i].number, mutants[i].what);
        missed += !caught;
    }
    return missed == 0 ? 0 : 1;
}
