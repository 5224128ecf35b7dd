/* Shared by the programs about semaphores. */
#ifndef SEM_H
#define SEM_H

#include "conformance.h"

#include <limits.h>
#include <semaphore.h>
#include <sys/stat.h>

#define MODE_OWNER 0600

/* ---- names that no other run uses ---- */

struct name {
	char text[64];
};

static pid_t run_number;

/* Called before the first group, so that all processes of a run agree on the names. */
static inline void start_semaphores(void)
{
	start_output();
	run_number = getpid();
	umask(0);
}

static inline struct name make_name(const char *part)
{
	struct name name;

	snprintf(name.text, sizeof(name.text), "/evt-%d-%s", (int)run_number, part);
	return name;
}

/* ---- opening ---- */

static inline sem_t *must_be_open(sem_t *sem)
{
	if (sem == SEM_FAILED)
		die("sem_open");
	return sem;
}

static inline sem_t *create(const char *name, unsigned int value)
{
	return must_be_open(sem_open(name, O_CREAT | O_EXCL, MODE_OWNER, value));
}

static inline sem_t *open_existing(const char *name)
{
	return must_be_open(sem_open(name, 0));
}

static inline int value_of(sem_t *sem)
{
	int value = -1;

	must(sem_getvalue(sem, &value), "sem_getvalue");
	return value;
}

static inline void report_value(const char *key, sem_t *sem)
{
	report(key, "value=%d", value_of(sem));
}

/* What sem_open returned: "opened value=3" or "failed errno=ENOENT". Returns it for further use. */
static inline sem_t *report_open(const char *key, sem_t *sem)
{
	int err = errno;

	if (sem == SEM_FAILED)
		report(key, "failed errno=%s", errno_name(err));
	else
		report(key, "opened value=%d", value_of(sem));
	return sem;
}

/* The same for a handle that is of no further use. */
static inline void report_open_and_close(const char *key, sem_t *sem)
{
	if (report_open(key, sem) != SEM_FAILED)
		sem_close(sem);
}

static inline void report_existing(const char *key, const char *name)
{
	report_open_and_close(key, sem_open(name, 0));
}

static inline void report_same_address(const char *key, const sem_t *first, const sem_t *second)
{
	report(key, "same-address=%s", yes_no(first == second));
}

static inline void close_and_unlink(sem_t *sem, const char *name)
{
	sem_close(sem);
	sem_unlink(name);
}

/* Takes all tokens. */
static inline int drain(sem_t *sem)
{
	int taken = 0;

	while (sem_trywait(sem) == 0)
		taken++;
	return taken;
}

/* ---- time ---- */

static inline struct timespec now_on(clockid_t clock)
{
	struct timespec now;

	must(clock_gettime(clock, &now), "clock_gettime");
	return now;
}

static inline struct timespec after_ms(clockid_t clock, long ms)
{
	struct timespec time = now_on(clock);

	time.tv_sec += ms / 1000;
	time.tv_nsec += ms % 1000 * 1000000;
	if (time.tv_nsec >= 1000000000) {
		time.tv_nsec -= 1000000000;
		time.tv_sec++;
	}
	return time;
}

/* Nothing waits as long as this. */
#define FAR_MS 3600000L

/* ---- tasks that wait: the semaphore is the task's data ---- */

static inline struct io wait_body(struct task *task)
{
	return io_result(sem_wait(task->data));
}

static inline struct io timedwait_body(struct task *task)
{
	struct timespec time = after_ms(CLOCK_REALTIME, FAR_MS);

	return io_result(sem_timedwait(task->data, &time));
}

static inline struct io clockwait_body(struct task *task)
{
	struct timespec time = after_ms(CLOCK_MONOTONIC, FAR_MS);

	return io_result(sem_clockwait(task->data, CLOCK_MONOTONIC, &time));
}

static inline struct io clockwait_realtime_body(struct task *task)
{
	struct timespec time = after_ms(CLOCK_REALTIME, FAR_MS);

	return io_result(sem_clockwait(task->data, CLOCK_REALTIME, &time));
}

static inline struct io post_body(struct task *task)
{
	return io_result(sem_post(task->data));
}

static inline struct task *start_waiter_thread(task_body body, sem_t *sem)
{
	return start_thread_with(body, -1, 0, sem);
}

static inline struct task *start_waiter_process(task_body body, sem_t *sem)
{
	return start_process_with(body, -1, 0, sem);
}

/* As report_task, for a process that may die in its operation. */
static inline void report_ended(const char *key, struct task *task)
{
	join_task(task);
	if (task->finished)
		report_io(key, task->result);
	else
		report(key, "died");
	unmap_page(task);
}

#ifdef __linux__
/* Sleeping in the kernel on a word of the task's semaphore, not e.g. on a lock before it. */
static inline bool sleeps_in_semaphore(const struct task *task)
{
	uintptr_t first = (uintptr_t)task->data, address;
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
	if (end == text || (number != SYS_futex && number != SYS_restart_syscall))
		return false;
	address = strtoull(end, NULL, 16);
	return address >= first && address < first + sizeof(sem_t);
}

