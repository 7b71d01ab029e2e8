/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 1000, BURST = 50, LINES_PER_SECOND = 10, LEVELS = 8 };

static struct {
    const char *program;
    enum log_level level;
    bool json;
    bool terminal;
    unsigned long dropped;
    struct {
        uint64_t filled_ns; /* When `lines` was last brought up to date. */
        double lines;
        unsigned long dropped;
    } buckets[LEVELS];
} logger = {.level = LOG_LEVEL_NOTICE};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void log_setup(const char *program, enum log_level level, bool json)
{
    logger.program = program;
    logger.level = level;
    logger.json = json;
    logger.terminal = isatty(STDERR_FILENO) == 1;
}

bool log_level_from(const char *word, enum log_level *ret_level)
{
    static const struct {
        const char *word;
        enum log_level level;
    } words[] = {{"error", LOG_LEVEL_ERROR},
                 {"warning", LOG_LEVEL_WARNING},
                 {"notice", LOG_LEVEL_NOTICE},
                 {"info", LOG_LEVEL_INFO},
                 {"debug", LOG_LEVEL_DEBUG}};
    for (size_t index = 0; index < sizeof words / sizeof *words; index++) {
        if (strcmp(words[index].word, word) == 0) {
            *ret_level = words[index].level;
            return true;
        }
    }
    return false;
}

bool log_wants(enum log_level level)
{
    return level <= logger.level;
}

unsigned long log_dropped(void)
{
    return logger.dropped;
}

static char *encode(enum log_level level, const char *text)
{
    json_t *object = json_pack("{s:i, s:s, s:s}", "priority", (int)level, "program",
                               logger.program == NULL ? "" : logger.program, "message", text);
    char *encoded = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return encoded;
}

/* JSON holds nothing but UTF-8; paths may be anything, and a long line is cut anywhere. */
static char *encode_anyway(enum log_level level, char *text)
{
    char *encoded = encode(level, text);
    if (encoded != NULL)
        return encoded;
    for (char *byte = text; *byte != '\0'; byte++)
        if ((unsigned char)*byte >= 0x80)
            *byte = '?';
    return encode(level, text);
}

static void put(enum log_level level, char *text)
{
    for (char *byte = text; *byte != '\0'; byte++)
        if ((unsigned char)*byte < ' ' || *byte == 0x7f)
            *byte = ' ';
    char line[LINE_BYTES_MAX * 6 + 200];
    int length = 0;
    if (logger.json) {
        char *encoded = encode_anyway(level, text);
        length = snprintf(line, sizeof line, "%s\n", encoded == NULL ? text : encoded);
        free(encoded);
    } else if (logger.terminal || logger.program == NULL) {
        length =
            snprintf(line, sizeof line, "%s%s%s\n", logger.program == NULL ? "" : logger.program,
                     logger.program == NULL ? "" : ": ", text);
    } else {
        length = snprintf(line, sizeof line, "<%d>%s\n", (int)level, text);
    }
    if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0)
        logger.dropped++; /* Nowhere to say it. */
}

/* Room for one more line of this level? Tells what was dropped before, when there is again. */
static bool admit(enum log_level level)
{
    const uint64_t now = now_ns();
    double *lines = &logger.buckets[level].lines;
    if (logger.buckets[level].filled_ns == 0)
        *lines = BURST;
    else
        *lines += (double)(now - logger.buckets[level].filled_ns) * LINES_PER_SECOND / 1e9;
    if (*lines > BURST)
        *lines = BURST;
    logger.buckets[level].filled_ns = now;
    if (*lines < 1) {
        logger.buckets[level].dropped++;
        logger.dropped++;
        return false;
    }
    *lines -= 1;
    if (logger.buckets[level].dropped > 0) {
        char text[80];
        snprintf(text, sizeof text, "%lu lines of this priority were dropped",
                 logger.buckets[level].dropped);
        logger.buckets[level].dropped = 0;
        put(level, text);
    }
    return true;
}

void log_line(enum log_level level, const char *format, ...)
{
    if (!log_wants(level) || !admit(level))
        return;
    char text[LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    put(level, text);
}
