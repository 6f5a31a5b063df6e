//! Calls as bytes: any RPC by its path, with what is on the wire left as it is. And what may stand in an answer.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use holdpoint::{cli::bench::wire::Raw, proto::API_DESCRIPTORS};
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use prost_types::FileDescriptorSet;
use serde_json::Value as Json;
use tonic::{
    Request, Status, Streaming,
    body::Body,
    client::{Grpc, GrpcService},
};

use super::harness::within;

/// The API, and what stands in the details of errors.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::decode(API_DESCRIPTORS).unwrap();
    let mut details = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
    details.file.retain(|file| file.name().ends_with("error_details.proto"));
    pool.add_file_descriptor_set(details).unwrap();
    pool
});

/// The method of a path such as `/holdpoint.v1.JobService/GetJob`.
pub fn method(path: &str) -> MethodDescriptor {
    let (service, name) = path.trim_start_matches('/').split_once('/').unwrap();
    let service = POOL.get_service_by_name(service).unwrap();
    service.methods().find(|method| method.name() == name).unwrap()
}

/// A request out of its JSON.
pub fn encode(path: &str, json: &Json) -> Bytes {
    let message = DynamicMessage::deserialize(method(path).input(), json.clone());
    message.unwrap_or_else(|error| panic!("{path} {json}: {error}")).encode_to_vec().into()
}

/// An answer as JSON, whose members are sorted.
pub fn decode(path: &str, bytes: &[u8]) -> Json {
    let message = DynamicMessage::decode(method(path).output(), bytes).unwrap();
    serde_json::to_value(message).unwrap()
}

/// Makes a call of any kind: on the wire they are all the same.
pub async fn call<T>(transport: T, path: &str, requests: Vec<Bytes>) -> Result<Streaming<Bytes>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    within(call_with(transport, path, stream::iter(requests))).await
}

/// The same, with requests that come when they do.
pub async fn call_with<T>(
    transport: T,
    path: &str,
    requests: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<Bytes>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let mut client = Grpc::new(transport);
    client.ready().await.map_err(|_| Status::unknown("the connection is gone"))?;
    let path: PathAndQuery = path.parse().unwrap();
    Ok(client.streaming(Request::new(requests), path, Raw).await?.into_inner())
}

/// All bytes of a refusal that its client can read.
pub fn bytes_of(status: &Status) -> Vec<u8> {
    let mut bytes = status.message().as_bytes().to_vec();
    bytes.extend_from_slice(status.details());
    for (name, value) in status.metadata().clone().into_headers() {
        bytes.extend_from_slice(name.map_or(String::new(), |name| name.to_string()).as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// Whether a text stands in bytes.
pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What is in a token, were it not sealed.
pub fn opened(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token).unwrap()
}

/// A text with one letter changed.
pub fn damaged(token: &str) -> String {
    let middle = token.len() / 2;
    let letter = if &token[middle..=middle] == "A" { "B" } else { "A" };
    format!("{}{letter}{}", &token[..middle], &token[middle + 1..])
}
