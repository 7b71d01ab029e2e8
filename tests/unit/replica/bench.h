/* SPDX-License-Identifier: Apache-2.0 */
/* A machine, a clock that is a number, and a look at what it asks for. Each test is a process. */
#ifndef UNIT_REPLICA_BENCH_H
#define UNIT_REPLICA_BENCH_H

#include <stdlib.h>

#include <criterion/criterion.h>

#include "replica/replica.h"

#define MS 1000000ull
#define COPIES 3u

static struct replica replica;
static uint64_t now;

/* Actions since the last look, by kind; the last of each. */
static struct replica_action last[REPLICA_DO_ENDED + 1];
static uint32_t counts[REPLICA_DO_ENDED + 1];
static uint8_t sent_to;

static inline void look(void)
{
    struct replica_action action;
    for (uint32_t i = 0; i <= REPLICA_DO_ENDED; i++)
        counts[i] = 0;
    sent_to = 0;
    while (replica_next(&replica, now, &action)) {
        last[action.kind] = action;
        counts[action.kind]++;
        if (action.kind == REPLICA_DO_SEND)
            sent_to |= action.copies;
    }
}

static inline void pass(uint64_t ms)
{
    for (uint64_t i = 0; i < ms / 10; i++) {
        now += 10 * MS;
        replica_tick(&replica, now);
    }
    look();
}

static inline struct replica_record record(uint32_t generation, const char *states)
{
    struct replica_record is = {.epoch = 7, .generation = generation};
    for (uint32_t i = 0; states[i] != '\0'; i++)
        is.members[i] = (struct replica_member){.store = i + 100,
                                                .state = states[i] == 'I'   ? REPLICA_IN_SYNC
                                                         : states[i] == 'c' ? REPLICA_CATCHING_UP
                                                                            : REPLICA_STALE};
    return is;
}

/* A planted bug, in the build that has them. */
static inline void plant(void)
{
#ifdef IOMESH_MUTANTS
    const char *number = getenv("IOMESH_MUTANT");
    mutant_active = number != NULL ? (int)strtoul(number, NULL, 10) : 0;
#endif
}

static inline void begin(const char *states, uint64_t old_until)
{
    static const struct replica_options options = {.min_copies = 2, .flush_ns = 1000000 * MS};
    plant();
    now = 1000 * MS;
    replica_init(&replica, &options);
    struct replica_grant grant = {.record = record(4, states),
                                  .sequence = 1000,
                                  .bound_ns = now + 4000 * MS,
                                  .old_until_ns = old_until};
    replica_begin(&replica, &grant, now);
    look();
}

static inline void fence(uint8_t copy, uint64_t watermark, bool restarted)
{
    struct replica_part part = {
        .role = REPLICA_IN_SYNC, .watermark = watermark, .restarted = restarted, .boot = 1};
    replica_connected(&replica, copy, 1, now);
    replica_fenced(&replica, copy, 7, &part, now);
}

static inline void tell_role(uint8_t copy, uint8_t role)
{
    struct replica_part part = {.generation = replica.generation, .role = role, .boot = 1};
    replica_role_told(&replica, copy, &part, now);
}

static inline void commit(void)
{
    struct replica_record is = replica.next;
    replica_transacted(&replica, &is, now);
}

/* Three copies in sync, all told. */
static inline void open_all(void)
{
    begin("III", 0);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        fence(copy, 900, false);
    look();
    replica_reconciled(&replica, last[REPLICA_DO_RECONCILE].attempt, true, 1000, now);
    for (uint8_t copy = 0; copy < COPIES; copy++)
        tell_role(copy, REPLICA_IN_SYNC);
    look();
    cr_assert_eq(replica.phase, REPLICA_ACTIVE);
}

static inline void write_to(struct replica_write *write, uint64_t sequence)
{
    *write = (struct replica_write){0};
    replica_write_start(&replica, write, sequence, 0, now);
    look();
}

static inline void told(struct replica_write *write, uint8_t copy)
{
    replica_write_told(&replica, write, copy, replica.generation, REPLICA_TOLD_DONE, now);
    look();
}

#endif
