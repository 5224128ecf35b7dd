/* Shared by the programs about signalfd. */
#ifndef SIGFD_H
#define SIGFD_H

#include "events.h"

#include <sys/signalfd.h>

#define RECORD_SIZE sizeof(struct signalfd_siginfo)
#define RECORDS_MAX 32

/* What no check may take a leftover for. */
#define UNTOUCHED 0xaa

/* Linux's name and number of what raise and pthread_kill leave, which POSIX does not name. */
#ifndef SI_TKILL
#define SI_TKILL (-6)
#endif

/* ---- names ---- */

/* Good until the fourth call after this one. */
static inline const char *signal_name(int number)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
		{ SIGHUP, "HUP" },
		{ SIGINT, "INT" },
		{ SIGQUIT, "QUIT" },
		{ SIGILL, "ILL" },
		{ SIGTRAP, "TRAP" },
		{ SIGABRT, "ABRT" },
		{ SIGBUS, "BUS" },
		{ SIGFPE, "FPE" },
		{ SIGKILL, "KILL" },
		{ SIGUSR1, "USR1" },
		{ SIGSEGV, "SEGV" },
		{ SIGUSR2, "USR2" },
		{ SIGPIPE, "PIPE" },
		{ SIGALRM, "ALRM" },
		{ SIGTERM, "TERM" },
		{ SIGCHLD, "CHLD" },
		{ SIGCONT, "CONT" },
		{ SIGSTOP, "STOP" },
		{ SIGTSTP, "TSTP" },
		{ SIGTTIN, "TTIN" },
		{ SIGTTOU, "TTOU" },
		{ SIGURG, "URG" },
		{ SIGWINCH, "WINCH" },
		{ SIGIO, "IO" },
		{ SIGSYS, "SYS" },
	};
	static char texts[4][24];
	static int next;
	char *text;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].number == number)
			return names[i].name;
	text = texts[next++ % 4];
	/* Where the realtime signals begin is up to libc. */
	if (number >= SIGRTMIN && number <= SIGRTMAX)
		snprintf(text, sizeof(texts[0]), "RTMIN+%d", number - SIGRTMIN);
	else
		snprintf(text, sizeof(texts[0]), "signal-%d", number);
	return text;
}

static inline const char *code_name(const struct signalfd_siginfo *info)
{
	static char text[24];

	if (info->ssi_signo == SIGCHLD)
		switch (info->ssi_code) {
		case CLD_EXITED: return "EXITED";
		case CLD_KILLED: return "KILLED";
		case CLD_DUMPED: return "DUMPED";
		case CLD_STOPPED: return "STOPPED";
		case CLD_CONTINUED: return "CONTINUED";
		}
	switch (info->ssi_code) {
	case SI_USER: return "USER";
	case SI_QUEUE: return "QUEUE";
	case SI_TKILL: return "TKILL";
	case SI_TIMER: return "TIMER";
	case 128: return "KERNEL";
	}
	snprintf(text, sizeof(text), "code-%d", (int)info->ssi_code);
	return text;
}

/* Whom the checks at hand call "child". */
static pid_t known_child;

static inline const char *pid_word(pid_t pid)
{
	if (pid == 0)
		return "none";
	if (pid == getpid())
		return "self";
	if (pid == known_child)
		return "child";
	return pid == getppid() ? "parent" : "other";
}

/* ---- sets of signals ---- */

static inline sigset_t make_set(const int *numbers)
{
	sigset_t set;

	sigemptyset(&set);
	for (; *numbers; numbers++)
		must(sigaddset(&set, *numbers), "sigaddset");
	return set;
}

#define SIGNALS(...) make_set((const int[]){ __VA_ARGS__, 0 })

static inline sigset_t no_signals(void)
{
	return make_set((const int[]){ 0 });
}

static inline void change_mask(int how, sigset_t set)
{
	if (pthread_sigmask(how, &set, NULL) != 0)
		die("pthread_sigmask");
}

static inline void block(sigset_t set)
{
	change_mask(SIG_BLOCK, set);
}

static inline void unblock(sigset_t set)
{
	change_mask(SIG_UNBLOCK, set);
}

static inline int make_signalfd(sigset_t set, int flags)
{
	return must(signalfd(-1, &set, flags), "signalfd");
}

/* What nearly all checks begin with. */
static inline int block_and_make(sigset_t set, int flags)
{
	block(set);
	return make_signalfd(set, flags);
}

static inline int change_signalfd(int fd, sigset_t set)
{
	return signalfd(fd, &set, 0);
}

