/* SPDX-License-Identifier: Apache-2.0 */
/* A store in the false world and open volumes on it, without a catalog: what volume.h promises. */
#ifndef UNIT_VOLUME_BENCH_H
#define UNIT_VOLUME_BENCH_H

#include <criterion/criterion.h>
#include <string.h>

#include "sim/disk.h"
#include "sim/world.h"
#include "volume/volume.h"

#define KIB 1024u
#define MIB (1ull << 20)
#define BENCH_REQUESTS 40u

struct bench {
    struct world world;
    struct sim_disk *disk;
    struct store_options options;
    struct store *store;
    struct volume_engine *engine;
    bool waiting;
    int ended;
    unsigned wants; /* Times that a volume asked for sequences. */
};
extern struct bench bench;

/* One request, and the memory of it. */
struct request {
    struct volume_io io;
    struct volume_extent extents[64];
    bool busy;
    int result;
    uint8_t data[8 * MIB] __attribute__((aligned(BLOCK_BYTES)));
};
extern struct request requests[BENCH_REQUESTS];

void bench_open(void);
void bench_close(void);
/* Instead of the one that is open: a store that is full soon. */
void bench_open_small(void);
/* And one whose cache is not small. */
void bench_open_large(void);
/* The same store opened anew, nothing of it in memory. */
void bench_reopen(uint32_t segments_max);
void bench_turn(void);
/* Turns until *busy is false. */
void bench_wait(const bool *busy);
/* So many turns. */
void bench_turns(unsigned count);

/* Not 0 parents: of a clone. Sequences from 1 on, plenty. */
struct volume *bench_volume(uint64_t id, const struct volume_parent *parents, uint32_t count);
struct volume *bench_view(uint64_t id, uint64_t cut, const struct volume_parent *parents,
                          uint32_t count);

void request_prepare(struct request *request, enum volume_io_kind kind, uint64_t offset,
                     uint64_t length);
void request_start(struct request *request, struct volume *volume, enum volume_io_kind kind,
                   uint64_t offset, uint64_t length);
/* Each starts and waits. */
int request_run(struct volume *volume, enum volume_io_kind kind, uint32_t flags, uint64_t offset,
                uint64_t length);
int write_bytes(struct volume *volume, uint64_t offset, uint64_t length, uint8_t byte);
int discard_bytes(struct volume *volume, uint64_t offset, uint64_t length);
/* Whether all of a range is this byte. */
bool reads_as(struct volume *volume, uint64_t offset, uint64_t length, uint8_t byte);
/* Of requests[0]: "hole 4096, data 8192, ..." in KiB; what map or changes say. */
const char *extents_of(struct volume *volume, enum volume_io_kind kind, uint64_t since,
                       uint64_t offset, uint64_t length);

/* A hold that notes that it was told. */
struct noted_hold {
    struct volume_hold hold;
    bool waits;
    bool overtook; /* requests[1] was under way when it was told. */
};
void hold_start(struct noted_hold *noted, struct volume *volume);
/* Holds, cuts, releases. */
uint64_t cut_now(struct volume *volume);

/* --- Pictures --------------------------------------------------------------------------------- */

#define PICTURE_BYTES (6 * MIB)

/* What a volume shows: the byte of each sector. */
struct picture {
    uint8_t sectors[PICTURE_BYTES / 512];
};

extern struct prng prng;

/* One drawn change, of blocks or of parts of them: a write or a discard, begun. */
void change_start(struct request *request, struct volume *volume, struct picture *picture);
/* One of whole blocks, in one eighth of the picture. */
void change_start_in(struct request *request, struct volume *volume, struct picture *picture,
                     unsigned eighth);
/* Each begun and waited for. */
void change_some(struct volume *volume, struct picture *picture, unsigned count);
void must_show(struct volume *volume, const struct picture *picture);

/* --- Jobs ------------------------------------------------------------------------------------- */

struct noted_job {
    struct volume_job job;
    bool runs;
    int result;
    uint64_t done_bytes, total_bytes;
    unsigned progressed;
    unsigned stop_after; /* So many calls; 0: never. */
};

void flatten_start(struct noted_job *noted, struct volume *volume, unsigned stop_after);
int flatten_now(struct volume *volume);
int roll_back_now(struct volume *volume, uint64_t cut, uint64_t from,
                  const struct volume_parent *parents, uint32_t count, unsigned stop_after);

#endif
