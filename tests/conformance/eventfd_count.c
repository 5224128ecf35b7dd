/*
 * Counters that are busy: 9, 10, 37, 41, 48, 57. Nothing is lost, and nothing comes twice, whoever reads, writes, forks, closes or is killed meanwhile.
 * A wake-up that is lost leaves its check, and so the group, without an end: then the lines are missing.
 */
#include "events.h"

#include <sys/uio.h>

/* Values that are written in each check of sums. */
#ifndef OPERATIONS
#define OPERATIONS 1000000
#endif

/* Wake-ups by each waker. */
#ifndef ROUNDS
#define ROUNDS 3000
#endif

#define KILLS (ROUNDS / 10)
#define FORKS (ROUNDS / 10)
#define CLOSES (ROUNDS / 6)

#define WORKERS 8
#define BURST 20
#define THREADS 4
/* A tree of forks: how many children each process has, and how many generations there are. */
#define CHILDREN 4
#define GENERATIONS 3

/* ---- one read or write, as programs do it or at the daemon ---- */

/* Where counters are in memory, these calls are not: they go to the daemon. */
#ifdef __redox__
/* relibc's readv and writev call its read and write. These return a negative errno. */
size_t redox_read_v1(size_t fd, void *buffer, size_t size);
size_t redox_write_v1(size_t fd, const void *buffer, size_t size);

static ssize_t result_v1(size_t result)
{
	if ((ssize_t)result >= 0)
		return (ssize_t)result;
	errno = -(int)(ssize_t)result;
	return -1;
}

static ssize_t daemon_read(int fd, uint64_t *value)
{
	return result_v1(redox_read_v1((size_t)fd, value, sizeof(*value)));
}

static ssize_t daemon_write(int fd, uint64_t value)
{
	return result_v1(redox_write_v1((size_t)fd, &value, sizeof(value)));
}
#else
static ssize_t daemon_read(int fd, uint64_t *value)
{
	return readv(fd, &(struct iovec){ value, sizeof(*value) }, 1);
}

static ssize_t daemon_write(int fd, uint64_t value)
{
	return writev(fd, &(struct iovec){ &value, sizeof(value) }, 1);
}
#endif

static bool try_add(int fd, uint64_t value, bool at_daemon)
{
	return (at_daemon ? daemon_write(fd, value) : write(fd, &value, sizeof(value))) == sizeof(value);
}

static bool try_take(int fd, uint64_t *value, bool at_daemon)
{
	return (at_daemon ? daemon_read(fd, value) : read(fd, value, sizeof(*value))) == sizeof(*value);
}

static void add(int fd, uint64_t value, bool at_daemon)
{
	if (!try_add(fd, value, at_daemon))
		die("write");
}

static uint64_t take(int fd, bool at_daemon)
{
	uint64_t value;

	if (!try_take(fd, &value, at_daemon))
		die("read");
	return value;
}

/* Writes to a non-blocking counter as much as there is room for, and returns how much that was. */
static uint64_t fill(int fd)
{
	uint64_t room = 0;

	for (uint64_t value = UINT64_C(1) << 63; value > 0; value /= 2)
		if (try_add(fd, value, false))
			room += value;
	return room;
}

/* The count, of which nothing is left to read: it may be one that would take for ever. */
static uint64_t final_count(int fd)
{
	must(fcntl(fd, F_SETFL, O_NONBLOCK), "F_SETFL");
	return COUNT_MAX - fill(fd);
}

/* ---- worker processes: the first ones write ones, the others read ---- */

struct crew {
	int fd, writers;
	bool all_in_memory;
	/* Workers start together, when this is closed. */
	int start[2];
	pid_t pids[WORKERS];
	/* What each has surely written or read. */
	_Atomic uint64_t done[WORKERS];
	_Atomic uint64_t begun, read;
	/* Each may have a pipe, of which it reads a byte before each burst. */
	int permits[WORKERS][2];
	atomic_bool stop;
};

static struct crew *make_crew(uint64_t count, int flags, int writers)
{
	struct crew *crew = map_page(PROT_READ | PROT_WRITE, MAP_SHARED);

	crew->fd = make_counter(0, flags);
	crew->writers = writers;
	add(crew->fd, count, true);
	must(pipe(crew->start), "pipe");
	return crew;
}

