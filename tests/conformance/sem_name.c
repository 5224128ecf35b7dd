/* Which names sem_open and sem_unlink take, and which of them are the same name: 130-137. */
#include "sem.h"

#define LONGEST 251

struct long_name {
	char text[1100];
};

/* `slashes` slashes and then `length` characters, the first ones unique to this run. */
static struct long_name make_long(size_t slashes, size_t length)
{
	struct long_name name = { 0 };
	char start[32];

	snprintf(start, sizeof(start), "evt-%d-long-", (int)run_number);
	memset(name.text, '/', slashes);
	memset(name.text + slashes, 'x', length);
	memcpy(name.text + slashes, start, strlen(start));
	return name;
}

static sem_t *create_or_open(const char *name, unsigned int value)
{
	errno = 0;
	return sem_open(name, O_CREAT, 0666, value);
}

static void make_key(char key[96], const char *subject, const char *part)
{
	snprintf(key, 96, "%s-%s", subject, part);
}

/* ---- 130: slashes in front ---- */

static void check_spellings(void)
{
	struct name name = make_name("spelling");
	const char *bare = name.text + 1;
	struct long_name two = { 0 }, many = { 0 };
	sem_t *first, *second, *third, *fourth;

	snprintf(two.text, sizeof(two.text), "/%s", name.text);
	snprintf(many.text, sizeof(many.text), "///////%s", name.text);
	first = report_open("130.one-slash-created", sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, 7));
	second = report_open("130.two-slashes", sem_open(two.text, 0));
	third = report_open("130.no-slash", sem_open(bare, 0));
	fourth = report_open("130.eight-slashes", sem_open(many.text, 0));
	sem_post(first);
	report_value("130.post-seen-by-two-slashes", second);
	sem_post(second);
	report_value("130.post-seen-by-no-slash", third);
	report_call("130.wait-by-no-slash", sem_trywait(third));
	report_value("130.wait-seen-by-eight-slashes", fourth);
	report_open_and_close("130.excl-two-slashes", sem_open(two.text, O_CREAT | O_EXCL, MODE_OWNER, 1));
	report_open_and_close("130.excl-no-slash", sem_open(bare, O_CREAT | O_EXCL, MODE_OWNER, 1));
	report_call("130.close-first", sem_close(first));
	report_call("130.close-second", sem_close(second));
	report_call("130.close-third", sem_close(third));
	report_call("130.close-fourth", sem_close(fourth));
	report_call("130.unlink-by-two-slashes", sem_unlink(two.text));
	report_existing("130.gone-by-one-slash", name.text);
	report_existing("130.gone-by-no-slash", bare);
	report_call("130.unlink-again", sem_unlink(bare));
}

static void check_created_by(const char *key, const char *spelling, const char *plain)
{
	char full[96];

	make_key(full, key, "created");
	report_open_and_close(full, sem_open(spelling, O_CREAT | O_EXCL, MODE_OWNER, 3));
	make_key(full, key, "opened-plainly");
	report_existing(full, plain);
	make_key(full, key, "unlinked-plainly");
	report_call(full, sem_unlink(plain));
	make_key(full, key, "gone");
	report_existing(full, spelling);
}

static void check_created_by_spellings(void)
{
	struct name name = make_name("by-spelling");
	struct long_name two = { 0 };

	snprintf(two.text, sizeof(two.text), "/%s", name.text);
	check_created_by("130.no-slash", name.text + 1, name.text);
	check_created_by("130.two-slashes", two.text, name.text);
}

static void check_case_matters(void)
{
	struct name lower = make_name("case"), upper = make_name("CASE");

	sem_close(create(lower.text, 1));
	report_existing("130.other-case", upper.text);
	report_open_and_close("130.other-case-created", sem_open(upper.text, O_CREAT | O_EXCL, MODE_OWNER, 2));
	report_existing("130.first-case", lower.text);
	sem_unlink(lower.text);
	report_existing("130.other-case-stays", upper.text);
	sem_unlink(upper.text);
}

/* ---- 131, 132: names that are none ---- */

static void check_refused(const char *subject, const char *name)
{
	char key[96];

	make_key(key, subject, "open");
	report_existing(key, name);
	make_key(key, subject, "create");
	report_open_and_close(key, create_or_open(name, 1));
	make_key(key, subject, "create-exclusively");
	report_open_and_close(key, sem_open(name, O_CREAT | O_EXCL, MODE_OWNER, 1));
	make_key(key, subject, "value-too-large");
	report_open_and_close(key, create_or_open(name, UINT_MAX));
	make_key(key, subject, "unlink");
	report_call(key, sem_unlink(name));
}

static void check_empty(void)
{
	check_refused("131.empty", "");
	check_refused("131.one-slash", "/");
	check_refused("131.three-slashes", "///");
}

