//! The JSON form of a task: the members and the words that integrators know. The one place that writes and reads it.

#[cfg(test)]
mod tests;

use prost::Message;
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};
use serde_json::{Map, Number, Value as Json};

use crate::proto::v1::{
    CompletionStatus, LocalizedText, TaskMessage, TaskMessageType, TaskReturn, TaskStatus,
};

/// Whole numbers up to here are written as integers: beyond, not every one is a number that we can hold.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// The years that RFC 3339 can write, in seconds.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// What is wrong with a form, by member.
pub(super) type Faults = Vec<(String, String)>;

/// The members that a patch may change. All others are told, and stay.
pub const WRITABLE: [&str; 9] = [
    "completionStatus",
    "completed",
    "launched",
    "description",
    "progress",
    "percentComplete",
    "messages",
    "returns",
    "attributes",
];

/// The form of a task.
#[must_use]
pub fn of_task(task: &TaskStatus) -> Json {
    let mut form = Map::new();
    let mut put = |member: &str, value: Json| form.insert(member.to_owned(), value);
    put("id", Json::from(task.id.as_str()));
    put("type", word(task.r#type().as_str_name(), "TASK_TYPE_"));
    put("uniqueName", text(task.unique_name.as_ref()));
    put("description", text(task.description.as_ref()));
    put("parentName", text(task.parent_name.as_ref()));
    put("launcher", text(task.launcher.as_ref()));
    put("created", time(task.created.as_ref()));
    put("modified", time(task.modified.as_ref()));
    put("launched", time(task.launched.as_ref()));
    put("completed", time(task.completed.as_ref()));
    put("completionStatus", completion_word(task.completion_status()).map_or(Json::Null, Json::from));
    put("messages", task.messages.iter().map(message).collect());
    put("returns", task.returns.iter().map(returned).collect());
    put(
        "attributes",
        task.attributes.as_ref().map_or_else(|| Json::Object(Map::new()), |data| of_struct(&data.members())),
    );
    put("progress", text(task.progress.as_ref()));
    put("percentComplete", task.percent_complete.map_or(Json::Null, Json::from));
    Json::Object(form)
}

/// What a member is where nothing is set.
pub(super) fn unset(member: &str) -> Json {
    match member {
        "messages" | "returns" => Json::Array(Vec::new()),
        "attributes" => Json::Object(Map::new()),
        _ => Json::Null,
    }
}

/// Puts the writable members of a form into the task that it was made of.
///
/// # Errors
/// The members that are not what a task has there.
pub(super) fn into_task(form: &Json, task: &mut TaskStatus) -> Result<(), Faults> {
    let mut reader = Reader::default();
    let at = |member: &str| form.get(member).unwrap_or(&Json::Null);
    task.set_completion_status(reader.completion("completionStatus", at("completionStatus")));
    task.completed = reader.time("completed", at("completed"));
    task.launched = reader.time("launched", at("launched"));
    task.description = reader.text("description", at("description"));
    task.progress = reader.text("progress", at("progress"));
    task.percent_complete = reader.percent("percentComplete", at("percentComplete"));
    task.messages = reader.list("messages", at("messages"), Reader::message);
    task.returns = reader.list("returns", at("returns"), Reader::returned);
    let attributes = reader.object("attributes", at("attributes"));
    // None and an empty one are the same.
    if !attributes.fields.is_empty() || task.attributes.is_some() {
        task.attributes = Some(attributes.into());
    }
    for member in form.as_object().into_iter().flatten().map(|(member, _)| member) {
        if !MEMBERS.contains(&member.as_str()) {
            reader.fault(member, "is no member of a task");
        }
    }
    if reader.faults.is_empty() { Ok(()) } else { Err(reader.faults) }
}

/// How large what a member has become would be in a task, encoded; `None` where it is not what a task has there.
pub(super) fn encoded_len(member: &str, value: &Json) -> Option<usize> {
    let mut reader = Reader::default();
    let bytes = match member {
        "messages" => reader.list(member, value, Reader::message).iter().map(Message::encoded_len).sum(),
        "returns" => reader.list(member, value, Reader::returned).iter().map(Message::encoded_len).sum(),
        "attributes" => reader.object(member, value).encoded_len(),
        _ => return None,
    };
    reader.faults.is_empty().then_some(bytes)
}

const MEMBERS: [&str; 16] = [
    "id",
    "type",
    "uniqueName",
    "description",
    "parentName",
    "launcher",
    "created",
    "modified",
    "launched",
    "completed",
    "completionStatus",
    "messages",
    "returns",
    "attributes",
    "progress",
    "percentComplete",
];

/// A free value as JSON has it. Whole numbers are integers.
#[must_use]
pub fn of_value(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(*value),
        Some(Kind::NumberValue(value)) => number(*value),
        Some(Kind::StringValue(value)) => Json::from(value.as_str()),
        Some(Kind::ListValue(list)) => list.values.iter().map(of_value).collect(),
        Some(Kind::StructValue(fields)) => of_struct(fields),
    }
}

fn of_struct(fields: &Struct) -> Json {
    Json::Object(fields.fields.iter().map(|(name, value)| (name.clone(), of_value(value))).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "whole, and not too large")]
fn number(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() <= INTEGER_MAX {
        return Json::from(value as i64);
    }
    Number::from_f64(value).map_or(Json::Null, Json::Number)
}

pub(super) fn to_value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Json::String(value) => Kind::StringValue(value.clone()),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(to_value).collect() }),
        Json::Object(fields) => Kind::StructValue(to_struct(fields)),
    };
    Value { kind: Some(kind) }
}

