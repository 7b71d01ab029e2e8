/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a store of a cluster: its directory, what is on its devices, its record.
 *
 *   PLAN ──▶ FORMAT ──▶ links ──▶ RECORD ──▶ made
 *
 * It is of the pool when its record is there. What was interrupted before is no store of the pool,
 * and is known by never having been opened: whoever serves it makes the record then.
 */
#ifndef API_STORE_MAKE_H
#define API_STORE_MAKE_H

#include <iomesh/sys/serve.h>

#include "api/place.h"
#include "api/store_record.h"

/* What is at a path. */
enum store_place_what {
    STORE_PLACE_NOTHING, /* Not even the path. */
    STORE_PLACE_EMPTY,   /* A directory without anything. */
    STORE_PLACE_OTHER,   /* A directory with something, but no store. */
    STORE_PLACE_STORE,   /* A directory with a store, or links to devices. */
    STORE_PLACE_POOL,    /* A directory of an embedded pool. */
    STORE_PLACE_DEVICE,  /* A block device, or a file. */
};

/* 0, or -EACCES … with a sentence. */
int store_place_look(const char *path, enum store_place_what *ret_what);
/* Devices of what is there: of a directory, or the device itself. Zero the place before. */
int store_place_find(const char *path, enum store_place_what what, uint32_t device_class,
                     struct place *place);

typedef void store_make_fn(void *context, int result, const struct metadata_store *record);

/* `done` once if 0 was returned, never inside the call; the sentence is the last error's. It wants
 * an engine that turns, and an open pool. */
int store_make_start(struct iomesh_pool *pool, const struct iomesh_store_add_options *options,
                     store_make_fn *done, void *context);

/* What a new store's record says: of this node, with no address yet. */
void store_make_record(const struct iomesh_pool *pool, const uint8_t uuid[16], uint32_t media,
                       uint64_t bytes, struct metadata_store *ret_record);

#endif
