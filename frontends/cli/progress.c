/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/text.h"

enum { BAR_CHARACTERS = 40 };
static const uint64_t draw_ns = 100000000u;  /* A bar, at most ten times a second. */
static const uint64_t line_ns = 5000000000u; /* A line, every five seconds. */
static volatile sig_atomic_t bar_there;      /* On the terminal, for a signal. */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void progress_begin(struct progress *progress, const char *what)
{
    *progress = (struct progress){
        .what = what, .terminal = isatty(STDERR_FILENO) == 1, .told_permille = -1};
    progress->began_ns = progress->told_ns = now_ns();
}

/* ", 1.5 GiB, 512 MiB/s", or nothing. */
static const char *moved(struct progress *progress, uint64_t since_ns, char to[2 * TEXT_BYTES])
{
    to[0] = '\0';
    if (!progress->moves || since_ns == 0)
        return to;
    const uint64_t us = since_ns / 1000 + 1;
    const uint64_t rate = (progress->bytes - progress->told_bytes) * 1000000u / us;
    progress->rate = progress->rate == 0 ? rate : (3 * progress->rate + rate) / 4;
    progress->told_bytes = progress->bytes;
    char bytes[TEXT_BYTES];
    char speed[TEXT_BYTES];
    snprintf(to, 2 * TEXT_BYTES, ", %s, %s/s", text_size(progress->bytes, bytes),
             text_size(progress->rate, speed));
    return to;
}

static void draw(const struct progress *progress, unsigned permille, const char *more)
{
    char bar[BAR_CHARACTERS + 1];
    for (unsigned i = 0; i < BAR_CHARACTERS; i++)
        bar[i] = i < permille * BAR_CHARACTERS / 1000 ? '#' : '.';
    bar[BAR_CHARACTERS] = '\0';
    fprintf(stderr, "\r%s [%s] %3u.%u %%%s%s", progress->what, bar, permille / 10, permille % 10,
            more, progress->moves ? "\033[K" : "");
    fflush(stderr);
}

static void tell(struct progress *progress, uint64_t done, uint64_t total)
{
    const uint64_t now = now_ns();
    const uint64_t since_ns = now - progress->told_ns;
    if (total == 0 || since_ns < (progress->terminal ? draw_ns : line_ns))
        return;
    if (done > total)
        done = total;
    /* Shifted until a thousand times it fits. */
    while (done > UINT64_MAX / 1000) {
        done >>= 1;
        total >>= 1;
    }
    const int permille = (int)(done * 1000 / total);
    progress->told_ns = now;
    if (permille == progress->told_permille && !progress->moves)
        return;
    progress->told_permille = permille;
    char more[2 * TEXT_BYTES];
    moved(progress, since_ns, more);
    if (progress->terminal) {
        bar_there = true; /* First: a signal may come as soon as it is seen. */
        draw(progress, (unsigned)permille, more);
        progress->drawn = true;
    } else {
        fprintf(stderr, "%s: %d.%d %%%s\n", progress->what, permille / 10, permille % 10, more);
    }
}

void progress_tell(struct progress *progress, uint64_t done, uint64_t total)
{
    tell(progress, done, total);
}

void progress_move(struct progress *progress, uint64_t done, uint64_t total, uint64_t bytes)
{
    progress->moves = true;
    progress->bytes = bytes;
    tell(progress, done, total);
}

uint64_t progress_age(const struct progress *progress)
{
    return now_ns() - progress->began_ns;
}

void progress_on(void *progress, uint64_t done, uint64_t total)
{
    progress_tell(progress, done, total);
}

/* --- A signal in its middle ---------------------------------------------------------------- */

static const int endings[] = {SIGINT, SIGTERM, SIGHUP};
enum { ENDING_COUNT = sizeof endings / sizeof *endings };
static char parting[500]; /* The line, a newline before it. */

static void on_ending(int number)
{
    const char *line = bar_there ? parting : parting + 1;
    ssize_t written = write(STDERR_FILENO, line, strlen(line));
    (void)written;
    raise(number); /* SA_RESETHAND: this time it ends the program. */
}

static void set_endings(void (*handler)(int))
{
    const struct sigaction action = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND};
    for (int i = 0; i < ENDING_COUNT; i++) {
        struct sigaction now;
        if (sigaction(endings[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaction(endings[i], &action, NULL);
    }
}

void progress_parting(struct progress *progress, const char *line)
{
    snprintf(parting, sizeof parting, "\n%s\n", line);
    bar_there = progress->drawn;
    progress->parting = true;
    set_endings(on_ending);
}

void progress_wipe(struct progress *progress)
{
    bar_there = false;
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}

void progress_end(struct progress *progress)
{
    if (progress->parting)
        set_endings(SIG_DFL);
    progress->parting = false;
    progress_wipe(progress);
}
