/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster in one process: real etcd, stores in files of their own, each behind a socket as on a
 * machine of its own, and engines that have its pool open. */
#ifndef UNIT_API_CLUSTER_RIG_H
#define UNIT_API_CLUSTER_RIG_H

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include <iomesh/iomesh.h>

#define MIB (1ull << 20)
#define RIG_STORES 3u
#define OK(call) cr_assert_eq((call), 0, "%s: %s", #call, iomesh_last_error())
/* A refusal has its code and a sentence. */
#define REFUSED(call, code)                                                      \
    do {                                                                         \
        cr_expect_eq((call), (code), "%s: %s", #call, iomesh_last_error());      \
        cr_expect_gt(strlen(iomesh_last_error()), 10, "%s: no sentence", #call); \
    } while (0)

struct rig_store;

struct rig {
    char directory[64];
    char url[128];
    struct iomesh_engine *engine; /* Everything is on it. */
    struct meta *meta;
    struct rig_store *stores[RIG_STORES];
};
extern struct rig rig;

/* etcd, a pool in it, an engine. */
void rig_begin(void);
/* `begin`, and stores 1 .. RIG_STORES on nodes n1 .. n3, served. */
void rig_begin_served(void);
void rig_end(void);
/* As of a program that begins, or that is killed (nothing is said to anybody). */
void rig_serve(unsigned store);
void rig_stop(unsigned store);
/* node, address: NULL: as iomesh_pool_options. */
struct iomesh_pool *rig_pool(const char *node, const char *address);
struct iomesh_engine *rig_engine(void);
void rig_volume(struct iomesh_pool *pool, const char *name, uint64_t bytes);
struct iomesh_volume *rig_open(struct iomesh_pool *pool, const char *name);
/* Turns everything for so long. */
void rig_pass(uint64_t ms);
uint64_t rig_now_ms(void);

#endif
