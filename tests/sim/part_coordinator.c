/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator of storm_part: one write after another, takeovers, what goes between copies. */
#include <string.h>

#include "codec/codec.h"
#include "sim/part_storm.h"

#define FLYING_MAX 6u

struct coordinator c;
struct part_counts counts;
static const struct part_run whole = {.first = 0, .count = 1};

/* --- Copies --------------------------------------------------------------------------------- */

static unsigned in_sync(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < COPIES; i++)
        count += copies[i].role == COPY_IN_SYNC;
    return count;
}

static void goes_stale(struct copy *copy)
{
    copy->role = COPY_STALE;
    c.generation++;
    REQUIRE(in_sync() > 0, "no copy is left");
}

/* What an answer means for the copy: false: it is gone. Anything else but `good` is wrong. */
bool answered(struct copy *copy, int result)
{
    if (result == -ECONNRESET) {
        if (copy->role != COPY_STALE)
            goes_stale(copy);
        return false;
    }
    REQUIRE(result == 0, "copy %d answers %s", (int)(copy - copies), base_error_text(result));
    return true;
}

int say(struct ask *ask, struct copy *copy)
{
    ask->request.watermark = ask->request.settled = c.watermark; /* Floors tell what was lost. */
    ask_send(ask, copy, c.epoch, c.generation);
    return ask_wait(ask);
}

struct part_state state_of(struct copy *copy)
{
    struct ask *ask = ask_get();
    ask->request.kind = PART_STATE;
    struct part_state state = {0};
    if (answered(copy, say(ask, copy)))
        state = ask->request.state;
    ask_put(ask);
    return state;
}

/* What a view shows of all blocks: false: the copy is gone. */
bool map_of(struct copy *copy, uint64_t view, struct part_version *versions)
{
    bool there = true;
    for (uint32_t first = 0; first < BLOCKS && there; first += HALF) {
        struct ask *ask = ask_get();
        ask->request.kind = PART_MAP;
        ask->request.view = view;
        ask->request.block = block_of(first);
        ask->request.count = HALF;
        ask->request.versions = ask->versions;
        there = answered(copy, say(ask, copy));
        memcpy(versions + first, ask->versions, HALF * sizeof *versions);
        ask_put(ask);
    }
    return there;
}

/* --- Writing -------------------------------------------------------------------------------- */

static struct ask *write_send(struct copy *copy, uint32_t index, uint32_t count, uint64_t sequence,
                              bool zero, uint64_t epoch, uint32_t generation)
{
    struct ask *ask = ask_get();
    struct part_request *request = &ask->request;
    request->kind = zero ? PART_ZERO : PART_WRITE;
    request->block = block_of(index);
    request->count = count;
    request->sequence = sequence;
    request->cut = c.cut_count == 0 ? 0 : c.cuts[c.cut_count - 1];
    request->views = c.views_ever;
    request->parent = true;
    request->watermark = request->settled = c.watermark;
    request->data = ask->data;
    request->crcs = ask->crcs;
    for (uint32_t i = 0; i < count && !zero; i++) {
        block_fill(ask->data + (size_t)i * BLOCK_BYTES, block_of(index) + i, sequence);
        ask->crcs[i] = crc32c(ask->data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES);
    }
    ask_send(ask, copy, epoch, generation);
    return ask;
}

static void draw_range(uint32_t *index, uint32_t *count)
{
    *index = (uint32_t)prng_below(&dice, BLOCKS);
    *count = 1 + (uint32_t)prng_below(&dice, MIN(6, HALF - *index % HALF));
}

void write_one(void)
{
    struct ask *sent[COPIES] = {NULL};
    uint32_t index, count;
    bool zero = prng_one_in(&dice, 5);
    uint64_t sequence = ++c.sequence;
    storm_doing = "write";
    draw_range(&index, &count);
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role != COPY_STALE)
            sent[i] = write_send(&copies[i], index, count, sequence, zero, c.epoch, c.generation);
    }
    for (unsigned i = 0; i < COPIES; i++) {
        if (sent[i] == NULL)
            continue;
        (void)answered(&copies[i], ask_wait(sent[i]));
        ask_put(sent[i]);
    }
    for (uint32_t i = 0; i < count; i++)
        c.head[index + i] =
            (struct truth){.sequence = sequence, .kind = zero ? POINTER_ZERO : POINTER_RAW};
    c.watermark = sequence;
    counts.writes++;
}

void flush_all(void)
{
    storm_doing = "flush";
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role == COPY_STALE)
            continue;
        struct ask *ask = ask_get();
        ask->request.kind = PART_FLUSH;
        (void)answered(&copies[i], say(ask, &copies[i]));
        ask_put(ask);
    }
    c.durable = c.watermark;
}

