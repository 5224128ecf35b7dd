/* What sem_open answers, and what it hands out: 138-144, 150-154, 160, 161, 164, 165. */
#include "sem.h"

#include <sys/resource.h>

#define MANY 300
#define THREADS 8
#define THREAD_ROUNDS 50

/* Opens, says what came and what became of the value for later openers. */
static void check_flags(const char *key, const char *name, int flags)
{
	report_open_and_close(key, sem_open(name, flags, MODE_OWNER, 9));
}

/* ---- 138-143: O_CREAT, O_EXCL, value ---- */

static void check_absent(void)
{
	struct name name = make_name("absent");

	report_existing("138.no-flags", name.text);
	check_flags("138.read-write", name.text, O_RDWR);
	check_flags("139.exclusively", name.text, O_EXCL);
	check_flags("138.truncate", name.text, O_TRUNC);
	report_existing("138.still-absent", name.text);
}

static void check_existing(void)
{
	struct name name = make_name("existing");
	sem_t *sem;

	check_flags("138.create", name.text, O_CREAT);
	report_existing("138.existing", name.text);
	check_flags("139.exclusively-existing", name.text, O_EXCL);
	check_flags("140.create-exclusively-existing", name.text, O_CREAT | O_EXCL);
	report_existing("140.after-refusal", name.text);
	sem = open_existing(name.text);
	check_flags("140.create-exclusively-while-open", name.text, O_CREAT | O_EXCL);
	report_value("140.handle-after-refusal", sem);
	close_and_unlink(sem, name.text);
	check_flags("140.create-exclusively-after-unlink", name.text, O_CREAT | O_EXCL);
	sem_unlink(name.text);
}

static void check_create_existing(void)
{
	struct name name = make_name("ignored");
	sem_t *sem;

	sem_close(create(name.text, 5));
	report_open_and_close("141.other-value", sem_open(name.text, O_CREAT, 0600, 7));
	report_open_and_close("141.zero", sem_open(name.text, O_CREAT, 0600, 0));
	report_open_and_close("141.no-mode", sem_open(name.text, O_CREAT, 0, 7));
	report_open_and_close("141.odd-mode", sem_open(name.text, O_CREAT, 0177777, 7));
	report_open_and_close("141.value-too-large", sem_open(name.text, O_CREAT, 0600, (unsigned int)SEM_VALUE_MAX + 1));
	report_open_and_close("141.value-largest", sem_open(name.text, O_CREAT, 0600, UINT_MAX));
	sem = open_existing(name.text);
	report_open_and_close("141.while-open", sem_open(name.text, O_CREAT, 0600, UINT_MAX));
	report_value("141.handle", sem);
	sem_close(sem);
	report_existing("141.unchanged", name.text);
	sem_unlink(name.text);
}

static void check_values(void)
{
	static const struct {
		const char *key, *key_reopened;
		unsigned int value;
	} cases[] = {
		{ "142.zero", "142.zero-reopened", 0 },
		{ "142.one", "142.one-reopened", 1 },
		{ "142.thousand", "142.thousand-reopened", 1000 },
		{ "142.maximum-less-one", "142.maximum-less-one-reopened", (unsigned int)SEM_VALUE_MAX - 1 },
		{ "142.maximum", "142.maximum-reopened", SEM_VALUE_MAX },
		{ "142.maximum-plus-one", "142.maximum-plus-one-nothing-made", (unsigned int)SEM_VALUE_MAX + 1 },
		{ "142.largest", "142.largest-nothing-made", UINT_MAX },
	};
	struct name name = make_name("values");

	report("142.value-max", "%ld", (long)SEM_VALUE_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		report_open_and_close(cases[i].key, sem_open(name.text, O_CREAT, MODE_OWNER, cases[i].value));
		report_existing(cases[i].key_reopened, name.text);
		sem_unlink(name.text);
	}
	check_flags("142.after-refusal", name.text, O_CREAT | O_EXCL);
	report_open_and_close("142.existing-exclusively-too-large", sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, UINT_MAX));
	report_existing("142.existing-stays", name.text);
	sem_unlink(name.text);
	report_open_and_close("142.exclusively-too-large", sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, UINT_MAX));
	report_existing("142.exclusively-nothing-made", name.text);
}

