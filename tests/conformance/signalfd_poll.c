/* Readiness, and the waking of those who wait for it: 109-111. */
#include "sigfd.h"

#ifdef POLLRDHUP
#define POLL_ALL (POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLRDHUP)
#else
#define POLL_ALL (POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND)
#endif

static void report_poll_for(const char *key, int fd, short events)
{
	char text[EVENTS_TEXT_SIZE];

	report(key, "%s", poll_text(poll_now(fd, events), text));
}

/* ---- 109: which bits ---- */

static void check_bits(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLPRI | EPOLLOUT), output_only = make_epoll(fd, EPOLLOUT);

	report_poll_for("109.empty", fd, POLL_ALL);
	report_epoll("109.empty-epoll", epoll);
	report_select("109.empty-select", fd);
	send_self(SIGUSR1);
	report_poll_for("109.pending", fd, POLL_ALL);
	report_poll_for("109.pending-in", fd, POLLIN);
	report_poll_for("109.pending-out", fd, POLLOUT);
	report_poll_for("109.pending-nothing-asked", fd, 0);
	report_epoll("109.pending-epoll", epoll);
	report_epoll("109.pending-epoll-out", output_only);
	report_select("109.pending-select", fd);
	report_signal("109.read", fd);
	report_poll_for("109.empty-again", fd, POLL_ALL);
	report_select("109.empty-again-select", fd);
}

static void check_bits_for_others(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);

	block(SIGNALS(SIGUSR2));
	send_self(SIGUSR2);
	report_poll_for("109.other-signal", fd, POLL_ALL);
	close(fd);
	report_poll_for("109.closed", fd, POLLIN);
}

/* ---- 110: it lasts until the signals are gone ---- */

static void report_readiness(const char *name, int fd, int epoll)
{
	char key[96];

	make_key(key, 110, name, "poll");
	report_poll(key, fd);
	make_key(key, 110, name, "select");
	report_select(key, fd);
	make_key(key, 110, name, "epoll");
	report_epoll(key, epoll);
}

static void check_level(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK), epoll = make_epoll(fd, EPOLLIN);

	send_usr1_and_usr2();
	report_readiness("two", fd, epoll);
	report_readiness("two-again", fd, epoll);
	report_signal("110.first", fd);
	report_readiness("one", fd, epoll);
	report_signal("110.second", fd);
	report_readiness("none", fd, epoll);
	send_self(SIGUSR1);
	report_readiness("another", fd, epoll);
}

static void take_by_sigwait(int fd)
{
	(void)fd;
	if (take_signal(SIGNALS(SIGUSR1)) != SIGUSR1)
		die("sigtimedwait");
}

static void take_by_handler(int fd)
{
	(void)fd;
	handle(SIGUSR1, count_signal, 0);
	unblock(SIGNALS(SIGUSR1));
	block(SIGNALS(SIGUSR1));
}

static void take_by_flush(int fd)
{
	(void)fd;
	handle(SIGUSR1, SIG_IGN, 0);
}

static void take_by_other_signalfd(int fd)
{
	(void)fd;
	read_records(make_signalfd(SIGNALS(SIGUSR1), SFD_NONBLOCK), 1);
}

static void take_by_update(int fd)
{
	change_signalfd(fd, SIGNALS(SIGUSR2));
}

static void take_by_thread(int fd)
{
	finish_task(start_thread(signal_body, fd, 0));
}

static void check_gone(const char *name, void (*take)(int))
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK), epoll = make_epoll(fd, EPOLLIN);
	int edge = make_epoll(fd, EPOLLIN | EPOLLET);
	char key[96], part[64];

	send_self(SIGUSR1);
	snprintf(part, sizeof(part), "before-%s", name);
	report_readiness(part, fd, epoll);
	take(fd);
	snprintf(part, sizeof(part), "after-%s", name);
	report_readiness(part, fd, epoll);
	make_key(key, 110, part, "epoll-edge");
	report_epoll(key, edge);
	make_key(key, 110, part, "read");
	report_signal(key, fd);
}

