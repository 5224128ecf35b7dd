/* Cancellation and death of waiters: 180, 181. */
#include "sem.h"

#define CANCEL_ROUNDS 200
/* How long a thread is given to act upon a cancellation. */
#define CANCEL_MS 5000

/* ---- 181: a waiter is cancelled or killed ---- */

/* A thread to be cancelled in the operation. */
struct victim {
	task_body body;
	struct task *task;
	atomic_bool ended;
};

static void note_end(void *data)
{
	((struct victim *)data)->ended = true;
}

static struct io victim_body(struct task *task)
{
	struct victim *victim = (struct victim *)(uintptr_t)task->value;
	struct io io;

	pthread_cleanup_push(note_end, victim);
	io = victim->body(task);
	pthread_cleanup_pop(1);
	return io;
}

static void start_victim(struct victim *victim, task_body body, sem_t *sem)
{
	*victim = (struct victim){ .body = body };
	victim->task = start_thread_with(victim_body, -1, (uint64_t)(uintptr_t)victim, sem);
}

/* One that does not act upon its cancellation gets a token, so that it ends anyway. */
static bool join_cancelled(struct victim *victim)
{
	struct timespec start = now_on(CLOCK_MONOTONIC);
	void *result = NULL;

	while (!victim->ended && now_on(CLOCK_MONOTONIC).tv_sec - start.tv_sec <= CANCEL_MS / 1000)
		pause_briefly();
	if (!victim->ended)
		sem_post(victim->task->data);
	pthread_join(victim->task->thread, &result);
	unmap_page(victim->task);
	return result == PTHREAD_CANCELED;
}

static void report_cancelled(const char *key, struct victim *victim)
{
	pthread_cancel(victim->task->thread);
	report(key, "cancelled=%s", yes_no(join_cancelled(victim)));
}

static void check_cancelled(const struct call *call, subject_maker make)
{
	struct subject subject = make(0);
	struct victim victim;
	struct task *next;

	start_victim(&victim, call->body, subject.sem);
	report_waiting(call_key(181, &subject, call, "before"), victim.task);
	report_cancelled(call_key(181, &subject, call, "cancel"), &victim);
	check_still_sound(181, &subject, call, "cancelled");
	next = start_waiter_thread(call->body, subject.sem);
	report_waiting(call_key(181, &subject, call, "next"), next);
	sem_post(subject.sem);
	report_task(call_key(181, &subject, call, "next-result"), next);
	drop_subject(&subject);
}

static void check_cancelled_beside_another(subject_maker make)
{
	struct subject subject = make(0);
	struct victim cancelled;
	struct task *other;

	start_victim(&cancelled, wait_body, subject.sem);
	report_waiting(key_for(181, &subject, "beside-first"), cancelled.task);
	other = start_waiter_thread(wait_body, subject.sem);
	report_waiting(key_for(181, &subject, "beside-second"), other);
	report_cancelled(key_for(181, &subject, "beside-cancel"), &cancelled);
	report_waiting(key_for(181, &subject, "beside-second-after"), other);
	sem_post(subject.sem);
	report_task(key_for(181, &subject, "beside-second-result"), other);
	report_value(key_for(181, &subject, "beside-value"), subject.sem);
	drop_subject(&subject);
}

struct taker {
	sem_t *sem;
	atomic_bool taken;
};

/* Between the wait's return and the note there is no point where the thread could be cancelled. */
static struct io take_and_note_body(struct task *task)
{
	struct taker *taker = task->data;

	if (sem_wait(taker->sem) == 0)
		taker->taken = true;
	return io_result(0);
}

/* A post and a cancellation at the same time: the token is either taken or still there. */
static void check_cancel_race(subject_maker make)
{
	struct subject subject = make(0);
	int wrong = 0;

	for (int i = 0; i < CANCEL_ROUNDS; i++) {
		struct taker taker = { .sem = subject.sem };
		struct task *task = start_thread_with(take_and_note_body, -1, 0, &taker);

		while (!task->started)
			sched_yield();
		if (i % 3 == 0)
			pause_briefly();
		if (i % 2)
			sem_post(subject.sem);
		pthread_cancel(task->thread);
		if (!(i % 2))
			sem_post(subject.sem);
		pthread_join(task->thread, NULL);
		unmap_page(task);
		wrong += taker.taken + value_of(subject.sem) != 1;
		drain(subject.sem);
	}
	report(key_for(181, &subject, "cancel-race"), "wrong=%d", wrong);
	drop_subject(&subject);
}

