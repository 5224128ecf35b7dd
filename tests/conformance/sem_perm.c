/* Who may open and unlink a semaphore: 145-148, 156. The actors are processes that took on a user; that takes root. */
#include "sem.h"

#include <grp.h>

#define OWNER 65534
#define STRANGER 65533
#define GROUP_OF_OWNER 65534
#define OTHER_GROUP 65533

struct actor {
	uid_t user;
	gid_t group;
};

static const struct actor root = { 0, 0 };
static const struct actor owner = { OWNER, GROUP_OF_OWNER };
static const struct actor owner_elsewhere = { OWNER, OTHER_GROUP };
static const struct actor member = { STRANGER, GROUP_OF_OWNER };
static const struct actor stranger = { STRANGER, OTHER_GROUP };

struct request {
	struct actor actor;
	/* Only the effective ids, so that the process stays root otherwise. */
	bool effective_only;
	const char *name;
	int flags;
	mode_t mode;
	mode_t mask;
	unsigned int value;
};

static void become(const struct actor *actor, bool effective_only)
{
	if (actor->user == 0 && actor->group == 0)
		return;
#ifdef __linux__
	must(setgroups(0, NULL), "setgroups");
#endif
	must(effective_only ? setegid(actor->group) : setgid(actor->group), "setgid");
	must(effective_only ? seteuid(actor->user) : setuid(actor->user), "setuid");
}

static struct io open_result(sem_t *sem)
{
	struct io io = { 0 };

	if (sem == SEM_FAILED)
		return io_result(-1);
	io.has_value = true;
	io.value = (uint64_t)value_of(sem);
	return io;
}

static struct io open_body(struct task *task)
{
	const struct request *request = task->data;

	umask(request->mask);
	become(&request->actor, request->effective_only);
	return open_result(sem_open(request->name, request->flags, request->mode, request->value));
}

static struct io unlink_body(struct task *task)
{
	const struct request *request = task->data;

	become(&request->actor, request->effective_only);
	return io_result(sem_unlink(request->name));
}

static void report_ask(const char *key, task_body body, struct request request)
{
	if (geteuid() != 0)
		report(key, "not root");
	else
		report_ended(key, start_process_with(body, -1, 0, &request));
}

static void report_open_as(const char *key, struct actor actor, const char *name)
{
	report_ask(key, open_body, (struct request){ .actor = actor, .name = name });
}

static void report_unlink_as(const char *key, struct actor actor, const char *name)
{
	report_ask(key, unlink_body, (struct request){ .actor = actor, .name = name });
}

/* Without root nothing is made, since nothing is looked at then. */
static void create_as(struct actor actor, const char *name, mode_t mode, mode_t mask)
{
	struct request request = {
		.actor = actor, .name = name, .flags = O_CREAT | O_EXCL, .mode = mode, .mask = mask, .value = 3,
	};

	struct task *task;

	if (geteuid() != 0)
		return;
	task = start_process_with(open_body, -1, 0, &request);
	join_task(task);
	if (!task->finished || task->result.ret != 0)
		die("create as another user");
	unmap_page(task);
}

/* ---- 145, 147: mode and umask, for each class of opener ---- */

static void check_mode(int number, struct actor creator, mode_t mode, mode_t mask)
{
	static const struct {
		const char *part;
		const struct actor *actor;
	} openers[] = {
		{ "root", &root },
		{ "owner", &owner },
		{ "owner-in-other-group", &owner_elsewhere },
		{ "member-of-group", &member },
		{ "stranger", &stranger },
	};
	struct name name = make_name("mode");
	char key[96];

	create_as(creator, name.text, mode, mask);
	for (size_t i = 0; i < ARRAY_SIZE(openers); i++) {
		if (mask == 0)
			snprintf(key, sizeof(key), "%d.mode-%04o-%s", number, (unsigned int)mode, openers[i].part);
		else
			snprintf(key, sizeof(key), "%d.mode-%04o-umask-%04o-%s", number, (unsigned int)mode, (unsigned int)mask,
				 openers[i].part);
		report_open_as(key, *openers[i].actor, name.text);
	}
	sem_unlink(name.text);
}

static void check_modes(void)
{
	static const mode_t modes[] = {
		0000, 0200, 0400, 0600, 0700, 0100, 0020, 0040, 0060, 0002, 0004, 0006, 0066, 0606, 0660, 0640, 0620, 0662, 0664,
		0666, 0777, 0111,
	};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		check_mode(145, owner, modes[i], 0);
}

/* Bits beyond the nine have no say. */
static void check_high_bits(void)
{
	check_mode(147, owner, 01600, 0);
	check_mode(147, owner, 07666, 0);
	check_mode(147, owner, 06060, 0);
}

static void check_umask(void)
{
	check_mode(147, owner, 0666, 0027);
	check_mode(147, owner, 0666, 0007);
	check_mode(147, owner, 0666, 0022);
	check_mode(147, owner, 0666, 0077);
	check_mode(147, owner, 0666, 0777);
	check_mode(147, owner, 0666, 0600);
	check_mode(147, owner, 0777, 0111);
}

