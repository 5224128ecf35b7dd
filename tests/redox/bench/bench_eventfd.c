/* What an eventfd of eventd's costs, compared with the kernel's pipe. */
#include "bench.h"

#define BATCH 256

/* From those who write to those who read. An eventfd is both of its ends. */
struct channel {
    int in, out;
};

static struct channel make(bool ours)
{
    if (ours) {
        int fd = make_counter(0, 0);
        return (struct channel){fd, fd};
    }
    struct gate gate = make_gate();
    return (struct channel){gate.ends[0], gate.ends[1]};
}

static void release(struct channel channel)
{
    if (channel.out != channel.in)
        must(close(channel.out), "close");
    must(close(channel.in), "close");
}

static void put(struct channel channel)
{
    if (io_write(channel.out, 1).ret != 8)
        die("write");
}

static void take(struct channel channel)
{
    if (io_read(channel.in).ret != 8)
        die("read");
}

static void write_read(bool ours, struct times *times)
{
    struct channel channel = make(ours);
    for (int sample = 0; sample < SAMPLES; sample++) {
        double start = now_us();
        for (int operation = 0; operation < BATCH; operation++) {
            put(channel);
            take(channel);
        }
        set_sample(times, sample, start, BATCH);
    }
    release(channel);
}

static void create_close(bool ours, struct times *times)
{
    for (int sample = 0; sample < SAMPLES; sample++) {
        double start = now_us();
        for (int operation = 0; operation < BATCH; operation++)
            release(make(ours));
        set_sample(times, sample, start, BATCH);
    }
}

/* Waits in a read, or, with an epoll instance, in epoll_wait first. */
static void await(struct channel channel, int epoll)
{
    struct epoll_event event;
    if (epoll >= 0 && must(epoll_wait(epoll, &event, 1, -1), "epoll_wait") != 1)
        die("epoll_wait");
    take(channel);
}

static int epoll_for(struct channel channel, bool wanted)
{
    return wanted ? make_epoll(channel.in, EPOLLIN) : -1;
}

/* There and back between two processes: two writes, two wake-ups, two reads. */
static void play(bool ours, bool by_epoll, struct times *times)
{
    struct channel ping = make(ours), pong = make(ours);
    pid_t partner = fork_child();
    if (partner == 0) {
        int epoll = epoll_for(ping, by_epoll);
        for (;;) {
            await(ping, epoll);
            put(pong);
        }
    }
    int epoll = epoll_for(pong, by_epoll);
    for (int sample = 0; sample < SAMPLES; sample++) {
        double start = now_us();
        put(ping);
        await(pong, epoll);
        set_sample(times, sample, start, 1);
    }
    end_partner(partner);
    if (by_epoll)
        must(close(epoll), "close");
    release(ping);
    release(pong);
}

static void ping_pong(bool ours, struct times *times)
{
    play(ours, false, times);
}

static void ping_pong_epoll(bool ours, struct times *times)
{
    play(ours, true, times);
}

int main(void)
{
    static const struct benchmark benchmarks[] = {
        {"eventfd/write+read", write_read, "pipe", false},
        {"eventfd/ping-pong", ping_pong, "pipe", false},
        {"eventfd/ping-pong-epoll", ping_pong_epoll, "pipe", false},
        {"eventfd/create+close", create_close, "pipe", false},
    };
    measure(benchmarks, ARRAY_SIZE(benchmarks), false);
    return 0;
}
