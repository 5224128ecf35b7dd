/*
 * Many rounds of what may go wrong only now and then: 72, 84, 87, 88, 90, 96, 98, 100, 107, 111.
 * A signal that is lost leaves its round, and so the group, without an end: then the lines are missing.
 */
#include "sigfd.h"

#ifndef ROUNDS
#define ROUNDS 3000
#endif

/* Values in the long stream. */
#ifndef VALUES
#define VALUES 100000
#endif

/* Rounds with a process of their own. */
#ifndef PROCESSES
#define PROCESSES (ROUNDS / 30 + 1)
#endif

/* So many that the reader always has some to take, and not what a user may have in all. */
#define IN_FLIGHT_MAX 2000

/* ---- senders: child processes ---- */

/* Sends the next SIGUSR1 when the last one was taken. The task's data is the gate that the taker opens. */
static struct io send_in_turn_body(struct task *task)
{
	for (uint64_t i = 0; i < task->value; i++) {
		if (kill(getppid(), SIGUSR1) < 0)
			return io_result(-1);
		pass_gate(*(struct gate *)task->data);
	}
	return io_result(0);
}

/* Sends the values from 1 on, as fast as they are taken. The task's data is the count of those taken, in shared memory. */
static struct io send_values_body(struct task *task)
{
	atomic_int *taken = task->data;

	for (int value = 1; value <= (int)task->value; value++) {
		while (value - *taken > IN_FLIGHT_MAX)
			pause_briefly();
		while (sigqueue(getppid(), SIGRTMIN, int_value(value)) < 0) {
			if (errno != EAGAIN)
				return io_result(-1);
			pause_briefly();
		}
	}
	return io_result(0);
}

static void finish_sender(struct task *sender)
{
	if (finish_task(sender).ret != 0)
		die("sender");
}

/* ---- takers: threads ---- */

static struct {
	struct gate taken_gate;
	atomic_int *taken;
	atomic_int wrong, twice, disordered;
	atomic_bool done;
	/* How often each value was taken. */
	atomic_uchar counts[ROUNDS + 1];
} race;

static void start_race(void)
{
	race.taken_gate = make_gate();
	race.taken = map_page(PROT_READ | PROT_WRITE, MAP_SHARED);
}

/* True if there is more to take. */
static bool note_taken(int number, int value, int *last)
{
	if (number == SIGRTMIN) {
		if (value == 0)
			return false;
		race.wrong += value < 0 || value > ROUNDS;
		if (value > 0 && value <= ROUNDS)
			race.twice += race.counts[value]++ != 0;
		race.disordered += value <= *last;
		*last = value;
		++*race.taken;
		return true;
	}
	race.wrong += number != SIGUSR1;
	if (race.done)
		return false;
	++*race.taken;
	open_gate(race.taken_gate);
	return true;
}

static bool take_record(int fd, int *last)
{
	struct records records = read_records(fd, 1);

	if (records.ret < 0 && (records.err == EAGAIN || records.err == EINTR))
		return true;
	if (records.ret != (ssize_t)RECORD_SIZE) {
		race.wrong++;
		return false;
	}
	return note_taken((int)records.infos[0].ssi_signo, records.infos[0].ssi_int, last);
}

static struct io take_by_read(struct task *task)
{
	int last = 0;

	while (take_record(task->fd, &last))
		continue;
	return io_result(0);
}

static struct io take_by_poll(struct task *task)
{
	struct pollfd p = { .fd = task->fd, .events = POLLIN };
	int last = 0;

	do
		poll(&p, 1, -1);
	while (take_record(task->fd, &last));
	return io_result(0);
}

static struct io take_by_select(struct task *task)
{
	int last = 0;

	do
		select_body(task);
	while (take_record(task->fd, &last));
	return io_result(0);
}

static struct io take_by_epoll(struct task *task)
{
	int epoll = make_epoll(task->fd, EPOLLIN), last = 0;
	struct epoll_event event;

	do
		epoll_wait(epoll, &event, 1, -1);
	while (take_record(task->fd, &last));
	return io_result(0);
}

/* An edge tells of all signals until there are none. */
static struct io take_by_epoll_edge(struct task *task)
{
	int epoll = make_epoll(task->fd, EPOLLIN | EPOLLET), last = 0;
	struct epoll_event event;

	for (;;) {
		epoll_wait(epoll, &event, 1, -1);
		do
			if (!take_record(task->fd, &last))
				return io_result(0);
		while (poll_now(task->fd, POLLIN) & POLLIN);
	}
}

static struct io take_by_sigwait(struct task *task)
{
	sigset_t set = SIGNALS(SIGUSR1, SIGRTMIN);
	siginfo_t info;
	int last = 0, number;

