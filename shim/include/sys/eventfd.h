/* eventfd(2): a counter that can be waited for through a descriptor. */
#ifndef _SYS_EVENTFD_H
#define _SYS_EVENTFD_H 1

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t eventfd_t;

/* Flags for eventfd: a read takes 1; close-on-exec; no waiting. */
#define EFD_SEMAPHORE 00000001
#define EFD_CLOEXEC 02000000
#define EFD_NONBLOCK 00004000

/* Returns a descriptor of a new counter that starts at INITVAL, or -1 and sets errno. */
extern int eventfd(unsigned int initval, int flags);

/* Reads the counter into *VALUE; returns 0, or -1 and sets errno. */
extern int eventfd_read(int fd, eventfd_t *value);

/* Adds VALUE to the counter; returns 0, or -1 and sets errno. */
extern int eventfd_write(int fd, eventfd_t value);

#ifdef __cplusplus
}
#endif

#endif
