/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of metadata records: kept, forgotten, listed, through crashes and cuts of power. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "format/metadata_copy.h"
#include "format/part_state.h"
#include "store/records.h"
#include "unit/store/parts_rig.h"

static uint8_t value[METADATA_COPY_BYTES_MAX];
static struct part_request asked;

static void asked_done(struct part_request *which, int result)
{
    which->result = result;
    which->context = which;
}

static void pool_begin(enum part_request_kind kind)
{
    asked.kind = kind;
    asked.done = asked_done;
    asked.context = NULL;
    part_submit(store_port(store), &asked);
}

static int pool_keep(const char *key, const void *bytes, uint32_t length)
{
    asked = (struct part_request){.key = key, .bytes = length};
    memcpy(value, bytes, length);
    asked.data = value;
    pool_begin(PART_RECORD);
    return ask_wait(&asked);
}

static int pool_forget(const char *key)
{
    return pool_keep(key, "", 0);
}

/* The next after `key`, into `blocks`. */
static int pool_list(const char *key, uint32_t count)
{
    asked = (struct part_request){.key = key, .count = count, .data = blocks};
    pool_begin(PART_RECORDS);
    return ask_wait(&asked);
}

/* "key=length ..." of all that there is. */
static const char *all_of_them(void)
{
    static char text[1024];
    struct metadata_copy copy = {0};
    size_t used = 0;
    text[0] = '\0';
    for (;;) {
        cr_assert_eq(pool_list(copy.key[0] == '\0' ? NULL : copy.key, PART_RECORDS_BLOCKS_MIN), 0);
        const uint8_t *at = blocks, *end = blocks + asked.bytes;
        uint64_t found = asked.found;
        if (found == 0)
            return text;
        for (; found > 0; found--) {
            int length = metadata_copy_listed(at, (uint32_t)(end - at), &copy);
            cr_assert_gt(length, 0);
            at += length;
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s=%u ", copy.key, copy.bytes);
        }
        cr_assert_eq(at, end);
    }
}

Test(records, are_listed_in_the_order_of_their_keys)
{
    static uint8_t large[METADATA_COPY_BYTES_MAX];
    parts_open(8192, 1);
    cr_expect_str_eq(all_of_them(), "");
    cr_expect_eq(pool_forget("nothing"), 0);
    cr_assert_eq(pool_keep("volume/2", "two", 3), 0);
    cr_assert_eq(pool_keep("volume/1", large, sizeof large), 0);
    cr_assert_eq(pool_keep("cluster", "c", 1), 0);
    cr_expect_str_eq(all_of_them(), "cluster=1 volume/1=73728 volume/2=3 ");
    cr_assert_eq(pool_keep("volume/2", large, 5000), 0);
    cr_assert_eq(pool_keep("volume/1", "one", 3), 0);
    cr_expect_str_eq(all_of_them(), "cluster=1 volume/1=3 volume/2=5000 ");
    cr_assert_eq(pool_forget("cluster"), 0);
    cr_assert_eq(pool_keep("name/x", "x", 1), 0);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_str_eq(all_of_them(), "name/x=1 volume/1=3 volume/2=5000 ");
        cr_expect_eq(pool_list("name/y", PART_RECORDS_BLOCKS_MIN), 0);
        cr_expect_eq(asked.found, 2);
        if (i == 0)
            parts_down(false, 1);
        else
            cr_expect_eq(parts_check(), 0);
    }
    parts_shut();
}

Test(records, that_make_no_sense_are_refused)
{
    static char key[METADATA_COPY_KEY_BYTES_MAX + 2];
    static uint8_t large[METADATA_COPY_BYTES_MAX];
    parts_open(8192, 1);
    memset(key, 'k', sizeof key - 1);
    cr_expect_eq(pool_keep(key, "x", 1), -EPROTO);
    key[METADATA_COPY_KEY_BYTES_MAX] = '\0';
    cr_expect_eq(pool_keep(key, large, sizeof large), 0);
    cr_expect_eq(pool_keep("", "x", 1), -EPROTO);
    cr_expect_eq(pool_keep(NULL, "x", 1), -EPROTO);
    asked =
        (struct part_request){.key = "key", .bytes = METADATA_COPY_BYTES_MAX + 1, .data = large};
    pool_begin(PART_RECORD);
    cr_expect_eq(ask_wait(&asked), -E2BIG);
    cr_expect_eq(pool_list(NULL, PART_RECORDS_BLOCKS_MIN - 1), -EPROTO);
    cr_expect_eq(pool_list(NULL, PART_RECORDS_BLOCKS_MIN), 0);
    cr_expect_eq(asked.found, 1, "the largest with the longest key fits");
    parts_shut();
}

