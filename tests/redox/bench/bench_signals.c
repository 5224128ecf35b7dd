/* What signals cost, with and without a signalfd. "bench_signals signalfd" also measures what takes the patches in kernel-patch. */
#include "bench.h"

/* No more than an unpatched process manager queues of one number. */
#define STREAM 32

static const int batch[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, 0};
#define BATCH (ARRAY_SIZE(batch) - 1)

/* How many of the signals a wait brings: by the signalfd, or without one. */
static size_t await_signals(int fd, sigset_t set)
{
    if (fd >= 0) {
        struct records records = read_records(fd, STREAM);
        if (records.ret < 0)
            die("read");
        return count_records(&records);
    }
    must(sigwaitinfo(&set, NULL), "sigwaitinfo");
    return 1;
}

static int waiter_for(sigset_t set, bool by_signalfd)
{
    return by_signalfd ? make_signalfd(set, 0) : -1;
}

static void close_waiter(int fd)
{
    if (fd >= 0)
        must(close(fd), "close");
}

/* kill() of this process with signals that it blocks, or with none. They are taken each time: one that is pending already would not be sent. */
static void kill_self(bool really, bool watched, struct times *times)
{
    sigset_t set = make_set(batch);
    pid_t self = getpid();
    block(set);
    int fd = waiter_for(set, really && watched);
    for (int sample = 0; sample < SAMPLES; sample++) {
        double start = now_us();
        for (size_t i = 0; i < BATCH; i++)
            send_signal(self, really ? batch[i] : 0);
        set_sample(times, sample, start, BATCH);
        for (size_t taken = 0; really && taken < BATCH;)
            taken += await_signals(fd, set);
    }
    close_waiter(fd);
}

static void kill_unrelated(bool really, struct times *times)
{
    kill_self(really, false, times);
}

static void kill_watched(bool really, struct times *times)
{
    kill_self(really, true, times);
}

/*
 * There and back between two processes, each of which waits for the other's kill. The first one comes when the partner is ready: the alarm() of fork_child
 * creates a thread, and without our patch of relibc a blocked signal that comes before that ends the process.
 */
static void round_trip(bool by_signalfd, struct times *times)
{
    sigset_t set = SIGNALS(SIGUSR1);
    struct gate ready = make_gate();
    pid_t parent = getpid(), partner;
    block(set);
    partner = fork_child();
    int fd = waiter_for(set, by_signalfd);
    if (partner == 0) {
        open_gate(ready);
        for (;;) {
            await_signals(fd, set);
            send_signal(parent, SIGUSR1);
        }
    }
    pass_gate(ready);
    for (int sample = 0; sample < SAMPLES; sample++) {
        double start = now_us();
        send_signal(partner, SIGUSR1);
        await_signals(fd, set);
        set_sample(times, sample, start, 1);
    }
    end_partner(partner);
    close_waiter(fd);
    close_gate(ready);
}

/* Values by sigqueue to another process, which says when it has had so many. What one of them takes. */
static void stream(bool by_signalfd, struct times *times)
{
    sigset_t set = SIGNALS(SIGRTMIN);
    struct gate had = make_gate();
    block(set);
    pid_t reader = fork_child();
    if (reader == 0) {
        int fd = waiter_for(set, by_signalfd);
        for (;;) {
            open_gate(had);
            for (size_t count = 0; count < STREAM;)
                count += await_signals(fd, set);
        }
    }
    pass_gate(had);
    for (int sample = 0; sample < SAMPLES; sample++) {
        double start = now_us();
        for (int value = 0; value < STREAM; value++)
            queue(reader, SIGRTMIN, value);
        pass_gate(had);
        set_sample(times, sample, start, STREAM);
    }
    end_partner(reader);
    close_gate(had);
}

int main(int count, char **arguments)
{
    static const struct benchmark benchmarks[] = {
        /* Before this process has a signalfd. */
        {"signals/unrelated-kill", kill_unrelated, "kill(pid, 0)", false},
        {"signals/watched-kill", kill_watched, "kill(pid, 0)", true},
        {"signals/round-trip", round_trip, "sigwaitinfo", true},
        {"signals/stream", stream, "sigwaitinfo", true},
    };
    measure(benchmarks, ARRAY_SIZE(benchmarks), count == 2 && !strcmp(arguments[1], "signalfd"));
    return 0;
}
