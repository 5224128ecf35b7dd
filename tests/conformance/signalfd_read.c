/* Reading: sizes, several records, blocking, faults, interruption: 80-86, 89. */
#include "sigfd.h"

#include <sys/uio.h>

/* ---- 80, 81, 82: sizes ---- */

static void check_short_reads(const char *name, int fd)
{
	static const size_t sizes[] = { 0, 1, 8, 64, 127 };
	char bytes[RECORD_SIZE], key[96], part[16];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(part, sizeof(part), "size-%zu", sizes[i]);
		make_key(key, 80, name, part);
		report_call(key, read(fd, bytes, sizes[i]));
	}
}

static void check_all_short_reads(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK), blocking = make_signalfd(SIGNALS(SIGUSR1), 0);

	check_short_reads("empty", fd);
	check_short_reads("empty-blocking", blocking);
	send_self(SIGUSR1);
	check_short_reads("pending", fd);
	check_short_reads("pending-blocking", blocking);
	report_signal("80.still-pending", fd);
}

/* Fills the queue with three signals and reads with that much room. */
static void check_size(int fd, size_t size)
{
	unsigned char bytes[1024];
	char key[96];
	size_t touched;
	ssize_t ret;

	send_self(SIGUSR1);
	send_self(SIGUSR2);
	queue_self(SIGRTMIN, 1);
	memset(bytes, UNTOUCHED, sizeof(bytes));
	ret = read(fd, bytes, size);
	snprintf(key, sizeof(key), "81.size-%zu", size);
	report_call(key, ret);
	for (touched = sizeof(bytes); touched > 0 && bytes[touched - 1] == UNTOUCHED; touched--)
		continue;
	snprintf(key, sizeof(key), "81.size-%zu-touched", size);
	report(key, "%zu", touched);
	snprintf(key, sizeof(key), "81.size-%zu-left", size);
	report_signals(key, fd, 4);
}

static void check_sizes(void)
{
	static const size_t sizes[] = { 128, 129, 228, 255, 256, 300, 383, 384, 385, 1000 };
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGRTMIN), SFD_NONBLOCK);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		check_size(fd, sizes[i]);
}

static void check_several_records(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN), 0);

	send_self(SIGUSR1);
	send_self(SIGUSR2);
	send_self(SIGTERM);
	report_signals("82.two-of-three", fd, 2);
	report_signals("82.third", fd, 2);
	send_self(SIGUSR2);
	report_signals("82.one-with-room-for-more", fd, 8);
	for (int i = 0; i < 20; i++)
		queue_self(SIGRTMIN, i);
	report_signals("82.sixteen-of-twenty", fd, 16);
	report_signals("82.four-left", fd, 16);
	report_poll("82.none-left", fd);
}

/* ---- 84: nothing pending ---- */

static void check_would_block(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);

	block(SIGNALS(SIGUSR2));
	report_signal("84.nonblocking", fd);
	send_self(SIGUSR2);
	report_signal("84.other-signal-pending", fd);
	must(fcntl(fd, F_SETFL, 0), "F_SETFL");
	send_self(SIGUSR1);
	report_signal("84.made-blocking", fd);
	must(fcntl(fd, F_SETFL, O_NONBLOCK), "F_SETFL");
	report_signal("84.made-nonblocking", fd);
}

static void check_nonblock_is_shared(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0), copy = must(dup(fd), "dup");

	must(fcntl(copy, F_SETFL, O_NONBLOCK), "F_SETFL");
	report_signal("84.nonblock-by-copy", fd);
}

/* What another thread or process does to the sleeping reader. */
static void kill_from_child(struct task *reader)
{
	(void)reader;
	send_from_child(SIGUSR1);
}

static void kill_from_thread(struct task *reader)
{
	(void)reader;
	send_self(SIGUSR1);
}

static void queue_value_from_child(struct task *reader)
{
	(void)reader;
	queue_from_child(SIGUSR1, 5);
}

static void kill_thread(struct task *reader)
{
	send_thread(reader->thread, SIGUSR1);
}

static void check_woken(const char *name, void (*wake)(struct task *))
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGRTMIN), 0);
	struct task *reader;
	char key[96];

	block(SIGNALS(SIGUSR2));
	reader = start_thread(signal_body, fd, 0);
	make_key(key, 84, name, "before");
	report_blocked(key, reader);
	send_self(SIGUSR2);
	make_key(key, 84, name, "other-signal");
	report_blocked(key, reader);
	wake(reader);
	make_key(key, 84, name, "read");
	report_signal_task(key, reader);
	make_key(key, 84, name, "pending");
	report_pending(key);
}