static inline void report_set(const char *key, const sigset_t *set)
{
	static const int numbers[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV,
		SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,
		SIGWINCH, SIGIO, SIGSYS,
	};
	bool none = true;

	printf("%s:", key);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (sigismember(set, numbers[i]) == 1) {
			printf(" %s", signal_name(numbers[i]));
			none = false;
		}
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		if (sigismember(set, number) == 1) {
			printf(" %s", signal_name(number));
			none = false;
		}
	printf("%s\n", none ? " none" : "");
}

static inline void report_pending(const char *key)
{
	sigset_t set;

	must(sigpending(&set), "sigpending");
	report_set(key, &set);
}

/* ---- sending ---- */

static inline void send_signal(pid_t pid, int number)
{
	must(kill(pid, number), "kill");
}

static inline void send_self(int number)
{
	send_signal(getpid(), number);
}

static inline union sigval int_value(int value)
{
	union sigval both;

	memset(&both, 0, sizeof(both));
	both.sival_int = value;
	return both;
}

static inline void queue(pid_t pid, int number, int value)
{
	must(sigqueue(pid, number, int_value(value)), "sigqueue");
}

static inline void queue_self(int number, int value)
{
	queue(getpid(), number, value);
}

static inline void send_thread(pthread_t thread, int number)
{
	if (pthread_kill(thread, number) != 0)
		die("pthread_kill");
}

static inline void send_usr1_and_usr2(void)
{
	send_self(SIGUSR1);
	send_self(SIGUSR2);
}

/* Bodies of child processes: the task's value is the signal, its data what sigqueue sends with it. */
static inline struct io kill_parent_body(struct task *task)
{
	return io_result(kill(getppid(), (int)task->value));
}

static inline struct io queue_to_parent_body(struct task *task)
{
	return io_result(sigqueue(getppid(), (int)task->value, int_value((int)(intptr_t)task->data)));
}

/* Has a child send, and waits for the end of the child. */
static inline void send_from_child(int number)
{
	struct task *sender = start_process(kill_parent_body, -1, (uint64_t)number);

	known_child = sender->pid;
	if (finish_task(sender).ret != 0)
		die("kill by a child");
}

static inline void queue_from_child(int number, int value)
{
	struct task *sender = start_process_with(queue_to_parent_body, -1, (uint64_t)number, (void *)(intptr_t)value);

	known_child = sender->pid;
	if (finish_task(sender).ret != 0)
		die("sigqueue by a child");
}

/* ---- handlers ---- */

static atomic_int signals_seen;

static inline void count_signal(int number)
{
	(void)number;
	signals_seen++;
}

static inline void handle(int number, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_flags = flags };

	action.sa_handler = handler;
	sigemptyset(&action.sa_mask);
	must(sigaction(number, &action, NULL), "sigaction");
}

/* Sends a signal to the task's thread and waits until its handler has run. */
static inline void interrupt_thread(struct task *task, int number)
{
	int before = signals_seen;

	send_thread(task->thread, number);
	while (signals_seen == before)
		pause_briefly();
}

static inline void report_seen(const char *key)
{
	report(key, "handled=%d", signals_seen);
}

/* ---- reading ---- */

/* The records that one read brought. */
struct records {
	ssize_t ret;
	int err;
	struct signalfd_siginfo infos[RECORDS_MAX];
};

static inline struct records read_records(int fd, size_t room)
{
	struct records records;

	memset(&records, UNTOUCHED, sizeof(records));
	records.ret = read(fd, records.infos, room * RECORD_SIZE);
	records.err = errno;
	return records;
}

static inline size_t count_records(const struct records *records)
{
	return records->ret > 0 ? (size_t)records->ret / RECORD_SIZE : 0;
}

static inline void print_result(const char *key, const struct records *records)
{
	printf("%s: ret=%zd", key, records->ret);
	if (records->ret < 0)
		printf(" errno=%s", errno_name(records->err));
}

/* "ret=256 USR1 USR2": which signals came. */
static inline void report_names(const char *key, const struct records *records)
{
	print_result(key, records);
	for (size_t i = 0; i < count_records(records); i++)
		printf(" %s", signal_name((int)records->infos[i].ssi_signo));
	putchar('\n');
}

/* One read with room for some records. */
static inline void report_signals(const char *key, int fd, size_t room)
{
	struct records records = read_records(fd, room);

	report_names(key, &records);
}

static inline void report_signal(const char *key, int fd)
{
	report_signals(key, fd, 1);
}

