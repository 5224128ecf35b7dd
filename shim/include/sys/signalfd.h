/* signalfd(2): signals that are read from a descriptor. */
#ifndef _SYS_SIGNALFD_H
#define _SYS_SIGNALFD_H 1

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags for signalfd: close-on-exec; no waiting. */
#define SFD_CLOEXEC 02000000
#define SFD_NONBLOCK 00004000

/* What a read gives for each signal, 128 bytes. Fields that a signal does not have are 0. */
struct signalfd_siginfo {
	uint32_t ssi_signo;    /* number */
	int32_t ssi_errno;     /* unused */
	int32_t ssi_code;      /* SI_USER, SI_QUEUE, CLD_EXITED and so on */
	uint32_t ssi_pid;      /* sender, or child */
	uint32_t ssi_uid;      /* real user of that process */
	int32_t ssi_fd;        /* SIGIO: descriptor */
	uint32_t ssi_tid;      /* timer */
	uint32_t ssi_band;     /* SIGIO: events */
	uint32_t ssi_overrun;  /* timer: expirations that were missed */
	uint32_t ssi_trapno;   /* fault: trap */
	int32_t ssi_status;    /* SIGCHLD: exit code or signal */
	int32_t ssi_int;       /* sigqueue: value, as an int */
	uint64_t ssi_ptr;      /* sigqueue: value, all of it */
	uint64_t ssi_utime;    /* SIGCHLD: CPU time in user mode, in clock ticks */
	uint64_t ssi_stime;    /* SIGCHLD: CPU time in the system, in clock ticks */
	uint64_t ssi_addr;     /* fault: address */
	uint16_t ssi_addr_lsb; /* fault: least significant bit of the address */
	uint16_t __pad2;
	int32_t ssi_syscall;    /* SIGSYS: system call */
	uint64_t ssi_call_addr; /* SIGSYS: its instruction */
	uint32_t ssi_arch;      /* SIGSYS: its architecture */
	uint8_t __pad[28];
};

/* Returns a descriptor from which the signals in *MASK are read, a new one if FD is -1, or -1 and sets errno. The caller blocks the signals. */
extern int signalfd(int fd, const sigset_t *mask, int flags);

#ifdef __cplusplus
}
#endif

#endif
