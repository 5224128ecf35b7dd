/* Reading a counter: 18-23, 25, 26, 29, 30. The blocking half is in eventfd_block.c. */
#include "conformance.h"

#include <sys/uio.h>

static void report_sized_read(const char *key, int fd, size_t size)
{
	unsigned char buffer[64];

	report_io(key, io_result(read(fd, buffer, size)));
}

static void check_short_buffer(void)
{
	int full = make_counter(5, EFD_NONBLOCK);
	int empty = make_counter(0, EFD_NONBLOCK);
	int blocking = make_counter(0, 0);

	report_sized_read("18.size-0", full, 0);
	report_sized_read("18.size-1", full, 1);
	report_sized_read("18.size-4", full, 4);
	report_sized_read("18.size-7", full, 7);
	report_read("18.value-afterwards", full);
	report_sized_read("18.size-0-empty", empty, 0);
	report_sized_read("18.size-7-empty", empty, 7);
	report_sized_read("18.size-0-empty-blocking", blocking, 0);
	report_sized_read("18.size-7-empty-blocking", blocking, 7);
	close(full);
	close(empty);
	close(blocking);
}

static void report_long_read(const char *key, size_t size)
{
	int fd = make_counter(5, EFD_NONBLOCK);
	unsigned char buffer[4096];
	size_t touched = 0;
	uint64_t value;
	ssize_t ret;

	memset(buffer, 0xa5, sizeof(buffer));
	ret = read(fd, buffer, size);
	memcpy(&value, buffer, sizeof(value));
	for (size_t i = sizeof(value); i < sizeof(buffer); i++)
		touched += buffer[i] != 0xa5;
	report(key, "ret=%zd value=%llu touched-behind=%zu", ret,
	       (unsigned long long)value, touched);
	close(fd);
}

static void check_long_buffer(void)
{
	report_long_read("19.size-9", 9);
	report_long_read("19.size-16", 16);
	report_long_read("19.size-4096", 4096);
}

static void check_long_buffer_unmapped_tail(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *buffer = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = make_counter(5, EFD_NONBLOCK);

	if (buffer == MAP_FAILED || mprotect(buffer + page, page, PROT_NONE) < 0)
		die("mmap");
	report_io("19.protected-tail", io_result(read(fd, buffer + page - 8, 16)));
	munmap(buffer, 2 * page);
	close(fd);
}

static void check_unaligned_buffer(void)
{
	int fd = make_counter(0x01020304, EFD_NONBLOCK);
	unsigned char buffer[17];
	uint64_t value;
	ssize_t ret = read(fd, buffer + 3, 8);

	memcpy(&value, buffer + 3, sizeof(value));
	report("19.unaligned", "ret=%zd value=%#llx", ret, (unsigned long long)value);
	close(fd);
}

static void check_whole_count(void)
{
	int fd = make_counter(5, EFD_NONBLOCK);

	report_read("20.first", fd);
	report_read("20.second", fd);
	report_write("20.add-3", fd, 3);
	report_write("20.add-4", fd, 4);
	report_read("20.sum", fd);
	report_read("20.reset", fd);
	report_write("20.add-maximum", fd, COUNT_MAX);
	report_read("20.maximum", fd);
	report_read("20.reset-from-maximum", fd);
	close(fd);
}

static void check_semaphore_mode(void)
{
	int fd = make_counter(2, EFD_SEMAPHORE | EFD_NONBLOCK);

	report_read("21.first", fd);
	report_write("21.add-1", fd, 1);
	report_read("21.second", fd);
	report_read("21.third", fd);
	report_read("21.empty", fd);
	report_write("21.add-maximum", fd, COUNT_MAX);
	report_read("21.from-maximum", fd);
	report_write("21.room-for-one", fd, 1);
	report_write("21.no-room-for-another", fd, 1);
	close(fd);
}