/* "ret=256 USR2/TKILL RTMIN+0/QUEUE=22": also how they were sent. */
static inline void report_sent(const char *key, int fd, size_t room)
{
	struct records records = read_records(fd, room);

	print_result(key, &records);
	for (size_t i = 0; i < count_records(&records); i++) {
		const struct signalfd_siginfo *info = &records.infos[i];

		printf(" %s/%s", signal_name((int)info->ssi_signo), code_name(info));
		if (info->ssi_code == SI_QUEUE)
			printf("=%d", (int)info->ssi_int);
	}
	putchar('\n');
}

/* Who is expected to have sent. The kernel has no user: then it is one that nobody is. */
static uid_t sender_uid;

#define UID_OF_KERNEL ((uid_t)-1)

static inline const char *uid_word(uid_t uid)
{
	if (uid == sender_uid)
		return "sender";
	return uid == 0 ? "none" : "other";
}

/* Somebody who is not root, so that his number differs from no number. */
#define SOME_USER 1000

/* A group that may be run by root becomes another, so that the kernel's zeroes can be told from root's. */
static inline void become_some_user(void)
{
	if (getuid() == 0)
		must(setuid(SOME_USER), "setuid");
	sender_uid = getuid();
}

static inline int start_receiver(sigset_t set)
{
	become_some_user();
	return block_and_make(set, SFD_NONBLOCK);
}

/* How many other bytes of the record are not zero: padding, and the fields of SIGSYS, which no check causes. */
static inline size_t count_padding(struct signalfd_siginfo info)
{
	unsigned char *bytes = (unsigned char *)&info;
	size_t set = 0;

	info.ssi_signo = info.ssi_pid = info.ssi_uid = info.ssi_tid = 0;
	info.ssi_errno = info.ssi_code = info.ssi_fd = info.ssi_status = info.ssi_int = 0;
	info.ssi_band = info.ssi_overrun = info.ssi_trapno = 0;
	info.ssi_ptr = info.ssi_utime = info.ssi_stime = info.ssi_addr = 0;
	info.ssi_addr_lsb = 0;
	for (size_t i = 0; i < sizeof(info); i++)
		set += bytes[i] != 0;
	return set;
}

static inline void print_unless_zero(const char *name, long long value)
{
	if (value != 0)
		printf(" %s=%lld", name, value);
}

/* Every field that says something; what CPU time a child took is another matter. */
static inline void report_fields(const char *key, const struct signalfd_siginfo *info)
{
	bool child = info->ssi_signo == SIGCHLD && info->ssi_code > 0;

	printf("%s: %s code=%s pid=%s uid=%s", key, signal_name((int)info->ssi_signo), code_name(info),
	       pid_word((pid_t)info->ssi_pid), uid_word(info->ssi_uid));
	if (child && info->ssi_code != CLD_EXITED)
		printf(" status=%s", signal_name(info->ssi_status));
	else
		print_unless_zero("status", info->ssi_status);
	print_unless_zero("errno", info->ssi_errno);
	print_unless_zero("fd", info->ssi_fd);
	print_unless_zero("tid", info->ssi_tid);
	print_unless_zero("band", info->ssi_band);
	print_unless_zero("overrun", info->ssi_overrun);
	print_unless_zero("trapno", info->ssi_trapno);
	print_unless_zero("int", info->ssi_int);
	if (info->ssi_ptr != 0)
		printf(" ptr=%#llx", (unsigned long long)info->ssi_ptr);
	if (!child) {
		print_unless_zero("utime", (long long)info->ssi_utime);
		print_unless_zero("stime", (long long)info->ssi_stime);
	}
	print_unless_zero("addr", (long long)info->ssi_addr);
	print_unless_zero("addr-lsb", info->ssi_addr_lsb);
	print_unless_zero("padding", (long long)count_padding(*info));
	putchar('\n');
}

static inline void report_record(const char *key, int fd)
{
	struct records records = read_records(fd, 1);

	if (count_records(&records) == 1)
		report_fields(key, &records.infos[0]);
	else
		report_names(key, &records);
}

/* For tasks: the value is the signal of the first record. */
static inline struct io signal_body(struct task *task)
{
	struct records records = read_records(task->fd, 1);

	return (struct io){
		.ret = records.ret,
		.err = records.ret < 0 ? records.err : 0,
		.has_value = records.ret > 0,
		.value = records.ret > 0 ? records.infos[0].ssi_signo : 0,
	};
}

static inline void report_signal_io(const char *key, struct io io)
{
	if (io.ret < 0)
		report(key, "ret=%zd errno=%s", io.ret, errno_name(io.err));
	else if (io.has_value)
		report(key, "ret=%zd %s", io.ret, signal_name((int)io.value));
	else
		report(key, "ret=%zd", io.ret);
}