static void check_missing_arguments(void)
{
	struct name name = make_name("arguments");

	sem_close(create(name.text, 6));
	report_open_and_close("143.create-existing-without-arguments", sem_open(name.text, O_CREAT));
	report_existing("143.unchanged", name.text);
	sem_unlink(name.text);
}

/* ---- 144: other flags. In a process of its own: a destroyed semaphore kills its user. ---- */

static struct io open_with_flags_body(struct task *task)
{
	const struct name *name = task->data;
	sem_t *sem = sem_open(name->text, (int)task->value, MODE_OWNER, 9);
	struct io io = { 0 };

	if (sem == SEM_FAILED)
		return io_result(-1);
	io.has_value = true;
	io.value = (uint64_t)value_of(sem);
	return io;
}

static void report_process_result(const char *key, struct task *task)
{
	int status;

	must(waitpid(task->pid, &status, 0), "waitpid");
	if (task->finished)
		report_io(key, task->result);
	else
		report(key, "killed=%s", yes_no(WIFSIGNALED(status)));
	unmap_page(task);
}

static void check_flag(const char *part, int flag)
{
	struct name name = make_name("flag");
	char key[96];
	sem_t *sem = create(name.text, 3);

	sem_close(sem);
	snprintf(key, sizeof(key), "144.%s-existing", part);
	report_process_result(key, start_process_with(open_with_flags_body, -1, (uint64_t)flag, &name));
	snprintf(key, sizeof(key), "144.%s-create-existing", part);
	report_process_result(key, start_process_with(open_with_flags_body, -1, (uint64_t)(flag | O_CREAT), &name));
	snprintf(key, sizeof(key), "144.%s-afterwards", part);
	report_process_result(key, start_process_with(open_with_flags_body, -1, 0, &name));
	sem_unlink(name.text);
	snprintf(key, sizeof(key), "144.%s-create", part);
	report_process_result(key, start_process_with(open_with_flags_body, -1, (uint64_t)(flag | O_CREAT), &name));
	sem_unlink(name.text);
}

/* A handle is for all operations, whatever the access mode. */
static void check_access_mode(const char *part, int flags)
{
	struct name name = make_name("access");
	char key[96];
	sem_t *sem;

	sem_close(create(name.text, 3));
	sem = must_be_open(sem_open(name.text, flags));
	snprintf(key, sizeof(key), "144.%s-wait", part);
	report_call(key, sem_trywait(sem));
	snprintf(key, sizeof(key), "144.%s-post", part);
	report_call(key, sem_post(sem));
	snprintf(key, sizeof(key), "144.%s-value", part);
	report_value(key, sem);
	close_and_unlink(sem, name.text);
}

static void check_flags_without_effect(void)
{
	check_flag("read-only", O_RDONLY);
	check_flag("write-only", O_WRONLY);
	check_flag("read-write", O_RDWR);
	check_flag("access-mode-3", O_ACCMODE);
	check_flag("append", O_APPEND);
	check_flag("nonblock", O_NONBLOCK);
	check_flag("cloexec", O_CLOEXEC);
	check_flag("nofollow", O_NOFOLLOW);
	check_access_mode("read-only", O_RDONLY);
	check_access_mode("write-only", O_WRONLY);
	check_access_mode("read-write", O_RDWR);
}

/* ---- 150-152: addresses ---- */

