/* SPDX-License-Identifier: Apache-2.0 */
/* What a device or file holds already, by the marks that file systems, tables of partitions, volume
 * managers and RAID leave anywhere on it. Blocks; the one who calls has claimed the device. */
#ifndef API_CONTENTS_H
#define API_CONTENTS_H

/* 0, or -EEXIST with a sentence that names what was found; -EIO, -ENOMEM. */
int contents_refuse(const char *path);
/* Wipes the marks of whatever is there, durably: a copy of one at the end of a device, left alone,
 * would have it assembled behind our back. 0, or an error with a sentence. */
int contents_wipe(const char *path);

#endif
