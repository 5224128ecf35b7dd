/*
 * Shared by the conformance programs. A program performs checks and prints one
 * line per check, "NN.name: outcome"; it does not judge. A runner compares the
 * lines of two runs: native Linux and the implementation under test.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

/* May be raised with -D for a slow machine. */
#ifndef TIME_LIMIT_SECONDS
#define TIME_LIMIT_SECONDS 60
#endif

/* Without /proc: how long a task must go on to count as blocked. */
#define SETTLE_MS 200

#define COUNT_MAX UINT64_C(0xfffffffffffffffe)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- output ---- */

static inline const char *errno_name(int err)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
		{ 0, "none" },
		{ EACCES, "EACCES" },
		{ EAGAIN, "EAGAIN" },
		{ EBADF, "EBADF" },
		{ EBUSY, "EBUSY" },
		{ ECANCELED, "ECANCELED" },
		{ ECHILD, "ECHILD" },
		{ ECONNABORTED, "ECONNABORTED" },
		{ ECONNREFUSED, "ECONNREFUSED" },
		{ EDEADLK, "EDEADLK" },
		{ EEXIST, "EEXIST" },
		{ EFAULT, "EFAULT" },
		{ EINTR, "EINTR" },
		{ EINVAL, "EINVAL" },
		{ EIO, "EIO" },
		{ EISDIR, "EISDIR" },
		{ ELOOP, "ELOOP" },
		{ EMFILE, "EMFILE" },
		{ ENAMETOOLONG, "ENAMETOOLONG" },
		{ ENFILE, "ENFILE" },
		{ ENODEV, "ENODEV" },
		{ ENOENT, "ENOENT" },
		{ ENOMEM, "ENOMEM" },
		{ ENOSPC, "ENOSPC" },
		{ ENOSYS, "ENOSYS" },
		{ ENOTCONN, "ENOTCONN" },
		{ ENOTDIR, "ENOTDIR" },
		{ ENOTSUP, "EOPNOTSUPP" },
		{ ENOTTY, "ENOTTY" },
		{ ENXIO, "ENXIO" },
		{ EOVERFLOW, "EOVERFLOW" },
		{ EPERM, "EPERM" },
		{ EPIPE, "EPIPE" },
		{ EPROTO, "EPROTO" },
		{ ESPIPE, "ESPIPE" },
		{ ESRCH, "ESRCH" },
		{ ETIMEDOUT, "ETIMEDOUT" },
#if EOPNOTSUPP != ENOTSUP
		{ EOPNOTSUPP, "EOPNOTSUPP" },
#endif
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].number == err)
			return names[i].name;
	return "unlisted";
}

