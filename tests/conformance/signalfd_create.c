/* Creation of a signalfd, and properties of its descriptor: 62-65, 67-69, 71, 74-76, 79. */
#include "sigfd.h"

#include <limits.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* A bit that no system uses. */
#define UNKNOWN_FLAG (1 << 6)

static const char *program;

static void report_status_flags(const char *key, int fd)
{
	int flags = must(fcntl(fd, F_GETFL), "F_GETFL");

	report(key, "access=%s nonblock=%s append=%s cloexec=%s", (flags & O_ACCMODE) == O_RDWR ? "rdwr" : "other",
	       yes_no(flags & O_NONBLOCK), yes_no(flags & O_APPEND),
	       yes_no(must(fcntl(fd, F_GETFD), "F_GETFD") & FD_CLOEXEC));
}

/* The number of a new descriptor depends on the system. */
static void report_created(const char *key, int fd)
{
	if (fd < 0) {
		report_call(key, fd);
		return;
	}
	report(key, "created");
	close(fd);
}

/* ---- 62, 63, 64: the descriptor argument ---- */

static void check_creation(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int expected = must(dup(STDOUT_FILENO), "dup"), fd;

	close(expected);
	fd = must(signalfd(-1, &set, 0), "signalfd");
	report("62.lowest-descriptor", "%s", yes_no(fd == expected));
	report("62.another", "%s", yes_no(signalfd(-1, &set, 0) > fd));
	report_created("63.create", signalfd(-1, &set, 0));
}

