//! Which privilege each RPC takes: without it the call is refused and the privilege named, with it alone the call gets past
//! that.

use expect_test::expect;
use holdpoint::proto::v1::{
    AssignStepRequest, CountJobsRequest, CreateTaskStatusRequest, ExcludeJobRequest, ExecutionStatus::Closed,
    GetTaskStatusRequest, GetWorkflowRequest, Job, JobActionType, ListHoldsRequest, ListJobEventsRequest,
    ListJobsRequest, ListTaskStatusesRequest, ListWorkflowInstancesRequest, ListWorkflowsRequest,
    PerformJobActionRequest, PublishWorkflowRequest, ReopenJobRequest, UpdateExecutionWorkflowStatusRequest,
    WatchJobRequest, WatchJobsRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{
    Call, Caller, TestServer, abort, close, create, delete, device_body, get, get_instance, replace,
    report_task, report_workflow, update, within,
};

fn calls() -> Vec<(&'static str, Call)> {
    let act = |action: JobActionType| PerformJobActionRequest {
        job_id: "none".to_owned(),
        r#type: action.into(),
        step_ids: vec!["a".to_owned()],
        ..PerformJobActionRequest::default()
    };
    vec![
        ("BasicSync", device_body().into()),
        ("CreateJob", create("a", Job::default()).into()),
        ("GetJob", get("none").into()),
        ("ListJobs", ListJobsRequest::default().into()),
        ("CountJobs", CountJobsRequest::default().into()),
        ("UpdateJob", update("none", Job::default()).into()),
        ("AssignStep", AssignStepRequest::default().into()),
        ("AbortJob", abort("none").into()),
        ("CloseJob", close("none").into()),
        ("ReopenJob", ReopenJobRequest::default().into()),
        ("ExcludeJob", ExcludeJobRequest::default().into()),
        ("DeleteJob", delete("none").into()),
        ("ListJobEvents", ListJobEventsRequest::default().into()),
        ("ListHolds", ListHoldsRequest::default().into()),
        ("WatchJob", WatchJobRequest::default().into()),
        // Refused once it is read, for no watch of all jobs ends by itself.
        ("WatchJobs", WatchJobsRequest { resume_token: "x".to_owned(), ..Default::default() }.into()),
        ("Run", act(JobActionType::Run).into()),
        ("Finish", act(JobActionType::Finish).into()),
        ("Stop", act(JobActionType::Stop).into()),
        ("SetCurrentStep", act(JobActionType::SetCurrentStep).into()),
        ("Hold", act(JobActionType::Hold).into()),
        ("ReleaseHold", act(JobActionType::ReleaseHold).into()),
        ("PublishWorkflow", PublishWorkflowRequest::default().into()),
        ("GetWorkflow", GetWorkflowRequest::default().into()),
        ("ListWorkflows", ListWorkflowsRequest::default().into()),
        ("UpdateExecutionWorkflowStatus", report_workflow("none", Closed, 1).into()),
        ("and close_job", {
            let report = report_workflow("none", Closed, 1);
            UpdateExecutionWorkflowStatusRequest { close_job: true, ..report }.into()
        }),
        ("GetWorkflowInstance", get_instance("none", "none").into()),
        ("ListWorkflowInstances", ListWorkflowInstancesRequest::default().into()),
        ("UpdateExecutionTaskStatus", report_task("none", "a", 0, Closed, 1).into()),
        ("CreateTaskStatus", CreateTaskStatusRequest::default().into()),
        ("GetTaskStatus", GetTaskStatusRequest::default().into()),
        ("ListTaskStatuses", ListTaskStatusesRequest::default().into()),
        ("UpdateTaskStatus", replace("none", "progress", String::new()).into()),
    ]
}

/// The privilege that a refusal names.
fn missing(outcome: Result<(), Status>) -> Option<String> {
    let status = outcome.err().filter(|status| status.code() == Code::PermissionDenied)?;
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "PRIVILEGE_MISSING");
    Some(info.metadata["privilege"].clone())
}

#[tokio::test]
async fn every_call_takes_its_privilege_and_no_other() {
    let server = TestServer::memory().await;
    let mut table = String::new();
    for (name, call) in calls() {
        let mut has = Vec::new();
        loop {
            let client = server.client_as(Caller::default().who_may(&has.join(","))).await;
            match missing(within(Box::pin(client.call(call.clone()))).await) {
                Some(privilege) => has.push(privilege),
                None => break,
            }
        }
        table.push_str(&format!("{name:<30}{}\n", has.join(", ")));
    }
    expect![[r#"
        BasicSync                     workflowExecute
        CreateJob                     jobCreate
        GetJob                        jobRead
        ListJobs                      jobRead
        CountJobs                     jobRead
        UpdateJob                     jobUpdate
        AssignStep                    jobAssign
        AbortJob                      jobClose
        CloseJob                      jobClose
        ReopenJob                     jobReopenClosed
        ExcludeJob                    jobUpdate
        DeleteJob                     jobDelete
        ListJobEvents                 jobRead
        ListHolds                     jobRead
        WatchJob                      jobRead
        WatchJobs                     jobRead
        Run                           jobExecute
        Finish                        jobExecute
        Stop                          jobExecute
        SetCurrentStep                jobExecute, workflowSetStepCurrent
        Hold                          jobUpdateHolds
        ReleaseHold                   jobUpdateHolds
        PublishWorkflow               workflowManage
        GetWorkflow                   jobRead
        ListWorkflows                 jobRead
        UpdateExecutionWorkflowStatus executionReport
        and close_job                 executionReport
        GetWorkflowInstance           taskRead
        ListWorkflowInstances         taskRead
        UpdateExecutionTaskStatus     executionReport
        CreateTaskStatus              taskWrite
        GetTaskStatus                 taskRead
        ListTaskStatuses              taskRead
        UpdateTaskStatus              taskWrite
    "#]]
    .assert_eq(&table);
}
