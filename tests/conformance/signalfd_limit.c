/* The limit of queued signals, which is the user's on Linux: 128, 129. */
#include "sigfd.h"

#ifdef __linux__

#include <sys/resource.h>

/* Others of the same user may have signals queued: with no room at all, they make no difference. */
static void allow_no_signals(void)
{
	struct rlimit limit;

	must(getrlimit(RLIMIT_SIGPENDING, &limit), "getrlimit");
	limit.rlim_cur = 0;
	must(setrlimit(RLIMIT_SIGPENDING, &limit), "setrlimit");
}

static void check_standard_signals(void)
{
	int fd = start_receiver(SIGNALS(SIGUSR1, SIGUSR2, SIGCHLD));

	allow_no_signals();
	send_self(SIGUSR1);
	report_record("128.kill", fd);
	send_from_child(SIGUSR1);
	report_record("128.kill-from-child", fd);
	report_record("128.child-exit", fd);
	raise(SIGUSR1);
	report_record("128.raise", fd);
	report_call("128.sigqueue", sigqueue(getpid(), SIGUSR2, int_value(5)));
	report_poll("128.sigqueue-poll", fd);
	report_record("128.sigqueue-record", fd);
}

static void check_realtime_signals(void)
{
	int fd = start_receiver(SIGNALS(SIGRTMIN));

	allow_no_signals();
	report_call("129.sigqueue", sigqueue(getpid(), SIGRTMIN, int_value(5)));
	report_signal("129.sigqueue-read", fd);
	report_call("129.kill", kill(getpid(), SIGRTMIN));
	report_poll("129.kill-poll", fd);
	report_record("129.kill-record", fd);
	report_signal("129.kill-no-more", fd);
	report("129.raise", "%s", errno_name(pthread_kill(pthread_self(), SIGRTMIN)));
	report_record("129.raise-record", fd);
}

static void check_after_the_limit(void)
{
	int fd = start_receiver(SIGNALS(SIGRTMIN));
	struct rlimit limit;

	must(getrlimit(RLIMIT_SIGPENDING, &limit), "getrlimit");
	queue_self(SIGRTMIN, 1);
	allow_no_signals();
	report_call("129.refused", sigqueue(getpid(), SIGRTMIN, int_value(2)));
	must(setrlimit(RLIMIT_SIGPENDING, &limit), "setrlimit");
	queue_self(SIGRTMIN, 3);
	report_sent("129.before-and-after", fd, 4);
}

int main(void)
{
	start_output();
	GROUP(check_standard_signals());
	GROUP(check_realtime_signals());
	GROUP(check_after_the_limit());
	return 0;
}

#else

int main(void)
{
	return 0;
}

#endif
