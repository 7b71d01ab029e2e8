/* SPDX-License-Identifier: Apache-2.0 */
/* How a story of the cluster is told: what is asked, what is waited for, who goes and comes. */
#ifndef SIM_CLUSTER_TELL_H
#define SIM_CLUSTER_TELL_H

#include "sim/cluster.h"
#include "volume/copies_inside.h"

#define TELL_KIND(kind) (1u << (kind))

typedef bool tell_holds_fn(struct cluster *cluster);

bool tell_well(const struct cluster *cluster);
void tell_wait_ms(struct cluster *cluster, uint64_t ms);
/* Stops at the very event after which it holds. */
void tell_wait_for(struct cluster *cluster, const char *what, tell_holds_fn *holds);
/* Until the truth says that a node's copy is in that state. */
void tell_wait_state(struct cluster *cluster, unsigned node, uint8_t state);
/* That a story gets where it shall is no promise of the cluster: a planted bug is not caught so. */
void tell_expect(struct cluster *cluster, bool holds, const char *what);
struct copies_group *tell_group_of(struct cluster *cluster, unsigned owner);

/* --- Who goes and comes --- */
void tell_cut_both(struct cluster *cluster, unsigned owner, unsigned node, bool is);
/* Requests of kinds (TELL_KIND) wait on their way: road_hold(). */
void tell_hold(struct cluster *cluster, unsigned owner, unsigned node, uint32_t kinds);
void tell_release(struct cluster *cluster, unsigned owner, unsigned node);
void tell_node_stops(struct cluster *cluster, unsigned node);
/* With all that it had not flushed. */
void tell_node_loses_power(struct cluster *cluster, unsigned node);
void tell_node_starts(struct cluster *cluster, unsigned node);
void tell_owner_dies(struct cluster *cluster, unsigned owner);
bool tell_first_stale(struct cluster *cluster);
bool tell_first_in_sync(struct cluster *cluster);
/* Of the group of whoever has the volume open. */
bool tell_first_copies(struct cluster *cluster);
bool tell_first_joins(struct cluster *cluster);

/* --- What is asked --- */
void tell_open_volume(struct cluster *cluster, unsigned owner);
void tell_begin(struct cluster *cluster, unsigned owner, unsigned slot, enum volume_io_kind kind,
                uint32_t first, uint32_t count);
/* Nothing is asked of who has not opened. */
void tell_try(struct cluster *cluster, unsigned owner, unsigned slot, enum volume_io_kind kind,
              uint32_t first);
void tell_ask(struct cluster *cluster, unsigned owner, enum volume_io_kind kind, uint32_t first,
              uint32_t count);
void tell_write_all(struct cluster *cluster, unsigned owner);
void tell_read_all(struct cluster *cluster, unsigned owner);
void tell_flush(struct cluster *cluster, unsigned owner);

#endif
