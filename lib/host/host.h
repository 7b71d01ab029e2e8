/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host: the outside world as tables of functions.
 *
 * clock, disk, net and work. lib/uring/ is the real world, tests/sim/ the other. The seam checks,
 * so that implementations may stay naive. Everything here runs on the engine's thread, and no
 * completion ever runs inside the call that asked for it.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "host/clock.h"
#include "host/disk.h"
#include "host/net.h"
#include "host/work.h"

#endif
