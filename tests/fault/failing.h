/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real world, failing: the n-th request that the ring is given for a disk, or the n-th write of
 * SQLite to its files. Everything else is as shipped; the linker puts these between (--wrap).
 */
#ifndef FAULT_FAILING_H
#define FAULT_FAILING_H

#include <stdbool.h>
#include <stdint.h>

enum failing {
    READ_EIO,
    READ_SHORT,      /* Half of it. */
    READ_NOTHING,    /* As beyond the end of a file that was cut short. */
    READ_BAD,        /* And whatever touches that place from then on. */
    WRITE_EIO,       /* It did not happen. */
    WRITE_EIO_AFTER, /* It happened. */
    WRITE_SHORT,     /* Half of it happened. */
    WRITE_FULL,
    FLUSH_EIO,
    META_EIO,
    META_FULL,
    FAILINGS
};
extern const char *const failing_names[FAILINGS];

/* Once, before anything is opened. False: SQLite does not let itself be watched. */
bool failing_open(void);
/* The n-th request of the kind from now on, from 1. */
void failing_arm(enum failing failing, uint64_t n);
/* The one that fails is under way: what it leads to is still to come. */
bool failing_flying(void);
/* Nothing more fails. Whether something did, or will yet. */
bool failing_mend(void);

#endif
