/* What sem_open answers to its arguments, and what it takes of the process: 138-144, 160, 161, 165. */
#include "sem.h"

#include <sys/resource.h>

#define MANY 300

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

static void check_flag(const char *part, int flag)
{
	struct name name = make_name("flag");
	char key[96];
	sem_t *sem = create(name.text, 3);

	sem_close(sem);
	snprintf(key, sizeof(key), "144.%s-existing", part);
	report_ended(key, start_process_with(open_with_flags_body, -1, (uint64_t)flag, &name));
	snprintf(key, sizeof(key), "144.%s-create-existing", part);
	report_ended(key, start_process_with(open_with_flags_body, -1, (uint64_t)(flag | O_CREAT), &name));
	snprintf(key, sizeof(key), "144.%s-afterwards", part);
	report_ended(key, start_process_with(open_with_flags_body, -1, 0, &name));
	sem_unlink(name.text);
	snprintf(key, sizeof(key), "144.%s-create", part);
	report_ended(key, start_process_with(open_with_flags_body, -1, (uint64_t)(flag | O_CREAT), &name));
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

/* Descriptor 0 is an ordinary one. */
static void check_closed_descriptors(void)
{
	struct name name = make_name("closed-stdio");
	sem_t *sem;

	close(STDIN_FILENO);
	sem = report_open("160.without-standard-input", sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, 2));
	report("160.standard-input-left-free", "%s", yes_no(lowest_free_descriptor() == STDIN_FILENO));
	close_and_unlink(sem, name.text);
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
	GROUP(check_descriptors());
	GROUP(check_closed_descriptors());
	GROUP(check_descriptor_limit());
	GROUP(check_many_names());
	return 0;
}
