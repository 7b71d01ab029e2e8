/* SPDX-License-Identifier: Apache-2.0 */
/* An open pool's metadata: stepped by hand, on a disk in memory, with a clock that is a number. */
#ifndef TEST_META_SQLITE_FIXTURE_H
#define TEST_META_SQLITE_FIXTURE_H

#include <criterion/criterion.h>

#include "meta/sqlite/sqlite.h"
#include "sim/meta_vfs.h"

#define POOL_PATH "meta.db"

struct pool {
    struct clock clock;
    uint64_t now_ns;
    struct meta_vfs vfs;
    struct meta *meta;
    unsigned wakeups;
    struct meta_request request; /* For run(). */
};
extern struct pool pool;

/* The options with which the pool is opened; a test may change them before pool_open(). */
extern struct meta_sqlite_options pool_options;

void pool_open(void);
void pool_close(void);
/* Closes, and opens again what is there. */
void pool_reopen(void);

/* Steps and polls until nothing happens any more. */
void drain(void);
void pass_seconds(unsigned seconds);

/* Forgets what was built in pool.request, and gives it to build anew. */
struct meta_request *build(void);
/* Commits pool.request and waits. Its result. */
int run(void);
/* run() of one operation. */
void put(const char *key, const char *value);
void put_leased(const char *key, const char *value, uint64_t lease);
/* The value of a key as text; "" if there is none. Valid until the next. */
const char *value_of(const char *key);
bool exists(const char *key);
uint64_t grant(unsigned seconds);

#endif
