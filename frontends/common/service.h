/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service manager and a program say to each other: sockets passed in, states told back.
 * A few lines of protocol, so no library is linked for it.
 */
#ifndef COMMON_SERVICE_H
#define COMMON_SERVICE_H

enum { SERVICE_SOCKET_FIRST = 3 };

/* How many listening sockets were passed, from SERVICE_SOCKET_FIRST on; 0: none. They are marked
 * close-on-exec and the environment forgets them: it tells once. They are the caller's. */
int service_sockets(void);

/* "READY=1", "STOPPING=1", "STATUS=…", with newlines between several. Nobody listening is fine. */
void service_tell(const char *state);

/* How often WATCHDOG=1 is to be told, at least, in seconds; 0: nobody waits for it. */
double service_watchdog_seconds(void);

#endif
