/*
 * Whose signals a read, poll or epoll is about: 93, 98-104.
 * For the exec checks the program runs itself with the arguments "exec FD RESULT_FD".
 */
#include "sigfd.h"

#include <sys/socket.h>

static const char *program;

/* ---- 93, 98, 99: threads ---- */

/* A thread that waits, then reports what it sees. */
struct observer {
	struct gate go, ready;
	const char *name;
	int number;
};

static void observe(const struct observer *observer, int fd)
{
	char key[96];

	make_key(key, observer->number, observer->name, "poll");
	report_poll(key, fd);
	make_key(key, observer->number, observer->name, "pending");
	report_pending(key);
	make_key(key, observer->number, observer->name, "read");
	report_sent(key, fd, 4);
}

static struct io observer_body(struct task *task)
{
	const struct observer *observer = task->data;

	open_gate(observer->ready);
	pass_gate(observer->go);
	observe(observer, task->fd);
	return io_result(0);
}

static struct task *start_observer(struct observer *observer, int number, const char *name, int fd)
{
	struct task *task;

	*observer = (struct observer){ make_gate(), make_gate(), name, number };
	task = start_thread_with(observer_body, fd, 0, observer);
	pass_gate(observer->ready);
	return task;
}

static void let_observe(struct observer *observer, struct task *task)
{
	open_gate(observer->go);
	finish_task(task);
}

static void check_signal_for_thread(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGRTMIN), SFD_NONBLOCK);
	struct observer first, second;
	struct task *first_task = start_observer(&first, 98, "addressed", fd);
	struct task *second_task = start_observer(&second, 98, "other", fd);

	send_thread(first_task->thread, SIGUSR1);
	send_thread(first_task->thread, SIGRTMIN);
	report_poll("98.main-poll", fd);
	report_pending("98.main-pending");
	report_sent("98.main-read", fd, 4);
	let_observe(&second, second_task);
	let_observe(&first, first_task);
	report_sent("98.main-read-afterwards", fd, 4);
}

static void check_signal_for_main(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);
	struct observer observer;
	struct task *task = start_observer(&observer, 98, "not-addressed", fd);

	raise(SIGUSR1);
	let_observe(&observer, task);
	report_sent("98.main-raised", fd, 4);
}

static void check_own_and_shared(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);
	struct observer observer;
	struct task *task = start_observer(&observer, 98, "own-and-shared", fd);

	send_self(SIGUSR1);
	raise(SIGUSR1);
	send_thread(task->thread, SIGUSR2);
	let_observe(&observer, task);
	report_sent("98.main-keeps-raised", fd, 4);
}

/* Signals for a thread end with it. */
static void check_thread_ends(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);
	struct observer observer;
	struct task *task = start_observer(&observer, 98, "ended", make_signalfd(no_signals(), SFD_NONBLOCK));

	send_thread(task->thread, SIGUSR1);
	send_self(SIGUSR2);
	let_observe(&observer, task);
	report_sent("98.after-end-of-thread", fd, 4);
}

/* Only the one whose signal it is wakes. */
static void check_sleeping_threads(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *readers[2] = { start_thread(signal_body, fd, 0), start_thread(signal_body, fd, 0) };

	report("98.sleepers", "%d", count_blocked(readers, 2));
	send_thread(readers[1]->thread, SIGUSR1);
	wait_finished(readers, 2, 1);
	report("98.sleepers-after-signal", "%d", count_blocked(readers, 2));
	report_blocked("98.sleeper-not-addressed", readers[0]);
	report_signal_task("98.sleeper-addressed", readers[1]);
	send_self(SIGUSR1);
	report_signal_task("99.sleeper-reads-shared", readers[0]);
}

static void check_signal_for_process(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGRTMIN), SFD_NONBLOCK);
	struct observer observer;
	struct task *task = start_observer(&observer, 99, "thread", fd);

	queue_self(SIGUSR1, 5);
	queue_from_child(SIGRTMIN, 6);
	send_from_child(SIGUSR2);
	report_poll("99.main-poll", fd);
	let_observe(&observer, task);
	report_poll("99.main-poll-afterwards", fd);
	report_sent("99.main-read-afterwards", fd, 4);
}

static struct io create_body(struct task *task)
{
	return io_result(block_and_make(SIGNALS((int)task->value), SFD_NONBLOCK));
}

