/*
 * The event loop of systemd with three sources of signals. It has one signalfd
 * for all of them, whose mask it replaces with each source that comes or goes.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "live.h"

#define VALUES 500
#define STATUS 7

static int values, in_order = 1, told, ended;
static pid_t child;
static sd_event_source *told_source;

static void must(int result, const char *step)
{
	if (result < 0) {
		fprintf(stderr, "%s: %d\n", step, result);
		exit(1);
	}
}

static int go_on(sd_event_source *source)
{
	if (values == VALUES && told && ended)
		return sd_event_exit(sd_event_source_get_event(source), 0);
	return 0;
}

static int on_value(sd_event_source *source, const struct signalfd_siginfo *info, void *unused)
{
	(void)unused;
	values++;
	in_order &= info->ssi_int == values && info->ssi_code == SI_QUEUE && (pid_t)info->ssi_pid == child;
	if (values == VALUES / 2)
		print_live();
	return go_on(source);
}

static int on_told(sd_event_source *source, const struct signalfd_siginfo *info, void *unused)
{
	(void)unused;
	told = info->ssi_code == SI_USER && (pid_t)info->ssi_pid == child;
	must(sd_event_source_set_enabled(told_source, SD_EVENT_OFF), "sd_event_source_set_enabled");
	return go_on(source);
}

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *unused)
{
	(void)unused;
	printf("child code %d status %d\n", info->ssi_code, info->ssi_status);
	ended = (pid_t)info->ssi_pid == child && waitpid(child, NULL, 0) == child;
	return go_on(source);
}

static void send_all(pid_t parent)
{
	for (int i = 1; i <= VALUES; i++)
		must(sigqueue(parent, SIGRTMIN, (union sigval){ .sival_int = i }), "sigqueue");
	must(kill(parent, SIGUSR1), "kill");
	_exit(STATUS);
}

int main(void)
{
	sd_event *event;
	sigset_t set;

	alarm(20);
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	must(sigprocmask(SIG_BLOCK, &set, NULL), "sigprocmask");
	must(sd_event_default(&event), "sd_event_default");
	must(sd_event_add_signal(event, NULL, SIGRTMIN, on_value, NULL), "sd_event_add_signal");
	must(sd_event_add_signal(event, &told_source, SIGUSR1, on_told, NULL), "sd_event_add_signal");
	must(sd_event_add_signal(event, NULL, SIGCHLD, on_end, NULL), "sd_event_add_signal");
	child = fork();
	must(child, "fork");
	if (child == 0)
		send_all(getppid());
	must(sd_event_loop(event), "sd_event_loop");
	sd_event_source_unref(told_source);
	sd_event_unref(event);
	printf("values %d in order %d told %d\n", values, in_order, told);
	return 0;
}
