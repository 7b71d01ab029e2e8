/* SPDX-License-Identifier: Apache-2.0 */
#include "fault/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAULTS_MAX 5000u
#define FAULTS_EACH 8u  /* In a run that takes steps. */
#define SECONDS_MAX 60u /* A run that hangs is a fault too. */

static enum fault_verdict fault_fork(const struct fault_plan *plan, uint64_t n)
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        (void)alarm(SECONDS_MAX);
        enum fault_verdict verdict = plan->run(plan, n);
        if (verdict == FAULT_BROKE)
            printf("  %s\n", plan->wrong);
        (void)fflush(stdout);
        _exit((int)verdict);
    }
    int status = 0;
    (void)waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == FAULT_HELD)
        return FAULT_HELD;
    if (WIFEXITED(status) && WEXITSTATUS(status) == FAULT_NOT_FIRED)
        return FAULT_NOT_FIRED;
    if (WIFSIGNALED(status))
        printf("  died of signal %d\n", WTERMSIG(status));
    printf("FAILED: %s, %s, disk %u, request %llu\n", plan->operation_name, plan->fault_name,
           plan->disk, (unsigned long long)n);
    return FAULT_BROKE;
}

/* Each of the first few, then one in so many. */
static uint64_t fault_step(uint64_t n)
{
    const char *step = getenv("IOMESH_FAULT_STEP");
    return step == NULL || n < FAULTS_EACH ? 1 : strtoull(step, NULL, 10);
}

bool fault_each(const struct fault_plan *plan, uint64_t *fired)
{
    uint64_t first = plan->only != 0 ? plan->only : 1;
    uint64_t last = plan->only != 0 ? plan->only : FAULTS_MAX;
    for (uint64_t n = first; n <= last; n += fault_step(n)) {
        enum fault_verdict verdict = fault_fork(plan, n);
        if (verdict != FAULT_HELD)
            return verdict == FAULT_NOT_FIRED;
        ++*fired;
    }
    return true;
}
