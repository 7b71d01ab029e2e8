/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a Prometheus page. */
#ifndef COMMON_PROMETHEUS_H
#define COMMON_PROMETHEUS_H

#include <stdint.h>

#include "common/http.h"

/* What a family is: before its lines, which stand together. type: "gauge" or "counter". */
void prometheus_head(struct http_page *page, const char *name, const char *type, const char *help);
/* The value of a label: quotes, backslashes and newlines escaped. */
void prometheus_label(struct http_page *page, const char *value);

#endif