	(void)task;
	do {
		number = sigwaitinfo(&set, &info);
		if (number < 0 && errno != EINTR)
			race.wrong++;
	} while (number < 0 || note_taken(number, info.si_value.sival_int, &last));
	return io_result(0);
}

/* Blocking for those who read without asking first. */
static struct task *start_taker(task_body body)
{
	sigset_t set = SIGNALS(SIGUSR1, SIGRTMIN);

	return start_thread(body, block_and_make(set, body == take_by_read ? 0 : SFD_NONBLOCK), 0);
}

static void end_takers(struct task **takers, int count)
{
	race.done = true;
	for (int i = 1; i <= count; i++) {
		send_self(SIGUSR1);
		wait_finished(takers, count, i);
	}
	for (int i = 0; i < count; i++)
		finish_task(takers[i]);
}

static void report_race(int number, const char *name, const char *part)
{
	char key[96];

	make_key(key, number, name, part);
	report(key, "lost=%d wrong=%d", ROUNDS - *race.taken, race.wrong);
}

/* ---- 84, 111: the signal comes as the taker goes to sleep ---- */

static void check_going_to_sleep(int number, const char *name, task_body body)
{
	struct task *taker;

	start_race();
	taker = start_taker(body);
	finish_sender(start_process_with(send_in_turn_body, -1, ROUNDS, &race.taken_gate));
	end_takers(&taker, 1);
	report_race(number, name, "going-to-sleep");
}

static void check_thread_directed(const char *name, task_body body)
{
	struct task *taker;

	start_race();
	taker = start_taker(body);
	for (int i = 0; i < ROUNDS; i++) {
		send_thread(taker->thread, SIGUSR1);
		pass_gate(race.taken_gate);
	}
	end_takers(&taker, 1);
	report_race(98, name, "thread-directed");
}

/* ---- 87, 88: two takers, each signal once ---- */

static void check_two_takers(int number, const char *name, task_body first, task_body second)
{
	struct task *takers[2];

	start_race();
	takers[0] = start_taker(first);
	takers[1] = start_taker(second);
	finish_sender(start_process_with(send_in_turn_body, -1, ROUNDS, &race.taken_gate));
	end_takers(takers, 2);
	report_race(number, name, "in-turn");
}

static void check_two_takers_of_values(int number, const char *name, task_body first, task_body second)
{
	struct task *takers[2];
	char key[96];

	start_race();
	takers[0] = start_taker(first);
	takers[1] = start_taker(second);
	finish_sender(start_process_with(send_values_body, -1, ROUNDS, race.taken));
	/* They come after all other values, one for each taker. */
	for (int i = 0; i < 2; i++)
		while (sigqueue(getpid(), SIGRTMIN, int_value(0)) < 0)
			pause_briefly();
	for (int i = 0; i < 2; i++)
		finish_task(takers[i]);
	make_key(key, number, name, "values");
	report(key, "lost=%d twice=%d disordered=%d wrong=%d", ROUNDS - *race.taken, race.twice, race.disordered,
	       race.wrong);
}

static void check_pair(int number, const char *name, task_body first, task_body second)
{
	GROUP(check_two_takers(number, name, first, second));
	GROUP(check_two_takers_of_values(number, name, first, second));
}

/* ---- 90: the main thread unblocks while another reads ---- */

static void take_in_handler(int number)
{
	int saved = errno;

	race.wrong += number != SIGUSR1;
	++*race.taken;
	open_gate(race.taken_gate);
	errno = saved;
}

static void check_unblock(const char *name, task_body body)
{
	struct task *taker, *sender;

	start_race();
	handle(SIGUSR1, take_in_handler, SA_RESTART);
	taker = start_taker(body);
	sender = start_process_with(send_in_turn_body, -1, ROUNDS, &race.taken_gate);
	while (!sender->finished) {
		unblock(SIGNALS(SIGUSR1));
		block(SIGNALS(SIGUSR1));
		sched_yield();
	}
	finish_sender(sender);
	end_takers(&taker, 1);
	report_race(90, name, "unblock");
}

/* ---- 107: the signal is ignored for moments while a reader sleeps ---- */

static void check_ignored_before_each(const char *name, task_body body)
{
	struct task *taker;

	start_race();
	taker = start_taker(body);
	for (int i = 0; i < ROUNDS; i++) {
		handle(SIGUSR1, SIG_IGN, 0);
		handle(SIGUSR1, SIG_DFL, 0);
		send_self(SIGUSR1);
		pass_gate(race.taken_gate);
	}
	end_takers(&taker, 1);
	report_race(107, name, "ignored-before-each");
}

