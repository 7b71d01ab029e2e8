/* SPDX-License-Identifier: Apache-2.0 */
#include "common/prometheus.h"

void prometheus_head(struct http_page *page, const char *name, const char *type, const char *help)
{
    http_print(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void prometheus_label(struct http_page *page, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '"' || *value == '\\')
            http_print(page, "\\");
        if (*value == '\n')
            http_print(page, "\\n");
        else
            http_print(page, "%c", *value);
    }
}
