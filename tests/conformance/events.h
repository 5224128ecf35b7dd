/* Names for the readiness bits of poll() and epoll, whose values may differ. */
#ifndef EVENTS_H
#define EVENTS_H

#include "conformance.h"

#include <sys/epoll.h>
#include <sys/select.h>

#define EVENTS_TEXT_SIZE 128

struct event_name {
	unsigned int bit;
	const char *name;
};

static inline void name_events(unsigned int events, const struct event_name *names,
			       size_t count, char *text)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		if (!(events & names[i].bit))
			continue;
		used += (size_t)snprintf(text + used, EVENTS_TEXT_SIZE - used, "%s%s",
					 used ? "|" : "", names[i].name);
		events &= ~names[i].bit;
	}
	if (events)
		snprintf(text + used, EVENTS_TEXT_SIZE - used, "%s%#x", used ? "|" : "", events);
	else if (used == 0)
		snprintf(text, EVENTS_TEXT_SIZE, "none");
}

static inline const char *poll_text(short events, char text[EVENTS_TEXT_SIZE])
{
	static const struct event_name names[] = {
		{ POLLIN, "IN" },
		{ POLLPRI, "PRI" },
		{ POLLOUT, "OUT" },
		{ POLLERR, "ERR" },
		{ POLLHUP, "HUP" },
		{ POLLNVAL, "NVAL" },
#ifdef POLLRDNORM
		{ POLLRDNORM, "RDNORM" },
#endif
#ifdef POLLRDBAND
		{ POLLRDBAND, "RDBAND" },
#endif
#ifdef POLLWRNORM
		{ POLLWRNORM, "WRNORM" },
#endif
#ifdef POLLWRBAND
		{ POLLWRBAND, "WRBAND" },
#endif
#ifdef POLLRDHUP
		{ POLLRDHUP, "RDHUP" },
#endif
	};

	name_events((unsigned short)events, names, ARRAY_SIZE(names), text);
	return text;
}

static inline const char *epoll_text(uint32_t events, char text[EVENTS_TEXT_SIZE])
{
	static const struct event_name names[] = {
		{ EPOLLIN, "IN" },
		{ EPOLLPRI, "PRI" },
		{ EPOLLOUT, "OUT" },
		{ EPOLLERR, "ERR" },
		{ EPOLLHUP, "HUP" },
#ifdef EPOLLRDHUP
		{ EPOLLRDHUP, "RDHUP" },
#endif
	};

	name_events(events, names, ARRAY_SIZE(names), text);
	return text;
}

static inline void watch(int epoll, int op, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	must(epoll_ctl(epoll, op, fd, &event), "epoll_ctl");
}

/* An epoll instance with the one descriptor in it. */
static inline int make_epoll(int fd, uint32_t events)
{
	int epoll = must(epoll_create1(0), "epoll_create1");

	watch(epoll, EPOLL_CTL_ADD, fd, events);
	return epoll;
}

/* What select says at once of one descriptor. */
static inline void report_select(const char *key, int fd)
{
	struct timeval now = { 0 };
	fd_set in, out, except;
	int ret;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&except);
	FD_SET(fd, &in);
	FD_SET(fd, &out);
	FD_SET(fd, &except);
	ret = select(fd + 1, &in, &out, &except, &now);
	report(key, "ret=%d readable=%s writable=%s exceptional=%s", ret,
	       yes_no(FD_ISSET(fd, &in)), yes_no(FD_ISSET(fd, &out)),
	       yes_no(FD_ISSET(fd, &except)));
}

/* Waits in select until the task's descriptor can be read. */
static inline struct io select_body(struct task *task)
{
	fd_set in;

	FD_ZERO(&in);
	FD_SET(task->fd, &in);
	return io_result(select(task->fd + 1, &in, NULL, NULL, NULL));
}

#endif
