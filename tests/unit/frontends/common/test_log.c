/* SPDX-License-Identifier: Apache-2.0 */
/* Lines on stderr, read back through a pipe. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

static int out;

static void listen_to_stderr(void)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    out = ends[0];
    fcntl(out, F_SETFL, O_NONBLOCK);
}

static const char *said(void)
{
    static char text[65536];
    const ssize_t length = read(out, text, sizeof text - 1);
    text[length < 0 ? 0 : length] = '\0';
    return text;
}

Test(log, a_line_begins_with_its_priority, .init = listen_to_stderr)
{
    log_setup("test", LOG_LEVEL_INFO, false);
    log_line(LOG_LEVEL_WARNING, "number %d", 7);
    cr_assert_str_eq(said(), "<4>number 7\n");
}

Test(log, a_level_that_is_not_wanted_is_silent, .init = listen_to_stderr)
{
    log_setup("test", LOG_LEVEL_ERROR, false);
    log_line(LOG_LEVEL_WARNING, "not heard");
    cr_assert_not(log_wants(LOG_LEVEL_WARNING));
    cr_assert_str_eq(said(), "");
}

Test(log, what_a_peer_sends_cannot_forge_a_line, .init = listen_to_stderr)
{
    log_setup("test", LOG_LEVEL_INFO, false);
    log_line(LOG_LEVEL_NOTICE, "name: %s", "a\n<0>forged\x1b[31m");
    cr_assert_str_eq(said(), "<5>name: a <0>forged [31m\n");
}

Test(log, json_is_one_object_a_line, .init = listen_to_stderr)
{
    log_setup("test", LOG_LEVEL_INFO, true);
    log_line(LOG_LEVEL_ERROR, "a \"quoted\" word");
    cr_assert_str_eq(said(), "{\"priority\":3,\"program\":\"test\",\"message\":\"a \\\"quoted\\\" "
                             "word\"}\n");
}

Test(log, json_stays_json_whatever_the_bytes, .init = listen_to_stderr)
{
    log_setup("test", LOG_LEVEL_INFO, true);
    log_line(LOG_LEVEL_ERROR, "pool /a\xff: w\303\251b");
    cr_assert_str_eq(said(), "{\"priority\":3,\"program\":\"test\",\"message\":\"pool /a?: "
                             "w??b\"}\n");
    char text[1200];
    for (size_t at = 0; at + 2 < sizeof text; at += 2)
        memcpy(text + at, "\303\251", 3);
    log_line(LOG_LEVEL_ERROR, "x%s", text); /* Cut in the midst of a character. */
    const char *line = said();
    cr_assert_eq(strncmp(line, "{\"priority\":3,", 14), 0, "%s", line);
    cr_assert_str_eq(line + strlen(line) - 3, "\"}\n");
}

Test(log, a_flood_is_cut_and_hides_no_other_level, .init = listen_to_stderr)
{
    log_setup("test", LOG_LEVEL_INFO, false);
    for (int line = 0; line < 1000; line++)
        log_line(LOG_LEVEL_WARNING, "flood");
    size_t lines = 0;
    for (const char *at = said(); (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    cr_assert(lines >= 50 && lines < 100, "%zu lines", lines);
    cr_assert_eq(log_dropped(), 1000 - lines);
    log_line(LOG_LEVEL_ERROR, "heard");
    cr_assert_str_eq(said(), "<3>heard\n");
    usleep(300000);
    log_line(LOG_LEVEL_WARNING, "again");
    cr_assert_not_null(strstr(said(), "lines of this priority were dropped\n<4>again\n"));
}
