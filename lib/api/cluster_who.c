/* SPDX-License-Identifier: Apache-2.0 */
/* Who this process is in a cluster. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "api/cluster.h"
#include "tls/tls.h"

/* One text of the options. */
static int who_text(const char *what, const char *given, char to[METADATA_TEXT_ROOM])
{
    if (given == NULL)
        return 0;
    size_t length = strlen(given);
    if (length > METADATA_TEXT_BYTES_MAX)
        return FAIL(-EINVAL, "the %s of this process has %zu bytes: at most %u", what, length,
                    METADATA_TEXT_BYTES_MAX);
    memcpy(to, given, length + 1);
    return 0;
}

/* What was not said: the name of this machine, and an address that nobody had or will have. */
static void who_default(struct cluster *cluster)
{
    struct utsname names;
    if (cluster->node[0] == '\0' && uname(&names) == 0)
        (void)snprintf(cluster->node, sizeof cluster->node, "%s", names.nodename);
    if (cluster->address[0] == '\0')
        (void)snprintf(cluster->address, sizeof cluster->address, "pid:%ld:%016llx", (long)getpid(),
                       (unsigned long long)cluster->engine);
}

static int who_fill(struct cluster *cluster, const struct iomesh_pool_options *options)
{
    uint64_t random[2];
    int result = uring_random(random, sizeof random);
    if (result != 0)
        return FAIL(result, "random bytes: %s", base_error_text(result));
    cluster->engine = random[0] | 1; /* 0 is nobody. */
    cluster->seed = random[1];
    result = who_text("node", options->node, cluster->node);
    if (result == 0)
        result = who_text("address", options->address, cluster->address);
    if (result == 0)
        result = who_text("zone", options->zone, cluster->zone);
    if (result == 0)
        result = who_text("rack", options->rack, cluster->rack);
    who_default(cluster);
    return result;
}

static void net_notice(void *context, const char *sentence)
{
    const struct cluster *cluster = context;
    api_trace(cluster->pool->engine, IOMESH_SEVERITY_WARNING, IOMESH_EVENT_POOL, sentence, NULL, 0);
}

static int net_choose(struct cluster *cluster, const char *tls_directory)
{
    struct net *below = uring_net(cluster->pool->engine->uring);
    cluster->net = below;
    if (tls_directory == NULL)
        return 0;
    struct tls_options options = {
        .below = below,
        .clock = cluster->pool->clock,
        .directory = tls_directory,
        .notice = net_notice,
        .context = cluster,
    };
    int result = tls_net_open(&options, &cluster->tls);
    if (result == 0)
        cluster->net = cluster->tls;
    return result;
}

int cluster_new(struct iomesh_pool *pool, struct cluster **ret_cluster)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    if (cluster == NULL)
        return FAIL(-ENOMEM, "%s: no memory", pool->url);
    cluster->pool = pool;
    list_init(&cluster->watches);
    for (unsigned i = 0; i < CLUSTER_BUCKETS; i++)
        list_init(&cluster->stores[i]);
    int result = who_fill(cluster, &pool->options);
    if (result == 0)
        result = net_choose(cluster, pool->options.tls_directory);
    if (result != 0) {
        free(cluster);
        return result;
    }
    *ret_cluster = cluster;
    return 0;
}