static struct io send_at_will_body(struct task *task)
{
	for (uint64_t i = 0; i < task->value; i++) {
		if (kill(getppid(), SIGUSR1) < 0)
			return io_result(-1);
		if (i % 16 == 0)
			sched_yield();
	}
	return io_result(0);
}

static struct io read_until_usr2(struct task *task)
{
	ssize_t got = 0;

	for (;;) {
		struct records records = read_records(task->fd, 4);

		if (records.ret < 0 && records.err != EAGAIN)
			return io_result(-1);
		for (size_t i = 0; i < count_records(&records); i++) {
			if (records.infos[i].ssi_signo == SIGUSR2)
				return io_result(got);
			race.wrong += records.infos[i].ssi_signo != SIGUSR1;
			got++;
		}
		if (task->value)
			poll_body(&(struct task){ .fd = task->fd });
	}
}

/* How many come through is chance. */
static void check_ignored_in_between(const char *name, bool polls)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), polls ? SFD_NONBLOCK : 0);
	struct task *reader = start_thread(read_until_usr2, fd, polls), *sender;
	struct io io;
	char key[96];

	sender = start_process(send_at_will_body, -1, ROUNDS);
	while (!sender->finished) {
		handle(SIGUSR1, SIG_IGN, 0);
		handle(SIGUSR1, SIG_DFL, 0);
		sched_yield();
	}
	finish_sender(sender);
	send_self(SIGUSR2);
	io = finish_task(reader);
	make_key(key, 107, name, "ignored-in-between");
	report(key, "read=%s more-than-sent=%s wrong=%d", io.ret < 0 ? errno_name(io.err) : "well",
	       yes_no(io.ret > ROUNDS), race.wrong);
}

/* ---- 72: the mask changes while a reader sleeps ---- */

static void check_updates(const char *name, task_body body)
{
	struct task *taker, *sender;
	int fd;

	start_race();
	taker = start_taker(body);
	fd = taker->fd;
	sender = start_process_with(send_in_turn_body, -1, ROUNDS, &race.taken_gate);
	while (!sender->finished) {
		change_signalfd(fd, no_signals());
		change_signalfd(fd, SIGNALS(SIGUSR2));
		change_signalfd(fd, SIGNALS(SIGUSR1, SIGUSR2));
		sched_yield();
		change_signalfd(fd, SIGNALS(SIGTERM));
		change_signalfd(fd, SIGNALS(SIGUSR1));
		sched_yield();
	}
	finish_sender(sender);
	end_takers(&taker, 1);
	report_race(72, name, "updates");
}

/* ---- 100: readers and senders that are killed ---- */

static void check_killed_readers(const char *name, task_body body)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGRTMIN), 0), right = 0;
	char key[96];

	for (int i = 1; i <= PROCESSES; i++) {
		struct task *reader = start_process(body, fd, 0);
		struct records records;

		/* At any time: before it sleeps, while it does, and when it has something to read. */
		if (i % 3 == 0)
			wait_until_blocked(reader);
		else
			while (!reader->started)
				sched_yield();
		if (i % 2 == 0)
			send_signal(reader->pid, SIGUSR1);
		send_signal(reader->pid, SIGKILL);
		if (i % 4 == 0)
			queue_self(SIGRTMIN, i);
		await_child(reader->pid);
		if (i % 4 != 0)
			queue_self(SIGRTMIN, i);
		records = read_records(fd, 4);
		right += records.ret == (ssize_t)RECORD_SIZE && records.infos[0].ssi_int == i;
		unmap_page(reader);
	}
	make_key(key, 100, name, "killed-readers");
	report(key, "wrong=%d", PROCESSES - right);
}

/* Who is killed while it goes to sleep ends as well: in a read of a signalfd, and of a pipe, which has nothing to do with eventd. */
static void check_killed_going_to_sleep(const char *name, int fd)
{
	char key[96];
	int killed = 0;

	for (int i = 0; i < PROCESSES; i++) {
		pid_t pid = must(fork(), "fork");
		int status;

		if (pid == 0) {
			char buffer[RECORD_SIZE];

			(void)!read(fd, buffer, sizeof(buffer));
			_exit(0);
		}
		for (int turns = i % 30; turns > 0; turns--)
			sched_yield();
		send_signal(pid, SIGKILL);
		status = await_child(pid);
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	make_key(key, 100, name, "killed-going-to-sleep");
	report(key, "ended-otherwise=%d", PROCESSES - killed);
}

/* What it has sent is there, without a gap, and nothing else. */
static void check_killed_senders(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), SFD_NONBLOCK), disordered = 0;

	start_race();
	for (int i = 1; i <= PROCESSES; i++) {
		struct records records = { 0 };
		struct task *sender;
		bool killed = false;
		int next = 1;

		*race.taken = 0;
		sender = start_process_with(send_values_body, -1, INT32_MAX, race.taken);
		while (!killed || records.ret > 0) {
			if (next > i % 50 && !killed) {
				send_signal(sender->pid, SIGKILL);
				await_child(sender->pid);
				killed = true;
			}
			if (!killed)
				poll_body(&(struct task){ .fd = fd });
			records = read_records(fd, 16);
			for (size_t k = 0; k < count_records(&records); k++)
				disordered += records.infos[k].ssi_int != next++;
			*race.taken = next - 1;
		}
		unmap_page(sender);
	}
	report("100.killed-senders", "disordered=%d", disordered);
}

