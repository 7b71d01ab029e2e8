/* SPDX-License-Identifier: Apache-2.0 */
/* Where a store of a cluster is: a directory, or one device. */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "api/store_make.h"

/* What an entry of a directory makes of it, if nothing else does. */
static enum store_place_what entry_what(const char *name)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lost+found") == 0)
        return STORE_PLACE_EMPTY;
    if (strcmp(name, "meta.db") == 0)
        return STORE_PLACE_POOL;
    if (strcmp(name, "store") == 0 || strncmp(name, "device.00.", 10) == 0)
        return STORE_PLACE_STORE;
    return STORE_PLACE_OTHER;
}

static int directory_what(const char *path, enum store_place_what *ret_what)
{
    DIR *directory = opendir(path);
    if (directory == NULL)
        return FAIL(-errno, "%s: %s", path, strerror(errno));
    enum store_place_what what = STORE_PLACE_EMPTY;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL)
        what = MAX(what, entry_what(entry->d_name));
    (void)closedir(directory);
    *ret_what = what;
    return 0;
}

int store_place_look(const char *path, enum store_place_what *ret_what)
{
    struct stat is;
    if (stat(path, &is) != 0) {
        if (errno != ENOENT)
            return FAIL(-errno, "%s: %s", path, strerror(errno));
        *ret_what = STORE_PLACE_NOTHING;
        return 0;
    }
    if (S_ISDIR(is.st_mode))
        return directory_what(path, ret_what);
    if (!S_ISBLK(is.st_mode) && !S_ISREG(is.st_mode))
        return FAIL(-EINVAL, "%s: is neither a directory nor a device or file", path);
    *ret_what = STORE_PLACE_DEVICE;
    return 0;
}

int store_place_find(const char *path, enum store_place_what what, uint32_t device_class,
                     struct place *place)
{
    if (what != STORE_PLACE_DEVICE) {
        place->directory = strdup(path);
        return place->directory == NULL ? FAIL(-ENOMEM, "%s: no memory", path)
                                        : place_find_store(place);
    }
    place->devices[0] = (struct place_device){.path = strdup(path), .device_class = device_class};
    if (place->devices[0].path == NULL)
        return FAIL(-ENOMEM, "%s: no memory", path);
    place->device_count = 1;
    return 0;
}
