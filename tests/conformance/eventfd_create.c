/* Creation of a counter and properties of its descriptor: 1-5, 7, 13-17, 61. */
#include "conformance.h"

#include <limits.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* A bit that no system uses. */
#define UNKNOWN_FLAG (1 << 6)

static void check_initial_values(void)
{
	static const struct {
		const char *key;
		unsigned int initial;
	} cases[] = {
		{ "1.initial-zero", 0 },
		{ "1.initial-one", 1 },
		{ "1.initial-seven", 7 },
		{ "1.initial-int-max", INT_MAX },
		{ "1.initial-int-max-plus-one", (unsigned int)INT_MAX + 1 },
		{ "1.initial-uint-max", UINT_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = make_counter(cases[i].initial, EFD_NONBLOCK);

		report_read(cases[i].key, fd);
		close(fd);
	}
}

static void check_lowest_descriptor(void)
{
	int expected = must(dup(STDOUT_FILENO), "dup");
	int fd;

	close(expected);
	fd = make_counter(0, 0);
	report("1.lowest-descriptor", "%s", yes_no(fd == expected));
	close(fd);
}

static void check_constants(void)
{
	report("2.constant-semaphore", "%d", EFD_SEMAPHORE);
	report("2.constant-nonblock", "same-as-O_NONBLOCK=%s", yes_no(EFD_NONBLOCK == O_NONBLOCK));
	report("2.constant-cloexec", "same-as-O_CLOEXEC=%s", yes_no(EFD_CLOEXEC == O_CLOEXEC));
	report("2.type-of-value", "size=%zu unsigned=%s", sizeof(eventfd_t),
	       yes_no((eventfd_t)-1 > 0));
}

static void check_every_flag_bit(void)
{
	const unsigned int valid = EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC;
	int accepted = 0, refused = 0;

	for (int bit = 0; bit < 32; bit++) {
		unsigned int flags = 1u << bit;
		int fd = eventfd(0, (int)flags);

		if (fd >= 0) {
			accepted++;
			close(fd);
		} else if (errno == EINVAL && !(flags & valid)) {
			refused++;
		}
	}
	report("2.single-bits", "accepted=%d refused=%d", accepted, refused);
}

static void check_flag_combinations(void)
{
	const int valid[] = { EFD_SEMAPHORE, EFD_NONBLOCK, EFD_CLOEXEC };
	int accepted = 0;

	for (unsigned int set = 0; set < 8; set++) {
		int flags = 0, fd;

		for (unsigned int i = 0; i < 3; i++)
			if (set & (1u << i))
				flags |= valid[i];
		fd = eventfd(3, flags);
		if (fd >= 0) {
			accepted++;
			close(fd);
		}
	}
	report("2.valid-combinations", "accepted=%d", accepted);
	report_call("2.invalid-with-valid", eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | UNKNOWN_FLAG));
	report_call("2.all-bits", eventfd(0, -1));
}

static void check_refusal_uses_no_descriptor(void)
{
	int before = make_counter(0, 0), after;

	close(before);
	for (int i = 0; i < 100; i++)
		if (eventfd(0, UNKNOWN_FLAG) != -1)
			die("an invalid flag was accepted");
	after = make_counter(0, 0);
	report("2.refusal-leaves-no-descriptor", "%s", yes_no(before == after));
	close(after);
}

static void check_descriptor_limit(void)
{
	int next = must(dup(STDOUT_FILENO), "dup");
	struct rlimit saved, limit;

	close(next);
	if (getrlimit(RLIMIT_NOFILE, &saved) < 0)
		die("getrlimit");
	limit = saved;
	limit.rlim_cur = (rlim_t)next;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
		report_call("3.descriptor-limit-unavailable", -1);
		return;
	}
	report_call("3.descriptor-limit", eventfd(0, 0));
	report_call("3.descriptor-limit-bad-flags", eventfd(0, UNKNOWN_FLAG));
	setrlimit(RLIMIT_NOFILE, &saved);
	next = eventfd(5, EFD_NONBLOCK);
	report_read("3.after-limit-is-raised", next);
	close(next);
}

static void report_status_flags(const char *key, int fd)
{
	int flags = must(fcntl(fd, F_GETFL), "F_GETFL");
	const char *mode = (flags & O_ACCMODE) == O_RDWR ? "rdwr" : "other";

	report(key, "access=%s nonblock=%s append=%s", mode,
	       yes_no(flags & O_NONBLOCK), yes_no(flags & O_APPEND));
}

static void check_status_flags(void)
{
	int plain = make_counter(0, 0);
	int nonblock = make_counter(0, EFD_NONBLOCK);
	int others = make_counter(0, EFD_SEMAPHORE | EFD_CLOEXEC);

	report_status_flags("4.status-plain", plain);
	report_status_flags("4.status-nonblock", nonblock);
	report_status_flags("4.status-semaphore-cloexec", others);
	close(plain);
	close(nonblock);
	close(others);
}

static void report_cloexec(const char *key, int fd)
{
	report(key, "cloexec=%s", yes_no(must(fcntl(fd, F_GETFD), "F_GETFD") & FD_CLOEXEC));
}

static void check_descriptor_flags(void)
{
	int plain = make_counter(0, 0);
	int cloexec = make_counter(0, EFD_CLOEXEC);
	int others = make_counter(0, EFD_SEMAPHORE | EFD_NONBLOCK);

	report_cloexec("5.flag-plain", plain);
	report_cloexec("5.flag-cloexec", cloexec);
	report_cloexec("5.flag-semaphore-nonblock", others);
	must(fcntl(plain, F_SETFD, FD_CLOEXEC), "F_SETFD");
	report_cloexec("5.flag-set-later", plain);
	must(fcntl(cloexec, F_SETFD, 0), "F_SETFD");
	report_cloexec("5.flag-cleared-later", cloexec);
	close(plain);
	close(cloexec);
	close(others);
}

