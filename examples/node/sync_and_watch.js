// Syncs two jobs as a device would, and watches what becomes of them.
//
//     node sync_and_watch.js [ADDRESS]
//
// Ends with 1 and says why where the server answers anything but what its protos promise.
'use strict';

const { randomUUID } = require('node:crypto');
const path = require('node:path');
const { isDeepStrictEqual, promisify } = require('node:util');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const BODY = require('../basic-sync.json');

// Far more than a call takes; but a disk that is busy with something else may keep its answer back for seconds.
const CALL_SECONDS = 30;
// A watch goes on for ever by itself; this one is known to end soon.
const WATCH_SECONDS = 150;

const definition = loader.loadSync(
  ['holdpoint/v1/job_service.proto', 'holdpoint/v1/sync_service.proto', 'google_rpc.proto'],
  {
    includeDirs: [path.join(__dirname, '../../proto'), path.join(__dirname, '../../third_party/googleapis'), __dirname],
    defaults: true,
    enums: String,
    longs: Number,
    oneofs: true,
  },
);
const { JobService, SyncService } = grpc.loadPackageDefinition(definition).holdpoint.v1;

/** The server answered something else than it promises. */
class Mismatch extends Error {}

function expect(what, actual, expected) {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Mismatch(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }
  console.log(`ok: ${what}`);
}

function deadline(seconds) {
  return new Date(Date.now() + seconds * 1000);
}

// The messages of google.protobuf have a JSON of their own, which the loader does not know. These make them from it; a
// null one is absent.

function timestamp(text) {
  if (text === null || text === undefined) return undefined;
  const milliseconds = Date.parse(text);
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: (milliseconds - seconds * 1000) * 1_000_000 };
}

function wrapped(value) {
  return value === null || value === undefined ? undefined : { value };
}

function value(json) {
  if (json === null) return { nullValue: 'NULL_VALUE' };
  if (Array.isArray(json)) return { listValue: { values: json.map(value) } };
  switch (typeof json) {
    case 'boolean':
      return { boolValue: json };
    case 'number':
      return { numberValue: json };
    case 'string':
      return { stringValue: json };
    default:
      return { structValue: struct(json) };
  }
}

function struct(json) {
  if (json === null || json === undefined) return undefined;
  const fields = Object.entries(json).map(([name, member]) => [name, value(member)]);
  return { fields: Object.fromEntries(fields) };
}

function optionalValue(json) {
  return json === null || json === undefined ? undefined : value(json);
}

function singleStep(json) {
  if (json === null || json === undefined) return undefined;
  return {
    ...json,
    values: json.values?.map(value),
    deviceId: wrapped(json.deviceId),
    connectionType: wrapped(json.connectionType),
    started: timestamp(json.started),
    completed: timestamp(json.completed),
    updated: timestamp(json.updated),
    cancelled: timestamp(json.cancelled),
    timeEvents: optionalValue(json.timeEvents),
    note: wrapped(json.note),
    coordinates: optionalValue(json.coordinates),
    parentStepId: wrapped(json.parentStepId),
    parentUniqueStepId: wrapped(json.parentUniqueStepId),
    parentStepTitle: wrapped(json.parentStepTitle),
    parentStepDescription: wrapped(json.parentStepDescription),
    metadata: struct(json.metadata),
  };
}

function stepEntry(json) {
  return { singleStep: singleStep(json.singleStep), reportStep: singleStep(json.reportStep) };
}

function basicSync(json) {
  return {
    ...json,
    metadata: {
      ...json.metadata,
      metadata: struct(json.metadata.metadata),
      created: timestamp(json.metadata.created),
      updated: timestamp(json.metadata.updated),
      modified: timestamp(json.metadata.modified),
      currentStep: wrapped(json.metadata.currentStep),
      abandonReason: wrapped(json.metadata.abandonReason),
    },
    completedSteps: json.completedSteps?.map(stepEntry),
    cancelledSteps: json.cancelledSteps?.map(stepEntry),
    hierarchyStack: optionalValue(json.hierarchyStack),
    jobExclusion: json.jobExclusion?.map(value),
  };
}

/** What a device sends. */
function body(clientJobId, status) {
  return basicSync({ ...BODY, metadata: { ...BODY.metadata, clientJobId, status } });
}

/** A watch of some jobs, read message by message. */
class Watch {
  static async open(jobs, filter, resumeToken = '') {
    const watch = new Watch();
    // After a second of silence the server says that there is nothing more so far.
    const request = { filter, resumeToken, heartbeat: { seconds: 1 } };
    watch.call = jobs.watchJobs(request, { deadline: deadline(WATCH_SECONDS) });
    watch.messages = watch.call[Symbol.asyncIterator]();
    // Kept by whoever wants to go on after what was read.
    watch.resumeToken = '';
    // The first message comes at once: from here on the watch misses nothing.
    expect('a watch begins with created', (await watch.next()).kind, 'created');
    return watch;
  }

  async next() {
    const { value: answer, done } = await this.messages.next();
    if (done) throw new Mismatch('the watch ended');
    if (answer.message.resumeToken !== '') this.resumeToken = answer.message.resumeToken;
    return answer.message;
  }

