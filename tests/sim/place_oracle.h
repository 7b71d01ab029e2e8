/* SPDX-License-Identifier: Apache-2.0 */
/* What placement promises, looked at the slow way, from the stores alone. */
#ifndef SIM_PLACE_ORACLE_H
#define SIM_PLACE_ORACLE_H

#include "sim/crowd.h"

/* How many domains of the level have a store that may be chosen. */
uint32_t oracle_fit(const struct crowd *crowd, enum place_level level, uint32_t media);

/* NULL, or what is wrong with where the copies of a group were placed. `kept`: of the members, the
 * first so many were there before, and are not judged. */
const char *oracle_judge(const struct crowd *crowd, const struct place_request *request,
                         const uint64_t *members, uint32_t member_count, uint32_t kept);

#endif
