/* SPDX-License-Identifier: Apache-2.0 */
/* Between a client and one member: passes bytes on until it was told to stop. */
#ifndef TEST_META_ETCD_PROXY_H
#define TEST_META_ETCD_PROXY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum proxy_cut {
    PROXY_CLOSE,  /* Both ends see the connection closed, */
    PROXY_RESET,  /* or reset, */
    PROXY_FREEZE, /* or nothing, for ever. */
};

struct proxy {
    unsigned port;
    unsigned target;
    int listener;
    int bell;
    pthread_t thread;
    pthread_mutex_t mutex;
    bool stop;

    /* Of the next connection, and of none after it: at so many bytes up (from the client) or down;
     * UINT64_MAX: never. */
    uint64_t cut_up;
    uint64_t cut_down;
    enum proxy_cut cut;
    bool refuse;       /* Every connection, those that are there included. */
    unsigned delay_ms; /* Of every piece. */
    /* What the newest connection has passed on. */
    uint64_t up;
    uint64_t down;
    unsigned connections;
};

void proxy_start(struct proxy *proxy, unsigned target);
void proxy_stop(struct proxy *proxy);
void proxy_cut_next(struct proxy *proxy, uint64_t up, uint64_t down, enum proxy_cut cut);
void proxy_refuse(struct proxy *proxy, bool refuse);
void proxy_delay(struct proxy *proxy, unsigned delay_ms);
void proxy_passed(struct proxy *proxy, uint64_t *ret_up, uint64_t *ret_down);

#endif
