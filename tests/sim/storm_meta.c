/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of the metadata: random transactions on a disk whose power is cut.
 *
 * The shipped lib/meta/sqlite, stepped in one thread, on meta_vfs. A seed is a chain of lives on
 * one disk: open, look, transact, end by a cut after a drawn operation (or a kill, an I/O error, no
 * space, a clean close), again. After each: every transaction reported committed is there, none is
 * there in half, those whose outcome was not known are there all or not at all as one COMMIT, and
 * the revision is exactly the model's, so it never went back and none was used twice.
 *
 *     sim_storm_meta [SEEDS [FIRST]]     prints what it did; 1 if anything was wrong
 */
#include <stdio.h>
#include <stdlib.h>

#include "meta/sqlite/sqlite.h"
#include "sim/meta_model.h"
#include "sim/meta_vfs.h"
#include "sim/mutants.h"

#define FLIGHTS_MAX 8u
#define CANDIDATES_MAX 8u
#define PATH "meta.db"

static struct {
    uint64_t lives, cuts, opens_cut, transactions, unknown, no_space, failed, operations;
} total;

/* A transaction in flight. */
struct flight {
    struct storm *storm;
    struct meta_request request;
    struct model_transaction transaction;
};

struct storm {
    struct prng prng;
    struct meta_vfs vfs;
    struct clock clock;
    uint64_t now_ns;
    struct meta *meta;
    uint64_t tag;
    struct model base;  /* What must be there. */
    struct model maybe; /* What may be there instead, if has_maybe. */
    bool has_maybe;
    bool undecided; /* It died before it was seen which of the candidates is there. */
    struct model candidates[CANDIDATES_MAX]; /* Between lives: one of these. */
    unsigned candidate_count;
    struct flight flights[FLIGHTS_MAX];
    struct meta_request other;
    int other_result;
    uint64_t lease;
    struct meta_watch watch;
    struct model shadow; /* What the watch was told; keys of "a/" only. */
    uint64_t event_revision;
    bool event_last;
    bool watch_ended;
    const char *wrong;
};

static void wrong(struct storm *storm, const char *sentence)
{
    if (storm->wrong == NULL)
        storm->wrong = sentence;
}

static uint64_t storm_now(struct clock *clock)
{
    return CONTAINER_OF(clock, struct storm, clock)->now_ns;
}

static const struct clock_ops storm_clock = {.now_ns = storm_now, .wall_ns = storm_now};

static void no_wakeup(void *context)
{
    (void)context;
}

static void turn(struct storm *storm)
{
    while (meta_sqlite_step(storm->meta) > 0)
        continue;
    meta_poll(storm->meta);
}

static void other_done(struct meta_request *request, int result)
{
    CONTAINER_OF(request, struct storm, other)->other_result = result;
}

static bool dead(struct storm *storm)
{
    return storm->vfs.off || *meta_sqlite_failure(storm->meta) != '\0';
}

static void on_event(struct meta_watch *watch, const struct meta_event *event)
{
    struct storm *storm = CONTAINER_OF(watch, struct storm, watch);
    unsigned key = 0;
    struct model_cell cell = {0};
    struct meta_entry named = event->entry;
    uint8_t any[8] = {0};
    if (event->kind == META_EVENT_DELETE)
        named.value = (struct meta_slice){.data = any, .length = sizeof any};
    if (!model_read(&named, &key, &cell) && event->kind == META_EVENT_PUT)
        wrong(storm, "an event has a value that nobody put");
    if (event->kind == META_EVENT_DELETE) {
        key = (unsigned)(((const uint8_t *)named.key.data)[2] - '0');
        cell = (struct model_cell){0};
    }
    if (key >= MODEL_KEYS / 2) {
        wrong(storm, "an event is outside the prefix");
        return;
    }
    if (storm->event_last ? event->revision <= storm->event_revision
                          : event->revision != storm->event_revision)
        wrong(storm, "events are out of order, or `last` was not");
    if (event->previous_revision != storm->shadow.cells[key].modified)
        wrong(storm, "an event names another previous revision");
    storm->event_revision = event->revision;
    storm->event_last = event->last;
    storm->shadow.cells[key] = cell;
}

static void on_watch_ended(struct meta_watch *watch, int result)
{
    struct storm *storm = CONTAINER_OF(watch, struct storm, watch);
    storm->watch_ended = true;
    if (result != IOMESH_FAILED)
        wrong(storm, "a watch ended though nothing failed");
}

