/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics and /healthz of the daemon. */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "common/http.h"
#include "daemon/stores.h"

/* Context of both: a struct stores. Healthy: every store is served and none of them failed. */
void metrics_page(void *context, struct http_page *page);
bool metrics_health(void *context, struct http_page *page);

#endif