static void check_edges(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGRTMIN), SFD_NONBLOCK), epoll = make_epoll(fd, EPOLLIN | EPOLLET);

	report_epoll("110.edge-empty", epoll);
	send_self(SIGUSR1);
	report_epoll("110.edge-first", epoll);
	report_epoll("110.edge-no-news", epoll);
	queue_self(SIGRTMIN, 1);
	report_epoll("110.edge-second", epoll);
	queue_self(SIGRTMIN, 2);
	report_epoll("110.edge-third", epoll);
	report_signal("110.edge-read", fd);
	report_epoll("110.edge-after-read", epoll);
	watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET);
	report_epoll("110.edge-modified", epoll);
	report_signals("110.edge-drain", fd, 4);
	report_epoll("110.edge-drained", epoll);
	send_self(SIGUSR1);
	report_epoll("110.edge-next", epoll);
}

static void check_added_when_pending(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK), epoll;

	send_self(SIGUSR1);
	report_epoll("110.added-level", make_epoll(fd, EPOLLIN));
	epoll = make_epoll(fd, EPOLLIN | EPOLLET);
	report_epoll("110.added-edge", epoll);
	report_epoll("110.added-edge-again", epoll);
	watch(epoll, EPOLL_CTL_DEL, fd, 0);
	watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET);
	report_epoll("110.added-again", epoll);
}

/* ---- 111: what arrives wakes ---- */

static void kill_from_child(struct task *sleeper)
{
	(void)sleeper;
	send_from_child(SIGUSR1);
}

static void queue_value_from_child(struct task *sleeper)
{
	(void)sleeper;
	queue_from_child(SIGRTMIN, 4);
}

static void kill_own_process(struct task *sleeper)
{
	(void)sleeper;
	send_self(SIGUSR1);
}

static void kill_sleeping_thread(struct task *sleeper)
{
	send_thread(sleeper->thread, SIGUSR1);
}

static void end_a_child(struct task *sleeper)
{
	pid_t pid = fork_child();

	(void)sleeper;
	if (pid == 0)
		_exit(0);
	await_child(pid);
}

static const struct {
	const char *name;
	void (*send)(struct task *);
} senders[] = {
	{ "kill-from-child", kill_from_child },
	{ "sigqueue-from-child", queue_value_from_child },
	{ "kill-own-process", kill_own_process },
	{ "pthread-kill", kill_sleeping_thread },
	{ "child-exit", end_a_child },
};

/* A sleeper is not woken by what is not in the mask, nor by what another thread raises for itself. */
static void check_sleeper(const char *name, task_body body)
{
	char key[96], part[64];

	block(SIGNALS(SIGUSR1, SIGUSR2, SIGCHLD, SIGRTMIN));
	for (size_t i = 0; i < ARRAY_SIZE(senders); i++) {
		/* Children other than the one in question come and go. */
		int child_exit = senders[i].send == end_a_child;
		int fd = make_signalfd(child_exit ? SIGNALS(SIGCHLD) : SIGNALS(SIGUSR1, SIGRTMIN), SFD_NONBLOCK);
		struct task *sleeper;

		if (senders[i].send == kill_sleeping_thread && !thread_signals)
			continue;
		take_signal(SIGNALS(SIGCHLD));
		sleeper = start_thread(body, fd, 0);
		snprintf(part, sizeof(part), "%s-before", senders[i].name);
		make_key(key, 111, name, part);
		report_blocked(key, sleeper);
		raise(SIGUSR1);
		send_self(SIGUSR2);
		snprintf(part, sizeof(part), "%s-others", senders[i].name);
		make_key(key, 111, name, part);
		report_blocked(key, sleeper);
		take_signal(SIGNALS(SIGUSR1));
		senders[i].send(sleeper);
		snprintf(part, sizeof(part), "%s-woken", senders[i].name);
		make_key(key, 111, name, part);
		report_task(key, sleeper);
		/* What was sent to the thread ended with it. */
		snprintf(part, sizeof(part), "%s-read", senders[i].name);
		make_key(key, 111, name, part);
		report_signals(key, fd, 4);
		close(fd);
	}
}

