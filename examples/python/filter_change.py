"""Changes the filter of a pump: a device, an operator, a watcher, and the executors of executor.py at one job.

    python filter_change.py [ADDRESS]

What the watcher sees is compared with ../executor/events.txt, which UPDATE_EXPECT=1 rewrites. Ends with 1 and says why
where the server answers anything but what its protos promise.
"""

import difflib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

# First: it makes the generated modules known.
from sync_and_watch import CALL_SECONDS, HERE, WATCH_SECONDS, Mismatch, expect, main

from executor import Execution, Executor
from holdpoint.v1 import action_pb2, event_pb2, job_pb2, job_service_pb2, sync_service_pb2, task_pb2, workflow_pb2
from holdpoint.v1 import task_service_pb2, workflow_service_pb2
from holdpoint.v1 import job_service_pb2_grpc, sync_service_pb2_grpc, task_service_pb2_grpc, workflow_service_pb2_grpc

STORY = HERE.parent / "executor"
EXPECTED = STORY / "events.txt"
# All of it takes a few seconds, unless the machine is very busy.
STORY_SECONDS = 150


def read(name: str, request: Any) -> Any:
    """A request as it stands in a file."""
    return json_format.Parse((STORY / name).read_text(encoding="utf-8"), request)


class Lost(grpc.RpcError):
    """What a client gets when the connection breaks: no word of what became of the call."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "the connection broke"

    def trailing_metadata(self) -> None:
        return None


class BadLine(grpc.UnaryUnaryClientInterceptor):
    """A line that loses, once each, the request or the answer of some reports: those of (state name, status)."""

    def __init__(self, requests: set[tuple[str, str]], answers: set[tuple[str, str]]) -> None:
        self.requests, self.answers = requests, answers
        # What has reached the server, each once.
        self.taken: list[task_service_pb2.UpdateExecutionTaskStatusRequest] = []

    def intercept_unary_unary(self, go_on: Callable[..., Any], details: Any, request: Any) -> Any:
        if not isinstance(request, task_service_pb2.UpdateExecutionTaskStatusRequest):
            return go_on(details, request)
        key = request.state_name, workflow_pb2.ExecutionStatus.Name(request.status).removeprefix("EXECUTION_STATUS_")
        if key in self.requests:
            self.requests.remove(key)
            raise Lost
        answer = go_on(details, request)
        answer.result()
        if request not in self.taken:
            self.taken.append(request)
        if key in self.answers:
            self.answers.remove(key)
            raise Lost
        return answer


class Watcher:
    """Sees all that happens in the organization, from before the first event on."""

    def __init__(self, jobs: job_service_pb2_grpc.JobServiceStub, metadata: list[tuple[str, str]]) -> None:
        self.events: list[event_pb2.JobEvent] = []
        request = job_service_pb2.WatchJobsRequest(start=job_service_pb2.WATCH_START_NOW)
        request.heartbeat.FromSeconds(1)
        self._call = jobs.WatchJobs(request, timeout=WATCH_SECONDS, metadata=metadata)
        expect("the watcher is there before anything is", self._next().WhichOneof("kind"), "created")

    def _next(self) -> job_service_pb2.WatchMessage:
        answer = next(self._call, None)
        if answer is None:
            raise Mismatch("the watch ended")
        self.events += answer.message.batch.events
        return answer.message

    def read_to_the_end(self) -> None:
        """Reads on until the job is closed, and the server says that there is no more."""
        while not any(event.type == event_pb2.JOB_EVENT_TYPE_JOB_CLOSED for event in self.events):
            self._next()
        while not self._next().HasField("checkpoint"):
            pass
        self._call.cancel()


def word(enum: Any, value: int, prefix: str) -> str:
    return enum.Name(value).removeprefix(prefix)


def line(event: event_pb2.JobEvent) -> str:
    """One line of events.txt: the revision, who did it, what, to which step or task, and what came of it."""
    kind, about, detail = word(event_pb2.JobEventType, event.type, "JOB_EVENT_TYPE_"), "", ""
    if kind.startswith("JOB_"):
        detail = " ".join([word(job_pb2.JobStatus, event.job.status, "JOB_STATUS_"), event.job.objective_code])
    elif kind.startswith("WORKFLOW_"):
        attempt = event.workflow_instance.attempts[0]
        detail = ", ".join([f"attempt {attempt.attempt_id}", *sorted(attempt.data)])
    elif kind.startswith("TASK_"):
        execution = event.task.execution
        about = event.task.step_id or execution.state_name
        ended = word(task_pb2.CompletionStatus, event.task.completion_status, "COMPLETION_STATUS_")
        claimed = f"of {execution.started_by.id}, attempt {execution.attempt_id}" if execution.started_by.id else ""
        detail = claimed if ended == "UNSPECIFIED" else ended
    else:
        about, detail = event.step.step_id, word(job_pb2.StepStatus, event.step.status, "STEP_STATUS_")
    return f"{event.revision:>3}  {event.actor.id:<7}  {kind:<16}  {about:<10}  {detail}".rstrip() + "\n"


def too_late(*_: object) -> None:
    raise Mismatch("what should have come next has not come")


def run(address: str) -> None:
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(STORY_SECONDS)
    channel = grpc.insecure_channel(address)
    jobs = job_service_pb2_grpc.JobServiceStub(channel)
    syncs = sync_service_pb2_grpc.SyncServiceStub(channel)
    tasks = task_service_pb2_grpc.TaskServiceStub(channel)
    workflows = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
    # One of our own: nothing else happens in it, and nothing happened before.
    organization = str(uuid.uuid4())

    def call(user: str, method: Callable[..., Any], request: Any) -> Any:
        return method(request, timeout=CALL_SECONDS, metadata=metadata(user))

    def metadata(user: str) -> list[tuple[str, str]]:
        return [("holdpoint-user", user), ("holdpoint-org", organization)]

    def job() -> job_pb2.Job:
        return call("maria", jobs.GetJob, job_service_pb2.GetJobRequest(job_id=job_id)).details.job

    def run_step(step_id: str) -> None:
        request = job_service_pb2.PerformJobActionRequest(
            job_id=job_id, type=action_pb2.JOB_ACTION_TYPE_RUN, step_ids=[step_id]
        )
        expect(f"maria runs {step_id}", call("maria", jobs.PerformJobAction, request).success, True)

    def instance(task: task_pb2.TaskStatus) -> workflow_pb2.WorkflowInstance:
        request = workflow_service_pb2.GetWorkflowInstanceRequest(job_id=job_id, workflow_instance_id=task.id)
        return call("maria", workflows.GetWorkflowInstance, request).workflow_instance

    watcher = Watcher(jobs, metadata("maria"))
    workflow = read("filter-change.json", workflow_service_pb2.PublishWorkflowRequest())
    published = call("maria", workflows.PublishWorkflow, workflow)
    expect("maria publishes how a filter is changed", published.workflow.version_id, "1")
    sync = read("sync.json", sync_service_pb2.BasicSyncRequest())
    synced = call("tablet", syncs.BasicSync, sync)
    expect("the tablet tells of a filter changed", synced.outcome, sync_service_pb2.SYNC_OUTCOME_CREATED)
    job_id = synced.job_id
    expect("so the line is to be flushed", job().current_step_ids, ["flush"])
    run_step("flush")

    # Two executors find the task in their snapshots, and go for it.
    bad_line = BadLine(
        requests={("sample", "STARTED"), ("sample", "CLOSED")},
        answers={("flush", "STARTED"), ("drain", "CLOSED")},
    )
    first = Executor(grpc.intercept_channel(channel, bad_line), "line-1", organization)
    second = Executor(channel, "line-2", organization)
    work, work_of_second = first.work_to_do(), second.work_to_do()
    flushing, same = next(work), next(work_of_second)
    expect("both executors find one task", (flushing.step_id, same.id), ("flush", flushing.id))
    execution = Execution(first, flushing)
    expect("one has it", execution.claim(), True)
    expect("the other does not", second.take(same), False)
    execution.work()
    expect("the line has lost what it was to lose", bad_line.requests | bad_line.answers, set())
    collated = json_format.MessageToDict(instance(flushing).attempts[0])
    parts = {"flush": {"clean": True}, "rinse": {"litres": 40}, "sample": {"turbidity": 0.3}, "drain": {"litres": 38}}
    expect("the execution has the data of all its tasks", (collated["collated"], collated["data"]), (True, parts))
    expect("and lacks none", "missingSequences" in collated, False)

    revision = job().revision
    for report in bad_line.taken:
        report.request_id = str(uuid.uuid4())
        again = call("line-1", tasks.UpdateExecutionTaskStatus, report)
        if (again.outcome, again.revision) != (workflow_pb2.REPORT_OUTCOME_UNCHANGED, revision):
            raise Mismatch(f"{report.state_name} once more was answered {again}")
    expect("each report once more is UNCHANGED", (len(bad_line.taken), job().revision), (8, revision))

    # The next task is made while the executor is away, which then dies of it.
    expect("the step is done, and the job goes on", job().current_step_ids, ["leak-test"])
    first.watch.cancel()
    run_step("leak-test")
    testing = next(work)
    expect("what was made meanwhile is found", testing.step_id, "leak-test")
    expect("and claimed", Execution(first, testing).claim(), True)
    first.watch.cancel()

    # Started anew, as the program that it is, it finds what it had begun.
    command = [sys.executable, str(HERE / "executor.py"), address, "line-1", organization]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            said = ""
            while "CLOSED  the execution" not in said and (said := program.stdout.readline()):
                print(said, end="")
        finally:
            program.terminate()
        print(program.stdout.read(), end="")
    expect("the program does it, and ends well when it is told to", program.returncode, 0)
    attempts = [(attempt.attempt_id, attempt.code, attempt.close_job) for attempt in instance(testing).attempts]
    expect("the second attempt has the objective code", attempts, [(0, "", False), (1, "TIGHT", True)])
    done = job()
    now = (done.status, done.closed, done.objective_code)
    expect("with it the job is completed and closed", now, (job_pb2.JOB_STATUS_COMPLETED, True, "TIGHT"))

    watcher.read_to_the_end()
    revisions = [event.revision for event in watcher.events]
    expect("the watcher has seen each revision, once and in order", revisions, list(range(1, done.revision + 1)))
    history = call("maria", jobs.ListJobEvents, job_service_pb2.ListJobEventsRequest(job_id=job_id, page_size=1000))
    expect("they are the job's history", watcher.events == list(history.events), True)
    seen = [line(event) for event in watcher.events]
    if os.environ.get("UPDATE_EXPECT"):
        EXPECTED.write_text("".join(seen), encoding="utf-8")
    expected = EXPECTED.read_text(encoding="utf-8").splitlines(keepends=True)
    difference = "".join(difflib.unified_diff(expected, seen, "events.txt", "seen"))
    if difference:
        raise Mismatch(f"the events are not those of events.txt:\n{difference}")
    expect("and those of events.txt", len(seen), len(expected))
    channel.close()


if __name__ == "__main__":
    sys.exit(main(run))