static inline void settle_waiters(struct task **tasks, int count)
{
	for (int i = 0; i < count; i++)
		while (!tasks[i]->finished && !sleeps_in_semaphore(tasks[i]))
			pause_briefly();
}
#else
static inline void settle_waiters(struct task **tasks, int count)
{
	settle_all(tasks, count);
}
#endif

/* Waits until each task either sleeps in its semaphore or has finished, and counts the sleeping ones. */
static inline int count_waiting(struct task **tasks, int count)
{
	for (int i = 0; i < count; i++)
		while (!tasks[i]->started)
			pause_briefly();
	settle_waiters(tasks, count);
	return count - count_finished(tasks, count);
}

static inline void report_waiting(const char *key, struct task *task)
{
	report(key, "%s", count_waiting(&task, 1) == 1 ? "waiting" : "finished");
}

/* ---- meeting of processes ---- */

/* Lives in shared memory. (Atomics are used by operators only: relibc's functions for them are for gcc.) */
struct meeting {
	int members;
	atomic_int arrived;
	atomic_int turn;
	/* In turn, so that nobody who is already at the next meeting takes a token of this one. */
	sem_t gates[2];
};

static inline void prepare_meeting(struct meeting *meeting, int members)
{
	meeting->members = members;
	for (int i = 0; i < 2; i++)
		must(sem_init(&meeting->gates[i], 1, 0), "sem_init");
}

static inline void meet(struct meeting *meeting)
{
	sem_t *gate = &meeting->gates[meeting->turn % 2];

	if (++meeting->arrived < meeting->members) {
		while (sem_wait(gate) != 0)
			continue;
		return;
	}
	meeting->arrived = 0;
	meeting->turn++;
	for (int i = 1; i < meeting->members; i++)
		sem_post(gate);
}

static inline void wait_for(atomic_int *flag, int value)
{
	while (*flag < value)
		pause_briefly();
}

static inline void *shared_page(void)
{
	return map_page(PROT_READ | PROT_WRITE, MAP_SHARED);
}

/* ---- a semaphore of any kind, for checks that concern all of them ---- */

struct subject {
	const char *kind;
	sem_t *sem;
	struct name name;
};

static inline struct subject make_unnamed(const char *kind, int pshared, unsigned int value)
{
	struct subject subject = { .kind = kind, .sem = shared_page() };

	must(sem_init(subject.sem, pshared, value), "sem_init");
	return subject;
}

static inline struct subject make_private(unsigned int value)
{
	return make_unnamed("private", 0, value);
}

static inline struct subject make_shared(unsigned int value)
{
	return make_unnamed("shared", 1, value);
}

static inline struct subject make_named(unsigned int value)
{
	struct subject subject = { .kind = "named", .name = make_name("subject") };

	subject.sem = create(subject.name.text, value);
	return subject;
}

typedef struct subject (*subject_maker)(unsigned int value);

static inline void drop_subject(struct subject *subject)
{
	if (subject->name.text[0] != '\0') {
		close_and_unlink(subject->sem, subject->name.text);
	} else {
		sem_destroy(subject->sem);
		unmap_page(subject->sem);
	}
}

/* "170.named-beyond", good until the next call. */
static inline const char *key_for(int number, const struct subject *subject, const char *part)
{
	static char key[160];

	snprintf(key, sizeof(key), "%d.%s-%s", number, subject->kind, part);
	return key;
}

/* ---- the calls that wait ---- */

struct call {
	const char *name;
	task_body body;
	/* Without an end of its own, so that SA_RESTART has an effect. */
	bool endless;
};

__attribute__((unused))
static const struct call calls[] = {
	{ "wait", wait_body, true },
	{ "timedwait", timedwait_body, false },
	{ "clockwait-realtime", clockwait_realtime_body, false },
	{ "clockwait-monotonic", clockwait_body, false },
};

static inline const char *call_key(int number, const struct subject *subject, const struct call *call, const char *part)
{
	static char key[160];

	snprintf(key, sizeof(key), "%d.%s-%s-%s", number, subject->kind, call->name, part);
	return key;
}

/* No token is gone, and none has come. */
static inline void check_still_sound(int number, const struct subject *subject, const struct call *call, const char *part)
{
	char text[64];

	snprintf(text, sizeof(text), "%s-value", part);
	report_value(call_key(number, subject, call, text), subject->sem);
	snprintf(text, sizeof(text), "%s-post", part);
	report_call(call_key(number, subject, call, text), sem_post(subject->sem));
	snprintf(text, sizeof(text), "%s-value-posted", part);
	report_value(call_key(number, subject, call, text), subject->sem);
	snprintf(text, sizeof(text), "%s-taken", part);
	report_call(call_key(number, subject, call, text), sem_trywait(subject->sem));
}

/* Runs the checks of one function in a group for each kind that threads, or processes, can share. */
#define GROUP_THREADS(checks) \
	do { \
		GROUP(checks(make_private)); \
		GROUP(checks(make_named)); \
	} while (0)

#define GROUP_PROCESSES(checks) \
	do { \
		GROUP(checks(make_shared)); \
		GROUP(checks(make_named)); \
	} while (0)

#endif
