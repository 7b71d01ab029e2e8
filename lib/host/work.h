/* SPDX-License-Identifier: Apache-2.0 */
/* Heavy CPU work off the engine's thread: a small pool in the real world, inline in the storm. */
#ifndef HOST_WORK_H
#define HOST_WORK_H

#include "base/base.h"

struct work;
struct work_job;

struct work_job {
    void (*run)(struct work_job *job);  /* On any thread: touches nothing but the job. */
    void (*done)(struct work_job *job); /* On the engine's thread, later. */
    struct list node;                   /* The implementation's. */
};

struct work_ops {
    void (*submit)(struct work *work, struct work_job *job);
};

struct work {
    const struct work_ops *ops;
};

static inline void work_submit(struct work *work, struct work_job *job)
{
    assert(job->run != NULL && job->done != NULL);
    work->ops->submit(work, job);
}

#endif
