/* SPDX-License-Identifier: Apache-2.0 */
/* pool rebuild-metadata */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <iomesh/event.h>
#include <iomesh/store.h>

#include "cli/run.h"
#include "cli/target.h"

struct telling {
    const struct command *command;
    json_t *lines; /* NULL: text. */
};

static void on_line(void *context, uint32_t severity, const char *text)
{
    const struct telling *telling = context;
    const char *word = severity <= IOMESH_SEVERITY_ERROR     ? "loss"
                       : severity <= IOMESH_SEVERITY_WARNING ? "missing"
                                                             : "found";
    if (telling->lines != NULL)
        (void)json_array_append_new(telling->lines,
                                    json_pack("{s:s, s:o}", "what", word, "text", json_text(text)));
    else
        printf("%s: %s\n", word, text);
}

static json_t *result_json(const struct command *command,
                           const struct iomesh_rebuild_result *result, json_t *lines)
{
    return json_pack("{s:o, s:b, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "pool",
                     json_text(command->pool), "made", !command->look && command->save == NULL,
                     "stores", (int)result->stores, "volumes", json_number(result->volumes),
                     "snapshots", json_number(result->snapshots), "groups",
                     json_number(result->groups), "losses", json_number(result->losses), "faults",
                     json_number(result->faults), "lines", lines);
}

int run_pool_rebuild(const struct command *command)
{
    const struct target target = {.command = command};
    struct telling telling = {.command = command, .lines = command->json ? json_array() : NULL};
    struct iomesh_rebuild_options options = IOMESH_REBUILD_OPTIONS_INIT;
    struct iomesh_rebuild_result result = {.size = sizeof result};
    options.stores = (const char *const *)command->stores;
    options.store_count = command->store_count;
    options.files = (const char *const *)command->files;
    options.file_count = command->file_count;
    options.addresses = (const char *const *)command->addresses;
    options.address_count = command->address_count;
    options.tls_directory = command->peer_tls;
    options.save = command->save;
    options.flags = (command->accept_loss ? IOMESH_REBUILD_ACCEPT_LOSS : 0) |
                    (command->look ? IOMESH_REBUILD_LOOK : 0);
    options.tell = on_line;
    options.context = &telling;
    int error = iomesh_pool_rebuild(command->pool, &options, &result);
    if (error != 0) {
        json_decref(telling.lines);
        return target_fail(&target, error);
    }
    if (command->save != NULL && !command->json) {
        printf("%u stores: what they say is in %s\n", result.stores, command->save);
        return 0;
    }
    if (command->json)
        return json_out(command, result_json(command, &result, telling.lines));
    printf("%u stores: %" PRIu64 " volumes, %" PRIu64 " snapshots; the metadata %s\n",
           result.stores, result.volumes, result.snapshots,
           command->look ? "would be made of this" : "is made: start iomeshd anew on every node");
    return 0;
}
