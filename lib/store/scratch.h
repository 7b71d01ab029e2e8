/* SPDX-License-Identifier: Apache-2.0 */
/* Memory into which reads take what lies between their blocks, too. */
#ifndef STORE_SCRATCH_H
#define STORE_SCRATCH_H

#include "store/internal.h"

/* 0, or -ENOMEM. At most SCRATCH_MAX, which is what 0 stands for. */
int scratch_open(struct scratch *scratch, uint32_t count_max);
void scratch_close(struct scratch *scratch);
/* SCRATCH_BLOCKS blocks, or NULL: all are in use. The last that came back goes first. */
uint8_t *scratch_get(struct scratch *scratch);
void scratch_put(struct scratch *scratch, uint8_t *buffer);

#endif
