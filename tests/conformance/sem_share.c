/* Semaphores between processes and threads: 168, 172, 183. */
#include "sem.h"

/* May be lowered with -D for a slow machine; printed are only whether all is right. */
#ifndef SHARE_ROUNDS
#define SHARE_ROUNDS 1000
#endif

#define CROWD 6
#define KILL_ROUNDS 30

static void report_all(const char *key, int found, int wanted)
{
	report(key, "all=%s", yes_no(found == wanted));
}

/* How a child gets at the semaphore: a named one by opening it by itself, under another spelling, so that it has a mapping of its own. */
static sem_t *own_handle(const struct subject *subject)
{
	return subject->name.text[0] == '\0' ? subject->sem : open_existing(subject->name.text + 1);
}

/*
 * Every third task a thread, if asked for. The processes are forked first: a thread may hold a lock in sem_open, which the child of a fork would find
 * held for ever.
 */
static void start_mixed(struct task **tasks, int count, task_body body, void *data, bool threads_too)
{
	for (int threads = 0; threads < 2; threads++)
		for (int i = 0; i < count; i++)
			if ((threads_too && i % 3 == 0) == threads)
				tasks[i] = (threads ? start_thread_with : start_process_with)(body, -1, (uint64_t)i, data);
}

static struct subject make_second(subject_maker make, unsigned int value)
{
	struct subject subject;

	if (make != make_named)
		return make(value);
	subject = (struct subject){ .kind = "named", .name = make_name("second") };
	subject.sem = create(subject.name.text, value);
	return subject;
}

/* ---- 168: two processes in turn ---- */

struct game {
	struct subject there, back;
	/* Not atomic: who has the token has it alone. */
	volatile int moves;
	atomic_int errors;
};

static struct io answer_body(struct task *task)
{
	struct game *game = task->data;
	sem_t *there = own_handle(&game->there), *back = own_handle(&game->back);

	for (int i = 0; i < SHARE_ROUNDS; i++) {
		game->errors += sem_wait(there) != 0;
		game->errors += game->moves++ != 2 * i + 1;
		game->errors += sem_post(back) != 0;
	}
	return io_result(0);
}

static void check_ping_pong(subject_maker make)
{
	struct game *game = shared_page();
	struct task *other;

	game->there = make(0);
	game->back = make_second(make, 0);
	other = start_process_with(answer_body, -1, 0, game);
	for (int i = 0; i < SHARE_ROUNDS; i++) {
		game->errors += game->moves++ != 2 * i;
		game->errors += sem_post(game->there.sem) != 0;
		game->errors += sem_wait(game->back.sem) != 0;
	}
	join_task(other);
	report_all(key_for(168, &game->there, "ping-pong-moves"), game->moves, 2 * SHARE_ROUNDS);
	report(key_for(168, &game->there, "ping-pong-errors"), "%d", game->errors);
	report_value(key_for(168, &game->there, "ping-pong-there"), game->there.sem);
	report_value(key_for(168, &game->back, "ping-pong-back"), game->back.sem);
	drop_subject(&game->there);
	drop_subject(&game->back);
}

/* ---- 168: mutual exclusion ---- */

static struct io exclude_body(struct task *task)
{
	struct game *game = task->data;
	sem_t *sem = own_handle(&game->there);

	for (int i = 0; i < SHARE_ROUNDS; i++) {
		int moves;

		game->errors += sem_wait(sem) != 0;
		moves = game->moves;
		if (i % 16 == 0)
			sched_yield();
		game->moves = moves + 1;
		game->errors += sem_post(sem) != 0;
	}
	return io_result(0);
}

static void check_exclusion(subject_maker make)
{
	struct game *game = shared_page();
	struct task *tasks[4];

	game->there = make(1);
	start_mixed(tasks, 4, exclude_body, game, true);
	for (int i = 0; i < 4; i++)
		join_task(tasks[i]);
	report_all(key_for(168, &game->there, "exclusion-moves"), game->moves, 4 * SHARE_ROUNDS);
	report(key_for(168, &game->there, "exclusion-errors"), "%d", game->errors);
	report_value(key_for(168, &game->there, "exclusion-value"), game->there.sem);
	drop_subject(&game->there);
}

/* ---- 172: the semaphore goes away as soon as the wait has returned ---- */

struct poster {
	sem_t *_Atomic offered;
	atomic_int posted;
	atomic_bool stop;
};

static struct io poster_body(struct task *task)
{
	struct poster *poster = task->data;

