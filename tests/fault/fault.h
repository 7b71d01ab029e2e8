/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th request failing, then n+1, ... until none fires: what the programs of this directory
 * share. Each fault is a fork of a prepared process, so that whatever it breaks goes with it.
 * IOMESH_FAULT_STEP=N in the environment: behind the first eight only every N-th.
 */
#ifndef FAULT_FAULT_H
#define FAULT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* What one run with one fault comes to. */
enum fault_verdict { FAULT_HELD, FAULT_BROKE, FAULT_NOT_FIRED };

struct fault_plan {
    enum fault_verdict (*run)(const struct fault_plan *plan, uint64_t n);
    unsigned operation, fault, disk;
    const char *operation_name, *fault_name;
    const char *wrong; /* What was false, if FAULT_BROKE; said by the process that ran. */
    uint64_t only;     /* This n and no other; 0: all. */
};

/* True if nothing was false; else it was told. `fired` grows by the faults that happened. */
bool fault_each(const struct fault_plan *plan, uint64_t *fired);

#endif