__attribute__((format(printf, 2, 3)))
static inline void report(const char *key, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("%s: ", key);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

/* A plain call: "ret=0" or "ret=-1 errno=EINVAL". */
static inline void report_call(const char *key, long ret)
{
	int err = errno;

	if (ret == -1)
		report(key, "ret=-1 errno=%s", errno_name(err));
	else
		report(key, "ret=%ld", ret);
}

/* For a step that is not itself the subject of a check. */
static inline void die(const char *step)
{
	fprintf(stderr, "setup failed: %s: %s\n", step, errno_name(errno));
	exit(2);
}

static inline int must(int ret, const char *step)
{
	if (ret < 0)
		die(step);
	return ret;
}

/* Whatever a hanging check does, the lines printed before it are kept. */
/*
 * The standard descriptors are taken first if they are free: they have a life of their own in exec on some systems, and relibc's setvbuf closes one.
 */
static inline void start_output(void)
{
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	close(fd);
}

static inline void start_checks(void)
{
	start_output();
	alarm(TIME_LIMIT_SECONDS);
}

static inline pid_t begin_group(void)
{
	pid_t group;

	fflush(stdout);
	group = fork();
	if (group == 0)
		setpgid(0, 0);
	else if (group > 0)
		setpgid(group, group);
	return group;
}

/* Ends a group whose time is up. A process of its own, since not every system can take an alarm back. */
static inline pid_t watch_group(pid_t group)
{
	pid_t watcher = fork();

	if (watcher != 0)
		return watcher;
	for (int seconds = 0; seconds < TIME_LIMIT_SECONDS; seconds++)
		sleep(1);
	kill(-group, SIGKILL);
	kill(group, SIGKILL);
	_exit(0);
}

/* Waits for a group and ends all that is left of it. */
static inline void end_group(pid_t group)
{
	pid_t watcher = watch_group(group);

	while (waitpid(group, NULL, 0) != group && errno == EINTR)
		continue;
	kill(-group, SIGKILL);
	kill(watcher, SIGKILL);
	while (waitpid(watcher, NULL, 0) != watcher && errno == EINTR)
		continue;
}

/*
 * Runs a group of checks in a process of its own, for a limited time: if it hangs or fails, the other groups still have their say, and the runner
 * misses its lines.
 */
#define GROUP(checks) \
	do { \
		pid_t group = begin_group(); \
		if (group == 0) { \
			checks; \
			fflush(stdout); \
			_exit(0); \
		} \
		end_group(group); \
	} while (0)

/* ---- one read or write ---- */

struct io {
	ssize_t ret;
	int err;
	bool has_value;
	uint64_t value;
};

static inline struct io io_result(ssize_t ret)
{
	return (struct io){ .ret = ret, .err = ret < 0 ? errno : 0 };
}

static inline struct io io_read(int fd)
{
	uint64_t value = 0;
	struct io io = io_result(read(fd, &value, sizeof(value)));

	io.has_value = io.ret == (ssize_t)sizeof(value);
	io.value = value;
	return io;
}

static inline struct io io_write(int fd, uint64_t value)
{
	return io_result(write(fd, &value, sizeof(value)));
}

static inline void report_io(const char *key, struct io io)
{
	if (io.ret < 0)
		report(key, "ret=%zd errno=%s", io.ret, errno_name(io.err));
	else if (io.has_value)
		report(key, "ret=%zd value=%llu", io.ret, (unsigned long long)io.value);
	else
		report(key, "ret=%zd", io.ret);
}

static inline void report_read(const char *key, int fd)
{
	report_io(key, io_read(fd));
}

static inline void report_write(const char *key, int fd, uint64_t value)
{
	report_io(key, io_write(fd, value));
}

static inline short poll_now(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	must(poll(&p, 1, 0), "poll");
	return p.revents;
}

/* Takes the count without blocking, whatever the descriptor's O_NONBLOCK. */
static inline struct io io_take(int fd)
{
	if (poll_now(fd, POLLIN) & POLLIN)
		return io_read(fd);
	return (struct io){ .ret = -1, .err = EAGAIN };
}

static inline int make_counter(unsigned int initial, int flags)
{
	return must(eventfd(initial, flags), "eventfd");
}

static inline int make_full_counter(int flags)
{
	int fd = make_counter(0, flags);

	if (io_write(fd, COUNT_MAX).ret != 8)
		die("fill counter");
	return fd;
}

static inline const char *yes_no(bool condition)
{
	return condition ? "yes" : "no";
}

static inline void *map_page(int protection, int flags)
{
	void *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), protection,
			  flags | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		die("mmap");
	return page;
}

static inline void unmap_page(void *page)
{
	munmap(page, (size_t)sysconf(_SC_PAGESIZE));
}

static inline void pause_briefly(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
}

/* ---- tasks: one operation in a thread or in a process of its own ---- */

struct task;
typedef struct io (*task_body)(struct task *);

/* Lives in shared memory, so a thread and a child process report alike. */
struct task {
	int fd;
	uint64_t value;
	void *data;

	task_body body;
	bool is_process;
	pid_t pid;
	pthread_t thread;
	_Atomic pid_t tid;
	atomic_bool started;
	atomic_bool finished;
	struct io result;
};

static inline struct io read_body(struct task *task)
{
	return io_read(task->fd);
}

static inline struct io write_body(struct task *task)
{
	return io_write(task->fd, task->value);
}

static inline pid_t own_tid(void)
{
#ifdef __linux__
	return (pid_t)syscall(SYS_gettid);
#else
	return 0;
#endif
}

static inline void run_task(struct task *task)
{
	task->tid = own_tid();
	task->started = true;
	task->result = task->body(task);
	task->finished = true;
}

static inline struct task *new_task(task_body body, int fd, uint64_t value, void *data)
{
	struct task *task = map_page(PROT_READ | PROT_WRITE, MAP_SHARED);

	task->fd = fd;
	task->value = value;
	task->data = data;
	task->body = body;
	return task;
}

static inline void *task_thread(void *arg)
{
	run_task(arg);
	return NULL;
}

static inline struct task *start_thread_with(task_body body, int fd, uint64_t value, void *data)
{
	struct task *task = new_task(body, fd, value, data);

	if (pthread_create(&task->thread, NULL, task_thread, task) != 0)
		die("pthread_create");
	return task;
}

static inline struct task *start_thread(task_body body, int fd, uint64_t value)
{
	return start_thread_with(body, fd, value, NULL);
}

/*
 * fork() for the checks: the child is killed with its parent and has a time
 * limit of its own, because alarm() is not inherited.
 */
