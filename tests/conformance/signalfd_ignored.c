/* Ignored signals, and signals that take others away: 105-108. */
#include "sigfd.h"

/* ---- 105: a blocked signal is queued even if it is ignored ---- */

static void check_ignored_is_queued(const char *name, int number, void (*handler)(int))
{
	int fd = block_and_make(make_set((const int[]){ number, 0 }), SFD_NONBLOCK);
	char key[96];

	handle(number, handler, 0);
	send_self(number);
	make_key(key, 105, name, "poll");
	report_poll(key, fd);
	make_key(key, 105, name, "kill");
	report_sent(key, fd, 4);
	raise(number);
	make_key(key, 105, name, "raise");
	report_sent(key, fd, 4);
	send_from_child(number);
	make_key(key, 105, name, "kill-from-child");
	report_sent(key, fd, 4);
	queue_self(number, 1);
	make_key(key, 105, name, "sigqueue");
	report_sent(key, fd, 4);
}

static void check_all_ignored(void)
{
	GROUP(check_ignored_is_queued("usr1", SIGUSR1, SIG_IGN));
	GROUP(check_ignored_is_queued("term", SIGTERM, SIG_IGN));
	GROUP(check_ignored_is_queued("realtime", SIGRTMIN, SIG_IGN));
	GROUP(check_ignored_is_queued("chld", SIGCHLD, SIG_IGN));
	GROUP(check_ignored_is_queued("winch", SIGWINCH, SIG_IGN));
	GROUP(check_ignored_is_queued("chld-default", SIGCHLD, SIG_DFL));
	GROUP(check_ignored_is_queued("winch-default", SIGWINCH, SIG_DFL));
	GROUP(check_ignored_is_queued("urg-default", SIGURG, SIG_DFL));
	GROUP(check_ignored_is_queued("cont-default", SIGCONT, SIG_DFL));
}

static void check_ignored_wakes_sleepers(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *reader = start_thread(signal_body, fd, 0), *poller;

	handle(SIGUSR1, SIG_IGN, 0);
	report_blocked("105.reader", reader);
	send_from_child(SIGUSR1);
	report_signal_task("105.reader-woken", reader);
	poller = start_thread(poll_body, fd, 0);
	report_blocked("105.poller", poller);
	send_from_child(SIGUSR1);
	report_task("105.poller-woken", poller);
}

/* When it is unblocked it has no effect, and is gone. */
static void check_ignored_then_unblocked(void)
{
	sigset_t set = SIGNALS(SIGUSR1, SIGWINCH);
	int fd = block_and_make(set, SFD_NONBLOCK);

	handle(SIGUSR1, SIG_IGN, 0);
	send_self(SIGUSR1);
	send_self(SIGWINCH);
	report_pending("105.pending-while-blocked");
	unblock(set);
	report_pending("105.pending-after-unblock");
	block(set);
	report_signals("105.read-after-unblock", fd, 4);
}

/* A program that handles a blocked signal's records may have any disposition for it. */
static void check_sigwait_of_ignored(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int fd = block_and_make(set, SFD_NONBLOCK);

	handle(SIGUSR1, SIG_IGN, 0);
	send_self(SIGUSR1);
	report_taken("105.sigwait", set);
	report_signal("105.read-after-sigwait", fd);
}

static pid_t end_child(void)
{
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(3);
	return pid;
}

/* waitpid answers only when the children are gone. */
static void check_child_exit(const char *name, void (*handler)(int), int flags)
{
	int fd = block_and_make(SIGNALS(SIGCHLD), SFD_NONBLOCK);
	char key[96];
	pid_t pid, waited;

	handle(SIGCHLD, handler, flags);
	pid = end_child();
	waited = waitpid(pid, NULL, 0);
	make_key(key, 105, name, "waited");
	report(key, "%s", waited == pid ? "child" : errno_name(errno));
	make_key(key, 105, name, "read");
	report_signals(key, fd, 4);
}

/* ---- 106: one that is not blocked is dropped ---- */

