/* Signals to waiters, and posts from handlers: 171, 174. */
#include "sem.h"

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

/* Sends the signal to the task's thread and waits until its handler has run. */
static void interrupt_thread(struct task *task, int number)
{
	int before = signals_seen;

	if (pthread_kill(task->thread, number) != 0)
		die("pthread_kill");
	while (signals_seen == before)
		pause_briefly();
}

/* ---- 174: a handler interrupts ---- */

static void check_interrupted(subject_maker make)
{
	struct subject subject = make(0);

	handle(SIGUSR1, count_signal, 0);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct task *task = start_waiter_thread(calls[i].body, subject.sem);

		report_waiting(call_key(174, &subject, &calls[i], "before"), task);
		interrupt_thread(task, SIGUSR1);
		report_task(call_key(174, &subject, &calls[i], "interrupted"), task);
		check_still_sound(174, &subject, &calls[i], "interrupted");
	}
	drop_subject(&subject);
}

static void check_restarted(subject_maker make)
{
	struct subject subject = make(0);

	handle(SIGUSR1, count_signal, SA_RESTART);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct task *task = start_waiter_thread(calls[i].body, subject.sem);

		report_waiting(call_key(174, &subject, &calls[i], "restart-before"), task);
		interrupt_thread(task, SIGUSR1);
		report_waiting(call_key(174, &subject, &calls[i], "restart-after"), task);
		if (calls[i].endless) {
			interrupt_thread(task, SIGUSR1);
			report_waiting(call_key(174, &subject, &calls[i], "restart-after-second"), task);
		}
		report_call(call_key(174, &subject, &calls[i], "restart-post"), sem_post(subject.sem));
		report_task(call_key(174, &subject, &calls[i], "restart-result"), task);
		report_value(call_key(174, &subject, &calls[i], "restart-value"), subject.sem);
		drain(subject.sem);
	}
	drop_subject(&subject);
}

static void check_interrupted_many_times(subject_maker make)
{
	struct subject subject = make(0);
	int interrupted = 0;

	handle(SIGUSR1, count_signal, 0);
	for (int i = 0; i < 20; i++) {
		struct task *task = start_waiter_thread(calls[i % 4].body, subject.sem);
		struct io io;

		count_waiting(&task, 1);
		interrupt_thread(task, SIGUSR1);
		io = finish_task(task);
		interrupted += io.ret == -1 && io.err == EINTR;
	}
	report(key_for(174, &subject, "twenty-times"), "interrupted=%d", interrupted);
	check_still_sound(174, &subject, &calls[0], "twenty-times");
	drop_subject(&subject);
}

static void check_other_waiter_stays(subject_maker make)
{
	struct subject subject = make(0);
	struct task *tasks[3];

	handle(SIGUSR1, count_signal, 0);
	for (int i = 0; i < 3; i++)
		tasks[i] = start_waiter_thread(wait_body, subject.sem);
	report(key_for(174, &subject, "three-waiters"), "waiting=%d", count_waiting(tasks, 3));
	interrupt_thread(tasks[1], SIGUSR1);
	report_task(key_for(174, &subject, "one-interrupted"), tasks[1]);
	report_waiting(key_for(174, &subject, "first-stays"), tasks[0]);
	report_waiting(key_for(174, &subject, "third-stays"), tasks[2]);
	sem_post(subject.sem);
	sem_post(subject.sem);
	report_task(key_for(174, &subject, "first-released"), tasks[0]);
	report_task(key_for(174, &subject, "third-released"), tasks[2]);
	report_value(key_for(174, &subject, "value-after-all"), subject.sem);
	drop_subject(&subject);
}

