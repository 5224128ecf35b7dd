/*
 * "meet wait" and "meet post" are two programs that know nothing of each other but the name of a semaphore: one waits for a token that the other posts. The one
 * that posts shows what eventd says of the semaphore meanwhile, and waits for the token that comes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static sem_t *open_or_say(const char *name)
{
    sem_t *semaphore = sem_open(name, O_CREAT, 0600, 0);
    if (semaphore == SEM_FAILED)
        printf("meet: cannot open %s: %s\n", name, strerror(errno));
    return semaphore;
}

static void show(const char *path)
{
    char buffer[4096];
    int file = open(path, O_RDONLY);
    ssize_t count;
    printf("$ cat %s\n", path);
    if (file < 0)
        printf("meet: cannot open %s: %s\n", path, strerror(errno));
    while (file >= 0 && (count = read(file, buffer, sizeof buffer)) > 0)
        fwrite(buffer, 1, count, stdout);
    close(file);
}

int main(int count, char **arguments)
{
    sem_t *there = open_or_say("/x"), *back = open_or_say("/y");
    if (count != 2 || there == SEM_FAILED || back == SEM_FAILED)
        return 1;
    if (!strcmp(arguments[1], "wait")) {
        int result = sem_wait(there);
        printf("meet: waited, sem_wait returned %d\n", result);
        return sem_post(back) != 0;
    }
    show("/scheme/eventd/sem/x");
    printf("meet: sem_post returned %d\n", sem_post(there));
    printf("meet: the token came back, sem_wait returned %d\n", sem_wait(back));
    show("/scheme/eventd/list/sem");
    printf("meet: sem_unlink returned %d and %d\n", sem_unlink("/x"), sem_unlink("y"));
    show("/scheme/eventd/list/sem");
    return 0;
}
