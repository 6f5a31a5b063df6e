//! Forgets the old end of the log, by age and by number of events.

use std::{sync::Arc, time::Duration};

use super::{Engine, seek::first_at};
use crate::store::{self, Sequence};

/// How often the log's old end is looked at.
const INTERVAL: Duration = Duration::from_secs(60);

/// Works until the engine stops. It looks at once: one that is started again and again forgets as well.
pub(super) async fn run(engine: Engine) {
    let stop = engine.shared.stop.clone();
    loop {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // It waits while the store is copied.
            outcome = engine.forget_old() => outcome,
        };
        if let Err(error @ store::Error::Failed(_)) = outcome {
            // The store takes nothing any more. Nobody needs to wait for the next command to find out.
            engine.shared.failed.send_replace(Some(Arc::new(error)));
            return;
        }
        if let Err(error) = outcome {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the old end of the log was not forgotten"
            );
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

impl Engine {
    /// Forgets what is older than the retention allows, or somewhat less.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_old(&self) -> store::Result<()> {
        let options = &self.shared.options;
        let age_seconds = i64::try_from(options.log_age_max.as_secs()).unwrap_or(i64::MAX);
        let oldest_seconds = self.now().seconds.saturating_sub(age_seconds);
        let store = self.shared.store.as_ref();
        for partition in self.partitions() {
            let by_age = first_at(store, partition, oldest_seconds).await?.next();
            let head = *store.head(partition).borrow();
            let by_number = Sequence((head.0 + 1).saturating_sub(options.log_events_max));
            store.trim(partition, by_age.max(by_number)).await?;
        }
        Ok(())
    }
}