/* The reader matters, not the creator: neither its thread, nor whether that still lives. */
static void check_creator(void)
{
	int fd;

	block(SIGNALS(SIGUSR1));
	fd = (int)finish_task(start_thread(create_body, -1, SIGUSR1)).ret;
	send_self(SIGUSR1);
	raise(SIGUSR1);
	report_sent("93.created-by-ended-thread", fd, 4);
}

/* ---- 100: fork ---- */

static void read_as_child(int fd)
{
	report_pending("100.child-pending");
	report_poll("100.child-poll", fd);
	report_sent("100.child-read-of-parents", fd, 4);
	send_self(SIGUSR2);
	raise(SIGUSR1);
	report_poll("100.child-poll-own", fd);
	report_sent("100.child-read-own", fd, 4);
	send_self(SIGTERM);
}

static void check_fork(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN), SFD_NONBLOCK);

	send_self(SIGUSR1);
	raise(SIGUSR2);
	queue_self(SIGRTMIN, 8);
	IN_CHILD(read_as_child(fd));
	report_sent("100.parent-read", fd, 4);
	IN_CHILD(send_signal(getppid(), SIGUSR1); report_sent("100.child-after-signal-to-parent", fd, 4));
	report_sent("100.parent-read-from-child", fd, 4);
}

static void check_sleeping_processes(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *child = start_process(signal_body, fd, 0), *parent = start_thread(signal_body, fd, 0);

	report_blocked("100.sleeping-child", child);
	report_blocked("100.sleeping-parent", parent);
	send_signal(child->pid, SIGUSR1);
	report_signal_task("100.child-woken", child);
	report_blocked("100.parent-sleeps-on", parent);
	send_from_child(SIGUSR1);
	report_signal_task("100.parent-woken", parent);
}

static void check_two_children(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), 0);
	struct task *children[2] = { start_process(signal_body, fd, 0), start_process(signal_body, fd, 0) };

	report("100.children", "blocked=%d", count_blocked(children, 2));
	send_signal(children[1]->pid, SIGUSR2);
	report_signal_task("100.second-child", children[1]);
	report_blocked("100.first-child-sleeps-on", children[0]);
	send_signal(children[0]->pid, SIGUSR1);
	report_signal_task("100.first-child", children[0]);
}

static void check_child_of_child(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);

	IN_CHILD(IN_CHILD(send_signal(getppid(), SIGUSR1); send_self(SIGUSR1); report_sent("100.grandchild", fd, 4));
		 report_sent("100.child-from-grandchild", fd, 4));
	report_sent("100.grandparent", fd, 4);
}

/* ---- 101: SCM_RIGHTS ---- */

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

static void pass_descriptor(int socket, int *fd, bool sending)
{
	char byte = 'x';
	struct iovec part = { &byte, 1 };
	union control control;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header;

	memset(&control, 0, sizeof(control));
	header = CMSG_FIRSTHDR(&message);
	if (sending) {
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), fd, sizeof(*fd));
		if (sendmsg(socket, &message, 0) != 1)
			die("sendmsg");
		return;
	}
	if (recvmsg(socket, &message, 0) != 1)
		die("recvmsg");
	header = CMSG_FIRSTHDR(&message);
	if (header == NULL || header->cmsg_type != SCM_RIGHTS)
		die("no descriptor came");
	memcpy(fd, CMSG_DATA(header), sizeof(*fd));
}

static void read_received(int socket)
{
	int fd;

	block(SIGNALS(SIGUSR1, SIGUSR2));
	pass_descriptor(socket, &fd, false);
	report_sent("101.receiver-read-of-senders", fd, 4);
	send_self(SIGUSR2);
	report_poll("101.receiver-poll", fd);
	report_sent("101.receiver-read-own", fd, 4);
}

static void check_passed(void)
{
	int ends[2], fd;
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	/* Forked first, so it can have the descriptor only by message. */
	pid = fork_child();
	if (pid == 0) {
		read_received(ends[0]);
		fflush(stdout);
		_exit(0);
	}
	fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);
	send_self(SIGUSR1);
	pass_descriptor(ends[1], &fd, true);
	report_end("101.receiver", pid);
	report_pending("101.sender-pending");
}

/* ---- 102: exec ---- */

