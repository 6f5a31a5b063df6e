//! From a request to a command: every field is checked, and all that is wrong is said at once.

mod action;
mod execution;
mod filter;
mod job;
mod sync;
mod task;
mod watch;
mod workflow;

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use prost::Message;
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};
use tonic::Status;
use tonic_types::FieldViolation;

pub(super) use self::{
    action::{assign_step, exclude_job, hold_query, perform_job_action, reopen_job},
    execution::{report_task, report_workflow},
    filter::filter,
    job::{create_job, details_views, named_job, update_job},
    sync::{sync, tagged_sync},
    task::{create_task, task_filter, update_task},
    watch::{WatchWish, watch_job, watch_jobs},
    workflow::publish_workflow,
};
use super::status;
use crate::{
    config::Limits,
    proto::{Document, v1::Assignee},
};

/// The longest id, in characters.
const ID_CHARACTERS_MAX: usize = 64;
/// The longest tag of a sync in a stream, in characters.
pub(super) const TAG_CHARACTERS_MAX: usize = 64;
/// The longest name of a person, in characters.
const NAME_CHARACTERS_MAX: usize = 256;

/// Times that RFC 3339 can write: from the year 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS: std::ops::RangeInclusive<i32> = 0..=999_999_999;

/// The longest list of texts.
const TEXTS_MAX: usize = 1000;
/// The largest answer to a step, encoded.
const ANSWER_BYTES_MAX: usize = 4 << 10;
/// How many violations are kept: more than fit in an error. The others are counted.
const VIOLATIONS_MAX: usize = 100;

/// What is wrong with a request, so far.
#[derive(Debug)]
pub(super) struct Violations<'l> {
    limits: &'l Limits,
    /// What the path of each field begins with.
    within: String,
    found: Vec<FieldViolation>,
    not_kept: usize,
}

