/* Whether two cores share a cache: seconds to and fro, and reading what the other core wrote.
 *
 *     gcc -O2 -pthread benchmarks/core_to_core.c -o core_to_core && ./core_to_core
 *
 * Cores 0 and 1. On a virtual machine the answer changes with where the host runs them.
 * With the right to it, at real-time priority; it takes a tenth of a second.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TURNS = 200000, READS = 40, COUNT = 512 * 1024, LINE = 16 }; /* floats: 2 MiB, 64 bytes */

static _Alignas(128) atomic_int turn;
static float *shared;
static volatile float kept; /* or the compiler leaves out what is read */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void run_on(int core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    if (sched_setaffinity(0, sizeof cores, &cores)) {
        perror("expected a machine with cores 0 and 1 that this process may use");
        exit(1);
    }
    struct sched_param priority = {10};
    sched_setscheduler(0, SCHED_FIFO, &priority); /* not allowed to everyone */
}

static void wait_for(int whose) {
    while (atomic_load_explicit(&turn, memory_order_acquire) != whose) {
    }
}

static void give(int whose) { atomic_store_explicit(&turn, whose, memory_order_release); }

static void *other(void *unused) {
    (void)unused;
    run_on(1);
    for (int i = 0; i < TURNS; i++) {
        wait_for(1);
        give(0);
    }
    for (int i = 0; i < READS; i++) {
        wait_for(1);
        for (long k = 0; k < COUNT; k += LINE) shared[k] += 1;
        give(0);
    }
    return NULL;
}

static double seconds_to_read(void) {
    double begin = now();
    float sum = 0;
    for (long k = 0; k < COUNT; k += LINE) sum += shared[k];
    kept = sum;
    return now() - begin;
}

int main(void) {
    shared = aligned_alloc(4096, COUNT * sizeof(float));
    if (!shared) return 1;
    for (long k = 0; k < COUNT; k++) shared[k] = 1;
    pthread_t thread;
    if (pthread_create(&thread, NULL, other, NULL)) return 1;
    run_on(0); /* after that: a thread begins on the core of the one that made it */
    double begin = now();
    for (int i = 0; i < TURNS; i++) {
        give(1);
        wait_for(0);
    }
    double round = (now() - begin) / TURNS, others = 1e9, own = 1e9;
    for (int i = 0; i < READS; i++) {
        give(1);
        wait_for(0);
        double took = seconds_to_read();
        others = took < others ? took : others;
    }
    for (int i = 0; i < READS; i++) {
        double took = seconds_to_read();
        own = took < own ? took : own;
    }
    pthread_join(thread, NULL);
    double gigabytes = COUNT * sizeof(float) / 1e9;
    printf("to and fro %.0f ns; 2 MiB that the other core wrote %.1f GB/s, its own %.1f GB/s\n",
           round * 1e9, gigabytes / others, gigabytes / own);
    return 0;
}
