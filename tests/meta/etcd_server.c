/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

unsigned etcd_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        abort();
    close(fd);
    return ntohs(address.sin_port);
}

/* A shell's line, in the directory of the server. */
static bool shell(const struct etcd_server *server, const char *line)
{
    char command[4096];
    (void)snprintf(command, sizeof command, "cd %s && { %s; } >>shell.log 2>&1", server->directory,
                   line);
    return system(command) == 0; /* NOLINT(cert-env33-c): a test's own words. */
}

static bool certificates(struct etcd_server *server)
{
    return shell(server,
                 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
                 "-subj /CN=ca -keyout ca.key -out ca.pem && "
                 "for who in server client; do "
                 "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$who "
                 "-keyout $who.key -out $who.csr && "
                 "printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\n' >$who.ext && "
                 "openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
                 "-days 2 -extfile $who.ext -out $who.pem || exit 1; done");
}

static void member_url(const struct etcd_server *server, unsigned member, char *ret, size_t room)
{
    (void)snprintf(ret, room, "http%s://127.0.0.1:%u", server->tls ? "s" : "",
                   server->ports[member]);
}

/* In the child: becomes a member. */
static void become(const struct etcd_server *server, unsigned member)
{
    char name[8], data[80], clients[64], peers[64], cluster[256] = "";
    char ca[96], cert[96], key[96], log[96], quota[16];
    (void)snprintf(quota, sizeof quota, "%u", server->quota_bytes);
    (void)snprintf(name, sizeof name, "m%u", member);
    (void)snprintf(data, sizeof data, "%s/m%u", server->directory, member);
    (void)snprintf(log, sizeof log, "%s/m%u.log", server->directory, member);
    member_url(server, member, clients, sizeof clients);
    (void)snprintf(peers, sizeof peers, "http://127.0.0.1:%u", server->peers[member]);
    for (unsigned i = 0; i < server->count; i++)
        (void)snprintf(cluster + strlen(cluster), sizeof cluster - strlen(cluster),
                       "%sm%u=http://127.0.0.1:%u", i > 0 ? "," : "", i, server->peers[i]);
    (void)snprintf(ca, sizeof ca, "%s/ca.pem", server->directory);
    (void)snprintf(cert, sizeof cert, "%s/server.pem", server->directory);
    (void)snprintf(key, sizeof key, "%s/server.key", server->directory);
    char *arguments[] = {"etcd",
                         "--name",
                         name,
                         "--data-dir",
                         data,
                         "--listen-client-urls",
                         clients,
                         "--advertise-client-urls",
                         clients,
                         "--listen-peer-urls",
                         peers,
                         "--initial-advertise-peer-urls",
                         peers,
                         "--initial-cluster",
                         cluster,
                         "--heartbeat-interval",
                         "20",
                         "--election-timeout",
                         "200",
                         "--log-level",
                         "error",
                         "--quota-backend-bytes",
                         quota,
                         server->tls ? "--client-cert-auth" : NULL,
                         "--trusted-ca-file",
                         ca,
                         "--cert-file",
                         cert,
                         "--key-file",
                         key,
                         NULL};
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("ETCD_UNSUPPORTED_ARCH", "arm64", 1);
    execvp("etcd", arguments);
    _exit(127);
}

bool etcd_server_restart(struct etcd_server *server, unsigned member)
{
    pid_t pid = fork();
    if (pid == 0)
        become(server, member);
    server->pids[member] = pid;
    return pid > 0;
}

void etcd_server_url(const struct etcd_server *server, const char *pool, const char *options,
                     char *ret_url, size_t room)
{
    (void)snprintf(ret_url, room, "etcd://");
    for (unsigned i = 0; i < server->count; i++)
        (void)snprintf(ret_url + strlen(ret_url), room - strlen(ret_url), "%s127.0.0.1:%u",
                       i > 0 ? "," : "", server->ports[i]);
    (void)snprintf(ret_url + strlen(ret_url), room - strlen(ret_url), "/%s%s", pool, options);
}

bool etcd_server_ctl(struct etcd_server *server, const char *arguments)
{
    char line[2048];
    char urls[256] = "";
    for (unsigned i = 0; i < server->count; i++) {
        (void)snprintf(urls + strlen(urls), sizeof urls - strlen(urls), "%s", i > 0 ? "," : "");
        member_url(server, i, urls + strlen(urls), sizeof urls - strlen(urls));
    }
    (void)snprintf(
        line, sizeof line, "ETCDCTL_API=3 timeout 5 etcdctl --endpoints %s --dial-timeout 1s %s %s",
        urls, server->tls ? "--cacert ca.pem --cert client.pem --key client.key" : "", arguments);
    return shell(server, line);
}

bool etcd_server_ready(struct etcd_server *server)
{
    for (unsigned i = 0; i < 100; i++) {
        if (etcd_server_ctl(server, "--command-timeout 1s get ready-or-not"))
            return true;
        usleep(30000);
    }
    return false;
}

int etcd_server_leader(struct etcd_server *server)
{
    char line[64];
    for (unsigned i = 0; i < server->count; i++) {
        (void)snprintf(line, sizeof line, "127.0.0.1:%u.*, true, ", server->ports[i]);
        char command[160];
        (void)snprintf(command, sizeof command, "endpoint status | grep -q '%s'", line);
        if (etcd_server_ctl(server, command))
            return (int)i;
    }
    return -1;
}

void etcd_server_signal(struct etcd_server *server, unsigned member, int signal)
{
    if (server->pids[member] <= 0)
        return;
    kill(server->pids[member], signal);
    if (signal != SIGKILL)
        return;
    waitpid(server->pids[member], NULL, 0);
    server->pids[member] = 0;
}

bool etcd_server_start(struct etcd_server *server, unsigned count, bool tls)
{
    *server = (struct etcd_server){.count = count, .tls = tls};
    (void)snprintf(server->directory, sizeof server->directory, "/tmp/iomesh-etcd-XXXXXX");
    if (mkdtemp(server->directory) == NULL || (tls && !certificates(server))) {
        (void)fprintf(stderr, "no directory, or no certificates: %s\n", server->directory);
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        server->ports[i] = etcd_free_port();
        server->peers[i] = etcd_free_port();
    }
    for (unsigned i = 0; i < count; i++)
        etcd_server_restart(server, i);
    if (etcd_server_ready(server))
        return true;
    (void)fprintf(stderr, "etcd does not begin: see %s\n", server->directory);
    return false;
}

void etcd_server_stop(struct etcd_server *server)
{
    char command[96];
    for (unsigned i = 0; i < server->count; i++)
        etcd_server_signal(server, i, SIGKILL);
    (void)snprintf(command, sizeof command, "rm -rf %s", server->directory);
    if (server->directory[0] != '\0' && system(command) != 0) /* NOLINT(cert-env33-c): its own. */
        (void)fprintf(stderr, "%s is left\n", server->directory);
    *server = (struct etcd_server){0};
}
