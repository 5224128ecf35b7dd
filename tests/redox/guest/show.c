/* What ls and cat would show: the names in each directory that is named, the contents of each file. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int show(const char *path)
{
    char buffer[4096];
    ssize_t count;
    DIR *directory = opendir(path);
    printf("$ %s\n", path);
    if (directory) {
        struct dirent *entry;
        while ((entry = readdir(directory)))
            puts(entry->d_name);
        closedir(directory);
        return 0;
    }
    int file = open(path, O_RDONLY);
    if (file < 0) {
        printf("cannot open %s: %s\n", path, strerror(errno));
        return 1;
    }
    while ((count = read(file, buffer, sizeof buffer)) > 0)
        fwrite(buffer, 1, count, stdout);
    close(file);
    return count < 0;
}

int main(int count, char **paths)
{
    int failures = 0;
    for (int i = 1; i < count; i++)
        failures += show(paths[i]);
    return failures;
}
