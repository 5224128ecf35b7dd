/*
 * One counter behind several descriptors and processes: 5 (exec), 8, 9, 10, 41.
 * For the exec checks the program runs itself with the arguments
 * "exec-read|exec-add FD RESULT_FD".
 */
#include "conformance.h"

#include <sys/socket.h>
#include <sys/uio.h>

#define ADDERS 4
#define ADDITIONS 300

static const char *program;

static void report_nonblock(const char *key, int fd)
{
	int flags = must(fcntl(fd, F_GETFL), "F_GETFL");

	report(key, "nonblock=%s", yes_no(flags & O_NONBLOCK));
}

/* ---- 8, 9: dup ---- */

static void check_dup_shares_counter(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int copy = must(dup(fd), "dup");
	int other = make_counter(50, EFD_NONBLOCK);

	report_write("9.dup-write", fd, 5);
	report_write("9.dup-write-copy", copy, 6);
	report_read("9.dup-read-copy", copy);
	report_read("9.dup-read", fd);
	must(dup2(fd, other), "dup2");
	report_read("9.dup2-replaces", other);
	report_write("9.dup2-write", other, 7);
	report_read("9.dup2-read", fd);
	close(fd);
	close(copy);
	close(other);
}

static void check_dup_shares_status(void)
{
	int fd = make_counter(0, 0);
	int copy = must(dup(fd), "dup");

	must(fcntl(copy, F_SETFL, O_NONBLOCK), "F_SETFL");
	report_nonblock("8.dup-set-by-copy", fd);
	report_read("8.dup-read", fd);
	must(fcntl(fd, F_SETFL, 0), "F_SETFL");
	report_nonblock("8.dup-cleared-by-original", copy);
	close(fd);
	close(copy);
}

static void report_cloexec(const char *key, int fd)
{
	report(key, "cloexec=%s", yes_no(must(fcntl(fd, F_GETFD), "F_GETFD") & FD_CLOEXEC));
	close(fd);
}

