/* SPDX-License-Identifier: Apache-2.0 */
/* A journal of 32 blocks from block 8 of a false disk, and entries that note how they ended. */
#ifndef UNIT_JOURNAL_FIXTURE_H
#define UNIT_JOURNAL_FIXTURE_H

#include <criterion/criterion.h>
#include <string.h>

#include "codec/codec.h"
#include "format/journal.h"
#include "journal/journal.h"
#include "sim/disk.h"

#define PLACE 8u
#define BLOCKS 32u

struct noted {
    struct journal_entry entry;
    int result;
    unsigned ended; /* The how-manieth to end; 0: not yet. */
};

extern struct world world;
extern struct sim_disk *disk;
extern struct device_set devices;
extern struct journal_options options;
extern struct journal *journal;
extern unsigned ended_count, room_count;

void fixture_open(void);
void fixture_close(void);
/* Closes the journal and opens it again with what `options` says now. */
void fixture_reopen(void);

/* Turns until nothing is to come. */
void settle(void);
/* Appends a record of `length` bytes, each `value`. */
int append(struct noted *noted, uint8_t value, uint32_t length);
/* append, settle, applied. */
void append_whole(uint8_t value, uint32_t length);
/* Everything applied becomes durable. */
void flush(void);
/* Flush and trim to where replay would begin. */
void trim(void);

/* What a scan and replay of the region found. */
struct found {
    const struct journal_scan *scan;
    int result;
    unsigned records, certain;
    uint8_t values[64];
    uint32_t lengths[64];
};
/* Closes the journal, opens it again where `options` says, scans and replays. */
struct found recover(void);
/* Byte offset on the disk of a block of the region. */
uint64_t offset_of(uint64_t block);

#endif