static void check_bad_descriptors(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int closed = make_signalfd(set, 0);

	close(closed);
	report_created("63.minus-two", signalfd(-2, &set, 0));
	report_created("63.int-min", signalfd(INT_MIN, &set, 0));
	report_created("63.int-max", signalfd(INT_MAX, &set, 0));
	report_created("63.never-opened", signalfd(1000, &set, 0));
	report_created("63.closed", signalfd(closed, &set, 0));
	report_created("63.closed-nonblock", signalfd(closed, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

static void check_other_kinds(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int ends[2], sockets[2];

	must(pipe(ends), "pipe");
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), "socketpair");
	report_call("64.pipe-reader", signalfd(ends[0], &set, 0));
	report_call("64.pipe-writer", signalfd(ends[1], &set, 0));
	report_call("64.socket", signalfd(sockets[0], &set, 0));
	report_call("64.eventfd", signalfd(make_counter(0, 0), &set, 0));
	report_call("64.epoll", signalfd(must(epoll_create1(0), "epoll_create1"), &set, 0));
	report_call("64.file", signalfd(must(open(program, O_RDONLY), "open program"), &set, 0));
	report_call("64.null", signalfd(must(open("/dev/null", O_RDWR), "open null"), &set, 0));
	report_call("64.pipe-nonblock", signalfd(ends[0], &set, SFD_NONBLOCK));
}

/* ---- 65, 67: flags and mask, and which is looked at first ---- */

static void check_single_flag_bits(void)
{
	const unsigned int valid = SFD_NONBLOCK | SFD_CLOEXEC;
	sigset_t set = SIGNALS(SIGUSR1);
	int accepted = 0, refused = 0, valid_accepted = 0;

	for (int bit = 0; bit < 32; bit++) {
		unsigned int flags = 1u << bit;
		int fd = signalfd(-1, &set, (int)flags);

		if (fd >= 0) {
			accepted++;
			valid_accepted += (flags & valid) != 0;
			close(fd);
		} else if (errno == EINVAL && !(flags & valid)) {
			refused++;
		}
	}
	report("65.single-bits", "accepted=%d refused=%d", accepted, refused);
	report("65.single-valid-bits", "accepted=%d", valid_accepted);
}

static void check_bad_flags(void)
{
	sigset_t set = SIGNALS(SIGUSR1), other = SIGNALS(SIGUSR2);
	int fd = block_and_make(set, SFD_NONBLOCK);
	int ends[2];

	block(other);
	must(pipe(ends), "pipe");
	report_created("65.unknown", signalfd(-1, &set, UNKNOWN_FLAG));
	report_created("65.unknown-and-valid", signalfd(-1, &set, UNKNOWN_FLAG | SFD_NONBLOCK | SFD_CLOEXEC));
	report_created("65.one", signalfd(-1, &set, 1));
	report_created("65.all-bits", signalfd(-1, &set, -1));
	report_created("65.unknown-bad-fd", signalfd(-2, &set, UNKNOWN_FLAG));
	report_created("65.unknown-high-fd", signalfd(1000, &set, UNKNOWN_FLAG));
	report_created("65.unknown-pipe", signalfd(ends[0], &set, UNKNOWN_FLAG));
	report("65.unknown-update", "%s", signalfd(fd, &other, UNKNOWN_FLAG) == -1 ? errno_name(errno) : "accepted");
	send_self(SIGUSR1);
	send_self(SIGUSR2);
	report_signals("65.mask-after-refusal", fd, 4);
}

/* Each in a group of its own, since a library that looks at the pointer itself may die of it. */
static void check_bad_mask(const char *key, const sigset_t *volatile mask, int fd, int flags)
{
	report_created(key, signalfd(fd, mask, flags));
}

static void check_bad_mask_on_update(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	const sigset_t *volatile nowhere = NULL;

	report("67.null-update", "%s", signalfd(fd, nowhere, 0) == -1 ? errno_name(errno) : "accepted");
	send_self(SIGUSR1);
	report_signal("67.mask-after-refusal", fd);
}

static void check_bad_masks(void)
{
	const sigset_t *high = (const sigset_t *)-8;

	GROUP(check_bad_mask("67.null", NULL, -1, 0));
	GROUP(check_bad_mask("67.high", high, -1, 0));
	GROUP(check_bad_mask("67.protected", map_page(PROT_NONE, MAP_PRIVATE), -1, 0));
	GROUP(check_bad_mask("67.null-bad-fd", NULL, -2, 0));
	GROUP(check_bad_mask("67.null-high-fd", NULL, 1000, 0));
	GROUP(check_bad_mask("67.null-unknown-flag", NULL, -1, UNKNOWN_FLAG));
	GROUP(check_bad_mask("67.null-pipe", NULL, make_gate().ends[0], 0));
	GROUP(check_bad_mask_on_update());
}

/* ---- 68: SIGKILL and SIGSTOP ---- */

static void check_kill_and_stop_dropped(void)
{
	int fd = block_and_make(SIGNALS(SIGKILL, SIGSTOP, SIGUSR1), SFD_NONBLOCK);

	send_self(SIGUSR1);
	report_poll("68.poll-rest", fd);
	report_signal("68.rest", fd);
	report_created("68.only-these", make_signalfd(SIGNALS(SIGKILL, SIGSTOP), 0));
}

static struct io read_kill_body(struct task *task)
{
	int fd = task->fd >= 0 ? task->fd : block_and_make(SIGNALS(SIGKILL, SIGSTOP, SIGUSR1), 0);
	struct records records = read_records(fd, 1);

	return (struct io){ .ret = records.ret, .err = records.err, .has_value = true, .value = records.infos[0].ssi_signo };
}

static void check_kill_ends_reader(const char *name, int fd)
{
	struct task *reader = start_process(read_kill_body, fd, 0);
	char key[96];

	make_key(key, 68, name, "before");
	report_blocked(key, reader);
	send_signal(reader->pid, SIGKILL);
	make_key(key, 68, name, "end");
	report_end(key, reader->pid);
	make_key(key, 68, name, "read");
	report(key, "finished=%s", yes_no(reader->finished));
}

static void check_kill_reaches_reader(void)
{
	int fd = make_signalfd(SIGNALS(SIGUSR2), 0);

	check_kill_ends_reader("kill", -1);
	change_signalfd(fd, SIGNALS(SIGKILL, SIGSTOP, SIGUSR1));
	check_kill_ends_reader("kill-after-update", fd);
}

static void check_stop_reaches_reader(void)
{
	struct task *reader = start_process(read_kill_body, -1, 0);
	int status;

	report_blocked("68.stop-before", reader);
	send_signal(reader->pid, SIGSTOP);
	must(waitpid(reader->pid, &status, WUNTRACED), "waitpid");
	report_status("68.stopped", status);
	report("68.stopped-read", "finished=%s", yes_no(reader->finished));
	send_signal(reader->pid, SIGKILL);
	report_end("68.stopped-end", reader->pid);
}

/* ---- 69: the empty mask ---- */

static void check_empty_mask(void)
{
	int fd = make_signalfd(no_signals(), SFD_NONBLOCK);

	block(SIGNALS(SIGUSR1, SIGCHLD));
	report_signal("69.read", fd);
	send_self(SIGUSR1);
	send_from_child(SIGUSR1);
	report_signal("69.read-while-pending", fd);
	report_poll("69.poll-while-pending", fd);
	report_pending("69.pending");
	report_call("69.short-read", read(fd, &(char){ 0 }, 1));
}

static void check_empty_mask_blocks(void)
{
	int fd = make_signalfd(no_signals(), 0);
	struct task *reader;

	block(SIGNALS(SIGUSR1));
	send_self(SIGUSR1);
	reader = start_thread(signal_body, fd, 0);
	report_blocked("69.reader", reader);
	report("69.update", "same=%s", yes_no(change_signalfd(fd, SIGNALS(SIGUSR1)) == fd));
	report_signal_task("69.reader-after-update", reader);
}

/* ---- 71: flags ---- */

static void check_flags_at_creation(void)
{
	sigset_t set = SIGNALS(SIGUSR1);

	report_status_flags("75.plain", make_signalfd(set, 0));
	report_status_flags("75.nonblock", make_signalfd(set, SFD_NONBLOCK));
	report_status_flags("75.cloexec", make_signalfd(set, SFD_CLOEXEC));
	report_status_flags("75.both", make_signalfd(set, SFD_NONBLOCK | SFD_CLOEXEC));
}

static void check_flags_on_update(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int plain = make_signalfd(set, 0), flagged = make_signalfd(set, SFD_NONBLOCK | SFD_CLOEXEC);

	report("71.set-both", "same=%s", yes_no(signalfd(plain, &set, SFD_NONBLOCK | SFD_CLOEXEC) == plain));
	report_status_flags("71.set-both-flags", plain);
	report("71.set-nonblock", "same=%s", yes_no(signalfd(plain, &set, SFD_NONBLOCK) == plain));
	report_status_flags("71.set-nonblock-flags", plain);
	report("71.clear", "same=%s", yes_no(signalfd(flagged, &set, 0) == flagged));
	report_status_flags("71.clear-flags", flagged);
	report_signal("71.still-nonblocking", flagged);
}

/* ---- 74: nothing is blocked ---- */

static void check_blocks_nothing(void)
{
	sigset_t mask, before = SIGNALS(SIGTERM);
	int fd;

	handle(SIGUSR1, count_signal, 0);
	change_mask(SIG_SETMASK, before);
	fd = make_signalfd(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	report_set("74.mask-after-creation", &mask);
	change_signalfd(fd, SIGNALS(SIGUSR1, SIGUSR2));
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	report_set("74.mask-after-update", &mask);
	raise(SIGUSR1);
	report_seen("74.handler");
	report_signal("74.read", fd);
	block(SIGNALS(SIGUSR1, SIGUSR2));
	close(fd);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	report_set("74.mask-after-close", &mask);
}

static void check_default_action_still_runs(void)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		make_signalfd(SIGNALS(SIGUSR1), 0);
		raise(SIGUSR1);
		_exit(0);
	}
	report_end("74.default-action", pid);
}

