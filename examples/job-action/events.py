#!/usr/bin/env python3
"""Shortens what `grpcurl ... WatchJob` printed to one line an event, without ids and times.

    events.py < FILE

It may still be printing: what is not complete yet is left out. Fails where the revisions are not 1, 2, 3 and so on.
"""

import json
import sys


def messages(lines):
    """The messages, each from a line that opens it to one that closes it."""
    text = ""
    for line in lines:
        text += line
        if line.rstrip() == "}":
            yield json.loads(text)["message"]
            text = ""


def word(of, member, prefix):
    return of.get(member, "").removeprefix(prefix)


def detail(event):
    """What a reader wants to know beside the type and the step."""
    if job := event.get("job") if event["type"].startswith("JOB_EVENT_TYPE_JOB_") else None:
        return word(job, "status", "JOB_STATUS_")
    if hold := event.get("hold"):
        kind, cause = word(hold, "kind", "HOLD_KIND_"), word(hold, "releaseCause", "HOLD_RELEASE_CAUSE_")
        return f"{kind}, by {cause}" if cause else kind
    if task := event.get("task"):
        return word(task, "completionStatus", "COMPLETION_STATUS_") or "open"
    step = event["step"]
    words = [f"visit {step['visit']}"] if step.get("visit", 0) > 1 else []
    if "answer" in step:
        words.append(f"answer {json.dumps(step['answer'])}")
    return ", ".join(words)


def main():
    expected = 1
    for message in messages(sys.stdin):
        for event in message.get("batch", {}).get("events", []):
            revision = int(event["revision"])
            if revision != expected:
                sys.exit(f"revision {revision} came where {expected} was due")
            expected += 1
            actor = event["actor"].get("id") or "(server)"
            step_id = next((event[part].get("stepId") for part in ("step", "task") if part in event), "") or ""
            kind = word(event, "type", "JOB_EVENT_TYPE_")
            print(f"{revision:>3}  {actor:<8}  {kind:<21}  {step_id:<13}  {detail(event)}".rstrip())


main()