impl<'l> Violations<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self { limits, within: String::new(), found: Vec::new(), not_kept: 0 }
    }

    /// Checks the members of a field: what is named meanwhile is named within it.
    pub(super) fn within<T>(&mut self, field: impl fmt::Display, check: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.within.len();
        write!(self.within, "{field}.").expect("a string takes all");
        let checked = check(self);
        self.within.truncate(outer);
        checked
    }

    pub(super) fn add(&mut self, field: impl fmt::Display, description: impl Into<String>) {
        if self.found.len() < VIOLATIONS_MAX {
            self.found.push(FieldViolation::new(format!("{}{field}", self.within), description));
        } else {
            self.not_kept += 1;
        }
    }

    /// # Errors
    /// INVALID_ARGUMENT with all that is wrong.
    pub(super) fn check(self) -> Result<(), Status> {
        if self.found.is_empty() { Ok(()) } else { Err(self.into_status()) }
    }

    /// INVALID_ARGUMENT with all that is wrong, which is something.
    pub(super) fn into_status(self) -> Status {
        status::invalid(self.found, self.not_kept)
    }

    /// An id: 1 to 64 characters, none of them a control character.
    pub(super) fn id(&mut self, field: impl fmt::Display + Copy, id: &str) {
        if id.is_empty() {
            self.add(field, "is required");
        } else {
            self.characters(field, id, ID_CHARACTERS_MAX);
            if id.chars().any(char::is_control) {
                self.add(field, "has a control character");
            }
        }
    }

    /// An id that must be there.
    pub(super) fn required_id(&mut self, field: &str, id: Option<&str>) {
        match id {
            None => self.add(field, "is required"),
            Some("") => self.add(field, "is empty"),
            Some(id) => self.id(field, id),
        }
    }

    /// An id that may be missing or empty.
    pub(super) fn optional_id(&mut self, field: &str, id: Option<&str>) {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.id(field, id);
        }
    }

    /// The name of a person.
    pub(super) fn name(&mut self, field: &str, name: Option<&str>) {
        self.characters(field, name.unwrap_or_default(), NAME_CHARACTERS_MAX);
    }

    /// Any other text.
    pub(super) fn text(&mut self, field: impl fmt::Display + Copy, text: Option<&str>) {
        self.characters(field, text.unwrap_or_default(), self.limits.text_characters);
    }

    /// A list of other texts: each, how many they are, and how large together.
    pub(super) fn texts(&mut self, field: &str, texts: &[String]) {
        self.count(field, texts.len(), TEXTS_MAX);
        for (index, text) in texts.iter().enumerate().take(TEXTS_MAX) {
            self.text(format_args!("{field}[{index}]"), Some(text));
        }
        self.document(field, texts.iter().map(String::len).sum(), None);
    }

    fn characters(&mut self, field: impl fmt::Display + Copy, text: &str, max: usize) {
        // Characters are at most bytes: most texts need no counting.
        if text.len() > max && text.chars().count() > max {
            self.add(field, format!("is longer than {max} characters"));
        }
    }

    /// The values of a repeated enum, each once. `parse` knows no unspecified one.
    pub(super) fn words<E: Ord>(
        &mut self,
        field: &str,
        numbers: &[i32],
        name: &str,
        parse: fn(i32) -> Option<E>,
    ) -> BTreeSet<E> {
        let mut words = BTreeSet::new();
        for (index, number) in numbers.iter().enumerate() {
            match parse(*number) {
                Some(word) => {
                    words.insert(word);
                }
                // Whoever sends millions of them is not told of each.
                None if self.found.len() >= VIOLATIONS_MAX => self.not_kept += 1,
                None => self.add(format!("{field}[{index}]"), format!("is not a value of {name}")),
            }
        }
        words
    }

    pub(super) fn count(&mut self, field: &str, count: usize, max: usize) {
        if count > max {
            self.add(field, format!("has more than {max} entries"));
        }
    }

    pub(super) fn time(&mut self, field: &str, time: Option<&Timestamp>) {
        if time.is_some_and(|time| !SECONDS.contains(&time.seconds) || !NANOS.contains(&time.nanos)) {
            self.add(field, "is not a time between the years 1 and 9999");
        }
    }

    pub(super) fn assignee(&mut self, field: impl fmt::Display + Copy, assignee: Option<&Assignee>) {
        let Some(assignee) = assignee else { return };
        self.within(field, |within| {
            if !matches!(assignee.kind, 1 | 2) {
                within.add("kind", "is required: KIND_USER or KIND_GROUP");
            }
            within.id("id", &assignee.id);
        });
    }

    /// Free data. Brings it into canonical form.
    pub(super) fn fields(&mut self, field: &str, document: Option<&mut Document>) {
        let Some(document) = document else { return };
        match document.decoded() {
            Err(_) => self.add(field, "is no google.protobuf.Struct, or nested too deep to be read as one"),
            Ok(members) => {
                let fault = struct_fault(&members, self.limits.document_levels);
                *document = members.into();
                self.document(field, document.encoded_len(), fault);
            }
        }
    }

    pub(super) fn value(&mut self, field: &str, value: Option<&Value>) {
        if let Some(value) = value {
            self.document(field, value.encoded_len(), value_fault(value, self.limits.document_levels));
        }
    }

    /// The answer to a step: free data, but small, for it is told with every event of the step.
    pub(super) fn answer(&mut self, field: &str, answer: Option<&Value>) {
        self.value(field, answer);
        if answer.is_some_and(|answer| answer.encoded_len() > ANSWER_BYTES_MAX) {
            self.add(field, format!("is larger than {ANSWER_BYTES_MAX} bytes"));
        }
    }

    pub(super) fn values(&mut self, field: &str, values: &[Value]) {
        let bytes = values.iter().map(Message::encoded_len).sum();
        let levels = self.limits.document_levels - 1;
        self.document(field, bytes, values.iter().find_map(|value| value_fault(value, levels)));
    }

    /// Other messages that count as free data: how large they are together.
    pub(super) fn messages(&mut self, field: &str, messages: &[impl Message]) {
        self.document(field, messages.iter().map(Message::encoded_len).sum(), None);
    }

    fn document(&mut self, field: &str, bytes: usize, fault: Option<Fault>) {
        let (bytes_max, levels_max) = (self.limits.document_bytes, self.limits.document_levels);
        if bytes > bytes_max {
            self.add(field, format!("is larger than {bytes_max} bytes"));
        }
        match fault {
            Some(Fault::TooDeep) => self.add(field, format!("is more than {levels_max} levels deep")),
            Some(Fault::NotFinite) => self.add(field, "has a number that is not finite"),
            None => {}
        }
    }

    /// The size of a page: `usual` where none is asked for.
    pub(super) fn page_size(&mut self, field: &str, asked: i32, usual: usize) -> usize {
        let max = self.limits.page_items;
        match usize::try_from(asked) {
            Ok(0) => usual.min(max),
            Ok(size) if size <= max => size,
            _ => {
                self.add(field, format!("is not between 0 and {max}"));
                usual
            }
        }
    }
}

/// What can be wrong inside free data.
#[derive(Clone, Copy)]
enum Fault {
    TooDeep,
    NotFinite,
}

/// What is wrong with a value that may have so many levels, if anything is.
fn value_fault(value: &Value, levels: usize) -> Option<Fault> {
    match &value.kind {
        Some(Kind::NumberValue(number)) if !number.is_finite() => Some(Fault::NotFinite),
        Some(Kind::ListValue(ListValue { values })) => match levels.checked_sub(1) {
            None => Some(Fault::TooDeep),
            Some(levels) => values.iter().find_map(|value| value_fault(value, levels)),
        },
        Some(Kind::StructValue(fields)) => struct_fault(fields, levels),
        None
        | Some(Kind::NullValue(_) | Kind::NumberValue(_) | Kind::StringValue(_) | Kind::BoolValue(_)) => None,
    }
}

fn struct_fault(fields: &Struct, levels: usize) -> Option<Fault> {
    match levels.checked_sub(1) {
        None => Some(Fault::TooDeep),
        Some(levels) => fields.fields.values().find_map(|value| value_fault(value, levels)),
    }
}
