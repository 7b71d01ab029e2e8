/* SPDX-License-Identifier: Apache-2.0 */
/* Handles on real etcd, their wake-ups, and one etcd for all the tests that do it no harm. */
#ifndef TEST_META_ETCD_FIXTURE_H
#define TEST_META_ETCD_FIXTURE_H

#include "etcd_server.h"
#include "meta/etcd/etcd.h"
#include "suite.h"

/* Opens what a URL says into suite.meta, with suite_wait() ready to wait for it. */
void handle_open(const char *url, uint64_t wait_ns, uint64_t silence_ns);
/* The same; what one member has is enough. */
void handle_open_stale(const char *url, uint64_t wait_ns);
void handle_close(void);
/* Waits for something that concerns the handle; false: nothing came for so long. */
bool handle_wait(int timeout_ms);
uint64_t now_ms(void);
/* The shared etcd, by its port, with a pool of the test's own. */
void shared_url(char *ret_url, size_t room);
unsigned shared_port(void);

#endif
