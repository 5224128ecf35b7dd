/*
 * Eventfds of which some processes change the count in memory (read, write) and others at eventd (readv, writev, or without the preload library).
 *
 * shared_count sum        what 4 writers write, 4 readers read
 * shared_count killed     the same while all of them are killed again and again: not more is lost or left than the kills explain
 * shared_count forks      children of a process with busy threads
 * shared_count closed     reads, writes and sleeps while the descriptor is closed and its number used again
 * shared_count garbage    another process writes nonsense to the page; other counters and eventd mind nothing
 * shared_count shell      a shell that knows nothing of it wakes a reader, and is woken by a writer
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 8
#define KILLS 300
#define EACH 500000

/* What each worker is sure to have written or read. */
static _Atomic uint64_t *done;

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

/* Workers 0 to 3 write, the others read; every fourth at eventd. */
static pid_t start_worker(int fd, int number, uint64_t limit)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	for (uint64_t i = 0; i < limit; i++) {
		uint64_t value = number < WORKERS / 2 ? 1 : take(fd, number % 4 == 0);

		if (number < WORKERS / 2)
			add(fd, value, number % 4 == 0);
		done[number] += value;
	}
	_exit(0);
}

static uint64_t sum(int first, int end)
{
	uint64_t total = 0;

	for (int i = first; i < end; i++)
		total += done[i];
	return total;
}

/* Waits until the readers have all of it; whoever lost a wake-up makes this wait for ever. */
static void await_read(uint64_t total)
{
	while (sum(WORKERS / 2, WORKERS) < total)
		sched_yield();
	must(sum(WORKERS / 2, WORKERS) == total, "nothing is read twice");
}

static void check_sum(int flags)
{
	int fd = eventfd(0, flags);
	pid_t pids[WORKERS];

	memset((void *)done, 0, WORKERS * sizeof(*done));
	for (int i = 0; i < WORKERS; i++)
		pids[i] = start_worker(fd, i, i < WORKERS / 2 ? (i % 4 == 0 ? EACH / 20 : EACH) : UINT64_MAX);
	for (int i = 0; i < WORKERS / 2; i++)
		waitpid(pids[i], NULL, 0);
	await_read(sum(0, WORKERS / 2));
	for (int i = WORKERS / 2; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	close(fd);
}

static void check_killed(void)
{
	int fd = eventfd(0, EFD_SEMAPHORE);
	pid_t pids[WORKERS];
	uint64_t left = 0, written, taken;

	for (int i = 0; i < WORKERS; i++)
		pids[i] = start_worker(fd, i, UINT64_MAX);
	for (int i = 0; i < KILLS; i++) {
		int number = rand() % WORKERS;
		uint64_t before = sum(0, WORKERS);

		/* Something has to be done between two kills; also whoever sleeps is sure to be woken. */
		while (sum(0, WORKERS) < before + rand() % 200)
			sched_yield();
		kill(pids[number], SIGKILL);
		waitpid(pids[number], NULL, 0);
		pids[number] = start_worker(fd, number, UINT64_MAX);
	}
	for (int i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (uint64_t value; read(fd, &value, sizeof(value)) > 0;)
		left += value;
	must(errno == EAGAIN, "the rest is read to the end");
	written = sum(0, WORKERS / 2);
	taken = sum(WORKERS / 2, WORKERS) + left;
	/* A killed writer may have added one that it did not note, a killed reader taken one. */
	must(taken <= written + KILLS + WORKERS && written <= taken + KILLS + WORKERS, "each kill explains one");
	close(fd);
}

static atomic_bool stop;

static void *back_and_forth(void *argument)
{
	uint64_t *rounds = argument;

	while (!stop) {
		int fd = eventfd(0, 0), copy = dup(fd);

		for (uint64_t i = 1; i < 20; i++) {
			add(i % 2 ? fd : copy, i, i % 7 == 0);
			must(take(copy, i % 5 == 0) == i, "what was written is read");
		}
		close(fd);
		close(copy);
		++*rounds;
	}
	return NULL;
}

static void check_forks(void)
{
	int fd = eventfd(0, 0);
	pthread_t threads[4];
	uint64_t rounds[4] = { 0 };

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, back_and_forth, &rounds[i]);
	for (int i = 0; i < 300; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			int own = eventfd(0, 0);

			add(own, 7, false);
			if (take(own, false) != 7)
				_exit(1);
			close(own);
			add(fd, 3, false);
			_exit(0);
		}
		int status;
		waitpid(pid, &status, 0);
		must(status == 0, "a child uses its own and its parent's");
	}
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	must(take(fd, false) == 900, "all children have written");
	close(fd);
}

