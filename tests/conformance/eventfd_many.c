/* A thousand counters at once, each with a value of its own: 1, 20, 42, 61. */
#include "events.h"

#include <sys/resource.h>

#define COUNTERS 1000

static int counters[COUNTERS];

static uint64_t own_value(int i)
{
	return (uint64_t)i * 1000003 + 1;
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void create_all(void)
{
	int created = 0;

	for (int i = 0; i < COUNTERS; i++) {
		counters[i] = eventfd((unsigned int)i, EFD_NONBLOCK);
		created += counters[i] >= 0;
	}
	report("61.created", "%d", created);
	if (created < COUNTERS)
		die("eventfd");
}

static int compare_numbers(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void check_distinct_descriptors(void)
{
	int sorted[COUNTERS], distinct = 1;

	memcpy(sorted, counters, sizeof(sorted));
	qsort(sorted, COUNTERS, sizeof(sorted[0]), compare_numbers);
	for (int i = 1; i < COUNTERS; i++)
		distinct += sorted[i] != sorted[i - 1];
	report("61.distinct-descriptors", "%d", distinct);
}

static void check_initial_values(void)
{
	int correct = 0;

	for (int i = 0; i < COUNTERS; i++) {
		struct io io = io_read(counters[i]);

		correct += i == 0 ? io.ret == -1 && io.err == EAGAIN
				  : io.has_value && io.value == (uint64_t)i;
	}
	report("1.many-initial-values", "correct=%d", correct);
}

static int count_ready(short asked, struct pollfd *fds)
{
	int ready = 0;

	for (int i = 0; i < COUNTERS; i++)
		fds[i] = (struct pollfd){ .fd = counters[i], .events = asked };
	must(poll(fds, COUNTERS, 0), "poll");
	for (int i = 0; i < COUNTERS; i++)
		ready += fds[i].revents == asked;
	return ready;
}

static void check_poll(void)
{
	static struct pollfd fds[COUNTERS];
	int right = 0;

	report("42.many-empty", "readable=%d", count_ready(POLLIN, fds));
	for (int i = 0; i < COUNTERS; i += 3)
		io_write(counters[i], own_value(i));
	report("42.many-every-third", "readable=%d", count_ready(POLLIN, fds));
	for (int i = 0; i < COUNTERS; i++)
		right += (fds[i].revents == POLLIN) == (i % 3 == 0);
	report("42.many-right-ones", "%d", right);
	report("42.many-writable", "%d", count_ready(POLLOUT, fds));
	for (int i = 0; i < COUNTERS; i++)
		if (i % 3 != 0)
			io_write(counters[i], own_value(i));
}

static void check_values(void)
{
	int correct = 0, empty = 0;

	/* Backwards, so the order of reading is not the order of writing. */
	for (int i = COUNTERS - 1; i >= 0; i--)
		correct += io_read(counters[i]).value == own_value(i);
	for (int i = 0; i < COUNTERS; i++)
		empty += io_read(counters[i]).err == EAGAIN;
	report("20.many-values", "correct=%d", correct);
	report("20.many-empty-afterwards", "%d", empty);
}

/* One epoll instance over all counters: each event must name the counter written. */
static void check_epoll(uint32_t flags, const char *key)
{
	int epoll = must(epoll_create1(0), "epoll_create1"), right = 0;
	struct epoll_event event;

	for (int i = 0; i < COUNTERS; i++)
		watch(epoll, EPOLL_CTL_ADD, counters[i], EPOLLIN | flags);
	for (int i = 0; i < COUNTERS; i++) {
		int fd = counters[(i * 7) % COUNTERS];

		io_write(fd, 1);
		if (epoll_wait(epoll, &event, 1, 5000) == 1 && event.data.fd == fd)
			right += io_read(fd).value == 1;
	}
	report(key, "right=%d", right);
	close(epoll);
}

static void close_all(void)
{
	int closed = 0;

	for (int i = 0; i < COUNTERS; i++)
		closed += close(counters[i]) == 0;
	report("61.closed", "%d", closed);
}

static void check_created_again(void)
{
	int correct = 0;

	for (int i = 0; i < COUNTERS; i++)
		counters[i] = make_counter((unsigned int)(COUNTERS - i), EFD_NONBLOCK);
	for (int i = 0; i < COUNTERS; i++)
		correct += io_read(counters[i]).value == (uint64_t)(COUNTERS - i);
	report("61.created-again", "correct=%d", correct);
	for (int i = 0; i < COUNTERS; i++)
		close(counters[i]);
}

int main(void)
{
	start_checks();
	raise_descriptor_limit();
	create_all();
	check_distinct_descriptors();
	check_initial_values();
	check_poll();
	check_values();
	check_epoll(0, "42.many-epoll-level");
	check_epoll(EPOLLET, "48.many-epoll-edge");
	close_all();
	check_created_again();
	return 0;
}
