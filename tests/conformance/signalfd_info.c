/* What a record says of its signal: 112-117, 120 (alarm), 121-124. */
#include "sigfd.h"

#include <stddef.h>

/* ---- 112, 113: the layout ---- */

#define REPORT_FIELD(field) \
	report("112." #field, "offset=%zu size=%zu", offsetof(struct signalfd_siginfo, field), \
	       sizeof(((struct signalfd_siginfo *)NULL)->field))

static void check_layout(void)
{
	report("112.size", "%zu", sizeof(struct signalfd_siginfo));
	REPORT_FIELD(ssi_signo);
	REPORT_FIELD(ssi_errno);
	REPORT_FIELD(ssi_code);
	REPORT_FIELD(ssi_pid);
	REPORT_FIELD(ssi_uid);
	REPORT_FIELD(ssi_fd);
	REPORT_FIELD(ssi_tid);
	REPORT_FIELD(ssi_band);
	REPORT_FIELD(ssi_overrun);
	REPORT_FIELD(ssi_trapno);
	REPORT_FIELD(ssi_status);
	REPORT_FIELD(ssi_int);
	REPORT_FIELD(ssi_ptr);
	REPORT_FIELD(ssi_utime);
	REPORT_FIELD(ssi_stime);
	REPORT_FIELD(ssi_addr);
	REPORT_FIELD(ssi_addr_lsb);
	REPORT_FIELD(ssi_syscall);
	REPORT_FIELD(ssi_call_addr);
	REPORT_FIELD(ssi_arch);
}

static const char *sign(long long minus_one)
{
	return minus_one < 0 ? "signed" : "unsigned";
}

static void check_signs(void)
{
	struct signalfd_siginfo info;

	memset(&info, 0xff, sizeof(info));
	report("112.sign-errno", "%s", sign(info.ssi_errno));
	report("112.sign-code", "%s", sign(info.ssi_code));
	report("112.sign-pid", "%s", sign(info.ssi_pid));
	report("112.sign-uid", "%s", sign(info.ssi_uid));
	report("112.sign-fd", "%s", sign(info.ssi_fd));
	report("112.sign-status", "%s", sign(info.ssi_status));
	report("112.sign-int", "%s", sign(info.ssi_int));
	report("112.sign-ptr", "%s", info.ssi_ptr > 0 ? "unsigned" : "signed");
}

/* ---- 114-117: signals that processes send ---- */

static void check_kill(void)
{
	int fd = start_receiver(SIGNALS(SIGUSR1, SIGCHLD, SIGRTMIN));

	send_self(SIGUSR1);
	report_record("114.self", fd);
	send_from_child(SIGUSR1);
	report_record("114.child", fd);
	report_record("114.end-of-child", fd);
	send_self(SIGCHLD);
	report_record("114.chld-by-kill", fd);
	send_self(SIGRTMIN);
	report_record("114.realtime", fd);
}

static void read_from_parent(int fd, struct gate ready, struct gate go)
{
	open_gate(ready);
	pass_gate(go);
	report_record("114.parent", fd);
	report_record("116.parent", fd);
}

/* The sender may well be root, and the receiver is not. */
static void check_from_parent(void)
{
	struct gate ready = make_gate(), go = make_gate();
	pid_t pid = fork_child();

	if (pid == 0) {
		uid_t parents = getuid();
		int fd = start_receiver(SIGNALS(SIGUSR1, SIGRTMIN));

		sender_uid = parents;
		read_from_parent(fd, ready, go);
		fflush(stdout);
		_exit(0);
	}
	pass_gate(ready);
	send_signal(pid, SIGUSR1);
	queue(pid, SIGRTMIN, 77);
	open_gate(go);
	report_end("114.receiver", pid);
}

static void check_group_kill(void)
{
	int fd = start_receiver(SIGNALS(SIGUSR1));

	must(kill(0, SIGUSR1), "kill");
	report_record("114.own-group", fd);
	send_signal(-getpgid(0), SIGUSR1);
	report_record("114.named-group", fd);
}

