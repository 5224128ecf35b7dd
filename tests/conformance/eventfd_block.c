/* Blocked readers, writers and pollers in threads and processes: 24, 27, 37, 38, 53, 54, 57. */
#include "events.h"


#define MAX_TASKS 8
#define TURNS 300

typedef struct task *(*starter)(task_body body, int fd, uint64_t value);

static void report_values(const char *key, const uint64_t *values, int count)
{
	printf("%s:", key);
	for (int i = 0; i < count; i++)
		printf(" %llu", (unsigned long long)values[i]);
	putchar('\n');
}

static int compare_values(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Which task gets which value is not defined, so the values are sorted. */
static void report_sorted_results(const char *key, struct task **tasks, int count)
{
	uint64_t values[MAX_TASKS];

	for (int i = 0; i < count; i++) {
		struct io io = finish_task(tasks[i]);

		values[i] = io.has_value ? io.value : 0;
	}
	qsort(values, (size_t)count, sizeof(values[0]), compare_values);
	report_values(key, values, count);
}

static void start_all(struct task **tasks, int count, starter start, task_body body,
		      int fd, uint64_t value)
{
	for (int i = 0; i < count; i++)
		tasks[i] = start(body, fd, value);
}

static void start_mixed(struct task **tasks, int count, task_body body, int fd, uint64_t value)
{
	for (int i = 0; i < count; i++)
		tasks[i] = (i % 2 ? start_process : start_thread)(body, fd, value);
}

/* ---- 24: one blocked reader ---- */

static void check_read_blocks(const char *name, starter start)
{
	int fd = make_counter(0, 0);
	struct task *reader = start(read_body, fd, 0);
	char key[64];

	snprintf(key, sizeof(key), "24.%s-on-zero", name);
	report_blocked(key, reader);
	snprintf(key, sizeof(key), "24.%s-write-zero", name);
	report_write(key, fd, 0);
	snprintf(key, sizeof(key), "24.%s-after-write-zero", name);
	report_blocked(key, reader);
	snprintf(key, sizeof(key), "24.%s-refused-write", name);
	report_write(key, fd, UINT64_MAX);
	snprintf(key, sizeof(key), "24.%s-after-refused-write", name);
	report_blocked(key, reader);
	snprintf(key, sizeof(key), "24.%s-write", name);
	report_write(key, fd, 7);
	snprintf(key, sizeof(key), "24.%s-value", name);
	report_task(key, reader);
	snprintf(key, sizeof(key), "24.%s-count-afterwards", name);
	report_io(key, io_take(fd));
	close(fd);
}

static struct io eventfd_read_body(struct task *task)
{
	eventfd_t value = 0;
	struct io io = io_result(eventfd_read(task->fd, &value));

	io.has_value = true;
	io.value = value;
	return io;
}

static void check_eventfd_read_blocks(void)
{
	int fd = make_counter(0, 0);
	struct task *reader = start_thread(eventfd_read_body, fd, 0);

	report_blocked("24.eventfd-read-on-zero", reader);
	report_write("24.eventfd-read-write", fd, 8);
	report_task("24.eventfd-read-value", reader);
	close(fd);
}

static void check_read_does_not_block(void)
{
	int fd = make_counter(4, 0);
	int semaphore = make_counter(2, EFD_SEMAPHORE);

	report_read("24.count-available", fd);
	report_read("24.semaphore-available", semaphore);
	report_read("24.semaphore-available-again", semaphore);
	close(fd);
	close(semaphore);
}

/* A write must be possible while another thread sits in read() of the same descriptor. */
static void check_turns_on_one_descriptor(void)
{
	int fd = make_counter(0, 0);
	uint64_t sum = 0;

	for (uint64_t i = 1; i <= 10; i++) {
		struct task *reader = start_thread(read_body, fd, 0);

		wait_until_blocked(reader);
		io_write(fd, i);
		sum += finish_task(reader).value;
	}
	report("24.ten-turns", "sum=%llu", (unsigned long long)sum);
	close(fd);
}

/* ---- 27: several blocked readers ---- */

static void check_semaphore_readers(void)
{
	int fd = make_counter(0, EFD_SEMAPHORE);
	struct task *readers[3];

	start_all(readers, 3, start_thread, read_body, fd, 0);
	report("27.semaphore-readers", "blocked=%d", count_blocked(readers, 3));
	report_write("27.semaphore-write-two", fd, 2);
	wait_finished(readers, 3, 2);
	report("27.semaphore-after-two", "blocked=%d", count_blocked(readers, 3));
	report_write("27.semaphore-write-one", fd, 1);
	report_sorted_results("27.semaphore-values", readers, 3);
	report_io("27.semaphore-count-afterwards", io_take(fd));
	close(fd);
}

static void check_semaphore_write_exceeds_readers(void)
{
	int fd = make_counter(0, EFD_SEMAPHORE);
	struct task *readers[4];

	start_mixed(readers, 4, read_body, fd, 0);
	report("27.mixed-semaphore-readers", "blocked=%d", count_blocked(readers, 4));
	report_write("27.mixed-semaphore-write-six", fd, 6);
	report_sorted_results("27.mixed-semaphore-values", readers, 4);
	report_io("27.mixed-semaphore-rest-first", io_take(fd));
	report_io("27.mixed-semaphore-rest-second", io_take(fd));
	report_io("27.mixed-semaphore-rest-third", io_take(fd));
	close(fd);
}

static void check_counter_readers(void)
{
	int fd = make_counter(0, 0);
	struct task *readers[3];

	start_all(readers, 3, start_thread, read_body, fd, 0);
	report("27.counter-readers", "blocked=%d", count_blocked(readers, 3));
	report_write("27.counter-write-five", fd, 5);
	wait_finished(readers, 3, 1);
	report("27.counter-after-five", "blocked=%d", count_blocked(readers, 3));
	report_write("27.counter-write-six", fd, 6);
	wait_finished(readers, 3, 2);
	report("27.counter-after-six", "blocked=%d", count_blocked(readers, 3));
	report_write("27.counter-write-seven", fd, 7);
	report_sorted_results("27.counter-values", readers, 3);
	close(fd);
}

static void check_counter_readers_mixed(void)
{
	int fd = make_counter(0, 0);
	struct task *readers[4];

	start_mixed(readers, 4, read_body, fd, 0);
	report("27.mixed-counter-readers", "blocked=%d", count_blocked(readers, 4));
	for (int i = 0; i < 4; i++) {
		io_write(fd, (uint64_t)(i + 1) * 10);
		wait_finished(readers, 4, i + 1);
	}
	report_sorted_results("27.mixed-counter-values", readers, 4);
	close(fd);
}

/* ---- 37, 38: blocked writers ---- */

static void check_write_blocks(const char *name, starter start)
{
	int fd = make_full_counter(0);
	struct task *writer = start(write_body, fd, 5);
	char key[64];

	snprintf(key, sizeof(key), "37.%s-at-maximum", name);
	report_blocked(key, writer);
	snprintf(key, sizeof(key), "37.%s-read", name);
	report_read(key, fd);
	snprintf(key, sizeof(key), "37.%s-released", name);
	report_task(key, writer);
	snprintf(key, sizeof(key), "37.%s-count-afterwards", name);
	report_io(key, io_take(fd));
	close(fd);
}

static struct io eventfd_write_body(struct task *task)
{
	return io_result(eventfd_write(task->fd, task->value));
}

static void check_eventfd_write_blocks(void)
{
	int fd = make_full_counter(0);
	struct task *writer = start_thread(eventfd_write_body, fd, 5);

	report_blocked("37.eventfd-write-at-maximum", writer);
	report_read("37.eventfd-write-read", fd);
	report_task("37.eventfd-write-released", writer);
	report_io("37.eventfd-write-count-afterwards", io_take(fd));
	close(fd);
}

static void check_write_waits_for_whole_room(void)
{
	int fd = make_full_counter(EFD_SEMAPHORE);
	struct task *writer = start_thread(write_body, fd, 3);

	report_blocked("37.no-room", writer);
	report_read("37.first-read", fd);
	report_blocked("37.room-for-one", writer);
	report_read("37.second-read", fd);
	report_blocked("37.room-for-two", writer);
	report_read("37.third-read", fd);
	report_task("37.room-for-three", writer);
	report("37.full-again", "writable=%s", yes_no(poll_now(fd, POLLOUT)));
	close(fd);
}

static void check_several_writers(void)
{
	int fd = make_full_counter(0);
	struct task *writers[4];
	uint64_t total = 0;

	start_mixed(writers, 4, write_body, fd, 6);
	report("37.four-writers", "blocked=%d", count_blocked(writers, 4));
	report_read("37.four-writers-read", fd);
	for (int i = 0; i < 4; i++)
		total += (uint64_t)finish_task(writers[i]).ret;
	report("37.four-writers-released", "bytes=%llu", (unsigned long long)total);
	report_io("37.four-writers-count", io_take(fd));
	close(fd);
}

/* Room for one of two equal writers only: each read releases exactly one. */
static void check_writers_in_turn(void)
{
	int fd = make_full_counter(0);
	struct task *writers[2];

	start_all(writers, 2, start_thread, write_body, fd, COUNT_MAX);
	report("37.two-large-writers", "blocked=%d", count_blocked(writers, 2));
	report_read("37.two-large-first-read", fd);
	wait_finished(writers, 2, 1);
	report("37.two-large-after-read", "blocked=%d", count_blocked(writers, 2));
	report_read("37.two-large-second-read", fd);
	wait_finished(writers, 2, 2);
	report_read("37.two-large-third-read", fd);
	report_task("37.two-large-first-writer", writers[0]);
	report_task("37.two-large-second-writer", writers[1]);
	report_io("37.two-large-empty", io_take(fd));
	close(fd);
}

static void check_small_write_passes(void)
{
	int fd = make_counter(0, EFD_SEMAPHORE);
	struct task *writer;

	io_write(fd, COUNT_MAX - 10);
	writer = start_thread(write_body, fd, 100);
	report_blocked("38.large-write", writer);
	report_write("38.small-write", fd, 4);
	report_write("38.zero-write", fd, 0);
	report_blocked("38.large-write-after-small", writer);
	report_read("38.semaphore-read", fd);
	report_blocked("38.large-write-after-read", writer);
	/* Room was 10 - 4 + 1, so the next two fit and a third does not. */
	report_write("38.fill-to-one-below", fd, 6);
	report_write("38.fill-to-maximum", fd, 1);
	report("38.full", "writable=%s", yes_no(poll_now(fd, POLLOUT)));
	for (int i = 0; i < 100; i++)
		io_read(fd);
	report_task("38.large-write-released", writer);
	report("38.full-again", "writable=%s", yes_no(poll_now(fd, POLLOUT)));
	close(fd);
}

static void check_small_write_passes_counter_mode(void)
{
	int fd = make_counter(0, 0);
	struct task *writer;

	io_write(fd, COUNT_MAX - 10);
	writer = start_process(write_body, fd, 100);
	report_blocked("38.counter-large-write", writer);
	report_write("38.counter-small-write", fd, 10);
	report_blocked("38.counter-large-write-after-small", writer);
	report_read("38.counter-read", fd);
	report_task("38.counter-large-write-released", writer);
	report_io("38.counter-count-afterwards", io_take(fd));
	close(fd);
}

/* ---- 53: every poller is woken ---- */

static struct io poll_body(struct task *task)
{
	struct pollfd p = { .fd = task->fd, .events = (short)task->value };

	return io_result(poll(&p, 1, -1));
}

static struct io own_epoll_body(struct task *task)
{
	int epoll = make_epoll(task->fd, EPOLLIN | (uint32_t)task->value);
	struct epoll_event event;
	struct io io = io_result(epoll_wait(epoll, &event, 1, -1));

	close(epoll);
	return io;
}

static int sum_results(struct task **tasks, int count)
{
	int sum = 0;

	for (int i = 0; i < count; i++)
		sum += (int)finish_task(tasks[i]).ret;
	return sum;
}

static void check_all_pollers_wake(void)
{
	int fd = make_counter(0, 0);
	struct task *pollers[MAX_TASKS];

	start_mixed(pollers, 4, poll_body, fd, POLLIN);
	start_mixed(pollers + 4, 2, own_epoll_body, fd, 0);
	pollers[6] = start_process(own_epoll_body, fd, EPOLLET);
	pollers[7] = start_thread(select_body, fd, 0);
	report("53.pollers", "blocked=%d", count_blocked(pollers, MAX_TASKS));
	report_write("53.write-one", fd, 1);
	report("53.woken", "ready=%d", sum_results(pollers, MAX_TASKS));
	report_read("53.count-untouched", fd);
	close(fd);
}

static void check_all_writability_pollers_wake(void)
{
	int fd = make_full_counter(0);
	struct task *pollers[4];

	start_mixed(pollers, 4, poll_body, fd, POLLOUT);
	report("53.out-pollers", "blocked=%d", count_blocked(pollers, 4));
	report_read("53.out-read", fd);
	report("53.out-woken", "ready=%d", sum_results(pollers, 4));
	close(fd);
}

static void check_pollers_and_reader(void)
{
	int fd = make_counter(0, EFD_SEMAPHORE);
	struct task *poller = start_process(poll_body, fd, POLLIN);
	struct task *reader = start_thread(read_body, fd, 0);

	report_blocked("53.poller-beside-reader", poller);
	report_blocked("53.reader-beside-poller", reader);
	report_write("53.write-two", fd, 2);
	report_task("53.reader-result", reader);
	report_task("53.poller-result", poller);
	close(fd);
}

static void check_poll_ignores_write_zero(void)
{
	int fd = make_counter(0, 0);
	struct task *poller = start_thread(poll_body, fd, POLLIN);

	report_blocked("53.poller-before-zero", poller);
	report_write("53.write-zero", fd, 0);
	report_blocked("53.poller-after-zero", poller);
	report_write("53.write-after-zero", fd, 1);
	report_task("53.poller-after-write", poller);
	close(fd);
}

/* Two threads in epoll_wait of one instance share the events: both are served in the end. */
static struct io shared_epoll_body(struct task *task)
{
	struct epoll_event event;

	return io_result(epoll_wait(task->fd, &event, 1, -1));
}

static void check_shared_epoll(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN);
	struct task *waiters[3];

	start_all(waiters, 3, start_thread, shared_epoll_body, epoll, 0);
	report("53.shared-epoll-waiters", "blocked=%d", count_blocked(waiters, 3));
	report_write("53.shared-epoll-write", fd, 1);
	report("53.shared-epoll-woken", "ready=%d", sum_results(waiters, 3));
	close(epoll);
	close(fd);
}