static void check_of_root(const char *part, mode_t mode)
{
	struct name name = make_name("of-root");
	char key[96];

	create_as(root, name.text, mode, 0);
	snprintf(key, sizeof(key), "145.of-root-%s-root", part);
	report_open_as(key, root, name.text);
	snprintf(key, sizeof(key), "145.of-root-%s-stranger", part);
	report_open_as(key, stranger, name.text);
	snprintf(key, sizeof(key), "145.of-root-%s-in-group-of-root", part);
	report_open_as(key, (struct actor){ STRANGER, 0 }, name.text);
	sem_unlink(name.text);
}

static void check_all_of_root(void)
{
	check_of_root("0600", 0600);
	check_of_root("0000", 0000);
	check_of_root("0660", 0660);
	check_of_root("0666", 0666);
}

/* ---- 145: O_CREAT and the rest of the flags on what may not be opened ---- */

static void check_flags_without_permission(void)
{
	struct name name = make_name("flags");
	struct request request = { .actor = stranger, .name = name.text, .mode = 0666, .value = 8 };

	create_as(owner, name.text, 0600, 0);
	report_ask("145.no-flags", open_body, request);
	request.flags = O_CREAT;
	report_ask("145.create", open_body, request);
	request.flags = O_CREAT | O_EXCL;
	report_ask("145.create-exclusively", open_body, request);
	request.flags = O_RDONLY | O_EXCL;
	report_ask("145.exclusively", open_body, request);
	request.flags = O_CREAT;
	request.value = UINT_MAX;
	report_ask("145.create-value-too-large", open_body, request);
	report_open_as("145.unchanged", owner, name.text);
	sem_unlink(name.text);
}

/* O_CREAT gives an existing one neither another mode nor another owner. */
static void check_create_keeps_mode(void)
{
	struct name name = make_name("keeps-mode");
	struct request request = { .actor = owner, .name = name.text, .flags = O_CREAT, .mode = 0666, .value = 8 };

	create_as(owner, name.text, 0600, 0);
	report_ask("141.create-by-owner-with-other-mode", open_body, request);
	report_open_as("141.stranger-after-it", stranger, name.text);
	request.actor = root;
	report_ask("141.create-by-root", open_body, request);
	report_open_as("141.stranger-after-root", stranger, name.text);
	report_open_as("141.owner-after-root", owner, name.text);
	sem_unlink(name.text);
}

/* The mode is asked at every open, of a read-only opener as of others. */
static void check_access_mode(void)
{
	struct name name = make_name("access");
	struct request request = { .actor = owner, .name = name.text, .flags = O_RDONLY };

	create_as(owner, name.text, 0400, 0);
	report_ask("145.read-only-of-0400", open_body, request);
	sem_unlink(name.text);
	create_as(owner, name.text, 0200, 0);
	request.flags = O_WRONLY;
	report_ask("145.write-only-of-0200", open_body, request);
	sem_unlink(name.text);
}

/* ---- 146: the creator's handle, and handles in general, stay good ---- */

struct steps {
	const char *name;
	mode_t mode;
	struct io created, posted, waited, opened_again;
	bool same_address;
};

static struct io creator_body(struct task *task)
{
	struct steps *steps = task->data;
	sem_t *sem, *again;

	become(&owner, false);
	sem = sem_open(steps->name, O_CREAT | O_EXCL, steps->mode, 3);
	steps->created = open_result(sem);
	if (sem == SEM_FAILED)
		return io_result(0);
	steps->posted = io_result(sem_post(sem));
	steps->waited = io_result(sem_trywait(sem));
	again = sem_open(steps->name, 0);
	steps->opened_again = open_result(again);
	steps->same_address = again == sem;
	return io_result(0);
}

static struct io drop_root_body(struct task *task)
{
	struct steps *steps = task->data;
	sem_t *sem = sem_open(steps->name, O_CREAT | O_EXCL, steps->mode, 3), *again;

	steps->created = open_result(sem);
	if (sem == SEM_FAILED)
		return io_result(0);
	become(&owner, false);
	steps->posted = io_result(sem_post(sem));
	steps->waited = io_result(sem_trywait(sem));
	again = sem_open(steps->name, 0);
	steps->opened_again = open_result(again);
	steps->same_address = again == sem;
	return io_result(0);
}

static void check_handle(const char *subject, task_body body, mode_t mode)
{
	struct name name = make_name("handle");
	struct steps *steps = shared_page();
	char key[96];
	bool is_root = geteuid() == 0;

	steps->name = name.text;
	steps->mode = mode;
	if (is_root)
		finish_task(start_process_with(body, -1, 0, steps));
	for (int part = 0; part < 4; part++) {
		static const char *const parts[] = { "created", "post", "wait", "opened-again" };
		const struct io results[] = { steps->created, steps->posted, steps->waited, steps->opened_again };

		snprintf(key, sizeof(key), "%s-%s", subject, parts[part]);
		if (is_root)
			report_io(key, results[part]);
		else
			report(key, "not root");
	}
	snprintf(key, sizeof(key), "%s-same-address", subject);
	report(key, "%s", is_root ? yes_no(steps->same_address) : "not root");
	sem_unlink(name.text);
}

