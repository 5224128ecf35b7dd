/*
 * How long a semaphore and its handles live: 155, 157, 158.
 * For the exec checks the program runs itself with the arguments "exec NAME OLD_ADDRESS RESULT_FD".
 */
#include "sem.h"

static const char *program;

/* ---- 155: sem_unlink ---- */

static void check_unlinked_handle(void)
{
	struct name name = make_name("unlinked");
	sem_t *sem = create(name.text, 1), *second = open_existing(name.text);

	report_call("155.unlink", sem_unlink(name.text));
	report_existing("155.open-after-unlink", name.text);
	report_call("155.unlink-again", sem_unlink(name.text));
	report_call("155.wait", sem_wait(sem));
	report_call("155.trywait-empty", sem_trywait(sem));
	report_call("155.post", sem_post(sem));
	report_call("155.close-one", sem_close(sem));
	report_call("155.post-by-other", sem_post(second));
	report_value("155.value-by-other", second);
	report_call("155.close-last", sem_close(second));
	report_existing("155.open-after-close", name.text);
}

static void check_created_beside(void)
{
	struct name name = make_name("beside");
	sem_t *old = create(name.text, 1), *new;

	sem_unlink(name.text);
	new = report_open("155.created-beside", sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, 9));
	sem_post(old);
	report_value("155.old-after-post", old);
	report_value("155.new-after-post-to-old", new);
	sem_wait(new);
	report_value("155.old-after-wait-on-new", old);
	report_existing("155.opened-is-new", name.text);
	report_open_and_close("155.created-by-create-is-new", sem_open(name.text, O_CREAT, MODE_OWNER, 30));
	report_call("155.unlink-new", sem_unlink(name.text));
	report_call("155.unlink-old-is-gone", sem_unlink(name.text));
	report_open_and_close("155.third", sem_open(name.text, O_CREAT, MODE_OWNER, 30));
	report_value("155.new-after-third", new);
	report_value("155.old-after-third", old);
	sem_close(old);
	sem_close(new);
	report_existing("155.third-stays", name.text);
	sem_unlink(name.text);
	report_open_and_close("155.fresh-value", sem_open(name.text, O_CREAT, MODE_OWNER, 2));
	sem_unlink(name.text);
}

static struct io unlink_body(struct task *task)
{
	return io_result(sem_unlink(task->data));
}

static struct io open_value_body(struct task *task)
{
	sem_t *sem = sem_open(task->data, 0);
	struct io io = { .has_value = true };

	if (sem == SEM_FAILED)
		return io_result(-1);
	io.value = (uint64_t)value_of(sem);
	return io;
}

static void check_unlink_by_process(void)
{
	struct name name = make_name("by-process");
	sem_t *sem = create(name.text, 4);

	report_ended("155.child-opens", start_process_with(open_value_body, -1, 0, name.text));
	report_ended("155.child-unlinks", start_process_with(unlink_body, -1, 0, name.text));
	report_existing("155.parent-opens", name.text);
	report_value("155.parent-keeps", sem);
	report_ended("155.other-child-opens", start_process_with(open_value_body, -1, 0, name.text));
	report_ended("155.other-child-unlinks", start_process_with(unlink_body, -1, 0, name.text));
	sem_close(sem);
}

static void check_unlink_under_waiter(const char *key, bool process)
{
	struct name name = make_name("waited");
	sem_t *sem = create(name.text, 0);
	struct task *waiter = (process ? start_waiter_process : start_waiter_thread)(wait_body, sem);
	char full[96];

	snprintf(full, sizeof(full), "%s-before", key);
	report_waiting(full, waiter);
	sem_unlink(name.text);
	snprintf(full, sizeof(full), "%s-unlinked", key);
	report_waiting(full, waiter);
	close_and_unlink(create(name.text, 50), name.text);
	snprintf(full, sizeof(full), "%s-another-made", key);
	report_waiting(full, waiter);
	sem_post(sem);
	snprintf(full, sizeof(full), "%s-posted", key);
	report_task(full, waiter);
	snprintf(full, sizeof(full), "%s-value", key);
	report_value(full, sem);
	sem_close(sem);
}

/* ---- 157: the value outlives the processes ---- */

static struct io post_by_name_body(struct task *task)
{
	sem_t *sem = sem_open(task->data, O_CREAT, MODE_OWNER, 10);