/* The end of a task of signal_body. */
static inline void report_signal_task(const char *key, struct task *task)
{
	report_signal_io(key, finish_task(task));
}

/* Takes one of the signals as sigwait does, if there is one. */
static inline int take_signal(sigset_t set)
{
	int number;

	do
		number = sigtimedwait(&set, NULL, &(struct timespec){ 0 });
	while (number < 0 && errno == EINTR);
	return number;
}

static inline void report_taken(const char *key, sigset_t set)
{
	int number = take_signal(set);

	if (number < 0)
		report_call(key, -1);
	else
		report(key, "%s", signal_name(number));
}

static inline void report_poll(const char *key, int fd)
{
	char text[EVENTS_TEXT_SIZE];

	report(key, "%s", poll_text(poll_now(fd, POLLIN), text));
}

/*
 * Whether a signal for one thread can be read at all. Where it cannot, what would wait for one is left out: it would wait for ever, and take the lines after
 * it along.
 */
static bool thread_signals;

static inline void try_thread_signals(void)
{
	pid_t pid = fork_child();
	int status;

	if (pid == 0) {
		int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);

		raise(SIGUSR1);
		_exit(read_records(fd, 1).ret < 0);
	}
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	thread_signals = WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- waiting for readiness: the value is the time limit in ms, 0 for none ---- */

static inline int time_limit(const struct task *task)
{
	return task->value ? (int)task->value : -1;
}

static inline struct io poll_body(struct task *task)
{
	struct pollfd p = { .fd = task->fd, .events = POLLIN };

	return io_result(poll(&p, 1, time_limit(task)));
}

static inline struct io epoll_with(struct task *task, uint32_t events)
{
	int epoll = make_epoll(task->fd, events);
	struct epoll_event event;
	struct io io = io_result(epoll_wait(epoll, &event, 1, time_limit(task)));

	close(epoll);
	return io;
}

static inline struct io epoll_body(struct task *task)
{
	return epoll_with(task, EPOLLIN);
}

static inline struct io epoll_edge_body(struct task *task)
{
	return epoll_with(task, EPOLLIN | EPOLLET);
}

/* The task's descriptor is the epoll instance. */
static inline struct io epoll_wait_body(struct task *task)
{
	struct epoll_event event;

	return io_result(epoll_wait(task->fd, &event, 1, time_limit(task)));
}

static inline void report_epoll(const char *key, int epoll)
{
	struct epoll_event event;
	char text[EVENTS_TEXT_SIZE];
	int count = must(epoll_wait(epoll, &event, 1, 0), "epoll_wait");

	report(key, "%s", count ? epoll_text(event.events, text) : "none");
}

/* So many bytes before a page that cannot be written. */
static inline char *before_fault(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		die("mmap");
	must(mprotect(pages + page, page, PROT_NONE), "mprotect");
	return pages + page - size;
}

/* ---- processes ---- */

/* Performs checks in a child, which reports by itself. */
#define IN_CHILD(checks) \
	do { \
		pid_t checker = fork_child(); \
		if (checker == 0) { \
			checks; \
			fflush(stdout); \
			_exit(0); \
		} \
		await_child(checker); \
	} while (0)

static inline int await_child(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	return status;
}

static inline void report_status(const char *key, int status)
{
	if (WIFSIGNALED(status))
		report(key, "killed by %s", signal_name(WTERMSIG(status)));
	else if (WIFSTOPPED(status))
		report(key, "stopped by %s", signal_name(WSTOPSIG(status)));
	else
		report(key, "exited with %d", WEXITSTATUS(status));
}

static inline void report_end(const char *key, pid_t pid)
{
	report_status(key, await_child(pid));
}

/* A gate that one process opens for another, once for each pass. */
struct gate {
	int ends[2];
};

static inline struct gate make_gate(void)
{
	struct gate gate;

	must(pipe(gate.ends), "pipe");
	return gate;
}

static inline void open_gate(struct gate gate)
{
	while (write(gate.ends[1], "", 1) != 1)
		if (errno != EINTR)
			die("write to gate");
}

static inline void pass_gate(struct gate gate)
{
	char byte;

	while (read(gate.ends[0], &byte, 1) != 1)
		if (errno != EINTR)
			die("read from gate");
}

static inline void make_key(char key[96], int number, const char *name, const char *part)
{
	snprintf(key, 96, "%d.%s-%s", number, name, part);
}

#endif
