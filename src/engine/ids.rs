//! The ids that the server makes, and where they say that a job lives.
//!
//! A job with a client's id lives in the partition that the hash of (organization, client's id) names; a job with an id
//! of its creator's choice in the one its own hash names. An id of ours carries its partition.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    domain::{JOB_ID_PREFIX, NewIds, Place, TASK_ID_PREFIX},
    store::Partition,
};

/// A job id of ours.
pub(super) fn job_id(partition: Partition, unique: Uuid) -> String {
    new_ids(partition, unique).job_id()
}

/// The ids of what a decision makes.
pub(super) fn new_ids(partition: Partition, unique: Uuid) -> NewIds {
    NewIds { partition: partition.0, unique: unique.as_u128() }
}

/// The id that follows from a request, so that its repeat means the same job.
pub(super) fn derived_uuid(org: &str, caller: &str, request_id: &str) -> Uuid {
    let name = digest(&["create_job", org, caller, request_id]);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)
}

/// The id of a task that an executor knows under an id of its own: the same whenever it is reported.
pub(super) fn derived_task_id(
    partition: Partition,
    org: &str,
    job_id: &str,
    place: &Place,
    task_id: &str,
) -> String {
    let attempt_id = place.attempt_id.to_string();
    let name = digest(&["execution_task", org, job_id, &place.workflow_instance_id, &attempt_id, task_id]);
    new_ids(partition, Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)).task_id()
}

/// Where a job lives.
pub(super) fn partition_of_job(org: &str, job_id: &str, partitions: u16) -> Partition {
    carried(JOB_ID_PREFIX, job_id, partitions).unwrap_or_else(|| partition_of_id(org, job_id, partitions))
}

/// Where a task lives.
pub(super) fn partition_of_task(org: &str, task_id: &str, partitions: u16) -> Partition {
    carried(TASK_ID_PREFIX, task_id, partitions).unwrap_or_else(|| partition_of_id(org, task_id, partitions))
}

/// The partition that an id of ours carries.
fn carried(prefix: &str, id: &str, partitions: u16) -> Option<Partition> {
    let digits = id.strip_prefix(prefix)?.get(..4)?;
    u16::from_str_radix(digits, 16).ok().filter(|partition| *partition < partitions).map(Partition)
}

/// Where a job of a client's id, or of its creator's choice, lives.
pub(super) fn partition_of_id(org: &str, id: &str, partitions: u16) -> Partition {
    let [high, low, ..] = digest(&[org, id]);
    Partition(u16::from_be_bytes([high, low]) % partitions)
}

/// A hash of texts, each told apart from the next.
pub(super) fn digest(texts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let (short, _) = digest.split_first_chunk().expect("16 of 32 bytes");
    *short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_ours_carries_its_partition() {
        let id = job_id(Partition(0x2a), Uuid::nil());
        assert_eq!(id, "job_002a_00000000000000000000000000000000");
        assert_eq!(partition_of_job("org", &id, 64), Partition(0x2a));
        // One that names a partition that is not there is nobody's: it is looked for somewhere and not found.
        assert!(partition_of_job("org", &id, 4).0 < 4);
    }

    #[test]
    fn texts_are_told_apart() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