static void check_process_sleeper(const char *name, task_body body)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	struct task *sleeper = start_process(body, fd, 0);
	char key[96];

	make_key(key, 111, name, "in-child-before");
	report_blocked(key, sleeper);
	send_self(SIGUSR1);
	make_key(key, 111, name, "in-child-not-its-own");
	report_blocked(key, sleeper);
	send_signal(sleeper->pid, SIGUSR1);
	make_key(key, 111, name, "in-child-woken");
	report_task(key, sleeper);
}

static void check_time_limit(const char *name, task_body body)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	char key[96];

	make_key(key, 111, name, "time-limit-passed");
	report_task(key, start_thread(body, fd, 20));
	send_self(SIGUSR1);
	make_key(key, 111, name, "time-limit-ready");
	report_task(key, start_thread(body, fd, 20));
}

static void check_all_sleepers_wake(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	task_body bodies[] = { poll_body, select_body, epoll_body, epoll_edge_body, poll_body };
	struct task *sleepers[ARRAY_SIZE(bodies)];
	int woken = 0;

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
		sleepers[i] = start_thread(bodies[i], fd, 0);
	report("111.five-sleepers", "%d", count_blocked(sleepers, ARRAY_SIZE(bodies)));
	send_from_child(SIGUSR1);
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
		woken += finish_task(sleepers[i]).ret == 1;
	report("111.five-sleepers-woken", "%d", woken);
	report_signal("111.five-sleepers-read", fd);
}

static struct io poll_two_body(struct task *task)
{
	struct pollfd two[2] = {
		{ .fd = task->fd, .events = POLLIN },
		{ .fd = *(int *)task->data, .events = POLLIN },
	};
	struct io io = io_result(poll(two, 2, -1));

	io.has_value = true;
	io.value = (two[0].revents & POLLIN ? 1 : 0) + (two[1].revents & POLLIN ? 2 : 0);
	return io;
}

/* As an event loop does. */
static void check_among_others(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	struct gate gate = make_gate();
	struct task *poller = start_thread_with(poll_two_body, fd, 0, &gate.ends[0]);

	report_blocked("111.among-others", poller);
	send_from_child(SIGUSR1);
	report_task("111.among-others-signal", poller);
	report_signal("111.among-others-read", fd);
	poller = start_thread_with(poll_two_body, fd, 0, &gate.ends[0]);
	report_blocked("111.among-others-again", poller);
	open_gate(gate);
	report_task("111.among-others-pipe", poller);
}

static void check_interrupted_sleeper(const char *name, task_body body)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	struct task *sleeper = start_thread(body, fd, 0);
	char key[96];

	handle(SIGUSR2, count_signal, 0);
	make_key(key, 111, name, "interrupted-before");
	report_blocked(key, sleeper);
	interrupt_thread(sleeper, SIGUSR2);
	make_key(key, 111, name, "interrupted");
	report_task(key, sleeper);
	send_self(SIGUSR1);
	make_key(key, 111, name, "ready-after-interruption");
	report_poll(key, fd);
}

int main(void)
{
	static const struct {
		const char *name;
		task_body body;
	} waits[] = {
		{ "poll", poll_body },
		{ "select", select_body },
		{ "epoll", epoll_body },
		{ "epoll-edge", epoll_edge_body },
	};

	start_output();
	try_thread_signals();
	GROUP(check_bits());
	GROUP(check_bits_for_others());
	GROUP(check_level());
	GROUP(check_gone("sigwait", take_by_sigwait));
	GROUP(check_gone("handler", take_by_handler));
	GROUP(check_gone("flush", take_by_flush));
	GROUP(check_gone("other-signalfd", take_by_other_signalfd));
	GROUP(check_gone("update", take_by_update));
	GROUP(check_gone("thread", take_by_thread));
	GROUP(check_edges());
	GROUP(check_added_when_pending());
	for (size_t i = 0; i < ARRAY_SIZE(waits); i++) {
		GROUP(check_sleeper(waits[i].name, waits[i].body));
		GROUP(check_process_sleeper(waits[i].name, waits[i].body));
		GROUP(check_interrupted_sleeper(waits[i].name, waits[i].body));
	}
	GROUP(check_time_limit("poll", poll_body));
	GROUP(check_time_limit("epoll", epoll_body));
	GROUP(check_all_sleepers_wake());
	GROUP(check_among_others());
	return 0;
}
