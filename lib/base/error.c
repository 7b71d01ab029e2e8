/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

static _Thread_local char last_sentence[512];
static _Thread_local char last_place[128];

int base_fail(int code, const char *file, int line, const char *format, ...)
{
    char sentence[sizeof last_sentence];
    va_list arguments;
    va_start(arguments, format);
    /* Into a copy first: a sentence may quote the one before it. */
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    memcpy(last_sentence, sentence, sizeof last_sentence);
    (void)snprintf(last_place, sizeof last_place, "%s:%d", file, line);
    return code;
}

const char *base_last_error(void)
{
    return last_sentence;
}

const char *base_last_error_place(void)
{
    return last_place;
}

void base_clear_error(void)
{
    last_sentence[0] = '\0';
    last_place[0] = '\0';
}

const char *base_error_text(int code)
{
#define ERROR_TEXT(name, value, posix, text) \
    case value: return text;
    switch (code) {
    case 0: return "done"; IOMESH_ERRORS(ERROR_TEXT)
    default: return strerror(code < 0 ? -code : code);
    }
#undef ERROR_TEXT
}

int base_error_posix(int code)
{
#define ERROR_POSIX(name, value, posix, text) \
    case value: return posix;
    switch (code) {
        IOMESH_ERRORS(ERROR_POSIX)
    default: return code < 0 ? -code : code;
    }
#undef ERROR_POSIX
}
