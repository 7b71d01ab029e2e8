/* SPDX-License-Identifier: Apache-2.0 */
/* An open pool's metadata: stepped by hand, on a disk in memory, with a clock that is a number. */
#ifndef TEST_META_SQLITE_FIXTURE_H
#define TEST_META_SQLITE_FIXTURE_H

#include <criterion/criterion.h>

#include "meta/sqlite/sqlite.h"
#include "sim/meta_vfs.h"
#include "suite.h"

#define POOL_PATH "meta.db"

struct pool {
    struct clock clock;
    uint64_t now_ns;
    struct meta_vfs vfs;
    unsigned wakeups;
};
extern struct pool pool;

/* The options with which the pool is opened; a test may change them before suite_open(). */
extern struct meta_sqlite_options pool_options;

/* Closes, and opens again what is there. */
void pool_reopen(void);

/* Steps and polls until nothing happens any more. */
void drain(void);

#endif
