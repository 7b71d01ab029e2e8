/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines on stderr: one write each, "<N>" before them for journald unless a person watches.
 *
 * Each level has a bucket of lines; what does not fit is counted and the count is told once
 * there is room again. So a flood of one level hides nothing of another.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

/* As syslog numbers them. */
enum log_level {
    LOG_LEVEL_CRITICAL = 2,
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
};

/* `program` is borrowed for good. Before it is called, lines go out plainly from NOTICE up. */
void log_setup(const char *program, enum log_level level, bool json);

/* "error", "warning", "notice", "info", "debug"; false for any other word. */
bool log_level_from(const char *word, enum log_level *ret_level);

bool log_wants(enum log_level level);

/* Cut off at 1,000 bytes; newlines and control characters become spaces. In JSON, what is not
 * UTF-8 becomes '?'. Not for several threads. */
__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

/* Lines dropped by the limit so far. */
unsigned long log_dropped(void);

#endif