/* ---- 54: nothing is lost when many tasks race ---- */

static struct io writer_race_body(struct task *task)
{
	int written = 0;

	for (int i = 0; i < TURNS; i++)
		written += io_write(task->fd, task->value).ret == 8;
	return io_result(written);
}

static struct io semaphore_reader_race_body(struct task *task)
{
	uint64_t taken = 0;

	for (int i = 0; i < TURNS; i++)
		taken += io_read(task->fd).value;
	return io_result((ssize_t)taken);
}

static void check_semaphore_race(void)
{
	int fd = make_counter(0, EFD_SEMAPHORE);
	struct task *readers[3], *writers[3];

	start_mixed(readers, 3, semaphore_reader_race_body, fd, 0);
	start_mixed(writers, 3, writer_race_body, fd, 1);
	report("54.semaphore-race-writes", "%d", sum_results(writers, 3));
	report("54.semaphore-race-reads", "%d", sum_results(readers, 3));
	report_io("54.semaphore-race-rest", io_take(fd));
	close(fd);
}

static uint64_t read_until(int fd, uint64_t wanted)
{
	uint64_t sum = 0;

	while (sum < wanted) {
		struct io io = io_read(fd);

		if (!io.has_value)
			break;
		sum += io.value;
	}
	return sum;
}

