/* SPDX-License-Identifier: Apache-2.0 */
/* Real etcd, one member or several, on loopback and in a directory of its own. */
#ifndef TEST_META_ETCD_SERVER_H
#define TEST_META_ETCD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ETCD_MEMBERS_MAX 3u

struct etcd_server {
    char directory[64];
    unsigned count;
    unsigned quota_bytes; /* 0: etcd's own. Set it, and start again with etcd_server_restart(). */
    bool tls;             /* Of clients: ca.pem, client.pem and client.key are in the directory. */
    pid_t pids[ETCD_MEMBERS_MAX];
    unsigned ports[ETCD_MEMBERS_MAX];
    unsigned peers[ETCD_MEMBERS_MAX];
};

/* False, with a word on standard error, if it cannot be had. Ready when it returns. */
bool etcd_server_start(struct etcd_server *server, unsigned count, bool tls);
void etcd_server_stop(struct etcd_server *server);
/* A signal to one of them. SIGKILL waits for its end. */
void etcd_server_signal(struct etcd_server *server, unsigned member, int signal);
/* A member that was killed comes back with what it had. */
bool etcd_server_restart(struct etcd_server *server, unsigned member);
/* Some member answers, and there is a leader. */
bool etcd_server_ready(struct etcd_server *server);
/* Which member leads, or -1. */
int etcd_server_leader(struct etcd_server *server);
/* "etcd://127.0.0.1:1,127.0.0.1:2/POOL" + options ("" or "?..."). */
void etcd_server_url(const struct etcd_server *server, const char *pool, const char *options,
                     char *ret_url, size_t room);
/* Runs etcdctl against all members: false if it fails. */
bool etcd_server_ctl(struct etcd_server *server, const char *arguments);
/* A port of loopback that nobody has. */
unsigned etcd_free_port(void);

#endif
