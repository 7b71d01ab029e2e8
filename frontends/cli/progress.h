/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far something has come, on stderr: a bar where a person watches, else a line every few
 * seconds.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what;
    bool terminal;
    bool drawn;
    bool parting; /* A signal has something to say. */
    uint64_t began_ns, told_ns;
    int told_permille;
    bool moves; /* Bytes and their rate are told too. */
    uint64_t bytes, told_bytes;
    uint64_t rate; /* Bytes a second, of late. */
};

/* `what` is borrowed: "pool check". */
void progress_begin(struct progress *progress, const char *what);
/* As often as one likes. */
void progress_tell(struct progress *progress, uint64_t done, uint64_t total);
/* The same, of what moves bytes: so many by now. */
void progress_move(struct progress *progress, uint64_t done, uint64_t total, uint64_t bytes);
/* Nanoseconds since it began. */
uint64_t progress_age(const struct progress *progress);
/* Should a signal end the program before progress_end(): ends the line of the bar and says so, a
 * line too. Signals that are ignored stay so. */
void progress_parting(struct progress *progress, const char *line);
/* Wipes the bar, for something else to be printed. */
void progress_wipe(struct progress *progress);
void progress_end(struct progress *progress);
/* progress_tell() as an iomesh_progress_fn. */
void progress_on(void *progress, uint64_t done, uint64_t total);

#endif
