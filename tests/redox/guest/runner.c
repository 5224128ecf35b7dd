/*
 * Runs the commands in /usr/lib/commands, one a line, says where the output of each begins and how it ended, and stops the machine.
 * A line is split at blanks; nothing is quoted. A line that ends with & is not waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM_SECONDS 240

/* Ends a program whose time is up. A process of its own, since alarm cannot be taken back on Redox. */
static pid_t watch(pid_t child)
{
    pid_t watcher = fork();
    if (watcher != 0)
        return watcher;
    for (int seconds = 0; seconds < PROGRAM_SECONDS; seconds++)
        sleep(1);
    kill(child, SIGKILL);
    _exit(0);
}

static void run(char *line)
{
    char *arguments[16];
    int count = 0, status, background;
    for (char *word = strtok(line, " \t"); word && count < 15; word = strtok(NULL, " \t"))
        arguments[count++] = word;
    background = count > 1 && !strcmp(arguments[count - 1], "&");
    count -= background;
    arguments[count] = NULL;
    printf("@begin %s\n", arguments[0]);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        printf("@end %s: cannot fork: %s\n", arguments[0], strerror(errno));
        return;
    }
    if (child == 0) {
        char path[1024];
        snprintf(path, sizeof path, "/scheme/initfs/bin/%s", arguments[0]);
        /* A program that executes itself again does it by this. */
        arguments[0] = path;
        execv(path, arguments);
        printf("cannot execute %s: %s\n", path, strerror(errno));
        fflush(stdout);
        _exit(127);
    }
    if (background) {
        printf("@end %s: in the background\n", arguments[0]);
        fflush(stdout);
        return;
    }
    pid_t watcher = watch(child);
    while (waitpid(child, &status, 0) != child) {
        if (errno != EINTR) {
            printf("@end %s: cannot wait: %s\n", arguments[0], strerror(errno));
            return;
        }
    }
    kill(watcher, SIGKILL);
    while (waitpid(watcher, NULL, 0) != watcher && errno == EINTR)
        continue;
    if (WIFEXITED(status))
        printf("@end %s: exit status %d\n", arguments[0], WEXITSTATUS(status));
    else
        printf("@end %s: signal %d\n", arguments[0], WTERMSIG(status));
    fflush(stdout);
}

int main(void)
{
    char line[1024];
    FILE *commands = fopen("/usr/lib/commands", "r");
    setenv("PATH", "/usr/bin:/scheme/initfs/bin", 0);
    if (!commands)
        printf("runner: cannot open /usr/lib/commands: %s\n", strerror(errno));
    while (commands && fgets(line, sizeof line, commands)) {
        line[strcspn(line, "\n")] = 0;
        if (*line)
            run(line);
    }
    puts("@done");
    fflush(stdout);
    int stop = open("/scheme/sys/kstop", O_WRONLY);
    if (stop < 0 || write(stop, "shutdown", 8) != 8)
        printf("runner: cannot stop the machine: %s\n", strerror(errno));
    return 0;
}
