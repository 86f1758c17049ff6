/* Records what a process does to the files below one folder, in the order in which it happened.
 *
 *   gcc -shared -fPIC -O1 -o recorder.so recorder.c -ldl -lpthread
 *   LD_PRELOAD=recorder.so FAULTS_ROOT=/folder FAULTS_LOG=/log COMMAND
 *
 * Each record is a header (see `struct header`) and two byte strings; tests/faults/recording.py reads them. A call and its
 * record happen under one lock, so that their order is the order of the log. fsync is recorded, not done: the disk of the
 * simulation is the one that counts. What cannot be followed (a writable shared mapping, a file without a name, a copy inside
 * the kernel) is recorded as UNSUPPORTED, which the reader refuses. A program marks its own events with faults_mark().
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum op {
    OPEN = 1, WRITE, TRUNCATE, TRUNCATE_PATH, RENAME, UNLINK, LINK, MKDIR, RMDIR, SYNC, CLOSE, DUP, ALLOCATE, MARK, SYNC_ALL,
    UNSUPPORTED
};

struct header {
    uint8_t op, pad[3];
    int32_t fd;
    int64_t a, b;
    uint32_t first, second; /* lengths of the strings that follow */
};

#define MOST_FDS 65536
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_length;
static unsigned char below[MOST_FDS]; /* which descriptors are of files below the root */

/* The next definition of a function that this file replaces. */
#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

__attribute__((constructor)) static void begin(void) {
    const char *log_path = getenv("FAULTS_LOG"), *folder = getenv("FAULTS_ROOT");
    if (!log_path || !folder) return;
    /* O_EXCL: children of the recorded process inherit the environment and are not recorded. */
    log_fd = REAL(open)(log_path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    root_length = strlen(folder);
    memcpy(root, folder, root_length + 1);
}

static void record(enum op op, int fd, int64_t a, int64_t b, const void *first, size_t n, const void *second, size_t m) {
    struct header header = {.op = op, .fd = fd, .a = a, .b = b, .first = (uint32_t)n, .second = (uint32_t)m};
    struct iovec parts[3] = {{&header, sizeof header}, {(void *)first, n}, {(void *)second, m}};
    __typeof__(&writev) real = REAL(writev);
    int kept = errno;
    if (real(log_fd, parts, 3) != (ssize_t)(sizeof header + n + m)) {
        static const char words[] = "the recording cannot be written\n";
        REAL(write)(2, words, sizeof words - 1);
        abort();
    }
    errno = kept;
}

static int tracked(int fd) { return log_fd >= 0 && fd >= 0 && fd < MOST_FDS && below[fd]; }

static void unsupported(const char *what) { record(UNSUPPORTED, -1, 0, 0, what, strlen(what), NULL, 0); }

/* The absolute path of (dirfd, path) in `out`; whether it lies below the root. */
static int resolve(int dirfd, const char *path, char *out) {
    if (log_fd < 0) return 0;
    int kept = errno;
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        char folder[PATH_MAX] = "", name[64];
        if (dirfd == AT_FDCWD) {
            if (!getcwd(folder, sizeof folder)) folder[0] = 0;
        } else {
            snprintf(name, sizeof name, "/proc/self/fd/%d", dirfd);
            ssize_t n = readlink(name, folder, sizeof folder - 1);
            folder[n < 0 ? 0 : n] = 0;
        }
        if (strlen(folder) + strlen(path) + 2 > PATH_MAX) abort();
        strcpy(out, folder), strcat(out, "/"), strcat(out, path);
    }
    errno = kept;
    return !strncmp(out, root, root_length) && (out[root_length] == '/' || !out[root_length]);
}

void faults_mark(const char *text, size_t length) {
    if (log_fd < 0) return;
    pthread_mutex_lock(&lock);
    record(MARK, -1, 0, 0, text, length, NULL, 0);
    pthread_mutex_unlock(&lock);
}

/* --- opening and closing --- */

