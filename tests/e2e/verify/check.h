/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two things that the verifier does with a server: read everything and compare, and load it.
 *
 * Both stop at the first violation, which is one sentence, and when the connection ends, which is
 * no violation.
 */
#ifndef VERIFY_CHECK_H
#define VERIFY_CHECK_H

#include "client.h"
#include "model.h"

enum verdict {
    VERDICT_FINE,
    VERDICT_SERVER_DIED,
    VERDICT_VIOLATION,
};

struct report {
    bool violated;
    uint64_t block; /* UINT64_MAX: of no one block. */
    char sentence[512];
};

/* What the load is made of, in percent of operations; what is left over writes. */
struct load_options {
    double seconds;
    unsigned depth; /* Requests outstanding per connection. */
    unsigned read_percent;
    unsigned zero_percent;
    unsigned trim_percent; /* Trims are expected to read as zeroes. */
    unsigned flush_percent;
    unsigned fua_percent; /* Of the writes. */
    uint32_t io_bytes_max;
    bool small;      /* Sub-block and unaligned requests as well. */
    bool errors_end; /* An error ends the load as death does, instead of being a violation. */
    uint64_t seed;
};

struct load_counts {
    uint64_t writes;
    uint64_t through;
    uint64_t reads;
    uint64_t zeroes;
    uint64_t trims;
    uint64_t flushes;
    uint64_t in_doubt; /* Outstanding or refused when the load ended. */
};

/* Every block is legal for @mode, and what is found becomes what is true. Ends the client, unless
 * the verdict is fine. */
enum verdict sweep(struct client *client, struct model *model, enum model_mode mode,
                   struct report *report);

/* Ends the client. */
enum verdict load(struct client *client, struct model *model, const struct load_options *options,
                  struct load_counts *ret_counts, struct report *report);

#endif
