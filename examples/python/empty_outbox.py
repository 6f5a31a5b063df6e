"""Empties a device's outbox through one stream, and again what was not answered when the stream broke off.

    python empty_outbox.py [ADDRESS]

Ends with 1 and says why where the server answers anything but what its protos promise.
"""

import sys
import uuid
from itertools import islice

import grpc

# First: it makes the generated modules known.
from sync_and_watch import CALL_SECONDS, body, expect, main, refusal

from holdpoint.v1 import sync_service_pb2, sync_service_pb2_grpc

# The reasons of what is not the entry's fault: it is sent again later.
LATER = {"OVERLOADED", "SHUTTING_DOWN", "STORE_FAILED"}


class Outbox:
    """What a device has to tell, in the order in which it happened, until it is told what became of it."""

    def __init__(self, syncs: sync_service_pb2_grpc.SyncServiceStub) -> None:
        self._syncs = syncs
        # By tag. A real one is a file: it outlives the app.
        self.entries: dict[str, sync_service_pb2.BasicSyncRequest] = {}
        # What the server will not take, however often it is sent: for somebody to look at.
        self.refused: dict[str, tuple[str, list[str]]] = {}

    def put(self, tag: str, sync: sync_service_pb2.BasicSyncRequest) -> None:
        self.entries[tag] = sync

    def empty(self, answers_max: int | None = None) -> list[tuple[str, str]]:
        """Sends everything, and takes out what is answered. Returns what became of it.

        `answers_max` stands for a connection that breaks off after so many answers.
        """
        requests = [sync_service_pb2.StreamSyncRequest(tag=tag, sync=sync) for tag, sync in self.entries.items()]
        # grpc takes from the iterator as the server has room, and sends on while answers are read.
        stream = self._syncs.StreamSync(iter(requests), timeout=CALL_SECONDS)
        told = []
        for answer in islice(stream, answers_max):
            if answer.WhichOneof("result") == "response":
                told.append((answer.tag, sync_service_pb2.SyncOutcome.Name(answer.response.outcome)))
            else:
                reason, fields = refusal(answer.error)
                if reason in LATER:
                    continue
                self.refused[answer.tag] = reason, fields
            del self.entries[answer.tag]
        stream.cancel()
        return told


def run(address: str) -> None:
    channel = grpc.insecure_channel(address)
    outbox = Outbox(sync_service_pb2_grpc.SyncServiceStub(channel))
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    outbox.put("1", body(first, "JOB_STATUS_ACTIVE"))
    outbox.put("2", body(second, "JOB_STATUS_ACTIVE"))
    outbox.put("3", sync_service_pb2.BasicSyncRequest())
    outbox.put("4", body(first, "JOB_STATUS_ACTIVE"))
    outbox.put("5", body(second, "JOB_STATUS_ABORTED"))
    everything = dict(outbox.entries)

    told = outbox.empty(answers_max=1)
    expect("the first is answered", told, [("1", "SYNC_OUTCOME_CREATED")])
    expect("the others stay when the stream breaks off", list(outbox.entries), ["2", "3", "4", "5"])

    # Whether one without an answer was taken, nobody knows; it does no harm to send it again.
    told = outbox.empty()
    expect("the others are answered, in order", [tag for tag, _ in told], ["2", "4", "5"])
    expect("nothing is left", outbox.entries, {})
    missing = ["metadata.client_job_id", "metadata.workflow_id", "metadata.status"]
    expect("a bad one is told why, and holds up nobody", outbox.refused, {"3": ("FIELD_INVALID", missing)})

    for tag in ["1", "2", "4", "5"]:
        outbox.put(tag, everything[tag])
    again = [(tag, "SYNC_OUTCOME_UNCHANGED") for tag in ["1", "2", "4", "5"]]
    expect("all of it once more changes nothing", outbox.empty(), again)
    channel.close()


if __name__ == "__main__":
    sys.exit(main(run))
