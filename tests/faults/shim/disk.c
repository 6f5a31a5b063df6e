/*
 * What the server does to the files below a directory: written down, made to fail, or cut off.
 *
 * Each call that changes a file or a name is added to a journal outside that directory, in one order for all threads:
 * writes before they are made, names when they have changed, syncs after they have succeeded, with the number of entries
 * that were there when they began. tests/faults/journal.rs reads it. Calls go to the kernel directly, so that nothing
 * here depends on the C library's own names for them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

enum { DESCRIPTORS = 4096, JOURNAL = 1000 };
enum kind { CREATE = 1, WRITE, TRUNCATE, RENAME, REMOVE, DIRECTORY, SYNC_FILE, SYNC_DATA, SYNC_DIRECTORY, SYNC_FAILED };

/* An entry of the journal; `length` bytes follow: what was written, or one name or two, each ended by a zero. */
struct entry {
    uint64_t kind;
    uint64_t file;   /* The inode. */
    uint64_t place;  /* Of a write: where. Of a truncation: the new length. Of a sync: the entries before it began. */
    uint64_t length;
};

static struct control none = {.bytes_free = -1, .read_place = -1, .errors_left = -1};
struct control *shim_control = &none;

static char root[PATH_MAX];
static size_t root_length;
static uint64_t entries;
static int journal = -1;
/* Of each descriptor below the root its inode, and 0 of all others. */
static uint64_t inodes[DESCRIPTORS];
static char directories[DESCRIPTORS];
/* Whether the server has said on its standard output that it listens. */
static int has_spoken;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char *what) {
    dprintf(2, "shim: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *control = getenv("SHIM_CONTROL");
    if (control != NULL) {
        int file = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDWR | O_CLOEXEC);
        if (file < 0) fail(control);
        shim_control = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shim_control == MAP_FAILED) fail(control);
        syscall(SYS_close, file);
    }
    const char *path = getenv("SHIM_JOURNAL");
    const char *below = getenv("SHIM_ROOT");
    if (path == NULL || below == NULL) return;
    root_length = strlen(below);
    if (root_length >= sizeof root) fail(below);
    memcpy(root, below, root_length + 1);
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) fail(path);
    /* Out of the way of those who count on low numbers; where there are not so many, it stays. */
    journal = fcntl(file, F_DUPFD_CLOEXEC, JOURNAL);
    if (journal < 0) journal = file;
}

