/* Creation as seen by many processes at once: 149. Only totals are printed, so that they are the same for any number of rounds. */
/* Ten thousand rounds of sixteen processes take a while where each open is several requests to a daemon. */
#undef TIME_LIMIT_SECONDS
#define TIME_LIMIT_SECONDS 120
#include "sem.h"

/* How many semaphores are made at least, by all together. May be lowered with -D for a slow machine. */
#ifndef CREATIONS
#define CREATIONS 10000
#endif

#define PROCESSES 16
#define EXCLUSIVE_ROUNDS (CREATIONS / 4)
#define SHARED_ROUNDS (CREATIONS / 4)
#define APART_ROUNDS (CREATIONS / 2)
#define CHURN_ROUNDS (CREATIONS / 4 / PROCESSES + 1)

/* Two names in turn: the one of the last round is unlinked while the others are already at the next. */
struct race {
	struct meeting meeting;
	struct name names[2];
	atomic_int created;
	atomic_int existed;
	atomic_int wrong_value;
	atomic_int other_error;
	atomic_int rounds_good;
	/* Creators of the round, by parity. */
	atomic_int creators[2];
};

static struct race *new_race(void)
{
	struct race *race = shared_page();

	race->names[0] = make_name("race-even");
	race->names[1] = make_name("race-odd");
	prepare_meeting(&race->meeting, PROCESSES);
	return race;
}

static int run_race(task_body body, struct race *race)
{
	struct task *tasks[PROCESSES];
	int finished = 0;

	for (int i = 0; i < PROCESSES; i++)
		tasks[i] = start_process_with(body, -1, (uint64_t)i, race);
	for (int i = 0; i < PROCESSES; i++) {
		join_task(tasks[i]);
		finished += tasks[i]->finished;
		unmap_page(tasks[i]);
	}
	return finished;
}

static void report_left(const char *key, const struct race *race)
{
	int left = 0;

	for (int i = 0; i < 2; i++)
		left += sem_unlink(race->names[i].text) == 0;
	report(key, "left=%d", left);
}

/* ---- one creator with O_EXCL ---- */

static unsigned int value_of_round(int round)
{
	return (unsigned int)round % 100 + 1;
}

static struct io exclusive_body(struct task *task)
{
	struct race *race = task->data;

	for (int round = 0; round < EXCLUSIVE_ROUNDS; round++) {
		const char *name = race->names[round % 2].text;
		sem_t *sem = sem_open(name, O_CREAT | O_EXCL, MODE_OWNER, value_of_round(round));
		int err = errno;

		if (sem == SEM_FAILED) {
			race->existed += err == EEXIST;
			race->other_error += err != EEXIST;
		} else {
			race->created++;
			race->creators[round % 2]++;
			race->wrong_value += value_of(sem) != (int)value_of_round(round);
		}
		meet(&race->meeting);
		if (sem == SEM_FAILED)
			continue;
		/* If there are two, each finds two or none. */
		race->rounds_good += race->creators[round % 2] == 1;
		race->creators[round % 2] = 0;
		race->other_error += sem_close(sem) != 0 || sem_unlink(name) != 0;
	}
	return io_result(0);
}

static void check_exclusive(void)
{
	struct race *race = new_race();
	int finished = run_race(exclusive_body, race);

	report("149.exclusive-processes", "finished=%d", finished);
	report("149.exclusive-one-creator-each-round", "%s", yes_no(race->rounds_good == EXCLUSIVE_ROUNDS));
	report("149.exclusive-creators", "one-each-round=%s", yes_no(race->created == EXCLUSIVE_ROUNDS));
	report("149.exclusive-others-eexist", "%s", yes_no(race->existed == (PROCESSES - 1) * EXCLUSIVE_ROUNDS));
	report("149.exclusive-wrong-value", "%d", race->wrong_value);
	report("149.exclusive-other-errors", "%d", race->other_error);
	report_left("149.exclusive-afterwards", race);
}

/* ---- everyone creates or opens: one object, with the initial value, and no post is lost ---- */

static struct io shared_body(struct task *task)
{
	struct race *race = task->data;

	for (int round = 0; round < SHARED_ROUNDS; round++) {
		const char *name = race->names[round % 2].text;
		int initial = (int)value_of_round(round), value;
		sem_t *sem = sem_open(name, O_CREAT, MODE_OWNER, (unsigned int)initial);

		if (sem == SEM_FAILED) {
			race->other_error++;
		} else {
			value = value_of(sem);
			race->wrong_value += value < initial || value >= initial + PROCESSES;
			race->other_error += sem_post(sem) != 0 || sem_close(sem) != 0;
		}
		meet(&race->meeting);
		if (round % PROCESSES != (int)task->value)
			continue;
		sem = sem_open(name, 0);
		if (sem == SEM_FAILED) {
			race->other_error++;
			continue;
		}
		race->rounds_good += value_of(sem) == initial + PROCESSES;
		race->other_error += sem_close(sem) != 0 || sem_unlink(name) != 0;
	}
	return io_result(0);
}

