/* A new mask for an existing signalfd, and who has that mask: 70, 72, 73. */
#include "sigfd.h"

/* ---- 70: an update replaces the mask ---- */

static void check_update_replaces(void)
{
	sigset_t first = SIGNALS(SIGUSR1), second = SIGNALS(SIGUSR2), neither = no_signals();
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);

	report("70.same-fd", "%s", yes_no(signalfd(fd, &first, 0) == fd));
	send_self(SIGUSR2);
	report_signals("70.removed", fd, 4);
	report_pending("70.removed-pending");
	send_self(SIGUSR1);
	report("70.same-fd-again", "%s", yes_no(signalfd(fd, &second, 0) == fd));
	report_signals("70.replaced", fd, 4);
	report_pending("70.replaced-pending");
	report("70.same-fd-empty", "%s", yes_no(signalfd(fd, &neither, 0) == fd));
	report_signals("70.empty", fd, 4);
	change_signalfd(fd, first);
	report_signals("70.back", fd, 4);
	report_pending("70.nothing-pending");
}

static void check_update_with_more(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN, SIGRTMAX), SFD_NONBLOCK);

	change_signalfd(fd, SIGNALS(SIGRTMAX));
	send_self(SIGUSR1);
	send_self(SIGTERM);
	queue_self(SIGRTMIN, 1);
	queue_self(SIGRTMAX, 2);
	report("70.realtime-max-only", "highest=%s", yes_no(read_records(fd, 4).infos[0].ssi_signo == (uint32_t)SIGRTMAX));
	report_signals("70.realtime-max-taken", fd, 4);
	change_signalfd(fd, SIGNALS(SIGTERM, SIGRTMIN));
	report_signals("70.others", fd, 4);
	change_signalfd(fd, SIGNALS(SIGUSR1));
	report_signals("70.last", fd, 4);
}

static void check_full_mask(void)
{
	sigset_t all;
	int fd;

	sigfillset(&all);
	fd = make_signalfd(all, SFD_NONBLOCK);
	block(SIGNALS(SIGHUP, SIGRTMIN + 1));
	send_self(SIGHUP);
	queue_self(SIGRTMIN + 1, 3);
	report_signals("70.full-mask", fd, 4);
}

/* ---- 72: an update wakes who sleeps, and changes readiness at once ---- */

static void check_update_wakes(const char *name, task_body body)
{
	int fd = block_and_make(SIGNALS(SIGUSR2), 0);
	struct task *sleeper;
	char key[96];

	block(SIGNALS(SIGUSR1));
	send_self(SIGUSR1);
	sleeper = start_thread(body, fd, 0);
	make_key(key, 72, name, "before");
	report_blocked(key, sleeper);
	change_signalfd(fd, SIGNALS(SIGTERM));
	make_key(key, 72, name, "after-useless-update");
	report_blocked(key, sleeper);
	change_signalfd(fd, SIGNALS(SIGUSR1));
	make_key(key, 72, name, "after-update");
	report_task(key, sleeper);
	make_key(key, 72, name, "taken");
	report_poll(key, fd);
}

/* A mask without the signal leaves the reader asleep, though it was in the mask when the reader came. */
static void check_update_takes_away(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), 0);
	struct task *reader = start_thread(signal_body, fd, 0);

	report_blocked("72.narrowed-before", reader);
	change_signalfd(fd, SIGNALS(SIGUSR2));
	send_self(SIGUSR1);
	report_blocked("72.narrowed-other-signal", reader);
	send_self(SIGUSR2);
	report_signal_task("72.narrowed-read", reader);
	report_pending("72.narrowed-pending");
}

static void check_readiness_after_update(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN);

	block(SIGNALS(SIGUSR2));
	send_self(SIGUSR2);
	report_poll("72.ready-poll-before", fd);
	report_epoll("72.ready-epoll-before", epoll);
	change_signalfd(fd, SIGNALS(SIGUSR2));
	report_poll("72.ready-poll-matching", fd);
	report_epoll("72.ready-epoll-matching", epoll);
	change_signalfd(fd, SIGNALS(SIGUSR1));
	report_poll("72.ready-poll-not-matching", fd);
	report_epoll("72.ready-epoll-not-matching", epoll);
}

