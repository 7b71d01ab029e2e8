/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a history of reads and writes of registers linearizable? By zones (Gibbons and Korach, 1997):
 * every value is written once to a register, so each value has one zone, and two looks at the zones
 * decide. A write that was never answered may have happened, once, at any time after it began.
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_NEVER UINT64_MAX

struct history_op {
    uint32_t cell; /* Which register. */
    bool write;
    bool durable;   /* For who keeps it; not looked at. */
    bool zero;      /* Nor this. */
    uint64_t value; /* 0 is what a register holds at first; nobody writes it. */
    uint64_t begun;
    uint64_t
        ended; /* HISTORY_NEVER: a write that was not answered. Reads that were not: leave out. */
};

enum history_fault {
    HISTORY_FINE,
    HISTORY_NEVER_WRITTEN, /* A read of a value that nobody wrote. */
    HISTORY_FUTURE,        /* A read that ended before its write began. */
    HISTORY_STALE,         /* Values come in no order that agrees with all reads. */
};

/* Sorts `ops`. ret_at: one of the ops that cannot be, if any. */
enum history_fault history_check(struct history_op *ops, size_t count,
                                 const struct history_op **ret_at);
const char *history_fault_text(enum history_fault fault);

/* The same by trying every order (Wing and Gong): for few operations only, at most 24. */
bool history_search(const struct history_op *ops, size_t count);

#endif
