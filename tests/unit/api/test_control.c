/* SPDX-License-Identifier: Apache-2.0 */
/* Asking an owner that does not answer. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <iomesh/sys/control.h>

#include "api/control.h"
#include "unit/api/pool.h"

TestSuite(api_control, .init = place_make, .fini = place_remove);

static void read_all(int fd, uint8_t *bytes, size_t length)
{
    for (size_t got = 0; got < length;) {
        ssize_t count = read(fd, bytes + got, length - got);
        if (count <= 0)
            _exit(1);
        got += (size_t)count;
    }
}

/* Answers the question whether it is there, and nothing after that. */
static void own(int listener)
{
    int fd = accept(listener, NULL, NULL);
    uint8_t head[CONTROL_FRAME_BYTES];
    uint8_t body[CONTROL_REQUEST_BYTES_MAX];
    uint32_t length;
    struct control_request request = {0};
    read_all(fd, head, sizeof head);
    if (control_frame_decode(head, sizeof body, &length) != 0)
        _exit(1);
    read_all(fd, body, length);
    if (control_request_decode(body, length, &request) != 0)
        _exit(1);
    struct control_response response = {.id = request.id, .process = 7, .has_status = true};
    struct control_bytes bytes;
    if (control_response_encode(&response, &bytes) != 0 ||
        write(fd, bytes.bytes, bytes.length) != (ssize_t)bytes.length)
        _exit(1);
    for (;;)
        (void)pause();
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

Test(api_control, an_owner_that_does_not_answer_is_given_up_and_the_outcome_is_unknown,
     .timeout = 20)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cr_assert_eq(mkdir(directory, 0700), 0);
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", directory);
    cr_assert_lt(length, (int)sizeof address.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(listener, 4), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        own(listener);
    }
    engine_start();
    struct iomesh_control *control = NULL;
    OK(iomesh_control_open(engine, url, &control));
    cr_expect_eq(iomesh_control_process(control), 7);
    api_control_limit(control, 300000000);
    double began = seconds();
    REFUSED(iomesh_control_volume_delete(control, "v"), IOMESH_UNKNOWN);
    double took = seconds() - began;
    cr_expect(took > 0.25 && took < 5, "%.3f s", took);
    cr_expect(strstr(iomesh_last_error(), "does not answer") != NULL, "%s", iomesh_last_error());
    REFUSED(iomesh_control_volume_delete(control, "v"), -ENOTCONN);
    iomesh_control_close(control);
    OK(iomesh_engine_close(engine));
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    close(listener);
}
