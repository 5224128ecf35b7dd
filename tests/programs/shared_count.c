/*
 * What only Linux can show of eventfds whose count some change in memory (read, write) and others at eventd (readv, writev, or without the preload
 * library). All else is in tests/conformance/eventfd_count.c.
 *
 * shared_count garbage    another process writes nonsense to the page; other counters and eventd mind nothing
 * shared_count shell      a shell that knows nothing of it wakes a reader, and is woken by a writer
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void must(bool right, const char *what)
{
	if (!right) {
		fprintf(stderr, "not so: %s (errno %d)\n", what, errno);
		exit(1);
	}
}

static uint64_t take(int fd, bool by_eventd)
{
	uint64_t value;
	struct iovec iov = { &value, sizeof(value) };
	ssize_t got = by_eventd ? readv(fd, &iov, 1) : read(fd, &value, sizeof(value));

	if (got != sizeof(value))
		die("read");
	return value;
}

static void add(int fd, uint64_t value, bool by_eventd)
{
	struct iovec iov = { &value, sizeof(value) };
	ssize_t put = by_eventd ? writev(fd, &iov, 1) : write(fd, &value, sizeof(value));

	if (put != sizeof(value))
		die("write");
}

/* The page that was mapped last. */
static uint8_t *last_page(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[4096];
	uintptr_t page = 0;

	while (fgets(line, sizeof(line), maps) != NULL)
		if (strstr(line, "/memfd:scheme-memory") != NULL)
			page = strtoull(line, NULL, 16);
	fclose(maps);
	must(page != 0, "a counter is mapped");
	return (uint8_t *)page;
}

static void check_garbage(const char *stat)
{
	int good = eventfd(0, 0), bad = eventfd(0, EFD_NONBLOCK), text_file;
	pid_t vandal, user;

	add(good, 1, false);
	add(bad, 1, false);
	uint8_t *page = last_page();
	if ((vandal = fork()) == 0)
		for (;;)
			page[rand() % 64] = rand();
	if ((user = fork()) == 0)
		for (uint64_t value = 1;; value = rand()) {
			struct iovec iov = { &value, sizeof(value) };

			/* It may wait for ever, for something that is not so. */
			fcntl(bad, F_SETFL, O_NONBLOCK);
			(void)!writev(bad, &iov, 1);
			(void)!readv(bad, &iov, 1);
			(void)!poll(&(struct pollfd){ .fd = bad, .events = POLLIN | POLLOUT }, 1, 0);
		}
	for (uint64_t i = 0; i < 20000; i++) {
		char text[4096];

		add(good, i, i % 3 == 0);
		must(take(good, i % 5 == 0) == i + (i == 0), "another counter minds nothing");
		if (i % 1000 == 0) {
			text_file = open(stat, O_RDONLY);
			must(read(text_file, text, sizeof(text)) > 0, "eventd serves");
			close(text_file);
		}
	}
	kill(vandal, SIGKILL);
	kill(user, SIGKILL);
	waitpid(vandal, NULL, 0);
	waitpid(user, NULL, 0);
	close(good);
	close(bad);
}

static void *wake_later(void *argument)
{
	add(*(int *)argument, 9, false);
	return NULL;
}

static void check_shell(void)
{
	int fd = eventfd(0, 0);
	char command[200];
	pthread_t thread;

	unsetenv("LD_PRELOAD");
	/* The reader may or may not sleep already when the shell writes. */
	snprintf(command, sizeof(command), "(sleep 0.1; printf '\\005\\000\\000\\000\\000\\000\\000\\000' >&%d) &", fd);
	must(system(command) == 0, "a shell");
	must(take(fd, false) == 5, "what the shell wrote");
	snprintf(command, sizeof(command), "test \"$(dd bs=8 count=1 status=none <&%d | od -An -tu8 | tr -d ' ')\" = 9", fd);
	pthread_create(&thread, NULL, wake_later, &fd);
	must(system(command) == 0, "the shell reads what was written in memory");
	pthread_join(thread, NULL);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "garbage") == 0 && argc > 2) {
		check_garbage(argv[2]);
	} else if (strcmp(mode, "shell") == 0) {
		check_shell();
	} else {
		return 2;
	}
	puts("done");
	return 0;
}
