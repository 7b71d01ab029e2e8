/* SPDX-License-Identifier: Apache-2.0 */
/* The measurements of bench-snapshots; each makes its pool and prints members of an object. */
#ifndef BENCH_SNAPSHOTS_H
#define BENCH_SNAPSHOTS_H

#include "load.h"

struct snapshot_options {
    uint64_t size, written; /* Bytes. */
    double seconds;
    uint64_t rounds, snapshots;
    uint64_t blocks; /* Of 4 KiB. */
};

/* busy.c */
void bench_pause(struct bench *bench, const struct snapshot_options *options);
void bench_writes(struct bench *bench, const struct snapshot_options *options);
void bench_reads(struct bench *bench, const struct snapshot_options *options);

/* costs.c */
void bench_large(struct bench *bench, const struct snapshot_options *options);
void bench_delete(struct bench *bench, const struct snapshot_options *options);

/* , "name": [v, v, …] */
void print_list(const char *name, const double *values, uint64_t count);
void print_number(const char *name, double value);
/* VOLUME@NUMBER */
const char *snapshot_name(const char *volume, uint64_t number);
/* ms that it took, until done. */
double snapshot_take(struct bench *bench, const char *name);
/* ms until the call has ended; *ret_gone_ms: until its space is back. */
double snapshot_drop(struct bench *bench, const char *name, double *ret_gone_ms);

#endif
