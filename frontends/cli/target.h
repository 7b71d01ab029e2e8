/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who does what a command asks: the process that owns the pool, through its control socket, or
 * this one, when nobody does.
 */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <iomesh/iomesh.h>
#include <iomesh/sys/control.h>

#include "cli/progress.h"
#include "cli/words.h"

struct target {
    const struct command *command;
    struct iomesh_engine *engine;
    struct iomesh_control *control; /* One of these two once it is open. */
    struct iomesh_pool *pool;
};

/* Says what went wrong, in one sentence with what to do; returns the exit status, 1. */
int target_fail(const struct target *target, int result);
/* The same of a sentence that was kept. */
int target_fail_saying(const struct target *target, int result, const char *sentence);
/* The same, in words of its own. */
__attribute__((format(printf, 2, 3))) int target_complain(const struct target *target,
                                                          const char *format, ...);

/* A bar for the command. `left`: how things are should a signal end it here; where somebody else
 * owns the pool, it goes on there. */
void target_progress(const struct target *target, struct progress *progress, const char *left);

/* The pool is a cluster's. */
bool target_is_cluster(const struct command *command);

/* The engine alone. 0, or an exit status after a sentence. */
int target_engine(struct target *target, const struct command *command);
/* 0 and target->control if somebody serves the pool; 0 and NULL if nobody does; else a code. */
int target_ask_owner(struct target *target);
/* Engine, and owner or pool. 0, or an exit status after a sentence. */
int target_open(struct target *target, const struct command *command);
/* Closes what is open. Returns `status`, or 1 after a sentence if closing failed. */
int target_close(struct target *target, int status);

int target_status(struct target *target, struct iomesh_pool_status *ret_status);
int target_device(struct target *target, uint32_t index, struct iomesh_device_status *ret_status);
int target_scrub_start(struct target *target, uint64_t rate);
int target_create(struct target *target, const char *name,
                  const struct iomesh_volume_create_options *options);
int target_delete(struct target *target, const char *name);
int target_resize(struct target *target, const char *name, uint64_t bytes, uint32_t flags);
int target_list(struct target *target, iomesh_volume_info_fn *each, void *context);
int target_show(struct target *target, const char *name, struct iomesh_volume_info *ret_info);

#endif