/* ---- 73: the mask is the description's ---- */

static struct io update_body(struct task *task)
{
	return io_result(change_signalfd(task->fd, SIGNALS((int)task->value)) == task->fd ? 0 : -1);
}

static void check_mask_of_duplicates(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	int copy = must(dup(fd), "dup"), other = make_signalfd(SIGNALS(SIGUSR1), SFD_NONBLOCK);

	block(SIGNALS(SIGUSR2));
	report("73.update-copy", "same=%s", yes_no(change_signalfd(copy, SIGNALS(SIGUSR2)) == copy));
	send_self(SIGUSR1);
	send_self(SIGUSR2);
	report_signals("73.original", fd, 4);
	report_signals("73.copy", copy, 4);
	report_signals("73.other-signalfd", other, 4);
	close(fd);
	send_self(SIGUSR2);
	report_signals("73.copy-after-close", copy, 4);
}

static void check_mask_after_fork(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);

	block(SIGNALS(SIGUSR2));
	send_self(SIGUSR2);
	report_signal("73.before-update-by-child", fd);
	report_task("73.update-by-child", start_process(update_body, fd, SIGUSR2));
	report_poll("73.poll-after-update-by-child", fd);
	report_signal("73.after-update-by-child", fd);
	report_task("73.update-by-thread", start_thread(update_body, fd, SIGUSR1));
	send_self(SIGUSR1);
	report_signal("73.after-update-by-thread", fd);
}

static struct io read_when_opened_body(struct task *task)
{
	pass_gate(*(struct gate *)task->data);
	send_self(SIGUSR2);
	return signal_body(task);
}

static void check_update_seen_by_child(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	struct gate gate = make_gate();
	struct task *child;

	block(SIGNALS(SIGUSR2));
	child = start_process_with(read_when_opened_body, fd, 0, &gate);
	change_signalfd(fd, SIGNALS(SIGUSR2));
	open_gate(gate);
	report_signal_task("73.child-after-update-by-parent", child);
}

/* Linux wakes only the sleepers of the process that updates; the next signal shows that the mask is the new one. */
static void check_update_by_child_under_reader(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), 0);
	struct task *reader;

	change_signalfd(fd, SIGNALS(SIGUSR1));
	reader = start_thread(signal_body, fd, 0);
	report_blocked("73.reader-before-update-by-child", reader);
	report_task("73.update-by-child-under-reader", start_process(update_body, fd, SIGUSR2));
	send_self(SIGUSR1);
	report_blocked("73.reader-after-update-by-child", reader);
	send_self(SIGUSR2);
	report_signal_task("73.reader-reads", reader);
	report_pending("73.pending-after-reader");
}

static void check_update_by_child_when_pending(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), 0);
	struct task *reader;

	change_signalfd(fd, SIGNALS(SIGUSR1));
	send_self(SIGUSR2);
	reader = start_thread(signal_body, fd, 0);
	report_blocked("72.sleeper-before-update-by-child", reader);
	finish_task(start_process(update_body, fd, SIGUSR2));
	report_blocked("72.sleeper-after-update-by-child", reader);
	send_self(SIGUSR1);
	report_signal_task("72.sleeper-after-next-signal", reader);
}

int main(void)
{
	start_output();
	GROUP(check_update_replaces());
	GROUP(check_update_with_more());
	GROUP(check_full_mask());
	GROUP(check_update_wakes("read", signal_body));
	GROUP(check_update_wakes("poll", poll_body));
	GROUP(check_update_wakes("select", select_body));
	GROUP(check_update_wakes("epoll", epoll_body));
	GROUP(check_update_takes_away());
	GROUP(check_readiness_after_update());
	GROUP(check_mask_of_duplicates());
	GROUP(check_mask_after_fork());
	GROUP(check_update_seen_by_child());
	GROUP(check_update_by_child_under_reader());
	GROUP(check_update_by_child_when_pending());
	return 0;
}