static int number_in_use;

static void *use_number(void *argument)
{
	(void)argument;
	while (!stop) {
		uint64_t value = 1;

		if (write(number_in_use, &value, sizeof(value)) < 0)
			must(errno == EBADF || errno == EAGAIN, "a write to what is closed");
		if (read(number_in_use, &value, sizeof(value)) < 0)
			must(errno == EBADF || errno == EAGAIN, "a read of what is closed");
	}
	return NULL;
}

static void *sleep_in_read(void *argument)
{
	uint64_t value = 0;
	ssize_t got = read(*(int *)argument, &value, sizeof(value));

	must((got == 8 && value == 5) || (got < 0 && errno == EBADF), "a read that slept over a close");
	return NULL;
}

static void check_closed(void)
{
	pthread_t user, sleeper;

	number_in_use = eventfd(0, EFD_NONBLOCK);
	stop = false;
	pthread_create(&user, NULL, use_number, NULL);
	for (int i = 0; i < 500; i++) {
		/* Mostly it is the same number again, unless the memory's descriptor has it for a moment. */
		close(number_in_use);
		int other = eventfd(0, EFD_NONBLOCK);
		if (other == number_in_use)
			other = eventfd(0, EFD_NONBLOCK);
		while (dup2(other, number_in_use) != number_in_use)
			must(errno == EBUSY, "dup2");
		close(other);
	}
	stop = true;
	pthread_join(user, NULL);
	close(number_in_use);
	for (int i = 0; i < 200; i++) {
		int fd = eventfd(0, 0), copy = dup(fd), ends[2];

		/* So that no page is mapped later, for which the descriptor of memory would have the number for a moment. */
		add(copy, 0, false);
		pthread_create(&sleeper, NULL, sleep_in_read, &fd);
		for (int turns = rand() % 50; turns > 0; turns--)
			sched_yield();
		close(fd);
		if (i % 2 == 0)
			must(pipe(ends) == 0, "pipe");
		add(copy, 5, false);
		if (i % 2 == 0) {
			/* Whoever came too late for the counter may wait for the pipe. */
			must(write(ends[1], &(uint64_t){ 5 }, 8) == 8, "write to a pipe");
			close(ends[1]);
		}
		pthread_join(sleeper, NULL);
		if (i % 2 == 0)
			close(ends[0]);
		close(copy);
	}
}

/* The page that was mapped last. */
static uint8_t *last_page(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[4096];
	uintptr_t page = 0;

	while (fgets(line, sizeof(line), maps) != NULL)
		if (strstr(line, "/.dup-") != NULL)
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

	done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (strcmp(mode, "sum") == 0) {
		check_sum(0);
		check_sum(EFD_SEMAPHORE);
	} else if (strcmp(mode, "killed") == 0) {
		check_killed();
	} else if (strcmp(mode, "forks") == 0) {
		check_forks();
	} else if (strcmp(mode, "closed") == 0) {
		check_closed();
	} else if (strcmp(mode, "garbage") == 0 && argc > 2) {
		check_garbage(argv[2]);
	} else if (strcmp(mode, "shell") == 0) {
		check_shell();
	} else {
		return 2;
	}
	puts("done");
	return 0;
}