  /** The jobs as they are now: the status of each, by client id. */
  async snapshot() {
    const jobs = {};
    for (;;) {
      const message = await this.next();
      for (const { job } of message.batch?.snapshots ?? []) jobs[job.clientJobId] = job.status;
      if (message.checkpoint?.snapshotComplete) return jobs;
    }
  }

  /** The next `count` events, or more where they come in one message. */
  async events(count) {
    const events = [];
    while (events.length < count) events.push(...Watch.eventsOf(await this.next()));
    return events;
  }

  /** What comes before the next checkpoint: nothing at or before it comes any more. */
  async rest() {
    const events = [];
    for (;;) {
      const message = await this.next();
      if (message.kind === 'checkpoint') return events;
      events.push(...Watch.eventsOf(message));
    }
  }

  static eventsOf(message) {
    const events = message.batch?.events ?? [];
    return events.map((event) => [event.summary.clientJobId, event.type, event.revision]);
  }

  cancel() {
    // Cancelling is told to the stream as an error, and nobody reads it any more.
    this.call.on('error', () => {});
    this.call.cancel();
  }
}

/** Why a call was refused: the reason, to branch on, and the fields that are wrong. */
function refusal(error) {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  const found = { reason: '', fields: [] };
  if (bytes === undefined) return found;
  for (const detail of definition['google.rpc.Status'].deserialize(bytes).details) {
    const name = detail.type_url.split('/').pop();
    if (name === 'google.rpc.ErrorInfo') {
      found.reason = definition[name].deserialize(detail.value).reason;
    } else if (name === 'google.rpc.BadRequest') {
      const { fieldViolations } = definition[name].deserialize(detail.value);
      found.fields = fieldViolations.map((violation) => violation.field);
    }
  }
  return found;
}

async function run(address) {
  const jobs = new JobService(address, grpc.credentials.createInsecure());
  const syncs = new SyncService(address, grpc.credentials.createInsecure());
  const callSync = promisify(syncs.basicSync.bind(syncs));

  async function sync(clientJobId, status) {
    const answer = await callSync(body(clientJobId, status), { deadline: deadline(CALL_SECONDS) });
    return [answer.outcome, answer.revision];
  }

  const done = randomUUID();
  const givenUp = randomUUID();
  const these = { expression: `job.client_job_id in ["${done}", "${givenUp}"]` };
  const ofDone = [
    [done, 'JOB_EVENT_TYPE_JOB_CREATED', 1],
    [done, 'JOB_EVENT_TYPE_REPORT_RECORDED', 2],
    [done, 'JOB_EVENT_TYPE_JOB_COMPLETED', 3],
  ];
  const ofGivenUp = [
    [givenUp, 'JOB_EVENT_TYPE_JOB_CREATED', 1],
    [givenUp, 'JOB_EVENT_TYPE_REPORT_RECORDED', 2],
    [givenUp, 'JOB_EVENT_TYPE_JOB_ABORTED', 3],
  ];

  const watch = await Watch.open(jobs, these);
  expect('no job matches yet', await watch.snapshot(), {});

  const created = await sync(done, 'JOB_STATUS_COMPLETED');
  expect('a sync makes a completed job', created, ['SYNC_OUTCOME_CREATED', 3]);
  expect('the watch sees it', await watch.events(3), ofDone);
  const between = watch.resumeToken;
  const again = await sync(done, 'JOB_STATUS_COMPLETED');
  expect('the same sync again changes nothing', again, ['SYNC_OUTCOME_UNCHANGED', 3]);

  const active = await sync(givenUp, 'JOB_STATUS_ACTIVE');
  expect('a sync makes an active job', active, ['SYNC_OUTCOME_CREATED', 2]);
  const aborted = await sync(givenUp, 'JOB_STATUS_ABORTED');
  expect('a later one aborts it', aborted, ['SYNC_OUTCOME_ABORTED', 3]);
  expect('the watch sees both', await watch.events(3), ofGivenUp);
  expect('and nothing twice', await watch.rest(), []);
  watch.cancel();

  const resumed = await Watch.open(jobs, these, between);
  expect('a resumed watch has what came after its token', await resumed.events(3), ofGivenUp);
  expect('and no more', await resumed.rest(), []);
  resumed.cancel();

  const late = await Watch.open(jobs, these);
  const now = { [done]: 'JOB_STATUS_COMPLETED', [givenUp]: 'JOB_STATUS_ABORTED' };
  expect('a new watch begins with the jobs as they are', await late.snapshot(), now);
  late.cancel();

  const answer = await callSync({}, { deadline: deadline(CALL_SECONDS) }).catch((error) => error);
  if (!(answer instanceof Error)) throw new Mismatch('an empty sync was taken');
  expect('an empty sync is refused', answer.code, grpc.status.INVALID_ARGUMENT);
  const { reason, fields } = refusal(answer);
  expect('the refusal has its reason', reason, 'FIELD_INVALID');
  const expected = ['metadata.client_job_id', 'metadata.status', 'metadata.workflow_id'];
  expect('and names every field', fields.sort(), expected);
  jobs.close();
  syncs.close();
}

run(process.argv[2] ?? '127.0.0.1:7070').catch((error) => {
  const what = error instanceof Mismatch ? 'mismatch' : 'the call failed';
  console.error(`${what}: ${error.message}`);
  process.exit(1);
});
