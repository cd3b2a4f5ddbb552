// What this machine asks for at the very least, in the units of the other figures.
//
//   limit send SIZE CONNECTIONS SECONDS FOLDER   a server that reads a request with a body of SIZE bytes, copies a record of it into a mapped file and answers, which
//                                                its connection waits for. Prints messages a second and the server's CPU seconds for a million, without the clients'.
//   limit sync SIZE SECONDS FOLDER               appends of such records, each with an fdatasync. Prints milliseconds, mean and 99th percentile.
//
// Of the second, blocks were written before. Frames and records are as long as those of `rocketmq bench` (the bytes beside a body are below). As a broker's do, files of 1 GiB get blocks first, pages ahead of
// what is copied, and stay in the page cache, at the server's cost. What neither has in its figure is the kernel writing pages back.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 323, ANSWER = 293, RECORD = 152, FILE_SIZE = 1 << 30, TOUCHED_AHEAD = 8 << 20, SYNC_BYTES = 256 << 20, PIECE = 1 << 20, MOST_CONNECTIONS = 1024 };

static int size, connections; // size: of a body
static double seconds;
static volatile int over;
static char path[4096], *file; // that is appended to
static long place = FILE_SIZE, touched;

static void die(const char *what) { perror(what); unlink(path); exit(1); }

static double now(clockid_t clock) {
    struct timespec time;
    return clock_gettime(clock, &time) ? 0 : time.tv_sec + time.tv_nsec / 1e9;
}

static int make_file(const char *folder) {
    snprintf(path, sizeof path, "%s/limit.%d", folder, getpid());
    int made = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (made < 0) die(path);
    if (posix_fallocate(made, 0, FILE_SIZE)) die("fallocate");
    unlink(path);
    return made;
}

static void read_all(int fd, char *bytes, int count) {
    for (int got, done = 0; done < count; done += got)
        if ((got = read(fd, bytes + done, count - done)) <= 0) { if (over) pthread_exit(NULL); die("read"); }
}

static void *client(void *address) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (connect(fd, address, sizeof(struct sockaddr_in))) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char *message = calloc(1, size + REQUEST), answer[ANSWER];
    for (; !over && write(fd, message, size + REQUEST) == size + REQUEST;) read_all(fd, answer, ANSWER);
    return NULL;
}

static void append(const char *record, const char *folder) {
    if (place + size + RECORD > FILE_SIZE) {
        file = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, make_file(folder), 0);
        if (file == MAP_FAILED) die("mmap");
        place = touched = 0;
    }
    for (; touched < FILE_SIZE && place + size + RECORD > touched; touched += TOUCHED_AHEAD)
        madvise(file + touched, TOUCHED_AHEAD, MADV_POPULATE_WRITE); // an older kernel refuses, and the copy touches them
    memcpy(file + place, record, size + RECORD);
    place += size + RECORD;
}

static int serve(const char *folder) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof any;
    if (bind(listener, (struct sockaddr *)&any, length) || listen(listener, 1024) || getsockname(listener, (struct sockaddr *)&any, &length)) die("listen");
    int events = epoll_create1(0), one = 1;
    for (int i = 0; i < connections; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, client, &any)) die("thread");
        struct epoll_event event = {.events = EPOLLIN, .data.fd = accept(listener, NULL, NULL)};
        setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (epoll_ctl(events, EPOLL_CTL_ADD, event.data.fd, &event)) die("connection");
    }
    char *message = malloc(size + REQUEST), answer[ANSWER] = {0};
    struct epoll_event ready[MOST_CONNECTIONS];
    long messages = 0;
    double begun = now(CLOCK_MONOTONIC), before = now(CLOCK_THREAD_CPUTIME_ID);
    while (now(CLOCK_MONOTONIC) - begun < seconds) {
        int count = epoll_wait(events, ready, MOST_CONNECTIONS, 100);
        for (int i = 0; i < count; i++, messages++) {
            read_all(ready[i].data.fd, message, size + REQUEST);
            append(message, folder);
            if (write(ready[i].data.fd, answer, ANSWER) != ANSWER) die("write");
        }
    }
    over = 1;
    double used = now(CLOCK_THREAD_CPUTIME_ID) - before;
    printf("%.0f %.3f\n", messages / (now(CLOCK_MONOTONIC) - begun), used / messages * 1e6);
    fflush(stdout);
    _exit(0);
}

static int compare(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }

static int sync_appends(const char *folder) {
    int log = make_file(folder), count = 0, length = size + RECORD, most = SYNC_BYTES / length;
    // Blocks that were written once need no note in the journal of the file system.
    char *bytes = calloc(1, length), *zeros = calloc(1, PIECE);
    for (long at = 0; at < SYNC_BYTES; at += PIECE)
        if (pwrite(log, zeros, PIECE, at) != PIECE) die("write");
    if (fsync(log)) die("fsync");
    double *times = calloc(most, sizeof *times), sum = 0, end = now(CLOCK_MONOTONIC) + seconds;
    for (double begun; count < most && (begun = now(CLOCK_MONOTONIC)) < end; count++) {
        if (pwrite(log, bytes, length, (off_t)count * length) != length || fdatasync(log)) die("append");
        sum += times[count] = (now(CLOCK_MONOTONIC) - begun) * 1e3;
    }
    qsort(times, count, sizeof *times, compare);
    printf("%.4f %.4f\n", sum / count, times[count * 99 / 100]);
    return 0;
}

int main(int count, char **words) {
    if (count == 6 && !strcmp(words[1], "send")) {
        size = atoi(words[2]), connections = atoi(words[3]), seconds = atof(words[4]);
        if (size > 0 && connections > 0 && connections <= MOST_CONNECTIONS && seconds > 0) return serve(words[5]);
    }
    if (count == 5 && !strcmp(words[1], "sync")) {
        size = atoi(words[2]), seconds = atof(words[3]);
        if (size > 0 && seconds > 0) return sync_appends(words[4]);
    }
    fprintf(stderr, "limit send SIZE CONNECTIONS SECONDS FOLDER | limit sync SIZE SECONDS FOLDER\n");
    return 2;
}
