/* Handles over fork: 159, and 152 between processes. */
#include "sem.h"

struct family {
	struct name name;
	sem_t *sem;
	atomic_int step;
	atomic_bool same_address;
	struct io results[4];
};

static struct family *new_family(const char *part, unsigned int value)
{
	struct family *family = shared_page();

	family->name = make_name(part);
	family->sem = create(family->name.text, value);
	return family;
}

static void end_family(struct family *family)
{
	close_and_unlink(family->sem, family->name.text);
	unmap_page(family);
}

static struct io close_body(struct task *task)
{
	return io_result(sem_close(task->data));
}

static void check_fork_shares(void)
{
	struct family *family = new_family("fork", 0);
	struct task *child;

	report_ended("159.child-posts", start_waiter_process(post_body, family->sem));
	report_value("159.parent-sees", family->sem);
	report_call("159.parent-waits", sem_trywait(family->sem));
	child = start_waiter_process(wait_body, family->sem);
	report_waiting("159.child-waits", child);
	sem_post(family->sem);
	report_task("159.child-got-it", child);
	report_value("159.value-afterwards", family->sem);
	end_family(family);
}

static void check_child_closes(void)
{
	struct family *family = new_family("child-closes", 3);

	report_ended("159.child-closes", start_process_with(close_body, -1, 0, family->sem));
	report_value("159.parent-value", family->sem);
	report_call("159.parent-posts", sem_post(family->sem));
	report_ended("159.second-child-closes", start_process_with(close_body, -1, 0, family->sem));
	report_same_address("159.parent-opens-again", family->sem, open_existing(family->name.text));
	report_call("159.parent-closes", sem_close(family->sem));
	report_value("159.parent-still-has-it", family->sem);
	end_family(family);
}

/* The count of references is inherited, and then each process has its own. */
static struct io count_references_body(struct task *task)
{
	struct family *family = task->data;

	family->same_address = sem_open(family->name.text, 0) == family->sem;
	for (int i = 0; i < 4; i++)
		family->results[i] = io_result(sem_close(family->sem));
	return io_result(0);
}

static void check_references(void)
{
	struct family *family = new_family("fork-references", 3);

	open_existing(family->name.text);
	finish_task(start_process_with(count_references_body, -1, 0, family));
	report("159.child-opens", "same-address=%s", yes_no(family->same_address));
	report_io("159.child-closes-first", family->results[0]);
	report_io("159.child-closes-second", family->results[1]);
	report_io("159.child-closes-third", family->results[2]);
	report_io("159.child-closes-fourth", family->results[3]);
	report_call("159.parent-closes-first", sem_close(family->sem));
	report_value("159.parent-value-by-second", family->sem);
	report_call("159.parent-closes-second", sem_close(family->sem));
	report_call("159.parent-closes-third", sem_close(family->sem));
	sem_unlink(family->name.text);
}

static struct io keep_body(struct task *task)
{
	struct family *family = task->data;

	wait_for(&family->step, 1);
	family->results[0] = io_result(sem_wait(family->sem));
	family->results[1] = io_result(sem_post(family->sem));
	family->results[2] = (struct io){ .has_value = true, .value = (uint64_t)value_of(family->sem) };
	family->results[3] = io_result(sem_close(family->sem));
	return io_result(0);
}

static void check_parent_closes(void)
{
	struct family *family = new_family("parent-closes", 3);
	struct task *child = start_process_with(keep_body, -1, 0, family);

	report_call("159.closed-by-parent", sem_close(family->sem));
	report_call("159.unlinked-by-parent", sem_unlink(family->name.text));
	family->step = 1;
	finish_task(child);
	report_io("159.child-kept-wait", family->results[0]);
	report_io("159.child-kept-post", family->results[1]);
	report_io("159.child-kept-value", family->results[2]);
	report_io("159.child-kept-close", family->results[3]);
	unmap_page(family);
}

static struct io grandchild_body(struct task *task)
{
	struct family *family = task->data;
	struct task *grandchild = start_process_with(post_body, -1, 0, family->sem);

	join_task(grandchild);
	return grandchild->finished ? grandchild->result : io_result(-1);
}

static void check_grandchild(void)
{
	struct family *family = new_family("grandchild", 0);

	report_ended("159.grandchild-posts", start_process_with(grandchild_body, -1, 0, family));
	report_value("159.grandparent-sees", family->sem);
	end_family(family);
}

/* Each opens the name by itself, the parent only after the child. */
static struct io create_and_wait_body(struct task *task)
{
	struct family *family = task->data;
	sem_t *sem = sem_open(family->name.text, O_CREAT | O_EXCL, MODE_OWNER, 0);

	family->step = 1;
	return io_result(sem == SEM_FAILED ? -1 : sem_wait(sem));
}

static void check_opened_apart(void)
{
	struct family *family = shared_page();
	struct task *child;
	sem_t *sem;

	family->name = make_name("apart");
	child = start_process_with(create_and_wait_body, -1, 0, family);
	wait_for(&family->step, 1);
	sem = report_open("159.created-by-child", sem_open(family->name.text, 0));
	report_call("159.posted-by-parent", sem_post(sem));
	report_ended("159.waited-by-child", child);
	report_value("159.apart-value", sem);
	close_and_unlink(sem, family->name.text);
	unmap_page(family);
}

/* The child unlinks and makes another under the name (152): the parent's next open gets that one. */
static struct io replace_body(struct task *task)
{
	struct family *family = task->data;
	sem_t *sem;

	sem_unlink(family->name.text);
	sem = sem_open(family->name.text, O_CREAT | O_EXCL, MODE_OWNER, 40);
	return io_result(sem == SEM_FAILED ? -1 : 0);
}

static void check_replaced_by_child(void)
{
	struct family *family = new_family("replaced", 3);
	sem_t *new;

	report_ended("152.replaced-by-child", start_process_with(replace_body, -1, 0, family));
	report_value("152.replaced-old", family->sem);
	new = report_open("152.replaced-new", sem_open(family->name.text, 0));
	report_same_address("152.replaced-addresses", family->sem, new);
	report_call("152.replaced-close-new", sem_close(new));
	report_value("152.replaced-old-kept", family->sem);
	end_family(family);
}

int main(void)
{
	start_semaphores();
	GROUP(check_fork_shares());
	GROUP(check_child_closes());
	GROUP(check_references());
	GROUP(check_parent_closes());
	GROUP(check_grandchild());
	GROUP(check_opened_apart());
	GROUP(check_replaced_by_child());
	return 0;
}
