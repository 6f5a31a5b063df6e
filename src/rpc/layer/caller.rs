//! Puts the caller into a request, or refuses it.

use http::Request;
use tonic::Status;

use super::trace::Trace;
use crate::{auth, rpc::status};

/// Afterwards the extensions of the request hold the `auth::Caller`.
pub(super) fn admit<B>(request: &mut Request<B>, trace: &Trace) -> Result<(), Status> {
    let caller = auth::caller(request.headers()).map_err(|refusal| status::caller_invalid(&refusal))?;
    trace.record_caller(&caller);
    request.extensions_mut().insert(caller);
    Ok(())
}