static void check_dropped(const char *name, int number, void (*handler)(int))
{
	sigset_t set = make_set((const int[]){ number, 0 });
	int fd = make_signalfd(set, SFD_NONBLOCK);
	char key[96];

	handle(number, handler, 0);
	send_self(number);
	raise(number);
	make_key(key, 106, name, "poll");
	report_poll(key, fd);
	make_key(key, 106, name, "read");
	report_signals(key, fd, 4);
	block(set);
	make_key(key, 106, name, "pending-once-blocked");
	report_pending(key);
	make_key(key, 106, name, "read-once-blocked");
	report_signals(key, fd, 4);
	send_self(number);
	make_key(key, 106, name, "next");
	report_signals(key, fd, 4);
}

static void check_all_dropped(void)
{
	GROUP(check_dropped("usr1", SIGUSR1, SIG_IGN));
	GROUP(check_dropped("realtime", SIGRTMIN, SIG_IGN));
	GROUP(check_dropped("winch-default", SIGWINCH, SIG_DFL));
	GROUP(check_dropped("chld-default", SIGCHLD, SIG_DFL));
	GROUP(check_dropped("urg-default", SIGURG, SIG_DFL));
	GROUP(check_dropped("cont-default", SIGCONT, SIG_DFL));
}

/* ---- 107: to ignore a signal flushes it ---- */

static void check_flushed(const char *name, int number, void (*handler)(int))
{
	int fd = block_and_make(make_set((const int[]){ number, SIGUSR2, 0 }), SFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN);
	char key[96];

	send_self(number);
	raise(number);
	make_key(key, 107, name, "poll-before");
	report_poll(key, fd);
	handle(number, handler, 0);
	make_key(key, 107, name, "poll");
	report_poll(key, fd);
	make_key(key, 107, name, "epoll");
	report_epoll(key, epoll);
	make_key(key, 107, name, "pending");
	report_pending(key);
	make_key(key, 107, name, "read");
	report_sent(key, fd, 4);
	send_self(number);
	make_key(key, 107, name, "next");
	report_sent(key, fd, 4);
}

static void check_all_flushed(void)
{
	GROUP(check_flushed("usr1-ignored", SIGUSR1, SIG_IGN));
	GROUP(check_flushed("realtime-ignored", SIGRTMIN, SIG_IGN));
	GROUP(check_flushed("winch-ignored", SIGWINCH, SIG_IGN));
	GROUP(check_flushed("winch-default", SIGWINCH, SIG_DFL));
	GROUP(check_flushed("chld-default", SIGCHLD, SIG_DFL));
	GROUP(check_flushed("cont-default", SIGCONT, SIG_DFL));
	/* These flush nothing. */
	GROUP(check_flushed("usr1-default", SIGUSR1, SIG_DFL));
	GROUP(check_flushed("usr1-handled", SIGUSR1, count_signal));
	GROUP(check_flushed("winch-handled", SIGWINCH, count_signal));
}

static void check_flush_of_one(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGRTMIN, SIGRTMIN + 1), SFD_NONBLOCK);

	send_self(SIGUSR1);
	send_self(SIGUSR2);
	for (int i = 1; i <= 4; i++) {
		queue_self(SIGRTMIN, i);
		queue_self(SIGRTMIN + 1, i);
	}
	handle(SIGUSR1, SIG_IGN, 0);
	handle(SIGRTMIN, SIG_IGN, 0);
	report_sent("107.others-stay", fd, 16);
	queue_self(SIGRTMIN, 5);
	report_sent("107.values-begin-anew", fd, 16);
}

static void check_disposition_after_flush(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);

	send_self(SIGUSR1);
	handle(SIGUSR1, SIG_IGN, 0);
	handle(SIGUSR1, count_signal, 0);
	report_signal("107.ignored-for-a-moment", fd);
	unblock(SIGNALS(SIGUSR1));
	report_seen("107.handler-after-flush");
}

/* Signals for other threads are flushed as well. */
static struct io read_when_opened_body(struct task *task)
{
	pass_gate(*(struct gate *)task->data);
	return signal_body(task);
}

static void check_flush_in_threads(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	struct gate gate = make_gate();
	struct task *thread = start_thread_with(read_when_opened_body, fd, 0, &gate);

	send_thread(thread->thread, SIGUSR1);
	handle(SIGUSR1, SIG_IGN, 0);
	open_gate(gate);
	report_signal_task("107.thread-directed", thread);
}

