"""An executor: finds the tasks of automatic steps, claims them, does them, and reports how they go.

    python executor.py [ADDRESS] [NAME] [ORGANIZATION]

Goes on until it is told to stop. Several may run, each under a name of its own: a task is done by one of them.
"""

import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc
from grpc_status import rpc_status

# First: it makes the generated modules known.
from sync_and_watch import CALL_SECONDS, main, refusal

from holdpoint.v1 import event_pb2, job_service_pb2, task_pb2, task_service_pb2, workflow_pb2, workflow_service_pb2
from holdpoint.v1 import job_service_pb2_grpc, task_service_pb2_grpc, workflow_service_pb2_grpc

WORKFLOW = "pump-filter-change"
# A minute, or near it.
TRIES_MAX = 12
# The events after the resume token are not to be had any more: a new snapshot is.
TOKEN_IS_LOST = {"RESUME_TOKEN_EXPIRED", "RESUME_TOKEN_FOREIGN"}

STARTED, CLOSED = workflow_pb2.EXECUTION_STATUS_STARTED, workflow_pb2.EXECUTION_STATUS_CLOSED

# When the monotonic clock was 0.
EPOCH_NS = time.time_ns() - time.monotonic_ns()


@dataclass
class Result:
    """What an execution comes to."""

    data: dict[str, Any]
    # The objective code, and whether the job is to be closed with it, whatever steps would follow.
    code: str = ""
    close_job: bool = False


def flush(execution: "Execution") -> Result:
    """Takes a while, so each part of it is a task of its own, for watchers to follow."""
    with execution.part("rinse") as data:
        data["litres"] = 40
    with execution.part("sample") as data:
        data["turbidity"] = 0.3
    with execution.part("drain") as data:
        data["litres"] = 38
    return Result({"clean": True})


def leak_test(_: "Execution") -> Result:
    """One measurement, and one that leaves nothing to be done."""
    return Result({"bar": 6, "loss": 0.01}, code="TIGHT", close_job=True)


# What is done for each step that we know. A real executor would switch pumps.
WORK: dict[str, Callable[["Execution"], Result]] = {"flush": flush, "leak-test": leak_test}


def reason(error: grpc.RpcError) -> str:
    """Why the server refused; empty where it was not the server that did."""
    return refusal(rpc_status.from_call(error))[0]


def may_pass(error: grpc.RpcError) -> bool:
    """Whether the same call may go well later. What the state of the job forbids is not helped by waiting."""
    unanswered = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return unanswered or reason(error) == "OVERLOADED"


