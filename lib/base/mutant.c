/* SPDX-License-Identifier: Apache-2.0 */
/* Planted bugs and reached branches: compiled in only for the build that tests the storm. */
#include "base/base.h"

#ifdef IOMESH_MUTANTS
#include <string.h>

int mutant_active;

#define REACH_NAMES_MAX 256

static struct reach {
    const char *name;
    uint64_t count;
} reached[REACH_NAMES_MAX];

void reach_count(const char *name)
{
    for (size_t i = 0; i < REACH_NAMES_MAX; i++) {
        if (reached[i].name == NULL)
            reached[i].name = name;
        if (reached[i].name == name || strcmp(reached[i].name, name) == 0) {
            reached[i].count++;
            return;
        }
    }
}

void reach_each(void (*each)(void *context, const char *name, uint64_t count), void *context)
{
    for (size_t i = 0; i < REACH_NAMES_MAX && reached[i].name != NULL; i++)
        each(context, reached[i].name, reached[i].count);
}
#else
/* ISO C wants a translation unit to declare something. */
typedef int mutant_none;
#endif
