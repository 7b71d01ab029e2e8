/* SPDX-License-Identifier: Apache-2.0 */
#include "common/report.h"

#include <stdlib.h>

#include <iomesh/iomesh.h>

#include "common/log.h"

int report_failure(const char *what, const char *why)
{
    log_line(LOG_LEVEL_ERROR, "%s: %s", what, why);
    return EXIT_FAILURE;
}

int report_refusal(int code)
{
    const char *sentence = iomesh_last_error();
    log_line(LOG_LEVEL_ERROR, "%s", sentence[0] != '\0' ? sentence : iomesh_error_text(code));
    return EXIT_FAILURE;
}

void report_event(void *context, const struct iomesh_event *event)
{
    (void)context;
    const uint32_t severity = event->severity < LOG_LEVEL_CRITICAL ? (uint32_t)LOG_LEVEL_CRITICAL
                              : event->severity > LOG_LEVEL_DEBUG  ? (uint32_t)LOG_LEVEL_DEBUG
                                                                   : event->severity;
    log_line((enum log_level)severity, "%s", event->text);
}
