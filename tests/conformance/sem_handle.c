/* The handles that sem_open hands out: 150-154, 164. */
#include "sem.h"

#define THREADS 8
#define THREAD_ROUNDS 50

/* ---- 150-152: addresses ---- */

static void check_same_address(void)
{
	struct name name = make_name("address");
	sem_t *first = create(name.text, 2), *second = open_existing(name.text);
	sem_t *third = must_be_open(sem_open(name.text, O_CREAT, MODE_OWNER, 8));

	report_same_address("150.opened-again", first, second);
	report_same_address("150.by-create", first, third);
	report_open_and_close("150.exclusively-refused", sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, 8));
	report_call("150.close-first", sem_close(first));
	report_call("150.post", sem_post(first));
	report_call("150.close-second", sem_close(first));
	report_value("150.value-by-third", first);
	second = open_existing(name.text);
	report_same_address("150.opened-again-later", first, second);
	report_call("150.close-third", sem_close(first));
	report_call("150.wait", sem_trywait(first));
	report_call("150.close-fourth", sem_close(first));
	report_call("150.close-fifth", sem_close(first));
	report_existing("150.value-kept", name.text);
	sem_unlink(name.text);
}

static void check_many_references(void)
{
	struct name name = make_name("references");
	sem_t *sem = create(name.text, 0);
	int same = 0, closed = 0;

	for (int i = 0; i < 1000; i++)
		same += sem_open(name.text, 0) == sem;
	report("150.thousand-opens", "same=%d", same);
	for (int i = 0; i < 1000; i++)
		closed += sem_close(sem) == 0;
	report("150.thousand-closes", "closed=%d", closed);
	report_call("150.post-by-last", sem_post(sem));
	report_call("150.close-last", sem_close(sem));
	report_call("150.close-beyond", sem_close(sem));
	sem_unlink(name.text);
}

static void check_other_spelling(void)
{
	struct name name = make_name("spelled");
	sem_t *first = create(name.text, 2), *second = open_existing(name.text + 1);
	sem_t *third = open_existing(name.text + 1);

	report_same_address("151.other-spelling", first, second);
	report_same_address("151.other-spelling-twice", second, third);
	sem_post(second);
	report_value("151.one-object", first);
	report_call("151.close-first", sem_close(first));
	report_call("151.post-by-second", sem_post(second));
	report_value("151.value-by-second", second);
	report_call("151.close-second", sem_close(second));
	report_call("151.close-third", sem_close(third));
	sem_unlink(name.text);
}

static void check_created_again(void)
{
	struct name name = make_name("again");
	sem_t *old = create(name.text, 1), *new;

	sem_unlink(name.text);
	new = create(name.text, 20);
	report_same_address("152.created-again", old, new);
	sem_post(old);
	sem_post(new);
	sem_post(new);
	report_value("152.old-value", old);
	report_value("152.new-value", new);
	report_same_address("152.opened-is-new", new, open_existing(name.text));
	report_call("152.close-old", sem_close(old));
	report_call("152.close-old-again", sem_close(old));
	report_call("152.close-new", sem_close(new));
	report_call("152.close-new-again", sem_close(new));
	report_call("152.close-new-third-time", sem_close(new));
	report_existing("152.new-stays", name.text);
	sem_unlink(name.text);
}

/* Ten objects that all had the same name. */
static void check_generations(void)
{
	struct name name = make_name("generations");
	sem_t *sems[10];
	int distinct = 0, right = 0, closed = 0;

	for (int i = 0; i < 10; i++) {
		sems[i] = create(name.text, (unsigned int)i);
		sem_unlink(name.text);
	}
	for (int i = 0; i < 10; i++) {
		bool seen = false;

		for (int k = 0; k < i; k++)
			seen |= sems[k] == sems[i];
		distinct += !seen;
		right += value_of(sems[i]) == i;
	}
	for (int i = 0; i < 10; i++)
		closed += sem_close(sems[i]) == 0;
	report("152.ten-generations", "distinct=%d right=%d closed=%d", distinct, right, closed);
}

/* ---- 153, 154: closing ---- */

static void check_close_keeps_value(void)
{
	struct name name = make_name("kept");
	sem_t *sem = create(name.text, 5);

	report_call("153.wait", sem_trywait(sem));
	report_call("153.close", sem_close(sem));
	sem = report_open("153.reopened", sem_open(name.text, 0));
	sem_post(sem);
	sem_post(sem);
	sem_close(sem);
	report_existing("153.reopened-again", name.text);
	sem_unlink(name.text);
}

