/* What the parts of the shim share. It is preloaded into the server by the tests of faults, on Linux only. */
#ifndef SHIM_H
#define SHIM_H

#include <stdint.h>

/* What the test sets while the server runs: a small file that both have open. tests/faults/shim.rs knows the order. */
struct control {
    /* Added to the wall clock. */
    volatile int64_t clock_nanoseconds;
    /* At so many calls from now the power is cut, while the server has not said that it listens. 0: it is not. */
    volatile int64_t opening_calls_until_cut;
    /* The same, once it listens. */
    volatile int64_t calls_until_cut;
    /* What can still be written. Below 0: there is no end. */
    volatile int64_t bytes_free;
    /* What writes and changes of names fail with. 0: they do not. */
    volatile int64_t write_errno;
    /* What fsync fails with. */
    volatile int64_t sync_errno;
    /* What fdatasync fails with. */
    volatile int64_t data_sync_errno;
    /* What reads of the files below the root fail with. */
    volatile int64_t read_errno;
    /* Which files, and where: those that are longer, and reads of that byte. Below 0: all reads of all. */
    volatile int64_t read_place;
    /* So many calls are let through before these four count. */
    volatile int64_t calls_until_errors;
    /* So many calls fail by those four, and then no more. Below 0: there is no end. */
    volatile int64_t errors_left;
    /* Which syncs fail: those of the file with this inode. 0: all. */
    volatile int64_t sync_inode;
    /* Told by the shim: how many calls failed. */
    volatile int64_t failed;
};

/* In a file that the test has open too; one that asks for nothing where the test gave none. */
extern struct control *shim_control;

#endif
