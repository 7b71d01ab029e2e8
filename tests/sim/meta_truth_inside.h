/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_META_TRUTH_INSIDE_H
#define SIM_META_TRUTH_INSIDE_H

#include "sim/meta_truth.h"

struct truth_handle {
    struct meta meta;
    struct list node; /* truth->handles. */
    struct truth *truth;
    struct truth_options options;
    bool reachable;
    struct list flights;
    struct list done;
    struct list held; /* struct meta_item: happened while it could not be told. */
    struct meta_history history;
};

/* Does what is asked, at once, and answers into `to`, which may be the same. */
int truth_do(struct truth *truth, const struct meta_request *asked, struct meta_request *to);
void truth_data_done(struct truth *truth);

#endif
