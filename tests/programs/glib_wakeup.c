/*
 * A GLib main loop woken by another thread. GLib's GWakeup is an eventfd; the
 * loop sleeps in poll() on it before each wake-up, because the waker waits for
 * the callback before it sends the next one.
 */
#include <glib.h>
#include <stdio.h>
#include <unistd.h>

#include "live.h"

#define WAKE_UPS 1000

static GMainLoop *loop;
static GMutex mutex;
static GCond answered;
static int woken;

static gboolean on_wake_up(gpointer unused)
{
	(void)unused;
	g_mutex_lock(&mutex);
	woken++;
	if (woken == WAKE_UPS / 2)
		print_live();
	g_cond_signal(&answered);
	g_mutex_unlock(&mutex);
	return G_SOURCE_REMOVE;
}

static gboolean on_finish(gpointer unused)
{
	(void)unused;
	g_main_loop_quit(loop);
	return G_SOURCE_REMOVE;
}

static void wait_for_answer(int number)
{
	g_mutex_lock(&mutex);
	while (woken < number)
		g_cond_wait(&answered, &mutex);
	g_mutex_unlock(&mutex);
}

static gpointer wake_loop(gpointer unused)
{
	(void)unused;
	for (int i = 1; i <= WAKE_UPS; i++) {
		if (i % 2)
			g_main_context_invoke(NULL, on_wake_up, NULL);
		else
			g_idle_add(on_wake_up, NULL);
		wait_for_answer(i);
	}
	g_idle_add(on_finish, NULL);
	return NULL;
}

/* Started by the loop, so that it owns the context when the first invoke comes. */
static gboolean start_waker(gpointer thread)
{
	*(GThread **)thread = g_thread_new("waker", wake_loop, NULL);
	return G_SOURCE_REMOVE;
}

int main(void)
{
	GThread *waker = NULL;

	alarm(20);
	setvbuf(stdout, NULL, _IOLBF, 0);
	loop = g_main_loop_new(NULL, FALSE);
	g_idle_add(start_waker, &waker);
	g_main_loop_run(loop);
	g_thread_join(waker);
	g_main_loop_unref(loop);
	printf("woken %d\n", woken);
	return 0;
}
