/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd_proxy.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LANES_MAX 8u

/* One connection: [0] the client's end, [1] the member's. */
struct lane {
    int fds[2];
    uint64_t passed[2]; /* From [0], from [1]. */
    uint64_t cut_at[2];
    enum proxy_cut cut;
    bool frozen;
    bool newest;
};

static struct sockaddr_in loopback(unsigned port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static void lane_close(struct lane *lane, bool reset)
{
    struct linger linger = {.l_onoff = 1};
    for (unsigned i = 0; i < 2; i++) {
        if (reset)
            (void)setsockopt(lane->fds[i], SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        close(lane->fds[i]);
        lane->fds[i] = -1;
    }
}

static void lane_open(struct proxy *proxy, struct lane lanes[LANES_MAX])
{
    struct sockaddr_in to = loopback(proxy->target);
    int client = accept(proxy->listener, NULL, NULL);
    if (client < 0)
        return;
    unsigned free_lane = 0;
    for (unsigned i = 0; i < LANES_MAX; i++)
        if (lanes[i].frozen && lanes[i].fds[0] >= 0 && i % 2 == proxy->connections % 2)
            lane_close(&lanes[i], false); /* Long forgotten at the other end. */
    while (free_lane < LANES_MAX && lanes[free_lane].fds[0] >= 0)
        free_lane++;
    int member = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (proxy->refuse || free_lane == LANES_MAX ||
        connect(member, (struct sockaddr *)&to, sizeof to) != 0) {
        close(client);
        close(member);
        return;
    }
    for (unsigned i = 0; i < LANES_MAX; i++)
        lanes[i].newest = false;
    lanes[free_lane] = (struct lane){
        .fds = {client, member},
        .cut_at = {proxy->cut_up, proxy->cut_down},
        .cut = proxy->cut,
        .newest = true,
    };
    proxy->cut_up = proxy->cut_down = UINT64_MAX;
    proxy->up = proxy->down = 0;
    proxy->connections++;
}

/* Passes on what one end says, up to where it is cut. */
static void lane_pass(struct proxy *proxy, struct lane *lane, unsigned from)
{
    char data[16384];
    uint64_t left = lane->cut_at[from] - lane->passed[from];
    size_t room = left < sizeof data ? (size_t)left : sizeof data;
    ssize_t got = room == 0 ? 0 : recv(lane->fds[from], data, room, MSG_DONTWAIT);
    if (got < 0)
        return;
    if (got == 0 && room > 0) {
        lane_close(lane, false);
        return;
    }
    if (proxy->delay_ms > 0)
        usleep(proxy->delay_ms * 1000);
    if (got > 0 && send(lane->fds[1 - from], data, (size_t)got, MSG_NOSIGNAL) != got) {
        lane_close(lane, false);
        return;
    }
    lane->passed[from] += (uint64_t)got;
    if (lane->newest) {
        proxy->up = lane->passed[0];
        proxy->down = lane->passed[1];
    }
    if (lane->passed[from] < lane->cut_at[from])
        return;
    if (lane->cut == PROXY_FREEZE)
        lane->frozen = true;
    else
        lane_close(lane, lane->cut == PROXY_RESET);
}

static void turn(struct proxy *proxy, struct lane lanes[LANES_MAX])
{
    struct pollfd fds[2 + 2 * LANES_MAX] = {
        {.fd = proxy->bell, .events = POLLIN},
        {.fd = proxy->listener, .events = POLLIN},
    };
    for (unsigned i = 0; i < LANES_MAX; i++)
        for (unsigned side = 0; side < 2; side++)
            fds[2 + 2 * i + side] =
                (struct pollfd){.fd = lanes[i].frozen ? -1 : lanes[i].fds[side], .events = POLLIN};
    pthread_mutex_unlock(&proxy->mutex);
    poll(fds, 2 + 2 * LANES_MAX, 1000);
    pthread_mutex_lock(&proxy->mutex);
    uint64_t rings;
    if (fds[0].revents != 0 && read(proxy->bell, &rings, sizeof rings) < 0)
        abort();
    for (unsigned i = 0; i < 2 * LANES_MAX; i++)
        if (fds[2 + i].revents != 0 && lanes[i / 2].fds[0] >= 0 && !lanes[i / 2].frozen)
            lane_pass(proxy, &lanes[i / 2], i % 2);
    if (fds[1].revents != 0)
        lane_open(proxy, lanes);
}

static void *run(void *context)
{
    struct proxy *proxy = context;
    struct lane lanes[LANES_MAX];
    for (unsigned i = 0; i < LANES_MAX; i++)
        lanes[i] = (struct lane){.fds = {-1, -1}};
    pthread_mutex_lock(&proxy->mutex);
    while (!proxy->stop) {
        turn(proxy, lanes);
        for (unsigned i = 0; proxy->refuse && i < LANES_MAX; i++)
            if (lanes[i].fds[0] >= 0)
                lane_close(&lanes[i], false);
    }
    pthread_mutex_unlock(&proxy->mutex);
    for (unsigned i = 0; i < LANES_MAX; i++)
        if (lanes[i].fds[0] >= 0)
            lane_close(&lanes[i], false);
    return NULL;
}

static void ring(struct proxy *proxy)
{
    uint64_t one = 1;
    if (write(proxy->bell, &one, sizeof one) < 0)
        abort();
}

void proxy_start(struct proxy *proxy, unsigned target)
{
    struct sockaddr_in here = loopback(0);
    socklen_t length = sizeof here;
    *proxy = (struct proxy){.target = target, .cut_up = UINT64_MAX, .cut_down = UINT64_MAX};
    proxy->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(proxy->listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(proxy->listener, 16) != 0 ||
        getsockname(proxy->listener, (struct sockaddr *)&here, &length) != 0)
        abort();
    proxy->port = ntohs(here.sin_port);
    pthread_mutex_init(&proxy->mutex, NULL);
    if (pthread_create(&proxy->thread, NULL, run, proxy) != 0)
        abort();
}

void proxy_stop(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->mutex);
    proxy->stop = true;
    pthread_mutex_unlock(&proxy->mutex);
    ring(proxy);
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
    close(proxy->bell);
    pthread_mutex_destroy(&proxy->mutex);
}

void proxy_cut_next(struct proxy *proxy, uint64_t up, uint64_t down, enum proxy_cut cut)
{
    pthread_mutex_lock(&proxy->mutex);
    proxy->cut_up = up;
    proxy->cut_down = down;
    proxy->cut = cut;
    pthread_mutex_unlock(&proxy->mutex);
}

void proxy_refuse(struct proxy *proxy, bool refuse)
{
    pthread_mutex_lock(&proxy->mutex);
    proxy->refuse = refuse;
    pthread_mutex_unlock(&proxy->mutex);
    ring(proxy);
}

void proxy_delay(struct proxy *proxy, unsigned delay_ms)
{
    pthread_mutex_lock(&proxy->mutex);
    proxy->delay_ms = delay_ms;
    pthread_mutex_unlock(&proxy->mutex);
}

void proxy_passed(struct proxy *proxy, uint64_t *ret_up, uint64_t *ret_down)
{
    pthread_mutex_lock(&proxy->mutex);
    *ret_up = proxy->up;
    *ret_down = proxy->down;
    pthread_mutex_unlock(&proxy->mutex);
}
