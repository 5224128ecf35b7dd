/*
 * A libuv loop woken by uv_async_send() from four threads. libuv's async
 * wake-up is an eventfd watched by epoll. Sends may be merged, so only the
 * last state of each sender is certain to be seen.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "live.h"

#define SENDERS 4
#define SENDS 1000

struct sender {
	uv_thread_t thread;
	uv_async_t async;
	atomic_int sent;
	int callbacks;
};

static struct sender senders[SENDERS];
static int finished;

static void require(int status, const char *step)
{
	if (status < 0) {
		fprintf(stderr, "%s: %s\n", step, uv_strerror(status));
		exit(1);
	}
}

static void send_all(void *arg)
{
	struct sender *sender = arg;

	for (int i = 0; i < SENDS; i++) {
		/* Lets the loop fall asleep now and then, so that not all sends merge. */
		if (i % 50 == 0)
			uv_sleep(1);
		sender->sent++;
		require(uv_async_send(&sender->async), "uv_async_send");
	}
}

static void on_async(uv_async_t *async)
{
	struct sender *sender = async->data;

	if (sender->callbacks++ == 0 && sender == &senders[0])
		print_live();
	if (sender->sent < SENDS)
		return;
	/* The thread may still be inside its last send; the handle must outlive that. */
	uv_thread_join(&sender->thread);
	finished++;
	uv_close((uv_handle_t *)async, NULL);
}

static void start_senders(uv_loop_t *loop)
{
	for (int i = 0; i < SENDERS; i++) {
		require(uv_async_init(loop, &senders[i].async, on_async), "uv_async_init");
		senders[i].async.data = &senders[i];
	}
	for (int i = 0; i < SENDERS; i++)
		require(uv_thread_create(&senders[i].thread, send_all, &senders[i]),
			"uv_thread_create");
}

static int count_served(void)
{
	int served = 0;

	for (int i = 0; i < SENDERS; i++)
		served += senders[i].callbacks >= 1 && senders[i].sent == SENDS;
	return served;
}

int main(void)
{
	uv_loop_t *loop = uv_default_loop();

	alarm(20);
	setvbuf(stdout, NULL, _IOLBF, 0);
	start_senders(loop);
	require(uv_run(loop, UV_RUN_DEFAULT), "uv_run");
	printf("senders served %d finished %d\n", count_served(), finished);
	require(uv_loop_close(loop), "uv_loop_close");
	if (count_served() != SENDERS || finished != SENDERS)
		return 1;
	puts("done");
	return 0;
}