Test(records, of_a_volume_are_taken_from_whom_the_part_obeys)
{
    parts_open(8192, 1);
    memset(&request, 0, sizeof request);
    request.key = "group/7/3";
    request.data = value;
    request.bytes = 10;
    epoch = 4;
    cr_expect_eq(ask(PART_RECORD), IOMESH_FENCED, "nobody is, yet");
    cr_assert_eq(fence(5), 0);
    request = (struct part_request){.key = "group/7/3", .data = value, .bytes = 10};
    cr_expect_eq(ask(PART_RECORD), 0);
    request = (struct part_request){.key = "group/7/3", .data = value, .bytes = 9, .epoch = 4};
    cr_expect_eq(ask(PART_RECORD), IOMESH_FENCED);
    cr_expect_str_eq(all_of_them(), "group/7/3=10 ");
    parts_shut();
}

Test(records, can_be_listed_where_nothing_is_written)
{
    parts_open(8192, 1);
    cr_assert_eq(pool_keep("cluster", "c", 1), 0);
    stop_store();
    options.read_only = true;
    start_store();
    cr_expect_str_eq(all_of_them(), "cluster=1 ");
    cr_expect_eq(pool_keep("cluster", "d", 1), -EROFS);
    stop_store();
    options.read_only = false;
    start_store();
    parts_shut();
}

Test(records, wait_for_each_other_and_may_be_canceled)
{
    static struct part_request many[8];
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    parts_open(8192, 1);
    for (unsigned i = 0; i < COUNT_OF(many); i++) {
        many[i] = (struct part_request){
            .kind = PART_RECORD, .key = keys[i], .data = value, .bytes = 1 + i, .done = asked_done};
        part_submit(store_port(store), &many[i]);
    }
    part_cancel(&many[7]);
    for (unsigned i = 0; i < COUNT_OF(many); i++)
        cr_expect_eq(ask_wait(&many[i]), i == 7 ? -ECANCELED : 0);
    cr_expect_str_eq(all_of_them(), "a=1 b=2 c=3 d=4 e=5 f=6 g=7 ");
    parts_shut();
}

/* A store that is full refuses, and keeps what it has. */
Test(records, do_not_harm_each_other_when_there_is_no_space)
{
    static uint8_t large[METADATA_COPY_BYTES_MAX];
    char key[16];
    int result = 0;
    parts_open(2048, 1);
    cr_assert_eq(pool_keep("a/first", "here", 4), 0);
    uint32_t kept = 0;
    for (; result == 0 && kept < 200; kept++) {
        (void)snprintf(key, sizeof key, "b/%04u", kept);
        result = pool_keep(key, large, sizeof large);
    }
    cr_assert_eq(result, -ENOSPC);
    for (uint32_t i = 0; i < kept; i += 2) {
        (void)snprintf(key, sizeof key, "b/%04u", i);
        cr_assert_eq(pool_forget(key), 0);
    }
    checkpoint();
    cr_expect_eq(pool_keep("a/second", large, sizeof large), 0);
    parts_down(true, 1);
    cr_expect_eq(pool_list(NULL, PART_RECORDS_BLOCKS_MIN), 0);
    struct metadata_copy copy;
    cr_assert_gt(metadata_copy_listed(blocks, asked.bytes, &copy), 0);
    cr_expect_str_eq(copy.key, "a/first");
    cr_expect_eq(parts_check(), 0);
    parts_shut();
}

static void put_system(uint64_t block, uint8_t byte)
{
    static uint64_t sequence = 1000;
    static struct store_op put;
    memset(blocks, byte, BLOCK_BYTES);
    put = (struct store_op){.kind = STORE_WRITE,
                            .volume = VOLUME_RECORDS,
                            .view = VIEW_HEAD,
                            .block = block,
                            .count = 1,
                            .data = blocks,
                            .sequence = ++sequence,
                            .system = true,
                            .done = op_done};
    waiting = true;
    store_submit(store, &put);
    cr_assert_eq(wait_for_it(), 0);
}

Test(records, that_are_not_what_was_written_are_passed_over_and_found_by_a_check)
{
    parts_open(8192, 1);
    cr_assert_eq(pool_keep("a", "first", 5), 0);
    cr_assert_eq(pool_keep("b", "second", 6), 0);
    cr_assert_eq(pool_keep("c", "third", 5), 0);
    cr_expect_eq(parts_check(), 0);
    put_system(METADATA_COPY_SLOT_BLOCKS, 0x77);
    cr_expect_str_eq(all_of_them(), "a=5 c=5 ");
    cr_expect_eq(parts_check(), 1);
    cr_expect_str_eq(all_of_them(), "a=5 c=5 ");
    cr_expect_eq(pool_keep("b", "second", 6), 0, "it may be kept again");
    cr_expect_eq(parts_check(), 0, "over what made no sense");
    cr_expect_str_eq(all_of_them(), "a=5 b=6 c=5 ");
    parts_shut();
}

