/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror: a part port that is no store. It answers every request, late and out of order, with what
 * only that request can be answered with: who gets another's answer sees it.
 *
 * Blocks have contents by (volume, block, sequence); the newest sequence stays. Everything else is
 * answered with a sum over all fields of the request, and so is which of them fail. Each request
 * carries a number of its own in `epoch`, and none may come twice.
 */
#ifndef SIM_MIRROR_H
#define SIM_MIRROR_H

#include <stdio.h>
#include <stdlib.h>

#include "host/host.h"
#include "part/part.h"

/* An assertion of a test, that says where and of which seed. */
extern uint64_t mirror_seed;
#define REQUIRE(truth)                                                          \
    do {                                                                        \
        if (!(truth)) {                                                         \
            (void)fprintf(stderr, "%s:%d: seed %llu: %s\n", __FILE__, __LINE__, \
                          (unsigned long long)mirror_seed, #truth);             \
            abort();                                                            \
        }                                                                       \
    } while (0)

#define MIRROR_VOLUMES 3u
#define MIRROR_BLOCKS 512u
#define MIRROR_EPOCHS (1u << 16)

struct mirror_counts {
    uint64_t requests, failed, canceled;
};

struct mirror {
    struct part_port port;
    struct clock *clock;
    struct prng prng;
    uint64_t delay_ns_max;
    uint64_t sequences[MIRROR_VOLUMES][MIRROR_BLOCKS];
    uint8_t seen[MIRROR_EPOCHS / 8]; /* Requests, by epoch. */
    struct list waiting;             /* struct part_request */
    struct timer timer;
    struct mirror_counts counts;
};

void mirror_open(struct mirror *mirror, struct clock *clock, uint64_t seed, uint64_t delay_ns_max);
/* What is asked of it has ended. */
bool mirror_is_idle(const struct mirror *mirror);

/* The contents of a block: it begins with its sequence. Sequence 0: zeros. */
void mirror_block(uint8_t to[BLOCK_BYTES], uint64_t volume, uint64_t block, uint64_t sequence);
uint32_t mirror_crc(uint64_t volume, uint64_t block, uint64_t sequence);
/* Over all that the request says, its data not. */
uint64_t mirror_sum(const struct part_request *request);
/* What a request with this sum is answered. */
int mirror_result(const struct part_request *request, uint64_t sum);
/* How long the list is that answers a RECORDS with this sum. */
uint32_t mirror_list_bytes(uint32_t count, uint64_t sum);
/* Whether block `index` of a READ that is answered IOMESH_CORRUPT is bad. */
bool mirror_is_bad(uint64_t sum, uint32_t index);

#endif
