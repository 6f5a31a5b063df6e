"""Syncs two jobs as a device would, and watches what becomes of them.

    python sync_and_watch.py [ADDRESS]

Ends with 1 and says why where the server answers anything but what its protos promise.
"""

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "build"))

from holdpoint.v1 import event_pb2, job_pb2, job_service_pb2, sync_service_pb2  # noqa: E402
from holdpoint.v1 import job_service_pb2_grpc, sync_service_pb2_grpc  # noqa: E402

BODY = (HERE.parent / "basic-sync.json").read_text(encoding="utf-8")

# Far more than a call takes; but a disk that is busy with something else may keep its answer back for seconds.
CALL_SECONDS = 30
# A watch goes on for ever by itself; this one is known to end soon.
WATCH_SECONDS = 150

Event = tuple[str, str, int]


class Mismatch(Exception):
    """The server answered something else than it promises."""


def expect(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise Mismatch(f"{what}: expected {expected!r}, got {actual!r}")
    print(f"ok: {what}")


class Watch:
    """A watch of some jobs, read message by message."""

    def __init__(self, jobs: job_service_pb2_grpc.JobServiceStub, filter: job_service_pb2.JobFilter,
                 resume_token: str = "") -> None:
        request = job_service_pb2.WatchJobsRequest(filter=filter, resume_token=resume_token)
        # After a second of silence the server says that there is nothing more so far.
        request.heartbeat.FromSeconds(1)
        # Kept by whoever wants to go on after what was read.
        self.resume_token = ""
        self._call = jobs.WatchJobs(request, timeout=WATCH_SECONDS)
        self._messages: Iterator[job_service_pb2.WatchMessage] = (answer.message for answer in self._call)
        # The first message comes at once: from here on the watch misses nothing.
        expect("a watch begins with created", self._next().WhichOneof("kind"), "created")

    def _next(self) -> job_service_pb2.WatchMessage:
        message = next(self._messages, None)
        if message is None:
            raise Mismatch("the watch ended")
        if message.resume_token:
            self.resume_token = message.resume_token
        return message

    def snapshot(self) -> dict[str, str]:
        """The jobs as they are now: the status of each, by client id."""
        jobs = {}
        while True:
            message = self._next()
            for details in message.batch.snapshots:
                jobs[details.job.client_job_id] = job_pb2.JobStatus.Name(details.job.status)
            if message.HasField("checkpoint") and message.checkpoint.snapshot_complete:
                return jobs

    def events(self, count: int) -> list[Event]:
        """The next `count` events, or more where they come in one message."""
        events: list[Event] = []
        while len(events) < count:
            events += self._events_of(self._next())
        return events

    def rest(self) -> list[Event]:
        """What comes before the next checkpoint: nothing at or before it comes any more."""
        events: list[Event] = []
        while True:
            message = self._next()
            if message.HasField("checkpoint"):
                return events
            events += self._events_of(message)

    @staticmethod
    def _events_of(message: job_service_pb2.WatchMessage) -> list[Event]:
        return [
            (event.summary.client_job_id, event_pb2.JobEventType.Name(event.type), event.revision)
            for event in message.batch.events
        ]

    def cancel(self) -> None:
        self._call.cancel()


def body(client_job_id: str, status: str) -> sync_service_pb2.BasicSyncRequest:
    """What a device sends. Its JSON is the proto's JSON, so nothing is mapped by hand."""
    request = json_format.Parse(BODY, sync_service_pb2.BasicSyncRequest())
    request.metadata.client_job_id = client_job_id
    request.metadata.status = job_pb2.JobStatus.Value(status)
    return request


def refusal(status: status_pb2.Status | None) -> tuple[str, list[str]]:
    """Why something was refused: the reason, to branch on, and the fields that are wrong."""
    reason, fields = "", []
    for detail in status.details if status else []:
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad_request):
            fields = [violation.field for violation in bad_request.field_violations]
    return reason, fields


def run(address: str) -> None:
    channel = grpc.insecure_channel(address)
    jobs = job_service_pb2_grpc.JobServiceStub(channel)
    syncs = sync_service_pb2_grpc.SyncServiceStub(channel)

    def sync(client_job_id: str, status: str) -> tuple[str, int]:
        answer = syncs.BasicSync(body(client_job_id, status), timeout=CALL_SECONDS)
        return sync_service_pb2.SyncOutcome.Name(answer.outcome), answer.revision

    done, given_up = str(uuid.uuid4()), str(uuid.uuid4())
    these = job_service_pb2.JobFilter(expression=f'job.client_job_id in ["{done}", "{given_up}"]')
    of_done = [
        (done, "JOB_EVENT_TYPE_JOB_CREATED", 1),
        (done, "JOB_EVENT_TYPE_REPORT_RECORDED", 2),
        (done, "JOB_EVENT_TYPE_JOB_COMPLETED", 3),
    ]
    of_given_up = [
        (given_up, "JOB_EVENT_TYPE_JOB_CREATED", 1),
        (given_up, "JOB_EVENT_TYPE_REPORT_RECORDED", 2),
        (given_up, "JOB_EVENT_TYPE_JOB_ABORTED", 3),
    ]

    watch = Watch(jobs, these)
    expect("no job matches yet", watch.snapshot(), {})

    created = sync(done, "JOB_STATUS_COMPLETED")
    expect("a sync makes a completed job", created, ("SYNC_OUTCOME_CREATED", 3))
    expect("the watch sees it", watch.events(3), of_done)
    between = watch.resume_token
    again = sync(done, "JOB_STATUS_COMPLETED")
    expect("the same sync again changes nothing", again, ("SYNC_OUTCOME_UNCHANGED", 3))

    active = sync(given_up, "JOB_STATUS_ACTIVE")
    expect("a sync makes an active job", active, ("SYNC_OUTCOME_CREATED", 2))
    aborted = sync(given_up, "JOB_STATUS_ABORTED")
    expect("a later one aborts it", aborted, ("SYNC_OUTCOME_ABORTED", 3))
    expect("the watch sees both", watch.events(3), of_given_up)
    expect("and nothing twice", watch.rest(), [])
    watch.cancel()

    resumed = Watch(jobs, these, between)
    expect("a resumed watch has what came after its token", resumed.events(3), of_given_up)
    expect("and no more", resumed.rest(), [])
    resumed.cancel()

    late = Watch(jobs, these)
    now = {done: "JOB_STATUS_COMPLETED", given_up: "JOB_STATUS_ABORTED"}
    expect("a new watch begins with the jobs as they are", late.snapshot(), now)
    late.cancel()

    try:
        syncs.BasicSync(sync_service_pb2.BasicSyncRequest(), timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        expect("an empty sync is refused", error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        reason, fields = refusal(rpc_status.from_call(error))
        expect("the refusal has its reason", reason, "FIELD_INVALID")
        expected = ["metadata.client_job_id", "metadata.status", "metadata.workflow_id"]
        expect("and names every field", sorted(fields), expected)
    else:
        raise Mismatch("an empty sync was taken")
    channel.close()


def main(run: Callable[[str], None]) -> int:
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7070"
    try:
        run(address)
    except Mismatch as mismatch:
        print(f"mismatch: {mismatch}", file=sys.stderr)
        return 1
    except grpc.RpcError as error:
        print(f"the call failed: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(run))
