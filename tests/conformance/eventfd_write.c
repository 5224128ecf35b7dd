/* Writing a counter: 31-36, 39, 40. The blocking half is in eventfd_block.c. */
#include "conformance.h"

#include <sys/uio.h>

static void report_sized_write(const char *key, int fd, size_t size)
{
	uint64_t values[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };

	report_io(key, io_result(write(fd, values, size)));
}

static void check_length(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_sized_write("31.size-0", fd, 0);
	report_sized_write("31.size-1", fd, 1);
	report_sized_write("31.size-4", fd, 4);
	report_sized_write("31.size-7", fd, 7);
	report_sized_write("31.size-9", fd, 9);
	report_sized_write("31.size-16", fd, 16);
	report_sized_write("31.size-64", fd, 64);
	report_read("31.nothing-added", fd);
	report_sized_write("31.size-8", fd, 8);
	report_read("31.one-added", fd);
	close(fd);
}

/* The length is judged before it matters whether the write would block. */
static void check_length_at_maximum(void)
{
	int fd = make_full_counter(0);

	report_sized_write("31.size-7-at-maximum", fd, 7);
	report_sized_write("31.size-9-at-maximum", fd, 9);
	close(fd);
}

static void check_writev_whole_segments(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	uint64_t values[3] = { 3, 4, 5 };
	struct iovec parts[] = { { &values[0], 8 }, { &values[1], 8 }, { &values[2], 8 } };

	report_io("32.one-segment", io_result(writev(fd, parts, 1)));
	report_read("32.one-segment-value", fd);
	report_io("32.two-segments", io_result(writev(fd, parts, 2)));
	report_read("32.two-segments-value", fd);
	report_io("32.three-segments", io_result(writev(fd, parts, 3)));
	report_read("32.three-segments-value", fd);
	close(fd);
}

static void check_writev_split(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	uint64_t values[2] = { 3, 4 };
	struct iovec halves[] = { { values, 4 }, { (char *)values + 4, 4 } };
	struct iovec then_short[] = { { &values[0], 8 }, { &values[1], 4 } };

	report_io("32.four-and-four", io_result(writev(fd, halves, 2)));
	report_read("32.four-and-four-value", fd);
	report_io("32.eight-and-four", io_result(writev(fd, then_short, 2)));
	report_read("32.eight-and-four-value", fd);
	close(fd);
}

static void check_writev_partly_full(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	uint64_t values[2] = { COUNT_MAX, 1 };
	struct iovec parts[] = { { &values[0], 8 }, { &values[1], 8 } };

	report_io("32.second-does-not-fit", io_result(writev(fd, parts, 2)));
	report_read("32.second-does-not-fit-value", fd);
	close(fd);
}

static void check_all_ones(void)
{
	int empty = make_counter(0, EFD_NONBLOCK);
	int full = make_full_counter(0);

	report_write("33.empty", empty, UINT64_MAX);
	report_read("33.nothing-added", empty);
	report_write("33.at-maximum-blocking", full, UINT64_MAX);
	close(empty);
	close(full);
}

static void check_zero(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int full = make_full_counter(0);

	report_write("34.empty", fd, 0);
	report_read("34.still-empty", fd);
	report_write("34.add-5", fd, 5);
	report_write("34.non-empty", fd, 0);
	report_read("34.still-five", fd);
	report_write("34.at-maximum-blocking", full, 0);
	report_read("34.still-maximum", full);
	close(fd);
	close(full);
}

static void check_maximum(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_write("35.maximum-at-once", fd, COUNT_MAX);
	report_read("35.maximum-read", fd);
	report_write("35.one-below", fd, COUNT_MAX - 1);
	report_write("35.to-maximum", fd, 1);
	report_read("35.reached", fd);
	report_write("35.half", fd, UINT64_C(1) << 63);
	report_write("35.rest", fd, (UINT64_C(1) << 63) - 2);
	report_read("35.halves", fd);
	close(fd);
}

static void check_no_room(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_write("36.fill", fd, COUNT_MAX);
	report_write("36.one-more", fd, 1);
	report_write("36.maximum-more", fd, COUNT_MAX);
	report_read("36.unchanged", fd);
	report_write("36.three", fd, 3);
	report_write("36.maximum-on-three", fd, COUNT_MAX);
	report_write("36.fits-not-by-one", fd, COUNT_MAX - 2);
	report_write("36.fits-exactly", fd, COUNT_MAX - 3);
	report_read("36.filled", fd);
	close(fd);
}

static void check_bad_buffer(void)
{
	int fd = make_counter(5, EFD_NONBLOCK);
	void *page = map_page(PROT_NONE, MAP_PRIVATE);

	report_io("39.fault", io_result(write(fd, page, 8)));
	report_read("39.count-after-fault", fd);
	unmap_page(page);
	close(fd);
}

static void check_bad_buffer_at_maximum(void)
{
	int full = make_full_counter(0);
	void *page = map_page(PROT_NONE, MAP_PRIVATE);

	report_io("39.fault-at-maximum-blocking", io_result(write(full, page, 8)));
	unmap_page(page);
	close(full);
}

static void check_null(void)
{
	int fd = make_counter(5, EFD_NONBLOCK);
	const void *volatile nowhere = NULL;

	report_read("39.null-read", fd);
	report_io("39.null", io_result(write(fd, nowhere, 8)));
	report_read("39.count-after-null", fd);
	close(fd);
}

static void report_eventfd_write(const char *key, int fd, eventfd_t value)
{
	int ret;

	errno = 0;
	ret = eventfd_write(fd, value);
	report(key, "ret=%d errno=%s", ret, errno_name(errno));
}

static void check_eventfd_write(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_eventfd_write("40.three", fd, 3);
	report_eventfd_write("40.zero", fd, 0);
	report_eventfd_write("40.all-ones", fd, UINT64_MAX);
	report_read("40.value", fd);
	report_eventfd_write("40.maximum", fd, COUNT_MAX);
	report_eventfd_write("40.no-room", fd, 1);
	report_read("40.value-maximum", fd);
	close(fd);
	report_eventfd_write("40.closed", fd, 1);
	report_eventfd_write("40.minus-one", -1, 1);
}

static void check_eventfd_write_on_pipe(void)
{
	uint64_t value = 0;
	int ends[2];
	ssize_t ret;

	must(pipe(ends), "pipe");
	report_eventfd_write("40.pipe", ends[1], 99);
	ret = read(ends[0], &value, sizeof(value));
	report("40.pipe-content", "ret=%zd value=%llu", ret, (unsigned long long)value);
	report_eventfd_write("40.pipe-read-end", ends[0], 1);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	start_output();
	GROUP(check_length());
	GROUP(check_length_at_maximum());
	GROUP(check_writev_whole_segments());
	GROUP(check_writev_split());
	GROUP(check_writev_partly_full());
	GROUP(check_all_ones());
	GROUP(check_zero());
	GROUP(check_maximum());
	GROUP(check_no_room());
	/* Each in a group of its own, since a library that looks at the value itself may die of it. */
	GROUP(check_bad_buffer());
	GROUP(check_bad_buffer_at_maximum());
	GROUP(check_null());
	GROUP(check_eventfd_write());
	GROUP(check_eventfd_write_on_pipe());
	return 0;
}