static void check_same_address(void)
{
	struct name name = make_name("address");
	sem_t *first = create(name.text, 2), *second = open_existing(name.text);
	sem_t *third = must_be_open(sem_open(name.text, O_CREAT, MODE_OWNER, 8));

	report_same_address("150.opened-again", first, second);
	report_same_address("150.by-create", first, third);
	check_flags("150.exclusively-refused", name.text, O_CREAT | O_EXCL);
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

	must(sem_init(&unnamed, 0, 4), "sem_init");
	report_call("154.null-with-none-open", sem_close(NULL));
	report_call("154.unnamed-with-none-open", sem_close(&unnamed));
	sem = create(name.text, 1);
	report_call("154.null", sem_close(NULL));
	report_call("154.unnamed", sem_close(&unnamed));
	report_call("154.unnamed-still-good", sem_post(&unnamed));
	report_value("154.unnamed-value", &unnamed);
	report_call("154.never-used", sem_close(&never_used));
	report_call("154.failed-value", sem_close(SEM_FAILED));
	report_call("154.beside", sem_close((sem_t *)((char *)sem + 1)));
	report_call("154.next", sem_close(sem + 1));
	report_call("154.good", sem_close(sem));
	report_call("154.twice", sem_close(sem));
	report_call("154.reopened", sem_close(open_existing(name.text)));
	sem_unlink(name.text);
	report_call("154.after-unlink", sem_close(sem));
}

/* ---- 160, 161: descriptors ---- */

static int lowest_free_descriptor(void)
{
	int fd = must(dup(STDOUT_FILENO), "dup");

	close(fd);
	return fd;
}

static int reference_descriptor;

static void report_descriptors(const char *key)
{
	report(key, "same-lowest=%s", yes_no(lowest_free_descriptor() == reference_descriptor));
}

/* The first use may set something up that stays. */
static void check_descriptors(void)
{
	struct name name = make_name("descriptors");
	sem_t *sem, *again;

	reference_descriptor = lowest_free_descriptor();
	sem = create(name.text, 1);
	report_descriptors("160.created");
	again = open_existing(name.text);
	report_descriptors("160.opened-again");
	check_flags("160.refused", name.text, O_CREAT | O_EXCL);
	report_descriptors("160.after-refusal");
	sem_post(sem);
	sem_wait(sem);
	report_descriptors("160.used");
	sem_close(again);
	report_descriptors("160.closed");
	sem_close(sem);
	report_descriptors("160.closed-last");
	report_open_and_close("160.absent", sem_open(make_name("nothing").text, 0));
	report_descriptors("160.after-absent");
	report_open_and_close("160.bad-value", sem_open(make_name("nothing").text, O_CREAT, MODE_OWNER, UINT_MAX));
	report_descriptors("160.after-bad-value");
	sem_unlink(name.text);
	report_descriptors("160.unlinked");
	for (int i = 0; i < 100; i++) {
		close_and_unlink(create(name.text, 1), name.text);
		sem_open(make_name("nothing").text, 0);
	}
	report_descriptors("160.hundred-times");
}

/* No descriptor stays behind that a started program would inherit. */
static void check_closed_descriptors(void)
{
	struct name name = make_name("closed-stdio");
	sem_t *sem;
	int out = must(dup(STDOUT_FILENO), "dup");

	must(fcntl(out, F_SETFD, FD_CLOEXEC), "F_SETFD");
	close(STDIN_FILENO);
	sem = report_open("160.without-standard-input", sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, 2));
	report("160.standard-input-left-free", "%s", yes_no(lowest_free_descriptor() == STDIN_FILENO));
	close_and_unlink(sem, name.text);
	close(out);
}