/* --- Drawn lives ---------------------------------------------------------------------------- */

#define KEYS 6u
#define VALUES 64u /* Of a key that may be there after a crash. */

static struct life {
    struct prng prng;
    char keys[KEYS][8];
    /* What it may be: versions; 0: it is not there. The last is what it is until it crashes. */
    uint32_t may[KEYS][VALUES], may_count[KEYS], next;
} life;

static uint32_t version_bytes(uint32_t version)
{
    struct prng prng = {.state = version};
    return prng_one_in(&prng, 2) ? 8 + (uint32_t)prng_below(&prng, 3000)
                                 : 5000 + (uint32_t)prng_below(&prng, 60000);
}

static void version_fill(uint8_t *to, uint32_t version)
{
    struct prng prng = {.state = ~(uint64_t)version};
    uint32_t length = version_bytes(version);
    for (uint32_t i = 0; i < length; i++)
        to[i] = (uint8_t)prng_next(&prng);
    memcpy(to, &version, sizeof version);
}

static void life_change(bool crashes)
{
    uint32_t key = (uint32_t)prng_below(&life.prng, KEYS);
    uint32_t version = prng_one_in(&life.prng, 4) ? 0 : ++life.next;
    cr_assert_lt(life.may_count[key], VALUES);
    asked = (struct part_request){.key = life.keys[key], .data = value};
    if (version != 0) {
        asked.bytes = version_bytes(version);
        version_fill(value, version);
    }
    pool_begin(PART_RECORD);
    life.may[key][life.may_count[key]++] = version;
    if (!crashes) {
        cr_assert_eq(ask_wait(&asked), 0);
        return;
    }
    for (uint64_t steps = prng_below(&life.prng, 12); steps > 0 && asked.context == NULL; steps--) {
        store_turn(store);
        if (!store_turn_needed(store))
            (void)world_step(&world);
    }
}

static void life_flushed(struct store_flush *flush, int result)
{
    done(flush->context, result);
}

static void life_flush(void)
{
    static struct store_flush flush;
    flush = (struct store_flush){.done = life_flushed};
    waiting = true;
    store_flush(store, &flush);
    cr_assert_eq(wait_for_it(), 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        life.may[i][0] = life.may[i][life.may_count[i] - 1];
        life.may_count[i] = 1;
    }
}

/* What is there is what may be, and from now on nothing else. `last`: of those the newest. */
static void life_look(uint32_t newest)
{
    uint32_t seen[KEYS] = {0};
    cr_assert_eq(pool_list(NULL, PART_BLOCKS_MAX), 0);
    const uint8_t *at = blocks, *end = blocks + asked.bytes;
    static uint8_t expected[METADATA_COPY_BYTES_MAX];
    struct metadata_copy copy;
    for (int length; at < end; at += length) {
        length = metadata_copy_listed(at, (uint32_t)(end - at), &copy);
        cr_assert_gt(length, 0);
        uint32_t key = (uint32_t)(copy.key[4] - '0'), version;
        cr_assert_lt(key, KEYS);
        memcpy(&version, copy.data, sizeof version);
        version_fill(expected, version);
        cr_assert_eq(copy.bytes, version_bytes(version));
        cr_assert_eq(memcmp(copy.data, expected, copy.bytes), 0);
        seen[key] = version;
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        bool may = false;
        uint32_t count = life.may_count[i];
        for (uint32_t j = newest < count ? count - newest : 0; j < count; j++)
            may = may || life.may[i][j] == seen[i];
        cr_assert(may, "key %u is version %u", i, seen[i]);
        life.may[i][0] = seen[i];
        life.may_count[i] = 1;
    }
}

static void life_run(uint64_t seed)
{
    life = (struct life){.prng.state = seed};
    parts_open(8192, 1);
    disk->chance.state ^= seed;
    for (uint32_t i = 0; i < KEYS; i++) {
        (void)snprintf(life.keys[i], sizeof life.keys[i], "key/%u", i);
        life.may_count[i] = 1;
    }
    for (unsigned lives = 0; lives < 40; lives++) {
        for (uint64_t left = prng_below(&life.prng, 16); left > 0; left--) {
            life_change(false);
            if (prng_one_in(&life.prng, 6))
                life_flush();
            if (prng_one_in(&life.prng, 12))
                checkpoint();
        }
        bool power = prng_one_in(&life.prng, 2);
        life_change(true);
        parts_down(power, 1);
        /* Without a cut of power, what was answered is there; what was under way, or not. */
        life_look(power ? VALUES : 2);
        life_flush();
    }
    cr_expect_eq(parts_check(), 0);
    life_look(1);
    parts_shut();
}

Test(records, survive_what_they_promise_to_survive)
{
    life_run(1);
}

Test(records, survive_it_again)
{
    life_run(2);
}

Test(records, survive_it_once_more)
{
    life_run(3);
}