static void check_woken_in_child(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *reader = start_process(signal_body, fd, 0);

	report_blocked("84.child-before", reader);
	send_self(SIGUSR1);
	report_blocked("84.child-signal-to-parent", reader);
	send_signal(reader->pid, SIGUSR1);
	report_signal_task("84.child-read", reader);
	report_signal("84.parent-read", fd);
}

static struct io many_reads_body(struct task *task)
{
	ssize_t got = 0;

	while (got < (ssize_t)task->value) {
		struct records records = read_records(task->fd, 4);

		if (records.ret < 0)
			return io_result(-1);
		got += (ssize_t)count_records(&records);
	}
	return io_result(got);
}

static void check_woken_many_times(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), 0);
	struct task *reader = start_thread(many_reads_body, fd, 200);

	for (int i = 0; i < 200; i++)
		queue_self(SIGRTMIN, i);
	report_task("84.two-hundred", reader);
	must(fcntl(fd, F_SETFL, O_NONBLOCK), "F_SETFL");
	report_signal("84.no-more", fd);
}

/* ---- 85: readv ---- */

static void report_readv(const char *key, int fd, const size_t *sizes, int count)
{
	static unsigned char bytes[1024];
	struct iovec parts[RECORD_SIZE];
	struct signalfd_siginfo infos[4];
	size_t used = 0;
	ssize_t ret;

	memset(bytes, UNTOUCHED, sizeof(bytes));
	/* The parts lie one after the other, so that the records come out whole. */
	for (int i = 0; i < count; i++) {
		parts[i] = (struct iovec){ bytes + used, sizes[i] };
		used += sizes[i];
	}
	ret = readv(fd, parts, count);
	if (ret < 0) {
		report_call(key, ret);
		return;
	}
	printf("%s: ret=%zd", key, ret);
	memcpy(infos, bytes, sizeof(infos));
	for (ssize_t i = 0; i < ret / (ssize_t)RECORD_SIZE; i++)
		printf(" %s", signal_name((int)infos[i].ssi_signo));
	putchar('\n');
}

static void check_readv(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);
	size_t ones[RECORD_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(ones); i++)
		ones[i] = 1;
	report_readv("85.empty", fd, (const size_t[]){ 128, 128 }, 2);
	send_usr1_and_usr2();
	report_readv("85.100-200", fd, (const size_t[]){ 100, 200 }, 2);
	send_usr1_and_usr2();
	report_readv("85.64-64", fd, (const size_t[]){ 64, 64 }, 2);
	report_readv("85.100-27", fd, (const size_t[]){ 100, 27 }, 2);
	report_readv("85.0-128", fd, (const size_t[]){ 0, 128 }, 2);
	send_usr1_and_usr2();
	report_readv("85.128-128", fd, (const size_t[]){ 128, 128 }, 2);
	send_usr1_and_usr2();
	report_readv("85.bytes", fd, ones, ARRAY_SIZE(ones));
	report_readv("85.127-0-1-127", fd, (const size_t[]){ 127, 0, 1, 127 }, 4);
	report_signals("85.left", fd, 4);
}

/* ---- 86: faults ---- */

static void check_fault(const char *name, size_t writable, size_t size)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGTERM), SFD_NONBLOCK);
	char key[96];

	send_usr1_and_usr2();
	send_self(SIGTERM);
	make_key(key, 86, name, "read");
	report_call(key, read(fd, before_fault(writable), size));
	make_key(key, 86, name, "left");
	report_signals(key, fd, 4);
}

static void check_tail_may_fault(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);

	send_self(SIGUSR1);
	report_call("86.unused-room", read(fd, before_fault(RECORD_SIZE), 4 * RECORD_SIZE));
	report_call("86.fault-empty", read(fd, before_fault(0), RECORD_SIZE));
	report_call("86.fault-short", read(fd, before_fault(0), RECORD_SIZE - 1));
}

/* ---- 89: other signals interrupt ---- */

static void check_interrupted(const char *name, int flags)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *reader = start_thread(signal_body, fd, 0);
	char key[96];

	handle(SIGUSR2, count_signal, flags);
	make_key(key, 89, name, "before");
	report_blocked(key, reader);
	interrupt_thread(reader, SIGUSR2);
	if (flags & SA_RESTART) {
		make_key(key, 89, name, "after-handler");
		report_blocked(key, reader);
		/* No handler runs in a thread that has ended. */
		if (wait_until_blocked(reader))
			interrupt_thread(reader, SIGUSR2);
		make_key(key, 89, name, "after-second");
		report_blocked(key, reader);
		send_self(SIGUSR1);
	}
	make_key(key, 89, name, "result");
	report_signal_task(key, reader);
	send_self(SIGUSR1);
	make_key(key, 89, name, "next");
	report_signal(key, fd);
}

