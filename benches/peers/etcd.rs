//! etcd, over its gRPC API.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use holdpoint::cli::bench::{
    load::{self, Caller, Pace},
    sample::Sample,
};
use prost::Message;
use tonic::transport::Channel;

use super::{ENTRY_BYTES, Outcome, RECORD_BYTES, filler};

const TXN: &str = "/etcdserverpb.KV/Txn";
const PREPARING: usize = 64;
const PREPARING_MAX: Duration = Duration::from_secs(3_600);

/// What we use of etcd's messages.
#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

/// The key is still at this version: how often it was written, 0 where it is not there. That it is equal, and that it is the
/// version that is meant, is what their numbers being 0 says.
#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(int64, optional, tag = "4")]
    version: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

/// Records in etcd, and how often each was written.
pub struct Etcd {
    channels: Vec<Channel>,
    versions: Arc<Vec<AtomicI64>>,
}

impl Etcd {
    /// Makes so many records.
    pub async fn prepare(channels: Vec<Channel>, records: u64) -> Outcome<Self> {
        let versions = Arc::new((0..records).map(|_| AtomicI64::new(0)).collect());
        let etcd = Self { channels, versions };
        etcd.run(PREPARING, true, Pace::flat_out(PREPARING_MAX)).await?;
        Ok(etcd)
    }

    /// Has callers update them.
    pub async fn round(&self, callers: usize, pace: Pace) -> Outcome<Sample> {
        self.run(callers, false, pace).await
    }

    async fn run(&self, callers: usize, once: bool, pace: Pace) -> Outcome<Sample> {
        let writer = |number| {
            let versions = Arc::clone(&self.versions);
            Box::new(Writer { versions, next: number, callers, once }) as Box<dyn Caller>
        };
        Ok(load::run(&self.channels, TXN, (0..callers).map(writer).collect(), pace).await?)
    }
}

/// Updates every so many'th record, in turn.
struct Writer {
    versions: Arc<Vec<AtomicI64>>,
    next: usize,
    callers: usize,
    once: bool,
}

impl Caller for Writer {
    fn next(&mut self) -> Option<Bytes> {
        if self.next >= self.versions.len() {
            if self.once {
                return None;
            }
            self.next %= self.callers;
        }
        let version = self.versions.get(self.next)?.fetch_add(1, Ordering::Relaxed);
        let key = format!("job/{:08}", self.next).into_bytes();
        let log_key = format!("log/{:08}/{version:08}", self.next).into_bytes();
        self.next += self.callers;
        let put = |key, bytes| RequestOp { put: Some(PutRequest { key, value: filler(bytes) }) };
        let compare = Compare { key: key.clone(), version: Some(version) };
        let request = TxnRequest {
            compare: vec![compare],
            success: vec![put(key, RECORD_BYTES), put(log_key, ENTRY_BYTES)],
        };
        Some(request.encode_to_vec().into())
    }

    fn check(&mut self, reply: &Bytes) -> Result<(), String> {
        match TxnResponse::decode(reply.clone()) {
            Ok(TxnResponse { succeeded: true }) => Ok(()),
            Ok(_) => Err("the record is at another version".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
