//! The merge of what was reported of one execution, of a task or of an attempt at a workflow, in whichever order it came.
//!
//! * The start is the earliest that was reported.
//! * Of what STARTED and CLOSED say, CLOSED's stands; of several STARTED, that of the latest time.
//! * There is one CLOSED.

use prost::Message as _;
use prost_types::Timestamp;

use super::Report;
use crate::{
    domain::compare_times,
    proto::{
        Document,
        v1::{ExecutionStatus, Reporter},
    },
};

/// What stands. `C` is what a CLOSED says beside the rest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing<C> {
    pub(super) status: ExecutionStatus,
    pub(super) launched: Option<Timestamp>,
    pub(super) report_time: Option<Timestamp>,
    /// Who claimed it by reporting the start; where starts are nobody's claim, always `None`.
    pub(super) claimed_by: Option<Reporter>,
    pub(super) data: Document,
    pub(super) meta: Document,
    pub(super) updated_by: Option<Reporter>,
    /// `None` until it is closed.
    pub(super) closing: Option<C>,
}

/// Why a report does not fit what stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Misfit {
    Claimed { by: Reporter },
    AlreadyClosed,
    Regression { launched: Timestamp, completed: Timestamp },
}

impl<C: Clone + PartialEq> Standing<C> {
    /// What stands after a start. `claims`: it is the claim of who reports it.
    pub(super) fn started(mut self, report: &Report, claims: bool) -> Result<Self, Misfit> {
        if let Some(by) = self.claimed_by.as_ref().filter(|by| !by.is_same(&report.updated_by)) {
            return Err(Misfit::Claimed { by: by.clone() });
        }
        let is_closed = self.status == ExecutionStatus::Closed;
        if let Some(completed) = self.report_time.filter(|_| is_closed) {
            in_order(Some(report.time), completed)?;
        }
        if claims {
            self.claimed_by.get_or_insert_with(|| report.updated_by.clone());
        }
        let is_earlier = compare_times(Some(&report.time), self.launched.as_ref()).is_lt();
        if self.launched.is_none() || is_earlier {
            self.launched = Some(report.time);
        }
        if !is_closed && self.is_before(report) {
            self.take(report);
        }
        Ok(self)
    }

    /// What stands after the close.
    pub(super) fn closed(mut self, report: &Report, closing: C) -> Result<Self, Misfit> {
        if let Some(stands) = &self.closing {
            let is_repeat = self.report_time == Some(report.time)
                && self.data == report.data
                && self.meta == report.meta
                && self.updated_by.as_ref() == Some(&report.updated_by)
                && *stands == closing;
            return if is_repeat { Ok(self) } else { Err(Misfit::AlreadyClosed) };
        }
        // The latest start as well as the earliest, so that the order of the reports makes no difference.
        in_order(self.launched, report.time)?;
        in_order(self.report_time, report.time)?;
        self.take(report);
        self.closing = Some(closing);
        Ok(self)
    }

    /// Whether a STARTED stands over what stands: the later does, and of two of one time the one with the greater bytes.
    fn is_before(&self, report: &Report) -> bool {
        let bytes = |data: &Document, meta: &Document, updated_by: &Reporter| {
            [data.encode_to_vec(), meta.encode_to_vec(), updated_by.encode_to_vec()]
        };
        let stands = || {
            let updated_by = self.updated_by.clone().unwrap_or_default();
            bytes(&self.data, &self.meta, &updated_by)
        };
        let order = compare_times(self.report_time.as_ref(), Some(&report.time));
        order.then_with(|| stands().cmp(&bytes(&report.data, &report.meta, &report.updated_by))).is_lt()
    }

    fn take(&mut self, report: &Report) {
        self.status = report.status;
        self.report_time = Some(report.time);
        self.data = report.data.clone();
        self.meta = report.meta.clone();
        self.updated_by = Some(report.updated_by.clone());
    }
}

fn in_order(launched: Option<Timestamp>, completed: Timestamp) -> Result<(), Misfit> {
    match launched.filter(|launched| compare_times(Some(launched), Some(&completed)).is_gt()) {
        Some(launched) => Err(Misfit::Regression { launched, completed }),
        None => Ok(()),
    }
}

impl Reporter {
    /// Whether two name one executor. What they are called may change.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.id, &self.app_id) == (&other.id, &other.app_id)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Struct, Value, value::Kind};

    use super::*;

    fn started(seconds: i64, data: &str) -> Report {
        let value = Value { kind: Some(Kind::StringValue(data.to_owned())) };
        Report {
            status: ExecutionStatus::Started,
            time: Timestamp { seconds, nanos: 0 },
            data: Struct { fields: [("data".to_owned(), value)].into() }.into(),
            meta: Document::default(),
            updated_by: Reporter { id: Some("exe".to_owned()), ..Reporter::default() },
            event_meta: None,
        }
    }

    #[test]
    fn of_two_starts_of_one_time_the_order_makes_no_difference() {
        let nothing: Standing<()> = Standing {
            status: ExecutionStatus::Unspecified,
            launched: None,
            report_time: None,
            claimed_by: None,
            data: Document::default(),
            meta: Document::default(),
            updated_by: None,
            closing: None,
        };
        let (one, other) = (started(5, "one"), started(5, "other"));
        let merge = |reports: [&Report; 3]| {
            reports.into_iter().try_fold(nothing.clone(), |stands, report| stands.started(report, true))
        };
        let stands = merge([&one, &other, &one]).unwrap();
        assert_eq!(stands.data, other.data, "the greater bytes");
        assert_eq!(merge([&other, &one, &other]), Ok(stands.clone()));
        assert_eq!(stands.clone().started(&other, true), Ok(stands));
    }
}