static void check_counter_race(void)
{
	int fd = make_counter(0, 0);
	struct task *writers[3];
	uint64_t sum;

	start_mixed(writers, 3, writer_race_body, fd, 7);
	sum = read_until(fd, 3 * TURNS * 7);
	report("54.counter-race-writes", "%d", sum_results(writers, 3));
	report("54.counter-race-sum", "%llu", (unsigned long long)sum);
	report_io("54.counter-race-rest", io_take(fd));
	close(fd);
}

/* Each value fits only into an empty counter, so every write waits for a read. */
static void check_writer_race_at_maximum(void)
{
	int fd = make_counter(0, 0);
	struct task *writers[2];
	int maximum_reads = 0;

	start_mixed(writers, 2, writer_race_body, fd, COUNT_MAX);
	for (int i = 0; i < 2 * TURNS; i++)
		maximum_reads += io_read(fd).value == COUNT_MAX;
	report("54.maximum-race-reads", "%d", maximum_reads);
	report("54.maximum-race-writes", "%d", sum_results(writers, 2));
	report_io("54.maximum-race-rest", io_take(fd));
	close(fd);
}

static struct io poll_and_read_body(struct task *task)
{
	struct pollfd p = { .fd = task->fd, .events = POLLIN };
	uint64_t sum = 0;

