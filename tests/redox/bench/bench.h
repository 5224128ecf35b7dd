/* Shared by the benchmarks on Redox. Each case is measured on eventd and on what it is compared with; a line says both medians and their ratio. */
#ifndef BENCH_H
#define BENCH_H

#include "../../conformance/sigfd.h"

#define SAMPLES 201

/* In microseconds. */
struct times {
    double samples[SAMPLES];
};

struct benchmark {
    const char *name;
    /* Takes all samples, of ours or of the other. */
    void (*run)(bool ours, struct times *times);
    /* What it is compared with. */
    const char *other;
    /* Whether ours takes the patches in kernel-patch. */
    bool needs_patches;
};

static inline double now_us(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_MONOTONIC, &now), "clock_gettime");
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

/* So many operations have been done since `start`. */
static inline void set_sample(struct times *times, int sample, double start, int operations)
{
    times->samples[sample] = (now_us() - start) / operations;
}

static inline int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static inline double median(struct times *times)
{
    qsort(times->samples, SAMPLES, sizeof *times->samples, compare_doubles);
    return times->samples[SAMPLES / 2];
}

/* All others come first: eventd may go on for a while with what ours left to it. */
static inline void measure(const struct benchmark *benchmarks, size_t count, bool patched)
{
    double others[count];
    struct times times;
    start_output();
    printf("%-26s %10s %10s %8s\n", "median in microseconds", "eventd", "other", "ratio");
    for (size_t i = 0; i < count; i++) {
        benchmarks[i].run(false, &times);
        others[i] = median(&times);
    }
    for (size_t i = 0; i < count; i++) {
        const struct benchmark *benchmark = &benchmarks[i];
        if (benchmark->needs_patches && !patched) {
            printf("%-26s %10s %10.3f %8s  %s\n", benchmark->name, "-", others[i], "-", benchmark->other);
            continue;
        }
        benchmark->run(true, &times);
        double ours = median(&times);
        printf("%-26s %10.3f %10.3f %8.2f  %s\n", benchmark->name, ours, others[i], ours / others[i], benchmark->other);
    }
}

static inline void close_gate(struct gate gate)
{
    must(close(gate.ends[0]), "close");
    must(close(gate.ends[1]), "close");
}

static inline void end_partner(pid_t partner)
{
    must(kill(partner, SIGKILL), "kill");
    await_child(partner);
}

#endif