static void check_shared(void)
{
	struct race *race = new_race();
	int finished = run_race(shared_body, race);

	report("149.shared-processes", "finished=%d", finished);
	report("149.shared-all-posts-counted", "%s", yes_no(race->rounds_good == SHARED_ROUNDS));
	report("149.shared-wrong-value", "%d", race->wrong_value);
	report("149.shared-other-errors", "%d", race->other_error);
	report_left("149.shared-afterwards", race);
}

/* ---- created and unlinked without any order: whoever gets in finds it whole ---- */

static struct io churn_body(struct task *task)
{
	struct race *race = task->data;
	const char *name = race->names[0].text;

	for (int round = 0; round < CHURN_ROUNDS; round++) {
		sem_t *sem = sem_open(name, O_CREAT, MODE_OWNER, 5);

		if (sem == SEM_FAILED) {
			race->other_error++;
			continue;
		}
		race->created++;
		race->wrong_value += value_of(sem) != 5;
		race->other_error += sem_close(sem) != 0;
		race->other_error += sem_unlink(name) != 0 && errno != ENOENT;
	}
	return io_result(0);
}

static void check_churn(void)
{
	struct race *race = new_race();
	int finished = run_race(churn_body, race);

	report("149.churn-processes", "finished=%d", finished);
	report("149.churn-opened", "always=%s", yes_no(race->created == PROCESSES * CHURN_ROUNDS));
	report("149.churn-wrong-value", "%d", race->wrong_value);
	report("149.churn-other-errors", "%d", race->other_error);
	report_left("149.churn-afterwards", race);
}

/* Half of them create exclusively, half only open. */
static struct io churn_apart_body(struct task *task)
{
	struct race *race = task->data;
	const char *name = race->names[0].text;
	bool creator = task->value % 2 == 0;

	while (race->created < APART_ROUNDS) {
		sem_t *sem = creator ? sem_open(name, O_CREAT | O_EXCL, MODE_OWNER, 5) : sem_open(name, 0);

		if (sem == SEM_FAILED) {
			race->other_error += errno != (creator ? EEXIST : ENOENT);
			sched_yield();
			continue;
		}
		race->created += creator;
		race->wrong_value += value_of(sem) != 5;
		race->other_error += sem_close(sem) != 0;
		/* Only the creator unlinks, so the name is surely there. */
		race->other_error += creator && sem_unlink(name) != 0;
	}
	return io_result(0);
}

static void check_churn_apart(void)
{
	struct race *race = new_race();
	int finished = run_race(churn_apart_body, race);

	report("149.apart-processes", "finished=%d", finished);
	report("149.apart-wrong-value", "%d", race->wrong_value);
	report("149.apart-other-errors", "%d", race->other_error);
	report_left("149.apart-afterwards", race);
}

/* The handles stay open while the name goes on to other objects: each keeps the posts that it got. */
static struct io churn_held_body(struct task *task)
{
	struct race *race = task->data;
	const char *name = race->names[0].text;

	for (int round = 0; round < CHURN_ROUNDS; round++) {
		sem_t *sem = sem_open(name, O_CREAT | O_EXCL, MODE_OWNER, 5);
		int own = 0;

		if (sem == SEM_FAILED) {
			race->other_error += errno != EEXIST;
			sem = sem_open(name, 0);
			if (sem == SEM_FAILED) {
				race->other_error += errno != ENOENT;
				continue;
			}
			race->other_error += sem_post(sem) != 0;
			race->existed++;
			race->other_error += sem_close(sem) != 0;
			continue;
		}
		race->created++;
		race->other_error += sem_unlink(name) != 0;
		/* Guests may still come to a post; what they did until now stays. */
		own = value_of(sem);
		race->wrong_value += own < 5 || own > 5 + PROCESSES * CHURN_ROUNDS || value_of(sem) < own;
		race->other_error += sem_close(sem) != 0;
	}
	return io_result(0);
}

static void check_churn_held(void)
{
	struct race *race = new_race();
	int finished = run_race(churn_held_body, race);

	report("149.held-processes", "finished=%d", finished);
	report("149.held-created", "some=%s", yes_no(race->created > 0));
	report("149.held-wrong-value", "%d", race->wrong_value);
	report("149.held-other-errors", "%d", race->other_error);
	report_left("149.held-afterwards", race);
}

int main(void)
{
	start_semaphores();
	GROUP(check_exclusive());
	GROUP(check_shared());
	GROUP(check_churn());
	GROUP(check_churn_apart());
	GROUP(check_churn_held());
	return 0;
}
