/*
 * Signals and blocked operations: 55 (EINTR), 56 (SA_RESTART), 57 (what remains
 * is right, also after SIGKILL, SIGSTOP and thread cancellation).
 */
#include "events.h"

#include <sys/time.h>

static atomic_int signals_seen;

static void count_signal(int number)
{
	(void)number;
	signals_seen++;
}

static void handle(int number, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_flags = flags };

	action.sa_handler = handler;
	sigemptyset(&action.sa_mask);
	must(sigaction(number, &action, NULL), "sigaction");
}

/* Sends SIGUSR1 to the task's thread and waits until its handler has run. */
static void interrupt_thread(struct task *task)
{
	int before = signals_seen;

	if (pthread_kill(task->thread, SIGUSR1) != 0)
		die("pthread_kill");
	while (signals_seen == before)
		pause_briefly();
}

static void make_key(char key[64], int number, const char *name, const char *part)
{
	snprintf(key, 64, "%d.%s-%s", number, name, part);
}

/* ---- the interruptible operations ---- */

static struct io eventfd_read_body(struct task *task)
{
	eventfd_t value = 0;
	struct io io = io_result(eventfd_read(task->fd, &value));

	io.has_value = io.ret == 0;
	io.value = value;
	return io;
}

static struct io eventfd_write_body(struct task *task)
{
	return io_result(eventfd_write(task->fd, task->value));
}

static struct io poll_body(struct task *task)
{
	struct pollfd p = { .fd = task->fd, .events = POLLIN };

	return io_result(poll(&p, 1, -1));
}

static struct io epoll_body(struct task *task)
{
	int epoll = make_epoll(task->fd, EPOLLIN);
	struct epoll_event event;
	struct io io = io_result(epoll_wait(epoll, &event, 1, -1));

	close(epoll);
	return io;
}

/* ---- 55, 57: without SA_RESTART ---- */

static void check_interrupted_reader(const char *name, task_body body, int flags)
{
	int fd = make_counter(0, flags);
	struct task *reader = start_thread(body, fd, 0);
	char key[64];

	make_key(key, 55, name, "before");
	report_blocked(key, reader);
	interrupt_thread(reader);
	make_key(key, 55, name, "interrupted");
	report_task(key, reader);
	make_key(key, 57, name, "count");
	report_io(key, io_take(fd));
	make_key(key, 57, name, "write-afterwards");
	report_write(key, fd, 1);
	make_key(key, 57, name, "value-afterwards");
	report_io(key, io_take(fd));
	close(fd);
}

static void check_interrupted_writer(const char *name, task_body body)
{
	int fd = make_full_counter(0);
	struct task *writer = start_thread(body, fd, 100);
	char key[64];

	make_key(key, 55, name, "before");
	report_blocked(key, writer);
	interrupt_thread(writer);
	make_key(key, 55, name, "interrupted");
	report_task(key, writer);
	make_key(key, 57, name, "count");
	report_io(key, io_take(fd));
	make_key(key, 57, name, "nothing-added-later");
	report_io(key, io_take(fd));
	close(fd);
}

/* Repeated, because the first may come before the read that it shall interrupt. */
static void repeat_alarm(suseconds_t period)
{
	const struct itimerval timer = {
		.it_interval = { .tv_usec = period },
		.it_value = { .tv_usec = period },
	};

	must(setitimer(ITIMER_REAL, &timer, NULL), "setitimer");
}

static void check_interrupted_by_timer(void)
{
	int fd = make_counter(0, 0);

	handle(SIGALRM, count_signal, 0);
	repeat_alarm(50000);
	report_read("55.alarm-read", fd);
	repeat_alarm(0);
	report_write("57.alarm-write", fd, 2);
	report_read("57.alarm-value", fd);
	handle(SIGALRM, SIG_DFL, 0);
	close(fd);
}

/* Only the thread that got the signal leaves its read. */
static void check_other_reader_stays(void)
{
	int fd = make_counter(0, 0);
	struct task *struck = start_thread(read_body, fd, 0);
	struct task *other = start_thread(read_body, fd, 0);

	report_blocked("55.two-readers-first", struck);
	report_blocked("55.two-readers-second", other);
	interrupt_thread(struck);
	report_task("55.two-readers-interrupted", struck);
	report_blocked("57.two-readers-other", other);
	report_write("57.two-readers-write", fd, 6);
	report_task("57.two-readers-other-value", other);
	close(fd);
}

static void check_interrupted_many_times(void)
{
	int fd = make_counter(0, 0), interrupted = 0;

	for (int i = 0; i < 10; i++) {
		struct task *reader = start_thread(read_body, fd, 0);
		struct io io;

		wait_until_blocked(reader);
		interrupt_thread(reader);
		io = finish_task(reader);
		interrupted += io.ret == -1 && io.err == EINTR;
	}
	report("55.ten-times", "interrupted=%d", interrupted);
	report_write("57.ten-times-write", fd, 3);
	report_io("57.ten-times-value", io_take(fd));
	close(fd);
}

