/* What /proc tells about a counter (Linux only): 11, 12, 58, 59, 60. */
#include "conformance.h"

#define TEXT_SIZE 4096

static void report_link(const char *key, int fd)
{
	char path[64], target[256];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, target, sizeof(target));
	if (length < 0)
		report_call(key, -1);
	else
		report(key, "%.*s", (int)length, target);
}

static void report_reopen(const char *key, int fd, int mode)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, mode);
	report_call(key, again < 0 ? -1 : 0);
	if (again >= 0)
		close(again);
}

static void check_name(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);
	int semaphore = make_counter(0, EFD_SEMAPHORE | EFD_CLOEXEC);

	report_link("11.plain", fd);
	report_link("11.semaphore", semaphore);
	report_reopen("12.read-write", fd, O_RDWR | O_NONBLOCK);
	report_reopen("12.read-only", fd, O_RDONLY | O_NONBLOCK);
	report_reopen("12.write-only", fd, O_WRONLY | O_NONBLOCK);
	close(fd);
	close(semaphore);
}

static void read_fdinfo(int fd, char text[TEXT_SIZE])
{
	char path[64];
	ssize_t length;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = must(open(path, O_RDONLY), path);
	length = read(info, text, TEXT_SIZE - 1);
	close(info);
	if (length < 0)
		die("fdinfo");
	text[length] = '\0';
}

/* What follows the field's name and colon, up to the end of the line. */
static bool find_field(const char *text, const char *name, char *value, size_t size)
{
	size_t length = strlen(name);

	for (const char *line = text; line != NULL && *line; ) {
		const char *end = strchr(line, '\n');

		if (strncmp(line, name, length) == 0 && line[length] == ':') {
			snprintf(value, size, "%.*s",
				 (int)(end ? end - line - (long)length - 1 : (long)size),
				 line + length + 1);
			return true;
		}
		line = end ? end + 1 : NULL;
	}
	return false;
}

static void report_field(const char *key, int fd, const char *name)
{
	char text[TEXT_SIZE], value[128];

	read_fdinfo(fd, text);
	if (find_field(text, name, value, sizeof(value)))
		report(key, "[%s]", value);
	else
		report(key, "absent");
}

static void report_field_names(const char *key, int fd)
{
	char text[TEXT_SIZE], *rest = text, *line;

	read_fdinfo(fd, text);
	printf("%s:", key);
	while ((line = strsep(&rest, "\n")) != NULL)
		if (*line)
			printf(" %.*s", (int)strcspn(line, ":"), line);
	putchar('\n');
}

static unsigned long flags_of(int fd)
{
	char text[TEXT_SIZE], value[128];

	read_fdinfo(fd, text);
	if (!find_field(text, "flags", value, sizeof(value)))
		return 0;
	return strtoul(value, NULL, 8);
}

static void report_flags(const char *key, int fd)
{
	unsigned long flags = flags_of(fd);

	report(key, "rdwr=%s nonblock=%s cloexec=%s", yes_no((flags & O_ACCMODE) == O_RDWR),
	       yes_no(flags & O_NONBLOCK), yes_no(flags & O_CLOEXEC));
}

static void check_common_fields(void)
{
	int plain = make_counter(0, 0);
	int flagged = make_counter(0, EFD_NONBLOCK | EFD_CLOEXEC);

	report_field_names("58.fields", plain);
	report_field("58.position", plain, "pos");
	report_flags("58.flags-plain", plain);
	report_flags("58.flags-nonblock-cloexec", flagged);
	close(plain);
	close(flagged);
}

static void check_count(void)
{
	int fd = make_counter(0, EFD_NONBLOCK);

	report_field("59.zero", fd, "eventfd-count");
	io_write(fd, 10);
	report_field("59.ten", fd, "eventfd-count");
	io_write(fd, 0x1234567890 - 10);
	report_field("59.large", fd, "eventfd-count");
	io_read(fd);
	io_write(fd, COUNT_MAX);
	report_field("59.maximum", fd, "eventfd-count");
	io_read(fd);
	report_field("59.after-read", fd, "eventfd-count");
	close(fd);
}

static bool id_of(int fd, char *id, size_t size)
{
	char text[TEXT_SIZE];

	read_fdinfo(fd, text);
	return find_field(text, "eventfd-id", id, size);
}

static void check_id(void)
{
	int first = make_counter(0, 0), second = make_counter(0, 0);
	int copy = must(dup(first), "dup");
	char ids[3][128];

	if (id_of(first, ids[0], sizeof(ids[0])) && id_of(second, ids[1], sizeof(ids[1])) &&
	    id_of(copy, ids[2], sizeof(ids[2]))) {
		report("60.id-number", "%s", yes_no(strspn(ids[0], " 0123456789") == strlen(ids[0])));
		report("60.id-of-other", "same=%s", yes_no(strcmp(ids[0], ids[1]) == 0));
		report("60.id-of-copy", "same=%s", yes_no(strcmp(ids[0], ids[2]) == 0));
	} else {
		report("60.id-number", "absent");
	}
	close(first);
	close(second);
	close(copy);
}

static void check_semaphore_field(void)
{
	int plain = make_counter(0, 0);
	int semaphore = make_counter(0, EFD_SEMAPHORE);

	report_field("60.semaphore-no", plain, "eventfd-semaphore");
	report_field("60.semaphore-yes", semaphore, "eventfd-semaphore");
	close(plain);
	close(semaphore);
}

int main(void)
{
	start_checks();
	check_name();
	check_common_fields();
	check_count();
	check_id();
	check_semaphore_field();
	return 0;
}
