/* SPDX-License-Identifier: Apache-2.0 */
/* What a measuring program needs: a clock, a pool of its own, and requests that keep it busy. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <iomesh/iomesh.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOAD_DEPTH_MAX = 64 };

struct bench {
    const char *url;
    struct iomesh_engine *engine;
    struct iomesh_pool *pool;
};

struct load_sample {
    uint64_t end_ns;
    uint64_t latency_ns;
};

struct load;

struct load_slot {
    struct load *load;
    void *buffer;
    uint64_t start_ns;
};

/* Requests of one size, `depth` at a time, until end_ns or until count_max have begun. */
struct load {
    struct bench *bench;
    struct iomesh_volume *volume;
    uint64_t bytes; /* Of the volume, from its start, that it touches. */
    uint32_t block; /* Bytes of a request. */
    uint32_t depth;
    uint64_t stride; /* Blocks from one request to the next; 0: anywhere. */
    bool reads;
    uint64_t seed; /* Not 0. The same draws the same places. */
    uint64_t end_ns;
    uint64_t count_max;
    struct load_sample *samples; /* NULL: not kept. */
    size_t sample_max;

    uint64_t begun, ended; /* Requests. */
    uint64_t took_ns;
    struct load_slot slots[LOAD_DEPTH_MAX];
};

uint64_t now_ns(void);
/* A sentence, and exit 1, unless the code is 0 or more. */
void must(const char *what, int code);

/* Makes a pool with room for so many bytes and opens it. */
void bench_init(struct bench *bench, uint64_t bytes);
void bench_open(struct bench *bench);
void bench_close(struct bench *bench);
/* Turns the engine, for so long. */
void bench_wait(struct bench *bench, uint64_t ns);
void bench_status(struct bench *bench, struct iomesh_pool_status *ret_status);
void bench_create(struct bench *bench, const char *volume, uint64_t bytes);
struct iomesh_volume *bench_volume(struct bench *bench, const char *name);

/* Its fields above `begun` are set. Begins; it goes on in every turn of the engine. */
void load_start(struct load *load);
bool load_is_over(const struct load *load);
/* Waits until it is over, and gives its memory back. */
void load_finish(struct load *load);
/* All of it. Returns requests a second. */
double load_run(struct load *load);
/* Writes every byte of a volume once, in order, and makes it durable. */
void load_fill(struct bench *bench, const char *volume);

#endif
