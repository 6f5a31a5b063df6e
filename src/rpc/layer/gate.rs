//! Lets a call in, or refuses it: who is calling, whether that is often enough for now, and whether they may.

use std::{fmt, num::NonZeroU32, sync::Arc};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use http::Request;
use prost_types::Timestamp;
use tonic::Status;

use super::trace::Trace;
use crate::{
    auth::{Authenticator, Caller},
    config::Limits,
    rpc::{
        access, call,
        intake::Intake,
        slots::{Slot, Slots},
        status,
    },
};

/// Callers whose rate is kept before those that have rested are forgotten.
const CALLERS_MAX: usize = 10_000;

/// What tells the time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where calls come in. Clones count together.
#[derive(Clone)]
pub struct Gate {
    authenticator: Arc<Authenticator>,
    now: Now,
    calls: Slots,
    intake: Intake,
    rate: Option<Rate>,
}

#[derive(Clone)]
struct Rate {
    per_second: u32,
    limiter: Arc<DefaultKeyedRateLimiter<(String, String)>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("authenticator", &self.authenticator).finish_non_exhaustive()
    }
}

impl Gate {
    /// Lets in those whom `authenticator` knows, within the limits for each.
    #[must_use]
    pub fn new(authenticator: Arc<Authenticator>, limits: &Limits, now: Now) -> Self {
        let rate = NonZeroU32::new(limits.calls_per_second_per_caller).map(|per_second| Rate {
            per_second: per_second.get(),
            limiter: Arc::new(RateLimiter::keyed(Quota::per_second(per_second))),
        });
        Self { authenticator, now, calls: Slots::calls(limits), intake: Intake::new(limits), rate }
    }

    /// How much of requests is in hand of those who were let in.
    #[must_use]
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Afterwards the extensions of the request hold the [`Caller`] and what the RPC takes. What is returned counts the call,
    /// until it is dropped.
    pub(super) fn admit<B>(
        &self,
        request: &mut Request<B>,
        trace: &mut Trace,
    ) -> Result<Option<Slot>, Status> {
        let path = request.uri().path();
        if access::is_open(path) {
            return Ok(None);
        }
        let access = access::of(path);
        let caller = self.authenticator.caller(request.headers(), &(self.now)());
        let caller = caller.map_err(status::not_let_in)?;
        trace.record_caller(&caller);
        if let Some(rate) = &self.rate {
            rate.check(&caller)?;
        }
        let slot = self.calls.take(&caller)?;
        // Of others there is no handler.
        if let Some(access) = access {
            call::check(&caller, access.needs)?;
            if access.server_wide && !self.authenticator.may_administer(&caller) {
                return Err(status::not_an_admin_organization());
            }
            request.extensions_mut().insert(access);
        }
        request.extensions_mut().insert(caller);
        Ok(Some(slot))
    }
}

impl Rate {
    fn check(&self, caller: &Caller) -> Result<(), Status> {
        if self.limiter.len() > CALLERS_MAX {
            self.limiter.retain_recent();
        }
        let key = (caller.org.clone(), caller.user.clone());
        self.limiter.check_key(&key).map_err(|not_until| {
            let retry = not_until.wait_time_from(DefaultClock::default().now());
            let limit = "calls_per_second_per_caller";
            status::limit_exceeded_for_now(limit, self.per_second.into(), Some(retry))
        })
    }
}