fn to_struct(fields: &Map<String, Json>) -> Struct {
    Struct { fields: fields.iter().map(|(name, value)| (name.clone(), to_value(value))).collect() }
}

fn text(text: Option<&String>) -> Json {
    text.map_or(Json::Null, |text| Json::from(text.as_str()))
}

fn time(time: Option<&Timestamp>) -> Json {
    time.map_or(Json::Null, |time| Json::from(time.to_string()))
}

fn word(name: &str, prefix: &str) -> Json {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => Json::Null,
        word => Json::from(word),
    }
}

pub(super) const COMPLETIONS: [(CompletionStatus, &str); 5] = [
    (CompletionStatus::Success, "Success"),
    (CompletionStatus::Warning, "Warning"),
    (CompletionStatus::Error, "Error"),
    (CompletionStatus::Terminated, "Terminated"),
    (CompletionStatus::TempError, "TempError"),
];

fn completion_word(status: CompletionStatus) -> Option<&'static str> {
    COMPLETIONS.iter().find(|(known, _)| *known == status).map(|(_, word)| *word)
}

fn message(message: &TaskMessage) -> Json {
    let localized = message.localized_text.as_ref().map(|localized| {
        let members =
            [("locale", text(localized.locale.as_ref())), ("message", text(localized.message.as_ref()))];
        object(members)
    });
    object([
        ("type", word(message.r#type().as_str_name(), "TASK_MESSAGE_TYPE_")),
        ("localizedText", localized.unwrap_or(Json::Null)),
        ("key", text(message.key.as_ref())),
        ("parameters", message.parameters.iter().map(of_value).collect()),
    ])
}

fn returned(returned: &TaskReturn) -> Json {
    object([
        ("name", text(returned.name.as_ref())),
        ("attributeName", text(returned.attribute_name.as_ref())),
    ])
}

fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.into_iter().map(|(member, value)| (member.to_owned(), value)).collect())
}

/// Whether a time that can be read is written as RFC 3339 has it: with a time of day, and a zone of hours and minutes.
fn is_rfc_3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_zone = matches!(bytes, [.., b'Z' | b'z'] | [.., b'+' | b'-', _, _, b':', _, _]);
    matches!(bytes, [b'0'..=b'9', ..])
        && matches!(bytes.get(10), Some(b'T' | b't'))
        && has_zone
        && !text.contains(' ')
}

/// Reads members, and notes what is wrong with them.
#[derive(Default)]
struct Reader {
    faults: Faults,
}

impl Reader {
    fn fault(&mut self, member: &str, what: &str) {
        self.faults.push((member.to_owned(), what.to_owned()));
    }

    fn text(&mut self, member: &str, json: &Json) -> Option<String> {
        match json {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            _ => {
                self.fault(member, "is not a text or null");
                None
            }
        }
    }