static void check_slash_inside(void)
{
	struct name plain = make_name("slash");
	struct long_name name = { 0 };

	sem_close(create(plain.text, 4));
	snprintf(name.text, sizeof(name.text), "%s/inside", plain.text);
	check_refused("132.inside", name.text);
	check_refused("132.inside-no-leading", name.text + 1);
	snprintf(name.text, sizeof(name.text), "%s/", plain.text);
	check_refused("132.trailing", name.text);
	snprintf(name.text, sizeof(name.text), "%s//", plain.text);
	check_refused("132.trailing-two", name.text);
	snprintf(name.text, sizeof(name.text), "/.%s", plain.text);
	check_refused("132.dot-in-front", name.text);
	snprintf(name.text, sizeof(name.text), "/..%s", plain.text);
	check_refused("132.dots-in-front", name.text);
	snprintf(name.text, sizeof(name.text), "%s/.", plain.text);
	check_refused("132.dot-behind", name.text);
	report_existing("132.plain-stays", plain.text);
	sem_unlink(plain.text);
}

/* ---- 133: the dots. They cannot be unique to this run: other runs may make and unlink them meanwhile, with the same values. ---- */

static void report_unlinked(const char *key, const char *name, unsigned int value)
{
	int ret = sem_unlink(name);

	for (int i = 0; i < 1000 && ret == -1 && errno == ENOENT; i++) {
		sem_t *sem = create_or_open(name, value);

		if (sem != SEM_FAILED)
			sem_close(sem);
		ret = sem_unlink(name);
	}
	report_call(key, ret);
}

static void check_dots(void)
{
	report_open_and_close("133.dot", create_or_open(".", 1));
	report_open_and_close("133.dots", create_or_open("..", 2));
	report_open_and_close("133.three-dots", create_or_open("...", 3));
	report_open_and_close("133.slash-dot", create_or_open("/.", 1));
	report_open_and_close("133.slash-dots", create_or_open("//..", 2));
	report_open_and_close("133.slash-three-dots", create_or_open("/...", 3));
	report_unlinked("133.unlink-dot", ".", 1);
	report_unlinked("133.unlink-dots", "/..", 2);
	report_unlinked("133.unlink-three-dots", "//...", 3);
}

/* ---- 134, 135: length ---- */

static void check_length(int number, size_t slashes, size_t length)
{
	struct long_name name = make_long(slashes, length);
	char subject[64], key[96];

	snprintf(subject, sizeof(subject), "%d.%zu-after-%zu-slashes", number, length, slashes);
	errno = 0;
	make_key(key, subject, "open-absent");
	report_existing(key, name.text);
	make_key(key, subject, "unlink-absent");
	report_call(key, sem_unlink(name.text));
	make_key(key, subject, "create");
	report_open_and_close(key, create_or_open(name.text, 5));
	make_key(key, subject, "open");
	report_existing(key, name.text);
	make_key(key, subject, "create-exclusively");
	report_open_and_close(key, sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, 5));
	make_key(key, subject, "unlink");
	report_call(key, sem_unlink(name.text));
	make_key(key, subject, "gone");
	report_existing(key, name.text);
}

static void check_lengths_that_fit(void)
{
	check_length(134, 1, 100);
	check_length(134, 1, 250);
	check_length(134, 1, LONGEST);
	check_length(134, 0, LONGEST);
	check_length(134, 4, LONGEST);
	check_length(134, 100, 100);
}

static void check_lengths_too_long(void)
{
	check_length(134, 1, LONGEST + 1);
	check_length(134, 0, LONGEST + 1);
	check_length(134, 1, 254);
	check_length(134, 0, 255);
}

static void check_last_character_counts(void)
{
	struct long_name first = make_long(1, LONGEST), second = first;

	second.text[LONGEST] = 'y';
	sem_close(create(first.text, 1));
	report_existing("134.last-character-differs", second.text);
	report_open_and_close("134.last-character-differs-created", sem_open(second.text, O_CREAT | O_EXCL, MODE_OWNER, 2));
	report_existing("134.first-of-both", first.text);
	sem_unlink(first.text);
	report_existing("134.second-of-both", second.text);
	sem_unlink(second.text);
}

static void check_lengths_far_too_long(void)
{
	check_length(135, 1, 256);
	check_length(135, 0, 257);
	check_length(135, 1, 1000);
}

static void check_long_with_slash_inside(void)
{
	struct long_name name = make_long(1, 300);

	name.text[150] = '/';
	check_refused("135.300-slash-inside", name.text);
	name = make_long(1, LONGEST);
	name.text[150] = '/';
	check_refused("132.251-slash-inside", name.text);
}

/* ---- 137: slashes count in one place of glibc and not in another ---- */

