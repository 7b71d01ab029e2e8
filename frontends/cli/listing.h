/* SPDX-License-Identifier: Apache-2.0 */
/* What a `list` prints, one at a time: rows of a table, or members of a JSON array. */
#ifndef CLI_LISTING_H
#define CLI_LISTING_H

#include <stdbool.h>

#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

struct listing {
    json_t *json; /* NULL: a table. */
    struct table table;
    const char *note; /* What stands below the table; NULL: nothing. */
};

/* `head`: the titles of the columns, NULL behind them. `right`: as in struct table. */
void listing_begin(struct listing *listing, const struct command *command, const char *const *head,
                   uint32_t right);
/* True: give it the JSON of each, which it frees; else cells. */
bool listing_is_json(const struct listing *listing);
void listing_add_json(struct listing *listing, json_t *value);
void listing_add(struct listing *listing, const char *const *cells);
/* `result`: of who called for each. As JSON it is the member `key` of `around`, an object that it
 * frees; NULL: of one with nothing else. An exit status, after a sentence if it is not 0. */
int listing_end(struct listing *listing, struct target *target, int result, const char *key,
                json_t *around);

/* --- Flags in words ------------------------------------------------------------------------ */

struct flag_word {
    uint32_t flag;
    const char *word; /* NULL: the end. */
};

/* The word of the first that is set; "" if none is. */
const char *flag_text(const struct flag_word *words, uint32_t flags);
/* The words of all. */
json_t *flag_json(const struct flag_word *words, uint32_t flags);

#endif
