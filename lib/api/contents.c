/* SPDX-License-Identifier: Apache-2.0 */
#include "api/contents.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

/* Marks on one device that are wiped: nothing leaves as many. */
#define MARKS_MAX 256u

struct contents {
    const char *path;
    int fd;
    blkid_probe probe;
};

static void contents_close(struct contents *contents)
{
    blkid_free_probe(contents->probe);
    if (contents->fd >= 0)
        (void)close(contents->fd);
}

static int contents_open(struct contents *contents, const char *path, int mode)
{
    *contents = (struct contents){.path = path, .probe = blkid_new_probe()};
    contents->fd = open(path, mode | O_CLOEXEC);
    int result = 0;
    if (contents->fd < 0)
        result = FAIL(-errno, "%s: cannot be opened: %s", path, strerror(errno));
    else if (contents->probe == NULL)
        result = FAIL(-ENOMEM, "%s: no memory to look what it holds", path);
    else if (blkid_probe_set_device(contents->probe, contents->fd, 0, 0) != 0)
        result = FAIL(-EIO, "%s: cannot be read", path);
    if (result != 0) {
        contents_close(contents);
        return result;
    }
    blkid_probe_enable_superblocks(contents->probe, 1);
    blkid_probe_set_superblocks_flags(contents->probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
                                                           BLKID_SUBLKS_LABEL | BLKID_SUBLKS_MAGIC);
    blkid_probe_enable_partitions(contents->probe, 1);
    blkid_probe_set_partitions_flags(contents->probe, BLKID_PARTS_MAGIC);
    return 0;
}

/* The next mark: 1, 0 if there is none, -EIO with a sentence. */
static int contents_next(const struct contents *contents)
{
    switch (blkid_do_probe(contents->probe)) {
    case 0: return 1;
    case 1: return 0;
    default: return FAIL(-EIO, "%s: what it holds cannot be read", contents->path);
    }
}

static const char *contents_value(const struct contents *contents, const char *name)
{
    const char *value = NULL;
    return blkid_probe_lookup_value(contents->probe, name, &value, NULL) == 0 ? value : NULL;
}

/* What libblkid calls it, and what kind of thing that is. */
static int contents_name(const struct contents *contents)
{
    static const char advice[] = "overwrite it if that may be lost";
    const char *table = contents_value(contents, "PTTYPE");
    if (table != NULL)
        return FAIL(-EEXIST, "%s: holds a table of partitions (%s): %s", contents->path, table,
                    advice);
    const char *type = contents_value(contents, "TYPE");
    const char *usage = contents_value(contents, "USAGE");
    const char *label = contents_value(contents, "LABEL");
    const char *what = "data";
    if (usage != NULL && strcmp(usage, "filesystem") == 0)
        what = "a file system";
    else if (usage != NULL && strcmp(usage, "raid") == 0)
        what = "a part of a RAID or volume group";
    else if (usage != NULL && strcmp(usage, "crypto") == 0)
        what = "an encrypted device";
    return FAIL(-EEXIST, "%s: holds %s (%s%s%s): %s", contents->path, what,
                type != NULL ? type : "of a kind without a name", label != NULL ? " " : "",
                label != NULL ? label : "", advice);
}

int contents_refuse(const char *path)
{
    struct contents contents;
    int result = contents_open(&contents, path, O_RDONLY);
    if (result != 0)
        return result;
    result = contents_next(&contents);
    if (result > 0)
        result = contents_name(&contents);
    contents_close(&contents);
    return result;
}

int contents_wipe(const char *path)
{
    struct contents contents;
    int result = contents_open(&contents, path, O_RDWR);
    if (result != 0)
        return result;
    bool wiped = false;
    for (unsigned i = 0; i < MARKS_MAX && (result = contents_next(&contents)) > 0; i++) {
        if (blkid_do_wipe(contents.probe, 0) != 0) {
            result = FAIL(-EIO, "%s: what it holds cannot be wiped", path);
            break;
        }
        wiped = true;
    }
    if (result >= 0 && wiped && fsync(contents.fd) != 0)
        result = FAIL(-errno, "%s: cannot be written: %s", path, strerror(errno));
    contents_close(&contents);
    return MIN(result, 0);
}
