/* SPDX-License-Identifier: Apache-2.0 */
/* Who this process is in a cluster: where its clients find it. */
#ifndef NBD_IDENTITY_H
#define NBD_IDENTITY_H

#include "nbd/settings.h"

enum { IDENTITY_BYTES_MAX = 256 };

/*
 * The address of the first socket (those that were passed come first): whoever listens there after
 * us is our successor, and takes our volumes back at once. NULL: there is none that only one
 * process can have, such as a port that the system chooses.
 */
const char *identity_address(const struct settings *settings, int passed,
                             char room[IDENTITY_BYTES_MAX]);

#endif
