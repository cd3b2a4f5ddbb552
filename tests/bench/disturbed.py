"""Loads on a broker with a large store: sends while something happens to it, beside the same sends just before; and pulls from the disk.

One store serves all: 6.5 GiB of 1 KiB messages, with two keys if an index file shall get full: it takes 20,000,000 entries, three a message. Files have their default sizes.
The broker is stopped and started on it before what reads it cold: pages that a process has mapped leave the cache only with the process.
"""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from loads import Timing, bench, paced, warm
from remoting import DELETE_EXPIRED_COMMIT_LOG, UPDATE_AND_CREATE_TOPIC_LIST, Connection
from results import DISTURBED, Results, say
from servers import Cluster

STORE_BYTES = 13 << 29
# Java's start reads its last three files, so only those before are cold.
COLD_FILES = 4
# Messages whose records are certainly in them.
COLD_MESSAGES = (COLD_FILES << 30) // 1300
INDEX_ENTRIES = 20_000_000
KEYS = ("--keys", 2)
ENTRIES_A_MESSAGE = 3
DELETED_FILES = 3
# Java scans for files to delete a minute after its start for the first time.
JAVA_DELETES_AFTER = 62
TOPICS, TOPICS_A_REQUEST = 10_000, 100

PULL = "pull, messages on the disk"
READ_PACE = 20_000
COLD = DISTURBED + "a consumer reads 4 GiB from the disk, as fast as it can"
COLD_PACED = DISTURBED + f"a consumer reads from the disk, {READ_PACE:,} a second"
INDEX = DISTURBED + "an index file is full and the next is made"
DELETE = DISTURBED + f"{DELETED_FILES} commit log files of 1 GiB are deleted"
REGISTER = DISTURBED + f"{TOPICS:,} topics are made and registered"


def disturbed(results: Results, kind: str, timing: Timing) -> None:
    large = [row for row in (PULL, COLD_PACED, COLD, INDEX, DELETE) if results.wants(row)]
    if not large and not results.wants(REGISTER):
        return
    # What is asked for shall happen at once, not up to ten seconds later.
    with Cluster(kind, flushDiskType="ASYNC_FLUSH", cleanResourceInterval=200) as cluster:
        if large:
            say("  filling 6.5 GiB")
            fill(cluster, KEYS if INDEX in large else ())
        if INDEX in large:
            roll_index(results, cluster, timing)
        if PULL in large:
            start_cold(cluster, timing)
            results.load(PULL, kind, read_cold(cluster, timing))
        for row, pace in ((COLD_PACED, ["--rate", READ_PACE]), (COLD, [])):
            if row in large:
                start_cold(cluster, timing)
                read = measure(results, row, cluster, timing, lambda: read_cold(cluster, timing, *pace))
                results.add(f"{row}: what it reads", "a second", kind, read["rate"])
        warm(cluster, timing)
        if DELETE in large:
            delete_files(results, cluster, timing)
        if results.wants(REGISTER):
            measure(results, REGISTER, cluster, timing, lambda: make_topics(cluster))


def start_cold(cluster: Cluster, timing: Timing) -> None:
    """The broker anew, on a store that is only on the disk; its sends and pulls of new messages are warm."""
    cluster.chill(COLD_FILES)
    warm(cluster, timing)
    bench(cluster, "consume", "--again", seconds=1, warm_up=2 * timing.warm_up)


def delay(timing: Timing) -> float:
    """Seconds until something happens: certainly after the load has started and is warm."""
    return timing.warm_up + timing.seconds / 4


def measure(results: Results, row: str, cluster: Cluster, timing: Timing, happen: Callable, *options: object):
    """The load twice, and what `happen` returns, which begins in the first part of what is measured of the second and may end later."""
    # What was written before this is on the disk: writing it back is part of neither.
    os.sync()
    quiet = paced(cluster, timing, *options)
    def later() -> tuple:
        time.sleep(delay(timing))
        begun = time.monotonic()
        return happen(), time.monotonic() - begun

    with ThreadPoolExecutor(1) as pool:
        happening = pool.submit(later)
        meanwhile = paced(cluster, timing, *options)
        happened, took = happening.result()
    results.disturbed(row, cluster.kind, quiet, meanwhile, took)
    return happened