static int read_after_exec(char **arguments)
{
	int fd = atoi(arguments[2]);
	struct records records = read_records(fd, 4);

	return write(atoi(arguments[3]), &records, sizeof(records)) == (ssize_t)sizeof(records) ? 0 : 1;
}

static void exec_self(int fd, int result)
{
	char fd_text[16], result_text[16];
	char *arguments[] = { (char *)program, "exec", fd_text, result_text, NULL };

	snprintf(fd_text, sizeof(fd_text), "%d", fd);
	snprintf(result_text, sizeof(result_text), "%d", result);
	execv(program, arguments);
	_exit(4);
}

/* The child has signals pending, for itself and for its thread, when it runs the new program. */
static void check_exec(const char *key, int flags)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGRTMIN), SFD_NONBLOCK | flags), ends[2];
	struct records records;
	ssize_t got;
	pid_t pid;

	must(pipe(ends), "pipe");
	pid = fork_child();
	if (pid == 0) {
		send_self(SIGUSR1);
		raise(SIGUSR2);
		queue_self(SIGRTMIN, 9);
		close(ends[0]);
		exec_self(fd, ends[1]);
	}
	close(ends[1]);
	got = read(ends[0], &records, sizeof(records));
	await_child(pid);
	if (got == (ssize_t)sizeof(records))
		report_names(key, &records);
	else
		report(key, "no-result");
}

/* ---- 103, 104: epoll ---- */

static void wait_as_child(int epoll, int fd)
{
	int own;

	send_self(SIGUSR1);
	report_epoll("103.child-inherited-epoll", epoll);
	report_poll("103.child-poll", fd);
	own = make_epoll(fd, EPOLLIN);
	report_epoll("103.child-own-epoll", own);
	report_signal("103.child-read", fd);
	report_epoll("103.child-own-epoll-afterwards", own);
}

static void check_epoll_after_fork(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK), epoll = make_epoll(fd, EPOLLIN);

	IN_CHILD(wait_as_child(epoll, fd));
	report_epoll("103.parent-not-told", epoll);
	send_self(SIGUSR1);
	report_epoll("103.parent-told", epoll);
	report_signal("103.parent-read", fd);
}

static void check_sleeping_epoll_after_fork(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK), epoll = make_epoll(fd, EPOLLIN);
	struct task *child = start_process(epoll_wait_body, epoll, 0);

	report_blocked("103.child-sleeps", child);
	send_signal(child->pid, SIGUSR1);
	report_blocked("103.child-sleeps-on", child);
	send_signal(child->pid, SIGKILL);
	report_end("103.child-end", child->pid);
	send_self(SIGUSR1);
	report_epoll("103.parent-after-child", epoll);
}

static void check_epoll_in_threads(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK), epoll = make_epoll(fd, EPOLLIN);
	struct task *sleeper = start_thread(epoll_wait_body, epoll, 0);

	report_blocked("104.thread-sleeps", sleeper);
	send_from_child(SIGUSR1);
	report_task("104.thread-woken", sleeper);
	report_signal("104.main-reads", fd);
	report_task("104.thread-now-empty", start_thread(epoll_wait_body, epoll, 1));
	if (!thread_signals)
		return;
	sleeper = start_thread(epoll_wait_body, epoll, 0);
	report_blocked("104.thread-sleeps-again", sleeper);
	send_thread(sleeper->thread, SIGUSR1);
	report_task("104.thread-woken-by-its-own", sleeper);
}

int main(int argc, char **argv)
{
	if (argc == 4)
		return read_after_exec(argv);
	start_output();
	try_thread_signals();
	program = argv[0];
	GROUP(check_signal_for_thread());
	GROUP(check_signal_for_main());
	GROUP(check_own_and_shared());
	GROUP(check_thread_ends());
	if (thread_signals)
		GROUP(check_sleeping_threads());
	GROUP(check_signal_for_process());
	GROUP(check_creator());
	GROUP(check_fork());
	GROUP(check_sleeping_processes());
	GROUP(check_two_children());
	GROUP(check_child_of_child());
	GROUP(check_passed());
	GROUP(check_exec("102.exec", 0));
	GROUP(check_exec("102.exec-cloexec", SFD_CLOEXEC));
	GROUP(check_epoll_after_fork());
	GROUP(check_sleeping_epoll_after_fork());
	GROUP(check_epoll_in_threads());
	return 0;
}
