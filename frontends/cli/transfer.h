/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What export and import share: the engine's thread moves data between a volume and the slots of a
 * stream, several MiB at a time, and looks after signals and progress meanwhile.
 */
#ifndef CLI_TRANSFER_H
#define CLI_TRANSFER_H

#include "backup/stream.h"
#include "cli/progress.h"
#include "cli/snapshots.h"

struct transfer {
    struct target *target;
    struct iomesh_volume *volume;
    struct progress progress;
    int result;               /* What ended it early: a code of the volume's I/O, or -EINTR. */
    unsigned in_flight;       /* Requests. */
    uint64_t position, total; /* In the volume, in bytes. */
    uint64_t data_bytes;      /* That were moved. */
};

/* How many threads pack or unpack: as there are processors. */
unsigned transfer_threads(void);
/* Has a worker's news heard: a backup_notify_fn on the target's engine. */
void transfer_wake(void *engine);
/* From now on signals that end a program are noted, for transfer_interrupted(). */
void transfer_catch_signals(void);
bool transfer_interrupted(void);

/* The first thing that went wrong stays. */
void transfer_fail(struct transfer *transfer, int result);
/* One turn of the engine, waiting for something to happen; progress; signals. */
void transfer_turn(struct transfer *transfer);
/* Waits for the requests that are under way: their memory is in use. */
void transfer_drain(struct transfer *transfer);
/* A pipe that holds a frame costs less sleeping on both sides. */
void transfer_widen(int fd);

/* A slot with its requests to the volume: in as many pieces as it has extents. */
struct piece {
    struct transfer *transfer;
    struct lanes_slot *slot;
    uint32_t sent, in_flight; /* Extents. */
    uint64_t at;              /* Into the slot's data. */
    bool busy;
    void (*moved)(struct piece *piece); /* All of them are done. */
};

/* One request to the volume; `done` with the piece as its context. */
typedef int piece_send_fn(struct piece *piece, const struct backup_extent *extent, uint8_t *data,
                          iomesh_done_fn *done);
/* Sends as many as the volume takes now; to be called again while `sent` is below their count. */
void piece_go(struct piece *piece, piece_send_fn *send);

#endif
