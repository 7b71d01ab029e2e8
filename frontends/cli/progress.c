/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { BAR_CHARACTERS = 40 };
static const uint64_t draw_ns = 100000000u;  /* A bar, at most ten times a second. */
static const uint64_t line_ns = 5000000000u; /* A line, every five seconds. */

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

static void draw(const struct progress *progress, unsigned permille)
{
    char bar[BAR_CHARACTERS + 1];
    for (unsigned i = 0; i < BAR_CHARACTERS; i++)
        bar[i] = i < permille * BAR_CHARACTERS / 1000 ? '#' : '.';
    bar[BAR_CHARACTERS] = '\0';
    fprintf(stderr, "\r%s [%s] %3u.%u %%", progress->what, bar, permille / 10, permille % 10);
    fflush(stderr);
}

void progress_tell(struct progress *progress, uint64_t done, uint64_t total)
{
    const uint64_t now = now_ns();
    if (total == 0 || now - progress->told_ns < (progress->terminal ? draw_ns : line_ns))
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
    if (permille == progress->told_permille)
        return;
    progress->told_permille = permille;
    if (progress->terminal) {
        draw(progress, (unsigned)permille);
        progress->drawn = true;
    } else {
        fprintf(stderr, "%s: %d.%d %%\n", progress->what, permille / 10, permille % 10);
    }
}

void progress_end(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
