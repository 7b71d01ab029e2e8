/* SPDX-License-Identifier: Apache-2.0 */
/* What a call of a RESYNC or a REPAIR goes through: runs of blocks that one record can tell. */
#ifndef STORE_PART_RESYNC_H
#define STORE_PART_RESYNC_H

#include "store/parts.h"
#include "store/resync.h"

/* 0, or why the request makes no sense, or does not hold what was sent. */
int part_resync_check(const struct part_request *request);
/* Ends with part_call_end(). */
void part_resync_begin(struct part_call *call);

#endif
