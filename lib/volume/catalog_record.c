/* SPDX-License-Identifier: Apache-2.0 */
/* Records put, and what is told. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "volume/catalog_inside.h"

int catalog_put_record(struct meta_request *request, const struct metadata_volume *record,
                       uint64_t revision)
{
    struct metadata_bytes value = {0};
    int result = metadata_volume_encode(record, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_volume_key(record->id);
    meta_if_modified(request, META_SLICE(key), revision);
    meta_put(request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return 0;
}

int catalog_put_name(struct meta_request *request, const struct metadata_volume *record)
{
    struct metadata_bytes value = {0};
    struct metadata_name name = {.volume = record->id};
    int result = metadata_name_encode(&name, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_name_key(record->name, strlen(record->name));
    if (!MUTANT(109))
        meta_if_absent(request, META_SLICE(key));
    meta_put(request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return 0;
}

void catalog_tell(const struct catalog *catalog, enum store_event_severity severity,
                  uint64_t volume_id, uint64_t bytes, const char *format, ...)
{
    if (catalog->options.event == NULL)
        return;
    char text[384];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct catalog_event event = {
        .severity = severity, .volume_id = volume_id, .bytes = bytes, .text = text};
    catalog->options.event(catalog->options.context, &event);
}

int catalog_check_name(const char *name)
{
    return name_check("volume", name, strlen(name));
}

int catalog_check_size(const char *name, uint64_t bytes)
{
    if (bytes < BLOCK_BYTES || bytes > CATALOG_BYTES_MAX || bytes % BLOCK_BYTES != 0)
        return FAIL(-EINVAL,
                    "volume \"%s\": %llu bytes: a size is 4 KiB to 64 TiB, a multiple of 4 KiB",
                    name, (unsigned long long)bytes);
    return 0;
}

void catalog_delete_groups(const struct catalog *catalog, uint64_t volume,
                           struct meta_request *request)
{
    if (!catalog_is_cluster(catalog))
        return;
    struct metadata_key groups = metadata_volume_prefix(METADATA_GROUP, volume);
    struct metadata_key maps = metadata_volume_prefix(METADATA_MAP, volume);
    struct metadata_key progress = metadata_volume_prefix(METADATA_PROGRESS, volume);
    meta_delete_prefix(request, META_SLICE(groups));
    meta_delete_prefix(request, META_SLICE(maps));
    if (!MUTANT(370))
        meta_delete_prefix(request, META_SLICE(progress)); /* Else until a session ends. */
}
