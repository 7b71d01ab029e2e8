/* SPDX-License-Identifier: Apache-2.0 */
/* The checker of histories against a search through every order, on small histories. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "sim/history.h"

#define ROUNDS 200000u
#define OPS_MAX 9u

/* Some are what a register might have done, others are drawn. */
static size_t draw(struct prng *prng, struct history_op *ops)
{
    size_t count = 2 + prng_below(prng, OPS_MAX - 1);
    uint64_t values = 0;
    uint64_t held = 0;
    bool honest = prng_one_in(prng, 2);
    for (size_t i = 0; i < count; i++) {
        uint64_t at = honest ? 8 * (i + 1) : prng_below(prng, 40);
        struct history_op *op = &ops[i];
        *op = (struct history_op){.write = prng_one_in(prng, 2)};
        uint64_t early = prng_below(prng, 16);
        op->begun = 1 + (at > early ? at - early : 0);
        op->ended = 1 + at + prng_below(prng, 16);
        if (op->write) {
            op->value = ++values;
            held = op->value;
            if (prng_one_in(prng, 5))
                op->ended = HISTORY_NEVER;
        } else {
            op->value = honest && !prng_one_in(prng, 8) ? held : prng_below(prng, values + 1);
        }
    }
    return count;
}

int main(void)
{
    struct prng prng = {.state = 1};
    uint64_t fine = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct history_op ops[OPS_MAX + 1];
        size_t count = draw(&prng, ops);
        bool searched = history_search(ops, count);
        const struct history_op *at = NULL;
        bool checked = history_check(ops, count, &at) == HISTORY_FINE;
        fine += checked;
        if (checked == searched && checked == (at == NULL))
            continue;
        printf("round %u: zones say %d, the search says %d\n", round, checked, searched);
        for (size_t i = 0; i < count; i++)
            printf("  %s %llu [%llu, %lld]\n", ops[i].write ? "write" : "read ",
                   (unsigned long long)ops[i].value, (unsigned long long)ops[i].begun,
                   (long long)ops[i].ended);
        return 1;
    }
    printf("history: %u small histories, %llu of them linearizable: zones and search agree\n",
           ROUNDS, (unsigned long long)fine);
    return fine == 0 || fine == ROUNDS;
}
