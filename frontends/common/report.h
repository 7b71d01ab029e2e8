/* SPDX-License-Identifier: Apache-2.0 */
/* How a program that serves says what went wrong, and what the library tells it. */
#ifndef COMMON_REPORT_H
#define COMMON_REPORT_H

struct iomesh_event;

/* A line of the log, "WHAT: WHY". EXIT_FAILURE, for the caller to return. */
int report_failure(const char *what, const char *why);

/* The library's last sentence, which says what it is about, or what the code means.
 * EXIT_FAILURE. */
int report_refusal(int code);

/* An engine's `trace`: its events as lines of their severity. */
void report_event(void *context, const struct iomesh_event *event);

#endif
