/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on names: the catalog's, counted, and told in the words of the public headers. */
#ifndef API_OPERATION_H
#define API_OPERATION_H

#include "api/pool.h"

/* One under way: metadata may allocate. */
struct api_operation {
    struct iomesh_pool *pool;
    iomesh_done_fn *done;
    void *context; /* Of every callback. */

    /* What else the program wants to hear, as the operation has it. */
    iomesh_volume_info_fn *each;
    iomesh_snapshot_info_fn *each_snapshot;
    iomesh_group_info_fn *each_group;
    iomesh_progress_fn *progress;
    iomesh_volume_opened_fn *opened;
    bool opening;      /* A cluster's volume: it may wait for long. */
    struct timer slow; /* Then whoever listens hears for what. */
    uint64_t began_ns;
    bool read_only;                           /* Of the handle to come. */
    bool import;                              /* Of one too. */
    struct iomesh_volume *volume;             /* Whose import ends. */
    uint32_t flags;                           /* Of a list of snapshots. */
    bool found;                               /* The one that was to be shown. */
    char of[IOMESH_NAME_BYTES_MAX + 1];       /* The volume of the snapshot that is asked for. */
    char snapshot[IOMESH_NAME_BYTES_MAX + 1]; /* Its name; "": all are listed. */
};

/* "NAME@SNAP" in two. */
struct api_name {
    char volume[IOMESH_NAME_BYTES_MAX + 1];
    char snapshot[IOMESH_NAME_BYTES_MAX + 1]; /* "": the volume itself. */
};
/* 0, or -EINVAL with a sentence: one of them is no name, or there is no snapshot where there has to
 * be one. */
int api_name_split(const char *name, bool snapshot, struct api_name *ret_name);

/* What a new volume is asked to have: the fields of its options. */
struct api_copies {
    uint32_t copies, copies_min, domain, classes;
};
/* 0, -EINVAL, or -ENOTSUP of an embedded pool; NULL is one of somebody else's. Of volumes.c. */
int api_check_copies(const struct iomesh_pool *pool, const char *name,
                     const struct api_copies *what);

/* 0, or -EINVAL with a sentence: no name, no callback, or the pool is not open. */
int api_operation_refuse(const struct iomesh_pool *pool, const char *name, bool callback);
/* NULL with a sentence: no memory. */
struct api_operation *api_operation_begin(struct iomesh_pool *pool, void *context);
/* Both, of an operation that tells `done` (NULL: no callback). NULL: *ret_result says why. */
struct api_operation *api_operation_new(struct iomesh_pool *pool, const char *name,
                                        iomesh_done_fn *done, void *context, int *ret_result);
void api_operation_end(struct api_operation *operation);
/* What the catalog answered at once: 0, or it is over. */
int api_operation_started(struct api_operation *operation, int result);
/* Ends it and calls `done`. */
void api_operation_done(void *context, int result);
void api_operation_progress(void *context, uint64_t done_bytes, uint64_t total_bytes);
/* Of volumes.c. Ends it and calls `opened`. */
void api_operation_opened(void *context, int result, struct catalog_handle *handle);

#endif
