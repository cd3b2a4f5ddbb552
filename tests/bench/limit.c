// What this machine asks for at the very least, in the units of the other figures.
//
//   limit send SIZE CONNECTIONS SECONDS FOLDER   a server that reads a message of SIZE bytes and 200 of header, copies it into a mapped file of 1 GiB
//                                                and answers with 250 bytes; each connection waits for its answer. Prints messages a second and the
//                                                server's CPU seconds for a million.
//   limit sync SIZE SECONDS FOLDER               appends of SIZE bytes, each with an fdatasync. Prints milliseconds, mean and 99th percentile.
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

enum { HEADER = 200, ANSWER = 250, FILE_SIZE = 1 << 30, MOST_CONNECTIONS = 1024 };

static int size, connections, listener;
static double seconds;
static volatile int over;
static char path[4096];

static void die(const char *what) { perror(what); unlink(path); exit(1); }

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int make_file(const char *folder) {
    snprintf(path, sizeof path, "%s/limit.%d", folder, getpid());
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file < 0) die(path);
    if (posix_fallocate(file, 0, FILE_SIZE)) die("fallocate");
    unlink(path);
    return file;
}

static void read_all(int fd, char *bytes, int count) {
    for (int got, done = 0; done < count; done += got)
        if ((got = read(fd, bytes + done, count - done)) <= 0) { if (over) pthread_exit(NULL); die("read"); }
}

static void *client(void *unused) {
    (void)unused;
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &length);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (connect(fd, (struct sockaddr *)&address, length)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char *message = calloc(1, size + HEADER), answer[ANSWER];
    while (!over) {
        if (write(fd, message, size + HEADER) != size + HEADER) break;
        read_all(fd, answer, ANSWER);
    }
    return NULL;
}

static int serve(const char *folder) {
    char *file = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, make_file(folder), 0);
    if (file == MAP_FAILED) die("mmap");
    memset(file, 0, FILE_SIZE); // as the broker does ahead of its appends
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 1024)) die("listen");
    int events = epoll_create1(0), one = 1;
    for (int i = 0; i < connections; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, client, NULL);
        struct epoll_event event = {.events = EPOLLIN};
        event.data.fd = accept(listener, NULL, NULL);
        setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(events, EPOLL_CTL_ADD, event.data.fd, &event);
    }
    char *message = malloc(size + HEADER), answer[ANSWER] = {0};
    struct epoll_event ready[MOST_CONNECTIONS];
    long messages = 0, place = 0;
    double begun = now(CLOCK_MONOTONIC), before = now(CLOCK_THREAD_CPUTIME_ID);
    while (now(CLOCK_MONOTONIC) - begun < seconds) {
        int count = epoll_wait(events, ready, MOST_CONNECTIONS, 100);
        for (int i = 0; i < count; i++, messages++) {
            read_all(ready[i].data.fd, message, size + HEADER);
            if (place + size > FILE_SIZE) place = 0;
            memcpy(file + place, message + HEADER, size);
            place += size;
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
    int file = make_file(folder), count = 0, most = FILE_SIZE / size;
    char *bytes = calloc(1, size);
    double *times = calloc(most, sizeof *times), sum = 0, end = now(CLOCK_MONOTONIC) + seconds;
    for (double begun; count < most && (begun = now(CLOCK_MONOTONIC)) < end; count++) {
        if (pwrite(file, bytes, size, (off_t)count * size) != size || fdatasync(file)) die("append");
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
