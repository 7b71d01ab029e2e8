/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL)
        return value;
    char *copy = strdup(text);
    if (copy == NULL)
        return NULL;
    for (char *byte = copy; *byte != '\0'; byte++)
        if ((unsigned char)*byte >= 0x80)
            *byte = '?';
    value = json_string(copy);
    free(copy);
    return value;
}

json_t *json_number(uint64_t number)
{
    return json_integer((json_int_t)number);
}

json_t *json_uuid(const uint8_t uuid[16])
{
    char text[TEXT_BYTES];
    text_uuid(uuid, text);
    return json_string(text);
}

int json_out(const struct command *command, json_t *value)
{
    const struct target target = {.command = command};
    if (value == NULL)
        return target_complain(&target, "no memory for the answer");
    bool good = json_dumpf(value, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF &&
                fflush(stdout) == 0;
    json_decref(value);
    return good ? 0 : target_complain(&target, "standard output: %s", strerror(errno));
}