static void check_nonblock_by_fcntl(void)
{
	int fd = make_counter(0, 0);

	must(fcntl(fd, F_SETFL, O_NONBLOCK), "F_SETFL");
	report_status_flags("7.fcntl-on", fd);
	report_read("7.fcntl-read", fd);
	report_write("7.fcntl-fill", fd, COUNT_MAX);
	report_write("7.fcntl-write-at-maximum", fd, 1);
	report_read("7.fcntl-read-maximum", fd);
	must(fcntl(fd, F_SETFL, 0), "F_SETFL");
	report_status_flags("7.fcntl-off", fd);
	close(fd);
}

static void check_nonblock_by_ioctl(void)
{
	int fd = make_counter(0, 0);
	int on = 1, off = 0;

	report_call("16.fionbio-on", ioctl(fd, FIONBIO, &on));
	report_status_flags("7.ioctl-on", fd);
	report_read("7.ioctl-read", fd);
	report_call("16.fionbio-off", ioctl(fd, FIONBIO, &off));
	report_status_flags("7.ioctl-off", fd);
	close(fd);
}

/* That the blocking mode really comes back shows only in an operation that blocks. */
static void check_blocking_after_toggle(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	struct task *reader;

	must(fcntl(fd, F_SETFL, 0), "F_SETFL");
	reader = start_thread(read_body, fd, 0);
	report_blocked("7.read-after-nonblock-cleared", reader);
	report_write("7.write-after-nonblock-cleared", fd, 6);
	report_task("7.value-after-nonblock-cleared", reader);
	close(fd);
}

static void check_fstat(void)
{
	int fd = make_counter(9, EFD_NONBLOCK);
	struct stat st;
	int ret = fstat(fd, &st);

	report_call("13.fstat", ret);
	if (ret == 0) {
		report("13.fstat-type", "%s", (st.st_mode & S_IFMT) == 0 ? "none" :
		       S_ISREG(st.st_mode) ? "regular" :
		       S_ISFIFO(st.st_mode) ? "fifo" :
		       S_ISCHR(st.st_mode) ? "character" : "other");
		report("13.fstat-permissions", "%04o", (unsigned int)st.st_mode & 07777);
		report("13.fstat-size", "%lld", (long long)st.st_size);
		report("13.fstat-links", "%lu", (unsigned long)st.st_nlink);
	}
	report("13.isatty", "%d", isatty(fd));
	report_read("13.value-after-fstat", fd);
	close(fd);
}

static void check_lseek(void)
{
	int fd = make_counter(9, EFD_NONBLOCK);

	report_call("14.lseek-set", lseek(fd, 0, SEEK_SET));
	report_call("14.lseek-set-far", lseek(fd, 4096, SEEK_SET));
	report_call("14.lseek-current", lseek(fd, 0, SEEK_CUR));
	report_call("14.lseek-end", lseek(fd, 0, SEEK_END));
	report_read("14.value-after-lseek", fd);
	close(fd);
}

static void check_positioned_io(void)
{
	int fd = make_counter(9, EFD_NONBLOCK);
	uint64_t value = 1;

	report_call("15.pread", pread(fd, &value, sizeof(value), 0));
	report_call("15.pread-offset", pread(fd, &value, sizeof(value), 8));
	value = 1;
	report_call("15.pwrite", pwrite(fd, &value, sizeof(value), 0));
	report_call("15.pwrite-offset", pwrite(fd, &value, sizeof(value), 8));
	report_read("15.value-afterwards", fd);
	close(fd);
}

static void check_other_ioctls(void)
{
	int fd = make_counter(9, EFD_NONBLOCK);
	int available = -1;

	report_call("16.fionread", ioctl(fd, FIONREAD, &available));
	report_read("16.value-after-fionread", fd);
	close(fd);
}

static void check_unsupported_file_calls(void)
{
	int fd = make_counter(9, EFD_NONBLOCK);
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	report_call("17.mmap-shared", shared == MAP_FAILED ? -1 : 0);
	report_call("17.mmap-private",
		    mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
	report_call("17.fsync", fsync(fd));
	report_call("17.fdatasync", fdatasync(fd));
	report_call("17.ftruncate", ftruncate(fd, 0));
	report_call("17.fchmod", fchmod(fd, 0600));
	report_read("17.value-afterwards", fd);
	close(fd);
}

static void check_repeated_creation(void)
{
	int lowest = make_counter(0, 0), fd = -1, correct = 0;

	close(lowest);
	for (unsigned int i = 1; i <= 2000; i++) {
		fd = make_counter(i, EFD_NONBLOCK);
		correct += io_read(fd).value == i && fd == lowest;
		close(fd);
	}
	report("61.create-and-close", "correct=%d", correct);
	report_call("61.second-close", close(fd));
}

int main(void)
{
	start_output();
	GROUP(check_initial_values());
	GROUP(check_lowest_descriptor());
	GROUP(check_constants());
	GROUP(check_every_flag_bit());
	GROUP(check_flag_combinations());
	GROUP(check_refusal_uses_no_descriptor());
	GROUP(check_descriptor_limit());
	GROUP(check_status_flags());
	GROUP(check_descriptor_flags());
	GROUP(check_nonblock_by_fcntl());
	GROUP(check_nonblock_by_ioctl());
	GROUP(check_blocking_after_toggle());
	GROUP(check_fstat());
	GROUP(check_lseek());
	GROUP(check_positioned_io());
	GROUP(check_other_ioctls());
	GROUP(check_unsupported_file_calls());
	GROUP(check_repeated_creation());
	return 0;
}