class Backoff:
    """Pauses that grow, and of random length, so that not all clients of a server come back at once."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._seconds = 0.1

    def pause(self) -> None:
        self._stopping.wait(self._seconds * random.uniform(0.5, 1))
        self._seconds = min(2 * self._seconds, 10)


def now_ms() -> int:
    """The time of day, by a clock that is not set back while we run: what ends before it starts is refused."""
    return (EPOCH_NS + time.monotonic_ns()) // 1_000_000


class Executor:
    """Finds what there is to do, and does it."""

    def __init__(self, channel: grpc.Channel, name: str, organization: str = "dev") -> None:
        self.reporter = workflow_pb2.Reporter(id=name, name=f"Line control {name}", app_id="line-control")
        self.tasks = task_service_pb2_grpc.TaskServiceStub(channel)
        self.workflows = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        # Who calls. A server in development mode believes it.
        self.metadata = [("holdpoint-user", name), ("holdpoint-org", organization)]
        self._jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self._resume_token = ""
        # Set when there is nothing more to be begun.
        self._stopping = threading.Event()
        # The watch that goes on, for whoever wants to end it.
        self.watch: Any = None

    def say(self, *words: str) -> None:
        print(f"{self.reporter.id:<7}", *words, flush=True)

    def work(self) -> None:
        """Does what there is to do, until it is told to stop."""
        for task in self.work_to_do():
            self.take(task)

    def stop(self) -> None:
        """Ends the work, from another thread: what is in hand is done, unless the server does not answer."""
        self._stopping.set()
        if self.watch:
            self.watch.cancel()

    def work_to_do(self) -> Iterator[task_pb2.TaskStatus]:
        """The tasks to be done: those that are open, then those that are made, for as long as one asks."""
        backoff = Backoff(self._stopping)
        while not self._stopping.is_set():
            try:
                for task in self._watch():
                    backoff = Backoff(self._stopping)
                    yield task
            except grpc.RpcError as error:
                if reason(error) in TOKEN_IS_LOST:
                    self._resume_token = ""
                elif not may_pass(error) and error.code() is not grpc.StatusCode.CANCELLED:
                    raise
            if not self._stopping.is_set():
                self.say("lost the watch, and resumes it")
                backoff.pause()

    def _watch(self) -> Iterator[task_pb2.TaskStatus]:
        request = job_service_pb2.WatchJobsRequest(
            filter=job_service_pb2.JobFilter(workflow_ids=[WORKFLOW], closed=False),
            event_types=[event_pb2.JOB_EVENT_TYPE_TASK_CREATED],
            # Without a token it begins with a snapshot, of the jobs and, with this, of the tasks of their steps.
            views=[job_service_pb2.JOB_VIEW_TASKS],
            resume_token=self._resume_token,
        )
        self.watch = self._jobs.WatchJobs(request, metadata=self.metadata)
        if self._stopping.is_set():
            # Whoever stops us may have seen only the one before.
            self.watch.cancel()
        for answer in self.watch:
            batch = answer.message.batch
            tasks = [task for job in batch.snapshots for task in job.tasks] + [event.task for event in batch.events]
            yield from filter(self._is_for_us, tasks)
            # Not before: what was found and not done is found again after a resume.
            self._resume_token = answer.message.resume_token or self._resume_token

    def _is_for_us(self, task: task_pb2.TaskStatus) -> bool:
        """It does the work of a step we know, goes on, and is nobody's, or was ours before we were started anew."""
        is_open = task.completion_status == task_pb2.COMPLETION_STATUS_UNSPECIFIED
        claimed_by = task.execution.started_by
        is_ours = (claimed_by.id, claimed_by.app_id) == (self.reporter.id, self.reporter.app_id)
        return task.step_id in WORK and is_open and (is_ours or not task.HasField("execution"))

    def persistently(self, send: Callable[[Any], Any], report: Any) -> Any:
        """Sends a report until it is answered, or we are stopped.

        It is the same each time, request id and timestamp and all: where it was taken and only the answer was lost, that
        answer comes again. Without a request id nothing would be done twice either; the answer would be UNCHANGED.
        """
        backoff = Backoff(self._stopping)
        for _ in range(TRIES_MAX - 1):
            try:
                return send(report)
            except grpc.RpcError as error:
                if not may_pass(error) or self._stopping.is_set():
                    raise
            backoff.pause()
        return send(report)

    def take(self, task: task_pb2.TaskStatus) -> bool:
        """Does a task, unless it is another's, or over. Whether it was done."""
        execution = Execution(self, task)
        try:
            if not execution.claim():
                return False
            execution.work()
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND):
                raise
            # TASK_ALREADY_STARTED as a rule: somebody was faster. Whatever it is, there is nothing for us to do.
            self.say(f"leaves {task.step_id}: {reason(error)}: {error.details()}")
            return False
        return True


