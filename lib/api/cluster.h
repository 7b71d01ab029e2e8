/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster: a pool whose truth is in etcd and whose stores are anywhere, for the files of this room.
 *
 * Owns what an embedded pool does not have: a port to every store in the metadata, made as records
 * come and go; what the pool's record says everybody is held to; the engine of copies. The
 * metadata, the catalog and the volume engine are the pool's (api/pool.h).
 *
 *   LOOK (the pool's record) ──▶ catalog_open(): which stores there are ──▶ open
 *   closed: the catalog first, then the ports, then the rest
 *
 * The connection to a store begins when somebody asks for its port, and is kept: a program that
 * uses few volumes knows few stores. A store that is served in this process is reached without one.
 * Ports live as long as the catalog does, whatever becomes of the record.
 */
#ifndef API_CLUSTER_H
#define API_CLUSTER_H

#include "api/pool.h"
#include "format/metadata.h"
#include "part/part.h"
#include "peer/peer.h"
#include "volume/stores.h"

#define CLUSTER_BUCKETS 256u

/* A store with a record, or that had one since the pool was opened. */
struct cluster_store {
    struct list node; /* In cluster->stores[]. */
    struct cluster *cluster;
    uint64_t id;
    bool listed;                      /* There is a record now. */
    uint64_t incarnation;             /* As in it. */
    struct peer_port *peer;           /* NULL: nobody asked for it. */
    struct part_port *local;          /* Of cluster_serve(). NULL: it is far. */
    char address[METADATA_TEXT_ROOM]; /* "": nobody has served it yet. */
};

/* Somebody who wants to hear of changes. Lives in whatever waits; zero it, set what it wants to
 * hear of (each may be NULL). No call comes from within a call of this header. */
struct cluster_watch {
    /* record: NULL if it is gone; else valid until the next change of it. */
    void (*store)(struct cluster_watch *watch, uint64_t store, const struct metadata_store *record);
    /* A connection to a store went up or down. */
    void (*port)(struct cluster_watch *watch, const struct part_port *port);
    /* cluster_settings() says something else. */
    void (*settings)(struct cluster_watch *watch);
    struct list node; /* The cluster's. */
};

struct cluster {
    struct iomesh_pool *pool;
    struct net *net; /* What connections are made over, to stores and by whoever serves some. */
    struct net *tls; /* That, if it is sealed; else NULL. */
    uint64_t engine; /* Who this is to stores; random. */
    uint64_t seed;
    char node[METADATA_TEXT_ROOM];
    char address[METADATA_TEXT_ROOM];
    char zone[METADATA_TEXT_ROOM];
    char rack[METADATA_TEXT_ROOM];
    uint8_t uuid[16]; /* The pool's. */
    struct copies_engine *copies;
    struct list stores[CLUSTER_BUCKETS]; /* struct cluster_store; STORES_MAX have a record. */
    struct list watches;                 /* struct cluster_watch */
    uint32_t ports;                      /* Peer ports open. */
    bool closing;                        /* The ports are. */

    struct metadata_cluster record; /* As it was seen last. */
    uint64_t revision;
    struct meta_request request;
    struct meta_watch watch;
    bool watching;
    struct timer timer;      /* Until the record is read again. */
    catalog_done_fn *opened; /* NULL: it was told. */
};

/* --- For what is built above (nodes, keeper, words) ----------------------------------------- */

/* NULL: it is an embedded pool. */
static inline struct cluster *pool_cluster(struct iomesh_pool *pool)
{
    return pool->cluster;
}

/* 0, or -ENOTSUP with a sentence: what is asked for (a verb, "listing stores") is of clusters. */
int cluster_refuse_embedded(const struct iomesh_pool *pool, const char *what);

/* The port to a store, served here or far; NULL: it never had a record, or there is no memory.
 * Valid until the pool is closed. Its state says whether somebody is there; far, the first call
 * begins to connect. */
struct part_port *cluster_port(struct cluster *cluster, uint64_t store);
/* Why there is no connection to it, for people's eyes; "" if there is one, or none was wanted. */
const char *cluster_port_sentence(const struct cluster *cluster, uint64_t store);
/* Records of all stores, in order of their ids: entries[i]->record. Kept up; valid until the next
 * turn. */
const struct stores *cluster_stores(const struct cluster *cluster);
/* The pool's record: settings whose value is 0 are as they are built. Kept up. */
const struct metadata_cluster *cluster_settings(const struct cluster *cluster);

void cluster_watch_add(struct cluster *cluster, struct cluster_watch *watch);
/* From within a call of it, too. Harmless on one that was zeroed. */
void cluster_watch_remove(struct cluster_watch *watch);

/* A store of this process: from now on it is reached by `port`, which is up and stays so. 0 or
 * -ENOMEM. The record need not be there yet. Not inside a call of a port or of copies. */
int cluster_serve(struct cluster *cluster, uint64_t store, struct part_port *port);
/* It will be closed: from now on it is far again. What was asked of `port` is yet to end. */
void cluster_unserve(struct cluster *cluster, uint64_t store);

/* --- For pool.c ----------------------------------------------------------------------------- */

/* pool->meta is open. `opened` runs once if 0 is returned: the catalog is open, or why not. */
int cluster_open(struct iomesh_pool *pool, catalog_done_fn *opened);
/* Once per engine turn. True: turn again before sleeping. */
bool cluster_turn(struct cluster *cluster);
/* The catalog is gone: lets the ports go. */
void cluster_close(struct cluster *cluster);
/* Nothing of it is under way: it may be freed. NULL is quiet. */
bool cluster_quiet(const struct cluster *cluster);
/* Quiet, or never opened. NULL is fine. */
void cluster_free(struct cluster *cluster);

/* --- cluster_stores.c ----------------------------------------------------------------------- */

/* As catalog_cluster.store_changed. */
void cluster_store_changed(void *context, uint64_t id, const struct metadata_store *record);
/* The settings may be others. */
void cluster_ports_silence(struct cluster *cluster);
void cluster_stores_close(struct cluster *cluster);
void cluster_stores_free(struct cluster *cluster);

/* --- cluster_opening.c ---------------------------------------------------------------------- */

struct api_operation;
/* A volume is being opened, which takes as long as its copies are away. */
void cluster_opening_begin(struct api_operation *operation, const char *name);
void cluster_opening_end(struct api_operation *operation);

/* --- cluster_who.c -------------------------------------------------------------------------- */

/* Who this process is, and what it speaks over, as the pool's options say. 0, or -EINVAL, -ENOMEM,
 * ... with a sentence. */
int cluster_new(struct iomesh_pool *pool, struct cluster **ret_cluster);

#endif
