//! What a request id stands for: the bytes of a request that are the same when it is sent again.

use prost::Message;

use crate::proto::{
    Document,
    v1::{
        AbortJobRequest, AssignStepRequest, BasicSyncRequest, CloseJobRequest, CreateJobRequest,
        CreateTaskStatusRequest, DeleteJobRequest, ExcludeJobRequest, PerformJobActionRequest,
        PublishWorkflowRequest, ReopenJobRequest, UpdateExecutionTaskStatusRequest,
        UpdateExecutionWorkflowStatusRequest, UpdateJobRequest, UpdateTaskStatusRequest,
    },
};

/// A request that can be repeated under its id.
pub(in crate::rpc) trait Stamped: Message + Clone {
    /// The free data in it: a client that sends it again may put its members in another order.
    fn documents(&mut self) -> Vec<&mut Document> {
        Vec::new()
    }

    /// It as bytes, which do not depend on that order.
    fn stamped_bytes(&self) -> Vec<u8> {
        let mut message = self.clone();
        for document in message.documents() {
            if let Ok(members) = document.decoded() {
                *document = members.into();
            }
        }
        message.encode_to_vec()
    }
}

impl Stamped for AbortJobRequest {}
impl Stamped for AssignStepRequest {}
impl Stamped for CloseJobRequest {}
impl Stamped for DeleteJobRequest {}
impl Stamped for ExcludeJobRequest {}
impl Stamped for PerformJobActionRequest {}
impl Stamped for PublishWorkflowRequest {}
impl Stamped for ReopenJobRequest {}
impl Stamped for UpdateTaskStatusRequest {}

impl Stamped for CreateJobRequest {
    fn documents(&mut self) -> Vec<&mut Document> {
        self.job.iter_mut().filter_map(|job| job.metadata.as_mut()).collect()
    }
}

impl Stamped for UpdateJobRequest {
    fn documents(&mut self) -> Vec<&mut Document> {
        self.job.iter_mut().filter_map(|job| job.metadata.as_mut()).collect()
    }
}

impl Stamped for CreateTaskStatusRequest {
    fn documents(&mut self) -> Vec<&mut Document> {
        let task = self.task.iter_mut();
        task.flat_map(|task| [&mut task.attributes, &mut task.data, &mut task.meta]).flatten().collect()
    }
}

impl Stamped for UpdateExecutionTaskStatusRequest {
    fn documents(&mut self) -> Vec<&mut Document> {
        [&mut self.data, &mut self.meta, &mut self.event_meta].into_iter().flatten().collect()
    }
}

impl Stamped for UpdateExecutionWorkflowStatusRequest {
    fn documents(&mut self) -> Vec<&mut Document> {
        [&mut self.data, &mut self.meta, &mut self.event_meta].into_iter().flatten().collect()
    }
}

impl Stamped for BasicSyncRequest {
    fn documents(&mut self) -> Vec<&mut Document> {
        let entries = self.completed_steps.iter_mut().chain(&mut self.cancelled_steps);
        let steps = entries.flat_map(|entry| [&mut entry.single_step, &mut entry.report_step]).flatten();
        let header = self.metadata.iter_mut().filter_map(|metadata| metadata.metadata.as_mut());
        steps.filter_map(|step| step.metadata.as_mut()).chain(header).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;
    use prost::encoding::{WireType, encode_key, encode_varint, string};
    use prost_types::{Struct, Value};

    use super::*;

    /// `google.protobuf.Struct` with members in an order that no map of ours has.
    fn members(names: [&str; 2]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names {
            let fields = [(name.to_owned(), Value::from(name))].into();
            bytes.put_slice(&Struct { fields }.encode_to_vec());
        }
        bytes
    }

    #[test]
    fn the_order_of_members_makes_no_other_request() {
        let request = |names: [&str; 2]| {
            let mut bytes = Vec::new();
            string::encode(1, &"instance".to_owned(), &mut bytes);
            let data = members(names);
            encode_key(10, WireType::LengthDelimited, &mut bytes);
            encode_varint(data.len() as u64, &mut bytes);
            bytes.put_slice(&data);
            UpdateExecutionTaskStatusRequest::decode(&*bytes).unwrap()
        };
        let (one, other) = (request(["a", "b"]), request(["b", "a"]));
        assert_eq!(one.data.as_ref().unwrap().members(), other.data.as_ref().unwrap().members());
        assert_ne!(one.encode_to_vec(), other.encode_to_vec());
        assert_eq!(one.stamped_bytes(), other.stamped_bytes());
        assert_ne!(one.stamped_bytes(), request(["a", "c"]).stamped_bytes());
    }
}
