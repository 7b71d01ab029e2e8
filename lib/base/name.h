/* SPDX-License-Identifier: Apache-2.0 */
/* Names that people give: 1 to 128 bytes of UTF-8 without '/', '@' and control characters. */
#ifndef BASE_NAME_H
#define BASE_NAME_H

#include <stddef.h>

#define NAME_BYTES_MAX 128u

/*
 * Is this a name? `what` is whose, for the sentence: "volume", "snapshot".
 * 0, or -EINVAL with a sentence that says what is wrong and where.
 */
int name_check(const char *what, const void *name, size_t length);

#endif