static void report_killed(const char *key, struct task *task)
{
	int status;

	kill(task->pid, SIGKILL);
	must(waitpid(task->pid, &status, 0), "waitpid");
	report(key, "killed=%s finished=%s", yes_no(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL),
	       yes_no(task->finished));
	unmap_page(task);
}

static void check_killed(subject_maker make)
{
	struct subject subject = make(0);

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct task *task = start_waiter_process(calls[i].body, subject.sem), *next;

		report_waiting(call_key(181, &subject, &calls[i], "killed-before"), task);
		report_killed(call_key(181, &subject, &calls[i], "kill"), task);
		check_still_sound(181, &subject, &calls[i], "killed");
		next = start_waiter_process(calls[i].body, subject.sem);
		report_waiting(call_key(181, &subject, &calls[i], "next-process"), next);
		sem_post(subject.sem);
		report_task(call_key(181, &subject, &calls[i], "next-process-result"), next);
	}
	drop_subject(&subject);
}

static void check_killed_beside_another(subject_maker make)
{
	struct subject subject = make(0);
	struct task *killed = start_waiter_process(wait_body, subject.sem), *other;

	report_waiting(key_for(181, &subject, "killed-first"), killed);
	other = start_waiter_process(wait_body, subject.sem);
	report_waiting(key_for(181, &subject, "killed-second"), other);
	report_killed(key_for(181, &subject, "killed-beside"), killed);
	report_waiting(key_for(181, &subject, "killed-second-after"), other);
	sem_post(subject.sem);
	report_task(key_for(181, &subject, "killed-second-result"), other);
	report_value(key_for(181, &subject, "killed-value"), subject.sem);
	drop_subject(&subject);
}

/* ---- 180: which calls are cancellation points although they need not wait ---- */

static struct io trywait_body(struct task *task)
{
	return io_result(sem_trywait(task->data));
}

static struct io getvalue_body(struct task *task)
{
	return io_result(value_of(task->data));
}

struct pending {
	struct victim victim;
	task_body body;
	atomic_bool ready, sent, returned;
	struct io result;
};

static struct io pending_body(struct task *task)
{
	struct pending *pending = (struct pending *)(uintptr_t)task->value;
	struct io result;
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pending->ready = true;
	while (!pending->sent)
		sched_yield();
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	result = pending->body(task);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pending->result = result;
	pending->returned = true;
	return result;
}

/* The request is there before the call. Does the call return, and what does it leave? */
static void check_pending(const char *part, task_body body, unsigned int tokens, subject_maker make)
{
	struct subject subject = make(tokens);
	/* The victim is its first member, so that the task's value stands for both. */
	struct pending pending = { .body = body };
	char text[64];

	start_victim(&pending.victim, pending_body, subject.sem);
	while (!pending.ready)
		pause_briefly();
	pthread_cancel(pending.victim.task->thread);
	pending.sent = true;
	join_cancelled(&pending.victim);
	if (pending.returned)
		report_io(key_for(180, &subject, part), pending.result);
	else
		report(key_for(180, &subject, part), "cancelled");
	snprintf(text, sizeof(text), "%s-value", part);
	report_value(key_for(180, &subject, text), subject.sem);
	drop_subject(&subject);
}

static void check_all_pending(subject_maker make)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		char part[64];

		snprintf(part, sizeof(part), "%s-available", calls[i].name);
		GROUP(check_pending(part, calls[i].body, 2, make));
		snprintf(part, sizeof(part), "%s-empty", calls[i].name);
		GROUP(check_pending(part, calls[i].body, 0, make));
	}
	GROUP(check_pending("trywait-available", trywait_body, 2, make));
	GROUP(check_pending("trywait-empty", trywait_body, 0, make));
	GROUP(check_pending("post", post_body, 2, make));
	GROUP(check_pending("getvalue", getvalue_body, 2, make));
}

int main(void)
{
	start_semaphores();
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		GROUP(check_cancelled(&calls[i], make_private));
		GROUP(check_cancelled(&calls[i], make_named));
	}
	GROUP_THREADS(check_cancelled_beside_another);
	GROUP_THREADS(check_cancel_race);
	GROUP_PROCESSES(check_killed);
	GROUP_PROCESSES(check_killed_beside_another);

	check_all_pending(make_private);
	check_all_pending(make_named);
	return 0;
}
