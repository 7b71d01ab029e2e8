/* SPDX-License-Identifier: Apache-2.0 */
/* pool status of a cluster: what is wrong, why, what is done about it, how long that takes. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iomesh/store.h>

#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

struct facts {
    json_t *json; /* NULL: sentences. */
    char **texts;
    size_t count, room;
    bool failed;
};

static json_t *fact_json(const struct iomesh_fact *fact)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:o, s:s, s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "kind",
        text_fact(fact->kind), "health", text_health(fact->health), "text", json_text(fact->text),
        "reason", text_reason(fact->reason), "store",
        fact->store != 0 ? json_number(fact->store) : json_null(), "volume",
        fact->volume != 0 ? json_number(fact->volume) : json_null(), "volumes", (int)fact->volumes,
        "groups", (int)fact->groups, "copies_missing", (int)fact->copies_missing, "copies_wanted",
        (int)fact->copies_wanted, "copies_running", (int)fact->copies_running, "copies_queued",
        (int)fact->copies_queued, "copies_waiting", (int)fact->copies_waiting, "copies_nowhere",
        (int)fact->copies_nowhere, "copies_owner", (int)fact->copies_owner);
    if (json != NULL) {
        json_object_set_new(json, "left_bytes", json_number(fact->left_bytes));
        json_object_set_new(json, "since_ns",
                            fact->since_ns != 0 ? json_number(fact->since_ns) : json_null());
        json_object_set_new(json, "seconds_left",
                            fact->seconds_left != UINT64_MAX ? json_number(fact->seconds_left)
                                                             : json_null());
    }
    return json;
}

static void on_fact(void *context, const struct iomesh_fact *fact)
{
    struct facts *facts = context;
    if (facts->json != NULL) {
        facts->failed = facts->failed || json_array_append_new(facts->json, fact_json(fact)) != 0;
        return;
    }
    if (facts->count == facts->room) {
        size_t room = 2 * facts->room + 16;
        char **texts = realloc(facts->texts, room * sizeof *texts);
        facts->failed = facts->failed || texts == NULL;
        if (texts == NULL)
            return;
        facts->texts = texts;
        facts->room = room;
    }
    char *text = strdup(fact->text);
    facts->failed = facts->failed || text == NULL;
    if (text != NULL)
        facts->texts[facts->count++] = text;
}

static json_t *look_json(const struct target *target, const struct iomesh_look *look, json_t *facts)
{
    return json_pack(
        "{s:o, s:o, s:s, s:o, s:o, s:{s:o, s:o, s:o, s:o, s:o}, s:{s:o, s:o, s:o}, s:{s:o, s:o, "
        "s:o}, s:{s:o, s:o, s:o, s:o}, s:{s:i, s:i}, s:o}",
        "pool", json_text(target->command->pool), "uuid", json_uuid(look->uuid), "health",
        text_health(look->health), "created_ns", json_number(look->created_ns), "keeper",
        look->keeper[0] != '\0' ? json_text(look->keeper) : json_null(), "stores", "count",
        json_number(look->stores), "answering", json_number(look->stores_answering), "draining",
        json_number(look->stores_draining), "out", json_number(look->stores_out), "nodes",
        json_number(look->nodes), "space", "total_bytes", json_number(look->bytes), "used_bytes",
        json_number(look->used_bytes), "promised_bytes", json_number(look->promised_bytes),
        "volumes", "count", json_number(look->volumes), "open", json_number(look->volumes_open),
        "deleting", json_number(look->volumes_deleting), "copies", "count",
        json_number(look->copies), "in_sync", json_number(look->copies_in_sync), "stale",
        json_number(look->copies_stale), "catching_up", json_number(look->copies_catching_up),
        "etcd", "members", (int)look->members, "answering", (int)look->members_answering, "facts",
        facts);
}

__attribute__((format(printf, 3, 4))) static void row(struct table *table, const char *name,
                                                      const char *format, ...)
{
    char value[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    const char *const cells[] = {name, value};
    table_add(table, cells);
}

static void add_stores(struct table *table, const struct iomesh_look *look)
{
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES];
    char more[2 * TEXT_BYTES] = "";
    size_t length = 0;
    if (look->stores_draining > 0)
        length =
            (size_t)snprintf(more, sizeof more, ", %" PRIu64 " draining", look->stores_draining);
    if (look->stores_out > 0)
        snprintf(more + length, sizeof more - length, ", %" PRIu64 " out", look->stores_out);
    row(table, "stores", "%" PRIu64 " of %" PRIu64 " answer, on %" PRIu64 " node%s%s",
        look->stores_answering, look->stores, look->nodes, look->nodes == 1 ? "" : "s", more);
    row(table, "space", "%s of %s used, %s if all volumes were full",
        text_size(look->used_bytes, a), text_size(look->bytes, b),
        text_size(look->promised_bytes, c));
}

static int look_print(const struct target *target, const struct iomesh_look *look,
                      const struct facts *facts)
{
    struct table table = {.column_count = 2};
    char a[TEXT_BYTES], b[TEXT_BYTES];
    text_uuid(look->uuid, a);
    row(&table, "pool", "%s", target->command->pool);
    row(&table, "uuid", "%s%s%s", a, look->created_ns != 0 ? ", made " : "",
        look->created_ns != 0 ? text_time(look->created_ns, b) : "");
    row(&table, "health", "%s", text_health(look->health));
    row(&table, "etcd", "%u of %u members answer", look->members_answering, look->members);
    row(&table, "keeper", "%s", look->keeper[0] != '\0' ? look->keeper : "none");
    add_stores(&table, look);
    row(&table, "volumes", "%" PRIu64 ", %" PRIu64 " open, %" PRIu64 " processes", look->volumes,
        look->volumes_open, look->sessions);
    row(&table, "copies",
        "%" PRIu64 " of %" PRIu64 " in sync, %" PRIu64 " catch up, %" PRIu64 " out of date",
        look->copies_in_sync, look->copies, look->copies_catching_up, look->copies_stale);
    if (facts->failed || table.failed) {
        table_done(&table);
        return target_fail(target, -ENOMEM);
    }
    table_print(&table, stdout);
    table_done(&table);
    if (facts->count == 0)
        printf("\nAll is well.\n");
    else
        printf("\n");
    for (size_t i = 0; i < facts->count; i++)
        printf("- %s\n", facts->texts[i]);
    return 0;
}

int cluster_status(struct target *target)
{
    const struct command *command = target->command;
    struct facts facts = {.json = command->json ? json_array() : NULL};
    struct iomesh_look look = {.size = sizeof look};
    int status = 0;
    int result = iomesh_pool_look_sync(target->pool, on_fact, &facts, &look);
    if (result == 0 && command->json && facts.failed)
        result = -ENOMEM;
    if (result != 0) {
        status = target_fail(target, result);
        json_decref(facts.json);
    } else if (command->json) {
        status = json_out(command, look_json(target, &look, facts.json));
    } else {
        status = look_print(target, &look, &facts);
    }
    for (size_t i = 0; i < facts.count; i++)
        free(facts.texts[i]);
    free(facts.texts);
    return status;
}