static void check_slashes_beyond_the_limit(const char *subject, size_t slashes, size_t length)
{
	struct long_name name = make_long(slashes, length);
	const char *bare = name.text + slashes;
	char key[96];

	make_key(key, subject, "create");
	report_open_and_close(key, create_or_open(name.text, 6));
	make_key(key, subject, "then-open-bare");
	report_existing(key, bare);
	make_key(key, subject, "then-unlink-bare");
	report_call(key, sem_unlink(bare));
	sem_close(create(bare, 8));
	make_key(key, subject, "open");
	errno = 0;
	report_open_and_close(key, sem_open(name.text, 0));
	make_key(key, subject, "unlink");
	report_call(key, sem_unlink(name.text));
	make_key(key, subject, "gone");
	report_existing(key, bare);
}

/* ---- 130: bytes without a meaning ---- */

static void check_bytes(const char *subject, const char *front, const char *back)
{
	struct long_name name = { 0 };
	char key[96];
	sem_t *sem;

	snprintf(name.text, sizeof(name.text), "/%sevt-%d%s", front, (int)run_number, back);
	make_key(key, subject, "create");
	sem = report_open(key, sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, 3));
	if (sem == SEM_FAILED)
		return;
	sem_post(sem);
	sem_close(sem);
	make_key(key, subject, "open");
	report_existing(key, name.text);
	make_key(key, subject, "unlink");
	report_call(key, sem_unlink(name.text));
	make_key(key, subject, "gone");
	report_existing(key, name.text);
}

static void check_odd_bytes(void)
{
	check_bytes("130.space", " ", " a b ");
	check_bytes("130.percent", "%", "%s%n%41%");
	check_bytes("130.newline", "\n", "-\n");
	check_bytes("130.tab-and-return", "\t", "-\r");
	check_bytes("130.control-bytes", "\x01", "-\x1b\x7f");
	check_bytes("130.not-utf8", "\xff\xfe", "-\x80\xc3(");
	check_bytes("130.cut-utf8", "", "-\xe2\x82");
	check_bytes("130.utf8", "\xc3\xa9", "-\xe6\x97\xa5");
	check_bytes("130.leading-dot", ".", "-hidden");
	check_bytes("130.trailing-dot", "", "-dot.");
	check_bytes("130.dots-inside", "..", "..x..");
	check_bytes("130.prefix-sem", "sem.", "-x");
	check_bytes("130.minus", "-", "-");
	check_bytes("130.quotes", "'\"", "`$(x)\\");
	check_bytes("130.colon", ":", "-a:b");
	check_bytes("130.stars", "*", "?[a]");
	check_bytes("130.hash", "#", "&a=b;c");
}

/* Nothing is taken for another byte, or cut off. */
static void check_odd_names_differ(void)
{
	static const char *const parts[] = {
		"d", "d ", " d", "d\n", "d\xff", "d\xfe", "d\xef\xbf\xbd", "d%20", "d%", "d.", ".d", "sem.d", "-d", "D",
	};
	int created = 0, right = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		sem_t *sem = sem_open(make_name(parts[i]).text, O_CREAT | O_EXCL, MODE_OWNER, (unsigned int)i);

		created += sem != SEM_FAILED;
		if (sem != SEM_FAILED)
			sem_close(sem);
	}
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		sem_t *sem = sem_open(make_name(parts[i]).text, 0);

		if (sem == SEM_FAILED)
			continue;
		right += value_of(sem) == (int)i;
		sem_close(sem);
		sem_unlink(make_name(parts[i]).text);
	}
	report("130.similar-names", "created=%d right=%d of=%zu", created, right, ARRAY_SIZE(parts));
}

/* 251 bytes, of which none is a character. */
static void check_long_odd_name(void)
{
	struct long_name name = make_long(1, LONGEST);

	memset(name.text + 40, 0xff, LONGEST - 39);
	report_open_and_close("134.251-not-utf8-create", sem_open(name.text, O_CREAT | O_EXCL, MODE_OWNER, 9));
	report_existing("134.251-not-utf8-open", name.text);
	report_call("134.251-not-utf8-unlink", sem_unlink(name.text));
}

int main(void)
{
	start_semaphores();
	GROUP(check_spellings());
	GROUP(check_created_by_spellings());
	GROUP(check_case_matters());
	GROUP(check_empty());
	GROUP(check_slash_inside());
	GROUP(check_dots());
	GROUP(check_lengths_that_fit());
	GROUP(check_lengths_too_long());
	GROUP(check_last_character_counts());
	GROUP(check_lengths_far_too_long());
	GROUP(check_long_with_slash_inside());
	GROUP(check_slashes_beyond_the_limit("137.20-slashes-240", 20, 240));
	GROUP(check_slashes_beyond_the_limit("137.5-slashes-251", 5, LONGEST));
	GROUP(check_slashes_beyond_the_limit("137.256-slashes-30", 256, 30));
	GROUP(check_odd_bytes());
	GROUP(check_odd_names_differ());
	GROUP(check_long_odd_name());
	return 0;
}