static inline pid_t fork_child(void)
{
#ifdef __linux__
	pid_t parent = getpid();
#endif
	pid_t pid;

	fflush(stdout);
	pid = must(fork(), "fork");
	if (pid == 0) {
		alarm(TIME_LIMIT_SECONDS);
#ifdef __linux__
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(3);
#endif
	}
	return pid;
}

static inline struct task *start_process_with(task_body body, int fd, uint64_t value, void *data)
{
	struct task *task = new_task(body, fd, value, data);
	pid_t pid;

	task->is_process = true;
	pid = fork_child();
	if (pid == 0) {
		run_task(task);
		_exit(0);
	}
	task->pid = pid;
	return task;
}

static inline struct task *start_process(task_body body, int fd, uint64_t value)
{
	return start_process_with(body, fd, value, NULL);
}

#ifdef __linux__
static inline bool is_waiting_call(long number)
{
	static const long waiting[] = {
		SYS_read, SYS_write, SYS_readv, SYS_writev,
#ifdef SYS_poll
		SYS_poll,
#endif
#ifdef SYS_select
		SYS_select,
#endif
#ifdef SYS_epoll_wait
		SYS_epoll_wait,
#endif
		SYS_ppoll, SYS_pselect6, SYS_epoll_pwait,
#ifdef SYS_epoll_pwait2
		SYS_epoll_pwait2,
#endif
	};

	for (size_t i = 0; i < ARRAY_SIZE(waiting); i++)
		if (waiting[i] == number)
			return true;
	return false;
}

/* The futex in memory that processes share, without a deadline, is that of an eventfd: others that a task may come across are private, or have a clock. */
static inline bool is_waiting_futex(long number, const char *arguments)
{
	unsigned long address, operation;

	return number == SYS_futex && sscanf(arguments, " %lx %lx", &address, &operation) == 2 &&
	       operation == FUTEX_WAIT_BITSET;
}

static inline bool read_task_file(const struct task *task, const char *name,
				  char *text, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s",
		 (int)(task->is_process ? task->pid : getpid()), (int)task->tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, size - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	return length > 0;
}

/* Sleeping, and inside a call that waits (not e.g. in a futex before it). */
static inline bool is_asleep(const struct task *task)
{
	char text[512];
	char *end;
	long number;

	if (!read_task_file(task, "stat", text, sizeof(text)))
		return false;
	end = strrchr(text, ')');
	if (end == NULL || end[1] != ' ' || end[2] != 'S')
		return false;
	if (!read_task_file(task, "syscall", text, sizeof(text)))
		return false;
	number = strtol(text, &end, 10);
	return end != text && (is_waiting_call(number) || is_waiting_futex(number, end));
}
#endif

static inline int count_finished(struct task **tasks, int count)
{
	int finished = 0;

	for (int i = 0; i < count; i++)
		finished += tasks[i]->finished;
	return finished;
}

static inline void wait_finished(struct task **tasks, int count, int wanted)
{
	while (count_finished(tasks, count) < wanted)
		pause_briefly();
}

#ifdef __linux__
static inline void settle(struct task *task)
{
	while (!task->finished && !is_asleep(task))
		pause_briefly();
}

static inline void settle_all(struct task **tasks, int count)
{
	for (int i = 0; i < count; i++)
		settle(tasks[i]);
}
#else
static inline long elapsed_ms(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

static inline void settle_all(struct task **tasks, int count)
{
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (count_finished(tasks, count) < count && elapsed_ms(&start) < SETTLE_MS)
		pause_briefly();
}
#endif

/*
 * Waits until each task either sleeps in its operation or has finished it, and
 * counts the sleeping ones.
 */
static inline int count_blocked(struct task **tasks, int count)
{
	for (int i = 0; i < count; i++)
		while (!tasks[i]->started)
			pause_briefly();
	settle_all(tasks, count);
	return count - count_finished(tasks, count);
}

/* True if the task sleeps in its operation, false if it has finished it. */
static inline bool wait_until_blocked(struct task *task)
{
	return count_blocked(&task, 1) == 1;
}

static inline const char *blocked_text(struct task *task)
{
	return wait_until_blocked(task) ? "blocked" : "finished";
}

static inline void report_blocked(const char *key, struct task *task)
{
	report(key, "%s", blocked_text(task));
}

static inline void join_task(struct task *task)
{
	if (!task->is_process) {
		pthread_join(task->thread, NULL);
		return;
	}
	while (waitpid(task->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Waits for the end of the task and returns its result. */
static inline struct io finish_task(struct task *task)
{
	struct io result;

	join_task(task);
	result = task->result;
	unmap_page(task);
	return result;
}

static inline void report_task(const char *key, struct task *task)
{
	report_io(key, finish_task(task));
}

#endif