/* Everything that is there, read through the interface in pages. */
static bool observe(struct storm *storm, struct model *ret_model)
{
    struct model seen = {0};
    uint8_t last[META_KEY_BYTES_MAX];
    struct meta_slice after = {.data = last};
    bool more = true;
    while (more) {
        meta_request_reset(&storm->other);
        meta_list(&storm->other, (struct meta_slice){0}, after, 5);
        if (meta_commit(storm->meta, &storm->other, other_done) != 0)
            return false;
        turn(storm);
        if (storm->other_result != 0)
            return false;
        const struct meta_response *response = &storm->other.responses[0];
        for (uint32_t i = 0; i < response->entry_count; i++) {
            unsigned key;
            struct model_cell cell;
            if (!model_read(&response->entries[i], &key, &cell))
                return false;
            seen.cells[key] = cell;
            after.length = response->entries[i].key.length;
            memcpy(last, response->entries[i].key.data, after.length);
        }
        more = response->more;
        seen.revision = storm->other.revision;
    }
    *ret_model = seen;
    return true;
}

static void candidate_add(struct storm *storm, const struct model *model)
{
    for (unsigned i = 0; i < storm->candidate_count; i++)
        if (model_equal(&storm->candidates[i], model))
            return;
    assert(storm->candidate_count < CANDIDATES_MAX);
    storm->candidates[storm->candidate_count++] = *model;
}

/* Opening deletes what was leased: it may do so and yet not come back to tell. */
static void candidates_open(struct storm *storm)
{
    unsigned count = storm->candidate_count;
    for (unsigned i = 0; i < count; i++) {
        struct model cleared = storm->candidates[i];
        model_end_lease(&cleared, 0);
        candidate_add(storm, &cleared);
    }
}

static void look(struct storm *storm)
{
    struct model seen;
    for (unsigned i = 0; i < storm->candidate_count; i++)
        model_end_lease(&storm->candidates[i], 0);
    storm->undecided = !observe(storm, &seen);
    if (storm->undecided) {
        if (!dead(storm))
            wrong(storm, "what is there cannot be read, or was never written");
        return;
    }
    for (unsigned i = 0; i < storm->candidate_count; i++) {
        if (model_equal(&storm->candidates[i], &seen)) {
            storm->base = seen;
            return;
        }
    }
    wrong(storm, "what is there is not what was committed");
}

static void flight_done(struct meta_request *request, int result)
{
    struct flight *flight = CONTAINER_OF(request, struct flight, request);
    struct storm *storm = flight->storm;
    const char *differs = NULL;
    switch (result) {
    case 0:
        differs = model_apply(&storm->base, &flight->transaction, request);
        if (storm->has_maybe)
            differs = "a transaction was answered after one whose outcome is not known";
        total.transactions++;
        break;
    case IOMESH_UNKNOWN:
        if (!storm->has_maybe)
            storm->maybe = storm->base;
        storm->has_maybe = true;
        model_apply(&storm->maybe, &flight->transaction, NULL);
        total.unknown++;
        break;
    case IOMESH_FAILED: total.failed++; break;
    case -ENOSPC: total.no_space++; break;
    default: differs = base_error_text(result); break;
    }
    if (differs != NULL)
        wrong(storm, differs);
}

/* What the watch was told is what is there. */
static void look_at_watch(struct storm *storm)
{
    if (dead(storm) || storm->watch_ended)
        return;
    if (memcmp(storm->shadow.cells, storm->base.cells,
               MODEL_KEYS / 2 * sizeof storm->base.cells[0]) != 0)
        wrong(storm, "the watch was not told what happened");
    if (!storm->event_last)
        wrong(storm, "a revision's last event did not say so");
}

static void lease_grant(struct storm *storm)
{
    uint64_t ttl_ns = NS_PER_S * (1 + prng_below(&storm->prng, 5));
    if (meta_lease_grant(storm->meta, &storm->other, ttl_ns, other_done) != 0)
        wrong(storm, "a lease is refused");
    turn(storm);
    storm->lease = storm->other.lease;
}

/* The lease ends, by time or by word; everything else is done. */
static void lease_end(struct storm *storm)
{
    uint64_t lease = storm->lease;
    uint64_t operations = storm->vfs.operations;
    storm->lease = 0;
    if (prng_one_in(&storm->prng, 2)) {
        meta_lease_revoke(storm->meta, &storm->other, lease, other_done);
    } else {
        storm->now_ns += 6 * NS_PER_S;
        clock_run(&storm->clock);
    }
    turn(storm);
    struct model ended = storm->base;
    model_end_lease(&ended, lease);
    if (!dead(storm)) {
        storm->base = ended;
    } else if (storm->vfs.operations > operations) {
        /* It may have been told that it failed before it began; here the wider answer will do. */
        storm->maybe = ended;
        storm->has_maybe = true;
    }
}