class Execution:
    """An executor's attempt at a task of a step. To the server it is an attempt at a workflow instance.

    Its names follow from the task: so all executors use the same ones, and nothing but the claim decides between them.
    """

    def __init__(self, executor: Executor, task: task_pb2.TaskStatus) -> None:
        self._executor = executor
        self._task = task
        # What was begun and not finished is begun anew as another attempt, which ends what the one before left open.
        self._attempt_id = task.execution.attempt_id + 1 if task.HasField("execution") else 0
        # The task's is 0, then come its parts.
        self._sequence_ids = count(1)
        # What was not answered yet. A real executor has it in a file, which outlives it.
        self._outbox: list[task_service_pb2.UpdateExecutionTaskStatusRequest] = []

    def claim(self) -> bool:
        """Reports the start: who is first has the task, and who is not is refused. False: it was ended meanwhile."""
        if not self._report_task(STARTED, {}):
            return False
        self._report_execution(STARTED, Result({}))
        return True

    def work(self) -> None:
        """Does the work, and reports that it is done. The step goes on with its task, the job with its step."""
        result = WORK[self._task.step_id](self)
        for report in self._outbox:
            self._executor.persistently(self._send, report)
        if not self._report_task(CLOSED, result.data):
            # Nobody waits for what it comes to.
            result = Result({})
        self._report_execution(CLOSED, result)

    def _report_task(self, status: int, data: dict[str, Any]) -> bool:
        """Reports of the step's task. False: it was ended before, as when an operator stopped the step."""
        answer = self._executor.persistently(self._send, self._report(self._task.id, 0, self._task.step_id, status, data))
        return answer.outcome != workflow_pb2.REPORT_OUTCOME_RECORDED_LATE

    def _report_execution(self, status: int, result: Result) -> None:
        # Without data of its own: when it is closed, the server puts together what its tasks gave.
        report = workflow_service_pb2.UpdateExecutionWorkflowStatusRequest(
            **self._header(status, {}), code=result.code, close_job=result.close_job
        )
        self._executor.persistently(self._send_of_execution, report)

    @contextmanager
    def part(self, name: str) -> Iterator[dict[str, Any]]:
        """A task of our own within the execution, begun and ended with the block, which may fill its data."""
        sequence_id, data = next(self._sequence_ids), {}
        self._tell(self._report(name, sequence_id, name, STARTED, {}))
        yield data
        self._tell(self._report(name, sequence_id, name, CLOSED, data))

    def _tell(self, report: task_service_pb2.UpdateExecutionTaskStatusRequest) -> None:
        """Sends a report once, as the work does not wait for the server; with the next that gets through goes the rest.

        Reports may come in any order: until then the answers tell which sequence ids are missing.
        """
        try:
            self._send(report)
        except grpc.RpcError as error:
            if not may_pass(error):
                raise
            self._outbox.append(report)
            return
        while self._outbox:
            self._executor.persistently(self._send, self._outbox[0])
            del self._outbox[0]

    def _header(self, status: int, data: dict[str, Any]) -> dict[str, Any]:
        return {
            "job_id": self._task.job_id,
            "workflow_instance_id": self._task.id,
            "dispatch_id": self._task.id,
            "attempt_id": self._attempt_id,
            "status": status,
            "timestamp": now_ms(),
            "data": data,
            "meta": {},
            "updated_by": self._executor.reporter,
            "request_id": str(uuid.uuid4()),
        }

    def _report(
        self, task_id: str, sequence_id: int, state_name: str, status: int, data: dict[str, Any]
    ) -> task_service_pb2.UpdateExecutionTaskStatusRequest:
        return task_service_pb2.UpdateExecutionTaskStatusRequest(
            **self._header(status, data), task_id=task_id, sequence_id=sequence_id, state_name=state_name
        )

    def _send(
        self, report: task_service_pb2.UpdateExecutionTaskStatusRequest
    ) -> task_service_pb2.UpdateExecutionTaskStatusResponse:
        answer = self._call(self._executor.tasks.UpdateExecutionTaskStatus, report.state_name, report)
        for gap in answer.missing_sequences:
            self._executor.say(f"        missing: {gap.first} to {gap.last}")
        return answer

    def _send_of_execution(self, report: workflow_service_pb2.UpdateExecutionWorkflowStatusRequest) -> None:
        self._call(self._executor.workflows.UpdateExecutionWorkflowStatus, "the execution", report)

    def _call(self, call: Callable[..., Any], what: str, report: Any) -> Any:
        status = workflow_pb2.ExecutionStatus.Name(report.status).removeprefix("EXECUTION_STATUS_")
        try:
            answer = call(report, timeout=CALL_SECONDS, metadata=self._executor.metadata)
        except grpc.RpcError as error:
            self._executor.say(f"{status:<7} {what:<13} {error.code().name}")
            raise
        outcome = workflow_pb2.ReportOutcome.Name(answer.outcome).removeprefix("REPORT_OUTCOME_")
        self._executor.say(f"{status:<7} {what:<13} {outcome}, revision {answer.revision}")
        return answer


def run(address: str) -> None:
    name = sys.argv[2] if len(sys.argv) > 2 else "line-1"
    organization = sys.argv[3] if len(sys.argv) > 3 else "dev"
    # Told to stop by whoever runs it, or by Ctrl-C: the same. That breaks in nowhere, it is waited for, and no thread that is
    # made from here on gets it.
    told_to_stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, told_to_stop)
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(1) as pool:
        executor = Executor(channel, name, organization)
        work = pool.submit(executor.work)
        # Work that ends by itself has failed.
        work.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGTERM))
        signal.sigwait(told_to_stop)
        executor.stop()
        work.result()
        executor.say("was told to stop")


if __name__ == "__main__":
    sys.exit(main(run))