/* ---- 55: signals that run no handler do not interrupt ---- */

static struct io read_with_usr2_blocked(struct task *task)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return io_read(task->fd);
}

static void check_unhandled_signal(const char *name, task_body body, int number)
{
	int fd = make_counter(0, 0);
	struct task *reader = start_thread(body, fd, 0);
	char key[64];

	make_key(key, 55, name, "before");
	report_blocked(key, reader);
	if (pthread_kill(reader->thread, number) != 0)
		die("pthread_kill");
	make_key(key, 55, name, "after");
	report_blocked(key, reader);
	make_key(key, 55, name, "write");
	report_write(key, fd, 4);
	make_key(key, 55, name, "value");
	report_task(key, reader);
	close(fd);
}

static void check_unhandled_signals(void)
{
	handle(SIGUSR2, SIG_IGN, 0);
	check_unhandled_signal("ignored-signal", read_body, SIGUSR2);
	handle(SIGUSR2, SIG_DFL, 0);
	check_unhandled_signal("default-ignored-signal", read_body, SIGWINCH);
	handle(SIGUSR2, count_signal, 0);
	check_unhandled_signal("masked-signal", read_with_usr2_blocked, SIGUSR2);
}

/* ---- 56: with SA_RESTART ---- */

static void check_restarted_reader(const char *name, task_body body)
{
	int fd = make_counter(0, 0);
	struct task *reader = start_thread(body, fd, 0);
	char key[64];

	make_key(key, 56, name, "before");
	report_blocked(key, reader);
	interrupt_thread(reader);
	make_key(key, 56, name, "after-signal");
	report_blocked(key, reader);
	make_key(key, 56, name, "write");
	report_write(key, fd, 9);
	make_key(key, 56, name, "value");
	report_task(key, reader);
	make_key(key, 56, name, "count-afterwards");
	report_io(key, io_take(fd));
	close(fd);
}

static void check_restarted_writer(const char *name, task_body body)
{
	int fd = make_full_counter(0);
	struct task *writer = start_thread(body, fd, 9);
	char key[64];

	make_key(key, 56, name, "before");
	report_blocked(key, writer);
	interrupt_thread(writer);
	make_key(key, 56, name, "after-signal");
	report_blocked(key, writer);
	make_key(key, 56, name, "read");
	report_read(key, fd);
	make_key(key, 56, name, "result");
	report_task(key, writer);
	make_key(key, 56, name, "count-afterwards");
	report_io(key, io_take(fd));
	close(fd);
}

/* poll, select and epoll_wait are never restarted. */
static void check_never_restarted(const char *name, task_body body)
{
	int fd = make_counter(0, 0);
	struct task *waiter = start_thread(body, fd, 0);
	char key[64];

	make_key(key, 56, name, "before");
	report_blocked(key, waiter);
	interrupt_thread(waiter);
	make_key(key, 56, name, "interrupted");
	report_task(key, waiter);
	close(fd);
}

/* ---- 57: a blocked process is killed, stopped; a blocked thread is cancelled ---- */

static void report_killed(const char *key, struct task *task)
{
	int status;

	kill(task->pid, SIGKILL);
	must(waitpid(task->pid, &status, 0), "waitpid");
	report(key, "killed=%s finished=%s",
	       yes_no(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL),
	       yes_no(task->finished));
	unmap_page(task);
}

static void check_killed_reader(void)
{
	int fd = make_counter(0, 0);
	struct task *reader = start_process(read_body, fd, 0);

	report_blocked("57.killed-reader-before", reader);
	report_killed("57.killed-reader", reader);
	report_write("57.killed-reader-write", fd, 5);
	report_io("57.killed-reader-value", io_take(fd));
	close(fd);
}

static void check_killed_reader_beside_another(void)
{
	int fd = make_counter(0, EFD_SEMAPHORE);
	struct task *killed = start_process(read_body, fd, 0);
	struct task *other;

	report_blocked("57.killed-first-reader-before", killed);
	other = start_process(read_body, fd, 0);
	report_blocked("57.second-reader-before", other);
	report_killed("57.killed-first-reader", killed);
	report_blocked("57.second-reader-after-kill", other);
	report_write("57.second-reader-write", fd, 1);
	report_task("57.second-reader-value", other);
	report_io("57.second-reader-count", io_take(fd));
	close(fd);
}

static void check_killed_writer(void)
{
	int fd = make_full_counter(0);
	struct task *writer = start_process(write_body, fd, 100);

	report_blocked("57.killed-writer-before", writer);
	report_killed("57.killed-writer", writer);
	report_io("57.killed-writer-count", io_take(fd));
	report_io("57.killed-writer-nothing-added", io_take(fd));
	close(fd);
}