static void transact(struct storm *storm)
{
    unsigned count = 1 + (unsigned)prng_below(&storm->prng, FLIGHTS_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct flight *flight = &storm->flights[i];
        flight->storm = storm;
        model_draw(&storm->base, &storm->prng, storm->lease, &storm->tag, &flight->transaction);
        model_build(&flight->transaction, &flight->request);
        if (meta_commit(storm->meta, &flight->request, flight_done) != 0)
            wrong(storm, base_last_error());
        if (prng_one_in(&storm->prng, 8))
            meta_sqlite_step(storm->meta);
    }
    turn(storm);
    look_at_watch(storm);
}

/* How a life is to end. */
static void draw_fate(struct storm *storm)
{
    uint64_t after = storm->vfs.operations + 1 + prng_below(&storm->prng, 90);
    switch (prng_below(&storm->prng, 8)) {
    case 0: break; /* Clean, or a kill. */
    case 1:
        storm->vfs.fail_first = after;
        storm->vfs.fail_last = after + prng_below(&storm->prng, 12);
        storm->vfs.fail_code = SQLITE_FULL;
        break;
    case 2:
        storm->vfs.fail_first = storm->vfs.fail_last = after;
        storm->vfs.fail_code = SQLITE_IOERR_WRITE;
        break;
    case 3:
        storm->vfs.fail_first = after;
        storm->vfs.fail_last = after + 3;
        storm->vfs.fail_code = SQLITE_IOERR_FSYNC;
        break;
    default: storm->vfs.cut_after = after; break;
    }
}

/* The next life begins on what the last one left: all of it if the system lives on. */
static void power_again(struct storm *storm, bool system_lives)
{
    if (!system_lives)
        meta_vfs_restart(&storm->vfs);
    storm->vfs.off = false;
    storm->vfs.cut_after = 0;
    storm->vfs.fail_first = storm->vfs.fail_last = 0;
}

static void life_end(struct storm *storm)
{
    meta_watch_cancel(storm->meta, &storm->watch);
    bool killed = prng_one_in(&storm->prng, 2);
    bool was_off = storm->vfs.off;
    if (killed)
        meta_vfs_power_off(&storm->vfs);
    while (meta_flying(storm->meta) > 0)
        turn(storm);
    meta_close(storm->meta);
    if (!storm->undecided) {
        storm->candidate_count = 0;
        candidate_add(storm, &storm->base);
    }
    if (storm->has_maybe)
        candidate_add(storm, &storm->maybe);
    total.cuts += storm->vfs.off;
    /* A process that was killed left its writes with the system, which lives on. */
    power_again(storm, killed && !was_off && prng_one_in(&storm->prng, 2));
}

static void life(struct storm *storm, unsigned rounds)
{
    struct meta_sqlite_options options = {
        .path = PATH,
        .vfs = storm->vfs.name,
        .create = true,
        .checkpoint_pages = 2 + (uint32_t)prng_below(&storm->prng, 30),
        .clock = &storm->clock,
        .wakeup = no_wakeup,
    };
    total.lives++;
    candidates_open(storm);
    if (meta_sqlite_open(&options, &storm->meta) != 0) {
        if (!storm->vfs.off && storm->vfs.fail_first == 0)
            wrong(storm, base_last_error());
        total.opens_cut++;
        power_again(storm, !storm->vfs.off && prng_one_in(&storm->prng, 2));
        return;
    }
    storm->has_maybe = false;
    storm->lease = 0;
    look(storm);
    storm->shadow = storm->base;
    storm->event_revision = storm->base.revision;
    storm->event_last = true;
    storm->watch_ended = false;
    meta_watch_start(storm->meta, &storm->watch, META_TEXT("a/"), 0, on_event, on_watch_ended);
    for (unsigned i = 0; i < rounds && !storm->undecided && !dead(storm) && storm->wrong == NULL;
         i++) {
        if (storm->lease == 0 && prng_one_in(&storm->prng, 2))
            lease_grant(storm);
        transact(storm);
        if (storm->lease != 0 && !dead(storm) && storm->vfs.fail_code != SQLITE_FULL &&
            prng_one_in(&storm->prng, 3))
            lease_end(storm);
    }
    life_end(storm);
}

static void storm_open(struct storm *storm, uint64_t seed)
{
    *storm = (struct storm){.prng.state = seed, .clock.ops = &storm_clock};
    meta_vfs_open(&storm->vfs, prng_next(&storm->prng));
    struct model nothing;
    model_init(&nothing);
    candidate_add(storm, &nothing);
}

static const char *storm_close(struct storm *storm)
{
    for (unsigned i = 0; i < FLIGHTS_MAX; i++)
        meta_request_done(&storm->flights[i].request);
    meta_request_done(&storm->other);
    total.operations += storm->vfs.operations;
    meta_vfs_close(&storm->vfs);
    return storm->wrong;
}

