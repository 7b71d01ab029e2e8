/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/journal/fixture.h"

struct world world;
struct sim_disk *disk;
struct device_set devices;
struct journal_options options;
struct journal *journal;
unsigned ended_count, room_count;

static struct device_flush flushing;
static bool scanned;

static void on_room(void *context)
{
    (void)context;
    room_count++;
}

void fixture_open(void)
{
    world_open(&world, 1);
    disk = sim_disk_open(&world, "disk", 16u << 20);
    devices = (struct device_set){.count = 1};
    devices.devices[0] = (struct device){.disk = &disk->disk, .blocks = 4096};
    device_set_init(&devices);
    options = (struct journal_options){
        .devices = &devices,
        .place = PLACE,
        .blocks = BLOCKS,
        .incarnation = 1,
        .start = {.batch = 1, .block = 0},
        .batch_blocks_max = 4,
        .in_flight_max = 2,
        .read_blocks = 3,
    };
    cr_assert_eq(journal_open(&options, &journal), 0);
    journal_on_room(journal, on_room, NULL);
}

void fixture_reopen(void)
{
    journal_close(journal);
    cr_assert_eq(journal_open(&options, &journal), 0);
    journal_on_room(journal, on_room, NULL);
}

void fixture_close(void)
{
    journal_close(journal);
    world_close(&world);
}

void settle(void)
{
    do {
        journal_turn(journal);
    } while (world_step(&world) || device_turn(&devices) > 0);
}

static void noted_done(struct journal_entry *entry, int result)
{
    struct noted *noted = CONTAINER_OF(entry, struct noted, entry);
    cr_assert_eq(noted->ended, 0);
    noted->result = result;
    noted->ended = ++ended_count;
}

int append(struct noted *noted, uint8_t value, uint32_t length)
{
    uint8_t record[UINT16_MAX];
    *noted = (struct noted){0};
    memset(record, value, length);
    return journal_append(journal, &noted->entry, record, length, noted_done);
}

void append_whole(uint8_t value, uint32_t length)
{
    struct noted noted;
    cr_assert_eq(append(&noted, value, length), 0);
    settle();
    cr_assert(noted.ended > 0 && noted.result == 0);
    journal_applied(journal, &noted.entry);
}

static uint64_t flush_covers;

static void flushed(struct device_flush *flush, int result)
{
    (void)flush;
    cr_assert_eq(result, 0);
    journal_set_durable(journal, flush_covers);
}

void flush(void)
{
    flush_covers = journal_applied_through(journal);
    device_flush(&devices, &flushing, flushed);
    settle();
}

void trim(void)
{
    flush();
    journal_trim(journal, journal_replay_start(journal));
}

static void scan_done(void *context, int result)
{
    struct found *found = context;
    found->result = result;
    scanned = true;
}

static int visit(void *context, uint64_t batch, bool certain, const uint8_t *record,
                 uint32_t length)
{
    struct found *found = context;
    (void)batch;
    for (uint32_t i = 1; i < length; i++)
        cr_assert_eq(record[i], record[0]);
    cr_assert(found->records < COUNT_OF(found->values));
    found->values[found->records] = record[0];
    found->lengths[found->records++] = length;
    found->certain += certain;
    return 0;
}

struct found recover(void)
{
    struct found found = {0};
    fixture_reopen();
    scanned = false;
    cr_assert_eq(journal_scan_start(journal, scan_done, &found), 0);
    cr_assert_not(scanned);
    settle();
    cr_assert(scanned);
    cr_assert_eq(found.result, 0);
    scanned = false;
    journal_replay_start_visit(journal, visit, scan_done, &found);
    cr_assert_not(scanned);
    settle();
    cr_assert(scanned);
    found.scan = journal_scanned(journal);
    return found;
}

uint64_t offset_of(uint64_t block)
{
    return (PLACE + block) * (uint64_t)BLOCK_BYTES;
}