static void check_semaphore_long_buffer(void)
{
	int fd = make_counter(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	uint64_t values[4] = { 0 };
	ssize_t ret = read(fd, values, sizeof(values));

	report("21.long-buffer", "ret=%zd value=%llu next=%llu", ret,
	       (unsigned long long)values[0], (unsigned long long)values[1]);
	report_read("21.after-long-buffer", fd);
	close(fd);
}

static void check_byte_order(void)
{
	static const uint64_t value = UINT64_C(0x0102030405060708);
	int fd = make_counter(0, EFD_NONBLOCK);
	unsigned char bytes[8];
	ssize_t ret;

	report_write("22.write", fd, value);
	ret = read(fd, bytes, sizeof(bytes));
	report("22.host-order", "ret=%zd same-bytes=%s", ret,
	       yes_no(memcmp(bytes, &value, sizeof(bytes)) == 0));
	close(fd);
}

static void check_empty_nonblocking(void)
{
	int plain = make_counter(0, EFD_NONBLOCK);
	int semaphore = make_counter(0, EFD_NONBLOCK | EFD_SEMAPHORE);

	report_read("23.plain", plain);
	report_read("23.semaphore", semaphore);
	report_sized_read("23.long-buffer", plain, 64);
	close(plain);
	close(semaphore);
}

static void check_readv_split(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	const uint64_t value = UINT64_C(0x1122334455667788);
	unsigned char bytes[8];
	struct iovec parts[] = { { bytes, 4 }, { bytes + 4, 4 } };
	ssize_t ret;

	report_write("25.write", fd, value);
	ret = readv(fd, parts, 2);
	report("25.four-and-four", "ret=%zd same-bytes=%s", ret,
	       yes_no(memcmp(bytes, &value, sizeof(bytes)) == 0));
	report_io("25.four-and-four-empty", io_result(readv(fd, parts, 2)));
	close(fd);
}

static void check_readv_sizes(void)
{
	int fd = make_counter(5, EFD_NONBLOCK);
	unsigned char bytes[32];
	struct iovec short_sum[] = { { bytes, 4 }, { bytes + 4, 3 } };
	struct iovec uneven[] = { { bytes, 1 }, { bytes + 1, 0 }, { bytes + 1, 9 } };
	struct iovec doubled[] = { { bytes, 8 }, { bytes + 8, 8 } };
	uint64_t value;

	report_io("25.four-and-three", io_result(readv(fd, short_sum, 2)));
	report_io("25.one-and-nine", io_result(readv(fd, uneven, 3)));
	memcpy(&value, bytes, sizeof(value));
	report("25.one-and-nine-value", "%llu", (unsigned long long)value);
	report_write("25.write-again", fd, 6);
	report_io("25.eight-and-eight", io_result(readv(fd, doubled, 2)));
	report_read("25.afterwards", fd);
	close(fd);
}

static void report_faulting_read(const char *key, const char *key_after, int flags)
{
	int fd = make_counter(5, EFD_NONBLOCK | flags);
	void *page = map_page(PROT_NONE, MAP_PRIVATE);

	report_io(key, io_result(read(fd, page, 8)));
	report_read(key_after, fd);
	unmap_page(page);
	close(fd);
}

static void check_bad_buffer_empty(void)
{
	int empty = make_counter(0, EFD_NONBLOCK);
	void *page = map_page(PROT_NONE, MAP_PRIVATE);

	report_io("26.fault-empty", io_result(read(empty, page, 8)));
	unmap_page(page);
	close(empty);
}

static void check_null(void)
{
	int fd = make_counter(5, EFD_NONBLOCK);
	void *volatile nowhere = NULL;

	report_write("26.null-write", fd, 1);
	report_io("26.null", io_result(read(fd, nowhere, 8)));
	close(fd);
}

static void report_eventfd_read(const char *key, int fd)
{
	eventfd_t value = 77;
	int ret;

	errno = 0;
	ret = eventfd_read(fd, &value);
	report(key, "ret=%d errno=%s value=%llu", ret, errno_name(errno),
	       (unsigned long long)value);
}

static void check_eventfd_read(void)
{
	int plain = make_counter(5, EFD_NONBLOCK);
	int semaphore = make_counter(2, EFD_NONBLOCK | EFD_SEMAPHORE);

	report_eventfd_read("29.plain", plain);
	report_eventfd_read("29.plain-empty", plain);
	report_eventfd_read("29.semaphore-first", semaphore);
	report_eventfd_read("29.semaphore-second", semaphore);
	report_eventfd_read("29.semaphore-empty", semaphore);
	close(plain);
	close(semaphore);
}

/* The value is indeterminate after a short read, so only the rest is told. */
static void report_short_eventfd_read(const char *key, int fd)
{
	eventfd_t value;
	int ret;

	errno = 0;
	ret = eventfd_read(fd, &value);
	report(key, "ret=%d errno=%s", ret, errno_name(errno));
}

static void check_eventfd_read_on_pipe(void)
{
	const uint64_t value = 99;
	int ends[2];

	must(pipe(ends), "pipe");
	if (write(ends[1], &value, 8) != 8)
		die("write");
	report_eventfd_read("30.pipe-eight-bytes", ends[0]);
	if (write(ends[1], "\0\0\0", 3) != 3)
		die("write");
	report_short_eventfd_read("30.pipe-three-bytes", ends[0]);
	report_eventfd_read("30.pipe-write-end", ends[1]);
	close(ends[1]);
	report_eventfd_read("30.pipe-at-end", ends[0]);
	close(ends[0]);
}

static void check_eventfd_read_on_bad_descriptor(void)
{
	int fd = make_counter(5, EFD_NONBLOCK);

	close(fd);
	report_eventfd_read("30.closed", fd);
	report_eventfd_read("30.minus-one", -1);
	report_read("30.read-closed", fd);
}

int main(void)
{
	start_output();
	GROUP(check_short_buffer());
	GROUP(check_long_buffer());
	GROUP(check_long_buffer_unmapped_tail());
	GROUP(check_unaligned_buffer());
	GROUP(check_whole_count());
	GROUP(check_semaphore_mode());
	GROUP(check_semaphore_long_buffer());
	GROUP(check_byte_order());
	GROUP(check_empty_nonblocking());
	GROUP(check_readv_split());
	GROUP(check_readv_sizes());
	/* Each in a group of its own, since a library that puts the value there itself may die of it. */
	GROUP(report_faulting_read("26.fault", "26.count-after-fault", 0));
	GROUP(report_faulting_read("26.fault-semaphore", "26.count-after-fault-semaphore", EFD_SEMAPHORE));
	GROUP(check_bad_buffer_empty());
	GROUP(check_null());
	GROUP(check_eventfd_read());
	GROUP(check_eventfd_read_on_pipe());
	GROUP(check_eventfd_read_on_bad_descriptor());
	return 0;
}