/* What a write into a pipe without readers sends to its thread. */
static void check_broken_pipe(void)
{
	int fd = start_receiver(SIGNALS(SIGPIPE));
	struct gate gate = make_gate();

	close(gate.ends[0]);
	report_call("114.broken-pipe-write", write(gate.ends[1], "", 1));
	report_record("114.broken-pipe", fd);
}

static struct io kill_main_body(struct task *task)
{
	return io_result(pthread_kill(*(pthread_t *)task->data, SIGUSR2));
}

static void check_thread_kill(void)
{
	int fd = start_receiver(SIGNALS(SIGUSR1, SIGUSR2, SIGRTMIN, SIGABRT));
	pthread_t self = pthread_self();

	raise(SIGUSR1);
	report_record("115.raise", fd);
	send_thread(self, SIGRTMIN);
	report_record("115.pthread-kill-self", fd);
	finish_task(start_thread_with(kill_main_body, -1, 0, &self));
	report_record("115.pthread-kill-by-thread", fd);
}

static void check_sigqueue(void)
{
	static const int values[] = { 0, 1, -1, 44, -44, INT32_MAX, INT32_MIN };
	int fd = start_receiver(SIGNALS(SIGUSR2, SIGRTMIN, SIGCHLD, SIGTERM));
	union sigval value;
	char key[96];

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		queue_self(SIGRTMIN, values[i]);
		snprintf(key, sizeof(key), "116.value-%d", values[i]);
		report_record(key, fd);
	}
	value.sival_ptr = (void *)0x123456789abcdef0;
	must(sigqueue(getpid(), SIGRTMIN, value), "sigqueue");
	report_record("116.pointer", fd);
	value.sival_ptr = (void *)UINTPTR_MAX;
	must(sigqueue(getpid(), SIGRTMIN, value), "sigqueue");
	report_record("116.pointer-all-ones", fd);
	queue_self(SIGUSR2, -44);
	report_record("117.usr2", fd);
	queue_self(SIGTERM, 7);
	report_record("117.term", fd);
	queue_self(SIGCHLD, 8);
	report_record("117.chld", fd);
	must(sigqueue(getpid(), SIGUSR2, value), "sigqueue");
	report_record("117.pointer", fd);
	/* This child's end is a SIGCHLD as well. */
	queue_from_child(SIGUSR2, 5);
	report_record("117.usr2-from-child", fd);
}

static void check_sigqueue_refused(void)
{
	int fd = start_receiver(SIGNALS(SIGUSR1));

	report_call("116.null-signal", sigqueue(getpid(), 0, int_value(1)));
	report_call("116.bad-signal", sigqueue(getpid(), 1000, int_value(1)));
	report_record("116.nothing-came", fd);
}

/* Many records in one read, none with anything of another. */
static void check_records_are_separate(void)
{
	int fd = start_receiver(SIGNALS(SIGUSR1, SIGUSR2, SIGRTMIN));
	struct records records;

	queue_self(SIGRTMIN, -1);
	send_self(SIGUSR2);
	queue_self(SIGUSR1, 0x7fffffff);
	raise(SIGUSR2);
	records = read_records(fd, 8);
	report_names("113.records", &records);
	for (size_t i = 0; i < count_records(&records); i++) {
		char key[96];

		snprintf(key, sizeof(key), "113.record-%zu", i);
		report_fields(key, &records.infos[i]);
	}
}

/* ---- 120: alarm ---- */

static void check_alarm(void)
{
	int fd;

	become_some_user();
	sender_uid = UID_OF_KERNEL;
	fd = block_and_make(SIGNALS(SIGALRM), 0);
	alarm(1);
	report_record("120.alarm", fd);
}

/* ---- 121-124: children ---- */

static void check_child_exit(const char *key, int code)
{
	int fd = start_receiver(SIGNALS(SIGCHLD));
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(code);
	known_child = pid;
	must(fcntl(fd, F_SETFL, 0), "F_SETFL");
	report_record(key, fd);
	await_child(pid);
}

static void check_child_killed(const char *key, int number)
{
	int fd = start_receiver(SIGNALS(SIGCHLD));
	pid_t pid = fork_child();

	if (pid == 0)
		for (;;)
			pause();
	known_child = pid;
	send_signal(pid, number);
	must(fcntl(fd, F_SETFL, 0), "F_SETFL");
	report_record(key, fd);
	await_child(pid);
}

