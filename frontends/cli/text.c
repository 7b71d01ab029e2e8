/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <iomesh/stat.h>
#include <iomesh/store.h>

#include "common/options.h"

const char *text_size(uint64_t bytes, char to[TEXT_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    while (unit < 6 && bytes >> (10 * (unit + 1)) != 0)
        unit++;
    unsigned shift = 10 * unit;
    uint64_t whole = bytes >> shift;
    uint64_t tenths =
        unit == 0 ? 0 : ((bytes & ((UINT64_C(1) << shift) - 1)) >> (shift - 10)) * 10 >> 10;
    if (tenths == 0)
        snprintf(to, TEXT_BYTES, "%llu %s", (unsigned long long)whole, units[unit]);
    else
        snprintf(to, TEXT_BYTES, "%llu.%llu %s", (unsigned long long)whole,
                 (unsigned long long)tenths, units[unit]);
    return to;
}

const char *text_time(uint64_t ns_since_1970, char to[TEXT_BYTES])
{
    const time_t seconds = (time_t)(ns_since_1970 / 1000000000u);
    struct tm parts;
    if (ns_since_1970 == 0 || gmtime_r(&seconds, &parts) == NULL ||
        strftime(to, TEXT_BYTES, "%Y-%m-%d %H:%M:%SZ", &parts) == 0)
        snprintf(to, TEXT_BYTES, "never");
    return to;
}

const char *text_duration(uint64_t ns, char to[TEXT_BYTES])
{
    const unsigned long long ms = ns / 1000000u;
    const unsigned long long s = ms / 1000;
    if (s >= 86400)
        snprintf(to, TEXT_BYTES, "%llu d %llu h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        snprintf(to, TEXT_BYTES, "%llu h %llu min", s / 3600, s / 60 % 60);
    else if (s >= 120)
        snprintf(to, TEXT_BYTES, "%llu min", s / 60);
    else if (s >= 1)
        snprintf(to, TEXT_BYTES, "%llu s", s);
    else
        snprintf(to, TEXT_BYTES, "%llu ms", ms);
    return to;
}

static const char *const classes[] = {
    [IOMESH_CLASS_NVME] = "nvme", [IOMESH_CLASS_SSD] = "ssd", [IOMESH_CLASS_HDD] = "hdd"};

static const char *pick(const char *const *from, size_t count, uint32_t index)
{
    return index < count && from[index] != NULL ? from[index] : "unknown";
}

const char *text_class(uint32_t device_class)
{
    return pick(classes, sizeof classes / sizeof *classes, device_class);
}

const char *text_state(uint32_t state)
{
    static const char *const states[] = {[IOMESH_POOL_HEALTHY] = "healthy",
                                         [IOMESH_POOL_DAMAGED] = "damaged",
                                         [IOMESH_POOL_IS_READ_ONLY] = "read-only",
                                         [IOMESH_POOL_FAILED] = "failed"};
    return pick(states, sizeof states / sizeof *states, state);
}

const char *text_fault(uint32_t kind)
{
    static const char *const kinds[] = {
        [IOMESH_FAULT_UNREADABLE] = "unreadable", [IOMESH_FAULT_CHECKSUM] = "checksum",
        [IOMESH_FAULT_SPACE] = "space",           [IOMESH_FAULT_STRUCTURE] = "structure",
        [IOMESH_FAULT_METADATA] = "metadata",     [IOMESH_FAULT_OTHER] = "other"};
    return pick(kinds, sizeof kinds / sizeof *kinds, kind);
}

const char *text_store_state(uint32_t state)
{
    static const char *const states[] = {
        [IOMESH_STORE_UP] = "up", [IOMESH_STORE_DRAINING] = "draining", [IOMESH_STORE_OUT] = "out"};
    return pick(states, sizeof states / sizeof *states, state);
}

const char *text_copy_state(uint32_t state)
{
    static const char *const states[] = {[IOMESH_COPY_IN_SYNC] = "in sync",
                                         [IOMESH_COPY_STALE] = "stale",
                                         [IOMESH_COPY_CATCHING_UP] = "catching up"};
    return pick(states, sizeof states / sizeof *states, state);
}

const char *text_reason(uint32_t reason)
{
    static const char *const reasons[] = {
        [IOMESH_REASON_NONE] = "none",         [IOMESH_REASON_SILENT] = "silent",
        [IOMESH_REASON_REFUSED] = "refused",   [IOMESH_REASON_FAILED] = "failed",
        [IOMESH_REASON_FULL] = "full",         [IOMESH_REASON_RESTARTED] = "restarted",
        [IOMESH_REASON_SLOW] = "slow",         [IOMESH_REASON_DAMAGED] = "damaged",
        [IOMESH_REASON_OPERATOR] = "operator", [IOMESH_REASON_MOVED] = "moved"};
    return pick(reasons, sizeof reasons / sizeof *reasons, reason);
}

const char *text_health(uint32_t health)
{
    static const char *const healths[] = {[IOMESH_HEALTH_WELL] = "well",
                                          [IOMESH_HEALTH_BUSY] = "busy",
                                          [IOMESH_HEALTH_DEGRADED] = "degraded",
                                          [IOMESH_HEALTH_STOPPED] = "stopped"};
    return pick(healths, sizeof healths / sizeof *healths, health);
}

const char *text_fact(uint32_t kind)
{
    static const char *const kinds[] = {[IOMESH_FACT_UNREACHABLE] = "unreachable",
                                        [IOMESH_FACT_PAUSED] = "paused",
                                        [IOMESH_FACT_HELD] = "held",
                                        [IOMESH_FACT_STALE] = "stale",
                                        [IOMESH_FACT_SHORT] = "short",
                                        [IOMESH_FACT_SILENT] = "silent",
                                        [IOMESH_FACT_FULL] = "full",
                                        [IOMESH_FACT_DRAINING] = "draining",
                                        [IOMESH_FACT_BALANCING] = "balancing",
                                        [IOMESH_FACT_DELETING] = "deleting",
                                        [IOMESH_FACT_FAILED] = "failed",
                                        [IOMESH_FACT_NO_STORES] = "no stores",
                                        [IOMESH_FACT_METADATA] = "metadata",
                                        [IOMESH_FACT_MEMBER] = "etcd member",
                                        [IOMESH_FACT_NO_KEEPER] = "no keeper"};
    return pick(kinds, sizeof kinds / sizeof *kinds, kind);
}

bool text_time_read(const char *text, uint64_t *ret_ns)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {{"ms", 1000000u},
                 {"s", 1000000000u},
                 {"m", 60 * 1000000000ull},
                 {"h", 3600 * 1000000000ull},
                 {"d", 86400 * 1000000000ull}};
    size_t digits = strspn(text, "0123456789");
    char number[TEXT_BYTES];
    uint64_t value = 0;
    if (digits == 0 || digits >= sizeof number)
        return false;
    memcpy(number, text, digits);
    number[digits] = '\0';
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(units[i].unit, text + digits) != 0)
            continue;
        if (!options_number(number, 0, UINT64_MAX / units[i].ns, &value))
            return false;
        *ret_ns = value * units[i].ns;
        return true;
    }
    return false;
}

