/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/listing.h"

#include <errno.h>
#include <stdio.h>

void listing_begin(struct listing *listing, const struct command *command, const char *const *head,
                   uint32_t right)
{
    *listing = (struct listing){.table.right = right};
    while (head[listing->table.column_count] != NULL)
        listing->table.column_count++;
    if (command->json)
        listing->table.failed = (listing->json = json_array()) == NULL;
    else
        table_add(&listing->table, head);
}

bool listing_is_json(const struct listing *listing)
{
    return listing->json != NULL;
}

void listing_add_json(struct listing *listing, json_t *value)
{
    if (json_array_append_new(listing->json, value) != 0)
        listing->table.failed = 1;
}

void listing_add(struct listing *listing, const char *const *cells)
{
    table_add(&listing->table, cells);
}

int listing_end(struct listing *listing, struct target *target, int result, const char *key,
                json_t *around)
{
    int status = 0;
    if (result == 0 && listing->table.failed)
        result = -ENOMEM;
    if (result != 0) {
        status = target_fail(target, result);
    } else if (target->command->json) {
        if (around == NULL)
            around = json_object();
        json_object_set(around, key, listing->json);
        status = json_out(target->command, around);
        around = NULL;
    } else {
        table_print(&listing->table, stdout);
        if (listing->note != NULL)
            printf("%s\n", listing->note);
    }
    json_decref(around);
    json_decref(listing->json);
    table_done(&listing->table);
    return status;
}

const char *flag_text(const struct flag_word *words, uint32_t flags)
{
    for (; words->word != NULL; words++)
        if (flags & words->flag)
            return words->word;
    return "";
}

json_t *flag_json(const struct flag_word *words, uint32_t flags)
{
    json_t *array = json_array();
    for (; words->word != NULL; words++)
        if (flags & words->flag)
            json_array_append_new(array, json_string(words->word));
    return array;
}
