//! Every request that changes something.

use std::{
    fmt::Debug,
    sync::{Arc, LazyLock},
};

use prost::Message;
use tokio::runtime::{self, Runtime};
use tonic::{Code, Status};

use crate::{
    auth::{Caller, Privileges},
    config::Limits,
    engine::{Engine, Options, System},
    proto::v1::{
        AbortJobRequest, CloseJobRequest, DeleteJobRequest, StreamSyncRequest,
        UpdateExecutionTaskStatusRequest,
    },
    rpc::parse::{self, Violations},
    store::MemoryStore,
};

/// Clients' limits of what comes beside an answer begin at 8 KiB.
const DETAILS_BYTES_MAX: usize = 6 << 10;

/// An engine that makes ids, and what it runs on.
static ENGINE: LazyLock<(Runtime, Engine)> = LazyLock::new(|| {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("there are threads");
    let starting = Engine::start(Arc::new(MemoryStore::new()), Arc::new(System), Options::default());
    let engine = runtime.block_on(starting).expect("an empty store is good");
    (runtime, engine)
});

/// The first byte says whose request the others are. It is refused with what is wrong, or parsed; in either case once more
/// with the same outcome after it was written again.
pub fn requests(bytes: &[u8]) {
    let Some((rpc, bytes)) = bytes.split_first() else { return };
    let limits = Limits::default();
    let caller = Caller {
        user: "ann".to_owned(),
        name: "Ann".to_owned(),
        org: "acme".to_owned(),
        groups: Vec::new(),
        privileges: Privileges::All,
        expires: None,
    };
    let named =
        |job_id, etag, request_id: &str| parse::named_job(Violations::new(&limits), job_id, etag, request_id);
    match rpc {
        0 => check(bytes, |message| parse::sync(&limits, message)),
        1 => check(bytes, |message: StreamSyncRequest| {
            parse::tagged_sync(&limits, &message.tag, message.sync.unwrap_or_default())
        }),
        2 => check(bytes, |message| {
            // Where it has no id of its own it gets a new one each time.
            parse::create_job(&limits, &ENGINE.1, &caller, message).map(|command| command.job)
        }),
        3 => check(bytes, |message| parse::update_job(&limits, message)),
        4 => {
            check(bytes, |message: AbortJobRequest| named(message.job_id, message.etag, &message.request_id));
        }
        5 => {
            check(bytes, |message: CloseJobRequest| named(message.job_id, message.etag, &message.request_id));
        }
        6 => {
            check(bytes, |message: DeleteJobRequest| {
                named(message.job_id, message.etag, &message.request_id)
            });
        }
        7 => check(bytes, |message| parse::perform_job_action(&limits, &caller, message)),
        8 => check(bytes, |message| parse::assign_step(&limits, message)),
        9 => check(bytes, |message| parse::reopen_job(&limits, message)),
        10 => check(bytes, |message| parse::exclude_job(&limits, message)),
        11 => check(bytes, |message: UpdateExecutionTaskStatusRequest| {
            parse::report_task(&limits, message, |job_id, _, task_id| format!("{job_id} {task_id}"))
        }),
        12 => check(bytes, |message| parse::create_task(&limits, message)),
        13 => check(bytes, |message| parse::update_task(&limits, message)),
        14 => check(bytes, |message| parse::report_workflow(&limits, message)),
        15 => check(bytes, |message| parse::publish_workflow(&limits, message)),
        _ => {}
    }
}

fn check<M: Message + Default, C: Debug>(bytes: &[u8], parse: impl Fn(M) -> Result<C, Status>) {
    let Ok(message) = M::decode(bytes) else { return };
    let written = message.encode_to_vec();
    let again = M::decode(&*written).expect("what was written can be read");
    assert_eq!(again.encode_to_vec(), written);
    let outcome = parse(message);
    if let Err(status) = &outcome {
        assert!([Code::InvalidArgument, Code::ResourceExhausted, Code::NotFound].contains(&status.code()));
        assert!(!status.message().is_empty());
        assert!(status.details().len() <= DETAILS_BYTES_MAX, "{} bytes of details", status.details().len());
    }
    // As text, for not every number is equal to itself.
    assert_eq!(format!("{:?}", parse(again)), format!("{outcome:?}"));
}