static void check_unhandled(subject_maker make)
{
	static const struct {
		const char *part;
		int number;
	} signals[] = {
		{ "ignored-signal", SIGUSR2 },
		{ "default-ignored-signal", SIGWINCH },
	};
	struct subject subject = make(0);
	char text[64];

	handle(SIGUSR2, SIG_IGN, 0);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct task *task = start_waiter_thread(wait_body, subject.sem);

		snprintf(text, sizeof(text), "%s-before", signals[i].part);
		report_waiting(key_for(174, &subject, text), task);
		if (pthread_kill(task->thread, signals[i].number) != 0)
			die("pthread_kill");
		snprintf(text, sizeof(text), "%s-after", signals[i].part);
		report_waiting(key_for(174, &subject, text), task);
		sem_post(subject.sem);
		snprintf(text, sizeof(text), "%s-released", signals[i].part);
		report_task(key_for(174, &subject, text), task);
	}
	drop_subject(&subject);
}

static struct io wait_with_usr2_blocked_body(struct task *task)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return io_result(sem_wait(task->data));
}

static void check_masked(subject_maker make)
{
	struct subject subject = make(0);
	struct task *task;

	handle(SIGUSR2, count_signal, 0);
	task = start_waiter_thread(wait_with_usr2_blocked_body, subject.sem);
	report_waiting(key_for(174, &subject, "masked-signal-before"), task);
	if (pthread_kill(task->thread, SIGUSR2) != 0)
		die("pthread_kill");
	report_waiting(key_for(174, &subject, "masked-signal-after"), task);
	sem_post(subject.sem);
	report_task(key_for(174, &subject, "masked-signal-released"), task);
	drop_subject(&subject);
}

/* From another process, and to a process that has only one thread. */
static void check_process_interrupted(subject_maker make, int flags, const char *part)
{
	struct subject subject = make(0);
	struct task *task;
	char text[64];

	handle(SIGUSR1, count_signal, flags);
	task = start_waiter_process(wait_body, subject.sem);
	snprintf(text, sizeof(text), "%s-before", part);
	report_waiting(key_for(174, &subject, text), task);
	kill(task->pid, SIGUSR1);
	if (flags & SA_RESTART) {
		snprintf(text, sizeof(text), "%s-after", part);
		report_waiting(key_for(174, &subject, text), task);
		sem_post(subject.sem);
	}
	snprintf(text, sizeof(text), "%s-result", part);
	report_task(key_for(174, &subject, text), task);
	snprintf(text, sizeof(text), "%s-value", part);
	report_value(key_for(174, &subject, text), subject.sem);
	drop_subject(&subject);
}

static void check_process_plain(subject_maker make)
{
	check_process_interrupted(make, 0, "process");
}

static void check_process_restart(subject_maker make)
{
	check_process_interrupted(make, SA_RESTART, "process-restart");
}

static void check_stopped(const struct call *call)
{
	struct subject subject = make_shared(0);
	struct task *task = start_waiter_process(call->body, subject.sem);
	int status;

	report_waiting(call_key(174, &subject, call, "stopped-before"), task);
	kill(task->pid, SIGSTOP);
	must(waitpid(task->pid, &status, WUNTRACED), "waitpid");
	report(call_key(174, &subject, call, "stopped"), "%s", yes_no(WIFSTOPPED(status)));
	kill(task->pid, SIGCONT);
	report_waiting(call_key(174, &subject, call, "continued"), task);
	sem_post(subject.sem);
	report_task(call_key(174, &subject, call, "continued-result"), task);
	drop_subject(&subject);
}

/* The token comes while the waiter is stopped, and is there when it goes on. */
static void check_posted_while_stopped(void)
{
	struct subject subject = make_shared(0);
	struct task *task = start_waiter_process(wait_body, subject.sem);
	int status;

	report_waiting("174.posted-while-stopped-before", task);
	kill(task->pid, SIGSTOP);
	must(waitpid(task->pid, &status, WUNTRACED), "waitpid");
	report_call("174.posted-while-stopped", sem_post(subject.sem));
	kill(task->pid, SIGCONT);
	report_task("174.posted-while-stopped-result", task);
	report_value("174.posted-while-stopped-value", subject.sem);
	drop_subject(&subject);
}

/* ---- 171: sem_post in a handler ---- */

static sem_t *sem_of_handler;

static void post_in_handler(int number)
{
	int saved = errno;

	(void)number;
	sem_post(sem_of_handler);
	errno = saved;
	signals_seen++;
}

