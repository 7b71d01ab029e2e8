/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a disk, claiming it, and finding out what it is. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "uring/disk.h"

/* The directory entry of a file that was just made must survive power loss too. */
static int sync_parent(const char *path)
{
    char *parent = strdup(path);
    if (parent == NULL)
        return -ENOMEM;
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent ? 1 : 0] = '\0';
    int fd = open(slash != NULL ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(parent);
    if (fd < 0)
        return -errno;
    int result = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

static int disk_open_fd(const char *path, unsigned flags, bool *ret_made)
{
    int mode = flags & URING_DISK_READ_ONLY ? O_RDONLY : O_RDWR;
    struct stat what;
    /* O_EXCL without O_CREAT has a meaning for block devices only: nobody else has it, mounts
     * too. */
    bool exists = stat(path, &what) == 0;
    if (exists && S_ISBLK(what.st_mode))
        mode |= O_EXCL;
    if (exists && !S_ISBLK(what.st_mode) && !S_ISREG(what.st_mode))
        return FAIL(-ENOTBLK, "%s: neither a file nor a block device", path);
    if (!exists && flags & URING_DISK_CREATE)
        mode |= O_CREAT | O_EXCL;
    int fd = open(path, mode | O_DIRECT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        *ret_made = !exists;
        return fd;
    }
    int code = -errno;
    if (code == -EBUSY)
        return FAIL(IOMESH_IN_USE, "%s: in use: mounted, or held by another process", path);
    if (code == -EINVAL) {
        if (mode & O_CREAT)
            (void)unlink(path);
        return FAIL(-ENOTSUP,
                    "%s: its file system has no direct I/O: use another one, or a block device",
                    path);
    }
    return FAIL(code, "%s: cannot be opened: %s", path, strerror(-code));
}

/* The file system's word (Linux 6.1), else the larger of what disks have. */
static uint32_t file_block_bytes(const struct uring_disk *disk)
{
#ifdef STATX_DIOALIGN
    struct statx answer = {0};
    if (statx(disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) == 0 &&
        answer.stx_mask & STATX_DIOALIGN && answer.stx_dio_offset_align >= 512 &&
        answer.stx_dio_offset_align <= BLOCK_BYTES)
        return answer.stx_dio_offset_align;
#endif
    void *buffer = NULL;
    if (posix_memalign(&buffer, BLOCK_BYTES, BLOCK_BYTES) != 0)
        return BLOCK_BYTES;
    bool small = pread(disk->fd, buffer, 512, 0) >= 0;
    free(buffer);
    return small ? 512 : BLOCK_BYTES;
}

static int disk_probe_block(struct uring_disk *disk, uint64_t *ret_size)
{
    int sector = 0;
    if (ioctl(disk->fd, BLKGETSIZE64, ret_size) != 0 || ioctl(disk->fd, BLKSSZGET, &sector) != 0)
        return FAIL(-errno, "%s: does not tell its size: %s", disk->path, strerror(errno));
    if (sector < 512 || sector > (int)BLOCK_BYTES)
        return FAIL(-ENOTSUP, "%s: has sectors of %d bytes; 512 to 4096 are supported", disk->path,
                    sector);
    disk->disk.block_bytes = (uint32_t)sector;
    return 0;
}

static int disk_probe(struct uring_disk *disk, uint64_t bytes, bool made)
{
    struct stat what;
    if (fstat(disk->fd, &what) != 0)
        return FAIL(-errno, "%s: %s", disk->path, strerror(errno));
    uint64_t size = (uint64_t)what.st_size;
    disk->is_file = S_ISREG(what.st_mode);
    if (!disk->is_file) {
        int result = disk_probe_block(disk, &size);
        if (result != 0)
            return result;
    } else if (made) {
        /* The space itself is prepared ahead of its first use. */
        if (ftruncate(disk->fd, (int64_t)bytes) != 0 || fsync(disk->fd) != 0)
            return FAIL(-errno, "%s: cannot be made %llu bytes large: %s", disk->path,
                        (unsigned long long)bytes, strerror(errno));
        int result = sync_parent(disk->path);
        if (result != 0)
            return FAIL(result, "%s: its directory cannot be synced: %s", disk->path,
                        strerror(-result));
        size = bytes;
    }
    if (disk->is_file)
        disk->disk.block_bytes = file_block_bytes(disk);
    if (bytes == 0)
        bytes = size;
    if (size < bytes)
        return FAIL(-ENXIO, "%s: has %llu bytes, %llu are needed", disk->path,
                    (unsigned long long)size, (unsigned long long)bytes);
    disk->disk.size_bytes = bytes - bytes % BLOCK_BYTES;
    disk->disk.prepares = disk->is_file;
    return 0;
}

static int disk_claim(const struct uring_disk *disk)
{
    /* flock, not fcntl: it goes with the open file, which the ring's requests hold too. */
    if (flock(disk->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return FAIL(IOMESH_IN_USE, "%s: in use by another process", disk->path);
    return FAIL(-errno, "%s: cannot be locked: %s", disk->path, strerror(errno));
}

static void disk_register(struct uring_disk *disk)
{
    struct uring *uring = disk->uring;
    disk->slot = -1;
    for (unsigned i = 0; uring->files_registered && i < URING_FILES_MAX; i++) {
        if (uring->file_used[i])
            continue;
        if (io_uring_register_files_update(&uring->ring, i, &disk->fd, 1) == 1) {
            uring->file_used[i] = true;
            disk->slot = (int)i;
        }
        return;
    }
}

static void disk_free(struct uring_disk *disk)
{
    if (disk->fd >= 0)
        close(disk->fd);
    free(disk->path);
    free(disk);
}

int uring_disk_open(struct uring *uring, const char *path, uint64_t bytes, unsigned flags,
                    struct disk **ret_disk)
{
    struct uring_disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL)
        return FAIL(-ENOMEM, "%s: no memory", path);
    disk->uring = uring;
    disk->disk.ops = &uring_disk_ops;
    disk->fd = -1;
    list_init(&disk->discards);
    disk->path = strdup(path);
    if (disk->path == NULL) {
        disk_free(disk);
        return FAIL(-ENOMEM, "%s: no memory", path);
    }
    disk->disk.name = disk->path;
    bool made = false;
    int result = disk_open_fd(path, flags, &made);
    if (result >= 0) {
        disk->fd = result;
        result = disk_claim(disk);
        if (result == 0)
            result = disk_probe(disk, bytes, made);
        if (result != 0 && made)
            (void)unlink(path);
    }
    if (result != 0) {
        disk_free(disk);
        return result;
    }
    disk_register(disk);
    uring->open_count++;
    *ret_disk = &disk->disk;
    return 0;
}

void uring_disk_close(struct disk *disk)
{
    if (disk == NULL)
        return;
    struct uring_disk *real = uring_disk_of(disk);
    struct uring *uring = real->uring;
    assert(list_empty(&real->discards));
    if (real->slot >= 0) {
        int none = -1;
        (void)io_uring_register_files_update(&uring->ring, (unsigned)real->slot, &none, 1);
        uring->file_used[real->slot] = false;
    }
    /* The ring may let its own reference go a little later: the claim must not last as long. */
    (void)flock(real->fd, LOCK_UN);
    uring->open_count--;
    disk_free(real);
}

bool uring_disk_is_file(const struct disk *disk)
{
    return uring_disk_of(disk)->is_file;
}