	if (sem == SEM_FAILED)
		return io_result(-1);
	for (uint64_t i = 0; i < task->value; i++)
		sem_post(sem);
	return io_result(0);
}

static void check_persistence(void)
{
	struct name name = make_name("persistent");
	int good = 0;

	report_ended("157.child-creates", start_process_with(post_by_name_body, -1, 2, name.text));
	report_existing("157.value-kept", name.text);
	report_ended("157.second-child-posts", start_process_with(post_by_name_body, -1, 3, name.text));
	report_existing("157.value-kept-again", name.text);
	for (int i = 0; i < 50; i++) {
		struct task *task = start_process_with(post_by_name_body, -1, 1, name.text);

		good += finish_task(task).ret == 0;
	}
	report("157.fifty-children", "good=%d", good);
	report_existing("157.value-after-fifty", name.text);
	report_ended("157.child-unlinks", start_process_with(unlink_body, -1, 0, name.text));
	report_existing("157.gone", name.text);
	report_ended("157.created-anew", start_process_with(post_by_name_body, -1, 0, name.text));
	report_existing("157.initial-value", name.text);
	sem_unlink(name.text);
}

/* The creator is gone, the name as well; only the parent still has a handle. */
static void check_creator_gone(void)
{
	struct name name = make_name("orphan");
	sem_t *sem;

	finish_task(start_process_with(post_by_name_body, -1, 1, name.text));
	sem = open_existing(name.text);
	finish_task(start_process_with(unlink_body, -1, 0, name.text));
	report_call("157.orphan-wait", sem_wait(sem));
	report_value("157.orphan-value", sem);
	report_ended("157.orphan-child-posts", start_process_with(post_body, -1, 0, sem));
	report_value("157.orphan-value-after-child", sem);
	sem_close(sem);
}

static void check_many_lives(void)
{
	struct name name = make_name("lives");
	int good = 0;

	for (int i = 0; i < 500; i++) {
		sem_t *sem = create(name.text, (unsigned int)i);

		good += value_of(sem) == i && sem_unlink(name.text) == 0 && sem_post(sem) == 0 && sem_close(sem) == 0;
	}
	report("157.five-hundred-lives", "good=%d", good);
	report_existing("157.after-all-lives", name.text);
}

/* ---- 158: exit, death ---- */

static struct name at_exit_name;
static sem_t *at_exit_sem;

static void post_at_exit(void)
{
	sem_post(at_exit_sem);
}

static void open_at_exit(void)
{
	sem_t *sem = sem_open(at_exit_name.text, 0);

	if (sem != SEM_FAILED)
		sem_post(sem);
}

static int exit_status_of(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0), "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_exit(void)
{
	pid_t pid;

	at_exit_name = make_name("exit");
	at_exit_sem = create(at_exit_name.text, 1);
	pid = fork_child();
	if (pid == 0) {
		atexit(post_at_exit);
		atexit(open_at_exit);
		sem_open(at_exit_name.text, 0);
		exit(5);
	}
	report("158.exit", "status=%d", exit_status_of(pid));
	report_value("158.exit-posted", at_exit_sem);
	pid = fork_child();
	if (pid == 0) {
		sem_t *sem = sem_open(at_exit_name.text + 1, 0);

		_exit(sem != SEM_FAILED && sem_post(sem) == 0 ? 6 : 7);
	}
	report("158.quick-exit", "status=%d", exit_status_of(pid));
	report_value("158.quick-exit-posted", at_exit_sem);
	report_call("158.parent-closes", sem_close(at_exit_sem));
	report_call("158.parent-closes-again", sem_close(at_exit_sem));
	report_existing("158.still-there", at_exit_name.text);
	sem_unlink(at_exit_name.text);
}

static struct io open_and_pause_body(struct task *task)
{
	sem_t *sem = sem_open(task->data, 0);

	if (sem == SEM_FAILED || sem_post(sem) != 0)
		return io_result(-1);
	task->value = 1;
	for (;;)
		pause();
}

static void check_killed(void)
{
	struct name name = make_name("killed");
	struct task *task;
	int status;

	sem_close(create(name.text, 1));
	task = start_process_with(open_and_pause_body, -1, 0, name.text);
	while (*(volatile uint64_t *)&task->value == 0 && !task->finished)
		pause_briefly();
	kill(task->pid, SIGKILL);
	must(waitpid(task->pid, &status, 0), "waitpid");
	report("158.killed", "signalled=%s", yes_no(WIFSIGNALED(status)));
	unmap_page(task);
	report_existing("158.killed-value", name.text);
	report_call("158.killed-unlink", sem_unlink(name.text));
	report_existing("158.killed-gone", name.text);
}