static void check_post_in_handler(subject_maker make)
{
	struct subject subject = make(0);

	sem_of_handler = subject.sem;
	handle(SIGUSR1, post_in_handler, 0);
	for (int i = 0; i < 100; i++)
		raise(SIGUSR1);
	report_value(key_for(171, &subject, "raised-hundred-times"), subject.sem);
	report(key_for(171, &subject, "taken"), "%d", drain(subject.sem));
	drop_subject(&subject);
}

/* The handler interrupts the very wait that its post serves. */
static void check_post_to_own_waiter(subject_maker make, int flags, const char *part)
{
	struct subject subject = make(0);
	struct task *task;
	char text[64];

	sem_of_handler = subject.sem;
	handle(SIGUSR1, post_in_handler, flags);
	task = start_waiter_thread(wait_body, subject.sem);
	snprintf(text, sizeof(text), "%s-before", part);
	report_waiting(key_for(171, &subject, text), task);
	interrupt_thread(task, SIGUSR1);
	snprintf(text, sizeof(text), "%s-result", part);
	report_task(key_for(171, &subject, text), task);
	snprintf(text, sizeof(text), "%s-value", part);
	report_value(key_for(171, &subject, text), subject.sem);
	drop_subject(&subject);
}

static void check_own_waiter(subject_maker make)
{
	check_post_to_own_waiter(make, 0, "own-waiter");
}

static void check_own_waiter_restarted(subject_maker make)
{
	check_post_to_own_waiter(make, SA_RESTART, "own-waiter-restart");
}

/* The thread that is interrupted does something else, perhaps even with the same semaphore. */
struct busy {
	sem_t *sem;
	atomic_bool stop;
};

static struct io busy_body(struct task *task)
{
	struct busy *busy = task->data;
	int posted = 0;

	while (!busy->stop)
		posted += sem_post(busy->sem) == 0;
	return io_result(posted);
}

static void check_post_over_post(subject_maker make)
{
	struct subject subject = make(0);
	struct busy busy = { .sem = subject.sem };
	struct task *task;
	int posted;

	sem_of_handler = subject.sem;
	handle(SIGUSR1, post_in_handler, SA_RESTART);
	task = start_thread_with(busy_body, -1, 0, &busy);
	while (!task->started)
		pause_briefly();
	for (int i = 0; i < 200; i++)
		interrupt_thread(task, SIGUSR1);
	busy.stop = true;
	posted = (int)finish_task(task).ret;
	report(key_for(171, &subject, "over-posts"), "lost=%d", posted + 200 - value_of(subject.sem));
	drop_subject(&subject);
}

static void check_handler_releases_other(subject_maker make)
{
	struct subject subject = make(0);
	struct task *task = start_waiter_thread(wait_body, subject.sem);

	sem_of_handler = subject.sem;
	handle(SIGUSR2, post_in_handler, 0);
	report_waiting(key_for(171, &subject, "other-waiter-before"), task);
	/* To this thread, which does not wait. */
	raise(SIGUSR2);
	report_task(key_for(171, &subject, "other-waiter-result"), task);
	report_value(key_for(171, &subject, "other-waiter-value"), subject.sem);
	drop_subject(&subject);
}

int main(void)
{
	start_semaphores();
	GROUP_THREADS(check_interrupted);
	GROUP_THREADS(check_restarted);
	GROUP_THREADS(check_interrupted_many_times);
	GROUP_THREADS(check_other_waiter_stays);
	GROUP_THREADS(check_unhandled);
	GROUP_THREADS(check_masked);
	GROUP_PROCESSES(check_process_plain);
	GROUP_PROCESSES(check_process_restart);
	GROUP(check_stopped(&calls[0]));
	GROUP(check_stopped(&calls[1]));
	GROUP(check_posted_while_stopped());

	GROUP_THREADS(check_post_in_handler);
	GROUP_THREADS(check_own_waiter);
	GROUP_THREADS(check_own_waiter_restarted);
	GROUP_THREADS(check_post_over_post);
	GROUP_THREADS(check_handler_releases_other);
	return 0;
}