static bool is_at_daemon(const struct crew *crew, int number)
{
	return !crew->all_in_memory && number % 3 == 0;
}

/* Not by fork_child: the group ends them all, and an alarm is a thread on some systems. */
static void start_worker(struct crew *crew, int number, void (*body)(struct crew *crew, int number))
{
	pid_t pid;

	fflush(stdout);
	pid = must(fork(), "fork");
	if (pid == 0) {
		char byte;

		close(crew->start[1]);
		(void)!read(crew->start[0], &byte, 1);
		body(crew, number);
		_exit(0);
	}
	crew->pids[number] = pid;
}

static void start_all_workers(struct crew *crew, void (*body)(struct crew *crew, int number))
{
	for (int i = 0; i < WORKERS; i++)
		start_worker(crew, i, body);
	close(crew->start[1]);
}

static bool ends_well(pid_t pid)
{
	int status = 0;

	must(waitpid(pid, &status, 0), "waitpid");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static uint64_t sum(const struct crew *crew, int first, int end)
{
	uint64_t total = 0;

	for (int i = first; i < end; i++)
		total += crew->done[i];
	return total;
}

static uint64_t written(const struct crew *crew)
{
	return sum(crew, 0, crew->writers);
}

static uint64_t taken(const struct crew *crew)
{
	return sum(crew, crew->writers, WORKERS);
}

/* ---- 37, 41: what is written is read ---- */

static void write_share(struct crew *crew, int number)
{
	while (crew->begun++ < OPERATIONS) {
		add(crew->fd, 1, is_at_daemon(crew, number));
		crew->done[number]++;
	}
}

/* Who has read the last leaves one for another reader, which may be asleep. */
static void read_share(struct crew *crew, int number)
{
	uint64_t value;

	do {
		value = take(crew->fd, is_at_daemon(crew, number));
		crew->done[number] += value;
	} while ((crew->read += value) < OPERATIONS);
	add(crew->fd, 1, is_at_daemon(crew, number));
}

static void do_share(struct crew *crew, int number)
{
	if (number < crew->writers)
		write_share(crew, number);
	else
		read_share(crew, number);
}

static void check_sum(const char *key, int flags, uint64_t count)
{
	struct crew *crew = make_crew(count, flags, WORKERS / 2);
	bool well = true;

	start_all_workers(crew, do_share);
	for (int i = 0; i < WORKERS; i++)
		well &= ends_well(crew->pids[i]);
	report(key, "ended-well=%s all-written=%s conserved=%s", yes_no(well), yes_no(written(crew) == OPERATIONS),
	       yes_no(final_count(crew->fd) == count + OPERATIONS + WORKERS / 2 - taken(crew)));
}

/* ---- 57: kill -9 at any moment ---- */

static void work(struct crew *crew, int number)
{
	bool at_daemon = is_at_daemon(crew, number);
	char byte;

	for (int i = 0;; i++) {
		if (crew->permits[number][0] > 0 && i % BURST == 0 && read(crew->permits[number][0], &byte, 1) != 1)
			die("read from a pipe");
		if (number < crew->writers)
			add(crew->fd, 1, at_daemon);
		else
			take(crew->fd, at_daemon);
		crew->done[number]++;
		if (crew->stop)
			break;
	}
}

/*
 * With 2 CPUs of Redox and without kernel hook 04 one in some hundreds of killed processes does not end, also of such as sleep for a pipe or a
 * semaphore. It does nothing any more, so it is not waited for without end.
 */
static void replace_worker(struct crew *crew, int number)
{
	must(kill(crew->pids[number], SIGKILL), "kill");
	for (int tries = 0; tries < 500 && must(waitpid(crew->pids[number], NULL, WNOHANG), "waitpid") == 0; tries++)
		pause_briefly();
	start_worker(crew, number, work);
}

/* Adds what is missing for all workers that wait to read, and a reserve, or takes what is too much for all that wait to write. */
static int64_t release(struct crew *crew, bool readers)
{
	int64_t count = WORKERS + KILLS;

	for (int64_t i = 0; i < count && !readers; i++)
		take(crew->fd, false);
	if (!readers)
		return -count;
	add(crew->fd, (uint64_t)count, false);
	return count;
}

/* Two of the workers are given work, and all others wait for what these do, to read or, if the counter is full, to write. */
static void check_killed_at_work(const char *key, int writers, uint64_t count)
{
	struct crew *crew = make_crew(count, EFD_SEMAPHORE, writers);
	bool readers_wait = writers == 2, well = true;
	int first = readers_wait ? 0 : writers, number = 0;
	int64_t expected, released;

	for (int i = 0; i < 2; i++)
		must(pipe(crew->permits[first + i]), "pipe");
	start_all_workers(crew, work);
	for (int i = 0; i < KILLS; i++) {
		for (int permits = rand() % 4; permits >= 0; permits--)
			if (write(crew->permits[first + rand() % 2][1], "", 1) != 1)
				die("write to a pipe");
		for (int turns = rand() % 20; turns > 0; turns--)
			sched_yield();
		/* Not the one that has just been started, which without kernel hook 04 does not end, with 2 CPUs of Redox. */
		number = (number + 1 + rand() % (WORKERS - 1)) % WORKERS;
		replace_worker(crew, number);
	}
	/* Nobody is stuck: each ends with what it does next. */
	crew->stop = true;
	for (int i = 0; i < 2; i++)
		if (write(crew->permits[first + i][1], "", 1) != 1)
			die("write to a pipe");
	released = release(crew, readers_wait);
	for (int i = 0; i < WORKERS; i++)
		well &= ends_well(crew->pids[i]);
	/* A killed writer may have added one that it did not note, and a killed reader taken one. */
	expected = (int64_t)(count + written(crew) - taken(crew)) + released;
	report(key, "ended-well=%s explained=%s", yes_no(well),
	       yes_no(llabs((int64_t)final_count(crew->fd) - expected) <= KILLS));
}

/* Nobody is killed between a read or write and its note, so that nothing is lost at all. */
static void check_killed_asleep(const char *key, int writers, uint64_t count)
{
	struct crew *crew = make_crew(count, EFD_SEMAPHORE, writers);
	bool well = true;

	crew->all_in_memory = true;
	start_all_workers(crew, work);
	for (uint64_t i = 0; i < KILLS; i++) {
		/* The one that has slept for the longest time. */
		replace_worker(crew, (int)(i % WORKERS));
		if (writers > 0)
			take(crew->fd, i % 2 == 0);
		else
			add(crew->fd, 1, i % 2 == 0);
		while (sum(crew, 0, WORKERS) == i)
			sched_yield();
	}
	crew->stop = true;
	for (int i = 0; i < WORKERS; i++)
		if (writers > 0)
			take(crew->fd, false);
		else
			add(crew->fd, 1, false);
	for (int i = 0; i < WORKERS; i++)
		well &= ends_well(crew->pids[i]);
	report(key, "ended-well=%s conserved=%s", yes_no(well),
	       yes_no(sum(crew, 0, WORKERS) == KILLS + WORKERS && final_count(crew->fd) == count));
}

/* ---- 9: forks beside threads that are busy ---- */

static atomic_bool stop;
static atomic_int wrong;

static void go_back_and_forth(int fd, int copy)
{
	for (uint64_t i = 1; i < 20; i++) {
		add(i % 2 ? fd : copy, i, i % 7 == 0);
		wrong += take(copy, i % 5 == 0) != i;
	}
	/* On one CPU of Redox, a thread and the daemon that it asks again and again wake each other before anybody else has a turn. */
	sched_yield();
}

static void *use_one(void *argument)
{
	int fd = *(int *)argument;

	while (!stop)
		go_back_and_forth(fd, fd);
	return NULL;
}

static void *make_and_close(void *argument)
{
	(void)argument;
	while (!stop) {
		int fd = make_counter(0, 0), copy = must(dup(fd), "dup");

		go_back_and_forth(fd, copy);
		close(fd);
		close(copy);
	}
	return NULL;
}

static void use_own_and_inherited(int inherited)
{
	int own = make_counter(0, 0);

	go_back_and_forth(own, own);
	close(own);
	add(inherited, 3, false);
	_exit(wrong != 0);
}

/* Each process uses the counter when its children have. */
static void fork_tree(int fd, int generations)
{
	pid_t pids[CHILDREN];

	for (int i = 0; i < CHILDREN && generations > 0; i++) {
		fflush(stdout);
		pids[i] = must(fork(), "fork");
		if (pids[i] == 0) {
			fork_tree(fd, generations - 1);
			use_own_and_inherited(fd);
		}
	}
	for (int i = 0; i < CHILDREN && generations > 0; i++)
		wrong += !ends_well(pids[i]);
}

static void fork_one_by_one(int fd)
{
	for (int i = 0; i < FORKS; i++) {
		pid_t pid;

		fflush(stdout);
		pid = must(fork(), "fork");
		if (pid == 0)
			use_own_and_inherited(fd);
		wrong += !ends_well(pid);
	}
}

static void check_forks(const char *key, void *(*busy)(void *))
{
	int fd = make_counter(0, 0), counters[THREADS], processes = FORKS;
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++) {
		counters[i] = make_counter(0, 0);
		go_back_and_forth(counters[i], counters[i]);
		if (pthread_create(&threads[i], NULL, busy, &counters[i]) != 0)
			die("pthread_create");
	}
	fork_one_by_one(fd);
	fork_tree(fd, GENERATIONS);
	for (int i = 1, generation = CHILDREN; i <= GENERATIONS; i++, generation *= CHILDREN)
		processes += generation;
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	report(key, "wrong=%d all-written=%s", wrong, yes_no(take(fd, false) == UINT64_C(3) * (uint64_t)processes));
}