void text_uuid(const uint8_t uuid[16], char to[TEXT_BYTES])
{
    size_t length = 0;
    for (unsigned i = 0; i < 16; i++)
        length += (size_t)snprintf(to + length, TEXT_BYTES - length, "%s%02x",
                                   i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

/* --- A device ------------------------------------------------------------------------------ */

static const char *device_class(const char *word, struct iomesh_device *device)
{
    if (strncmp(word, "class=", 6) != 0)
        return "after the comma only class=nvme, class=ssd or class=hdd may stand";
    for (uint32_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (strcmp(word + 6, classes[i]) == 0) {
            device->device_class = i;
            return NULL;
        }
    }
    return "its class is none of nvme, ssd, hdd";
}

const char *text_device(char *text, struct iomesh_device *ret_device)
{
    struct iomesh_device device = IOMESH_DEVICE_INIT;
    device.path = text;
    char *comma = strrchr(text, ',');
    if (comma != NULL && access(text, F_OK) != 0) {
        const char *sentence = device_class(comma + 1, &device);
        if (sentence != NULL)
            return sentence;
        *comma = '\0';
    }
    char *colon = strrchr(text, ':');
    if (colon != NULL && access(text, F_OK) != 0) {
        if (!options_size(colon + 1, &device.bytes))
            return "what follows the colon is not a size: a whole number, K, M, G or T behind it";
        if (device.bytes == 0)
            return "its size is zero";
        *colon = '\0';
    }
    if (text[0] == '\0')
        return "its path is empty";
    *ret_device = device;
    return NULL;
}

/* --- Tables -------------------------------------------------------------------------------- */

/* Characters of UTF-8: the bytes that do not go on with one. */
static int width(const char *cell)
{
    int count = 0;
    for (; *cell != '\0'; cell++)
        count += ((unsigned char)*cell & 0xc0) != 0x80;
    return count;
}

void table_add(struct table *table, const char *const *cells)
{
    if (table->row_count == table->row_max) {
        size_t count = table->row_max == 0 ? 16 : 2 * table->row_max;
        char ***rows = realloc(table->rows, count * sizeof *rows);
        if (rows == NULL) {
            table->failed = 1;
            return;
        }
        table->rows = rows;
        table->row_max = count;
    }
    char **row = calloc(table->column_count, sizeof *row);
    if (row == NULL) {
        table->failed = 1;
        return;
    }
    table->rows[table->row_count++] = row;
    for (unsigned i = 0; i < table->column_count; i++)
        if ((row[i] = strdup(cells[i])) == NULL)
            table->failed = 1;
}

void table_print(const struct table *table, FILE *out)
{
    int widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t row = 0; row < table->row_count; row++)
        for (unsigned i = 0; i < table->column_count; i++)
            if (width(table->rows[row][i]) > widths[i])
                widths[i] = width(table->rows[row][i]);
    for (size_t row = 0; row < table->row_count; row++) {
        for (unsigned i = 0; i < table->column_count; i++) {
            const char *cell = table->rows[row][i];
            int gap = widths[i] - width(cell);
            bool last = i + 1 == table->column_count;
            if (table->right & 1u << i)
                fprintf(out, "%*s%s%s", gap, "", cell, last ? "\n" : "  ");
            else
                fprintf(out, "%s%*s", cell, last ? 0 : gap + 2, "");
            if (last && !(table->right & 1u << i))
                fputc('\n', out);
        }
    }
}

void table_done(struct table *table)
{
    for (size_t row = 0; row < table->row_count; row++) {
        for (unsigned i = 0; i < table->column_count; i++)
            free(table->rows[row][i]);
        free(table->rows[row]);
    }
    free(table->rows);
    *table = (struct table){0};
}
