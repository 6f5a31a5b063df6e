//! What a request says beside its body: who calls, and whether it can be repeated.

use prost::Message;
use sha2::{Digest, Sha256};
use tonic::{Request, Status};

use super::{layer::record_request_id, status};
use crate::{
    auth::{Caller, Privilege},
    engine::{Origin, RequestStamp},
    proto::v1::{Actor, actor},
};

/// Takes a request apart, if the caller may make it: that takes all of the privileges.
///
/// # Errors
/// PERMISSION_DENIED naming the first privilege that is missing.
///
/// # Panics
/// When no caller was put into the request: the layer around all services does, or answers itself.
pub(super) fn open<M>(request: Request<M>, needed: &[Privilege]) -> Result<(Caller, M), Status> {
    let (_, mut extensions, message) = request.into_parts();
    let caller = extensions.remove::<Caller>().expect("the layer around all services tells the caller");
    check(&caller, needed)?;
    Ok((caller, message))
}

/// # Errors
/// PERMISSION_DENIED naming the first privilege that is missing.
pub(super) fn check(caller: &Caller, needed: &[Privilege]) -> Result<(), Status> {
    match needed.iter().find(|privilege| !caller.privileges.has(**privilege)) {
        None => Ok(()),
        Some(missing) => Err(status::privilege_missing(missing.name())),
    }
}

/// The origin of a command. Whether its request id is well formed is for parsing to say.
pub(super) fn origin(
    caller: &Caller,
    method: &str,
    message: &impl Message,
    request_id: &str,
    validate_only: bool,
) -> Origin {
    let request = (!request_id.is_empty()).then(|| {
        let hash: [u8; 32] =
            Sha256::new().chain_update(method).chain_update(message.encode_to_vec()).finalize().into();
        let (body, _) = hash.split_first_chunk().expect("16 of 32 bytes");
        RequestStamp { id: request_id.to_owned(), body: *body }
    });
    let actor = Actor { kind: actor::Kind::User.into(), id: caller.user.clone(), name: caller.name.clone() };
    Origin { org: caller.org.clone(), actor, request, validate_only }
}

/// Has the trace of the call tell the request id, which is well formed.
pub(super) fn trace(origin: &Origin) {
    if let Some(request) = &origin.request {
        record_request_id(&request.id);
    }
}