static void check_close_refused(void)
{
	struct name name = make_name("close");
	sem_t unnamed, *sem;
	static sem_t never_used;
	/* volatile: glibc's header says that it must not be null. */
	sem_t *volatile null = NULL, *volatile failed = SEM_FAILED;

	must(sem_init(&unnamed, 0, 4), "sem_init");
	report_call("154.null-with-none-open", sem_close(null));
	report_call("154.unnamed-with-none-open", sem_close(&unnamed));
	sem = create(name.text, 1);
	report_call("154.null", sem_close(null));
	report_call("154.unnamed", sem_close(&unnamed));
	report_call("154.unnamed-still-good", sem_post(&unnamed));
	report_value("154.unnamed-value", &unnamed);
	report_call("154.never-used", sem_close(&never_used));
	report_call("154.failed-value", sem_close(failed));
	report_call("154.beside", sem_close((sem_t *)((char *)sem + 1)));
	report_call("154.next", sem_close(sem + 1));
	report_call("154.good", sem_close(sem));
	report_call("154.twice", sem_close(sem));
	report_call("154.reopened", sem_close(open_existing(name.text)));
	sem_unlink(name.text);
	report_call("154.after-unlink", sem_close(sem));
}

/* ---- 150: threads ---- */

struct race {
	struct meeting meeting;
	sem_t *found[THREADS];
	atomic_int wrong;
};

static struct io open_together_body(struct task *task)
{
	struct race *race = task->data;
	struct name name = make_name("together");
	int number = (int)task->value;

	for (int round = 0; round < THREAD_ROUNDS; round++) {
		meet(&race->meeting);
		race->found[number] = sem_open(name.text, O_CREAT, MODE_OWNER, 1);
		meet(&race->meeting);
		for (int i = 0; i < THREADS; i++)
			race->wrong += race->found[i] == SEM_FAILED || race->found[i] != race->found[0];
		meet(&race->meeting);
		race->wrong += sem_close(race->found[number]) != 0;
		meet(&race->meeting);
		if (number == 0) {
			race->wrong += sem_close(race->found[0]) != -1;
			race->wrong += sem_unlink(name.text) != 0;
		}
	}
	return io_result(0);
}

static struct io open_and_close_body(struct task *task)
{
	struct race *race = task->data;
	struct name name = make_name("held");

	for (int round = 0; round < 10 * THREAD_ROUNDS; round++) {
		sem_t *sem = sem_open(name.text, round % 2 ? O_CREAT : 0, MODE_OWNER, 1);

		race->wrong += sem != race->found[0] || value_of(sem) != 77 || sem_close(sem) != 0;
	}
	return io_result(0);
}

/* Nobody holds it in between, so that it is mapped and unmapped all the time. */
static struct io open_and_close_unheld_body(struct task *task)
{
	struct race *race = task->data;
	struct name name = make_name("unheld");

	for (int round = 0; round < 10 * THREAD_ROUNDS; round++) {
		sem_t *sem = sem_open(name.text, 0);

		race->wrong += sem == SEM_FAILED || sem_post(sem) != 0 || sem_trywait(sem) != 0 || sem_close(sem) != 0;
	}
	return io_result(0);
}

static void run_threads(const char *key, task_body body, struct race *race)
{
	struct task *threads[THREADS];

	prepare_meeting(&race->meeting, THREADS);
	for (int i = 0; i < THREADS; i++)
		threads[i] = start_thread_with(body, -1, (uint64_t)i, race);
	for (int i = 0; i < THREADS; i++)
		finish_task(threads[i]);
	report(key, "wrong=%d", race->wrong);
}

static void check_threads_together(void)
{
	struct race race = { 0 };

	run_threads("150.threads-open-together", open_together_body, &race);
}

static void check_threads_beside_holder(void)
{
	struct name name = make_name("held");
	struct race race = { 0 };

	race.found[0] = create(name.text, 77);
	run_threads("150.threads-open-and-close", open_and_close_body, &race);
	report_call("150.holder-closes", sem_close(race.found[0]));
	report_call("150.holder-closes-again", sem_close(race.found[0]));
	sem_unlink(name.text);
}

static void check_threads_without_holder(void)
{
	struct name name = make_name("unheld");
	struct race race = { 0 };

	sem_close(create(name.text, 5));
	run_threads("150.threads-without-holder", open_and_close_unheld_body, &race);
	report_existing("150.threads-without-holder-value", name.text);
	sem_unlink(name.text);
}

