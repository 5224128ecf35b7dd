/* Waiting and posting in one process: 167, 169, 170, 173, 175-179, 182. */
#include "sem.h"

#define SHORT_MS 50
/* The clock of some systems may go back by a tick. */
#define TICK_MS 10
#define WAITERS 3
#define TAKERS 4
#define TAKES 5000

/* ---- 167, 169: sem_init, sem_destroy ---- */

static void report_init(const char *key, int pshared, unsigned int value)
{
	sem_t *sem = shared_page();
	int ret = sem_init(sem, pshared, value);
	int err = errno;

	if (ret == 0)
		report(key, "ret=0 value=%d destroy=%d", value_of(sem), sem_destroy(sem));
	else
		report(key, "ret=%d errno=%s", ret, errno_name(err));
	unmap_page(sem);
}

static void check_init(void)
{
	report_init("167.zero", 0, 0);
	report_init("167.one", 0, 1);
	report_init("167.maximum-less-one", 0, (unsigned int)SEM_VALUE_MAX - 1);
	report_init("167.maximum", 0, SEM_VALUE_MAX);
	report_init("167.maximum-plus-one", 0, (unsigned int)SEM_VALUE_MAX + 1);
	report_init("167.largest", 0, UINT_MAX);
	report_init("167.shared-zero", 1, 0);
	report_init("167.shared-maximum", 1, SEM_VALUE_MAX);
	report_init("167.shared-maximum-plus-one", 1, (unsigned int)SEM_VALUE_MAX + 1);
	report_init("167.shared-largest", 1, UINT_MAX);
	report_init("168.any-pshared", 77, 3);
	report_init("168.negative-pshared", -1, 3);
}

static void check_destroy(void)
{
	sem_t sem;
	int right = 0;

	must(sem_init(&sem, 0, 5), "sem_init");
	report_call("169.destroy", sem_destroy(&sem));
	for (int i = 0; i < 100; i++) {
		must(sem_init(&sem, 0, (unsigned int)i), "sem_init");
		right += value_of(&sem) == i && sem_post(&sem) == 0 && sem_wait(&sem) == 0 && sem_destroy(&sem) == 0;
	}
	report("169.initialised-again", "right=%d", right);
}

/* A semaphore lies among other data: nothing is written outside of it. */
static void check_neighbours(void)
{
	struct {
		unsigned char before[64];
		sem_t sem;
		unsigned char after[64];
	} block;
	int changed = 0;

	memset(&block, 0xa5, sizeof(block));
	must(sem_init(&block.sem, 0, 1), "sem_init");
	sem_post(&block.sem);
	sem_wait(&block.sem);
	sem_trywait(&block.sem);
	sem_trywait(&block.sem);
	sem_destroy(&block.sem);
	for (size_t i = 0; i < sizeof(block.before); i++)
		changed += (block.before[i] != 0xa5) + (block.after[i] != 0xa5);
	report("167.neighbours", "changed=%d", changed);
}

/* ---- 170, 173: post, trywait ---- */

static void check_maximum(subject_maker make)
{
	struct subject subject = make((unsigned int)SEM_VALUE_MAX - 1);

	report_call(key_for(170, &subject, "to-maximum"), sem_post(subject.sem));
	report_value(key_for(170, &subject, "at-maximum"), subject.sem);
	report_call(key_for(170, &subject, "beyond"), sem_post(subject.sem));
	report_call(key_for(170, &subject, "beyond-again"), sem_post(subject.sem));
	report_value(key_for(170, &subject, "unchanged"), subject.sem);
	report_call(key_for(170, &subject, "wait"), sem_wait(subject.sem));
	report_value(key_for(170, &subject, "below"), subject.sem);
	report_call(key_for(170, &subject, "to-maximum-again"), sem_post(subject.sem));
	report_call(key_for(170, &subject, "trywait"), sem_trywait(subject.sem));
	report_value(key_for(170, &subject, "afterwards"), subject.sem);
	drop_subject(&subject);
}

static void check_trywait(subject_maker make)
{
	struct subject subject = make(2);

	report_call(key_for(173, &subject, "first"), sem_trywait(subject.sem));
	report_call(key_for(173, &subject, "second"), sem_trywait(subject.sem));
	report_call(key_for(173, &subject, "empty"), sem_trywait(subject.sem));
	report_call(key_for(173, &subject, "empty-again"), sem_trywait(subject.sem));
	report_value(key_for(173, &subject, "value-empty"), subject.sem);
	report_call(key_for(173, &subject, "post"), sem_post(subject.sem));
	report_call(key_for(173, &subject, "after-post"), sem_trywait(subject.sem));
	report_call(key_for(173, &subject, "empty-at-last"), sem_trywait(subject.sem));
	drop_subject(&subject);
}

static struct io take_body(struct task *task)
{
	int taken = 0;

	for (int i = 0; i < TAKES; i++)
		taken += sem_trywait(task->data) == 0;
	return io_result(taken);
}

