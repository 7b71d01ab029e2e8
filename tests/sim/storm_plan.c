/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's decisions through lives of pools: nodes fall silent and come back, are added and
 * drained, volumes are deleted; no decision may be wrong, and once it is calm every group is as its
 * policy wants it, within a limit, and the plan has nothing more to do.
 *
 *   storm_plan [SEEDS [FIRST]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/mutants.h"
#include "sim/plan_model.h"

#define PASS_NS (10 * NS_PER_S)

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

static void pass(struct plan_model *model)
{
    plan_model_pass(model);
    REQUIRE(model->wrong == NULL, "%s", model->wrong);
    plan_model_advance(model, PASS_NS);
}

static uint32_t some_store(struct plan_model *model, struct prng *prng)
{
    return (uint32_t)prng_below(prng, model->crowd.store_count);
}

static void drain(struct plan_model *model, uint32_t at, enum metadata_store_state state)
{
    if (model->stores[at].record.state != METADATA_STORE_OUT)
        model->stores[at].record.state = state;
}

static void event(struct plan_model *model, struct prng *prng, const struct crowd_shape *shape)
{
    switch (prng_below(prng, 12)) {
    case 0: plan_model_silent(model, some_store(model, prng), true); break;
    case 1:
    case 2: plan_model_silent(model, some_store(model, prng), false); break;
    case 3:
    case 4: plan_model_notice(model); break;
    case 5: drain(model, some_store(model, prng), METADATA_STORE_DRAINING); break;
    case 6: drain(model, some_store(model, prng), METADATA_STORE_UP); break;
    case 7:
        if (prng_one_in(prng, 8))
            plan_model_add_stores(model, shape, 1);
        break;
    case 8:
        if (prng_one_in(prng, 8))
            model->volumes[prng_below(prng, model->volume_count)].told.state =
                METADATA_VOLUME_DELETING;
        break;
    case 9: {
        struct model_volume *volume = &model->volumes[prng_below(prng, model->volume_count)];
        volume->told.owned = !volume->told.owned;
        break;
    }
    default: break;
    }
}

/* Everybody comes back; what is left to do ends. */
static void calm(struct plan_model *model)
{
    for (uint32_t i = 0; i < model->crowd.store_count; i++) {
        plan_model_silent(model, i, false);
        drain(model, i, METADATA_STORE_UP);
    }
    for (uint32_t i = 0; i < model->volume_count; i++)
        model->volumes[i].told.owned = false;
    unsigned left = 2000;
    do
        pass(model);
    while (--left > 0 && (plan_model_unwell(model) > 0 || model->actions > 0));
    REQUIRE(left > 0, "%u groups are not well, %u actions: %s", plan_model_unwell(model),
            model->actions, model->worst);
    pass(model);
    REQUIRE(model->facts == 0 || model->balancing, "%u facts: %s", model->facts, model->worst);
}

static void life(uint64_t seed)
{
    seed_now = seed;
    struct prng prng = {.state = seed};
    struct crowd_shape shape = {
        .zones = 1 + (uint32_t)prng_below(&prng, 3),
        .racks = 1 + (uint32_t)prng_below(&prng, 2),
        .nodes = 1 + (uint32_t)prng_below(&prng, 3),
        .stores = 1 + (uint32_t)prng_below(&prng, 3),
        .named = !prng_one_in(&prng, 3),
        .uneven = prng_one_in(&prng, 2),
        .store_bytes = 400ull << 30,
    };
    uint32_t nodes = shape.zones * shape.racks * shape.nodes;
    uint32_t copies = 1 + (uint32_t)prng_below(&prng, MIN(nodes, 3));
    /* Less than a third full, so that there is room when nodes are lost. */
    uint32_t volumes = 4 + (uint32_t)prng_below(&prng, 8);
    uint64_t room = nodes * shape.stores * shape.store_bytes / PLACE_SEGMENT_BYTES / 3;
    uint64_t segments = 20 + prng_below(&prng, 200);
    segments = MAX(1, MIN(segments, room / volumes / copies));
    struct plan_model model;
    plan_model_init(&model, seed, &shape, volumes, segments, copies, PLACE_NODE);
    model.settings.out_after_ns = (1 + prng_below(&prng, 20)) * PASS_NS;
    if (prng_one_in(&prng, 2))
        model.settings.moves_per_store_max = 1;
    if (prng_one_in(&prng, 3))
        model.settings.moves_per_pool_max = 3;
    for (unsigned i = 0; i < 120; i++) {
        event(&model, &prng, &shape);
        pass(&model);
    }
    calm(&model);
    plan_model_done(&model);
}

/* A tenth of the stores are new: in the end all are as full, and little more moved than stores
 * got in the end. Copies are large, and move whole or not at all. */
static void balance(uint64_t seed)
{
    seed_now = seed;
    struct crowd_shape shape = {.zones = 6,
                                .racks = 1,
                                .nodes = 4,
                                .stores = 4,
                                .named = true,
                                .uneven = seed % 2 == 0,
                                .store_bytes = seed % 2 == 0 ? 400ull << 30 : 800ull << 30};
    struct plan_model model;
    plan_model_init(&model, seed, &shape, 48, 800 + seed % 7 * 50, 3, PLACE_NODE);
    struct crowd_shape one = shape;
    one.uneven = false;
    one.store_bytes = shape.uneven ? 800ull << 30 : shape.store_bytes;
    plan_model_add_stores(&model, &one, 3);
    uint64_t before[128] = {0};
    uint64_t minimum = 0;
    REQUIRE(model.crowd.store_count <= COUNT_OF(before), "stores");
    for (uint32_t i = 0; i < model.crowd.store_count; i++)
        before[i] = plan_model_bytes(&model, i);
    unsigned left = 3000;
    unsigned quiet = 0;
    while (--left > 0 && quiet < 10) {
        pass(&model);
        quiet = plan_model_unwell(&model) > 0 || model.actions > 0 ? 0 : quiet + 1;
    }
    REQUIRE(left > 0, "%u groups are not well", plan_model_unwell(&model));
    plan_model_pass(&model);
    for (uint32_t i = 0; i < model.crowd.store_count; i++) {
        uint64_t after = plan_model_bytes(&model, i);
        minimum += after > before[i] ? after - before[i] : 0;
    }
    struct crowd_fullness fullness = plan_model_fullness(&model);
    REQUIRE(fullness.most_ppm < fullness.mean_ppm + 40000 &&
                fullness.least_ppm + 40000 > fullness.mean_ppm,
            "fullness %llu .. %llu, mean %llu ppm", (unsigned long long)fullness.least_ppm,
            (unsigned long long)fullness.most_ppm, (unsigned long long)fullness.mean_ppm);
    REQUIRE(model.balanced_bytes < minimum + minimum / 4, "%llu GiB moved, for stores to get %llu",
            (unsigned long long)(model.balanced_bytes >> 30), (unsigned long long)(minimum >> 30));
    plan_model_done(&model);
}

/* What a plan that balances already has to do: one store lacks 4.5 % of its size, and each copy has
 * so many GiB. */
static size_t balancing_actions(uint64_t gib)
{
    static const char *const nodes[] = {"a", "b", "c", "d"};
    struct plan_settings settings = plan_settings_of(&(struct metadata_cluster){.format = 1}, 4);
    struct plan_store stores[4] = {0};
    struct plan *plan;
    size_t count;
    for (unsigned i = 0; i < 4; i++) {
        stores[i].record = (struct place_store){.id = i + 1, .node = nodes[i]};
        stores[i].record.bytes = 1000ull << 30;
        stores[i].record.bytes_used = (i == 3 ? 340ull : 400ull) << 30;
        stores[i].answers = true;
    }
    REQUIRE(plan_open(&settings, stores, 4, PASS_NS, true, &plan) == 0, "no plan");
    for (uint64_t id = 1; id <= 3; id++) {
        struct plan_volume volume = {.id = id, .policy = {.copies = 3, .copies_min = 2}};
        struct plan_group group = {.segments = (uint32_t)gib * 4,
                                   .bytes = gib << 30,
                                   .member_count = 3,
                                   .members = {{.store = 1}, {.store = 2}, {.store = 3}}};
        volume.groups = 1;
        plan_volume(plan, &volume);
        plan_group(plan, &group);
    }
    plan_decide(plan);
    (void)plan_actions(plan, &count);
    plan_close(plan);
    return count;
}

static void everything(uint64_t first, unsigned seeds)
{
    seed_now = 0;
    REQUIRE(balancing_actions(20) > 0, "what began to balance has stopped");
    REQUIRE(balancing_actions(100) == 0, "a copy moves that is more than twice what is lacking");
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        life(seed);
        if (seed % 25 == 1)
            balance(seed);
    }
}

static bool mutant_is_caught(int number)
{
    (void)fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        mutant_active = number;
        if (getenv("STORM_LOUD") == NULL && freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        struct rlimit most = {.rlim_cur = 60, .rlim_max = 60};
        (void)setrlimit(RLIMIT_CPU, &most);
        everything(1, 101);
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
    PLAN_MUTANTS(MUTANT_ROW)
#undef MUTANT_ROW
};

int main(int count, char **arguments)
{
    unsigned seeds = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 400;
    uint64_t first = count > 2 ? strtoull(arguments[2], NULL, 10) : 1;
    int missed = 0;
    everything(first, seeds);
    printf("%u lives\n", seeds);
    for (unsigned i = 0; first == 1 && i < COUNT_OF(mutants); i++) {
        bool caught = mutant_is_caught(mutants[i].number);
        printf("%-8s %d: %s\n", caught ? "caught" : "MISSED", mutants[i].number, mutants[i].what);
        missed += !caught;
    }
    return missed == 0 ? 0 : 1;
}
