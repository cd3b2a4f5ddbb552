"""A namesrv and a broker, ours or the official ones, on free loopback ports and with a store of their own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

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


def rocketmq() -> str:
    """Our program: $ROCKETMQ, or the release build."""
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    path = os.environ.get("ROCKETMQ", f"{target}/release/rocketmq")
    if not os.access(path, os.X_OK):
        raise SystemExit(f"no program at {path}: cargo build --release, or set ROCKETMQ")
    return path


def maven(name: str, folder: str) -> str:
    """Fetches the jars that a pom names, once; the class path."""
    script = f"source '{ROOT}/tests/interop/build.sh'; build_maven {name} '{ROOT}/{folder}' 5.5.0"
    built = subprocess.run(["bash", "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return f"{built}/target/lib/*"


def free_ports(count: int) -> list[int]:
    """Neighbouring ports that nobody listens on, below those the system hands out."""
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
    raise SystemExit(f"nobody listens on port {port}:\n{log.read_text()[-2000:]}")


class Cluster:
    """One namesrv and one broker of `kind` ("ours" or "java"), started by `with`."""

    def __init__(self, kind: str, **settings: object) -> None:
        self.kind, self.settings = kind, settings
        self.folder = Path(tempfile.mkdtemp(prefix="rocketmq-bench."))
        self.classes = maven("servers", "tests/interop/servers") if kind == "java" else ""
        namesrv, _, _, port, replication = free_ports(5)
        self.namesrv, self.port = f"127.0.0.1:{namesrv}", port
        (self.folder / "namesrv.conf").write_text(
            f"listenPort={namesrv}\nkvConfigPath={self.folder}/kv.json\nconfigStorePath={self.folder}/namesrv.properties\n")
        lines = {
            "brokerClusterName": "bench", "brokerName": "broker", "brokerId": 0, "brokerIP1": "127.0.0.1", "brokerIP2": "127.0.0.1",
            "listenPort": port, "haListenPort": replication, "namesrvAddr": self.namesrv, "storePathRootDir": f"{self.folder}/store",
            "storePathCommitLog": f"{self.folder}/store/commitlog", "waitTimeMillsInSendQueue": 3000, **settings,
        }
        self.conf = "".join(f"{key}={value}\n" for key, value in lines.items())
        self.processes: dict[str, subprocess.Popen] = {}

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
            command = [rocketmq(), role, "-c", str(conf)] + (["-n", self.namesrv] if role == "broker" else [])
        begun = time.monotonic()
        with log.open("ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "ROCKETMQ_HOME": str(home)})
        self.processes[role] = process
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

    def cpu(self) -> float:
        """CPU seconds of the broker so far."""
        fields = Path(f"/proc/{self.broker_pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def anonymous_mib(self) -> float:
        """Resident memory of the broker that is no file's."""
        status = Path(f"/proc/{self.broker_pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) / 1024

    def await_registration(self, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            told = subprocess.run([rocketmq(), "admin", "-n", self.namesrv, "cluster", "list"], capture_output=True, text=True)
            if "broker" in told.stdout:
                return
            time.sleep(0.05)
        raise SystemExit(f"the broker does not register:\n{(self.folder / 'broker.log').read_text()[-2000:]}")

    def __enter__(self) -> "Cluster":
        try:
            self.run("namesrv")
            self.run("broker")
            self.await_registration()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end("broker")
        self.end("namesrv")
        shutil.rmtree(self.folder, ignore_errors=True)
