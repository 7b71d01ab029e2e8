/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, times and tables as people read them. Pure. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <iomesh/pool.h>

enum { TEXT_BYTES = 48, TABLE_COLUMNS_MAX = 8 };

/* "10 GiB", "1.5 MiB", "512 B": rounded down to a tenth. */
const char *text_size(uint64_t bytes, char to[TEXT_BYTES]);
/* "2026-11-23 01:44:54Z"; "never" for 0. */
const char *text_time(uint64_t ns_since_1970, char to[TEXT_BYTES]);
/* "3 d 4 h", "12 min", "850 ms" */
const char *text_duration(uint64_t ns, char to[TEXT_BYTES]);
/* "nvme", "ssd", "hdd" */
const char *text_class(uint32_t device_class);
const char *text_state(uint32_t state);
const char *text_fault(uint32_t kind);
/* Words of <iomesh/store.h>. */
const char *text_store_state(uint32_t state);
const char *text_copy_state(uint32_t state);
const char *text_reason(uint32_t reason);
const char *text_health(uint32_t health);
const char *text_fact(uint32_t kind);
/* "250ms", "2s", "10m", "1h", "2d". False if it is none, or does not fit. */
bool text_time_read(const char *text, uint64_t *ret_ns);
void text_uuid(const uint8_t uuid[16], char to[TEXT_BYTES]);

/* "PATH[:SIZE][,class=nvme|ssd|hdd]". NULL, or a sentence what is wrong. Cuts `text` into pieces:
 * ret_device->path points into it. A path that is there is taken as it is, colons and all. */
const char *text_device(char *text, struct iomesh_device *ret_device);

/* Rows of text, a column as wide as its widest cell: in characters, not bytes. */
struct table {
    unsigned column_count;
    uint32_t right; /* Bit n: column n is a number, at the right edge. */
    char ***rows;   /* Owned, cells too. */
    size_t row_count, row_max;
    int failed; /* 1: no memory. */
};
/* `column_count` cells; they are copied. */
void table_add(struct table *table, const char *const *cells);
/* Of a table that did not fail. */
void table_print(const struct table *table, FILE *out);
void table_done(struct table *table);

#endif