/* ---- 75, 76: calls that are not for it ---- */

static void check_write(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	char bytes[2 * RECORD_SIZE] = { 0 };
	struct iovec parts[2] = { { bytes, RECORD_SIZE }, { bytes, RECORD_SIZE } };

	report_call("75.write-0", write(fd, bytes, 0));
	report_call("75.write-8", write(fd, bytes, 8));
	report_call("75.write-record", write(fd, bytes, RECORD_SIZE));
	report_call("75.writev", writev(fd, parts, 2));
	send_self(SIGUSR1);
	report_call("75.write-while-pending", write(fd, bytes, RECORD_SIZE));
	report_signal("75.read-afterwards", fd);
}

static void check_positions(void)
{
	int fd = block_and_make(SIGNALS(SIGUSR1), SFD_NONBLOCK);
	char bytes[RECORD_SIZE];

	send_self(SIGUSR1);
	report_call("76.lseek-set", lseek(fd, 0, SEEK_SET));
	report_call("76.lseek-set-far", lseek(fd, 4096, SEEK_SET));
	report_call("76.lseek-current", lseek(fd, 0, SEEK_CUR));
	report_call("76.lseek-end", lseek(fd, 0, SEEK_END));
	report_call("76.pread", pread(fd, bytes, sizeof(bytes), 0));
	report_call("76.pread-offset", pread(fd, bytes, sizeof(bytes), RECORD_SIZE));
	report_call("76.pwrite", pwrite(fd, bytes, sizeof(bytes), 0));
	report_signal("76.read-afterwards", fd);
}

