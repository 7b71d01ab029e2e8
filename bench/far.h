/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One volume in three copies: stores in processes of their own, and who coordinates them in this
 * one. The rooms as they are, without metadata: what a transaction asks for is granted.
 */
#ifndef BENCH_FAR_H
#define BENCH_FAR_H

#include <sys/types.h>

#include "uring/uring.h"
#include "volume/volume.h"

#define FAR_STORES 3u
#define FAR_VOLUME 7u
#define FAR_DEPTH_MAX 64u

enum far_kind {
    FAR_EMBEDDED, /* The store in this process, without copies. */
    FAR_LOCAL,    /* One copy, in this process. */
    FAR_ONE,      /* One copy, in another. */
    FAR_THREE,
};

struct far_options {
    enum far_kind kind;
    const char *directory;
    uint64_t store_bytes;
    uint64_t volume_bytes; /* Of whole segments. */
    bool tcp;
    const char *certificates; /* TLS with what is in this directory; NULL: none. */
};

extern struct uring *far_ring;
extern struct volume *far_volume;
extern struct copies *far_copies;
extern bool far_opened;
extern uint32_t far_transactions;

/* Ends the process with a sentence if it went wrong. */
void far_must(int result, const char *what);
uint64_t far_now_ns(void);
void far_turn(void);
/* Turns at least once, and until then. */
void far_run(uint64_t ns);

/* New stores, and the volume open. */
void far_begin(const struct far_options *options);
/* Ends the processes; the rest goes with this one. */
void far_end(void);
/* Of one store: end it at once, start it again; let it stand still, and go on. */
void far_kill(unsigned store);
void far_start(unsigned store);
void far_stop(unsigned store, bool stopped);
/* Of all processes, in nanoseconds; of `who`: 0 this one, 1 the stores. */
uint64_t far_cpu_ns(unsigned who);
/* How often they slept. */
uint64_t far_sleeps(unsigned who);

/* The ring's net, with TLS over TCP. */
struct net *far_sealed(const char *certificates);

/* --- Of far_store.c --- */

/* A store in this process, on the ring: opened when it returns. */
struct store *far_store_open(const char *path, uint64_t bytes, unsigned number, bool format);
/* A process that serves one; never returns. `ready`: a byte is written to it. */
void far_store_serve(const char *path, uint64_t bytes, unsigned number, bool format,
                     const char *address, const char *certificates, int ready);
extern struct store *far_store;
bool far_store_turn(void);

/* --- Load --- */

struct far_load {
    enum volume_io_kind kind;
    uint32_t depth;
    uint64_t bytes;      /* Of each. */
    uint64_t from, span; /* Of the volume. */
    bool in_order;
    uint64_t count_max; /* 0: until it is stopped. */
    uint64_t ended, failed;
    uint64_t longest_ns; /* From one end to the next. */
    uint64_t last_ns;
    uint32_t flying;
    bool stops;
};

void far_load_start(struct far_load *load);
/* No more begin; returns when none is under way. */
void far_load_stop(struct far_load *load);

#endif
