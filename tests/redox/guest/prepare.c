/*
 * Makes the root file system, a ramfs, look installed: copies /scheme/initfs/root to /, and makes what base's daemons expect to find.
 * ramfs has no symbolic links, so /dev/urandom is a file of random bytes and /dev/null one that keeps what is written to it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int failures;
static char buffer[65536];

static void complain(const char *what, const char *path)
{
    printf("prepare: cannot %s %s: %s\n", what, path, strerror(errno));
    failures = 1;
}

static void copy_bytes(const char *from, const char *to, size_t limit, int mode)
{
    int input = open(from, O_RDONLY), output = open(to, O_WRONLY | O_CREAT | O_TRUNC, mode);
    ssize_t count = 0;
    if (input < 0)
        complain("open", from);
    if (output < 0)
        complain("create", to);
    while (input >= 0 && output >= 0 && limit > 0) {
        count = read(input, buffer, limit < sizeof buffer ? limit : sizeof buffer);
        if (count <= 0)
            break;
        if (write(output, buffer, count) != count)
            complain("write", to);
        limit -= count;
    }
    if (count < 0)
        complain("read", from);
    if (input >= 0)
        close(input);
    if (output >= 0)
        close(output);
}

static void copy_tree(const char *from, const char *to)
{
    DIR *directory = opendir(from);
    struct dirent *entry;
    if (!directory)
        return;
    while ((entry = readdir(directory))) {
        char source[1024], target[1024];
        struct stat status;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        if (stat(source, &status) != 0) {
            complain("stat", source);
        } else if (S_ISDIR(status.st_mode)) {
            if (mkdir(target, 0755) != 0 && errno != EEXIST)
                complain("make", target);
            copy_tree(source, target);
        } else {
            copy_bytes(source, target, -1, status.st_mode & 07777);
        }
    }
    closedir(directory);
}

int main(void)
{
    static const char *const directories[] = {"/dev", "/tmp", "/root", "/etc", "/etc/init.d", "/usr", "/usr/bin", "/usr/lib",
        "/usr/lib/init.d", "/usr/lib/environment.d", "/var", "/var/tmp", "/home"};
    for (unsigned i = 0; i < sizeof directories / sizeof *directories; i++)
        if (mkdir(directories[i], 0755) != 0 && errno != EEXIST)
            complain("make", directories[i]);
    chmod("/tmp", 01777);
    copy_tree("/scheme/initfs/root", "");
    copy_bytes("/scheme/rand", "/dev/urandom", sizeof buffer, 0666);
    copy_bytes("/scheme/rand", "/dev/random", sizeof buffer, 0666);
    copy_bytes("/scheme/null", "/dev/null", 0, 0666);
    return failures;
}