static void check_descriptor_limit(void)
{
	struct name name = make_name("limit"), other = make_name("limit-other"), absent = make_name("limit-absent");
	sem_t *sem = create(name.text, 1);
	struct rlimit saved, limit;

	sem_close(create(other.text, 2));
	must(getrlimit(RLIMIT_NOFILE, &saved), "getrlimit");
	limit = saved;
	limit.rlim_cur = (rlim_t)lowest_free_descriptor();
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
		report_call("161.unavailable", -1);
	} else {
		report_existing("161.at-limit-open", other.text);
		report_existing("161.at-limit-already-open", name.text);
		check_flags("161.at-limit-create", absent.text, O_CREAT);
		check_flags("161.at-limit-create-exclusively", absent.text, O_CREAT | O_EXCL);
		report_call("161.at-limit-unlink-absent", sem_unlink(absent.text));
		report_call("161.at-limit-post", sem_post(sem));
		report_call("161.at-limit-close", sem_close(sem));
		report_call("161.at-limit-unlink", sem_unlink(other.text));
		setrlimit(RLIMIT_NOFILE, &saved);
		report_existing("161.raised-nothing-was-made", absent.text);
		report_existing("161.raised-open", name.text);
		report_existing("161.raised-unlinked", other.text);
		check_flags("161.raised-create", absent.text, O_CREAT);
	}
	sem_unlink(name.text);
	sem_unlink(other.text);
	sem_unlink(absent.text);
}

/* ---- 161: no limit of its own ---- */

static void check_many_names(void)
{
	static sem_t *sems[MANY];
	int opened = 0, distinct = 0, right = 0, same = 0, closed = 0, unlinked = 0;
	char part[32];

	reference_descriptor = lowest_free_descriptor();
	for (int i = 0; i < MANY; i++) {
		snprintf(part, sizeof(part), "many-%d", i);
		sems[i] = sem_open(make_name(part).text, O_CREAT | O_EXCL, MODE_OWNER, i);
		opened += sems[i] != SEM_FAILED;
	}
	report("161.many-opened", "%d", opened);
	if (opened < MANY)
		die("sem_open");
	report_descriptors("160.many-open");
	for (int i = 0; i < MANY; i++) {
		bool seen = false;

		for (int k = 0; k < i; k++)
			seen |= sems[k] == sems[i];
		distinct += !seen;
		right += value_of(sems[i]) == i;
	}
	report("161.many-handles", "distinct=%d right=%d", distinct, right);
	for (int i = MANY - 1; i >= 0; i--) {
		sem_t *again;

		snprintf(part, sizeof(part), "many-%d", i);
		again = sem_open(make_name(part).text, 0);
		same += again == sems[i];
		sem_close(again);
		sem_post(sems[i]);
	}
	report("161.many-opened-again", "same=%d", same);
	for (int i = 0; i < MANY; i++)
		closed += sem_close(sems[i]) == 0;
	for (int i = 0; i < MANY; i++) {
		snprintf(part, sizeof(part), "many-%d", i);
		unlinked += sem_unlink(make_name(part).text) == 0;
	}
	report("161.many-dropped", "closed=%d unlinked=%d", closed, unlinked);
	report_descriptors("160.many-dropped");
}

/* ---- 150: threads ---- */

struct race {
	struct meeting meeting;
	sem_t *found[THREADS];
	atomic_int next;
	atomic_int wrong;
	int value;
	bool other_spelling;
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

	race->meeting.members = THREADS;
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
	report("165.sem-failed", "null=%s", yes_no(SEM_FAILED == (sem_t *)NULL));
	GROUP(check_absent());
	GROUP(check_existing());
	GROUP(check_create_existing());
	GROUP(check_values());
	GROUP(check_missing_arguments());
	GROUP(check_flags_without_effect());
	GROUP(check_flag("truncate", O_TRUNC));
	GROUP(check_flag("truncate-read-write", O_TRUNC | O_RDWR));
	GROUP(check_flag("directory", O_DIRECTORY));
	GROUP(check_same_address());
	GROUP(check_many_references());
	GROUP(check_other_spelling());
	GROUP(check_created_again());
	GROUP(check_generations());
	GROUP(check_close_keeps_value());
	GROUP(check_close_refused());
	GROUP(check_descriptors());
	GROUP(check_closed_descriptors());
	GROUP(check_descriptor_limit());
	GROUP(check_many_names());
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