	while (sum < task->value) {
		struct io io;

		if (poll(&p, 1, 5000) != 1)
			break;
		io = io_read(task->fd);
		sum += io.has_value ? io.value : 0;
	}
	return io_result((ssize_t)sum);
}

static void check_poller_race(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	struct task *reader = start_thread(poll_and_read_body, fd, 3 * TURNS);
	struct task *writers[3];

	start_mixed(writers, 3, writer_race_body, fd, 1);
	report("54.poll-race-writes", "%d", sum_results(writers, 3));
	report("54.poll-race-sum", "%zd", finish_task(reader).ret);
	close(fd);
}

/* ---- 57: a poll that times out leaves the count and other waiters alone ---- */

static void check_poll_timeout(void)
{
	int fd = make_counter(0, 0);
	struct task *reader = start_thread(read_body, fd, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	report_blocked("57.reader-before-timeout", reader);
	report_call("57.poll-timeout", poll(&p, 1, 20));
	report_blocked("57.reader-after-timeout", reader);
	report_write("57.write-after-timeout", fd, 3);
	report_task("57.reader-value", reader);
	close(fd);
}

int main(void)
{
	start_output();
	GROUP(check_read_blocks("thread", start_thread));
	GROUP(check_read_blocks("process", start_process));
	GROUP(check_eventfd_read_blocks());
	GROUP(check_read_does_not_block());
	GROUP(check_turns_on_one_descriptor());
	GROUP(check_semaphore_readers());
	GROUP(check_semaphore_write_exceeds_readers());
	GROUP(check_counter_readers());
	GROUP(check_counter_readers_mixed());
	GROUP(check_write_blocks("thread", start_thread));
	GROUP(check_write_blocks("process", start_process));
	GROUP(check_eventfd_write_blocks());
	GROUP(check_write_waits_for_whole_room());
	GROUP(check_several_writers());
	GROUP(check_writers_in_turn());
	GROUP(check_small_write_passes());
	GROUP(check_small_write_passes_counter_mode());
	GROUP(check_all_pollers_wake());
	GROUP(check_all_writability_pollers_wake());
	GROUP(check_pollers_and_reader());
	GROUP(check_poll_ignores_write_zero());
	GROUP(check_shared_epoll());
	GROUP(check_semaphore_race());
	GROUP(check_counter_race());
	GROUP(check_writer_race_at_maximum());
	GROUP(check_poller_race());
	GROUP(check_poll_timeout());
	return 0;
}