void views_tell(struct copy *copy)
{
    struct ask *ask = ask_get();
    ask->request.kind = PART_VIEWS;
    ask->request.cuts = c.cuts;
    ask->request.cut_count = c.cut_count;
    (void)answered(copy, say(ask, copy));
    ask_put(ask);
}

void cut_take(void)
{
    if (c.cut_count == CUTS_MAX)
        return;
    c.views_ever = true;
    c.cuts[c.cut_count] = ++c.sequence;
    memcpy(c.views[c.cut_count++], c.head, sizeof c.head);
    flush_all();
}

void cut_drop(void)
{
    if (c.cut_count == 0)
        return;
    storm_doing = "drop a cut";
    uint32_t gone = (uint32_t)prng_below(&dice, c.cut_count--);
    memmove(c.cuts + gone, c.cuts + gone + 1, (c.cut_count - gone) * sizeof c.cuts[0]);
    memmove(c.views + gone, c.views + gone + 1, (c.cut_count - gone) * sizeof c.views[0]);
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role != COPY_STALE)
            views_tell(&copies[i]);
    }
}

/* --- From one copy to another --------------------------------------------------------------- */

struct copy *source_of(void)
{
    for (;;) {
        struct copy *copy = &copies[prng_below(&dice, COPIES)];
        if (copy->role == COPY_IN_SYNC)
            return copy;
    }
}

/* What the source shows of blocks enters the target's view. False: one of them is gone. */
bool carry(struct copy *from, struct copy *to, uint64_t view, uint32_t index, uint32_t count)
{
    struct ask *read = ask_get();
    struct part_request *request = &read->request;
    request->kind = PART_READ;
    request->view = view;
    request->block = block_of(index);
    request->count = count;
    request->data = read->data;
    request->crcs = read->crcs;
    request->versions = read->versions;
    bool there = answered(from, say(read, from));
    if (there) {
        struct ask *ask = ask_get();
        ask->request = read->request;
        ask->request.kind = PART_RESYNC;
        ask->request.cuts = c.cuts;
        ask->request.cut_count = c.cut_count;
        there = answered(to, say(ask, to));
        ask_put(ask);
    }
    ask_put(read);
    counts.resynced++;
    return there;
}

/* --- Takeover ------------------------------------------------------------------------------- */

/* Of the coordinator that died: what has not ended at a copy when that answers a fence must not
 * happen. */
static struct ask *left[FLYING_MAX * COPIES];
static bool late[FLYING_MAX * COPIES];
static unsigned left_count;

bool fence_tell(struct copy *copy, struct part_state *ret_state)
{
    struct ask *ask = ask_get();
    ask->request.kind = PART_FENCE;
    bool there = answered(copy, say(ask, copy));
    *ret_state = ask->request.state;
    ask_put(ask);
    if (there)
        c.fenced[copy - copies] = c.epoch;
    for (unsigned i = 0; i < left_count && there; i++)
        late[i] |= left[i]->copy == copy && !left[i]->ended;
    return there;
}

void role_tell(struct copy *copy, uint8_t role)
{
    struct ask *ask = ask_get();
    ask->request.kind = PART_ROLE;
    ask->request.role = role;
    ask->request.runs = &whole;
    ask->request.run_count = 1;
    ask->request.since = role == PART_CATCHING_UP ? c.floor[copy - copies] : 0;
    (void)answered(copy, say(ask, copy));
    ask_put(ask);
}

static unsigned winner_of(struct part_version maps[COPIES][BLOCKS], uint32_t b)
{
    unsigned winner = COPIES;
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role == COPY_IN_SYNC &&
            (winner == COPIES || maps[i][b].sequence > maps[winner][b].sequence))
            winner = i;
    }
    return winner;
}

/* The newest of each block wins, and what was acknowledged can't lose. False: a copy went. */
static bool reconcile(uint64_t trusted)
{
    static struct part_version maps[COPIES][BLOCKS];
    struct truth head[BLOCKS];
    uint32_t generation = c.generation;
    storm_doing = "reconcile";
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role == COPY_IN_SYNC)
            (void)map_of(&copies[i], VIEW_HEAD, maps[i]);
    }
    for (uint32_t b = 0; b < BLOCKS && c.generation == generation; b++) {
        unsigned winner = winner_of(maps, b);
        const struct part_version *version = &maps[winner][b];
        REQUIRE(version->sequence >= c.head[b].sequence || c.head[b].sequence > trusted,
                "block %u: sequence %llu was acknowledged, %llu is left", b,
                (unsigned long long)c.head[b].sequence, (unsigned long long)version->sequence);
        head[b] = (struct truth){.sequence = version->sequence, .kind = version->kind};
        for (unsigned i = 0; i < COPIES && c.generation == generation; i++) {
            if (copies[i].role == COPY_IN_SYNC && maps[i][b].sequence < version->sequence)
                (void)carry(&copies[winner], &copies[i], VIEW_HEAD, b, 1);
        }
    }
    if (c.generation != generation)
        return false;
    memcpy(c.head, head, sizeof head);
    return true;
}