static struct io read_with_usr2_blocked_body(struct task *task)
{
	block(SIGNALS(SIGUSR2));
	return signal_body(task);
}

static void check_not_interrupted(const char *name, task_body body, int number, void (*handler)(int))
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *reader = start_thread(body, fd, 0);
	char key[96];

	handle(number, handler, 0);
	make_key(key, 89, name, "before");
	report_blocked(key, reader);
	send_thread(reader->thread, number);
	make_key(key, 89, name, "after");
	report_blocked(key, reader);
	send_self(SIGUSR1);
	make_key(key, 89, name, "read");
	report_signal_task(key, reader);
}

static void check_interrupted_many_times(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0), interrupted = 0;

	handle(SIGUSR2, count_signal, 0);
	for (int i = 0; i < 20; i++) {
		struct task *reader = start_thread(signal_body, fd, 0);
		struct io io;

		wait_until_blocked(reader);
		interrupt_thread(reader, SIGUSR2);
		io = finish_task(reader);
		interrupted += io.ret == -1 && io.err == EINTR;
	}
	report("89.twenty-times", "interrupted=%d", interrupted);
	send_self(SIGUSR1);
	report_signal("89.after-twenty-times", fd);
}

static void check_stopped_reader(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *reader = start_process(signal_body, fd, 0);
	int status;

	report_blocked("89.stopped-before", reader);
	send_signal(reader->pid, SIGSTOP);
	must(waitpid(reader->pid, &status, WUNTRACED), "waitpid");
	send_signal(reader->pid, SIGCONT);
	report_blocked("89.continued", reader);
	send_signal(reader->pid, SIGUSR1);
	report_signal_task("89.continued-read", reader);
}

/* What comes while the reader is stopped is there when it goes on. */
static void check_signal_while_stopped(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *reader = start_process(signal_body, fd, 0);
	int status;

	report_blocked("89.sent-while-stopped-before", reader);
	send_signal(reader->pid, SIGSTOP);
	must(waitpid(reader->pid, &status, WUNTRACED), "waitpid");
	send_signal(reader->pid, SIGUSR1);
	send_signal(reader->pid, SIGCONT);
	report_signal_task("89.sent-while-stopped-read", reader);
}

static void check_cancelled_reader(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), 0);
	struct task *reader = start_thread(signal_body, fd, 0);
	void *result = NULL;

	report_blocked("89.cancelled-before", reader);
	pthread_cancel(reader->thread);
	pthread_join(reader->thread, &result);
	report("89.cancelled", "%s", yes_no(result == PTHREAD_CANCELED));
	send_self(SIGUSR1);
	report_signal("89.read-after-cancel", fd);
}

int main(void)
{
	start_output();
	try_thread_signals();
	GROUP(check_all_short_reads());
	GROUP(check_sizes());
	GROUP(check_several_records());
	GROUP(check_would_block());
	GROUP(check_nonblock_is_shared());
	GROUP(check_woken("kill-from-child", kill_from_child));
	GROUP(check_woken("kill-from-thread", kill_from_thread));
	GROUP(check_woken("sigqueue-from-child", queue_value_from_child));
	if (thread_signals)
		GROUP(check_woken("pthread-kill", kill_thread));
	GROUP(check_woken_in_child());
	GROUP(check_woken_many_times());
	GROUP(check_readv());
	GROUP(check_fault("second-record", RECORD_SIZE, 2 * RECORD_SIZE));
	GROUP(check_fault("middle-of-second", RECORD_SIZE + 64, 2 * RECORD_SIZE));
	GROUP(check_fault("third-record", 2 * RECORD_SIZE, 3 * RECORD_SIZE));
	GROUP(check_fault("first-record", 0, 2 * RECORD_SIZE));
	GROUP(check_fault("middle-of-first", 64, RECORD_SIZE));
	GROUP(check_tail_may_fault());
	GROUP(check_interrupted("interrupted", 0));
	GROUP(check_interrupted("restarted", SA_RESTART));
	GROUP(check_interrupted_many_times());
	GROUP(check_not_interrupted("ignored", signal_body, SIGUSR2, SIG_IGN));
	GROUP(check_not_interrupted("default-ignored", signal_body, SIGWINCH, SIG_DFL));
	GROUP(check_not_interrupted("masked", read_with_usr2_blocked_body, SIGUSR2, count_signal));
	GROUP(check_stopped_reader());
	GROUP(check_signal_while_stopped());
	GROUP(check_cancelled_reader());
	return 0;
}
