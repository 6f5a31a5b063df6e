//! What a request says beside its body: who calls, and whether it can be repeated.

mod stamped;

use sha2::{Digest, Sha256};
use tonic::{Request, Status};

use self::stamped::Stamped;
use super::{access::Access, layer, status};
use crate::{
    auth::{Caller, Privilege},
    engine::{Origin, RequestStamp},
    proto::v1::{Actor, actor},
};

/// Takes a request apart. The caller may make it: the layer around all services has looked.
///
/// # Panics
/// When it has not, for nothing says what the RPC takes.
pub(super) fn open<M>(request: Request<M>) -> (Caller, M) {
    let (_, mut extensions, message) = request.into_parts();
    extensions.get::<Access>().expect("`access` says what every RPC takes");
    let caller = extensions.remove::<Caller>().expect("the layer around all services tells the caller");
    (caller, message)
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
    message: &impl Stamped,
    request_id: &str,
    validate_only: bool,
) -> Origin {
    let request = (!request_id.is_empty()).then(|| {
        let hash: [u8; 32] =
            Sha256::new().chain_update(method).chain_update(message.stamped_bytes()).finalize().into();
        let (body, _) = hash.split_first_chunk().expect("16 of 32 bytes");
        RequestStamp { id: request_id.to_owned(), body: *body }
    });
    let actor = Actor { kind: actor::Kind::User.into(), id: caller.user.clone(), name: caller.name.clone() };
    Origin { org: caller.org.clone(), actor, request, validate_only }
}

/// Has the trace and the audit of the call tell what it is about, and its request id. Both are well formed.
pub(super) fn trace(origin: &Origin, resource: &str) {
    let request_id = origin.request.as_ref().map_or("", |request| &request.id);
    layer::note(resource, request_id, origin.validate_only);
}