static void check_handles(void)
{
	check_handle("146.creator-0000", creator_body, 0000);
	check_handle("146.creator-0400", creator_body, 0400);
	check_handle("146.creator-0066", creator_body, 0066);
	check_handle("146.creator-0600", creator_body, 0600);
	check_handle("145.root-dropped-0600", drop_root_body, 0600);
	check_handle("145.root-dropped-0666", drop_root_body, 0666);
}

/* ---- 148: the effective ids count ---- */

static void check_effective_creator(void)
{
	struct name name = make_name("effective");
	struct request request = {
		.actor = owner, .effective_only = true, .name = name.text, .flags = O_CREAT | O_EXCL, .mode = 0600, .value = 3,
	};

	report_ask("148.created-by-effective-user", open_body, request);
	report_open_as("148.that-user", owner, name.text);
	report_open_as("148.another-user", stranger, name.text);
	report_unlink_as("148.another-user-unlinks", stranger, name.text);
	report_unlink_as("148.that-user-unlinks", owner, name.text);
	request.mode = 0060;
	report_ask("148.created-by-effective-group", open_body, request);
	report_open_as("148.that-group", member, name.text);
	report_open_as("148.another-group", stranger, name.text);
	sem_unlink(name.text);
}

static void check_effective_opener(void)
{
	struct name name = make_name("opener");
	struct request request = { .actor = stranger, .effective_only = true, .name = name.text };

	create_as(owner, name.text, 0600, 0);
	report_ask("148.effective-stranger", open_body, request);
	report_ask("148.effective-stranger-unlinks", unlink_body, request);
	request.actor = owner;
	report_ask("148.effective-owner", open_body, request);
	sem_unlink(name.text);
	create_as(owner, name.text, 0060, 0);
	request.actor = member;
	report_ask("148.effective-member", open_body, request);
	sem_unlink(name.text);
}

static struct io supplementary_body(struct task *task)
{
	const struct request *request = task->data;
	const gid_t groups[] = { GROUP_OF_OWNER };

	if (setgroups(1, groups) < 0)
		return io_result(-1);
	must(setgid(OTHER_GROUP), "setgid");
	must(setuid(STRANGER), "setuid");
	return open_result(sem_open(request->name, 0));
}

static void check_supplementary_group(void)
{
	struct name name = make_name("supplementary");

	create_as(owner, name.text, 0660, 0);
	report_ask("145.supplementary-group", supplementary_body, (struct request){ .name = name.text });
	sem_unlink(name.text);
}

/* ---- 156: sem_unlink ---- */

static void check_unlink(const char *part, mode_t mode)
{
	struct name name = make_name("unlink");
	char key[96];

	create_as(owner, name.text, mode, 0);
	snprintf(key, sizeof(key), "156.%s-stranger", part);
	report_unlink_as(key, stranger, name.text);
	snprintf(key, sizeof(key), "156.%s-member-of-group", part);
	report_unlink_as(key, member, name.text);
	snprintf(key, sizeof(key), "156.%s-still-there", part);
	report_open_as(key, root, name.text);
	snprintf(key, sizeof(key), "156.%s-owner", part);
	report_unlink_as(key, owner_elsewhere, name.text);
	snprintf(key, sizeof(key), "156.%s-gone", part);
	report_open_as(key, root, name.text);
}

static void check_unlinks(void)
{
	struct name name = make_name("unlink-root");

	report_unlink_as("156.absent-stranger", stranger, name.text);
	report_call("156.absent", sem_unlink(name.text));
	check_unlink("0600", 0600);
	check_unlink("0000", 0000);
	check_unlink("0666", 0666);
	check_unlink("0777", 0777);
	create_as(owner, name.text, 0600, 0);
	report_unlink_as("156.root-unlinks", root, name.text);
	report_open_as("156.root-unlinked", owner, name.text);
	create_as(root, name.text, 0666, 0);
	report_unlink_as("156.of-root", stranger, name.text);
	report_open_as("156.of-root-still-there", stranger, name.text);
	sem_unlink(name.text);
}

/* The next one under the name is its creator's. */
static void check_next_owner(void)
{
	struct name name = make_name("next");

	create_as(owner, name.text, 0600, 0);
	report_unlink_as("148.first-owner-unlinks", owner, name.text);
	create_as(stranger, name.text, 0600, 0);
	report_open_as("148.first-owner", owner, name.text);
	report_unlink_as("148.first-owner-unlinks-next", owner, name.text);
	report_open_as("148.next-owner", stranger, name.text);
	report_unlink_as("148.next-owner-unlinks", stranger, name.text);
}

int main(void)
{
	start_semaphores();
	GROUP(check_modes());
	GROUP(check_high_bits());
	GROUP(check_umask());
	GROUP(check_all_of_root());
	GROUP(check_flags_without_permission());
	GROUP(check_create_keeps_mode());
	GROUP(check_access_mode());
	GROUP(check_handles());
	GROUP(check_effective_creator());
	GROUP(check_effective_opener());
	GROUP(check_supplementary_group());
	GROUP(check_unlinks());
	GROUP(check_next_owner());
	return 0;
}