static int opened(int dirfd, const char *path, int flags, mode_t mode) {
    __typeof__(&openat) real = REAL(openat);
    char full[PATH_MAX];
    if (!resolve(dirfd, path, full)) {
        int fd = real(dirfd, path, flags, mode);
        if (fd >= 0 && fd < MOST_FDS) below[fd] = 0;
        return fd;
    }
    pthread_mutex_lock(&lock);
    int fd = real(dirfd, path, flags, mode);
    if (fd >= 0) {
        if ((flags & O_TMPFILE) == O_TMPFILE) unsupported("O_TMPFILE");
        if (fd >= MOST_FDS) unsupported("a descriptor above 65535");
        else below[fd] = 1;
        record(OPEN, fd, flags & (O_CREAT | O_TRUNC | O_DIRECTORY), 0, full, strlen(full), NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) ({ mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } mode; })

int open(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags)); }
int openat(int fd, const char *path, int flags, ...) { return opened(fd, path, flags, MODE(flags)); }
int openat64(int fd, const char *path, int flags, ...) { return opened(fd, path, flags, MODE(flags)); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __openat_2(int fd, const char *path, int flags) { return opened(fd, path, flags, 0); }
int __openat64_2(int fd, const char *path, int flags) { return opened(fd, path, flags, 0); }

int close(int fd) {
    __typeof__(&close) real = REAL(close);
    if (!tracked(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    below[fd] = 0;
    record(CLOSE, fd, 0, 0, NULL, 0, NULL, 0);
    int result = real(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

static int duplicated(int old, int fresh) {
    if (fresh >= 0 && fresh != old && fresh < MOST_FDS) {
        pthread_mutex_lock(&lock);
        if (below[fresh]) record(CLOSE, fresh, 0, 0, NULL, 0, NULL, 0);
        below[fresh] = (unsigned char)tracked(old);
        if (below[fresh]) record(DUP, old, fresh, 0, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return fresh;
}

int dup(int fd) { return duplicated(fd, REAL(dup)(fd)); }
int dup2(int fd, int to) { return duplicated(fd, REAL(dup2)(fd, to)); }
int dup3(int fd, int to, int flags) { return duplicated(fd, REAL(dup3)(fd, to, flags)); }

static int controlled(int (*real)(int, int, ...), int fd, int command, void *argument) {
    int result = real(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result;
}

#define ARGUMENT ({ va_list rest; va_start(rest, command); void *value = va_arg(rest, void *); va_end(rest); value; })
int fcntl(int fd, int command, ...) { return controlled(REAL(fcntl), fd, command, ARGUMENT); }
int fcntl64(int fd, int command, ...) { return controlled(REAL(fcntl64), fd, command, ARGUMENT); }

/* --- contents --- */

/* Runs `call`, which writes to `fd`, and records what it wrote; `offset` < 0: at the descriptor's own offset. */
#define WRITING(fd, offset, parts, count, call) ({ \
    ssize_t done; \
    if (!tracked(fd)) done = (call); \
    else { \
        pthread_mutex_lock(&lock); \
        done = (call); \
        wrote(fd, offset, parts, count, done); \
        pthread_mutex_unlock(&lock); \
    } \
    done; })

static void wrote(int fd, int64_t offset, const struct iovec *parts, int count, ssize_t done) {
    if (done <= 0) return;
    int64_t at = offset >= 0 ? offset : lseek(fd, 0, SEEK_CUR) - done;
    for (int i = 0; i < count && done > 0; i++) {
        size_t n = parts[i].iov_len < (size_t)done ? parts[i].iov_len : (size_t)done;
        if (n) record(WRITE, fd, at, 0, parts[i].iov_base, n, NULL, 0);
        at += (int64_t)n, done -= (ssize_t)n;
    }
}


ssize_t write(int fd, const void *data, size_t n) {
    return WRITING(fd, -1, (&(struct iovec){(void *)data, n}), 1, REAL(write)(fd, data, n));
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    return WRITING(fd, at, (&(struct iovec){(void *)data, n}), 1, REAL(pwrite)(fd, data, n, at));
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    return WRITING(fd, at, (&(struct iovec){(void *)data, n}), 1, REAL(pwrite64)(fd, data, n, at));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return WRITING(fd, -1, parts, count, REAL(writev)(fd, parts, count));
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return WRITING(fd, at, parts, count, REAL(pwritev)(fd, parts, count, at));
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    return WRITING(fd, at, parts, count, REAL(pwritev64)(fd, parts, count, at));
}
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    return WRITING(fd, at, parts, count, REAL(pwritev2)(fd, parts, count, at, flags));
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    return WRITING(fd, at, parts, count, REAL(pwritev64v2)(fd, parts, count, at, flags));
}

/* Runs `call` and, when it succeeded (0) and `known`, records `entry`, under the lock. */
#define DOING(known, call, entry) ({ \
    int result; \
    if (!(known)) result = (call); \
    else { \
        pthread_mutex_lock(&lock); \
        result = (call); \
        if (result == 0) { entry; } \
        pthread_mutex_unlock(&lock); \
    } \
    result; })

#define FD(op, fd, a) record(op, fd, a, 0, NULL, 0, NULL, 0)
#define ABOUT(op, a) record(op, -1, a, 0, full, strlen(full), NULL, 0)
#define PATHS(op, a) record(op, -1, a, 0, full, strlen(full), other, strlen(other))

int ftruncate(int fd, off_t n) { return DOING(tracked(fd), REAL(ftruncate)(fd, n), FD(TRUNCATE, fd, n)); }
int ftruncate64(int fd, off64_t n) {
    return DOING(tracked(fd), REAL(ftruncate64)(fd, n), FD(TRUNCATE, fd, n));
}
int truncate(const char *path, off_t n) {
    char full[PATH_MAX];
    return DOING(resolve(AT_FDCWD, path, full), REAL(truncate)(path, n), ABOUT(TRUNCATE_PATH, n));
}
int truncate64(const char *path, off64_t n) {
    char full[PATH_MAX];
    return DOING(
        resolve(AT_FDCWD, path, full), REAL(truncate64)(path, n), ABOUT(TRUNCATE_PATH, n));
}

static void allocated(int fd, int mode, int64_t end) {
    if (mode == 0) FD(ALLOCATE, fd, end);
    else if (mode != FALLOC_FL_KEEP_SIZE) unsupported("fallocate with a mode");
}
int fallocate(int fd, int mode, off_t at, off_t n) {
    return DOING(
        tracked(fd), REAL(fallocate)(fd, mode, at, n), allocated(fd, mode, at + n));
}
int fallocate64(int fd, int mode, off64_t at, off64_t n) {
    return DOING(
        tracked(fd), REAL(fallocate64)(fd, mode, at, n), allocated(fd, mode, at + n));
}
int posix_fallocate(int fd, off_t at, off_t n) {
    return DOING(tracked(fd), REAL(posix_fallocate)(fd, at, n), FD(ALLOCATE, fd, at + n));
}
int posix_fallocate64(int fd, off64_t at, off64_t n) {
    return DOING(tracked(fd), REAL(posix_fallocate64)(fd, at, n), FD(ALLOCATE, fd, at + n));
}

int fsync(int fd) { return DOING(tracked(fd), tracked(fd) ? 0 : REAL(fsync)(fd), FD(SYNC, fd, 0)); }
int fdatasync(int fd) { return DOING(tracked(fd), tracked(fd) ? 0 : REAL(fdatasync)(fd), FD(SYNC, fd, 0)); }
int syncfs(int fd) { return DOING(tracked(fd), 0, FD(SYNC_ALL, fd, 0)); }
void sync(void) { (void)DOING(log_fd >= 0, 0, FD(SYNC_ALL, -1, 0)); }

/* --- names --- */

int renameat2(int from, const char *old, int to, const char *fresh, unsigned flags) {
    char full[PATH_MAX], other[PATH_MAX];
    int known = resolve(from, old, full) | resolve(to, fresh, other);
    if (known && flags & ~1u) unsupported("renameat2 with flags"); /* 1: RENAME_NOREPLACE */
    return DOING(
        known, REAL(renameat2)(from, old, to, fresh, flags),
        PATHS(RENAME, 0));
}
int renameat(int from, const char *old, int to, const char *fresh) { return renameat2(from, old, to, fresh, 0); }
int rename(const char *old, const char *fresh) { return renameat2(AT_FDCWD, old, AT_FDCWD, fresh, 0); }

int unlinkat(int dirfd, const char *path, int flags) {
    char full[PATH_MAX];
    return DOING(
        resolve(dirfd, path, full), REAL(unlinkat)(dirfd, path, flags),
        ABOUT(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0));
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    int result = unlink(path);
    return result && errno == EISDIR ? rmdir(path) : result;
}

int linkat(int from, const char *old, int to, const char *fresh, int flags) {
    char full[PATH_MAX], other[PATH_MAX];
    int known = resolve(from, old, full) | resolve(to, fresh, other);
    if (known && flags) unsupported("linkat with flags");
    return DOING(
        known, REAL(linkat)(from, old, to, fresh, flags), PATHS(LINK, 0));
}
int link(const char *old, const char *fresh) { return linkat(AT_FDCWD, old, AT_FDCWD, fresh, 0); }

int symlinkat(const char *target, int dirfd, const char *path) {
    char full[PATH_MAX];
    return DOING(
        resolve(dirfd, path, full), REAL(symlinkat)(target, dirfd, path),
        unsupported("a symbolic link"));
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

int mkdirat(int dirfd, const char *path, mode_t mode) {
    char full[PATH_MAX];
    return DOING(
        resolve(dirfd, path, full), REAL(mkdirat)(dirfd, path, mode), ABOUT(MKDIR, 0));
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* --- what cannot be followed --- */

static void refuse(int fd, const char *what) {
    if (!tracked(fd)) return;
    pthread_mutex_lock(&lock);
    unsupported(what);
    pthread_mutex_unlock(&lock);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    if ((flags & MAP_SHARED) && (protection & PROT_WRITE)) refuse(fd, "a writable shared mapping");
    return REAL(mmap)(at, n, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t n, int protection, int flags, int fd, off64_t offset) {
    if ((flags & MAP_SHARED) && (protection & PROT_WRITE)) refuse(fd, "a writable shared mapping");
    return REAL(mmap64)(at, n, protection, flags, fd, offset);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags) {
    refuse(out, "copy_file_range");
    return REAL(copy_file_range)(in, from, out, to, n, flags);
}
ssize_t sendfile(int out, int in, off_t *offset, size_t n) {
    refuse(out, "sendfile");
    return REAL(sendfile)(out, in, offset, n);
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t n) {
    refuse(out, "sendfile");
    return REAL(sendfile64)(out, in, offset, n);
}
