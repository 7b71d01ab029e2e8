/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is where in the directory of an embedded pool.
 *
 *   DIR/meta.db            the metadata
 *   DIR/store              the store, if it is a file of the pool's own
 *   DIR/device.00.nvme ->  or links to its devices, in order, with their classes
 *   DIR/control.sock       while a process owns the pool
 *
 * Links, so that a device that was renamed is put right with ln.
 */
#ifndef API_PLACE_H
#define API_PLACE_H

#include <iomesh/pool.h>

#include "base/base.h"
#include "store/store.h"

struct place_device {
    char *path;
    uint32_t device_class; /* IOMESH_CLASS_… */
    uint64_t bytes;        /* 0: all there is. */
    bool made;             /* By us, in this call. */
};

struct place {
    char *directory;
    char *metadata; /* Paths. */
    char *control;
    unsigned device_count;
    struct place_device devices[DEVICES_MAX];
};

/* "etcd:…": there is no directory. */
bool place_is_cluster(const char *url);
/* "file:DIR" taken apart. 0, or -EINVAL, -ENOTSUP, -ENOMEM with a sentence. Zero it before. */
int place_parse(const char *url, struct place *place);
/* Finds the devices of a pool that is there. 0, or -ENOENT … with a sentence. */
int place_find_devices(struct place *place);
/* The same of a store without metadata: only `directory` is set. */
int place_find_store(struct place *place);
/* What a new pool shall have: checked, paths made absolute. */
int place_plan_devices(struct place *place, const struct iomesh_pool_init_options *options);
/* The directory itself: made if it is not there, durably. *ret_made: it was. */
int place_make_directory(const struct place *place, bool *ret_made);
/* Links to what is not the pool's own, durably. What place_unmake() must take back is noted. */
int place_make_links(const struct place *place);
/* Removes links, metadata and files that were made. */
void place_unmake(struct place *place, bool directory);
void place_done(struct place *place);
/* The place a path names, from the root on, though the file itself may not be there yet. The
 * caller's to free; NULL with errno. */
char *place_absolute(const char *path);

extern const char *const place_class_names[3];

#endif
