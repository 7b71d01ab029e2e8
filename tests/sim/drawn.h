/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drawn: what storms have in common whose lives are drawn from a seed: seed after seed, a few in a
 * process of their own (what a crash leaves in memory goes with it), what was counted in all of
 * them, branches that must be reached, planted bugs that must be caught.
 *
 *     NAME [--seeds FIRST COUNT] [--mutant N] [--mutants] [--story NAME] [--all] [--verbose]
 *          and what the storm itself understands
 */
#ifndef SIM_DRAWN_H
#define SIM_DRAWN_H

#include "base/base.h"

#define DRAWN_BRANCHES_MAX 32u
#define DRAWN_COUNTS_MAX 64u

struct drawn_mutant {
    int number;
    const char *sentence;
    const char *story; /* That catches it; NULL: drawn seeds do. */
};

/* For tables of X(number, sentence). */
#define DRAWN_MUTANT(number, sentence) {number, sentence, NULL},
#define DRAWN_MUTANT_STORY(number, sentence, story) {number, sentence, story},

struct drawn {
    const char *name;
    uint64_t seeds;        /* Without arguments. */
    uint64_t mutant_seeds; /* In which a planted bug must be caught. */
    uint64_t per_child;

    /* A life; it ends with wrong[0] set if something is. It may leave what it likes in memory. */
    void (*life)(uint64_t seed, bool verbose);
    /* One that is told by hand. False: there is no such story. NULL: there is none at all. */
    bool (*story)(const char *name, bool verbose);
    const char *wrong;
    /* After a life in which nothing was wrong. NULL is fine. */
    void (*ended)(void);

    /* What the last life counted: it is added up. */
    const uint64_t *counts;
    size_t count_count; /* DRAWN_COUNTS_MAX at most. */
    void (*print)(uint64_t seeds, const uint64_t *sums);

    const char *const *branches; /* Each must be reached. */
    size_t branch_count;
    const struct drawn_mutant *mutants;
    size_t mutant_count;
    /* A run of so many seeds as are usual looks at branches and mutants, too. */
    bool whole;

    /* Before the seeds, unless a mutant is looked for: NULL is fine. `run` does a number in a
     * process of its own: false: something was wrong. */
    bool (*before)(const struct drawn *drawn);
    /* Another argument: false: not known. NULL: there are none. */
    bool (*argument)(const char *argument);
    const char *usage; /* Of these. */
};

/* What main() returns. */
int drawn_main(const struct drawn *drawn, int argc, char **argv);

/* For `before`: does it in a process of its own, which ends well if nothing is wrong then. */
bool drawn_child(const struct drawn *drawn, void (*run)(uint64_t number), uint64_t number);
/* Within: adds up what was counted, and ends the process if something is wrong in it. */
void drawn_note(const char *what, uint64_t number);

#endif
