/* SPDX-License-Identifier: Apache-2.0 */
/* The pages over HTTP: /metrics for Prometheus, /healthz for whoever restarts things. */
#ifndef NBD_METRICS_H
#define NBD_METRICS_H

#include "common/http.h"
#include "nbd/server.h"

/* context: the struct server. */
void metrics_page(void *context, struct http_page *page);
bool metrics_health(void *context, struct http_page *page);

#endif
