/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every implementation of meta must do: suite_*.c, linked with the fixture of each.
 *
 * A fixture opens its own, empty; here it is used through the interface and nothing else.
 */
#ifndef TEST_META_SUITE_H
#define TEST_META_SUITE_H

#include <criterion/criterion.h>

#include "meta/meta.h"

struct suite {
    struct meta *meta;
    struct meta_request request; /* For run(). */
};
extern struct suite suite;

/* The fixture's. */
void suite_open(void);
void suite_close(void);
/* Lets happen what can, or waits a little for it; callbacks run. */
void suite_wait(void);
/* Time passes, and what comes of it has happened. Leases may end a second later than they must. */
void suite_pass(unsigned seconds);
/* Everything that was to be told has been told, as far as anybody can know. */
void suite_settle(void);

/* Forgets what was built in suite.request, and gives it to build anew. */
struct meta_request *build(void);
/* Commits suite.request and waits. Its result. */
int run(void);
/* run() of one operation. */
void put(const char *key, const char *value);
void put_leased(const char *key, const char *value, uint64_t lease);
/* The value of a key as text; "" if there is none. Valid until the next. */
const char *value_of(const char *key);
bool exists(const char *key);
uint64_t grant(unsigned seconds);
int keep_lease(uint64_t lease);
int end_lease(uint64_t lease);

/* A watch that writes down what it is told: "a=1. b=2 c-. ", the dot after a revision's last. */
struct ear {
    struct meta_watch watch;
    char told[2048];
    int ended;
    bool revisions_too; /* "a=1@3<2. " */
};
void ear_start(struct ear *ear, const char *prefix, uint64_t from);
/* Waits until it has been told exactly this. */
void ear_expect(struct ear *ear, const char *told);
/* Waits until it has ended so. */
void ear_expect_end(struct ear *ear, int result);
void ear_stop(struct ear *ear);

#endif
