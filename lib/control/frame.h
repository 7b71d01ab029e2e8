/* SPDX-License-Identifier: Apache-2.0 */
/* For the files of this room only. */
#ifndef CONTROL_FRAME_H
#define CONTROL_FRAME_H

#include <protobuf-c/protobuf-c.h>

#include "control/control.h"
#include "control/control.pb-c.h"

/* A message with a frame's head before it. 0 or -ENOMEM. */
int control_frame_pack(const ProtobufCMessage *message, struct control_bytes *ret_bytes);

/* --- rows.c: what there may be many of in an answer ----------------------------------------- */

/* Memory of one encoding. */
struct control_rows {
    Control__Volume *volumes;
    Control__Volume **each_volume;
    Control__Snapshot *snapshots;
    Control__Snapshot **each_snapshot;
    Control__Group *groups;
    Control__Group **each_group;
    uint64_t *extent_bytes;
    uint32_t *extent_flags;
};
/* Points the message to the rows of the answer, in memory of `rows`. 0 or -ENOMEM; then too
 * control_rows_done(). */
int control_rows_put(struct control_rows *rows, const struct control_response *response,
                     Control__Response *message);
void control_rows_done(struct control_rows *rows);
/* 0, or -EPROTO, -ENOMEM. */
int control_rows_take(struct control_response *response, const Control__Response *message);

#endif
