/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store's rig share. */
#ifndef SIM_STORE_INSIDE_H
#define SIM_STORE_INSIDE_H

#include "sim/store_rig.h"

bool rig_turn(struct rig *rig);
/* Turns until *until_false is false. False: power went, or something is wrong. */
bool rig_wait(struct rig *rig, const bool *until_false, const char *what);

#endif
