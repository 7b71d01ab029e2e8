/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs as text: 32 hexadecimal digits in five groups. */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_BYTES 16u
#define UUID_TEXT_BYTES 37u /* With the zero at the end. */

/* False: it is no UUID. Large and small letters; a newline at the end is fine. */
bool uuid_parse(const char *text, uint8_t ret_uuid[UUID_BYTES]);
void uuid_print(const uint8_t uuid[UUID_BYTES], char text[UUID_TEXT_BYTES]);
/* All zeros: none. */
bool uuid_is_none(const uint8_t uuid[UUID_BYTES]);

#endif