/* ---- 100: fork while signals arrive ---- */

static bool child_reads_nothing(int fd)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		struct records records = read_records(fd, 4);

		_exit(records.ret == -1 && records.err == EAGAIN && !(poll_now(fd, POLLIN) & POLLIN) ? 0 : 1);
	}
	return await_child(pid) == 0;
}

static void check_forks(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), SFD_NONBLOCK), next = 1, disordered = 0, heirs = 0;
	struct task *sender;

	start_race();
	sender = start_process_with(send_values_body, -1, ROUNDS, race.taken);
	while (next <= ROUNDS) {
		struct records records;

		if (next > heirs * (ROUNDS / PROCESSES) + 1)
			heirs += child_reads_nothing(fd) ? 1 : ROUNDS + 1;
		poll_body(&(struct task){ .fd = fd });
		records = read_records(fd, 8);
		for (size_t i = 0; i < count_records(&records); i++)
			disordered += records.infos[i].ssi_int != next++;
		*race.taken = next - 1;
	}
	finish_sender(sender);
	report("100.forks", "disordered=%d heirs=%s", disordered, yes_no(heirs > ROUNDS));
	report_signal("100.forks-no-more", fd);
}

/* ---- 96: a long stream of values ---- */

static void check_stream(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), 0), next = 1, disordered = 0;
	struct task *sender;

	start_race();
	sender = start_process_with(send_values_body, -1, VALUES, race.taken);
	while (next <= VALUES) {
		struct records records = read_records(fd, 16);

		if (records.ret < 0)
			die("read");
		for (size_t i = 0; i < count_records(&records); i++)
			disordered += records.infos[i].ssi_int != next++;
		*race.taken = next - 1;
	}
	finish_sender(sender);
	report("96.stream", "disordered=%d", disordered);
	must(fcntl(fd, F_SETFL, O_NONBLOCK), "F_SETFL");
	report_signal("96.stream-no-more", fd);
}

int main(void)
{
	start_output();
	try_thread_signals();
	GROUP(check_going_to_sleep(84, "read", take_by_read));
	GROUP(check_going_to_sleep(111, "poll", take_by_poll));
	GROUP(check_going_to_sleep(111, "select", take_by_select));
	GROUP(check_going_to_sleep(111, "epoll", take_by_epoll));
	GROUP(check_going_to_sleep(111, "epoll-edge", take_by_epoll_edge));
	if (thread_signals) {
		GROUP(check_thread_directed("read", take_by_read));
		GROUP(check_thread_directed("poll", take_by_poll));
	}
	check_pair(87, "read-sigwait", take_by_read, take_by_sigwait);
	check_pair(87, "poll-sigwait", take_by_poll, take_by_sigwait);
	check_pair(88, "read-read", take_by_read, take_by_read);
	check_pair(88, "poll-poll", take_by_poll, take_by_poll);
	check_pair(88, "read-epoll", take_by_read, take_by_epoll);
	GROUP(check_unblock("read", take_by_read));
	GROUP(check_unblock("poll", take_by_poll));
	GROUP(check_ignored_before_each("read", take_by_read));
	GROUP(check_ignored_before_each("poll", take_by_poll));
	GROUP(check_ignored_in_between("read", false));
	GROUP(check_ignored_in_between("poll", true));
	GROUP(check_updates("read", take_by_read));
	GROUP(check_updates("poll", take_by_poll));
	GROUP(check_killed_readers("read", signal_body));
	GROUP(check_killed_readers("poll", poll_body));
	GROUP(check_killed_going_to_sleep("read", block_and_make(SIGNALS(SIGUSR1), 0)));
	GROUP(check_killed_going_to_sleep("pipe", make_gate().ends[0]));
	GROUP(check_killed_senders());
	GROUP(check_forks());
	GROUP(check_stream());
	return 0;
}
