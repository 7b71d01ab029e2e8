/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node, for the files of this room: listeners, stores, their records.
 *
 *   node:   OPEN ──▶ CLOSE_KEEPER ──▶ DRAIN (what was asked is answered) ──▶ CLOSE_SERVER
 *                                                          gone ◀── CLOSE_STORES ◀──┘
 *
 *   a store:
 *
 *   BEGIN ──▶ MAKE ──▶ CLAIM ──▶ LOOK ──▶ FIND ──▶ OWNER ──▶ OPEN ──▶ REGISTER ──▶ SERVED
 *     │        ▲        ▲ │       │        │        │ │       │          │ │         │
 *     └────────┼────────┘ │       │        └─ MAKE ─┘ │       │          │ │         ▼
 *              └──────────┴───────┴─── WAIT ◀─────────┘       │          │ │       LEAVE
 *                                 (and again)                 ▼          ▼ ▼         │
 *                                   gone ◀── END ◀────────── CLOSE ◀────────────── FORGET
 *
 * Before a store is opened, and so before it counts as opened once more, the metadata has said that
 * it is this pool's, not older than it was, and not served elsewhere. What was read is compared
 * when the record is written: of two that both thought so, one is refused.
 */
#ifndef API_NODE_H
#define API_NODE_H

#include <iomesh/sys/serve.h>

#include "api/cluster.h"
#include "api/pool.h"
#include "api/store_make.h"
#include "api/store_record.h"
#include "keeper/keeper.h"
#include "peer/peer.h"

enum node_state {
    NODE_OPEN,
    NODE_CLOSE_KEEPER, /* It may have volumes that are on these stores. */
    NODE_DRAIN,
    NODE_CLOSE_SERVER,
    NODE_CLOSE_STORES,
};

struct iomesh_node {
    struct iomesh_pool *pool;
    struct clock *clock;
    struct engine_hook hook;
    struct cluster_watch watch;
    enum node_state state;
    struct iomesh_node_options options; /* Its pointers are not used. */
    uint8_t boot_id[16];
    struct peer_buffers buffers;
    struct peer_server *server; /* NULL: closed. */
    struct keeper *keeper;      /* NULL: closed, or not wanted. */
    uint32_t address_count;
    const char *addresses[IOMESH_NODE_LISTENERS_MAX];
    struct list stores; /* struct iomesh_node_store */
    uint32_t store_count;
    struct timer patience; /* CLOSE_KEEPER, DRAIN: it goes on without. */
    iomesh_done_fn *closed;
    void *context;
    int result; /* The first thing that went wrong while stores were closed, */
    char sentence[400];
};

enum node_store_state {
    NODE_STORE_BEGIN,
    NODE_STORE_MAKE,
    NODE_STORE_CLAIM,
    NODE_STORE_LOOK,
    NODE_STORE_FIND,
    NODE_STORE_OWNER,
    NODE_STORE_WAIT, /* For the session of who has it to end, or the metadata to answer. */
    NODE_STORE_OPEN,
    NODE_STORE_REGISTER,
    NODE_STORE_SERVED,
    NODE_STORE_LEAVE,  /* Nobody is connected to it any more. */
    NODE_STORE_FORGET, /* Its record has no address any more. */
    NODE_STORE_CLOSE,
    NODE_STORE_END, /* Told in the next turn. */
};

struct iomesh_node_store {
    struct iomesh_node *node;
    struct list entry; /* In node->stores. */
    enum node_store_state state;
    char *path;
    char where[METADATA_TEXT_ROOM]; /* The same from the root on, as its record has it. */
    uint32_t device_class;
    uint64_t bytes; /* Of what is made; 0: as it comes. */
    struct place place;
    bool is_device;
    bool made; /* By us: not again. */
    struct disk *disks[DEVICES_MAX];
    unsigned disk_count;
    struct store_identity look;
    struct store *store;
    struct store_record record;
    uint64_t began_ns, served_ns, wait_until_ns;
    struct timer timer; /* CLAIM, WAIT: again. SERVED: is the record true? */
    bool stopping;
    bool was_served;
    bool in_server;  /* Others may be connected to it. */
    bool not_ours;   /* The record is gone, another's, or has no address of ours. */
    uint64_t judged; /* The incarnation that the record had when it was found to be ours to open. */
    bool putting;    /* SERVED: its record is being read or written, */
    bool look_again; /* and is to be again. */
    uint32_t trouble_told; /* enum metadata_reason: what the record says of it. */
    bool device_failed;    /* One failed under it, */
    bool hurried;          /* and that was written at once; */
    unsigned tells;        /* times that it was tried when the store was gone already. */
    uint64_t told_ns;      /* When the record was last seen to be true. */
    uint64_t used_told;
    iomesh_node_store_fn *served, *stopped;
    void *context;
    int result; /* The first thing that went wrong. */
    char sentence[400];
};

/* Of node_store.c */
unsigned node_store_turn(struct iomesh_node_store *store);
/* It is over: nothing of it is used. */
bool node_store_is_over(const struct iomesh_node_store *store);
/* Frees it and tells. */
void node_store_gone(struct iomesh_node_store *store);
void node_store_note(struct iomesh_node_store *store, int result);
/* Whatever it does ends; it is closed. */
void node_store_wind(struct iomesh_node_store *store);

/* Of node_open.c: from the path to an open store. */
void node_store_claim(struct iomesh_node_store *store);
void node_store_begin(struct iomesh_node_store *store);
/* From where it waited. */
void node_store_again(struct iomesh_node_store *store);
void node_store_close_disks(struct iomesh_node_store *store);

/* Of node_record.c: its record. */
void node_store_register(struct iomesh_node_store *store);
/* Its record may have changed, or it may have to. */
void node_store_refresh(struct iomesh_node_store *store);
void node_store_forget(struct iomesh_node_store *store);
/* If a device failed under it, that is written at once. */
void node_store_trouble(struct iomesh_node_store *store);
/* It could not be opened, or closed: if a device failed its record says so, then it ends. */
void node_store_tell_failed(struct iomesh_node_store *store);
/* Is it time? */
void node_store_tick(struct iomesh_node_store *store);

/* Of node.c */
void node_tell(const struct iomesh_node_store *store, uint32_t severity, const char *text);
void node_store_event(void *context, const struct store_event *event);

#endif
