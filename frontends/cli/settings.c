/* SPDX-License-Identifier: Apache-2.0 */
/* pool show, pool set: what everybody who uses a cluster's pool is held to. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iomesh/store.h>

#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

enum setting_kind { SETTING_TIME, SETTING_SIZE, SETTING_COUNT };

static const struct setting {
    const char *name;
    const char *help;
    uint32_t which;
    enum setting_kind kind;
    size_t offset; /* Of a uint64_t, or of a uint32_t if it is a count. */
} settings[] = {
#define SETTING(name, which, kind, field, help)             \
    {                                                       \
        name, help, IOMESH_SETTING_##which, SETTING_##kind, \
            offsetof(struct iomesh_settings, field)         \
    }
    SETTING("out_after", OUT_AFTER, TIME, out_after_ns,
            "a store silent for so long is out, and its copies are made anew"),
    SETTING("grace", GRACE, TIME, grace_ns,
            "a store that refuses connections is waited for so long"),
    SETTING("copy_timeout", COPY_TIMEOUT, TIME, copy_timeout_ns,
            "a store that is silent is waited for so long"),
    SETTING("slow", SLOW, TIME, slow_ns,
            "a copy slower than this, and than the others, is read last"),
    SETTING("resync_volume_rate", RESYNC_VOLUME_BYTES, SIZE, resync_volume_bytes,
            "bytes a second to the copies of a volume that catch up"),
    SETTING("resync_process_rate", RESYNC_PROCESS_BYTES, SIZE, resync_process_bytes,
            "the same, of all volumes that one process has open"),
    SETTING("moves_per_store", MOVES_PER_STORE, COUNT, moves_per_store,
            "copies into or out of one store at a time"),
    SETTING("moves_per_pool", MOVES_PER_POOL, COUNT, moves_per_pool, "copies moved at a time"),
    SETTING("move_store_rate", MOVE_STORE_BYTES, SIZE, move_store_bytes,
            "bytes a second into or out of one store"),
    SETTING("move_pool_rate", MOVE_POOL_BYTES, SIZE, move_pool_bytes,
            "bytes a second, all together"),
    SETTING("balance_percent", BALANCE_PERCENT, COUNT, balance_percent,
            "stores may differ in fullness by so much"),
#undef SETTING
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static uint64_t setting_get(const struct setting *setting, const struct iomesh_settings *from)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;
    const char *at = (const char *)from + setting->offset;
    if (setting->kind != SETTING_COUNT) {
        memcpy(&wide, at, sizeof wide);
        return wide;
    }
    memcpy(&narrow, at, sizeof narrow);
    return narrow;
}

static void setting_put(const struct setting *setting, struct iomesh_settings *to, uint64_t value)
{
    char *at = (char *)to + setting->offset;
    const uint32_t narrow = (uint32_t)value;
    if (setting->kind == SETTING_COUNT)
        memcpy(at, &narrow, sizeof narrow);
    else
        memcpy(at, &value, sizeof value);
}

/* --- Showing ------------------------------------------------------------------------------- */

static const char *setting_text(const struct setting *setting, uint64_t value, char to[TEXT_BYTES])
{
    if (value == 0)
        snprintf(to, TEXT_BYTES, "no limit");
    if (value == 0)
        return to;
    if (setting->kind == SETTING_TIME)
        return text_duration(value, to);
    if (setting->kind == SETTING_SIZE)
        return text_size(value, to);
    snprintf(to, TEXT_BYTES, "%llu", (unsigned long long)value);
    return to;
}

static int show_json(const struct command *command, const struct iomesh_settings *set,
                     const struct iomesh_settings *used)
{
    json_t *root = json_object();
    for (unsigned i = 0; i < SETTINGS; i++) {
        const struct setting *setting = &settings[i];
        char name[TEXT_BYTES];
        snprintf(name, sizeof name, "%s%s", setting->name,
                 setting->kind == SETTING_TIME   ? "_ns"
                 : setting->kind == SETTING_SIZE ? "_bytes"
                                                 : "");
        json_object_set_new(root, name,
                            json_pack("{s:o, s:b}", "value",
                                      json_number(setting_get(setting, used)), "set",
                                      setting_get(setting, set) != 0));
    }
    return json_out(command,
                    json_pack("{s:o, s:o}", "pool", json_text(command->pool), "settings", root));
}

int run_pool_show(struct target *target)
{
    struct iomesh_settings set = {.size = sizeof set};
    struct iomesh_settings used = {.size = sizeof used};
    int result = iomesh_settings_get(target->pool, &set, &used);
    if (result != 0)
        return target_fail(target, result);
    if (target->command->json)
        return show_json(target->command, &set, &used);
    static const char *const head[] = {"SETTING", "VALUE", "", "WHAT"};
    struct table table = {.column_count = 4, .right = 1u << 1};
    table_add(&table, head);
    for (unsigned i = 0; i < SETTINGS; i++) {
        char value[TEXT_BYTES];
        const char *const cells[] = {
            settings[i].name, setting_text(&settings[i], setting_get(&settings[i], &used), value),
            setting_get(&settings[i], &set) != 0 ? "set" : "as built", settings[i].help};
        table_add(&table, cells);
    }
    const bool whole = !table.failed;
    if (whole)
        table_print(&table, stdout);
    table_done(&table);
    return whole ? 0 : target_complain(target, "no memory for the answer");
}

/* --- Setting ------------------------------------------------------------------------------- */

/* NULL, or a sentence. */
static const char *setting_value(const struct setting *setting, const char *text, uint64_t *ret)
{
    if (strcmp(text, "default") == 0) {
        *ret = 0;
        return NULL;
    }
    if (setting->kind == SETTING_TIME)
        return text_time_read(text, ret) && *ret > 0
                   ? NULL
                   : "is not a time: 250ms, 2s, 10m, 1h, 2d, or default";
    if (setting->kind == SETTING_SIZE)
        return options_size(text, ret) && *ret > 0
                   ? NULL
                   : "is not a size: a whole number, K, M, G or T behind it, or default";
    return options_number(text, 1, UINT32_MAX, ret) ? NULL : "is not a number, or default";
}

/* 0, or 2 after a sentence. */
static int setting_read(const struct target *target, const char *word, struct iomesh_settings *to,
                        uint32_t *which)
{
    const size_t length = strcspn(word, "=");
    for (unsigned i = 0; i < SETTINGS; i++) {
        uint64_t value = 0;
        if (strlen(settings[i].name) != length || memcmp(settings[i].name, word, length) != 0)
            continue;
        const char *sentence = word[length] == '\0'
                                   ? "needs a value: KEY=VALUE"
                                   : setting_value(&settings[i], word + length + 1, &value);
        if (sentence != NULL) {
            (void)target_complain(target, "%s: %s", word, sentence);
            return 2;
        }
        setting_put(&settings[i], to, value);
        *which |= settings[i].which;
        return 0;
    }
    (void)target_complain(target, "%s: there is no such setting; pool show tells them", word);
    return 2;
}

int run_pool_set(struct target *target)
{
    const struct command *command = target->command;
    struct iomesh_settings wanted = IOMESH_SETTINGS_INIT;
    uint32_t which = 0;
    for (unsigned i = 0; i < command->argument_count; i++) {
        int status = setting_read(target, command->arguments[i], &wanted, &which);
        if (status != 0)
            return status;
    }
    int result = iomesh_settings_set_sync(target->pool, &wanted, which);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command,
                        json_pack("{s:o, s:b}", "pool", json_text(command->pool), "changed", 1));
    printf("changed; pool show tells what is in use\n");
    return 0;
}
