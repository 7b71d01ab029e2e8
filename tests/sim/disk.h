/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_disk: a disk that is an array, with faults laid over it.
 *
 *   submit ──▶ flying ──▶ completed: in `seen`, and unflushed ──▶ a flush that was submitted
 *                │                          │                     later completes: on `platter`
 *                └──────── power cut ───────┘
 *                each of these survives whole, not at all, or torn at 512 bytes, in any order
 *
 * Strict: a flush makes durable exactly what had completed before it was submitted. A read beside a
 * write in flight sees any mixture of its sectors. The buffer of a write that changes while it
 * flies ends the process; that of a read holds garbage until it completes.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "sim/image.h"
#include "sim/world.h"

#define SECTOR_BYTES 512u

/* What goes wrong. Each `_one_in` is a chance (0: never); each `_at` the n-th operation of its kind
 * since the disk was opened, from 1 (0: never). All may be changed at any time. */
struct sim_faults {
    uint32_t read_error_one_in, write_error_one_in, flush_error_one_in;
    uint64_t read_error_at, write_error_at, flush_error_at;
    uint32_t short_one_in;  /* A read or write of some sectors only: -EIO. */
    uint64_t short_at;      /* Counts reads and writes together. */
    uint32_t full_one_in;   /* -ENOSPC for a write or a zero; changes nothing. */
    uint64_t full_at;       /* Counts writes. */
    uint32_t slow_one_in;   /* 40 times slower. */
    uint64_t stall_read_at; /* This one takes stall_ns longer. */
    uint64_t stall_ns;
    uint32_t misdirect_one_in; /* It lands whole blocks off. */
    uint64_t misdirect_at;     /* Counts writes. */
    uint32_t lost_one_in;      /* Acknowledged, never done. */
    uint64_t lost_at;          /* Counts writes. */
    /* Misdirected and lost are only writes in this range of bytes, and they land in it; both 0:
     * the whole disk. */
    uint64_t media_from, media_to;
    bool flush_lies; /* Every flush says yes and does nothing. */
    /* After a failed flush reads still show what it dropped, as a page cache does. Only a power cut
     * tells: a process that starts again without one is deceived. */
    bool failed_flush_hides;
    bool cut_drops_all; /* A power cut leaves nothing that was not flushed. */
    /* Bytes that answer -EIO to every read that touches them; length 0: none. */
    uint64_t unreadable_offset, unreadable_length;
};

struct sim_disk_counts {
    uint64_t reads, writes, flushes, zeros, discards;
    uint64_t errors, flush_errors, shorts, fulls, misdirected, lost,
        lies;                               /* Faults that happened. */
    uint64_t cuts, survived, torn, dropped; /* Writes at the cuts. */
};

struct sim_disk {
    struct disk disk; /* What the shipped objects see. */
    struct world *world;
    struct list node;
    struct image seen;     /* What a read gives. */
    struct image platter;  /* What is durable for sure. */
    struct list flying;    /* struct sim_op, by submission. */
    struct list unflushed; /* struct sim_op, by completion. */
    uint64_t completed;    /* Changes completed so far. */
    struct prng latency, chance;
    struct sim_faults faults;
    struct sim_disk_counts counts;
};

/* Zeros all over. `name` is borrowed. block_bytes is 512; change it before use if need be. */
struct sim_disk *sim_disk_open(struct world *world, const char *name, uint64_t size_bytes);
/* A new disk, in `world`, with what a read of `disk` gives now, all of it durable. */
struct sim_disk *sim_disk_clone(struct world *world, const char *name, const struct sim_disk *disk);
void sim_disk_close(struct sim_disk *disk);

/* Draws what a power cut leaves, and makes it both platter and seen. Requests in flight are
 * forgotten. world_restart() does it for every disk. */
void sim_disk_restart(struct sim_disk *disk);
void sim_disk_kill(struct sim_disk *disk);

/* Past the queue: what is on the disk, and to change it, durably. */
void sim_disk_peek(const struct sim_disk *disk, uint64_t offset, uint64_t length, void *to);
void sim_disk_poke(struct sim_disk *disk, uint64_t offset, uint64_t length, const void *from);
/* Flips one drawn bit of a range. Answers which: bits from the start of the disk. */
uint64_t sim_disk_rot(struct sim_disk *disk, uint64_t offset, uint64_t length);

#endif