/* There is a token for every call, so that each must get one whatever the others do. */
static void check_trywait_race(subject_maker make)
{
	struct subject subject = make(TAKERS * TAKES);
	struct task *takers[TAKERS];
	int taken = 0;

	for (int i = 0; i < TAKERS; i++)
		takers[i] = start_waiter_thread(take_body, subject.sem);
	for (int i = 0; i < TAKERS; i++)
		taken += (int)finish_task(takers[i]).ret;
	report(key_for(173, &subject, "race"), "failed=%d", TAKERS * TAKES - taken);
	report_value(key_for(173, &subject, "race-value"), subject.sem);
	drop_subject(&subject);
}

static void check_wait(subject_maker make)
{
	struct subject subject = make(2);

	report_call(key_for(173, &subject, "wait-first"), sem_wait(subject.sem));
	report_call(key_for(173, &subject, "wait-second"), sem_wait(subject.sem));
	report_value(key_for(173, &subject, "wait-value"), subject.sem);
	drop_subject(&subject);
}

/* ---- 175-179: time ---- */

/* CLOCK_REALTIME without a clock of its own is sem_timedwait. */
struct waiting {
	const char *part;
	bool has_clock;
	clockid_t clock;
};

static const struct waiting waitings[] = {
	{ "timedwait", false, CLOCK_REALTIME },
	{ "clockwait-realtime", true, CLOCK_REALTIME },
	{ "clockwait-monotonic", true, CLOCK_MONOTONIC },
};

static int wait_until(const struct waiting *waiting, sem_t *sem, const struct timespec *time)
{
	return waiting->has_clock ? sem_clockwait(sem, waiting->clock, time) : sem_timedwait(sem, time);
}

static bool has_come(const struct waiting *waiting, const struct timespec *time)
{
	struct timespec now = after_ms(waiting->clock, TICK_MS);

	return now.tv_sec > time->tv_sec || (now.tv_sec == time->tv_sec && now.tv_nsec >= time->tv_nsec);
}

struct timing {
	struct subject subject;
	const struct waiting *waiting;
};

static const char *timing_key(int number, const struct timing *timing, const char *part)
{
	char text[64];

	snprintf(text, sizeof(text), "%s-%s", timing->waiting->part, part);
	return key_for(number, &timing->subject, text);
}

/* Without a token and with one: does it succeed, and is the token still there? */
static void check_time(int number, const struct timing *timing, const char *part, struct timespec time)
{
	sem_t *sem = timing->subject.sem;
	char text[64];

	snprintf(text, sizeof(text), "%s-empty", part);
	report_call(timing_key(number, timing, text), wait_until(timing->waiting, sem, &time));
	snprintf(text, sizeof(text), "%s-empty-value", part);
	report_value(timing_key(number, timing, text), sem);
	sem_post(sem);
	sem_post(sem);
	snprintf(text, sizeof(text), "%s-available", part);
	report_call(timing_key(number, timing, text), wait_until(timing->waiting, sem, &time));
	snprintf(text, sizeof(text), "%s-left", part);
	report_value(timing_key(number, timing, text), sem);
	drain(sem);
}

static void check_timeout(const struct timing *timing)
{
	struct timespec time = after_ms(timing->waiting->clock, SHORT_MS);
	sem_t *sem = timing->subject.sem;

	report_call(timing_key(175, timing, "timeout"), wait_until(timing->waiting, sem, &time));
	report(timing_key(175, timing, "not-early"), "%s", yes_no(has_come(timing->waiting, &time)));
	report_value(timing_key(175, timing, "timeout-value"), sem);
	report_call(timing_key(175, timing, "post-afterwards"), sem_post(sem));
	report_value(timing_key(175, timing, "value-afterwards"), sem);
	report_call(timing_key(175, timing, "same-time-again"), wait_until(timing->waiting, sem, &time));
	report_value(timing_key(175, timing, "taken"), sem);
	report_call(timing_key(175, timing, "same-time-empty"), wait_until(timing->waiting, sem, &time));
}

static void check_times(const struct timing *timing)
{
	clockid_t clock = timing->waiting->clock;
	struct timespec far = after_ms(clock, FAR_MS), bad = far;

	check_time(176, timing, "zero", (struct timespec){ 0 });
	check_time(176, timing, "just-expired", now_on(clock));
	check_time(178, timing, "negative", (struct timespec){ .tv_sec = -1 });
	check_time(178, timing, "very-negative", (struct timespec){ .tv_sec = -1000000000, .tv_nsec = 999999999 });
	bad.tv_nsec = 1000000000;
	check_time(177, timing, "nanoseconds-too-large", bad);
	bad.tv_nsec = -1;
	check_time(177, timing, "nanoseconds-negative", bad);
	bad.tv_nsec = LONG_MAX;
	check_time(177, timing, "nanoseconds-largest", bad);
	bad.tv_nsec = LONG_MIN;
	check_time(177, timing, "nanoseconds-smallest", bad);
	check_time(177, timing, "expired-and-bad", (struct timespec){ .tv_nsec = 1000000000 });
	check_time(177, timing, "negative-and-bad", (struct timespec){ .tv_sec = -5, .tv_nsec = -1 });
	check_time(176, timing, "nanoseconds-at-limit", (struct timespec){ .tv_nsec = 999999999 });
	sem_post(timing->subject.sem);
	report_call(timing_key(176, timing, "far"), wait_until(timing->waiting, timing->subject.sem, &far));
	report_value(timing_key(176, timing, "far-value"), timing->subject.sem);
}

