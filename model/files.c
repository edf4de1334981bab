// Opening files beneath a model's directory.
#include "model/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_inside(int directory, const char *name, int more)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | more;
    struct open_how how = {.flags = (uint64_t)flags, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
    // Kernels before 5.6 and some sandboxes lack the call: then no link is followed at all.
    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) fd = openat(directory, name, flags | O_NOFOLLOW);
    return fd;
}

// The caches of hubs keep DIR/snapshots/REVISION/FILE as links to ../../blobs/HASH.
static int open_blob(int directory, const char *name)
{
    static const char cache[] = "../../blobs/";
    char target[256];
    ssize_t length = readlinkat(directory, name, target, sizeof target - 1);
    if (length > 0) target[length] = 0;
    if (length <= 0 || length == (ssize_t)sizeof target - 1 || strncmp(target, cache, sizeof cache - 1) != 0 ||
        strchr(target + sizeof cache - 1, '/') || target[sizeof cache - 1] == '.') {
        errno = EXDEV;
        return -1;
    }
    return openat(directory, target, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
}

static bool plain_name(const char *name)
{
    if (!*name || strlen(name) > 255 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
    for (; *name; name++)
        if (*name == '/' || *name == '\\' || (unsigned char)*name < ' ') return false;
    return true;
}

weft_status wi_open_beneath(int directory, const char *directory_name, const char *name, int *out, uint64_t *bytes)
{
    struct stat info;
    if (!plain_name(name))
        return weft_fail(WEFT_INVALID, "%s: names the file \"%.80s\"; it must be the name of a file beside the others",
                         directory_name, name);
    int fd = open_inside(directory, name, 0);
    if (fd < 0 && (errno == EXDEV || errno == ELOOP)) fd = open_blob(directory, name);
    if (fd < 0 && (errno == EXDEV || errno == ELOOP))
        return weft_fail(WEFT_INVALID,
                         "%s/%s: a link that leaves the directory or leads nowhere; put the file itself "
                         "there",
                         directory_name, name);
    if (fd < 0)
        return weft_fail(errno == ENOENT ? WEFT_NOT_FOUND : WEFT_IO, "%s/%s: %s; is the download complete?",
                         directory_name, name, strerror(errno));
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return weft_fail(WEFT_INVALID, "%s/%s: not a regular file", directory_name, name);
    }
    *out = fd;
    *bytes = (uint64_t)info.st_size;
    return WEFT_OK;
}