/* The part of a path that is below the root, empty for the root itself; NULL of all others. */
static const char *below_root(int directory, const char *path, char *buffer) {
    if (journal < 0) return NULL;
    if (path[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
        ssize_t length = readlink(link, buffer, PATH_MAX - 1);
        if (length < 0) return NULL;
        int rest = snprintf(buffer + length, PATH_MAX - (size_t)length, "/%s", path);
        if (rest < 0 || (size_t)(length + rest) >= PATH_MAX) return NULL;
        path = buffer;
    }
    if (strncmp(path, root, root_length) != 0) return NULL;
    const char *name = path + root_length;
    if (*name == 0) return name;
    return *name == '/' ? name + 1 : NULL;
}

static int is_ours(int file) {
    return file >= 0 && file < DESCRIPTORS && inodes[file] != 0;
}

static void append(enum kind kind, uint64_t inode, uint64_t place, const void *data, size_t length) {
    struct entry entry = {.kind = kind, .file = inode, .place = place, .length = length};
    struct iovec parts[2] = {{&entry, sizeof entry}, {(void *)data, length}};
    size_t left = sizeof entry + length;
    while (left > 0) {
        ssize_t written = syscall(SYS_writev, journal, parts, 2);
        if (written < 0) fail("the journal");
        left -= (size_t)written;
        for (int part = 0; part < 2; part++) {
            size_t step = (size_t)written < parts[part].iov_len ? (size_t)written : parts[part].iov_len;
            parts[part].iov_base = (char *)parts[part].iov_base + step;
            parts[part].iov_len -= step;
            written -= (ssize_t)step;
        }
    }
    entries++;
}

static void append_names(enum kind kind, uint64_t inode, const char *one, const char *two) {
    char names[2 * PATH_MAX];
    size_t first = strlen(one) + 1;
    size_t second = two == NULL ? 0 : strlen(two) + 1;
    memcpy(names, one, first);
    memcpy(names + first, two == NULL ? "" : two, second);
    append(kind, inode, 0, names, first + second);
}

/* Counts a call, and cuts the power where it is the one. Under the lock. */
static void count(void) {
    volatile int64_t *calls = has_spoken ? &shim_control->calls_until_cut : &shim_control->opening_calls_until_cut;
    int64_t left = *calls;
    if (left == 0) return;
    *calls = left - 1;
    if (left > 1) return;
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

/* Whether a call is to fail, with that. Under the lock. */
static int fails(int64_t with) {
    if (with == 0) return 0;
    if (shim_control->calls_until_errors > 0) {
        shim_control->calls_until_errors--;
        return 0;
    }
    if (shim_control->errors_left == 0) return 0;
    if (shim_control->errors_left > 0) shim_control->errors_left--;
    shim_control->failed++;
    errno = (int)with;
    return 1;
}

/* How much of a write there is room for; below 0 where it fails. Under the lock. */
static ssize_t room_for(size_t length) {
    if (fails(shim_control->write_errno)) return -1;
    int64_t bytes_free = shim_control->bytes_free;
    if (bytes_free < 0) return (ssize_t)length;
    if (bytes_free == 0 && length > 0) {
        shim_control->failed++;
        errno = ENOSPC;
        return -1;
    }
    if ((int64_t)length > bytes_free) length = (size_t)bytes_free;
    shim_control->bytes_free = bytes_free - (int64_t)length;
    return (ssize_t)length;
}

static int open_at(int directory, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *name = below_root(directory, path, buffer);
    if (name == NULL) return (int)syscall(SYS_openat, directory, path, flags, mode);

    pthread_mutex_lock(&lock);
    struct stat about;
    int is_new = fstatat(directory, path, &about, 0) != 0;
    int changes = (is_new && flags & O_CREAT) || flags & O_TRUNC;
    if (changes) count();
    int file = -1;
    if (!changes || room_for(0) >= 0) file = (int)syscall(SYS_openat, directory, path, flags, mode);
    if (file >= 0 && (file >= DESCRIPTORS || fstat(file, &about) != 0)) fail(path);
    if (file >= 0) {
        inodes[file] = about.st_ino;
        directories[file] = S_ISDIR(about.st_mode);
        if (is_new) {
            append_names(CREATE, about.st_ino, name, NULL);
        } else if (flags & O_TRUNC) {
            append(TRUNCATE, about.st_ino, 0, NULL, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    return file;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int openat(int directory, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_at(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) __attribute__((alias("openat")));

int close(int file) {
    if (is_ours(file)) {
        pthread_mutex_lock(&lock);
        inodes[file] = 0;
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_close, file);
}

/* The C library closes the descriptor itself, and a socket may have its number next. */
int closedir(DIR *directory) {
    static int (*next)(DIR *);
    if (next == NULL) next = (int (*)(DIR *))dlsym(RTLD_NEXT, "closedir");
    int file = dirfd(directory);
    if (is_ours(file)) {
        pthread_mutex_lock(&lock);
        inodes[file] = 0;
        pthread_mutex_unlock(&lock);
    }
    return next(directory);
}

static ssize_t write_at(int file, const void *data, size_t length, off_t place) {
    pthread_mutex_lock(&lock);
    count();
    ssize_t outcome = room_for(length);
    if (outcome >= 0) {
        length = (size_t)outcome;
        append(WRITE, inodes[file], (uint64_t)place, data, length);
        outcome = syscall(SYS_pwrite64, file, data, length, place);
        if (outcome >= 0 && (size_t)outcome != length) fail("a short write");
    }
    pthread_mutex_unlock(&lock);
    return outcome;
}

ssize_t pwrite64(int file, const void *data, size_t length, off_t place) {
    if (!is_ours(file)) return syscall(SYS_pwrite64, file, data, length, place);
    return write_at(file, data, length, place);
}

ssize_t pwrite(int file, const void *data, size_t length, off_t place) __attribute__((alias("pwrite64")));

ssize_t write(int file, const void *data, size_t length) {
    if (file == STDOUT_FILENO) {
        pthread_mutex_lock(&lock);
        has_spoken = 1;
        pthread_mutex_unlock(&lock);
    }
    if (!is_ours(file)) return syscall(SYS_write, file, data, length);
    off_t place = fcntl(file, F_GETFL) & O_APPEND ? lseek(file, 0, SEEK_END) : lseek(file, 0, SEEK_CUR);
    ssize_t written = write_at(file, data, length, place);
    if (written > 0) lseek(file, place + written, SEEK_SET);
    return written;
}

ssize_t writev(int file, const struct iovec *parts, int many) {
    if (!is_ours(file)) return syscall(SYS_writev, file, parts, many);
    ssize_t written = 0;
    for (int part = 0; part < many; part++) {
        ssize_t step = write(file, parts[part].iov_base, parts[part].iov_len);
        if (step < 0) return written > 0 ? written : step;
        written += step;
        if ((size_t)step < parts[part].iov_len) break;
    }
    return written;
}

static int fails_to_read(int file, size_t length, off_t place) {
    if (!is_ours(file)) return 0;
    int64_t bad = shim_control->read_place;
    if (bad >= 0 && (bad < place || bad >= place + (int64_t)length)) return 0;
    pthread_mutex_lock(&lock);
    int is_failed = fails(shim_control->read_errno);
    pthread_mutex_unlock(&lock);
    return is_failed;
}

ssize_t read(int file, void *data, size_t length) {
    if (is_ours(file) && fails_to_read(file, length, lseek(file, 0, SEEK_CUR))) return -1;
    return syscall(SYS_read, file, data, length);
}

ssize_t pread64(int file, void *data, size_t length, off_t place) {
    if (fails_to_read(file, length, place)) return -1;
    return syscall(SYS_pread64, file, data, length, place);
}

ssize_t pread(int file, void *data, size_t length, off_t place) __attribute__((alias("pread64")));

int ftruncate64(int file, off_t length) {
    if (!is_ours(file)) return (int)syscall(SYS_ftruncate, file, length);
    pthread_mutex_lock(&lock);
    count();
    int outcome = -1;
    if (room_for(0) >= 0) {
        append(TRUNCATE, inodes[file], (uint64_t)length, NULL, 0);
        outcome = (int)syscall(SYS_ftruncate, file, length);
    }
    pthread_mutex_unlock(&lock);
    return outcome;
}

int ftruncate(int file, off_t length) __attribute__((alias("ftruncate64")));

static int sync_file(int file, long call, enum kind kind) {
    if (!is_ours(file)) return (int)syscall(call, file);
    pthread_mutex_lock(&lock);
    count();
    int64_t with = kind == SYNC_DATA ? shim_control->data_sync_errno : shim_control->sync_errno;
    int64_t inode = shim_control->sync_inode;
    int is_failed = (inode == 0 || (uint64_t)inode == inodes[file]) && fails(with);
    uint64_t before = entries;
    /* The system takes what was not written for clean then: no later sync makes it durable. */
    if (is_failed) append(SYNC_FAILED, inodes[file], before, NULL, 0);
    pthread_mutex_unlock(&lock);
    if (is_failed) return -1;

    int outcome = (int)syscall(call, file);
    if (outcome != 0) return outcome;
    pthread_mutex_lock(&lock);
    if (directories[file]) {
        char link[64], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length < 0) fail(link);
        path[length] = 0;
        const char *name = (size_t)length > root_length ? path + root_length + 1 : "";
        append(SYNC_DIRECTORY, inodes[file], before, name, strlen(name) + 1);
    } else {
        append(kind, inodes[file], before, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return outcome;
}

int fsync(int file) {
    return sync_file(file, SYS_fsync, SYNC_FILE);
}

int fdatasync(int file) {
    return sync_file(file, SYS_fdatasync, SYNC_DATA);
}

/* A change of names, written down if it is made. */
static int change_names(enum kind kind, const char *one, const char *two, long call, long a, long b, long c, long d) {
    pthread_mutex_lock(&lock);
    count();
    int outcome = -1;
    if (room_for(0) >= 0) {
        outcome = (int)syscall(call, a, b, c, d);
        if (outcome == 0) append_names(kind, 0, one, two);
    }
    pthread_mutex_unlock(&lock);
    return outcome;
}

int renameat(int from, const char *old, int to, const char *new) {
    char old_path[PATH_MAX], new_path[PATH_MAX];
    const char *one = below_root(from, old, old_path), *two = below_root(to, new, new_path);
    if ((one == NULL) != (two == NULL)) fail("a rename across the root");
    if (one == NULL) return (int)syscall(SYS_renameat2, from, old, to, new, 0);
    return change_names(RENAME, one, two, SYS_renameat2, from, (long)old, to, (long)new);
}

int rename(const char *old, const char *new) {
    return renameat(AT_FDCWD, old, AT_FDCWD, new);
}

int unlinkat(int directory, const char *path, int flags) {
    char buffer[PATH_MAX];
    const char *name = below_root(directory, path, buffer);
    if (name == NULL) return (int)syscall(SYS_unlinkat, directory, path, flags);
    return change_names(REMOVE, name, NULL, SYS_unlinkat, directory, (long)path, flags, 0);
}

int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdirat(int directory, const char *path, mode_t mode) {
    char buffer[PATH_MAX];
    const char *name = below_root(directory, path, buffer);
    if (name == NULL) return (int)syscall(SYS_mkdirat, directory, path, mode);
    return change_names(DIRECTORY, name, NULL, SYS_mkdirat, directory, (long)path, mode, 0);
}

int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}