/* ---- 164: cancellation ---- */

struct cancelled {
	const char *name;
	int flags;
	atomic_bool ready, sent;
	atomic_bool returned;
	atomic_bool still_enabled;
	sem_t *sem;
	int err;
};

/* The request is there before the call: a cancellation point would act upon it. */
static void await_cancel_request(struct cancelled *cancelled)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	cancelled->ready = true;
	while (!cancelled->sent)
		sched_yield();
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
}

static void note_return(struct cancelled *cancelled)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	cancelled->returned = true;
	cancelled->still_enabled = old == PTHREAD_CANCEL_ENABLE;
	pthread_setcancelstate(old, &old);
	pthread_testcancel();
}

static void *open_cancelled(void *data)
{
	struct cancelled *cancelled = data;

	await_cancel_request(cancelled);
	cancelled->sem = sem_open(cancelled->name, cancelled->flags, MODE_OWNER, 3);
	cancelled->err = errno;
	note_return(cancelled);
	return NULL;
}

static void *close_cancelled(void *data)
{
	struct cancelled *cancelled = data;

	await_cancel_request(cancelled);
	cancelled->err = sem_close(cancelled->sem) == 0 ? 0 : errno;
	note_return(cancelled);
	return NULL;
}

static void *unlink_cancelled(void *data)
{
	struct cancelled *cancelled = data;

	await_cancel_request(cancelled);
	cancelled->err = sem_unlink(cancelled->name) == 0 ? 0 : errno;
	note_return(cancelled);
	return NULL;
}

static void run_cancelled(const char *key, void *(*body)(void *), struct cancelled *cancelled)
{
	void *result = NULL;
	pthread_t thread;

	if (pthread_create(&thread, NULL, body, cancelled) != 0)
		die("pthread_create");
	while (!cancelled->ready)
		pause_briefly();
	pthread_cancel(thread);
	cancelled->sent = true;
	pthread_join(thread, &result);
	report(key, "returned=%s cancel-enabled=%s cancelled-then=%s", yes_no(cancelled->returned),
	       yes_no(cancelled->still_enabled), yes_no(result == PTHREAD_CANCELED));
}

static void check_open_cancelled(const char *key, const char *part, int flags)
{
	struct name name = make_name(part);
	struct cancelled cancelled = { .name = name.text, .flags = flags };
	char full[96];

	if (!(flags & O_CREAT))
		sem_close(create(name.text, 4));
	snprintf(full, sizeof(full), "%s-thread", key);
	run_cancelled(full, open_cancelled, &cancelled);
	errno = cancelled.err;
	snprintf(full, sizeof(full), "%s-result", key);
	report_open_and_close(full, cancelled.sem);
	sem_unlink(name.text);
}

static void check_close_cancelled(void)
{
	struct name name = make_name("cancel-close");
	struct cancelled cancelled = { .sem = create(name.text, 4) };

	run_cancelled("164.close-thread", close_cancelled, &cancelled);
	report("164.close-result", "errno=%s", errno_name(cancelled.err));
	report_call("164.close-again", sem_close(cancelled.sem));
	sem_unlink(name.text);
}

static void check_unlink_cancelled(void)
{
	struct name name = make_name("cancel-unlink");
	struct cancelled cancelled = { .name = name.text };

	sem_close(create(name.text, 4));
	run_cancelled("164.unlink-thread", unlink_cancelled, &cancelled);
	report("164.unlink-result", "errno=%s", errno_name(cancelled.err));
	report_existing("164.unlinked", name.text);
}

int main(void)
{
	start_semaphores();
	GROUP(check_same_address());
	GROUP(check_many_references());
	GROUP(check_other_spelling());
	GROUP(check_created_again());
	GROUP(check_generations());
	GROUP(check_close_keeps_value());
	GROUP(check_close_refused());
	GROUP(check_threads_together());
	GROUP(check_threads_beside_holder());
	GROUP(check_threads_without_holder());
	GROUP(check_open_cancelled("164.open", "cancel-open", 0));
	GROUP(check_open_cancelled("164.create", "cancel-create", O_CREAT));
	GROUP(check_open_cancelled("164.create-exclusively", "cancel-exclusively", O_CREAT | O_EXCL));
	GROUP(check_close_cancelled());
	GROUP(check_unlink_cancelled());
	return 0;
}
