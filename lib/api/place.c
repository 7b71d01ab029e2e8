/* SPDX-License-Identifier: Apache-2.0 */
#include "api/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const place_class_names[3] = {"nvme", "ssd", "hdd"};

#define PLACE_STORE_BYTES (16ull << 30)

static char *place_join(const char *directory, const char *leaf)
{
    size_t length = strlen(directory) + 1 + strlen(leaf) + 1;
    char *path = malloc(length);
    if (path != NULL)
        (void)snprintf(path, length, "%s/%s", directory, leaf);
    return path;
}

void place_done(struct place *place)
{
    for (unsigned i = 0; i < place->device_count; i++)
        free(place->devices[i].path);
    place->device_count = 0;
    free(place->directory);
    free(place->metadata);
    free(place->control);
    *place = (struct place){0};
}

bool place_is_cluster(const char *url)
{
    return strncmp(url, "etcd:", 5) == 0;
}

int place_parse(const char *url, struct place *place)
{
    if (url == NULL || url[0] == '\0')
        return FAIL(-EINVAL, "no pool was named: say file:DIR, or etcd://HOST:PORT/NAME");
    if (place_is_cluster(url))
        return FAIL(-ENOTSUP, "%s: a cluster has no directory: what is asked for is of file:DIR",
                    url);
    if (strncmp(url, "file:", 5) != 0 || url[5] == '\0')
        return FAIL(-EINVAL, "%s: a pool is named file:DIR, or etcd://HOST:PORT/NAME", url);
    const char *directory = url + 5;
    /* file:///DIR, as URLs have it. */
    if (strncmp(directory, "///", 3) == 0)
        directory += 2;
    place->directory = strdup(directory);
    size_t length = place->directory != NULL ? strlen(place->directory) : 0;
    while (length > 1 && place->directory[length - 1] == '/')
        place->directory[--length] = '\0';
    if (place->directory != NULL) {
        place->metadata = place_join(place->directory, "meta.db");
        place->control = place_join(place->directory, "control.sock");
    }
    if (place->metadata != NULL && place->control != NULL)
        return 0;
    place_done(place);
    return FAIL(-ENOMEM, "%s: no memory", url);
}

/* --- Devices of a pool that is there ------------------------------------------------------- */

static int place_add(struct place *place, char *path, uint32_t device_class, uint64_t bytes)
{
    if (path == NULL)
        return FAIL(-ENOMEM, "%s: no memory", place->directory);
    place->devices[place->device_count++] =
        (struct place_device){.path = path, .device_class = device_class, .bytes = bytes};
    return 0;
}

/* The class that a link's name ends with, if it is the link of the device after the last one. */
static bool place_link_class(const char *name, unsigned index, uint32_t *ret_class)
{
    char wanted[32];
    for (uint32_t i = 0; i < COUNT_OF(place_class_names); i++) {
        (void)snprintf(wanted, sizeof wanted, "device.%02u.%s", index, place_class_names[i]);
        if (strcmp(name, wanted) == 0) {
            *ret_class = i;
            return true;
        }
    }
    return false;
}

static int place_find_link(struct place *place)
{
    DIR *directory = opendir(place->directory);
    if (directory == NULL)
        return FAIL(-errno, "%s: %s", place->directory, strerror(errno));
    int result = -ENOENT;
    const struct dirent *entry;
    while (result == -ENOENT && (entry = readdir(directory)) != NULL) {
        uint32_t device_class;
        if (place_link_class(entry->d_name, place->device_count, &device_class))
            result = place_add(place, place_join(place->directory, entry->d_name), device_class, 0);
    }
    (void)closedir(directory);
    return result;
}

int place_find_store(struct place *place)
{
    int result = 0;
    while (result == 0 && place->device_count < DEVICES_MAX)
        result = place_find_link(place);
    if (result != 0 && result != -ENOENT)
        return result;
    if (place->device_count > 0)
        return 0;
    return place_add(place, place_join(place->directory, "store"), IOMESH_CLASS_NVME, 0);
}

int place_find_devices(struct place *place)
{
    struct stat what;
    if (stat(place->directory, &what) != 0)
        return FAIL(-errno, "%s: no pool there: %s: make one with pool init", place->directory,
                    strerror(errno));
    if (stat(place->metadata, &what) != 0)
        return FAIL(-errno, "%s: no pool there (%s: %s): make one with pool init", place->directory,
                    place->metadata, strerror(errno));
    return place_find_store(place);
}

/* --- A new pool ---------------------------------------------------------------------------- */

char *place_absolute(const char *path)
{
    char *found = realpath(path, NULL);
    if (found != NULL || errno != ENOENT)
        return found;
    char *parent = strdup(path);
    if (parent == NULL)
        return NULL;
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent ? 1 : 0] = '\0';
    char *directory = realpath(slash != NULL ? parent : ".", NULL);
    const char *leaf = strrchr(path, '/');
    free(parent);
    if (directory == NULL)
        return NULL;
    found = place_join(directory, leaf != NULL ? leaf + 1 : path);
    free(directory);
    return found;
}

