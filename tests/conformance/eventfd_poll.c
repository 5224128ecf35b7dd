/* Readiness by poll, select and epoll: 42, 43, 46-52, and wake-up counts for 54. */
#include "events.h"


/* How long an event may take that must come, and how long one is looked for that must not. */
#define EVENT_MS 5000
#define NO_EVENT_MS 40

#define TURNS 400

static void report_poll(const char *key, int fd)
{
	char text[EVENTS_TEXT_SIZE];

	report(key, "poll=%s", poll_text(poll_now(fd, POLLIN | POLLOUT), text));
}

static void check_poll_levels(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_poll("42.empty", fd);
	io_write(fd, 0);
	report_poll("42.after-write-zero", fd);
	io_write(fd, 1);
	report_poll("42.after-write-one", fd);
	report_poll("42.asked-again", fd);
	io_read(fd);
	report_poll("42.after-read", fd);
	io_write(fd, COUNT_MAX - 1);
	report_poll("43.one-below-maximum", fd);
	io_write(fd, 1);
	report_poll("43.maximum", fd);
	io_read(fd);
	report_poll("43.after-read", fd);
	close(fd);
}

static void check_poll_semaphore(void)
{
	int fd = make_counter(2, EFD_NONBLOCK | EFD_SEMAPHORE);

	report_poll("42.semaphore-two", fd);
	io_read(fd);
	report_poll("42.semaphore-one", fd);
	io_read(fd);
	report_poll("42.semaphore-empty", fd);
	io_write(fd, COUNT_MAX);
	report_poll("43.semaphore-maximum", fd);
	io_read(fd);
	report_poll("43.semaphore-below-maximum", fd);
	close(fd);
}

static void report_poll_call(const char *key, struct pollfd *fds, nfds_t count, int timeout)
{
	int ret = poll(fds, count, timeout);
	char text[EVENTS_TEXT_SIZE];

	printf("%s: ret=%d", key, ret);
	for (nfds_t i = 0; i < count; i++)
		printf(" %s", poll_text(fds[i].revents, text));
	putchar('\n');
}

static void check_poll_single_requests(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	report_poll_call("42.only-in-empty", &p, 1, 0);
	report_poll_call("42.only-in-empty-timeout", &p, 1, NO_EVENT_MS);
	p.events = POLLOUT;
	report_poll_call("42.only-out-empty", &p, 1, 0);
	p.events = 0;
	report_poll_call("42.nothing-asked", &p, 1, 0);
	io_write(fd, COUNT_MAX);
	p.events = POLLOUT;
	report_poll_call("43.only-out-maximum", &p, 1, 0);
	report_poll_call("43.only-out-maximum-timeout", &p, 1, NO_EVENT_MS);
	p.events = POLLIN;
	report_poll_call("43.only-in-maximum", &p, 1, -1);
	close(fd);
}

static void check_poll_several(void)
{
	int empty = make_counter(0, EFD_NONBLOCK);
	int some = make_counter(3, EFD_NONBLOCK);
	int full = make_full_counter(EFD_NONBLOCK);
	struct pollfd fds[] = {
		{ .fd = empty, .events = POLLIN | POLLOUT },
		{ .fd = some, .events = POLLIN | POLLOUT },
		{ .fd = full, .events = POLLIN | POLLOUT },
		{ .fd = empty, .events = POLLIN },
		{ .fd = some, .events = POLLIN },
	};

	report_poll_call("42.several", fds, ARRAY_SIZE(fds), -1);
	close(empty);
	close(some);
	close(full);
}

static void check_other_bits(void)
{
	short asked = POLLIN | POLLOUT | POLLPRI;
	int fd = make_counter(0, EFD_NONBLOCK);
	char text[EVENTS_TEXT_SIZE];

#ifdef POLLRDNORM
	asked |= POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND;
#endif
#ifdef POLLRDHUP
	asked |= POLLRDHUP;
#endif
	report("46.empty", "poll=%s", poll_text(poll_now(fd, asked), text));
	io_write(fd, 1);
	report("46.non-empty", "poll=%s", poll_text(poll_now(fd, asked), text));
	io_write(fd, COUNT_MAX - 1);
	report("46.maximum", "poll=%s", poll_text(poll_now(fd, asked), text));
	close(fd);
}

static void check_select(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_select("47.empty", fd);
	io_write(fd, 1);
	report_select("47.non-empty", fd);
	io_write(fd, COUNT_MAX - 1);
	report_select("47.maximum", fd);
	io_read(fd);
	report_select("47.after-read", fd);
	close(fd);
}

static void report_epoll(const char *key, int epoll, int timeout)
{
	struct epoll_event events[4];
	char text[EVENTS_TEXT_SIZE];
	int ret = epoll_wait(epoll, events, ARRAY_SIZE(events), timeout);

	if (ret == 1)
		report(key, "ret=1 epoll=%s", epoll_text(events[0].events, text));
	else
		report_call(key, ret);
}