static void check_dup_and_cloexec(void)
{
	int fd = make_counter(0, EFD_CLOEXEC);

	report_cloexec("5.dup-clears", must(dup(fd), "dup"));
	report_cloexec("5.dupfd-clears", must(fcntl(fd, F_DUPFD, 0), "F_DUPFD"));
	report_cloexec("5.dupfd-cloexec-sets", must(fcntl(fd, F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC"));
	report_cloexec("5.original-keeps", fd);
}

/* ---- 8, 9: fork ---- */

static struct io set_nonblock_body(struct task *task)
{
	return io_result(fcntl(task->fd, F_SETFL, O_NONBLOCK));
}

static void check_fork_shares_counter(void)
{
	int fd = make_counter(3, EFD_NONBLOCK);

	report_task("9.fork-child-reads", start_process(read_body, fd, 0));
	report_read("9.fork-parent-reads", fd);
	report_task("9.fork-child-writes", start_process(write_body, fd, 8));
	report_read("9.fork-parent-reads-it", fd);
	close(fd);
}

static void check_fork_shares_status(void)
{
	int fd = make_counter(0, 0);

	report_task("8.fork-set-by-child", start_process(set_nonblock_body, fd, 0));
	report_nonblock("8.fork-seen-by-parent", fd);
	report_read("8.fork-read", fd);
	close(fd);
}

static struct io grandchild_body(struct task *task)
{
	return finish_task(start_process(write_body, task->fd, task->value));
}

static void check_grandchild(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_task("9.grandchild-writes", start_process(grandchild_body, fd, 12));
	report_read("9.grandparent-reads", fd);
	close(fd);
}

/* ---- 9: SCM_RIGHTS ---- */

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

static struct io send_descriptor(int socket, int fd)
{
	char byte = 'x';
	struct iovec part = { &byte, 1 };
	union control control = { 0 };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	return io_result(sendmsg(socket, &message, 0));
}

static int receive_descriptor(int socket)
{
	char byte;
	struct iovec part = { &byte, 1 };
	union control control = { 0 };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header;
	int fd;

	if (recvmsg(socket, &message, 0) != 1)
		die("recvmsg");
	header = CMSG_FIRSTHDR(&message);
	if (header == NULL || header->cmsg_type != SCM_RIGHTS)
		die("no descriptor came");
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static void make_sockets(int ends[2])
{
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
}

/* The child makes the counter, passes it up and is gone before it is used. */
static struct io create_and_send_body(struct task *task)
{
	return send_descriptor(task->fd, make_counter((unsigned int)task->value, EFD_NONBLOCK));
}

static void check_passed_from_child(void)
{
	int ends[2], fd;

	make_sockets(ends);
	report_task("9.rights-child-sends", start_process(create_and_send_body, ends[0], 21));
	fd = receive_descriptor(ends[1]);
	report_nonblock("8.rights-nonblock", fd);
	report_read("9.rights-value-of-child", fd);
	report_write("9.rights-write", fd, 3);
	report_read("9.rights-read", fd);
	close(fd);
	close(ends[0]);
	close(ends[1]);
}

static struct io receive_and_add_body(struct task *task)
{
	int fd = receive_descriptor(task->fd);
	int added = 0;

	for (int i = 0; i < ADDITIONS; i++)
		added += io_write(fd, task->value).ret == 8;
	return io_result(added);
}

/* The children are forked first, so they can have the counter only by message. */
static void check_passed_to_children(void)
{
	struct task *adders[ADDERS];
	int ends[ADDERS][2], fd, written = 0;

	for (int i = 0; i < ADDERS; i++) {
		make_sockets(ends[i]);
		adders[i] = start_process(receive_and_add_body, ends[i][0], (uint64_t)i + 1);
	}
	fd = make_counter(0, EFD_NONBLOCK);
	for (int i = 0; i < ADDERS; i++)
		if (send_descriptor(ends[i][1], fd).ret != 1)
			die("sendmsg");
	for (int i = 0; i < ADDERS; i++) {
		written += (int)finish_task(adders[i]).ret;
		close(ends[i][0]);
		close(ends[i][1]);
	}
	report("41.passed-writes", "%d", written);
	report_read("41.passed-sum", fd);
	close(fd);
}

/* The only reference is in the socket's queue for a while. */
static void check_reference_in_flight(void)
{
	int fd = make_counter(33, EFD_NONBLOCK);
	int ends[2];

	make_sockets(ends);
	report_io("10.in-flight-sent", send_descriptor(ends[0], fd));
	close(fd);
	fd = receive_descriptor(ends[1]);
	report_read("10.in-flight-value", fd);
	close(fd);
	close(ends[0]);
	close(ends[1]);
}

/* ---- 41: additions through inherited descriptors ---- */

static struct io add_body(struct task *task)
{
	int added = 0;

	for (int i = 0; i < ADDITIONS; i++)
		added += io_write(task->fd, task->value).ret == 8;
	return io_result(added);
}

static void check_additions(const char *key, const char *key_sum, bool processes, int flags)
{
	int fd = make_counter(0, flags);
	struct task *adders[ADDERS];
	int written = 0;

	for (int i = 0; i < ADDERS; i++)
		adders[i] = (processes ? start_process : start_thread)(add_body, fd, 1000003);
	for (int i = 0; i < ADDERS; i++)
		written += (int)finish_task(adders[i]).ret;
	report(key, "%d", written);
	report_read(key_sum, fd);
	close(fd);
}

static void check_all_additions(void)
{
	check_additions("41.processes-writes", "41.processes-sum", true, EFD_NONBLOCK);
	check_additions("41.processes-blocking-writes", "41.processes-blocking-sum", true, 0);
	check_additions("41.threads-writes", "41.threads-sum", false, EFD_NONBLOCK);
}

/* ---- 10: lifetime ---- */

static void check_last_of_several_descriptors(void)
{
	int fd = make_counter(4, EFD_NONBLOCK);
	int copy = must(dup(fd), "dup");

	close(fd);
	report_read("10.copy-after-close", copy);
	report_write("10.copy-write", copy, 2);
	report_read("10.copy-read", copy);
	report_call("10.close-last", close(copy));
	report_read("10.closed", copy);
}

struct lifetime {
	int go_read;
	int go_write;
};

static struct io read_when_told_body(struct task *task)
{
	const struct lifetime *pipe_ends = task->data;
	char byte;

	close(pipe_ends->go_write);
	if (read(pipe_ends->go_read, &byte, 1) != 0)
		die("read");
	return io_read(task->fd);
}

static void check_child_keeps_counter(void)
{
	int fd = make_counter(17, EFD_NONBLOCK);
	int ends[2];
	struct lifetime pipe_ends;
	struct task *child;

	must(pipe(ends), "pipe");
	pipe_ends = (struct lifetime){ ends[0], ends[1] };
	child = start_process_with(read_when_told_body, fd, 0, &pipe_ends);
	close(fd);
	close(ends[1]);
	report_task("10.child-reads-after-parent-closed", child);
	close(ends[0]);
}

static void check_parent_keeps_counter(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	for (int i = 0; i < 20; i++)
		finish_task(start_process(write_body, fd, 2));
	report_read("10.after-twenty-children", fd);
	close(fd);
}

/* The reader's call holds the counter: closing the descriptor does not end it. */
static void check_close_while_reading(void)
{
	int fd = make_counter(0, 0);
	int copy = must(dup(fd), "dup");
	struct task *reader = start_thread(read_body, fd, 0);

	report_blocked("10.reader-before-close", reader);
	report_call("10.close-under-reader", close(fd));
	report_blocked("10.reader-after-close", reader);
	report_write("10.write-to-copy", copy, 7);
	report_task("10.reader-gets-it", reader);
	close(copy);
}

static void note_signal(int number)
{
	(void)number;
}

static void check_close_last_while_reading(void)
{
	const struct sigaction action = { .sa_handler = note_signal };
	int fd = make_counter(0, 0);
	struct task *reader = start_thread(read_body, fd, 0);

	must(sigaction(SIGUSR1, &action, NULL), "sigaction");
	report_blocked("10.only-reader-before-close", reader);
	report_call("10.close-last-under-reader", close(fd));
	report_blocked("10.only-reader-after-close", reader);
	if (pthread_kill(reader->thread, SIGUSR1) != 0)
		die("pthread_kill");
	report_task("10.only-reader-interrupted", reader);
}

static void check_close_beside_child(void)
{
	int fd = make_counter(0, 0);
	struct task *reader = start_process(read_body, fd, 0);
	struct task *second = start_process(read_body, fd, 0);

	report_blocked("10.child-reader", reader);
	report_blocked("10.second-child-reader", second);
	kill(second->pid, SIGKILL);
	finish_task(second);
	report_blocked("10.child-reader-after-exit-of-second", reader);
	report_write("10.write-to-child", fd, 9);
	close(fd);
	report_task("10.child-reader-gets-it", reader);
}

static void check_reused_number(void)
{
	int fd = make_counter(40, EFD_NONBLOCK), again;

	close(fd);
	again = make_counter(0, EFD_NONBLOCK);
	report("10.number-reused", "%s", yes_no(fd == again));
	report_read("10.new-counter-is-new", again);
	close(again);
}

/* ---- 5: exec ---- */

static int run_exec_mode(char **arguments)
{
	int fd = atoi(arguments[2]), result = atoi(arguments[3]);
	struct io io = strcmp(arguments[1], "exec-add") == 0 ? io_write(fd, 30) : io_read(fd);

	return write(result, &io, sizeof(io)) == (ssize_t)sizeof(io) ? 0 : 1;
}

static void exec_self(const char *mode, int fd, int result)
{
	char fd_text[16], result_text[16];
	char *arguments[] = { (char *)program, (char *)mode, fd_text, result_text, NULL };

	snprintf(fd_text, sizeof(fd_text), "%d", fd);
	snprintf(result_text, sizeof(result_text), "%d", result);
	execv(program, arguments);
	_exit(4);
}

static void report_exec(const char *key, const char *mode, int fd)
{
	struct io io;
	int ends[2];
	pid_t pid;
	bool answered;

	must(pipe(ends), "pipe");
	pid = fork_child();
	if (pid == 0) {
		close(ends[0]);
		exec_self(mode, fd, ends[1]);
	}
	close(ends[1]);
	answered = read(ends[0], &io, sizeof(io)) == (ssize_t)sizeof(io);
	close(ends[0]);
	must(waitpid(pid, NULL, 0), "waitpid");
	if (answered)
		report_io(key, io);
	else
		report(key, "no-result");
}

static void check_exec(void)
{
	int kept = make_counter(11, EFD_NONBLOCK);
	int gone = make_counter(12, EFD_NONBLOCK | EFD_CLOEXEC);
	int set_later = make_counter(13, EFD_NONBLOCK);
	int semaphore = make_counter(14, EFD_NONBLOCK | EFD_SEMAPHORE);

	report_exec("5.exec-reads", "exec-read", kept);
	report_read("5.exec-took-it", kept);
	report_exec("5.exec-adds", "exec-add", kept);
	report_read("5.exec-added", kept);
	report_exec("5.exec-cloexec", "exec-read", gone);
	report_read("5.exec-cloexec-parent-keeps", gone);
	must(fcntl(set_later, F_SETFD, FD_CLOEXEC), "F_SETFD");
	report_exec("5.exec-cloexec-set-later", "exec-read", set_later);
	report_exec("5.exec-semaphore", "exec-read", semaphore);
	close(kept);
	close(gone);
	close(set_later);
	close(semaphore);
}

int main(int argc, char **argv)
{
	if (argc == 4)
		return run_exec_mode(argv);
	start_output();
	program = argv[0];
	GROUP(check_dup_shares_counter());
	GROUP(check_dup_shares_status());
	GROUP(check_dup_and_cloexec());
	GROUP(check_fork_shares_counter());
	GROUP(check_fork_shares_status());
	GROUP(check_grandchild());
	GROUP(check_passed_from_child());
	GROUP(check_passed_to_children());
	GROUP(check_reference_in_flight());
	GROUP(check_all_additions());
	GROUP(check_last_of_several_descriptors());
	GROUP(check_child_keeps_counter());
	GROUP(check_parent_keeps_counter());
	GROUP(check_close_while_reading());
	GROUP(check_close_last_while_reading());
	GROUP(check_close_beside_child());
	GROUP(check_reused_number());
	GROUP(check_exec());
	return 0;
}