/* ---- 10: closes beside reads and writes ---- */

static int busy_number;

static void *use_number(void *argument)
{
	uint64_t value;

	(void)argument;
	while (!stop) {
		if (!try_add(busy_number, 1, false))
			wrong += errno != EBADF && errno != EAGAIN;
		if (!try_take(busy_number, &value, false))
			wrong += errno != EBADF && errno != EAGAIN;
	}
	return NULL;
}

static void check_closed_in_use(void)
{
	pthread_t user;

	busy_number = make_counter(0, EFD_NONBLOCK);
	if (pthread_create(&user, NULL, use_number, NULL) != 0)
		die("pthread_create");
	for (int i = 0; i < CLOSES; i++) {
		int other;

		/* Mostly it is the same number again, unless the memory's descriptor has it for a moment. */
		close(busy_number);
		other = make_counter(0, EFD_NONBLOCK);
		if (other == busy_number)
			other = make_counter(0, EFD_NONBLOCK);
		while (dup2(other, busy_number) != busy_number)
			if (errno != EBUSY)
				die("dup2");
		close(other);
	}
	stop = true;
	pthread_join(user, NULL);
	report("10.closed-in-use", "wrong=%d", wrong);
	close(busy_number);
}

static void *sleep_in_read(void *argument)
{
	uint64_t value = 0;
	bool got = try_take(*(int *)argument, &value, false);

	wrong += got ? value != 5 : errno != EBADF;
	return NULL;
}