static void report_event(const char *key, int epoll)
{
	report_epoll(key, epoll, EVENT_MS);
}

static void report_no_event(const char *key, int epoll)
{
	report_epoll(key, epoll, NO_EVENT_MS);
}

static void check_epoll_level(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLOUT);

	report_event("42.epoll-empty", epoll);
	io_write(fd, 1);
	report_event("42.epoll-non-empty", epoll);
	report_event("42.epoll-asked-again", epoll);
	io_write(fd, COUNT_MAX - 1);
	report_event("43.epoll-maximum", epoll);
	io_read(fd);
	report_event("43.epoll-after-read", epoll);
	watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
	report_no_event("42.epoll-only-in-empty", epoll);
	io_write(fd, 1);
	report_event("42.epoll-only-in", epoll);
	close(epoll);
	close(fd);
}

static void check_edge_on_write(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLET);

	report_no_event("48.empty", epoll);
	io_write(fd, 1);
	report_event("48.first-write", epoll);
	report_no_event("49.no-write-between", epoll);
	io_write(fd, 1);
	report_event("48.write-while-readable", epoll);
	io_write(fd, 0);
	report_event("48.write-zero-while-readable", epoll);
	report_no_event("49.after-write-zero", epoll);
	io_write(fd, 1);
	io_write(fd, 1);
	report_event("48.two-writes", epoll);
	report_no_event("49.two-writes-one-event", epoll);
	io_read(fd);
	report_no_event("49.after-read", epoll);
	io_write(fd, 1);
	report_event("48.write-after-read", epoll);
	close(epoll);
	close(fd);
}

/* A waker that is never read, as event loops use it. */
static void check_edge_without_reads(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLET);
	struct epoll_event event;
	int events = 0;

	for (int i = 0; i < TURNS; i++) {
		io_write(fd, 1);
		events += epoll_wait(epoll, &event, 1, EVENT_MS) == 1;
	}
	report("48.never-read", "events=%d", events);
	report_read("48.never-read-count", fd);
	close(epoll);
	close(fd);
}

static void check_no_edge_on_failure(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLET);
	uint32_t half = 1;

	io_write(fd, COUNT_MAX);
	report_event("48.before-failures", epoll);
	io_write(fd, 1);
	report_no_event("49.after-eagain", epoll);
	io_write(fd, UINT64_MAX);
	report_no_event("49.after-all-ones", epoll);
	if (write(fd, &half, sizeof(half)) != -1)
		die("a short write succeeded");
	report_no_event("49.after-short-write", epoll);
	close(epoll);
	close(fd);
}

static void check_edge_on_read(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLOUT | EPOLLET);

	report_event("50.added", epoll);
	report_no_event("50.nothing-between", epoll);
	io_write(fd, 1);
	report_no_event("50.after-write", epoll);
	io_read(fd);
	report_event("50.after-read", epoll);
	report_no_event("50.after-read-once", epoll);
	io_read(fd);
	report_no_event("50.after-eagain", epoll);
	io_write(fd, COUNT_MAX);
	report_no_event("50.maximum", epoll);
	io_read(fd);
	report_event("50.after-read-of-maximum", epoll);
	close(epoll);
	close(fd);
}

static void check_edge_on_semaphore_read(void)
{
	int fd = make_counter(2, EFD_NONBLOCK | EFD_SEMAPHORE);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLOUT | EPOLLET);

	report_event("50.semaphore-added", epoll);
	io_read(fd);
	report_event("50.semaphore-still-readable", epoll);
	io_read(fd);
	report_event("50.semaphore-empty", epoll);
	report_no_event("50.semaphore-once", epoll);
	close(epoll);
	close(fd);
}

static void check_edge_bits(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLOUT | EPOLLET);

	report_event("51.added", epoll);
	io_write(fd, 1);
	report_event("51.after-write", epoll);
	io_read(fd);
	report_event("51.after-read", epoll);
	io_write(fd, 0);
	report_event("51.after-write-zero", epoll);
	io_write(fd, COUNT_MAX);
	report_event("51.maximum", epoll);
	report_no_event("51.nothing-between", epoll);
	close(epoll);
	close(fd);
}

static void check_modify(void)
{
	int fd = make_counter(1, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLET);

	report_event("52.added", epoll);
	report_no_event("52.nothing-between", epoll);
	watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET);
	report_event("52.modified", epoll);
	watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLET);
	report_event("52.modified-to-out", epoll);
	watch(epoll, EPOLL_CTL_MOD, fd, 0);
	io_write(fd, 1);
	report_no_event("52.modified-to-nothing", epoll);
	close(epoll);
	close(fd);
}

static void check_oneshot(void)
{
	int fd = make_counter(1, EFD_NONBLOCK);
	int epoll = make_epoll(fd, EPOLLIN | EPOLLONESHOT);

	report_event("52.oneshot-first", epoll);
	io_write(fd, 1);
	report_no_event("52.oneshot-disarmed", epoll);
	watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
	report_event("52.oneshot-rearmed", epoll);
	watch(epoll, EPOLL_CTL_DEL, fd, 0);
	report_no_event("52.deleted", epoll);
	close(epoll);
	close(fd);
}