/* ---- 158: exec ---- */

struct exec_result {
	struct io closed_old;
	struct io opened;
	struct io posted;
	struct io closed;
};

static int run_exec_mode(char **arguments)
{
	const char *name = arguments[2];
	sem_t *old = (sem_t *)(uintptr_t)strtoull(arguments[3], NULL, 16), *sem;
	struct exec_result result = { 0 };

	result.closed_old = io_result(sem_close(old));
	sem = sem_open(name, 0);
	result.opened = io_result(sem == SEM_FAILED ? -1 : 0);
	if (sem != SEM_FAILED) {
		result.opened.has_value = true;
		result.opened.value = (uint64_t)value_of(sem);
		result.posted = io_result(sem_post(sem));
		result.closed = io_result(sem_close(sem));
	}
	return write(atoi(arguments[4]), &result, sizeof(result)) == (ssize_t)sizeof(result) ? 0 : 1;
}

static void exec_self(const char *name, const sem_t *old, int fd)
{
	char address[32], fd_text[16];
	char *arguments[] = { (char *)program, "exec", (char *)name, address, fd_text, NULL };

	snprintf(address, sizeof(address), "%llx", (unsigned long long)(uintptr_t)old);
	snprintf(fd_text, sizeof(fd_text), "%d", fd);
	execv(program, arguments);
	_exit(4);
}

static void report_exec(const char *subject, const char *name, const sem_t *old)
{
	struct exec_result result;
	char key[96];
	int ends[2];
	pid_t pid;
	bool answered;

	must(pipe(ends), "pipe");
	pid = fork_child();
	if (pid == 0) {
		close(ends[0]);
		exec_self(name, old, ends[1]);
	}
	close(ends[1]);
	answered = read(ends[0], &result, sizeof(result)) == (ssize_t)sizeof(result);
	close(ends[0]);
	snprintf(key, sizeof(key), "%s-answered", subject);
	report(key, "%s status=%d", yes_no(answered), exit_status_of(pid));
	if (!answered)
		return;
	snprintf(key, sizeof(key), "%s-close-of-old", subject);
	report_io(key, result.closed_old);
	snprintf(key, sizeof(key), "%s-open", subject);
	report_io(key, result.opened);
	if (result.opened.ret != 0)
		return;
	snprintf(key, sizeof(key), "%s-post", subject);
	report_io(key, result.posted);
	snprintf(key, sizeof(key), "%s-close", subject);
	report_io(key, result.closed);
}

static void check_exec(void)
{
	struct name name = make_name("exec");
	sem_t *sem = create(name.text, 1);

	sem_post(sem);
	report_exec("158.exec", name.text, sem);
	report_value("158.exec-posted", sem);
	sem_wait(sem);
	report_exec("158.exec-again", name.text, sem);
	report_value("158.exec-posted-again", sem);
	sem_unlink(name.text);
	report_exec("158.exec-unlinked", name.text, sem);
	report_value("158.exec-unlinked-kept", sem);
	sem_close(sem);
}

/* The only handle goes with the exec; the name keeps the value. */
static void check_exec_of_only_user(void)
{
	struct name name = make_name("exec-only");
	sem_t *sem = create(name.text, 7);

	sem_close(sem);
	report_exec("158.exec-only-user", name.text, sem);
	report_existing("158.exec-only-user-value", name.text);
	sem_unlink(name.text);
}

int main(int argc, char **argv)
{
	if (argc == 5)
		return run_exec_mode(argv);
	start_semaphores();
	program = argv[0];
	GROUP(check_unlinked_handle());
	GROUP(check_created_beside());
	GROUP(check_unlink_by_process());
	GROUP(check_unlink_under_waiter("155.thread", false));
	GROUP(check_unlink_under_waiter("155.process", true));
	GROUP(check_persistence());
	GROUP(check_creator_gone());
	GROUP(check_many_lives());
	GROUP(check_exit());
	GROUP(check_killed());
	GROUP(check_exec());
	GROUP(check_exec_of_only_user());
	return 0;
}