static void check_closed_asleep(void)
{
	for (int i = 0; i < CLOSES; i++) {
		int fd = make_counter(0, 0), copy = must(dup(fd), "dup"), ends[2];
		bool used_again = i % 2 == 0;
		pthread_t sleeper;

		/* So that no page is mapped later, for which the descriptor of memory would have the number for a moment. */
		add(copy, 0, false);
		if (pthread_create(&sleeper, NULL, sleep_in_read, &fd) != 0)
			die("pthread_create");
		for (int turns = rand() % 50; turns > 0; turns--)
			sched_yield();
		close(fd);
		if (used_again)
			must(pipe(ends), "pipe");
		add(copy, 5, false);
		/* Whoever came too late for the counter may wait for the pipe. */
		if (used_again && write(ends[1], &(uint64_t){ 5 }, 8) != 8)
			die("write to a pipe");
		pthread_join(sleeper, NULL);
		close(copy);
		if (used_again) {
			close(ends[0]);
			close(ends[1]);
		}
	}
	report("10.closed-asleep", "wrong=%d", wrong);
}

/* ---- 48: wakers of an event loop, which never reads ---- */

#define WAKERS 4

struct loop {
	int waker;
	bool fills;
	/* What the loop has to do for each waker, and by what it says that it is done. */
	atomic_int asked[WAKERS];
	int answers[WAKERS];
	atomic_int resets;
};