/* A chain of lives, each with its own fate. NULL if all was well. */
static const char *chain(uint64_t seed, bool sync_lies)
{
    struct storm storm;
    storm_open(&storm, seed);
    unsigned lives = 2 + (unsigned)prng_below(&storm.prng, 8);
    for (unsigned i = 0; i < lives && storm.wrong == NULL; i++) {
        draw_fate(&storm);
        storm.vfs.sync_lies = sync_lies;
        life(&storm, 1 + (unsigned)prng_below(&storm.prng, 6));
    }
    storm.vfs.cut_after = storm.vfs.fail_first = storm.vfs.fail_last = 0;
    if (storm.wrong == NULL)
        life(&storm, 2);
    return storm_close(&storm);
}

/* A small workload from nothing, each of its operations in turn the last (code 0), or failing. */
static const char *every_operation(uint64_t seed, int code)
{
    for (uint64_t n = 1;; n++) {
        struct storm storm;
        storm_open(&storm, seed);
        if (code == 0)
            storm.vfs.cut_after = n;
        else
            storm.vfs.fail_first = storm.vfs.fail_last = n;
        storm.vfs.fail_code = code;
        life(&storm, 1);
        uint64_t operations = storm.vfs.operations;
        for (unsigned i = 0; i < 3 && storm.wrong == NULL; i++) {
            if (i == 1) /* What a failure left in the system's cache only, meets a cut. */
                storm.vfs.cut_after = storm.vfs.operations + 1 + prng_below(&storm.prng, 40);
            life(&storm, 1);
        }
        const char *differs = storm_close(&storm);
        if (differs != NULL || operations < n)
            return differs;
    }
}

static const char *every_way(uint64_t seed)
{
    static const int codes[] = {0, SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC};
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        const char *differs = every_operation(seed, codes[i]);
        if (differs != NULL)
            return differs;
    }
    return NULL;
}

/* How many seeds until something is wrong; 0: nothing was. */
static uint64_t seeds_until_wrong(uint64_t seeds, bool sync_lies)
{
    for (uint64_t seed = 1; seed <= seeds; seed++)
        if (chain(seed, sync_lies) != NULL)
            return seed;
    return 0;
}

static int planted_bugs(uint64_t seeds)
{
#define BUG(number, name) {number, name},
    static const struct {
        int mutant;
        const char *name;
    } bugs[] = {META_MUTANTS(BUG){0, "the disk's sync lies"}};
#undef BUG
    int missed = 0;
    for (size_t i = 0; i < COUNT_OF(bugs); i++) {
        mutant_active = bugs[i].mutant;
        uint64_t seed = seeds_until_wrong(seeds, bugs[i].mutant == 0);
        mutant_active = 0;
        if (seed == 0)
            missed++;
        printf("planted: %-40s %s", bugs[i].name, seed == 0 ? "MISSED\n" : "caught by seed ");
        if (seed != 0)
            printf("%llu\n", (unsigned long long)seed);
    }
    return missed;
}

static const char *const branches[] = {"meta_checkpoint", "meta_commit_no_space",
                                       "meta_commit_unknown", "meta_commit_each",
                                       "meta_log_rewritten"};
static uint64_t reached[COUNT_OF(branches)];

static void on_reach(void *context, const char *name, uint64_t count)
{
    (void)context;
    for (size_t i = 0; i < COUNT_OF(branches); i++)
        if (strcmp(branches[i], name) == 0)
            reached[i] = count;
}

static int unreached(void)
{
    int missing = 0;
    reach_each(on_reach, NULL);
    for (size_t i = 0; i < COUNT_OF(branches); i++) {
        printf("reached: %-24s %llu\n", branches[i], (unsigned long long)reached[i]);
        missing += reached[i] == 0;
    }
    return missing;
}

int main(int count, char **arguments)
{
    uint64_t seeds = count > 1 ? strtoull(arguments[1], NULL, 10) : 500;
    uint64_t first = count > 2 ? strtoull(arguments[2], NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        const char *differs = chain(seed, false);
        if (differs == NULL && seed % 20 == 1)
            differs = every_way(seed);
        if (differs != NULL) {
            printf("seed %llu: %s\n", (unsigned long long)seed, differs);
            return 1;
        }
    }
    printf("%llu seeds, %llu lives, %llu cuts, %llu openings cut, %llu operations\n"
           "%llu transactions committed, %llu of unknown outcome, %llu without space, "
           "%llu after a failure\n",
           (unsigned long long)seeds, (unsigned long long)total.lives,
           (unsigned long long)total.cuts, (unsigned long long)total.opens_cut,
           (unsigned long long)total.operations, (unsigned long long)total.transactions,
           (unsigned long long)total.unknown, (unsigned long long)total.no_space,
           (unsigned long long)total.failed);
    return unreached() + planted_bugs(seeds) == 0 ? 0 : 1;
}