static void check_killed_poller(void)
{
	int fd = make_counter(0, 0);
	struct task *poller = start_process(poll_body, fd, 0);

	report_blocked("57.killed-poller-before", poller);
	report_killed("57.killed-poller", poller);
	report_write("57.killed-poller-write", fd, 5);
	report_io("57.killed-poller-value", io_take(fd));
	close(fd);
}

static void check_stopped_reader(void)
{
	int fd = make_counter(0, 0);
	struct task *reader = start_process(read_body, fd, 0);
	int status;

	report_blocked("56.stopped-reader-before", reader);
	kill(reader->pid, SIGSTOP);
	must(waitpid(reader->pid, &status, WUNTRACED), "waitpid");
	report("56.stopped-reader", "stopped=%s", yes_no(WIFSTOPPED(status)));
	kill(reader->pid, SIGCONT);
	report_blocked("56.stopped-reader-continued", reader);
	report_write("56.stopped-reader-write", fd, 5);
	report_task("56.stopped-reader-value", reader);
	close(fd);
}

static void check_cancelled(const char *name, task_body body, int fd)
{
	struct task *task = start_thread(body, fd, 100);
	void *result = NULL;
	char key[64];

	make_key(key, 57, name, "before");
	report_blocked(key, task);
	pthread_cancel(task->thread);
	pthread_join(task->thread, &result);
	make_key(key, 57, name, "cancelled");
	report(key, "%s", yes_no(result == PTHREAD_CANCELED));
	unmap_page(task);
}

static void check_cancelled_reader(void)
{
	int fd = make_counter(0, 0);

	check_cancelled("cancelled-reader", read_body, fd);
	report_write("57.cancelled-reader-write", fd, 5);
	report_io("57.cancelled-reader-value", io_take(fd));
	close(fd);
}

static void check_cancelled_writer(void)
{
	int fd = make_full_counter(0);

	check_cancelled("cancelled-writer", write_body, fd);
	report_io("57.cancelled-writer-count", io_take(fd));
	report_io("57.cancelled-writer-nothing-added", io_take(fd));
	close(fd);
}

static void check_cancelled_eventfd_calls(void)
{
	int fd = make_counter(0, 0), full = make_full_counter(0);

	check_cancelled("cancelled-eventfd-read", eventfd_read_body, fd);
	check_cancelled("cancelled-eventfd-write", eventfd_write_body, full);
	close(fd);
	close(full);
}

/* How an event loop is told of a signal: eventfd_write() in the handler. */
static int counter_for_handler;

static void write_to_counter(int number)
{
	int saved = errno;

	(void)number;
	eventfd_write(counter_for_handler, 1);
	errno = saved;
	signals_seen++;
}

static void check_write_from_handler(void)
{
	counter_for_handler = make_counter(0, EFD_NONBLOCK);
	handle(SIGUSR2, write_to_counter, SA_RESTART);
	raise(SIGUSR2);
	raise(SIGUSR2);
	report_read("57.written-by-handler", counter_for_handler);
	close(counter_for_handler);
}

int main(void)
{
	start_output();

	handle(SIGUSR1, count_signal, 0);
	GROUP(check_interrupted_reader("read", read_body, 0));
	GROUP(check_interrupted_reader("semaphore-read", read_body, EFD_SEMAPHORE));
	GROUP(check_interrupted_reader("eventfd-read", eventfd_read_body, 0));
	GROUP(check_interrupted_reader("poll", poll_body, 0));
	GROUP(check_interrupted_reader("select", select_body, 0));
	GROUP(check_interrupted_reader("epoll", epoll_body, 0));
	GROUP(check_interrupted_writer("write", write_body));
	GROUP(check_interrupted_writer("eventfd-write", eventfd_write_body));
	GROUP(check_interrupted_by_timer());
	GROUP(check_other_reader_stays());
	GROUP(check_interrupted_many_times());
	GROUP(check_unhandled_signals());

	handle(SIGUSR1, count_signal, SA_RESTART);
	GROUP(check_restarted_reader("read", read_body));
	GROUP(check_restarted_reader("eventfd-read", eventfd_read_body));
	GROUP(check_restarted_writer("write", write_body));
	GROUP(check_restarted_writer("eventfd-write", eventfd_write_body));
	GROUP(check_never_restarted("poll", poll_body));
	GROUP(check_never_restarted("select", select_body));
	GROUP(check_never_restarted("epoll", epoll_body));

	GROUP(check_killed_reader());
	GROUP(check_killed_reader_beside_another());
	GROUP(check_killed_writer());
	GROUP(check_killed_poller());
	GROUP(check_stopped_reader());
	GROUP(check_write_from_handler());
	GROUP(check_cancelled_reader());
	GROUP(check_cancelled_writer());
	GROUP(check_cancelled_eventfd_calls());

	return 0;
}
