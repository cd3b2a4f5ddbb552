"""The numbers of all rounds: kept as JSON, printed as Markdown. A table is made from nothing else, so the two cannot disagree."""

import json
import os
import platform
import re
import statistics
import sys
from pathlib import Path

# What ours is compared with: the heading of its column, what the page is called, and how it speaks of the two.
CONTROLS = {
    "java": ("Java 5.5.0", "Our broker and the official 5.5.0", "Java's"),
    "before": ("before", "Our broker and an earlier build of it", "the earlier build's"),
}
REPORTING_ORDER, LARGEST_ORDER = Path("/sys/module/page_reporting/parameters/page_reporting_order"), 10
# A row that begins so is a load that something happens to.
DISTURBED = "send while "

GUIDE = """\
Each row is the median of all rounds, with the lowest and the highest in parentheses. Both brokers get the same loads from the same clients on the same machine, one after the
other, each with an empty store. `ratio` is how many times better ours is: {control} figure divided by ours, or ours by {control} where more is better. On a small shared machine
it is the CPU seconds a million messages that repeat; rates and times tell what to expect, no more. "limit" is what any server would need (`limit.c`)."""
DISTURBED_GUIDE = """\
Messages of 1 KiB at a steady rate, first quiet, then while something happens to the same broker; "to quiet" is the second time divided by the first, of the same round.
A consumer that reads as fast as it can competes with the sends for the CPU and the disk, so how much it reads stands beside them."""


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    order = reporting_order()
    reporting = "" if order is None else f", free memory goes back to the host in blocks of {4 << order} KiB"
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}{reporting}"


def reporting_order() -> int | None:
    """The order of the blocks in which a virtual machine gives free memory back to its host, if it does: memory used after that costs ten times what other memory does, and is
    charged to the process that uses it first. The larger the blocks the rarer that is."""
    try:
        order = int(REPORTING_ORDER.read_text())
    except (OSError, ValueError):
        return None
    return order if order >= 0 else None


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


class Results:
    def __init__(self, command: str, only: str = "", control: str = "java") -> None:
        self.machine = machine()
        self.control = control
        # In the order in which they were run; a later one has measured rows of an earlier one anew.
        self.commands = [command]
        # By name: unit, command, and the numbers of both kinds.
        self.rows: dict[str, dict] = {}
        self.only = re.compile(only)

    @classmethod
    def read(cls, path: Path) -> "Results":
        kept = json.loads(path.read_text())
        results = cls("", control=kept.get("control", "java"))
        results.machine, results.commands, results.rows = kept["machine"], kept["commands"], kept["rows"]
        return results

    def write(self, path: Path) -> None:
        draft = path.with_name(path.name + ".draft")
        draft.write_text(json.dumps({"machine": self.machine, "control": self.control, "commands": self.commands, "rows": self.rows}, indent=1) + "\n")
        draft.replace(path)

    def over(self, earlier: "Results") -> "Results":
        """The earlier ones, with our rows in the place of theirs; what a load had then and has not now, such as failures, goes."""
        def load(row: str) -> str:
            return row.rsplit(": ", 1)[0]

        measured = {load(row) for row in self.rows}
        merged = Results("", control=self.control)
        merged.machine = earlier.machine
        merged.rows = {row: entry for row, entry in earlier.rows.items() if row in self.rows or load(row) not in measured} | self.rows
        used = {row["command"] for row in merged.rows.values()}
        merged.commands = [command for command in earlier.commands if command in used and command not in self.commands] + self.commands
        return merged

    def wants(self, row: str) -> bool:
        return self.only.search(row) is not None

    def add(self, row: str, unit: str, kind: str, value: float) -> None:
        entry = self.rows.setdefault(row, {"unit": unit, "command": self.commands[-1]})
        entry.setdefault(kind, []).append(value)

    def load(self, row: str, kind: str, report: dict) -> None:
        cost = report["brokerCpuSecondsPerMillion"]
        say(f"  {row}: {report['rate']:,.0f}/s, {cost:.2f} s a million")
        self.add(f"{row}: CPU", "s a million", kind, cost)
        self.add(f"{row}: rate", "a second", kind, report["rate"])
        for name in ("mean", "p50", "p99", "p99.9"):
            if "times" in report:
                self.add(f"{row}: {name}", "ms", kind, report["times"][name])
        self.failures(row, kind, report)

    def disturbed(self, row: str, kind: str, quiet: dict, disturbed: dict, took: float) -> None:
        self.add(f"{row}: how long that takes", "s", kind, took)
        for name in ("p99", "p99.9"):
            before, meanwhile = quiet["times"][name], disturbed["times"][name]
            say(f"  {row}: {name} {before:.2f} ms, then {meanwhile:.2f} ms")
            self.add(f"{row}: {name}, quiet", "ms", kind, before)
            self.add(f"{row}: {name}", "ms", kind, meanwhile)
            self.add(f"{row}: {name} to quiet", "times", kind, meanwhile / before)
        for report in (quiet, disturbed):
            self.failures(row, kind, report)

    def failures(self, row: str, kind: str, report: dict) -> None:
        """Rows of what failed are there only if something did."""
        if report["failed"]:
            say(f"  {report['failed']} failed: {report.get('firstFailure')}")
            self.add(f"{row}: failed", "sends or pulls", kind, report["failed"])

    def markdown(self) -> str:
        def is_cost(row: str, unit: str) -> bool:
            return not row.startswith(DISTURBED) and unit in {"s a million", "%", "MiB", "s"}

        def is_time(row: str, unit: str) -> bool:
            return not row.startswith(DISTURBED) and not is_cost(row, unit)

        heading, title, possessive = CONTROLS[self.control]
        parts = [f"{self.machine}.", GUIDE.format(control=possessive)]
        if self.commands:
            parts.append("Made by, one after the other:" if len(self.commands) > 1 else "Made by:")
            parts.append("\n".join(f"    {command}" for command in self.commands))
        for section, guide, wanted in [
            ("Cost", "", is_cost),
            ("Rates and times", "", is_time),
            ("While something happens", DISTURBED_GUIDE, lambda row, _: row.startswith(DISTURBED)),
        ]:
            lines = [self.line(row, entry) for row, entry in self.rows.items() if wanted(row, entry["unit"])]
            if lines:
                parts += [f"## {section}"] + [guide] * bool(guide)
                parts.append("\n".join([f"| measure | unit | ours | {heading} | ratio |", "|---|---|---|---|---|", *lines]))
        return "\n\n".join([f"# {title}", *parts]) + "\n"

    def line(self, row: str, entry: dict) -> str:
        ours, control = (entry.get(kind, []) for kind in ("ours", self.control))
        ratio = "-"
        if ours and control:
            low, high = statistics.median(ours), statistics.median(control)
            if entry["unit"] == "a second":
                low, high = high, low
            # Builds of one program differ by percents.
            digits = 1 if self.control == "java" else 2
            ratio = f"{high / low:.{digits}f}" if low > 0 else "-"
        return f"| {row} | {entry['unit']} | {span(ours)} | {span(control)} | {ratio} |"


def span(values: list[float]) -> str:
    if not values:
        return "-"
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