	while (!poster->stop) {
		sem_t *sem = poster->offered;

		if (sem == NULL) {
			sched_yield();
			continue;
		}
		/* The next is offered only after the post. */
		poster->offered = NULL;
		/* Sometimes the waiter is to sleep first. */
		if (poster->posted % 4 == 0)
			pause_briefly();
		sem_post(sem);
		poster->posted++;
	}
	return io_result(0);
}

static struct task *start_poster(bool process, struct poster **poster)
{
	*poster = shared_page();
	return (process ? start_process_with : start_thread_with)(poster_body, -1, 0, *poster);
}

static void end_poster(struct task *task, struct poster *poster)
{
	poster->stop = true;
	finish_task(task);
	unmap_page(poster);
}

static void check_unmapped(void)
{
	struct poster *poster;
	struct task *task = start_poster(false, &poster);
	int good = 0;

	for (int i = 0; i < SHARE_ROUNDS; i++) {
		sem_t *sem = shared_page();

		must(sem_init(sem, i % 2, 0), "sem_init");
		poster->offered = sem;
		good += sem_wait(sem) == 0;
		sem_destroy(sem);
		unmap_page(sem);
	}
	end_poster(task, poster);
	report_all("172.unmapped-after-wait", good, SHARE_ROUNDS);
}

static void check_closed(void)
{
	struct poster *poster;
	struct task *task = start_poster(false, &poster);
	struct name name = make_name("closed");
	int good = 0;

	for (int i = 0; i < SHARE_ROUNDS; i++) {
		sem_t *sem = create(name.text, 0);

		poster->offered = sem;
		good += sem_wait(sem) == 0 && sem_close(sem) == 0 && sem_unlink(name.text) == 0;
	}
	end_poster(task, poster);
	report_all("172.closed-after-wait", good, SHARE_ROUNDS);
}

/* What lies there after the wait is none of the poster's business. */
static void check_overwritten(const char *key, bool process)
{
	const size_t size = sizeof(sem_t);
	sem_t *sem = shared_page();
	struct poster *poster;
	struct task *task = start_poster(process, &poster);
	int good = 0, touched = 0;

	for (int i = 0; i < SHARE_ROUNDS; i++) {
		must(sem_init(sem, 1, 0), "sem_init");
		poster->offered = sem;
		good += sem_wait(sem) == 0;
		sem_destroy(sem);
		memset(sem, 0xa5, size);
		while (poster->posted <= i)
			sched_yield();
		for (size_t k = 0; k < size; k++)
			touched += ((unsigned char *)sem)[k] != 0xa5;
	}
	end_poster(task, poster);
	report(key, "all=%s touched=%d", yes_no(good == SHARE_ROUNDS), touched);
	unmap_page(sem);
}

/* ---- 183: as many waiters go on as there are posts ---- */

struct crowd {
	struct subject subject;
	task_body body;
};

static struct io crowd_body(struct task *task)
{
	const struct crowd *crowd = (const struct crowd *)(uintptr_t)task->value;

	/* The waiting is looked at from outside, which asks for the address. */
	if (task->is_process)
		task->data = own_handle(&crowd->subject);
	return crowd->body(task);
}

static void start_crowd(struct task **tasks, const struct crowd *crowd, bool threads_too)
{
	for (int i = 0; i < CROWD; i++)
		tasks[i] = (threads_too && i % 2 ? start_thread_with : start_process_with)(
			crowd_body, -1, (uint64_t)(uintptr_t)crowd, crowd->subject.sem);
}

static void check_released(subject_maker make, task_body body, const char *part)
{
	struct crowd crowd = { .subject = make(0), .body = body };
	struct subject *subject = &crowd.subject;
	struct task *tasks[CROWD];
	static const int posts[] = { 1, 2, 0, 3 };
	int posted = 0, good = 0;
	char text[64];

	start_crowd(tasks, &crowd, true);
	snprintf(text, sizeof(text), "%s-crowd", part);
	report(key_for(183, subject, text), "waiting=%d", count_waiting(tasks, CROWD));
	for (size_t i = 0; i < ARRAY_SIZE(posts); i++) {
		for (int k = 0; k < posts[i]; k++)
			sem_post(subject->sem);
		posted += posts[i];
		wait_finished(tasks, CROWD, posted);
		snprintf(text, sizeof(text), "%s-after-%d-posts-%zu", part, posted, i);
		report(key_for(183, subject, text), "waiting=%d value=%d", count_waiting(tasks, CROWD), value_of(subject->sem));
	}
	for (int i = 0; i < CROWD; i++)
		good += finish_task(tasks[i]).ret == 0;
	snprintf(text, sizeof(text), "%s-results", part);
	report(key_for(183, subject, text), "good=%d", good);
	drop_subject(subject);
}

