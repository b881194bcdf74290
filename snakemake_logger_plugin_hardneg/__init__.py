"""Snakemake's output for people: a line a job, what runs now, and a failed job's own message at the end.

Snakemake finds it by its name: `--logger hardneg`, which profiles/default sets. It says as much as Snakemake itself
where that was asked: in a dry run, and with `--verbose`, `--printshellcmds`, `--debug-dag` or `--quiet`. All is in the
log under `.snakemake/log/` in any case.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from logging import LogRecord
from typing import TYPE_CHECKING, Any

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from hardneg.cli.jobs import failure, job_name, result
from hardneg.cli.watch import clock, running, shown
from hardneg.stages.stage import ARTIFACTS

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

UNTOLD = (
    LogEvent.WORKFLOW_STARTED,
    LogEvent.JOB_STARTED,
    LogEvent.RESOURCES_INFO,
    LogEvent.SHELLCMD,
    LogEvent.PROGRESS,
    LogEvent.GROUP_INFO,
    LogEvent.RULEGRAPH,
    LogEvent.DEBUG_DAG,
)
CHATTER = (
    "Assuming unrestricted shared filesystem",
    "host:",
    "Building DAG of jobs",
    "Using shell:",
    "Conda environments: ignored",
    "Group jobs: inactive",
    "Select jobs to execute",
    "Removing temporary output",
    "Removing output files of failed job",
    "Shutting down, this might take",
    "Exiting because a job execution failed",
    "Complete log(s):",
    "Elapsed time:",
)
INTERRUPTED = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
RETOLD = "the same as before this retry"
COMMAND_FAILED = re.compile(
    r"CalledProcessError in file.*(?P<how>returned non-zero exit status \d+|died with .*)\.$", re.DOTALL
)
KILLED = "returned non-zero exit status 137"
OVER = "At least one job did not complete successfully."
REFUSED = re.compile(r'WorkflowError in file ".*", line \d+:\n(?P<message>.*\n  where: .*?)(\n  File ".*)*', re.DOTALL)
"""What the Snakefile says of a wrong configuration, between two lines on its own place."""


@dataclass
class Job:
    """A job that was started: what it is called, its files, and when."""

    name: str
    output: list[str]
    started: float


class LogHandler(LogHandlerBase):
    """Writes to the standard error."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Decide who speaks."""
        asked = self.common_settings
        self._plain = _plain(asked)
        self._as_snakemake = bool(
            asked.dryrun or asked.verbose or asked.printshellcmds or asked.debug_dag or asked.quiet
        )
        self._jobs: dict[int, Job] = {}
        self._failed: dict[int, str] = {}
        self._endings: list[tuple[str, str]] = []  # of commands: Snakemake's words with the command, and how it ended
        self._done = self._total = 0
        self._started = time.time()
        self._interrupted = False
        self._live: Live | None = None

    def emit(self, record: LogRecord) -> None:
        """Tell one record. A fault in here must not end the thread that tells all others."""
        try:
            if self._as_snakemake:
                self._plain.handle(record)
            else:
                self._tell(record, getattr(record, "event", None))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Tell what is to be read last."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        for message in self._failed.values():
            if not (self._interrupted and message.endswith("KeyboardInterrupt")):
                self._say(f"\n{message}")
        if self._interrupted:
            self._say("\nStopped. The same command goes on from here.")
        self._failed, self._interrupted = {}, False
        super().close()

    def _tell(self, record: LogRecord, event: LogEvent | None) -> None:
        said: Any = record.__dict__
        if event == LogEvent.RUN_INFO:
            self._begin(said["stats"]["total"])
        elif event == LogEvent.JOB_INFO:
            self._jobs[said["jobid"]] = Job(
                job_name(said["rule_name"], said["output"]), list(said["output"]), record.created
            )
        elif event == LogEvent.JOB_FINISHED:
            self._finish(said["job_id"], record.created)
        elif event == LogEvent.JOB_ERROR:
            self._fail(said["jobid"], said["rule_name"], said["output"], said["log"])
        elif event == LogEvent.GROUP_ERROR:
            for job in said["job_error_info"]:
                self._fail(job["jobid"], job["rule_name"], job["output"], [*job["log"], *said["aux_logs"]])
        elif event == LogEvent.ERROR:
            self._error(said.get("exception"), str(record.msg))
        elif event not in UNTOLD:
            self._pass_on(record)

    def _begin(self, total: int) -> None:
        self._total, self._started = total, time.time()
        self._say(f"{total} jobs" if total != 1 else "1 job")
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(file=sys.stderr, no_color=self.common_settings.nocolor, highlight=False)
            self._live = Live(console=console, get_renderable=self._now, refresh_per_second=1, transient=True)
            self._live.start()

    def _finish(self, jobid: int, when: float) -> None:
        self._done += 1
        self._failed.pop(jobid, None)  # a retry mended it
        job = self._jobs.pop(jobid, None)
        if job is None or not job.output:  # a target
            return
        self._line(job.name, when - job.started, result(job.output))

    def _fail(self, jobid: int, rule: str, output: list[str], logs: list[str]) -> None:
        job = self._jobs.pop(jobid, None)
        if self._interrupted:  # it ended with the run
            return
        name, message = job_name(rule, output), failure(logs)
        if not message.startswith("error: "):
            message += self._ending(logs)
        self._line(name, time.time() - job.started if job is not None else 0.0, "failed")
        if RETOLD not in message or jobid not in self._failed:
            self._failed[jobid] = f"{name} failed. From {', '.join(logs) or 'no log'}:\n{message}"

    def _ending(self, logs: list[str]) -> str:
        """How the command of a job ended that told nothing of it."""
        hows = [how for text, how in self._endings if any(log in text for log in logs)]
        if not hows:
            return ""
        return "\nIt was killed; perhaps the memory was full." if hows[-1] == KILLED else f"\nIts command {hows[-1]}."

    def _error(self, kind: str | None, text: str) -> None:
        if kind == "KeyboardInterrupt":
            self._interrupted = True
        elif (ended := COMMAND_FAILED.search(text)) is not None:
            self._endings.append((text, ended["how"]))  # the job's own record follows
        elif text.endswith(OVER) and (self._failed or self._interrupted):
            return  # it is told of the jobs
        else:
            refused = REFUSED.fullmatch(text)
            self._say(f"error: {refused['message']}" if refused is not None else text)

    def _pass_on(self, record: LogRecord) -> None:
        text = str(record.msg or "")
        if text.startswith(INTERRUPTED):
            self._interrupted = True
        elif not text.startswith(CHATTER) and self._plain.filter(record) and (told := self._plain.format(record)):
            self._say(told)

    def _line(self, name: str, seconds: float, told: str) -> None:
        place = f"{self._done:>{len(str(self._total))}}/{self._total}"
        elapsed = clock(time.time() - self._started)
        self._say(f"{place}  {elapsed:>7}  {name:<36}  {clock(seconds):>6}  {told}".rstrip())

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _now(self) -> Group:
        """What runs now: the stages that are being made, and the total."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        made = {stage.name: shown(stage) for stage in running(ARTIFACTS)}
        begun = {job.name: job for job in list(self._jobs.values()) if job.output and job.name not in made}
        lines = [f"{name:<28}  begun {clock(time.time() - job.started)} ago" for name, job in begun.items()]
        stages = [Text(line, no_wrap=True, overflow="ellipsis", style="dim") for line in [*made.values(), *lines]]
        total = Table.grid(padding=(0, 1))
        place = f"{self._done}/{self._total} jobs  {clock(time.time() - self._started)}"
        total.add_row(ProgressBar(self._total or 1, self._done, width=36), place)
        return Group(*stages, total)


def _plain(asked: Any) -> ColorizingTextHandler:
    """The handler that Snakemake would have used."""
    handler = ColorizingTextHandler(nocolor=asked.nocolor, stream=sys.stdout if asked.stdout else sys.stderr)
    handler.setFormatter(DefaultFormatter(asked.quiet, asked.show_failed_logs))
    handler.addFilter(DefaultFilter(asked.quiet, asked.debug_dag, asked.verbose, asked.dryrun, asked.printshellcmds))
    return handler
