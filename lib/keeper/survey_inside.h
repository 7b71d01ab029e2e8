/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of survey share. */
#ifndef KEEPER_SURVEY_INSIDE_H
#define KEEPER_SURVEY_INSIDE_H

#include "keeper/survey.h"

#define SURVEY_GROUPS_MAX 65536u /* Of a volume: as their numbers go. */

void survey_end(struct survey *survey, int result);
/* One entry of each kind of list: 0, or what ends the survey. */
int survey_session(struct survey *survey, const struct meta_entry *entry);
int survey_wish(struct survey *survey, const struct meta_entry *entry);
int survey_progress(struct survey *survey, const struct meta_entry *entry);
int survey_idle_add(struct survey *survey, uint64_t volume);
bool survey_lives(const struct survey *survey, uint64_t session);
/* The stores are told. */
int survey_plan(struct survey *survey);
/* The group of survey->volume. */
void survey_group(struct survey *survey, const struct metadata_group *group);

#endif
