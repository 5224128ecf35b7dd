/* Signals of timers and of asynchronous input, which not every system has: 118, 119, 120 (setitimer), 125. */
#include "sigfd.h"

#include <sys/socket.h>
#include <sys/time.h>

#ifdef __linux__

static timer_t make_timer(int number, union sigval value)
{
	struct sigevent event;
	timer_t timer;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = number;
	event.sigev_value = value;
	must(timer_create(CLOCK_MONOTONIC, &event, &timer), "timer_create");
	return timer;
}

static void start_timer(timer_t timer, long first_ms, long period_ms)
{
	const struct itimerspec times = {
		.it_value = { .tv_nsec = first_ms * 1000000 },
		.it_interval = { .tv_nsec = period_ms * 1000000 },
	};

	must(timer_settime(timer, 0, &times, NULL), "timer_settime");
}

static void sleep_ms(long ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) < 0)
		continue;
}

/* How often a timer ran out depends on the machine, and its number on the system: only whether they are right is told. */
static void report_timer_record(const char *key, int fd, timer_t timer, unsigned int least_overrun)
{
	struct records records = read_records(fd, 1);
	struct signalfd_siginfo *info = &records.infos[0];
	char part[96];

	if (count_records(&records) != 1) {
		report_names(key, &records);
		return;
	}
	snprintf(part, sizeof(part), "%s-tid", key);
	report(part, "timers-own=%s", yes_no(info->ssi_tid == (uint32_t)(uintptr_t)timer));
	snprintf(part, sizeof(part), "%s-overrun", key);
	report(part, "at-least-%u=%s", least_overrun, yes_no(info->ssi_overrun >= least_overrun));
	info->ssi_tid = info->ssi_overrun = 0;
	report_fields(key, info);
}

static void check_single_expiration(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGRTMIN), 0);
	timer_t first = make_timer(SIGUSR1, int_value(5));
	timer_t second = make_timer(SIGRTMIN, (union sigval){ .sival_ptr = (void *)0x123456789abcdef0 });

	start_timer(first, 10, 0);
	report_timer_record("118.standard", fd, first, 0);
	start_timer(second, 10, 0);
	report_timer_record("118.realtime", fd, second, 0);
	must(fcntl(fd, F_SETFL, O_NONBLOCK), "F_SETFL");
	report_signal("118.no-more", fd);
}

static void check_many_expirations(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), SFD_NONBLOCK);
	timer_t timer = make_timer(SIGRTMIN, int_value(-3));

	start_timer(timer, 5, 5);
	sleep_ms(60);
	report_timer_record("118.many", fd, timer, 5);
	start_timer(timer, 0, 0);
	report_signal("118.many-is-one-record", fd);
}

static void check_one_wakes_reader(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), 0), right = 0;
	timer_t timer = make_timer(SIGRTMIN, int_value(8));

	start_timer(timer, 5, 5);
	for (int i = 0; i < 10; i++) {
		struct records records = read_records(fd, 4);

		right += records.ret == RECORD_SIZE && records.infos[0].ssi_int == 8;
	}
	report("118.ten-reads", "right=%d", right);
}

static void wait_until_readable(int fd)
{
	while (!(poll_now(fd, POLLIN) & POLLIN))
		pause_briefly();
}

static timer_t make_expired_timer(int fd, int value)
{
	timer_t timer = make_timer(SIGRTMIN, int_value(value));

	start_timer(timer, 1, 0);
	wait_until_readable(fd);
	return timer;
}

/* Linux may find out only at the read that a pending signal is a deleted timer's. */
static void check_deleted(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), SFD_NONBLOCK);
	timer_t timer;

	must(timer_delete(make_expired_timer(fd, 1)), "timer_delete");
	report_poll("119.poll-after-delete", fd);
	report_signal("119.read-after-delete", fd);
	report_poll("119.poll-after-read", fd);
	timer = make_expired_timer(fd, 2);
	report_timer_record("119.next-timer", fd, timer, 0);
}

static void check_deleted_among_others(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), SFD_NONBLOCK);
	timer_t timer = make_expired_timer(fd, 1);

	queue_self(SIGRTMIN, 2);
	must(timer_delete(timer), "timer_delete");
	report_sent("119.other-signal-stays", fd, 4);
}

static void check_disarmed(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), SFD_NONBLOCK);
	timer_t timer = make_expired_timer(fd, 3);

	start_timer(timer, 0, 0);
	report_signal("119.read-after-disarm", fd);
	report_signal("119.read-after-disarm-again", fd);
}

static void check_interval_timer(void)
{
	const struct itimerval once = { .it_value = { .tv_usec = 10000 } };
	const struct itimerval often = { .it_value = { .tv_usec = 5000 }, .it_interval = { .tv_usec = 5000 } };
	const struct itimerval never = { .it_value = { .tv_usec = 0 } };
	int fd = block_and_make(SIGNALS(SIGALRM), 0);

	sender_uid = UID_OF_KERNEL;
	must(setitimer(ITIMER_REAL, &once, NULL), "setitimer");
	report_record("120.setitimer", fd);
	must(setitimer(ITIMER_REAL, &often, NULL), "setitimer");
	sleep_ms(50);
	report_record("120.setitimer-many", fd);
	report_record("120.setitimer-next", fd);
	must(setitimer(ITIMER_REAL, &never, NULL), "setitimer");
}

/* The band is of poll's bits; the descriptor is the one that fcntl was called for. */
static void report_io_record(const char *key, int fd, int source)
{
	struct records records = read_records(fd, 1);
	struct signalfd_siginfo *info = &records.infos[0];
	char text[EVENTS_TEXT_SIZE];

	if (count_records(&records) != 1)
		report_names(key, &records);
	else
		report(key, "%s code=%s band=%s fd=%s", signal_name((int)info->ssi_signo),
		       info->ssi_code == POLL_IN ? "IN" : info->ssi_code == POLL_HUP ? "HUP" : code_name(info),
		       poll_text((short)info->ssi_band, text), info->ssi_fd == source ? "source" : "other");
}

static void check_asynchronous_input(const char *name, int number)
{
	int fd = block_and_make(make_set((const int[]){ SIGIO, SIGRTMIN, 0 }), 0), ends[2];
	char key[96];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	must(fcntl(ends[0], F_SETOWN, getpid()), "F_SETOWN");
	if (number != 0)
		must(fcntl(ends[0], F_SETSIG, number), "F_SETSIG");
	must(fcntl(ends[0], F_SETFL, O_ASYNC), "F_SETFL");
	must((int)write(ends[1], "x", 1), "write");
	make_key(key, 125, name, "input");
	report_io_record(key, fd, ends[0]);
}

int main(void)
{
	start_output();
	sender_uid = UID_OF_KERNEL;
	GROUP(check_single_expiration());
	GROUP(check_many_expirations());
	GROUP(check_one_wakes_reader());
	GROUP(check_deleted());
	GROUP(check_deleted_among_others());
	GROUP(check_disarmed());
	GROUP(check_interval_timer());
	GROUP(check_asynchronous_input("sigio", SIGIO));
	GROUP(check_asynchronous_input("realtime", SIGRTMIN));
	return 0;
}

#else

int main(void)
{
	return 0;
}

#endif