    fn time(&mut self, member: &str, json: &Json) -> Option<Timestamp> {
        let text = self.text(member, json)?;
        let time = text.parse().ok().filter(|time: &Timestamp| YEARS.contains(&time.seconds));
        let time = time.filter(|_| is_rfc_3339(&text));
        if time.is_none() {
            self.fault(member, "is not a time as RFC 3339 has it");
        }
        time
    }

    fn completion(&mut self, member: &str, json: &Json) -> CompletionStatus {
        let Some(text) = self.text(member, json) else { return CompletionStatus::Unspecified };
        let found = COMPLETIONS.iter().find(|(_, word)| word.eq_ignore_ascii_case(&text));
        if found.is_none() {
            self.fault(member, "is not Success, Warning, Error, Terminated or TempError");
        }
        found.map(|(status, _)| *status).unwrap_or_default()
    }

    fn percent(&mut self, member: &str, json: &Json) -> Option<i32> {
        let percent = json.as_i64().and_then(|percent| i32::try_from(percent).ok());
        let percent = percent.filter(|percent| (0..=100).contains(percent));
        if percent.is_none() && !json.is_null() {
            self.fault(member, "is not an integer from 0 to 100, or null");
        }
        percent
    }

    fn object(&mut self, member: &str, json: &Json) -> Struct {
        let Json::Object(fields) = json else {
            self.fault(member, "is not an object");
            return Struct::default();
        };
        to_struct(fields)
    }

    fn list<T>(&mut self, member: &str, json: &Json, read: fn(&mut Self, &str, &Json) -> T) -> Vec<T> {
        let Json::Array(items) = json else {
            self.fault(member, "is not an array");
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items.map(|(index, item)| read(self, &format!("{member}[{index}]"), item)).collect()
    }

    fn message(&mut self, member: &str, json: &Json) -> TaskMessage {
        let known = ["type", "localizedText", "key", "parameters"];
        let at = self.members(member, json, &known);
        let kind = self.text(&format!("{member}.type"), &at("type"));
        let kind = kind.map(|word| {
            let name = format!("TASK_MESSAGE_TYPE_{}", word.to_ascii_uppercase());
            let found = TaskMessageType::from_str_name(&name);
            if found.is_none_or(|found| found == TaskMessageType::Unspecified) {
                self.fault(&format!("{member}.type"), "is not INFO, WARN or ERROR");
            }
            found.unwrap_or_default()
        });
        let localized = at("localizedText");
        let localized_text = (!localized.is_null()).then(|| {
            let path = format!("{member}.localizedText");
            let at = self.members(&path, &localized, &["locale", "message"]);
            LocalizedText {
                locale: self.text(&format!("{path}.locale"), &at("locale")),
                message: self.text(&format!("{path}.message"), &at("message")),
            }
        });
        let parameters = match at("parameters") {
            Json::Null => Vec::new(),
            parameters => {
                self.list(&format!("{member}.parameters"), &parameters, |_, _, json| to_value(json))
            }
        };
        let key = self.text(&format!("{member}.key"), &at("key"));
        TaskMessage { r#type: kind.unwrap_or_default().into(), localized_text, key, parameters }
    }

    fn returned(&mut self, member: &str, json: &Json) -> TaskReturn {
        let at = self.members(member, json, &["name", "attributeName"]);
        TaskReturn {
            name: self.text(&format!("{member}.name"), &at("name")),
            attribute_name: self.text(&format!("{member}.attributeName"), &at("attributeName")),
        }
    }

    /// The members of an object that has no others than those known.
    fn members<'j>(&mut self, path: &str, json: &'j Json, known: &[&str]) -> impl Fn(&str) -> Json + use<'j> {
        let fields = json.as_object();
        if fields.is_none() {
            self.fault(path, "is not an object");
        }
        for member in fields.into_iter().flatten().map(|(member, _)| member) {
            if !known.contains(&member.as_str()) {
                self.fault(&format!("{path}.{member}"), "is no member of it");
            }
        }
        move |member| fields.and_then(|fields| fields.get(member)).cloned().unwrap_or(Json::Null)
    }
}
