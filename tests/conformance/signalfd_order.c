/* In which order signals are read, and how many of one kind: 94-97, 185. */
#include "sigfd.h"

/* ---- 94, 95, 185: the order ---- */

static void check_thread_before_process(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2, SIGHUP, SIGRTMIN, SIGRTMIN + 1), SFD_NONBLOCK);

	send_self(SIGUSR1);
	raise(SIGUSR2);
	report_sent("94.standard", fd, 4);
	send_self(SIGHUP);
	raise(SIGRTMIN + 1);
	report_sent("94.realtime-of-thread", fd, 4);
	queue_self(SIGRTMIN, 1);
	queue_self(SIGRTMIN, 2);
	raise(SIGRTMIN);
	report_sent("94.same-realtime", fd, 4);
	send_self(SIGHUP);
	raise(SIGUSR2);
	raise(SIGUSR1);
	send_self(SIGRTMIN);
	report_sent("94.one-read-each-1", fd, 1);
	report_sent("94.one-read-each-2", fd, 1);
	report_sent("94.one-read-each-3", fd, 1);
	report_sent("94.one-read-each-4", fd, 1);
}

static void check_both_queues(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGRTMIN), SFD_NONBLOCK);

	send_self(SIGUSR1);
	raise(SIGUSR1);
	report_sent("185.process-then-thread", fd, 4);
	raise(SIGUSR1);
	send_self(SIGUSR1);
	report_sent("185.thread-then-process", fd, 4);
	queue_self(SIGUSR1, 9);
	raise(SIGUSR1);
	report_sent("185.first-read", fd, 1);
	report_pending("185.one-left-pending");
	report_sent("185.second-read", fd, 1);
	report_pending("185.none-pending");
}

static void check_lowest_first(void)
{
	int fd = block_and_make(SIGNALS(SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD, SIGRTMIN, SIGRTMIN + 1,
					SIGRTMAX), SFD_NONBLOCK);

	queue_self(SIGRTMIN + 1, 4);
	send_self(SIGCHLD);
	queue_self(SIGRTMIN, 5);
	send_self(SIGUSR2);
	send_self(SIGTERM);
	send_self(SIGHUP);
	queue_self(SIGRTMIN, 6);
	send_self(SIGUSR1);
	send_self(SIGINT);
	report_sent("95.process", fd, 16);
	raise(SIGRTMIN);
	raise(SIGTERM);
	raise(SIGUSR1);
	raise(SIGHUP);
	report_sent("95.thread", fd, 16);
	send_self(SIGRTMIN + 1);
	raise(SIGTERM);
	send_self(SIGHUP);
	raise(SIGUSR2);
	report_sent("95.both", fd, 16);
}

/* The order of those that a fault of the CPU may raise, when they are only sent. */
static void check_fault_signals_first(void)
{
	int fd = block_and_make(SIGNALS(SIGHUP, SIGINT, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGUSR1, SIGSEGV, SIGSYS),
				SFD_NONBLOCK);

	send_self(SIGUSR1);
	send_self(SIGSYS);
	send_self(SIGHUP);
	send_self(SIGSEGV);
	send_self(SIGINT);
	send_self(SIGBUS);
	send_self(SIGFPE);
	send_self(SIGILL);
	send_self(SIGTRAP);
	report_signals("95.faults", fd, 16);
}

/* ---- 96, 97: several of one signal ---- */

static void check_realtime_is_queued(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN, SIGRTMIN + 1), SFD_NONBLOCK);

	for (int i = 1; i <= 5; i++) {
		queue_self(SIGRTMIN + 1, 10 * i);
		queue_self(SIGRTMIN, i);
	}
	report_sent("96.two-numbers", fd, 16);
	queue_self(SIGRTMIN, 1);
	queue_from_child(SIGRTMIN, 2);
	queue_self(SIGRTMIN, 3);
	queue_from_child(SIGRTMIN, 2);
	report_sent("96.two-senders", fd, 16);
	queue_self(SIGRTMIN, 1);
	queue_self(SIGRTMIN, 2);
	report_sent("96.first-of-two", fd, 1);
	queue_self(SIGRTMIN, 3);
	report_sent("96.then-the-rest", fd, 4);
}

static void check_realtime_without_value(void)
{
	int fd = block_and_make(SIGNALS(SIGRTMIN), SFD_NONBLOCK);

	send_self(SIGRTMIN);
	queue_self(SIGRTMIN, 7);
	send_self(SIGRTMIN);
	report_sent("96.kill-and-sigqueue", fd, 4);
	raise(SIGRTMIN);
	raise(SIGRTMIN);
	report_sent("96.raised-twice", fd, 4);
}

static void check_standard_is_not_queued(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1, SIGUSR2), SFD_NONBLOCK);
	struct records records;

	queue_self(SIGUSR1, 1);
	queue_self(SIGUSR1, 2);
	send_self(SIGUSR1);
	report_sent("97.first-value-stays", fd, 4);
	queue_self(SIGUSR1, 3);
	report_sent("97.next-value", fd, 4);
	send_self(SIGUSR1);
	queue_self(SIGUSR1, 4);
	report_sent("97.first-is-kill", fd, 4);
	raise(SIGUSR1);
	raise(SIGUSR1);
	report_sent("97.raised-twice", fd, 4);
	send_from_child(SIGUSR2);
	send_self(SIGUSR2);
	records = read_records(fd, 4);
	report("97.first-sender", "%zu from %s", count_records(&records), pid_word((pid_t)records.infos[0].ssi_pid));
	send_self(SIGUSR2);
	send_from_child(SIGUSR2);
	records = read_records(fd, 4);
	report("97.first-sender-self", "%zu from %s", count_records(&records), pid_word((pid_t)records.infos[0].ssi_pid));
}

int main(void)
{
	start_output();
	GROUP(check_thread_before_process());
	GROUP(check_both_queues());
	GROUP(check_lowest_first());
	GROUP(check_fault_signals_first());
	GROUP(check_realtime_is_queued());
	GROUP(check_realtime_without_value());
	GROUP(check_standard_is_not_queued());
	return 0;
}