def fill(cluster: Cluster, keys: tuple) -> None:
    while (indexed := settled_index(cluster)[2]) < STORE_BYTES:
        produce_cold(cluster, max(1000, (STORE_BYTES - indexed) // 1150), keys)


def produce_cold(cluster: Cluster, count: int, keys: tuple) -> None:
    bench(cluster, "produce", "--topic", "cold", "--size", 1024, "--senders", 16, "--batch", 32, *keys, "--count", count, seconds=600, warm_up=0)


def settled_index(cluster: Cluster) -> tuple[int, int, int]:
    """The state of the index when it has everything."""
    before, end = None, time.monotonic() + 600
    while before != (state := cluster.index_state()):
        if time.monotonic() > end:
            raise SystemExit("the index does not come to rest")
        before = state
        time.sleep(1)
    return state


def read_cold(cluster: Cluster, timing: Timing, *options: object) -> dict:
    return bench(cluster, "consume", "--topic", "cold", "--count", COLD_MESSAGES, *options, seconds=timing.seconds, warm_up=0)


def roll_index(results: Results, cluster: Cluster, timing: Timing) -> None:
    # As many entries are left free as the load uses until the middle of its second time.
    free = int(timing.pace * ENTRIES_A_MESSAGE * (2 * timing.warm_up + 1.5 * timing.seconds))
    missing = INDEX_ENTRIES - free - settled_index(cluster)[1]
    if missing < 0:
        raise SystemExit(f"loads of {timing.seconds} s need more entries than an index file has left")
    produce_cold(cluster, missing // ENTRIES_A_MESSAGE, KEYS)
    before = settled_index(cluster)

    def next_file() -> tuple[int, int, int]:
        during, end = cluster.index_state(), time.monotonic() + timing.seconds
        while cluster.index_state()[0] == during[0] and time.monotonic() < end:
            time.sleep(0.05)
        return during

    during = measure(results, INDEX, cluster, timing, next_file, *KEYS)
    after = cluster.index_state()
    if not before[0] == during[0] < after[0]:
        raise SystemExit(f"no index file was made while that was measured: {before}, {during}, {after}")


def delete_files(results: Results, cluster: Cluster, timing: Timing) -> None:
    doomed = cluster.commit_log_files()[:DELETED_FILES]

    def happen() -> None:
        long_ago = time.time() - 30 * 86_400
        for path in doomed:
            os.utime(path, (long_ago, long_ago))
        with Connection(f"127.0.0.1:{cluster.port}") as connection:
            connection.ask(DELETE_EXPIRED_COMMIT_LOG)
        end = time.monotonic() + 60
        while any(path.exists() for path in doomed):
            if time.monotonic() > end:
                raise SystemExit(f"{doomed} are not deleted")
            time.sleep(0.01)

    if cluster.kind == "java":
        left = cluster.begun["broker"] + JAVA_DELETES_AFTER - time.monotonic() - timing.warm_up - timing.seconds - delay(timing)
        time.sleep(max(0.0, left))
    measure(results, DELETE, cluster, timing, happen)


def make_topics(cluster: Cluster) -> None:
    """Ends when the broker has answered all requests, of many topics each."""
    with Connection(f"127.0.0.1:{cluster.port}") as connection:
        for first in range(0, TOPICS, TOPICS_A_REQUEST):
            configs = [{"topicName": f"topic{number}", "readQueueNums": 8, "writeQueueNums": 8, "perm": 6, "topicFilterType": "SINGLE_TAG",
                        "topicSysFlag": 0, "order": False, "attributes": {}} for number in range(first, first + TOPICS_A_REQUEST)]
            connection.ask(UPDATE_AND_CREATE_TOPIC_LIST, json.dumps({"topicConfigList": configs}).encode())
