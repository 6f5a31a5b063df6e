//! Compiles the protos, without protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const API: [&str; 11] = [
    "holdpoint/v1/action.proto",
    "holdpoint/v1/admin_service.proto",
    "holdpoint/v1/errors.proto",
    "holdpoint/v1/event.proto",
    "holdpoint/v1/job.proto",
    "holdpoint/v1/job_service.proto",
    "holdpoint/v1/sync_service.proto",
    "holdpoint/v1/task.proto",
    "holdpoint/v1/task_service.proto",
    "holdpoint/v1/workflow.proto",
    "holdpoint/v1/workflow_service.proto",
];
const STORAGE: [&str; 3] = [
    "holdpoint/storage/v1/backup.proto",
    "holdpoint/storage/v1/records.proto",
    "holdpoint/storage/v1/tokens.proto",
];
/// Large members that most messages of their kind do not have: with room for all of them an event would be four kilobytes.
const BOXED: [&str; 6] = [
    "JobEvent.job",
    "JobEvent.step",
    "JobEvent.hold",
    "JobEvent.report",
    "JobEvent.task",
    "JobEvent.workflow_instance",
];
/// Where the protos are: ours, and what ours import.
const INCLUDES: [&str; 2] = ["proto", "third_party/googleapis"];

fn main() -> Result<(), Box<dyn Error>> {
    for include in INCLUDES {
        println!("cargo::rerun-if-changed={include}");
    }

    // Reflection shows the API and nothing of what is on disk.
    let api = protox::compile(API, INCLUDES)?;
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("api.binpb");
    fs::write(descriptors, api.encode_to_vec())?;

    let all = protox::compile(API.into_iter().chain(STORAGE), INCLUDES)?;
    // By its name a message finds its descriptor.
    let mut names = prost_build::Config::new();
    names.enable_type_names();
    let mut config = tonic_prost_build::configure();
    for member in BOXED {
        config = config.boxed(format!(".holdpoint.v1.{member}"));
    }
    config
        .bytes(".")
        .codec_path("crate::proto::BoundedCodec")
        .extern_path(".google.rpc.Status", "::tonic_types::pb::Status")
        .extern_path(".google.protobuf.Struct", "crate::proto::Document")
        .extern_path(".holdpoint.v1.GetJobResponse", "crate::proto::GetJobResponse")
        .extern_path(".holdpoint.v1.ListJobsResponse", "crate::proto::ListJobsResponse")
        .extern_path(".holdpoint.v1.WatchBatch", "crate::proto::WatchBatch")
        .compile_fds_with_config(all, names)?;
    Ok(())
}