/* The events of several descriptors may arrive in one report or in several. */
static int count_events(int epoll, int wanted)
{
	struct epoll_event events[4];
	int count = 0, ret = 1;

	while (count < wanted && ret > 0) {
		ret = epoll_wait(epoll, events, ARRAY_SIZE(events), EVENT_MS);
		if (ret > 0)
			count += ret;
	}
	return count;
}

static void check_two_epolls(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int edge = make_epoll(fd, EPOLLIN | EPOLLET);
	int level = make_epoll(fd, EPOLLIN);
	int copy = must(dup(fd), "dup");

	watch(edge, EPOLL_CTL_ADD, copy, EPOLLIN | EPOLLET);
	io_write(fd, 1);
	report_event("53.level-instance", level);
	report("53.edge-instance-both-descriptors", "events=%d", count_events(edge, 2));
	report_no_event("53.edge-instance-again", edge);
	report_event("53.level-instance-again", level);
	close(edge);
	close(level);
	close(copy);
	close(fd);
}

static void check_nested_epoll(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int inner = make_epoll(fd, EPOLLIN);
	int outer = make_epoll(inner, EPOLLIN);

	report_no_event("42.nested-empty", outer);
	io_write(fd, 1);
	report_event("42.nested-non-empty", outer);
	io_read(fd);
	report_no_event("42.nested-after-read", outer);
	close(outer);
	close(inner);
	close(fd);
}

/*
 * 54: two tasks wake each other by turns. A wake-up lost between the test of
 * readiness and the sleep stops them, and the round count stays short.
 */
struct wait_method {
	const char *key;
	bool (*wait)(int fd, int epoll);
	uint32_t epoll_events;
};

struct ping_pong {
	const struct wait_method *method;
	int request;
	int reply;
};

static bool wait_by_poll(int fd, int epoll)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	(void)epoll;
	return poll(&p, 1, EVENT_MS) == 1;
}

static bool wait_by_select(int fd, int epoll)
{
	struct timeval limit = { .tv_sec = EVENT_MS / 1000 };
	fd_set in;

	(void)epoll;
	FD_ZERO(&in);
	FD_SET(fd, &in);
	return select(fd + 1, &in, NULL, NULL, &limit) == 1;
}

static bool wait_by_epoll(int fd, int epoll)
{
	struct epoll_event event;

	(void)fd;
	return epoll_wait(epoll, &event, 1, EVENT_MS) == 1;
}

static int take_turns(const struct ping_pong *game, int wait_fd, int wake_fd, bool begins)
{
	int epoll = make_epoll(wait_fd, game->method->epoll_events);
	int rounds = 0;

	if (begins)
		io_write(wake_fd, 1);
	while (rounds < TURNS && game->method->wait(wait_fd, epoll) &&
	       io_read(wait_fd).value == 1) {
		rounds++;
		if (!begins || rounds < TURNS)
			io_write(wake_fd, 1);
	}
	close(epoll);
	return rounds;
}

static struct io answer_body(struct task *task)
{
	const struct ping_pong *game = task->data;

	return io_result(take_turns(game, game->request, game->reply, false));
}

static void check_ping_pong(const struct wait_method *method)
{
	struct ping_pong game = {
		.method = method,
		.request = make_counter(0, EFD_NONBLOCK),
		.reply = make_counter(0, EFD_NONBLOCK),
	};
	struct task *answerer = start_thread_with(answer_body, -1, 0, &game);
	int rounds = take_turns(&game, game.reply, game.request, true);

	report(method->key, "rounds=%d answers=%zd", rounds, finish_task(answerer).ret);
	close(game.request);
	close(game.reply);
}

static void check_no_lost_wakeup(void)
{
	static const struct wait_method methods[] = {
		{ "54.poll", wait_by_poll, EPOLLIN },
		{ "54.select", wait_by_select, EPOLLIN },
		{ "54.epoll-level", wait_by_epoll, EPOLLIN },
		{ "54.epoll-edge", wait_by_epoll, EPOLLIN | EPOLLET },
	};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		check_ping_pong(&methods[i]);
}

int main(void)
{
	start_output();
	GROUP(check_poll_levels());
	GROUP(check_poll_semaphore());
	GROUP(check_poll_single_requests());
	GROUP(check_poll_several());
	GROUP(check_other_bits());
	GROUP(check_select());
	GROUP(check_epoll_level());
	GROUP(check_edge_on_write());
	GROUP(check_edge_without_reads());
	GROUP(check_no_edge_on_failure());
	GROUP(check_edge_on_read());
	GROUP(check_edge_on_semaphore_read());
	GROUP(check_edge_bits());
	GROUP(check_modify());
	GROUP(check_oneshot());
	GROUP(check_two_epolls());
	GROUP(check_nested_epoll());
	GROUP(check_no_lost_wakeup());
	return 0;
}
