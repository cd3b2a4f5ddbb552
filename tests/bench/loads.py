"""The loads, and what is measured of a broker under each: one row of the table, or some."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from results import Results, say
from servers import Cluster, maven, rocketmq

FILL_BYTES = 6 << 30
# As much as the measured part of a load may write.
TOUCHED_BYTES = 2 << 30


@dataclass
class Timing:
    """Seconds of a load that are measured and before that; messages a second of those that have a pace."""

    seconds: float
    warm_up: float
    pace: float


def touched_memory() -> io.FileIO:
    """Memory that was free, but for an eighth of all; freed when the file is closed. Pages of a file of holes: memory that was a process's own is not what a kernel gives to a
    file next, and the broker paid 6 us a page of its log in place of 0.5."""
    words = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(words[name].split()[0]) * 1024 for name in ("MemTotal", "MemFree"))
    taken = tempfile.TemporaryFile(buffering=0)
    taken.truncate(min(TOUCHED_BYTES, max(0, free - total // 8)))
    into = bytearray(2 << 20)
    while taken.readinto(into):
        pass
    return taken


def bench(cluster: Cluster, load: str, *options: object, seconds: float, warm_up: float, memory: io.FileIO | None = None) -> dict:
    """One load of `rocketmq bench`; its report. Memory is freed shortly before its measured part."""
    command = [rocketmq(), "bench", load, "--namesrv", cluster.namesrv, "--duration", seconds, "--warm-up", warm_up,
               "--broker-pid", cluster.broker_pid, "-o", "json", *options]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as client:
        try:
            if memory:
                time.sleep(warm_up * 0.8)
                memory.close()
            report, _ = client.communicate()
        finally:
            client.kill()
    if client.returncode:
        raise SystemExit(f"{shlex.join(map(str, command))} has failed")
    return json.loads(report)


def paced(cluster: Cluster, timing: Timing, *options: object, memory: io.FileIO | None = None) -> dict:
    """1 KiB messages at a steady rate."""
    return bench(cluster, "produce", "--size", 1024, "--senders", 64, "--rate", f"{timing.pace:.0f}", *options,
                 seconds=timing.seconds, warm_up=timing.warm_up, memory=memory)


def warm(cluster: Cluster, timing: Timing) -> None:
    """What is hot in a JVM is compiled by then; ours gets the same."""
    bench(cluster, "produce", "--size", 1024, "--senders", 64, seconds=1, warm_up=2 * timing.warm_up)


def official_producer(cluster: Cluster, size: int, threads: int, seconds: float) -> dict:
    """The official benchmark; the broker's CPU and the messages it said it has sent, over the middle of its run."""
    classes = maven("official", "tests/bench/official")
    command = ["java", "-Xmx512m", f"-Duser.home={cluster.folder}", "-cp", classes, "org.apache.rocketmq.example.benchmark.Producer",
               "-n", cluster.namesrv, "-t", "bench", "-w", str(threads), "-s", str(size)]
    # It prints a line every ten seconds and never ends; the first interval is for both JVMs to get warm. Memory stays taken until it is over, or the host would have
    # it again.
    memory = touched_memory()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        try:
            lines = iter(client.stdout.readline, "")
            rates, marks = [], []
            for line in lines:
                told = re.search(r"Send TPS: (\d+)", line)
                if told:
                    rates.append(int(told[1]))
                    memory.close()
                    marks.append((time.monotonic(), cluster.cpu()))
                if len(rates) == 2 and seconds <= 10 or len(rates) == 3:
                    break
        finally:
            client.kill()
    if len(rates) < 2:
        raise SystemExit("the official benchmark ended, or did not say what it sends")
    (begun, before), (ended, after) = marks[0], marks[-1]
    rate = statistics.mean(rates[1:])
    return {"rate": rate, "brokerCpuSecondsPerMillion": (after - before) / (rate * (ended - begun)) * 1e6, "failed": 0}


