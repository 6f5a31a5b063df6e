/* The wall clock, moved by as much as the test says. The other clocks go on as they are: they do not jump. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

static const int64_t second = 1000000000;

int clock_gettime(clockid_t clock, struct timespec *time) {
    int outcome = (int)syscall(SYS_clock_gettime, clock, time);
    if (outcome != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) {
        return outcome;
    }
    int64_t offset = shim_control->clock_nanoseconds;
    int64_t nanoseconds = time->tv_nsec + offset % second;
    time->tv_sec += offset / second;
    if (nanoseconds < 0) {
        nanoseconds += second;
        time->tv_sec -= 1;
    } else if (nanoseconds >= second) {
        nanoseconds -= second;
        time->tv_sec += 1;
    }
    time->tv_nsec = nanoseconds;
    return outcome;
}
