/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Check: proves that what the tree reaches and what the free map says is in use are the same.
 *
 *   fixed areas ──▶ pages of the free map ──▶ walk of the tree (and each block's data) ──▶ compare
 *
 * Everything that is reached sets its bit; a bit set twice is a fault at once. Then each
 * block's bit is compared with the free map. Changes nothing; two bits of memory per block.
 *
 * What a view's page shows and the page of the view before it too is reached there: told as shared,
 * it has to be what that page shows; of what a head shares it is enough that it is reached.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/metadata_copy.h"
#include "format/part_state.h"
#include "store/verify.h"

#define CHECK_COMPARES_PER_TURN 65536u
#define INDEX_DEPTH (SPACE_INDEX_LEVEL + 1u)
#define VOLUME_TEXT_BYTES 32u

enum check_state { CHECK_INDEX, CHECK_WALK, CHECK_COMPARE, CHECK_ENDED };

/* What the page of a view shows. */
struct check_view {
    struct segment_key key;
    bool known; /* It could be read. */
    uint64_t places[MAP_BLOCKS];
};

struct check {
    struct store *store;
    struct store_check options;
    enum check_state state;
    struct store_checked checked;
    uint64_t volume; /* The last that was told. */
    int result;
    uint8_t *reached[DEVICES_MAX]; /* One bit per block. */
    uint8_t *shared[DEVICES_MAX];
    struct check_view views[2]; /* The page that is walked, and the one before it. */
    unsigned view;              /* Which is which. */
    struct tree_walk walk;
    struct verify verify;
    bool walked, paused, waits;
    uint64_t met;   /* Pointers that the walk showed. */
    uint64_t total; /* Blocks in use, for the bar. */

    /* The pages of the free map: where the descent stands. */
    struct page *pages[INDEX_DEPTH];
    unsigned slots[INDEX_DEPTH];
    unsigned depth;
    bool rooted;

    /* The comparison. */
    unsigned device;
    uint64_t at;
    uint64_t run_from; /* The first of a run of equal faults; UINT64_MAX: none. */
    bool run_used;
    struct page_waiter waiter;
};

/* Of a volume's block, or of a place if volume is 0. */
static void check_fault(struct check *check, enum store_fault_kind kind, uint64_t volume,
                        uint64_t block, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void check_fault(struct check *check, enum store_fault_kind kind, uint64_t volume,
                        uint64_t block, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct store_fault fault = {.kind = kind, .volume = volume, .block = block, .text = text};
    check->checked.faults++;
    if (check->options.fault != NULL)
        check->options.fault(check->options.context, &fault);
}

/* What an error of reading says of what was read. */
static enum store_fault_kind check_kind(int error)
{
    if (error == IOMESH_CORRUPT)
        return STORE_FAULT_CHECKSUM;
    return error == IOMESH_FORMAT ? STORE_FAULT_STRUCTURE : STORE_FAULT_UNREADABLE;
}

/* Both bits of memory per block, or as much of them as there was. */
static void check_free_bits(struct check *check)
{
    for (unsigned i = 0; i < DEVICES_MAX; i++) {
        free(check->reached[i]);
        free(check->shared[i]);
    }
}

/* --- Bits ----------------------------------------------------------------------------------- */

static void check_reach(struct check *check, uint64_t place, const char *what,
                        const struct segment_key *key, uint64_t block)
{
    struct device *device = device_at(&check->store->devices, place);
    unsigned long long volume = key == NULL ? 0 : key->volume;
    uint64_t where = key == NULL ? place : block;
    if (device == NULL) {
        check_fault(check, STORE_FAULT_STRUCTURE, volume, where,
                    "%s of volume %llu block %llu is said to be at place %llu, which is on no "
                    "device",
                    what, volume, (unsigned long long)block, (unsigned long long)place);
        return;
    }
    uint8_t *bits = check->reached[device - check->store->devices.devices];
    uint64_t at = place - device->base;
    if ((bits[at / 8] & 1u << at % 8) != 0)
        check_fault(check, STORE_FAULT_STRUCTURE, volume, where,
                    "place %llu is reached twice, the second time by %s of volume %llu block "
                    "%llu",
                    (unsigned long long)place, what, volume, (unsigned long long)block);
    bits[at / 8] |= (uint8_t)(1u << at % 8);
}

static const char *visit_name(enum tree_visit_what what)
{
    static const char *const names[] = {
        [TREE_VISIT_TABLE] = "a page of the segment table",
        [TREE_VISIT_DIRECTORY] = "a directory page",
        [TREE_VISIT_MAP] = "a map page",
        [TREE_VISIT_RECORD] = "a record",
        [TREE_VISIT_BLOCK] = "a block",
    };
    return names[what];
}

/* --- Views ---------------------------------------------------------------------------------- */

static void check_view_begins(struct check *check, const struct tree_visit *visit)
{
    check->view = 1 - check->view;
    struct check_view *view = &check->views[check->view];
    *view = (struct check_view){.key = visit->key, .known = visit->error == 0};
}

static void check_shared(struct check *check, const struct tree_visit *visit)
{
    const struct check_view *now = &check->views[check->view];
    const struct check_view *before = &check->views[1 - check->view];
    unsigned long long volume = visit->key.volume, block = visit->block;
    uint64_t place = visit->pointer.place;
    struct device *device = device_at(&check->store->devices, place);
    bool same = segment_is_view(visit->key.segment) && before->key.volume == now->key.volume &&
                before->key.segment == now->key.segment;
    if (device == NULL || (same && before->known && before->places[block % MAP_BLOCKS] != place)) {
        check_fault(check, STORE_FAULT_STRUCTURE, volume, block,
                    "volume %llu block %llu is said to be shared with an older view, which does "
                    "not show place %llu",
                    volume, block, (unsigned long long)place);
        return;
    }
    uint64_t at = place - device->base;
    check->shared[device - check->store->devices.devices][at / 8] |= (uint8_t)(1u << at % 8);
}

static void check_shows(struct check *check, const struct tree_visit *visit)
{
    if (visit->what == TREE_VISIT_MAP && segment_is_view(visit->key.segment))
        check_view_begins(check, visit);
    if (!pointer_has_place(&visit->pointer))
        return;
    if (visit->what == TREE_VISIT_BLOCK && segment_is_view(visit->key.segment))
        check->views[check->view].places[visit->block % MAP_BLOCKS] = visit->pointer.place;
    if (visit->shared)
        check_shared(check, visit);
    else
        check_reach(check, visit->pointer.place, visit_name(visit->what), &visit->key,
                    visit->block);
}

static void check_fixed(struct check *check)
{
    struct store *store = check->store;
    for (unsigned i = 0; i < store->devices.count; i++) {
        uint64_t base = store->devices.devices[i].base;
        uint64_t blocks = LABEL_AREA_BLOCKS;
        if (i == 0)
            blocks = SUPERBLOCK_AREA_BLOCKS + store->super.journal_blocks;
        for (uint64_t j = 0; j < blocks; j++)
            check_reach(check, base + j, "a fixed area", NULL, 0);
    }
}

/* --- The free map's own pages ----------------------------------------------------------------- */

static void check_woken(struct page_waiter *waiter)
{
    CONTAINER_OF(waiter, struct check, waiter)->waits = false;
}

/* Steps through the index. 0: all of it was seen. */
static int check_index(struct check *check)
{
    struct store *store = check->store;
    struct page_root *root = space_index_root(store->space);
    if (!check->rooted) {
        int error = page_open_root(store->cache, root, &check->waiter, &check->pages[0]);
        if (error == -EAGAIN)
            return error;
        check->rooted = true;
        if (pointer_has_place(&root->pointer))
            check_reach(check, root->pointer.place, "the free map", NULL, 0);
        if (error == -ENOENT)
            return 0;
        if (error != 0) {
            check_fault(check, check_kind(error), 0, root->pointer.place,
                        "the root of the free map cannot be read: %s", base_error_text(error));
            return 0;
        }
        check->depth = 1;
        check->checked.pages++;
    }
    while (check->depth > 0) {
        unsigned level = check->depth - 1;
        struct page *page = check->pages[level];
        /* Bitmaps hold no pointers: the index above them is the last level that does. */
        if (check->slots[level] == POINTERS_PER_PAGE || level == SPACE_INDEX_LEVEL) {
            page_unpin(page);
            check->slots[level] = 0;
            check->depth--;
            if (check->depth > 0)
                check->slots[check->depth - 1]++;
            continue;
        }
        struct pointer pointer = page_slot(page, check->slots[level]);
        int error = page_open(store->cache, page, check->slots[level], &check->waiter,
                              &check->pages[check->depth]);
        if (error == -EAGAIN)
            return error;
        if (pointer_has_place(&pointer))
            check_reach(check, pointer.place, "the free map", NULL, 0);
        if (error != 0 && error != -ENOENT)
            check_fault(check, check_kind(error), 0, pointer.place,
                        "a page of the free map at place %llu cannot be read: %s",
                        (unsigned long long)pointer.place, base_error_text(error));
        if (error == 0) {
            check->depth++;
            check->checked.pages++;
        } else {
            check->slots[level]++;
        }
    }
    return 0;
}

/* --- The tree --------------------------------------------------------------------------------- */

/* Volumes of the store's own have names. */
static const char *volume_text(uint64_t volume, char text[VOLUME_TEXT_BYTES])
{
    if (volume == VOLUME_PARTS)
        return "the store's states of parts,";
    if (volume == VOLUME_RECORDS)
        return "the store's copies of metadata records,";
    (void)snprintf(text, VOLUME_TEXT_BYTES, "volume %llu", (unsigned long long)volume);
    return text;
}

/* What it has to begin with. */
static void check_good(struct verify *verify, const struct verify_block *block, const uint8_t *data)
{
    struct check *check = CONTAINER_OF(verify, struct check, verify);
    struct metadata_copy copy;
    if (block->what != TREE_VISIT_BLOCK || block->key.volume != VOLUME_RECORDS ||
        block->block % METADATA_COPY_HALF_BLOCKS != 0 ||
        metadata_copy_get_head(data, &copy) != IOMESH_CORRUPT)
        return;
    check_fault(check, STORE_FAULT_STRUCTURE, block->key.volume, block->block,
                "block %llu of the store's copies of metadata records makes no sense",
                (unsigned long long)block->block);
}

static void check_bad(struct verify *verify, const struct verify_block *block, int error)
{
    struct check *check = CONTAINER_OF(verify, struct check, verify);
    char text[VOLUME_TEXT_BYTES];
    check_fault(check, check_kind(error), block->key.volume, block->block,
                "%s block %llu at place %llu: %s", volume_text(block->key.volume, text),
                (unsigned long long)block->block, (unsigned long long)block->place,
                base_error_text(error));
}

static void check_room(struct verify *verify)
{
    struct check *check = CONTAINER_OF(verify, struct check, verify);
    if (!check->paused)
        return;
    check->paused = false;
    tree_walk_continue(&check->walk);
}

static void check_count(struct check *check, const struct tree_visit *visit)
{
    if (visit->page && visit->error == 0)
        check->checked.pages++;
    /* A node of the table is of no volume: its key is where it begins. */
    if (visit->what == TREE_VISIT_TABLE || visit->key.volume == check->volume)
        return;
    check->volume = visit->key.volume;
    if (!volume_is_system(check->volume) && check->options.volume != NULL)
        check->options.volume(check->options.context, check->volume);
}

static enum tree_walk_answer check_visit(struct tree_walk *walk, const struct tree_visit *visit)
{
    struct check *check = CONTAINER_OF(walk, struct check, walk);
    const char *name = visit_name(visit->what);
    char text[VOLUME_TEXT_BYTES];
    check->met++;
    check_count(check, visit);
    check_shows(check, visit);
    if (visit->error != 0)
        check_fault(check, check_kind(visit->error), visit->key.volume, visit->block,
                    "%s of %s block %llu at place %llu cannot be read: %s", name,
                    volume_text(visit->key.volume, text), (unsigned long long)visit->block,
                    (unsigned long long)visit->pointer.place, base_error_text(visit->error));
    if (visit->pointer.kind == POINTER_BAD)
        check_fault(check, STORE_FAULT_KNOWN, visit->key.volume, visit->block,
                    "%s block %llu is marked as damaged", volume_text(visit->key.volume, text),
                    (unsigned long long)visit->block);
    if (check->options.data && visit->what == TREE_VISIT_BLOCK &&
        visit->pointer.kind == POINTER_RAW && !visit->shared &&
        device_holds(&check->store->devices, visit->pointer.place, 1))
        verify_add(&check->verify, visit);
    if (check->met % 4096 == 0 && check->options.progress != NULL)
        check->options.progress(check->options.context, check->met, MAX(check->total, check->met));
    check->paused = verify_full(&check->verify);
    return check->paused ? TREE_WALK_PAUSE : TREE_WALK_ON;
}

static void check_walked(struct tree_walk *walk)
{
    CONTAINER_OF(walk, struct check, walk)->walked = true;
}

/* --- The comparison --------------------------------------------------------------------------- */

static void check_run_end(struct check *check, uint64_t end)
{
    if (check->run_from == UINT64_MAX)
        return;
    if (check->run_used)
        check_fault(check, STORE_FAULT_SPACE, 0, check->run_from,
                    "places %llu..%llu are in use, but nothing reaches them: leaked",
                    (unsigned long long)check->run_from, (unsigned long long)end - 1);
    else
        check_fault(check, STORE_FAULT_SPACE, 0, check->run_from,
                    "places %llu..%llu are reached, but the free map calls them free",
                    (unsigned long long)check->run_from, (unsigned long long)end - 1);
    check->run_from = UINT64_MAX;
}

static int check_compare_one(struct check *check, uint64_t place, bool reached)
{
    bool used;
    int error = space_probe(check->store->space, place, &check->waiter, &used);
    if (error == -EAGAIN)
        return error;
    if (error != 0) {
        /* The broken page was told when the index was read. */
        check_run_end(check, place);
        return 0;
    }
    reached = reached || space_is_deferred_page(check->store->space, place);
    if (used == reached) {
        check_run_end(check, place);
    } else if (check->run_from == UINT64_MAX || check->run_used != used) {
        check_run_end(check, place);
        check->run_from = place;
        check->run_used = used;
    }
    return 0;
}

/* What a page said to be shared was to be reached through an older one. */
static void check_shared_reached(struct check *check, uint64_t place, bool reached, bool shared)
{
    if (shared && !reached)
        check_fault(check, STORE_FAULT_STRUCTURE, 0, place,
                    "place %llu is said to be shared with an older view, but none shows it",
                    (unsigned long long)place);
}

static int check_compare(struct check *check)
{
    struct device_set *devices = &check->store->devices;
    for (unsigned budget = CHECK_COMPARES_PER_TURN; check->device < devices->count;) {
        const struct device *device = &devices->devices[check->device];
        if (check->at == device->blocks) {
            check_run_end(check, device->base + check->at);
            check->device++;
            check->at = 0;
            continue;
        }
        if (budget-- == 0)
            return -EINPROGRESS;
        const uint8_t *bits = check->reached[check->device];
        bool reached = (bits[check->at / 8] & 1u << check->at % 8) != 0;
        int error = check_compare_one(check, device->base + check->at, reached);
        if (error != 0)
            return error;
        bool shared = (check->shared[check->device][check->at / 8] & 1u << check->at % 8) != 0;
        check_shared_reached(check, device->base + check->at, reached, shared);
        check->at++;
    }
    return 0;
}

/* --- Turning ---------------------------------------------------------------------------------- */

static void check_end(struct check *check)
{
    struct store_check options = check->options;
    struct store_checked checked = check->checked;
    int result = check->result;
    check_free_bits(check);
    checked.blocks = check->verify.blocks;
    verify_close(&check->verify);
    check->store->check = NULL;
    free(check);
    options.done(options.context, result, &checked);
}

static void check_step(struct check *check)
{
    int error = 0;
    switch (check->state) {
    case CHECK_INDEX:
        error = check_index(check);
        check->waits = error == -EAGAIN;
        if (error != 0)
            return;
        check->state = CHECK_WALK;
        check->walk.visit = check_visit;
        check->walk.done = check_walked;
        tree_walk_start(&check->walk, check->store->tree);
        return;
    case CHECK_WALK:
        verify_send(&check->verify);
        if (check->walked && verify_idle(&check->verify))
            check->state = CHECK_COMPARE;
        return;
    case CHECK_COMPARE:
        error = check_compare(check);
        check->waits = error == -EAGAIN;
        if (error == 0)
            check->state = CHECK_ENDED;
        return;
    case CHECK_ENDED: return;
    }
}

bool store_check_turn_needed(const struct store *store)
{
    const struct check *check = store->check;
    if (check == NULL || check->waits)
        return false;
    return check->state != CHECK_WALK || (check->walked && verify_idle(&check->verify));
}

void store_check_turn(struct store *store)
{
    struct check *check = store->check;
    if (check == NULL || check->waits)
        return;
    check_step(check);
    if (check->state == CHECK_ENDED)
        check_end(check);
}

int store_check_start(struct store *store, const struct store_check *options)
{
    if (store->state != STORE_READ_ONLY)
        return FAIL(-EBUSY, "pool check wants the pool for itself: stop the process that has it");
    struct check *check = calloc(1, sizeof *check);
    bool whole = check != NULL && verify_open(&check->verify, store) == 0;
    for (unsigned i = 0; whole && i < store->devices.count; i++) {
        check->reached[i] = calloc(1, DIV_CEIL(store->devices.devices[i].blocks, 8));
        check->shared[i] = calloc(1, DIV_CEIL(store->devices.devices[i].blocks, 8));
        whole = check->reached[i] != NULL && check->shared[i] != NULL;
    }
    if (!whole) {
        if (check != NULL)
            check_free_bits(check);
        if (check != NULL)
            verify_close(&check->verify);
        free(check);
        return FAIL(-ENOMEM, "pool check: no memory");
    }
    struct space_stats space;
    space_stats(store->space, &space);
    check->store = store;
    check->options = *options;
    check->total = space.used_blocks;
    check->run_from = UINT64_MAX;
    check->verify.bad = check_bad;
    check->verify.good = check_good;
    check->verify.room = check_room;
    check->waiter.wake = check_woken;
    list_init(&check->waiter.node);
    store->check = check;
    check_fixed(check);
    return 0;
}