static int place_plan_one(struct place *place, const struct iomesh_device *device)
{
    if (device->path == NULL || device->path[0] == '\0')
        return FAIL(-EINVAL, "a device needs a path");
    if (device->device_class >= COUNT_OF(place_class_names))
        return FAIL(-EINVAL, "%s: its class is none of nvme, ssd, hdd", device->path);
    if (device->bytes % BLOCK_BYTES != 0)
        return FAIL(-EINVAL, "%s: its size, %llu bytes, is not a multiple of 4 KiB", device->path,
                    (unsigned long long)device->bytes);
    char *path = place_absolute(device->path);
    if (path == NULL)
        return FAIL(-errno, "%s: %s", device->path, strerror(errno));
    struct stat what;
    bool there = stat(path, &what) == 0;
    if (!there && device->bytes == 0) {
        free(path);
        return FAIL(-ENOENT, "%s: is not there; give a size and it is made", device->path);
    }
    for (unsigned i = 0; i < place->device_count; i++) {
        if (strcmp(place->devices[i].path, path) == 0) {
            free(path);
            return FAIL(-EINVAL, "%s: named twice", device->path);
        }
    }
    int result = place_add(place, path, device->device_class, device->bytes);
    if (result == 0)
        place->devices[place->device_count - 1].made = !there;
    return result;
}

int place_plan_devices(struct place *place, const struct iomesh_pool_init_options *options)
{
    if (options->device_count > DEVICES_MAX)
        return FAIL(-EINVAL, "a store has at most %u devices, not %u", DEVICES_MAX,
                    options->device_count);
    if (options->device_count > 0 && options->bytes != 0)
        return FAIL(-EINVAL, "a size is for the pool's own file; devices have sizes of their own");
    if (options->device_count > 0 && options->devices == NULL)
        return FAIL(-EINVAL, "%u devices, but none was given", options->device_count);
    for (uint32_t i = 0; i < options->device_count; i++) {
        /* The array's stride is the caller's idea of a device's size. */
        uint32_t stride = options->devices->size;
        struct iomesh_device device = IOMESH_DEVICE_INIT;
        if (stride < sizeof(uint32_t) || stride > 4096)
            return FAIL(-EINVAL, "devices do not begin with their size: use the _INIT macro");
        memcpy(&device, (const uint8_t *)options->devices + (size_t)i * stride,
               MIN(stride, sizeof device));
        int result = place_plan_one(place, &device);
        if (result != 0)
            return result;
    }
    if (options->device_count > 0)
        return 0;
    uint64_t bytes = options->bytes != 0 ? options->bytes : PLACE_STORE_BYTES;
    if (bytes < IOMESH_POOL_BYTES_MIN || bytes % BLOCK_BYTES != 0)
        return FAIL(-EINVAL, "a pool has 64 MiB or more, in multiples of 4 KiB, not %llu bytes",
                    (unsigned long long)bytes);
    int result = place_add(place, place_join(place->directory, "store"), IOMESH_CLASS_NVME, bytes);
    struct stat what;
    if (result == 0)
        place->devices[0].made = stat(place->devices[0].path, &what) != 0;
    return result;
}

static int place_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(-errno, "%s: %s", path, strerror(errno));
    int result =
        fsync(fd) == 0 ? 0 : FAIL(-errno, "%s: cannot be synced: %s", path, strerror(errno));
    close(fd);
    return result;
}

int place_make_directory(const struct place *place, bool *ret_made)
{
    *ret_made = mkdir(place->directory, 0700) == 0;
    if (!*ret_made)
        return errno == EEXIST
                   ? 0
                   : FAIL(-errno, "%s: cannot be made: %s", place->directory, strerror(errno));
    char *parent = place_join(place->directory, "..");
    if (parent == NULL)
        return FAIL(-ENOMEM, "%s: no memory", place->directory);
    int result = place_sync(parent);
    free(parent);
    return result;
}

static char *place_link_path(const struct place *place, unsigned index)
{
    char leaf[32];
    (void)snprintf(leaf, sizeof leaf, "device.%02u.%s", index,
                   place_class_names[place->devices[index].device_class]);
    return place_join(place->directory, leaf);
}

static bool place_owns(const struct place *place)
{
    char *own = place_join(place->directory, "store");
    bool owns =
        own == NULL || (place->device_count == 1 && strcmp(place->devices[0].path, own) == 0);
    free(own);
    return owns;
}

int place_make_links(const struct place *place)
{
    if (place_owns(place))
        return 0;
    for (unsigned i = 0; i < place->device_count; i++) {
        char *path = place_link_path(place, i);
        if (path == NULL)
            return FAIL(-ENOMEM, "%s: no memory", place->directory);
        (void)unlink(path); /* Of an interrupted making. */
        int result = symlink(place->devices[i].path, path) == 0
                         ? 0
                         : FAIL(-errno, "%s: cannot be made: %s", path, strerror(errno));
        free(path);
        if (result != 0)
            return result;
    }
    return place_sync(place->directory);
}

static void place_remove_metadata(const struct place *place)
{
    static const char *const leaves[] = {"meta.db", "meta.db-wal", "meta.db-journal"};
    for (unsigned i = 0; i < COUNT_OF(leaves); i++) {
        char *path = place_join(place->directory, leaves[i]);
        if (path != NULL)
            (void)unlink(path);
        free(path);
    }
}

void place_unmake(struct place *place, bool directory)
{
    bool owns = place_owns(place);
    for (unsigned i = 0; i < place->device_count; i++) {
        char *path = owns ? NULL : place_link_path(place, i);
        if (path != NULL)
            (void)unlink(path);
        free(path);
        if (place->devices[i].made)
            (void)unlink(place->devices[i].path);
    }
    place_remove_metadata(place);
    if (directory)
        (void)rmdir(place->directory);
}