static void check_waiters_released(subject_maker make)
{
	check_released(make, wait_body, "wait");
}

static void check_timed_waiters_released(subject_maker make)
{
	check_released(make, timedwait_body, "timedwait");
}

static struct io post_twice_body(struct task *task)
{
	return io_result(sem_post(task->data) == 0 && sem_post(task->data) == 0 ? 0 : -1);
}

/* Six processes post at the same time, each twice, so that six tokens are left. */
static void check_released_by_several(subject_maker make)
{
	struct crowd waiters = { .subject = make(0), .body = wait_body }, posters = waiters;
	struct task *waiting[CROWD], *posting[CROWD];
	int good = 0;

	posters.body = post_twice_body;
	start_crowd(waiting, &waiters, false);
	report(key_for(183, &waiters.subject, "several-crowd"), "waiting=%d", count_waiting(waiting, CROWD));
	start_crowd(posting, &posters, false);
	for (int i = 0; i < CROWD; i++)
		good += finish_task(posting[i]).ret == 0;
	report(key_for(183, &waiters.subject, "several-posters"), "good=%d", good);
	good = 0;
	for (int i = 0; i < CROWD; i++)
		good += finish_task(waiting[i]).ret == 0;
	report(key_for(183, &waiters.subject, "several-released"), "good=%d", good);
	report_value(key_for(183, &waiters.subject, "several-value"), waiters.subject.sem);
	drop_subject(&waiters.subject);
}

/* ---- 183: no token is lost or made ---- */

static bool take_one(sem_t *sem, int way)
{
	struct timespec time;

	switch (way) {
	case 0:
		return sem_wait(sem) == 0;
	case 1:
		time = after_ms(CLOCK_REALTIME, 1);
		return sem_timedwait(sem, &time) == 0;
	case 2:
		time = after_ms(CLOCK_MONOTONIC, 1);
		return sem_clockwait(sem, CLOCK_MONOTONIC, &time) == 0;
	default:
		if (sem_trywait(sem) == 0)
			return true;
		sched_yield();
		return false;
	}
}

struct trade {
	struct subject subject;
	struct subject room;
	struct meeting meeting;
	atomic_int posted, taken;
	/* One of each for those who fill and those who empty. */
	atomic_int locks[2];
	int places[2];
	int items[16];
	atomic_llong sum_in, sum_out;
};

static struct io trade_body(struct task *task)
{
	struct trade *trade = task->data;
	sem_t *sem = own_handle(&trade->subject);
	int number = (int)task->value;

	meet(&trade->meeting);
	if (number % 2 == 0) {
		for (int i = 0; i < SHARE_ROUNDS; i++)
			trade->posted += sem_post(sem) == 0;
		return io_result(0);
	}
	for (int taken = 0; taken < SHARE_ROUNDS;) {
		if (!take_one(sem, number / 2))
			continue;
		taken++;
		trade->taken++;
	}
	return io_result(0);
}

static void run_trade(struct trade *trade, task_body body, int members, bool threads_too)
{
	struct task *tasks[8];

	prepare_meeting(&trade->meeting, members);
	start_mixed(tasks, members, body, trade, threads_too);
	for (int i = 0; i < members; i++)
		finish_task(tasks[i]);
}

/* Four post; four take, each in its own way. */
static void check_trade(subject_maker make)
{
	struct trade *trade = shared_page();

	trade->subject = make(0);
	run_trade(trade, trade_body, 8, true);
	report_all(key_for(183, &trade->subject, "trade-posted"), trade->posted, 4 * SHARE_ROUNDS);
	report_all(key_for(183, &trade->subject, "trade-taken"), trade->taken, 4 * SHARE_ROUNDS);
	report_value(key_for(183, &trade->subject, "trade-left"), trade->subject.sem);
	drop_subject(&trade->subject);
}

/* A buffer of 16 places between two who fill it and two who empty it. */
static struct io buffer_body(struct task *task)
{
	struct trade *trade = task->data;
	sem_t *items = own_handle(&trade->subject), *room = own_handle(&trade->room);
	bool fills = task->value % 2 == 0;
	atomic_int *lock = &trade->locks[fills];
	int *place = &trade->places[fills];

	meet(&trade->meeting);
	for (int i = 1; i <= SHARE_ROUNDS; i++) {
		sem_wait(fills ? room : items);
		while (++*lock != 1) {
			--*lock;
			sched_yield();
		}
		if (fills) {
			trade->items[*place] = i;
			trade->sum_in += i;
		} else {
			trade->sum_out += trade->items[*place];
			trade->items[*place] = 0;
		}
		*place = (*place + 1) % (int)ARRAY_SIZE(trade->items);
		--*lock;
		sem_post(fills ? items : room);
	}
	return io_result(0);
}

