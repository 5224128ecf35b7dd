/*
 * The kernel itself as writer (Linux only): 28, 44, 45. Asynchronous I/O that
 * notifies an eventfd is the way to the count 2^64-1, which write() cannot reach.
 */
#include "events.h"

#include <linux/aio_abi.h>

#define EVENT_MS 5000

struct aio {
	aio_context_t context;
	int file;
	bool available;
};

static void open_aio(struct aio *aio)
{
	FILE *file = tmpfile();

	if (file == NULL)
		die("tmpfile");
	aio->file = fileno(file);
	aio->available = syscall(SYS_io_setup, 1, &aio->context) == 0;
}

/* One asynchronous write to the file, its completion posted to the counter. */
static long post(struct aio *aio, int counter)
{
	static char byte = 'x';
	struct iocb request = {
		.aio_fildes = (uint32_t)aio->file,
		.aio_lio_opcode = IOCB_CMD_PWRITE,
		.aio_buf = (uint64_t)(uintptr_t)&byte,
		.aio_nbytes = 1,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)counter,
	};
	struct iocb *requests[] = { &request };
	struct io_event event;
	long submitted = syscall(SYS_io_submit, aio->context, 1, requests);

	if (submitted == 1 && syscall(SYS_io_getevents, aio->context, 1, 1, &event, NULL) != 1)
		die("io_getevents");
	return submitted;
}

static void report_poll(const char *key, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	char text[EVENTS_TEXT_SIZE];

	must(poll(&p, 1, 0), "poll");
	report(key, "poll=%s", poll_text(p.revents, text));
}

static void report_epoll(const char *key, int fd)
{
	int epoll = make_epoll(fd, EPOLLIN | EPOLLOUT);
	struct epoll_event event;
	char text[EVENTS_TEXT_SIZE];

	if (epoll_wait(epoll, &event, 1, EVENT_MS) == 1)
		report(key, "epoll=%s", epoll_text(event.events, text));
	else
		report(key, "no-event");
	close(epoll);
}

static void check_post(struct aio *aio)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_call("44.post", post(aio, fd));
	report_poll("44.post-poll", fd);
	post(aio, fd);
	report_read("44.two-posts-value", fd);
	close(fd);
}

static void check_overflow(struct aio *aio)
{
	int fd = make_full_counter(EFD_NONBLOCK);

	report_call("44.post-at-maximum", post(aio, fd));
	report_poll("44.poll", fd);
	report_epoll("44.epoll", fd);
	report_select("45.select", fd);
	report_write("44.write-one", fd, 1);
	report_write("44.write-zero", fd, 0);
	post(aio, fd);
	report_read("28.value", fd);
	report_read("28.empty-afterwards", fd);
	report_poll("44.poll-after-read", fd);
	close(fd);
}

static void check_overflow_semaphore(struct aio *aio)
{
	int fd = make_full_counter(EFD_NONBLOCK | EFD_SEMAPHORE);

	post(aio, fd);
	report_poll("44.semaphore-poll", fd);
	report_read("28.semaphore-value", fd);
	report_poll("44.semaphore-poll-after-read", fd);
	close(fd);
}

int main(void)
{
	struct aio aio = { 0 };

	start_checks();
	open_aio(&aio);
	report("44.aio", "%s", aio.available ? "available" : "unavailable");
	if (!aio.available)
		return 0;
	check_post(&aio);
	check_overflow(&aio);
	check_overflow_semaphore(&aio);
	syscall(SYS_io_destroy, aio.context);
	return 0;
}
