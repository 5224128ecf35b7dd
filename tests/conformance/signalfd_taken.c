/* Who takes a signal takes it from all others: 87, 88, 90, 92. */
#include "sigfd.h"

#include <sys/resource.h>

/* ---- 87: who takes a signal takes it from the others ---- */

static void check_consumed_by_read(void)
{
	sigset_t set = SIGNALS(SIGUSR1, SIGRTMIN);
	int fd = block_and_make(set, SFD_NONBLOCK);

	handle(SIGUSR1, count_signal, 0);
	handle(SIGRTMIN, count_signal, 0);
	send_self(SIGUSR1);
	queue_self(SIGRTMIN, 1);
	queue_self(SIGRTMIN, 2);
	report_pending("87.pending-before");
	report_signals("87.read-two", fd, 2);
	report_pending("87.pending-one-left");
	report_signals("87.read-last", fd, 2);
	report_pending("87.pending-after");
	report_taken("87.sigwait-after-read", set);
	unblock(set);
	report_seen("87.handler-after-read");
}

static void check_consumed_by_sigwait(void)
{
	sigset_t set = SIGNALS(SIGUSR1, SIGRTMIN);
	int fd = block_and_make(set, SFD_NONBLOCK);

	send_self(SIGUSR1);
	report_taken("87.sigwait", set);
	report_poll("87.poll-after-sigwait", fd);
	report_signal("87.read-after-sigwait", fd);
	queue_self(SIGRTMIN, 1);
	queue_self(SIGRTMIN, 2);
	report_taken("87.sigwait-first", set);
	report_sent("87.read-second", fd, 4);
}

static void check_consumed_by_handler(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int fd = block_and_make(set, SFD_NONBLOCK);

	handle(SIGUSR1, count_signal, 0);
	send_self(SIGUSR1);
	report_poll("87.poll-before-handler", fd);
	unblock(set);
	report_seen("87.handler");
	report_poll("87.poll-after-handler", fd);
	report_signal("87.read-after-handler", fd);
}

/* The signals are the process's: the descriptor neither holds nor loses them. */
static void check_close_keeps_signals(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int fd = block_and_make(set, SFD_NONBLOCK);

	send_self(SIGUSR1);
	report_poll("87.poll-before-close", fd);
	close(fd);
	report_pending("87.pending-after-close");
	report_sent("87.read-by-next", make_signalfd(set, SFD_NONBLOCK), 4);
}

static void check_pending_before_creation(void)
{
	block(SIGNALS(SIGUSR1, SIGRTMIN));
	queue_self(SIGUSR1, 6);
	queue_self(SIGRTMIN, 7);
	report_sent("87.sent-before-creation", make_signalfd(SIGNALS(SIGUSR1, SIGRTMIN), SFD_NONBLOCK), 4);
}

/* ---- 88: two signalfds ---- */

static void check_two_signalfds(void)
{
	int first = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);
	int second = block_and_make(SIGNALS(SIGUSR1, SIGTERM), SFD_NONBLOCK);

	send_self(SIGUSR1);
	report_poll("88.poll-first", first);
	report_poll("88.poll-second", second);
	report_signal("88.read-second", second);
	report_poll("88.poll-first-after", first);
	report_signal("88.read-first", first);
	send_usr1_and_usr2();
	send_self(SIGTERM);
	report_signals("88.shared-and-own", first, 4);
	report_signals("88.own", second, 4);
}

static void check_two_sleepers(bool same)
{
	int fds[2] = { block_and_make(SIGNALS(SIGUSR1), 0) };
	struct task *readers[2];
	char key[96];
	const char *name = same ? "one-signalfd" : "two-signalfds";

	fds[1] = same ? fds[0] : make_signalfd(SIGNALS(SIGUSR1), 0);
	for (int i = 0; i < 2; i++)
		readers[i] = start_thread(signal_body, fds[i], 0);
	make_key(key, 88, name, "sleepers");
	report(key, "%d", count_blocked(readers, 2));
	send_self(SIGUSR1);
	wait_finished(readers, 2, 1);
	make_key(key, 88, name, "sleepers-after-one");
	report(key, "%d", count_blocked(readers, 2));
	send_self(SIGUSR1);
	for (int i = 0; i < 2; i++) {
		make_key(key, 88, name, i ? "second" : "first");
		report_signal_task(key, readers[i]);
	}
}

/* ---- 90: signals that are not blocked ---- */

static void check_unblocked(void)
{
	int fd = make_signalfd(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);

	handle(SIGUSR1, count_signal, 0);
	raise(SIGUSR1);
	report_seen("90.handler-raise");
	report_signal("90.read-raise", fd);
	send_self(SIGUSR1);
	report_seen("90.handler-kill");
	report_signal("90.read-kill", fd);
	block(SIGNALS(SIGUSR2));
	send_usr1_and_usr2();
	report_seen("90.handler-one-of-two");
	report_signals("90.read-the-blocked-one", fd, 4);
	report_poll("90.poll", fd);
}

/* ---- 92: faults of the CPU ---- */

static void fault(void)
{
	*(volatile int *)before_fault(0) = 1;
}

static void check_cpu_fault(const char *key, void (*handler)(int))
{
	const struct rlimit no_core = { 0, 0 };
	pid_t pid = fork_child();

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		handle(SIGSEGV, handler, 0);
		block_and_make(SIGNALS(SIGSEGV), SFD_NONBLOCK);
		fault();
		_exit(0);
	}
	report_end(key, pid);
}

static void check_sent_fault_signal(void)
{
	int fd = block_and_make(SIGNALS(SIGSEGV), SFD_NONBLOCK);

	send_self(SIGSEGV);
	report_signal("92.sent-by-kill", fd);
}

int main(void)
{
	start_output();
	GROUP(check_consumed_by_read());
	GROUP(check_consumed_by_sigwait());
	GROUP(check_consumed_by_handler());
	GROUP(check_close_keeps_signals());
	GROUP(check_pending_before_creation());
	GROUP(check_two_signalfds());
	GROUP(check_two_sleepers(true));
	GROUP(check_two_sleepers(false));
	GROUP(check_unblocked());
	GROUP(check_cpu_fault("92.default", SIG_DFL));
	GROUP(check_cpu_fault("92.handled", count_signal));
	GROUP(check_cpu_fault("92.ignored", SIG_IGN));
	GROUP(check_sent_fault_signal());
	return 0;
}