static void check_timing(subject_maker make)
{
	struct timing timing = { .subject = make(0) };

	for (size_t i = 0; i < ARRAY_SIZE(waitings); i++) {
		timing.waiting = &waitings[i];
		check_timeout(&timing);
		check_times(&timing);
	}
	drop_subject(&timing.subject);
}

static struct io latest_body(struct task *task)
{
	const struct waiting *waiting = &waitings[task->value];
	struct timespec time = { .tv_sec = (time_t)INT64_MAX, .tv_nsec = 999999999 };

	return io_result(wait_until(waiting, task->data, &time));
}

static struct io until_far_body(struct task *task)
{
	const struct waiting *waiting = &waitings[task->value];
	struct timespec time = after_ms(waiting->clock, FAR_MS);

	return io_result(wait_until(waiting, task->data, &time));
}

static void check_posted_in_time(const struct timing *timing, size_t which, const char *part, task_body body)
{
	struct task *task = start_thread_with(body, -1, which, timing->subject.sem);
	char text[64];

	snprintf(text, sizeof(text), "%s-waits", part);
	report_waiting(timing_key(175, timing, text), task);
	sem_post(timing->subject.sem);
	snprintf(text, sizeof(text), "%s-posted", part);
	report_task(timing_key(175, timing, text), task);
	snprintf(text, sizeof(text), "%s-value", part);
	report_value(timing_key(175, timing, text), timing->subject.sem);
}

static void check_all_posted_in_time(subject_maker make)
{
	struct timing timing = { .subject = make(0) };

	for (size_t i = 0; i < ARRAY_SIZE(waitings); i++) {
		timing.waiting = &waitings[i];
		check_posted_in_time(&timing, i, "far", until_far_body);
	}
	drop_subject(&timing.subject);
}

static void check_latest_time(subject_maker make, size_t which)
{
	struct timing timing = { .subject = make(0), .waiting = &waitings[which] };

	check_posted_in_time(&timing, which, "latest", latest_body);
	drop_subject(&timing.subject);
}

static void check_clocks(subject_maker make)
{
	static const struct {
		const char *part;
		clockid_t clock;
	} clocks[] = {
		{ "process-clock", CLOCK_PROCESS_CPUTIME_ID },
		{ "clock-negative", (clockid_t)-1 },
		{ "clock-999", (clockid_t)999 },
	};
	struct subject subject = make(0);

	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		const struct waiting waiting = { clocks[i].part, true, clocks[i].clock };
		struct timing timing = { subject, &waiting };

		check_time(179, &timing, "expired", (struct timespec){ 0 });
		check_time(179, &timing, "far", after_ms(CLOCK_REALTIME, FAR_MS));
		check_time(179, &timing, "bad-time", (struct timespec){ .tv_nsec = -1 });
	}
	drop_subject(&subject);
}

/* ---- 182: the value while others wait ---- */

static void check_value_with_waiters(subject_maker make)
{
	struct subject subject = make(0);
	struct task *waiters[WAITERS];
	int results = 0;

	waiters[0] = start_waiter_thread(wait_body, subject.sem);
	waiters[1] = start_waiter_thread(timedwait_body, subject.sem);
	waiters[2] = start_waiter_thread(clockwait_body, subject.sem);
	report(key_for(182, &subject, "waiters"), "waiting=%d", count_waiting(waiters, WAITERS));
	report_value(key_for(182, &subject, "value-with-waiters"), subject.sem);
	report_call(key_for(182, &subject, "trywait-with-waiters"), sem_trywait(subject.sem));
	sem_post(subject.sem);
	wait_finished(waiters, WAITERS, 1);
	report_value(key_for(182, &subject, "value-with-two-waiters"), subject.sem);
	report(key_for(182, &subject, "waiters-left"), "waiting=%d", count_waiting(waiters, WAITERS));
	sem_post(subject.sem);
	sem_post(subject.sem);
	for (int i = 0; i < WAITERS; i++)
		results += finish_task(waiters[i]).ret == 0;
	report(key_for(182, &subject, "released"), "%d", results);
	sem_post(subject.sem);
	report_value(key_for(182, &subject, "value-without-waiters"), subject.sem);
	drop_subject(&subject);
}

int main(void)
{
	start_semaphores();
	GROUP(check_init());
	GROUP(check_destroy());
	GROUP(check_neighbours());
	GROUP_THREADS(check_maximum);
	GROUP_THREADS(check_trywait);
	GROUP_THREADS(check_trywait_race);
	GROUP_THREADS(check_wait);
	GROUP_THREADS(check_timing);
	GROUP_THREADS(check_all_posted_in_time);
	for (size_t i = 0; i < ARRAY_SIZE(waitings); i++)
		GROUP(check_latest_time(make_private, i));
	GROUP_THREADS(check_clocks);
	GROUP_THREADS(check_value_with_waiters);
	return 0;
}