/* Should the counter be full, it is emptied, and written to again. */
static void wake(struct loop *loop, bool at_daemon)
{
	uint64_t value;

	while (!try_add(loop->waker, 1, at_daemon)) {
		if (errno != EAGAIN)
			die("wake");
		loop->resets++;
		if (!try_take(loop->waker, &value, at_daemon) && errno != EAGAIN)
			die("reset");
	}
}

/* Asks, and waits for the answer: so each wake-up counts. */
static void ask_often(struct loop *loop, int number)
{
	bool at_daemon = number % 2 == 0;

	for (int i = 0; i < ROUNDS; i++) {
		if (loop->fills && i % 64 == 0)
			fill(loop->waker);
		loop->asked[number]++;
		wake(loop, at_daemon);
		take(loop->answers[number], at_daemon);
	}
}

struct waker_thread {
	struct loop *loop;
	int number;
	pthread_t thread;
};

static void *ask_in_thread(void *argument)
{
	const struct waker_thread *waker = argument;

	ask_often(waker->loop, waker->number);
	return NULL;
}

static void run_loop(struct loop *loop)
{
	int epoll = make_epoll(loop->waker, EPOLLIN | EPOLLET);
	int answered[WAKERS] = { 0 }, left = WAKERS * ROUNDS;
	struct epoll_event event;

	while (left > 0) {
		if (epoll_wait(epoll, &event, 1, -1) != 1)
			die("epoll_wait");
		for (int i = 0; i < WAKERS; i++) {
			if (loop->asked[i] == answered[i])
				continue;
			answered[i]++;
			left--;
			add(loop->answers[i], 1, false);
		}
	}
	close(epoll);
}

/* Two wakers are processes, and two are threads of the loop's. */
static void check_waker(const char *key, bool fills)
{
	struct loop *loop = map_page(PROT_READ | PROT_WRITE, MAP_SHARED);
	struct waker_thread wakers[WAKERS];
	pid_t pids[WAKERS];
	bool well = true;

	loop->waker = make_counter(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->fills = fills;
	for (int i = 0; i < WAKERS; i++) {
		loop->answers[i] = make_counter(0, 0);
		wakers[i] = (struct waker_thread){ .loop = loop, .number = i };
	}
	fflush(stdout);
	for (int i = 0; i < WAKERS / 2; i++) {
		pids[i] = must(fork(), "fork");
		if (pids[i] == 0) {
			ask_often(loop, i);
			_exit(0);
		}
	}
	for (int i = WAKERS / 2; i < WAKERS; i++)
		if (pthread_create(&wakers[i].thread, NULL, ask_in_thread, &wakers[i]) != 0)
			die("pthread_create");
	run_loop(loop);
	for (int i = 0; i < WAKERS / 2; i++)
		well &= ends_well(pids[i]);
	for (int i = WAKERS / 2; i < WAKERS; i++)
		pthread_join(wakers[i].thread, NULL);
	if (fills)
		report(key, "ended-well=%s resets=%s", yes_no(well), yes_no(loop->resets > 0));
	else
		report(key, "ended-well=%s all-counted=%s", yes_no(well),
		       yes_no(final_count(loop->waker) == (uint64_t)WAKERS * ROUNDS));
}

int main(void)
{
	start_output();
	GROUP(check_sum("41.sum-counter", 0, 0));
	GROUP(check_sum("41.sum-semaphore", EFD_SEMAPHORE, 0));
	GROUP(check_sum("37.sum-nearly-full", EFD_SEMAPHORE, COUNT_MAX - WORKERS));
	GROUP(check_killed_at_work("57.killed-mostly-readers", 2, 0));
	GROUP(check_killed_at_work("57.killed-mostly-writers", 6, COUNT_MAX - WORKERS));
	GROUP(check_killed_asleep("57.killed-readers-asleep", 0, 0));
	GROUP(check_killed_asleep("57.killed-writers-asleep", WORKERS, COUNT_MAX));
	GROUP(check_forks("9.forks", use_one));
	GROUP(check_forks("9.forks-beside-openers", make_and_close));
	GROUP(check_closed_in_use());
	GROUP(check_closed_asleep());
	GROUP(check_waker("48.waker-never-read", false));
	GROUP(check_waker("48.waker-full", true));
	return 0;
}