static void check_ignored_under_sleeper(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *reader = start_thread(signal_body, fd, 0);

	report_blocked("107.sleeper", reader);
	handle(SIGUSR1, SIG_IGN, 0);
	report_blocked("107.sleeper-after-ignore", reader);
	handle(SIGUSR1, SIG_DFL, 0);
	report_blocked("107.sleeper-after-default", reader);
	send_self(SIGUSR1);
	report_signal_task("107.sleeper-read", reader);
}

/* ---- 108: SIGCONT and the stop signals ---- */

static void check_continue_flushes_stops(void)
{
	int fd = block_and_make(SIGNALS(SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGUSR1), SFD_NONBLOCK);

	send_self(SIGTSTP);
	report_poll("108.stop-poll", fd);
	report_sent("108.stop-alone", fd, 8);
	send_self(SIGTSTP);
	send_self(SIGCONT);
	report_sent("108.stop-then-continue", fd, 8);
	send_self(SIGTSTP);
	send_self(SIGTTIN);
	raise(SIGTTOU);
	send_self(SIGUSR1);
	send_self(SIGCONT);
	report_pending("108.all-stops-then-continue-pending");
	report_sent("108.all-stops-then-continue", fd, 8);
	send_self(SIGCONT);
	report_sent("108.continue-alone", fd, 8);
	send_self(SIGTTIN);
	raise(SIGCONT);
	report_sent("108.stop-then-raised-continue", fd, 8);
}

static void check_stop_flushes_continue(void)
{
	int fd = block_and_make(SIGNALS(SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT), SFD_NONBLOCK);

	send_self(SIGCONT);
	send_self(SIGTSTP);
	report_sent("108.continue-then-stop", fd, 8);
	raise(SIGCONT);
	send_self(SIGTTIN);
	report_sent("108.raised-continue-then-stop", fd, 8);
	send_self(SIGTSTP);
	send_self(SIGTTOU);
	report_sent("108.two-stops", fd, 8);
	send_self(SIGCONT);
	send_self(SIGTSTP);
	send_self(SIGCONT);
	report_sent("108.to-and-fro", fd, 8);
}

static void check_ignored_stop(void)
{
	int fd = block_and_make(SIGNALS(SIGTSTP, SIGCONT), SFD_NONBLOCK);

	handle(SIGTSTP, SIG_IGN, 0);
	handle(SIGCONT, SIG_IGN, 0);
	send_self(SIGTSTP);
	send_self(SIGCONT);
	report_sent("108.ignored-stop-then-continue", fd, 8);
	send_self(SIGTSTP);
	report_sent("108.ignored-stop", fd, 8);
}

/* A blocked SIGCONT continues all the same, and can then be read. */
static void check_continued_process(void)
{
	int fd = block_and_make(SIGNALS(SIGCONT), 0), status;
	struct task *reader = start_process(signal_body, fd, 0);

	report_blocked("108.stopped-reader", reader);
	send_signal(reader->pid, SIGSTOP);
	must(waitpid(reader->pid, &status, WUNTRACED), "waitpid");
	report_status("108.stopped-reader-stopped", status);
	send_signal(reader->pid, SIGCONT);
	report_signal_task("108.stopped-reader-continued", reader);
}

/* A blocked stop signal stops nobody. */
static void check_blocked_stop(void)
{
	int fd = block_and_make(SIGNALS(SIGTSTP), 0);
	struct task *reader = start_process(signal_body, fd, 0);

	report_blocked("108.blocked-stop-reader", reader);
	send_signal(reader->pid, SIGTSTP);
	report_signal_task("108.blocked-stop-read", reader);
}

int main(void)
{
	start_output();
	check_all_ignored();
	GROUP(check_ignored_wakes_sleepers());
	GROUP(check_ignored_then_unblocked());
	GROUP(check_sigwait_of_ignored());
	GROUP(check_child_exit("child-default", SIG_DFL, 0));
	GROUP(check_child_exit("child-ignored", SIG_IGN, 0));
	GROUP(check_child_exit("child-not-kept", SIG_DFL, SA_NOCLDWAIT));
	check_all_dropped();
	check_all_flushed();
	GROUP(check_flush_of_one());
	GROUP(check_disposition_after_flush());
	GROUP(check_flush_in_threads());
	GROUP(check_ignored_under_sleeper());
	GROUP(check_continue_flushes_stops());
	GROUP(check_stop_flushes_continue());
	GROUP(check_ignored_stop());
	GROUP(check_continued_process());
	GROUP(check_blocked_stop());
	return 0;
}