/* ---- 79: limits ---- */

static void check_descriptor_limit(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int fd = block_and_make(set, SFD_NONBLOCK), next = must(dup(STDOUT_FILENO), "dup");
	struct rlimit saved, limit;

	close(next);
	must(getrlimit(RLIMIT_NOFILE, &saved), "getrlimit");
	limit = saved;
	limit.rlim_cur = (rlim_t)next;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
		report_call("79.descriptor-limit-unavailable", -1);
		return;
	}
	report_created("79.descriptor-limit", signalfd(-1, &set, 0));
	report_created("79.descriptor-limit-bad-flags", signalfd(-1, &set, UNKNOWN_FLAG));
	report("79.update-at-limit", "same=%s", yes_no(signalfd(fd, &set, 0) == fd));
	setrlimit(RLIMIT_NOFILE, &saved);
	report_created("79.after-limit-is-raised", signalfd(-1, &set, 0));
}

static void check_repeated_creation(void)
{
	sigset_t set = SIGNALS(SIGUSR1);
	int first = make_signalfd(set, 0), same = 0;

	close(first);
	for (int i = 0; i < 1000; i++) {
		int fd = signalfd(-1, &set, SFD_NONBLOCK);

		same += fd == first;
		close(fd);
	}
	report("79.created-thousand-times", "same-descriptor=%d", same);
}

int main(int argc, char **argv)
{
	(void)argc;
	program = argv[0];
	start_output();
	GROUP(check_creation());
	GROUP(check_bad_descriptors());
	GROUP(check_other_kinds());
	GROUP(check_single_flag_bits());
	GROUP(check_bad_flags());
	check_bad_masks();
	GROUP(check_kill_and_stop_dropped());
	GROUP(check_kill_reaches_reader());
	GROUP(check_stop_reaches_reader());
	GROUP(check_empty_mask());
	GROUP(check_empty_mask_blocks());
	GROUP(check_flags_at_creation());
	GROUP(check_flags_on_update());
	GROUP(check_blocks_nothing());
	GROUP(check_default_action_still_runs());
	GROUP(check_write());
	GROUP(check_positions());
	GROUP(check_descriptor_limit());
	GROUP(check_repeated_creation());
	return 0;
}