/* Each waits for the next step, so that two SIGCHLDs never become one. */
static void check_child_stops(void)
{
	int fd = start_receiver(SIGNALS(SIGCHLD));
	pid_t pid = fork_child();

	if (pid == 0)
		for (;;)
			pause();
	known_child = pid;
	must(fcntl(fd, F_SETFL, 0), "F_SETFL");
	send_signal(pid, SIGSTOP);
	report_record("123.stopped", fd);
	send_signal(pid, SIGCONT);
	report_record("123.continued", fd);
	send_signal(pid, SIGKILL);
	report_record("122.killed-afterwards", fd);
	await_child(pid);
}

static void check_no_child_stop(void)
{
	int fd = start_receiver(SIGNALS(SIGCHLD)), status;
	pid_t pid;

	handle(SIGCHLD, SIG_DFL, SA_NOCLDSTOP);
	pid = fork_child();
	if (pid == 0)
		for (;;)
			pause();
	known_child = pid;
	send_signal(pid, SIGSTOP);
	must(waitpid(pid, &status, WUNTRACED), "waitpid");
	report_record("123.not-told-of-stop", fd);
	send_signal(pid, SIGKILL);
	await_child(pid);
	report_record("123.told-of-end", fd);
}

/* Of two ends before a read, the first is told. */
static void check_two_children(void)
{
	int fd = start_receiver(SIGNALS(SIGCHLD));

	for (int code = 1; code <= 2; code++) {
		pid_t pid = fork_child();

		if (pid == 0)
			_exit(code);
		if (code == 1)
			known_child = pid;
		await_child(pid);
	}
	report_record("121.first-of-two", fd);
	report_record("121.no-second", fd);
}

/* The child's real user counts. */
static void check_uid_of_child(void)
{
	int fd = block_and_make(SIGNALS(SIGCHLD), SFD_NONBLOCK);
	pid_t pid;

	sender_uid = getuid() == 0 ? SOME_USER : getuid();
	pid = fork_child();
	if (pid == 0) {
		become_some_user();
		_exit(5);
	}
	known_child = pid;
	await_child(pid);
	report_record("121.uid-of-child", fd);
}

static void burn_cpu(void)
{
	while (clock() < CLOCKS_PER_SEC * 3 / 10)
		continue;
}

static void check_cpu_time(void)
{
	int fd = start_receiver(SIGNALS(SIGCHLD));
	struct records records;
	pid_t pid = fork_child();

	if (pid == 0) {
		burn_cpu();
		_exit(0);
	}
	await_child(pid);
	records = read_records(fd, 1);
	/* 0.3 s are 30 ticks, but a loaded machine counts fewer, and most of them for the system that clock() calls. */
	report("124.busy-child", "ret=%zd counted=%s", records.ret,
	       yes_no(records.infos[0].ssi_utime + records.infos[0].ssi_stime > 0 &&
		      records.infos[0].ssi_utime + records.infos[0].ssi_stime < 100));
}

int main(void)
{
	start_output();
	sender_uid = getuid();
	GROUP(check_layout());
	GROUP(check_signs());
	GROUP(check_kill());
	GROUP(check_from_parent());
	GROUP(check_group_kill());
	GROUP(check_broken_pipe());
	GROUP(check_thread_kill());
	GROUP(check_sigqueue());
	GROUP(check_sigqueue_refused());
	GROUP(check_records_are_separate());
	GROUP(check_alarm());
	GROUP(check_child_exit("121.exit-0", 0));
	GROUP(check_child_exit("121.exit-42", 42));
	GROUP(check_child_exit("121.exit-255", 255));
	GROUP(check_child_killed("122.killed-by-kill", SIGKILL));
	GROUP(check_child_killed("122.killed-by-term", SIGTERM));
	GROUP(check_child_killed("122.killed-by-usr1", SIGUSR1));
	GROUP(check_child_killed("122.killed-by-realtime", SIGRTMIN));
	GROUP(check_child_stops());
	GROUP(check_no_child_stop());
	GROUP(check_two_children());
	GROUP(check_uid_of_child());
	GROUP(check_cpu_time());
	return 0;
}