def asynchronous(results: Results, kind: str, timing: Timing) -> None:
    """Loads on a broker with ASYNC_FLUSH."""
    times = {"seconds": timing.seconds, "warm_up": timing.warm_up}

    def produce(size: int, senders: int, *options: object):
        return lambda cluster: bench(cluster, "produce", "--size", size, "--senders", senders, *options, **times,
                                     memory=touched_memory())

    loads = {f"send {size} B, {senders} senders": produce(size, senders) for size in (128, 1024, 4096) for senders in (16, 64)}
    # Each sender on a connection of its own: nothing can be read or answered together.
    loads["send 1024 B, 16 connections"] = produce(1024, 16, "--producers", 16)
    for size in (128, 1024):
        loads[f"batches of 32, {size} B"] = produce(size, 16, "--batch", 32)
    loads["512 in flight, 128 B"] = produce(128, 512)
    loads["send at half of Java's rate, 1024 B"] = lambda cluster: paced(cluster, timing, memory=touched_memory())
    loads["official benchmark, 1024 B, 64 threads"] = lambda cluster: official_producer(cluster, 1024, 64, timing.seconds)
    loads["pull, messages in memory"] = lambda cluster: pull_from_memory(cluster, times)
    loads["end to end at 1,000 a second"] = lambda cluster: bench(cluster, "latency", "--topic", "latency", "--rate", 1000, **times)
    idle, memory = "idle", "anonymous memory after the loads"
    if not any(results.wants(row) for row in (*loads, idle)):
        return
    with Cluster(kind, flushDiskType="ASYNC_FLUSH") as cluster:
        if results.wants(idle):
            measure_idle(results, cluster)
        warm(cluster, timing)
        for row, load in loads.items():
            if results.wants(row):
                results.load(row, kind, load(cluster))
        # After less than all loads the number would be another one.
        if all(results.wants(row) for row in (*loads, memory)):
            results.add(memory, "MiB", kind, cluster.anonymous_mib())


def pull_from_memory(cluster: Cluster, times: dict) -> dict:
    bench(cluster, "produce", "--topic", "hot", "--size", 1024, "--senders", 64, seconds=3, warm_up=0)
    return bench(cluster, "consume", "--topic", "hot", "--again", **times)


def measure_idle(results: Results, cluster: Cluster) -> None:
    time.sleep(5)
    before, begun = cluster.cpu(), time.monotonic()
    time.sleep(20)
    results.add("idle: CPU of a core", "%", cluster.kind, (cluster.cpu() - before) / (time.monotonic() - begun) * 100)
    results.add("idle: anonymous memory", "MiB", cluster.kind, cluster.anonymous_mib())


def synchronous(results: Results, kind: str, timing: Timing) -> None:
    """Loads on a broker with SYNC_FLUSH."""
    rows = [(f"SYNC_FLUSH, {size} B, {senders} senders", size, senders) for size in (128, 1024) for senders in (1, 16, 64)]
    rows = [row for row in rows if results.wants(row[0])]
    if not rows:
        return
    with Cluster(kind, flushDiskType="SYNC_FLUSH") as cluster:
        warm(cluster, timing)
        for row, size, senders in rows:
            report = bench(cluster, "produce", "--size", size, "--senders", senders, seconds=timing.seconds, warm_up=timing.warm_up,
                           memory=touched_memory())
            results.load(row, kind, report)


def starts(results: Results, kind: str) -> None:
    """Time until the port is open: an empty store, 6 GiB after a clean stop, 6 GiB after kill -9; of the first also until it is registered."""
    if not results.wants("start"):
        return
    with Cluster(kind) as cluster:
        cluster.end("broker")
        shutil.rmtree(cluster.folder / "store")
        results.add("start: empty", "s", kind, cluster.run("broker"))
        results.add("start: empty, until it is registered", "s", kind, cluster.await_registration())
        say("  filling 6 GiB")
        count = FILL_BYTES // 4096
        bench(cluster, "produce", "--size", 4000, "--senders", 16, "--batch", 32, "--count", count, seconds=600, warm_up=0)
        cluster.end("broker")
        results.add("start: 6 GiB, after a clean stop", "s", kind, cluster.run("broker"))
        cluster.await_registration()
        bench(cluster, "produce", "--size", 1024, "--senders", 64, seconds=3, warm_up=0)
        cluster.end("broker", signal.SIGKILL)
        results.add("start: 6 GiB, after kill -9", "s", kind, cluster.run("broker"))


def limits(results: Results, seconds: float) -> None:
    """The least that any server would need here, beside ours in the table (limit.c)."""
    if not results.wants("limit"):
        return
    with tempfile.TemporaryDirectory(prefix="rocketmq-bench.") as folder:
        program = f"{folder}/limit"
        source = Path(__file__).parent / "limit.c"
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-pthread", "-o", program, source], check=True)

        def told(*words: object) -> list[float]:
            done = subprocess.run([program, *map(str, words), folder], stdout=subprocess.PIPE, text=True, check=True)
            return [float(word) for word in done.stdout.split()]

        rate, cost = told("send", 1024, 16, seconds)
        results.add("limit: a round trip and a copy of 1024 B, 16 connections: CPU", "s a million", "ours", cost)
        results.add("limit: a round trip and a copy of 1024 B, 16 connections: rate", "a second", "ours", rate)
        for size in (128, 1024):
            mean, high = told("sync", size, seconds)
            results.add(f"limit: append and fdatasync, {size} B: mean", "ms", "ours", mean)
            results.add(f"limit: append and fdatasync, {size} B: p99", "ms", "ours", high)


