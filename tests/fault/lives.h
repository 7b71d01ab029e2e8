/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two lives over a copy of a prepared pool: in the first something fails, in the second nothing
 * does. What the programs that do so through the public API share.
 */
#ifndef FAULT_LIVES_H
#define FAULT_LIVES_H

#include <iomesh/iomesh.h>

#include "fault/fault.h"

#define MIB (1ull << 20)
#define BLOCK 4096u

/* What the first life tells the second. */
struct outcome {
    int result;       /* Of the operation. */
    int after_result; /* Of the write after it. */
    bool written_after;
    bool fired;
    bool ended;
    char wrong[400];
};
extern struct outcome *outcome;
extern struct iomesh_engine *engine;
extern struct iomesh_pool *pool;
extern struct iomesh_volume *volume;
extern bool verbose; /* One fault alone: whatever the library has to say is shown. */

/* Notes the first thing that is false. Returns false. */
bool wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool must(int result, const char *what);

/* A directory for all of them, and what they share. False: it cannot begin. */
bool lives_begin(void);
void lives_end(void);
void directory_remove(const char *name);
/* "pool" becomes a copy of another. */
bool directory_copy(const char *name);
/* A path in it. */
void path_of(char path[128], const char *prefix, const char *name);
/* In a process of its own. False: it did not end well. */
bool apart(void (*run)(const struct fault_plan *, uint64_t), const struct fault_plan *plan,
           uint64_t n);

int engine_start(void);
int pool_start(const char *name);
int pool_make(const char *name);
int pool_check(const char *name, struct iomesh_check_result *ret_checked);
/* The first error of closing what is open. */
int all_close(void);
bool checks_out(void);

#endif
