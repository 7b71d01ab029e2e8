/* SPDX-License-Identifier: Apache-2.0 */
/* For the files of this room only. */
#ifndef CONTROL_FRAME_H
#define CONTROL_FRAME_H

#include <protobuf-c/protobuf-c.h>

#include "control/control.h"

/* A message with a frame's head before it. 0 or -ENOMEM. */
int control_frame_pack(const ProtobufCMessage *message, struct control_bytes *ret_bytes);

#endif
