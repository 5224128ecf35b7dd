/* What /proc tells about a signalfd (Linux only): 77, 78. */
#include "sigfd.h"

static void report_link(const char *key, int fd)
{
	char path[64], target[256];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, target, sizeof(target));
	if (length < 0)
		report_call(key, -1);
	else
		report(key, "%.*s", (int)length, target);
}

static void report_reopen(const char *key, int fd, int mode)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, mode);
	report_call(key, again < 0 ? -1 : 0);
	if (again >= 0)
		close(again);
}

static FILE *open_fdinfo(int fd)
{
	char path[64];
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	if (info == NULL)
		die(path);
	return info;
}

/* What follows the name "sigmask". */
static void report_mask(const char *key, int fd)
{
	FILE *info = open_fdinfo(fd);
	char line[256];
	bool found = false;

	while (!found && fgets(line, sizeof(line), info) != NULL)
		found = strncmp(line, "sigmask:", 8) == 0;
	fclose(info);
	if (found)
		report(key, "[%.*s]", (int)strcspn(line, "\n") - 8, line + 8);
	else
		report(key, "absent");
}

static void report_field_names(const char *key, int fd)
{
	FILE *info = open_fdinfo(fd);
	char line[256];

	printf("%s:", key);
	while (fgets(line, sizeof(line), info) != NULL)
		printf(" %.*s", (int)strcspn(line, ":\n"), line);
	putchar('\n');
	fclose(info);
}

static void check_link(void)
{
	int fd = make_signalfd(SIGNALS(SIGUSR1), SFD_NONBLOCK);

	report_link("77.plain", make_signalfd(no_signals(), 0));
	report_link("77.flagged", fd);
	report_reopen("77.reopen-read-write", fd, O_RDWR | O_NONBLOCK);
	report_reopen("77.reopen-read-only", fd, O_RDONLY | O_NONBLOCK);
}

static void check_mask(void)
{
	int fd = make_signalfd(no_signals(), SFD_NONBLOCK), copy = must(dup(fd), "dup");
	sigset_t all;

	report_field_names("78.fields", fd);
	report_mask("78.empty", fd);
	change_signalfd(fd, SIGNALS(SIGHUP));
	report_mask("78.lowest", fd);
	change_signalfd(fd, SIGNALS(SIGUSR1, SIGUSR2, SIGCHLD, SIGTERM));
	report_mask("78.standard", fd);
	report_mask("78.copy", copy);
	change_signalfd(fd, SIGNALS(SIGRTMIN, SIGRTMAX));
	report_mask("78.realtime", fd);
	change_signalfd(fd, SIGNALS(SIGKILL, SIGSTOP));
	report_mask("68.kill-and-stop", fd);
	sigfillset(&all);
	change_signalfd(fd, all);
	report_mask("68.all", fd);
}

int main(void)
{
	start_output();
	GROUP(check_link());
	GROUP(check_mask());
	return 0;
}