static void check_buffer(subject_maker make)
{
	struct trade *trade = shared_page();

	trade->subject = make(0);
	trade->room = make_second(make, ARRAY_SIZE(trade->items));
	run_trade(trade, buffer_body, 4, false);
	report(key_for(183, &trade->subject, "buffer"), "in-equals-out=%s complete=%s", yes_no(trade->sum_in == trade->sum_out),
	       yes_no(trade->sum_in == 1LL * SHARE_ROUNDS * (SHARE_ROUNDS + 1)));
	report_value(key_for(183, &trade->subject, "buffer-items"), trade->subject.sem);
	report_value(key_for(183, &trade->room, "buffer-room"), trade->room.sem);
	drop_subject(&trade->subject);
	drop_subject(&trade->room);
}

/* ---- 183: processes die at any moment ---- */

struct mortals {
	struct subject subject;
	atomic_bool running;
	atomic_int done[CROWD];
};

static struct io mortal_body(struct task *task)
{
	struct mortals *mortals = task->data;
	sem_t *sem = own_handle(&mortals->subject);
	int number = (int)task->value;

	while (mortals->running) {
		bool done = number % 2 == 0 ? sem_post(sem) == 0 : take_one(sem, number / 2);

		mortals->done[number] += done;
		/* Posters must not run away, or nobody would ever wait. */
		if (number % 2 == 0 && mortals->done[number] % 8 == 0)
			sched_yield();
	}
	return io_result(0);
}

static int sum_done(const struct mortals *mortals, int first)
{
	int sum = 0;

	for (int i = first; i < CROWD; i += 2)
		sum += mortals->done[i];
	return sum;
}

/* A process that dies between an operation and its note makes a difference of one. */
static void check_deaths(subject_maker make)
{
	struct mortals *mortals = shared_page();
	struct subject *subject;
	struct task *next;
	int within = 0, drained = 0;
	unsigned int random = 12345;
	sem_t *sem;

	mortals->running = true;
	mortals->subject = make(0);
	subject = &mortals->subject;
	sem = subject->sem;
	for (int round = 0; round < KILL_ROUNDS; round++) {
		struct task *tasks[CROWD];
		int value, difference;

		for (int i = 0; i < CROWD; i++)
			mortals->done[i] = 0;
		for (int i = 0; i < CROWD; i++)
			tasks[i] = start_process_with(mortal_body, -1, (uint64_t)i, mortals);
		/* They are to die in the middle of it, not at birth. */
		for (int i = 0; i < CROWD; i++)
			while (!tasks[i]->started)
				pause_briefly();
		for (int i = 0; i < CROWD; i++) {
			random = random * 1103515245 + 12345;
			nanosleep(&(struct timespec){ .tv_nsec = (long)(random >> 16) % 1500 * 1000 }, NULL);
			kill(tasks[(i + round) % CROWD]->pid, SIGKILL);
		}
		for (int i = 0; i < CROWD; i++) {
			join_task(tasks[i]);
			unmap_page(tasks[i]);
		}
		value = value_of(sem);
		difference = sum_done(mortals, 0) - sum_done(mortals, 1) - value;
		within += difference >= -CROWD && difference <= CROWD;
		drained += drain(sem) == value && value_of(sem) == 0;
	}
	report(key_for(183, subject, "deaths"), "within=%d drained=%d of=%d", within, drained, KILL_ROUNDS);
	next = start_waiter_process(wait_body, sem);
	report_waiting(key_for(183, subject, "deaths-next"), next);
	sem_post(sem);
	report_task(key_for(183, subject, "deaths-next-result"), next);
	report_value(key_for(183, subject, "deaths-value"), sem);
	drop_subject(subject);
}

int main(void)
{
	start_semaphores();
	GROUP_PROCESSES(check_ping_pong);
	GROUP_PROCESSES(check_exclusion);
	GROUP(check_unmapped());
	GROUP(check_closed());
	GROUP(check_overwritten("172.overwritten-after-wait-thread", false));
	GROUP(check_overwritten("172.overwritten-after-wait-process", true));
	GROUP_PROCESSES(check_waiters_released);
	GROUP_PROCESSES(check_timed_waiters_released);
	GROUP_PROCESSES(check_released_by_several);
	GROUP_PROCESSES(check_trade);
	GROUP_PROCESSES(check_buffer);
	GROUP_PROCESSES(check_deaths);
	return 0;
}