void take_over(uint64_t trusted)
{
    struct part_state state;
    storm_doing = "fence";
    c.epoch++;
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role == COPY_CATCHING_UP)
            goes_stale(&copies[i]);
        if (copies[i].up)
            (void)fence_tell(&copies[i], &state);
        else if (copies[i].role == COPY_IN_SYNC)
            goes_stale(&copies[i]);
    }
    c.sequence += 10;
    while (!reconcile(trusted))
        storm_doing = "reconcile again";
    c.watermark = c.sequence;
    storm_doing = "in sync";
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role == COPY_IN_SYNC)
            role_tell(&copies[i], PART_IN_SYNC);
    }
    counts.takeovers++;
}

static void leave_write(uint64_t old, uint32_t generation)
{
    uint32_t index, blocks;
    bool zero = prng_one_in(&dice, 5);
    uint64_t sequence = ++c.sequence;
    draw_range(&index, &blocks);
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].role != COPY_IN_SYNC || prng_one_in(&dice, 3))
            continue;
        late[left_count] = false;
        left[left_count++] = write_send(&copies[i], index, blocks, sequence, zero, old, generation);
    }
}

static void expect_fenced(uint64_t old, uint32_t generation)
{
    struct ask *ask = write_send(source_of(), 0, 1, c.sequence - 5, false, old, generation);
    int result = ask_wait(ask);
    REQUIRE(result == IOMESH_FENCED || result == -ECONNRESET, "an old coordinator writes: %s",
            base_error_text(result));
    ask_put(ask);
}

/* The coordinator dies with writes under way; what it says later is refused. One of the copies may
 * just have come back: there writes wait for space to be looked for, and are in no batch. */
void coordinator_dies(void)
{
    uint64_t old = c.epoch;
    uint32_t generation = c.generation;
    struct copy *copy = source_of();
    bool back = prng_one_in(&dice, 3) && copy->up;
    if (back) {
        copy_down(copy, false);
        copy_up(copy);
    }
    left_count = 0;
    for (uint64_t writes = prng_below(&dice, FLYING_MAX); writes > 0; writes--)
        leave_write(old, generation);
    for (uint64_t turns = back ? 0 : prng_below(&dice, 30); turns > 0; turns--)
        copies_turn();
    take_over(UINT64_MAX);
    for (unsigned i = 0; i < left_count; i++) {
        int result = late[i] ? ask_wait(left[i]) : -EAGAIN;
        REQUIRE(result != 0, "a write of an old coordinator ended well after the fence");
        ask_put(left[i]);
    }
    left_count = 0;
    expect_fenced(old, generation);
}

/* Its power goes while a flush is under way, and its state on the way to the log. */
static void flush_and_die(struct copy *copy)
{
    struct ask *flush = ask_get(), *role = ask_get();
    storm_doing = "flush and die";
    write_one();
    if (copy->role != COPY_IN_SYNC)
        return;
    copy->by_power = true;
    copy->goes_down_after = copy->world.moments + 1 + prng_below(&dice, 12);
    flush->request.kind = PART_FLUSH;
    flush->request.watermark = flush->request.settled = c.watermark;
    ask_send(flush, copy, c.epoch, c.generation);
    role->request.kind = PART_ROLE;
    role->request.role = PART_IN_SYNC;
    role->request.runs = &whole;
    role->request.run_count = 1;
    ask_send(role, copy, c.epoch, c.generation);
    ask_put(flush);
    ask_put(role);
}

/* One of them may go down soon, if another stays. */
void draw_down(void)
{
    struct copy *copy = &copies[prng_below(&dice, COPIES)];
    unsigned stay = 0;
    for (unsigned i = 0; i < COPIES; i++)
        stay += &copies[i] != copy && copies[i].up && copies[i].role == COPY_IN_SYNC &&
                copies[i].goes_down_after == 0;
    if (stay == 0 || !copy->up)
        return;
    if (prng_one_in(&dice, 4) && copy->role == COPY_IN_SYNC && copy->goes_down_after == 0) {
        flush_and_die(copy);
        return;
    }
    copy->by_power = prng_one_in(&dice, 2);
    if (copy->by_power)
        counts.cuts_of_power++;
    else
        counts.kills++;
    copy->goes_down_after = copy->world.moments + 1 + prng_below(&dice, 40);
}
