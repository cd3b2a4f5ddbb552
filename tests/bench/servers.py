"""A namesrv and a broker, ours or the official ones, on free loopback ports and with a store of their own."""

import ctypes
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from remoting import GET_BROKER_CLUSTER_INFO, Connection

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")

# As the official start scripts have it on a machine of this size: a fixed heap of 2 GiB, touched, with G1.
JVM = [
    "java", "-server", "-Xms2g", "-Xmx2g", "-XX:+UseG1GC", "-XX:+AlwaysPreTouch", "-XX:MaxDirectMemorySize=2g",
    "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.net=ALL-UNNAMED", "--add-opens=java.base/java.math=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED", "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
]
NAMESRV_JVM = [option for option in JVM if not option.startswith(("-Xm", "-XX:+Always"))] + ["-Xmx256m"]


# Other builds of our program, by the kind of server they are.
programs: dict[str, str] = {}


def rocketmq() -> str:
    """Our program: $ROCKETMQ, or the build of the profile dist."""
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    path = os.environ.get("ROCKETMQ", f"{target}/dist/rocketmq")
    if not os.access(path, os.X_OK):
        raise SystemExit(f"no program at {path}: cargo build --profile dist, or set ROCKETMQ")
    return path


def maven(name: str, folder: str) -> str:
    """Fetches the jars that a pom names, once; the class path."""
    script = f"source '{ROOT}/tests/interop/build.sh'; build_maven {name} '{ROOT}/{folder}' 5.5.0"
    built = subprocess.run(["bash", "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return f"{built}/target/lib/*"


def need_space(count: int) -> None:
    """Ends the program if stores of so many bytes do not fit where they lie."""
    folder = tempfile.gettempdir()
    # Above 85 % both brokers delete files, above 90 % they refuse messages.
    usage = shutil.disk_usage(folder)
    free = usage.free - usage.total * 15 // 100
    told = f"stores lie in {folder}; of its disk {free / 1e9:.0f} GB may be filled before brokers delete files, and up to {count / 1e9:.0f} GB are needed"
    if free < count:
        raise SystemExit(f"{told}; TMPDIR=FOLDER is another place")
    print(told, file=sys.stderr)


def drop_from_cache(folder: Path) -> None:
    """Writes back all files and takes what no process has mapped out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def cached_bytes(path: Path) -> int:
    """How much of a file is in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        # Private and writable: Python hands out the address of such a mapping only.
        with mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
            pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
            first = ctypes.c_char.from_buffer(mapping)
            failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), pages)
            del first
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def free_ports(count: int) -> list[int]:
    """Neighbouring ports without a listener, below those the system hands out."""
    for base in range(20_000, 30_000, 10):
        sockets = []
        try:
            for port in range(base, base + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
            return list(range(base, base + count))
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise SystemExit("no free ports")


def await_port(port: int, process: subprocess.Popen, log: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.002)
    raise SystemExit(f"no process listens on port {port}:\n{log.read_text()[-2000:]}")


class Cluster:
    """One namesrv and one broker of `kind` ("ours", "java", or one of `programs`), started by `with`."""

    def __init__(self, kind: str, wrapper: list[str] | None = None, **settings: object) -> None:
        # A command that the broker's is given to, such as valgrind.
        self.kind, self.wrapper, self.settings = kind, wrapper or [], settings
        self.classes = maven("servers", "tests/interop/servers") if kind == "java" else ""
        self.processes: dict[str, subprocess.Popen] = {}
        self.begun: dict[str, float] = {}

    def write_settings(self) -> None:
        namesrv, _, _, port, replication = free_ports(5)
        self.namesrv, self.port = f"127.0.0.1:{namesrv}", port
        (self.folder / "namesrv.conf").write_text(
            f"listenPort={namesrv}\nkvConfigPath={self.folder}/kv.json\nconfigStorePath={self.folder}/namesrv.properties\n")
        lines = {
            "brokerClusterName": "bench", "brokerName": "broker", "brokerId": 0, "brokerIP1": "127.0.0.1", "brokerIP2": "127.0.0.1",
            "listenPort": port, "haListenPort": replication, "namesrvAddr": self.namesrv, "storePathRootDir": f"{self.folder}/store",
            "storePathCommitLog": f"{self.folder}/store/commitlog", "waitTimeMillsInSendQueue": 3000, **self.settings,
        }
        self.conf = "".join(f"{key}={value}\n" for key, value in lines.items())

    def run(self, role: str) -> float:
        """Starts one of the two; seconds until its port was open."""
        conf, log, home = self.folder / f"{role}.conf", self.folder / f"{role}.log", self.folder / f"{role}-home"
        if role == "broker":
            # The official broker writes into its file.
            conf.write_text(self.conf)
        home.mkdir(exist_ok=True)
        if self.kind == "java":
            main = {"namesrv": "namesrv.NamesrvStartup", "broker": "broker.BrokerStartup"}[role]
            jvm = JVM if role == "broker" else NAMESRV_JVM
            command = [*jvm, f"-Duser.home={home}", "-cp", self.classes, f"org.apache.rocketmq.{main}", "-c", str(conf)]
        else:
            command = [programs.get(self.kind) or rocketmq(), role, "-c", str(conf)]
            if role == "broker":
                command = [*self.wrapper, *command, "-n", self.namesrv]
        begun = self.begun[role] = time.monotonic()
        with log.open("ab") as out:
            # In a session of its own, so that Ctrl-C reaches only us, who end it.
            self.processes[role] = process = subprocess.Popen(
                command, stdout=out, stderr=out, env={**os.environ, "ROCKETMQ_HOME": str(home)}, start_new_session=True)
        await_port(self.port if role == "broker" else int(self.namesrv.split(":")[1]), process, log)
        return time.monotonic() - begun

    def end(self, role: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(role, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def broker_pid(self) -> int:
        return self.processes["broker"].pid

    def bench(self, *words: object) -> None:
        """A load of `rocketmq bench` whose report is not wanted."""
        command = [rocketmq(), "bench", *words, "--namesrv", self.namesrv, "--warm-up", 0, "-o", "json"]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)

    def cpu(self) -> float:
        """CPU seconds of the broker so far."""
        fields = Path(f"/proc/{self.broker_pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def cpu_exact(self) -> float:
        """As `cpu`, in nanoseconds and not in ticks of 10 ms; of the threads that are alive."""
        tasks = Path(f"/proc/{self.broker_pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def anonymous_mib(self) -> float:
        """Resident memory of the broker that is no file's."""
        status = Path(f"/proc/{self.broker_pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) / 1024

    def await_registration(self, seconds: float = 60.0) -> float:
        """Seconds from the start of the broker until the namesrv had its route."""
        end = time.monotonic() + seconds
        with Connection(self.namesrv) as connection:
            while time.monotonic() < end:
                if b'"broker"' in connection.ask(GET_BROKER_CLUSTER_INFO):
                    return time.monotonic() - self.begun["broker"]
                time.sleep(0.002)
        raise SystemExit(f"the broker does not register:\n{(self.folder / 'broker.log').read_text()[-2000:]}")

    def chill(self, files: int) -> None:
        """Starts the broker anew on a store that is not in the page cache; its first commit log files, so many, certainly are not."""
        self.end("broker")
        drop_from_cache(self.folder / "store")
        self.run("broker")
        self.await_registration()
        # Once more, for what the start has read.
        drop_from_cache(self.folder / "store")
        for path in self.commit_log_files()[:files]:
            cached = cached_bytes(path)
            if cached > path.stat().st_size // 100:
                raise SystemExit(f"{cached >> 20} MiB of {path} stay in the page cache; is it on a disk?")

    def commit_log_files(self) -> list[Path]:
        return sorted(self.folder.joinpath("store/commitlog").iterdir())

    def index_state(self) -> tuple[int, int, int]:
        """Index files, entries of the newest, and the place in the commit log up to which it goes."""
        files = sorted(self.folder.joinpath("store/index").glob("*"))
        if not files:
            return 0, 0, 0
        with files[-1].open("rb") as file:
            header = file.read(40)
        return len(files), int.from_bytes(header[36:40], "big"), int.from_bytes(header[24:32], "big")

    def __enter__(self) -> "Cluster":
        self.folder = Path(tempfile.mkdtemp(prefix="rocketmq-bench."))
        try:
            self.write_settings()
            self.run("namesrv")
            self.run("broker")
            self.await_registration()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C waits until nothing is left.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        self.end("broker", signal.SIGKILL)
        self.end("namesrv", signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
