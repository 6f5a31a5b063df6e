//! The JSON form of a task as text. Change it, run with `UPDATE_EXPECT=1`, and review the diff.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use prost_types::{ListValue, NullValue, Struct, Timestamp, Value, value::Kind};
use serde_json::{Value as Json, json};

use super::{
    COMPLETIONS, MEMBERS, WRITABLE, YEARS, into_task, of_task, of_value, to_struct, to_value, unset,
};
use crate::{
    domain::fixtures::at,
    proto::{
        Document,
        v1::{
            CompletionStatus, LocalizedText, TaskMessage, TaskMessageType, TaskReturn, TaskStatus, TaskType,
        },
    },
};

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn struct_of(json: &Json) -> Option<Document> {
    json.as_object().map(|fields| to_struct(fields).into())
}

/// A task with every member of the form.
fn full() -> TaskStatus {
    let message = TaskMessage {
        r#type: TaskMessageType::Warn.into(),
        localized_text: Some(LocalizedText {
            locale: text("en-GB"),
            message: text("2 of 3 bolts are loose"),
        }),
        key: text("bolts.loose"),
        parameters: [json!(2), json!(0.5), json!({ "of": 3 }), json!([true, "x"]), Json::Null]
            .iter()
            .map(to_value)
            .collect(),
    };
    TaskStatus {
        id: "task_1".to_owned(),
        r#type: TaskType::QueuedTask.into(),
        unique_name: text("TightenBolts"),
        description: text("Tightens \"all\" bolts\n"),
        parent_name: text("Assembly"),
        launcher: text("robot-7"),
        created: Some(at(1)),
        modified: Some(Timestamp { seconds: 2, nanos: 500_000_000 }),
        launched: Some(Timestamp { seconds: 1_700_000_000, nanos: 1 }),
        completed: Some(Timestamp { seconds: 1_700_000_060, nanos: 123_456_789 }),
        completion_status: CompletionStatus::Warning.into(),
        messages: vec![message],
        returns: vec![TaskReturn { name: text("Torque"), attribute_name: text("torque") }],
        attributes: struct_of(&json!({ "torque": 12.5, "bolts": 3, "note": null, "a/b~c": { "": [] } })),
        progress: text("done"),
        percent_complete: Some(100),
        // What is no member of the form.
        job_id: "job".to_owned(),
        step_id: "step".to_owned(),
        etag: "r7".to_owned(),
        deadline: Some(at(9)),
        ..TaskStatus::default()
    }
}

fn check(task: &TaskStatus, expected: Expect) {
    let form = of_task(task);
    expected.assert_eq(&format!("{form:#}\n"));
    let members: Vec<_> = form.as_object().unwrap().keys().map(String::as_str).collect();
    let mut known = MEMBERS.to_vec();
    known.sort_unstable();
    assert_eq!(members, known, "every member is always there");
}

/// The reply of the seed, member by member; those of a JSON object have no order.
#[test]
fn a_full_task() {
    check(
        &full(),
        expect![[r#"
        {
          "attributes": {
            "a/b~c": {
              "": []
            },
            "bolts": 3,
            "note": null,
            "torque": 12.5
          },
          "completed": "2023-11-14T22:14:20.123456789Z",
          "completionStatus": "Warning",
          "created": "1970-01-01T00:00:01Z",
          "description": "Tightens \"all\" bolts\n",
          "id": "task_1",
          "launched": "2023-11-14T22:13:20.000000001Z",
          "launcher": "robot-7",
          "messages": [
            {
              "key": "bolts.loose",
              "localizedText": {
                "locale": "en-GB",
                "message": "2 of 3 bolts are loose"
              },
              "parameters": [
                2,
                0.5,
                {
                  "of": 3
                },
                [
                  true,
                  "x"
                ],
                null
              ],
              "type": "WARN"
            }
          ],
          "modified": "1970-01-01T00:00:02.500Z",
          "parentName": "Assembly",
          "percentComplete": 100,
          "progress": "done",
          "returns": [
            {
              "attributeName": "torque",
              "name": "Torque"
            }
          ],
          "type": "QUEUED_TASK",
          "uniqueName": "TightenBolts"
        }
    "#]],
    );
}

#[test]
fn an_empty_task() {
    check(
        &TaskStatus::default(),
        expect![[r#"
        {
          "attributes": {},
          "completed": null,
          "completionStatus": null,
          "created": null,
          "description": null,
          "id": "",
          "launched": null,
          "launcher": null,
          "messages": [],
          "modified": null,
          "parentName": null,
          "percentComplete": null,
          "progress": null,
          "returns": [],
          "type": null,
          "uniqueName": null
        }
    "#]],
    );
    let form = of_task(&TaskStatus::default());
    for member in WRITABLE {
        assert_eq!(form[member], unset(member), "{member}");
    }
}

/// Parts of a list that are not set are null too, where they are not lists themselves.
#[test]
fn empty_messages_and_returns() {
    let with_text = TaskMessage { localized_text: Some(LocalizedText::default()), ..TaskMessage::default() };
    let task = TaskStatus {
        messages: vec![TaskMessage::default(), with_text],
        returns: vec![TaskReturn::default()],
        ..TaskStatus::default()
    };
    let form = of_task(&task);
    expect![[r#"
        [{"key":null,"localizedText":null,"parameters":[],"type":null},{"key":null,"localizedText":{"locale":null,"message":null},"parameters":[],"type":null}]
        [{"attributeName":null,"name":null}]
    "#]].assert_eq(&format!("{}\n{}\n", form["messages"], form["returns"]));
}

#[test]
fn every_word_is_written() {
    let mut table = String::new();
    for number in 0..=3 {
        let task = TaskStatus { r#type: number, ..TaskStatus::default() };
        let message = TaskMessage { r#type: number, ..TaskMessage::default() };
        let form = of_task(&TaskStatus { messages: vec![message], ..task });
        table.push_str(&format!("{number} {} {}\n", form["type"], form["messages"][0]["type"]));
    }
    for number in 0..=5 {
        let task = TaskStatus { completion_status: number, ..TaskStatus::default() };
        table.push_str(&format!("{number} {}\n", of_task(&task)["completionStatus"]));
    }
    expect![[r#"
        0 null null
        1 "QUARTZ" "INFO"
        2 "QPOC" "WARN"
        3 "QUEUED_TASK" "ERROR"
        0 null
        1 "Success"
        2 "Warning"
        3 "Error"
        4 "Terminated"
        5 "TempError"
    "#]]
    .assert_eq(&table);
}

/// What is read of a task whose member is this.
fn read(member: &str, value: Json) -> Result<TaskStatus, Vec<(String, String)>> {
    let mut form = of_task(&TaskStatus::default());
    form[member] = value;
    let mut task = TaskStatus::default();
    into_task(&form, &mut task).map(|()| task)
}

#[test]
fn completion_words_are_read_in_any_case() {
    for (status, word) in COMPLETIONS {
        let mixed = word.chars().enumerate().map(|(index, letter)| match index % 2 {
            0 => letter.to_ascii_lowercase(),
            _ => letter.to_ascii_uppercase(),
        });
        let mixed: String = mixed.collect();
        for written in [word.to_owned(), word.to_ascii_lowercase(), word.to_ascii_uppercase(), mixed] {
            let task = read("completionStatus", json!(written)).unwrap();
            assert_eq!(task.completion_status(), status, "{written}");
            assert_eq!(of_task(&task)["completionStatus"], json!(word), "{written}");
        }
    }
}

#[test]
fn numbers() {
    let numbers = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        100.0,
        0.1,
        -2.5,
        1e15,
        9_007_199_254_740_991.0,
        9_007_199_254_740_992.0,
        -9_007_199_254_740_992.0,
        9_007_199_254_740_994.0,
        1e16,
        1e21,
        1e300,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::NAN,
        f64::INFINITY,
    ];
    let mut table = String::new();
    for number in numbers {
        let json = of_value(&Value::from(number));
        table.push_str(&format!("{number:?} {json}\n"));
        if number.is_finite() {
            assert_eq!(to_value(&json), Value::from(number));
        }
    }
    expect![[r#"
        0.0 0
        -0.0 0
        1.0 1
        -1.0 -1
        100.0 100
        0.1 0.1
        -2.5 -2.5
        1000000000000000.0 1000000000000000
        9007199254740991.0 9007199254740991
        9007199254740992.0 9007199254740992
        -9007199254740992.0 -9007199254740992
        9007199254740994.0 9007199254740994.0
        1e16 1e+16
        1e21 1e+21
        1e300 1e+300
        1.7976931348623157e308 1.7976931348623157e+308
        2.2250738585072014e-308 2.2250738585072014e-308
        NaN null
        inf null
    "#]]
    .assert_eq(&table);
    assert_eq!(of_value(&Value { kind: None }), Json::Null);
}

/// What is written, and is read back as the same time.
#[test]
fn times_are_written() {
    let times = [
        (0, 0),
        (-1, 0),
        (-1, 999_999_999),
        (1_700_000_000, 1),
        (1_700_000_000, 120_000_000),
        (1_700_000_000, 123_000),
        (1_700_000_000, 123_456_789),
        (*YEARS.start(), 0),
        (*YEARS.end(), 999_999_999),
    ];
    let mut table = String::new();
    for (seconds, nanos) in times {
        let time = Some(Timestamp { seconds, nanos });
        let form = of_task(&TaskStatus { launched: time, ..TaskStatus::default() });
        table.push_str(&format!("{seconds} {nanos} {}\n", form["launched"]));
        assert_eq!(read("launched", form["launched"].clone()).unwrap().launched, time);
    }
    expect![[r#"
        0 0 "1970-01-01T00:00:00Z"
        -1 0 "1969-12-31T23:59:59Z"
        -1 999999999 "1969-12-31T23:59:59.999999999Z"
        1700000000 1 "2023-11-14T22:13:20.000000001Z"
        1700000000 120000000 "2023-11-14T22:13:20.120Z"
        1700000000 123000 "2023-11-14T22:13:20.000123Z"
        1700000000 123456789 "2023-11-14T22:13:20.123456789Z"
        -62135596800 0 "0001-01-01T00:00:00Z"
        253402300799 999999999 "9999-12-31T23:59:59.999999999Z"
    "#]]
    .assert_eq(&table);
}

#[test]
fn times_are_read() {
    let texts = [
        "2023-11-14T22:13:20Z",
        "2023-11-14t22:13:20z",
        "2023-11-14T22:13:20.5Z",
        "2023-11-14T22:13:20.123456789Z",
        "2023-11-14T22:13:20.1234567891Z",
        "2023-11-14T23:43:20+01:30",
        "2023-11-14T20:43:20-01:30",
        "2023-11-14T22:13:20-00:00",
        "2024-02-29T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "0000-12-31T23:59:59Z",
        "+10000-01-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2023-11-14T24:00:00Z",
        "2023-11-14T22:60:00Z",
        "2023-11-14T22:13:61Z",
        "2023-11-14",
        "2023-11-14T22:13Z",
        "2023-11-14T22:13:20",
        "2023-11-14 22:13:20Z",
        "2023-11-14T22:13:20 Z",
        "2023-11-14T22:13:20+01",
        "2023-11-14T22:13:20+0130",
        "2023-11-14T22:13:20.Z",
        "2023-11-14T22:13:20,5Z",
        "20231114T221320Z",
        " 2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20Zé",
        "1700000000",
        "now",
        "",
    ];
    let mut table = String::new();
    for text in texts {
        let outcome = match read("launched", json!(text)) {
            Ok(task) => task.launched.map(|time| format!("{} {}", time.seconds, time.nanos)).unwrap(),
            Err(faults) => faults.into_iter().map(|(_, what)| what).collect(),
        };
        table.push_str(&format!("{text:?} {outcome}\n"));
    }
    expect![[r#"
        "2023-11-14T22:13:20Z" 1700000000 0
        "2023-11-14t22:13:20z" 1700000000 0
        "2023-11-14T22:13:20.5Z" 1700000000 500000000
        "2023-11-14T22:13:20.123456789Z" 1700000000 123456789
        "2023-11-14T22:13:20.1234567891Z" 1700000000 123456789
        "2023-11-14T23:43:20+01:30" 1700000000 0
        "2023-11-14T20:43:20-01:30" 1700000000 0
        "2023-11-14T22:13:20-00:00" 1700000000 0
        "2024-02-29T00:00:00Z" 1709164800 0
        "2016-12-31T23:59:60Z" 1483228799 0
        "0001-01-01T00:00:00Z" -62135596800 0
        "9999-12-31T23:59:59Z" 253402300799 0
        "0001-01-01T00:00:00+00:01" is not a time as RFC 3339 has it
        "9999-12-31T23:59:59-00:01" is not a time as RFC 3339 has it
        "0000-12-31T23:59:59Z" is not a time as RFC 3339 has it
        "+10000-01-01T00:00:00Z" is not a time as RFC 3339 has it
        "2023-02-29T00:00:00Z" is not a time as RFC 3339 has it
        "2023-11-14T24:00:00Z" is not a time as RFC 3339 has it
        "2023-11-14T22:60:00Z" is not a time as RFC 3339 has it
        "2023-11-14T22:13:61Z" is not a time as RFC 3339 has it
        "2023-11-14" is not a time as RFC 3339 has it
        "2023-11-14T22:13Z" is not a time as RFC 3339 has it
        "2023-11-14T22:13:20" is not a time as RFC 3339 has it
        "2023-11-14 22:13:20Z" is not a time as RFC 3339 has it
        "2023-11-14T22:13:20 Z" is not a time as RFC 3339 has it
        "2023-11-14T22:13:20+01" is not a time as RFC 3339 has it
        "2023-11-14T22:13:20+0130" is not a time as RFC 3339 has it
        "2023-11-14T22:13:20.Z" is not a time as RFC 3339 has it
        "2023-11-14T22:13:20,5Z" is not a time as RFC 3339 has it
        "20231114T221320Z" is not a time as RFC 3339 has it
        " 2023-11-14T22:13:20Z" is not a time as RFC 3339 has it
        "2023-11-14T22:13:20Zé" is not a time as RFC 3339 has it
        "1700000000" is not a time as RFC 3339 has it
        "now" is not a time as RFC 3339 has it
        "" is not a time as RFC 3339 has it
    "#]]
    .assert_eq(&table);
}

/// Every fault of reading, each told by its member; all of a form at once.
#[test]
fn faults() {
    let rows = [
        ("completionStatus", json!("Done")),
        ("completionStatus", json!("")),
        ("completionStatus", json!("Temp Error")),
        ("completionStatus", json!("COMPLETION_STATUS_SUCCESS")),
        ("completionStatus", json!(1)),
        ("completed", json!(1_700_000_000)),
        ("completed", json!("today")),
        ("launched", json!({})),
        ("launched", json!("2023-11-14")),
        ("description", json!(1)),
        ("progress", json!(["x"])),
        ("percentComplete", json!(-1)),
        ("percentComplete", json!(101)),
        ("percentComplete", json!(0.5)),
        ("percentComplete", json!("50")),
        ("percentComplete", json!(4_294_967_346_u64)),
        ("percentComplete", json!(1e300)),
        ("percentComplete", json!(true)),
        ("messages", Json::Null),
        ("messages", json!({})),
        ("messages", json!([null])),
        ("messages", json!([{}, "x", {}])),
        ("messages", json!([{ "type": "FATAL" }])),
        ("messages", json!([{ "type": "" }])),
        ("messages", json!([{ "type": "UNSPECIFIED" }])),
        ("messages", json!([{ "type": 1 }])),
        ("messages", json!([{ "key": 1, "text": "x", "Key": "x" }])),
        ("messages", json!([{ "parameters": {} }])),
        ("messages", json!([{ "localizedText": "x" }])),
        ("messages", json!([{ "localizedText": { "locale": 1, "message": 2, "text": 3 } }])),
        ("returns", Json::Null),
        ("returns", json!("x")),
        ("returns", json!([1])),
        ("returns", json!([{ "name": {}, "attributeName": [], "value": 1 }])),
        ("attributes", Json::Null),
        ("attributes", json!([])),
        ("attributes", json!("x")),
        ("extra", json!(1)),
    ];
    let told = |faults: Vec<(String, String)>| -> String {
        let lines: Vec<_> =
            faults.into_iter().map(|(member, what)| format!("    {member} {what}\n")).collect();
        lines.concat()
    };
    let mut table = String::new();
    for (member, value) in rows {
        let shown = format!("{member}: {value}");
        let faults = read(member, value).expect_err(&shown);
        table.push_str(&format!("{shown}\n{}", told(faults)));
    }
    let form = json!({ "completionStatus": 1, "description": 2, "messages": 3, "attributes": 4, "extra": 5 });
    let faults = into_task(&form, &mut full()).unwrap_err();
    table.push_str(&format!("{form}\n{}", told(faults)));
    expect![[r#"
        completionStatus: "Done"
            completionStatus is not Success, Warning, Error, Terminated or TempError
        completionStatus: ""
            completionStatus is not Success, Warning, Error, Terminated or TempError
        completionStatus: "Temp Error"
            completionStatus is not Success, Warning, Error, Terminated or TempError
        completionStatus: "COMPLETION_STATUS_SUCCESS"
            completionStatus is not Success, Warning, Error, Terminated or TempError
        completionStatus: 1
            completionStatus is not a text or null
        completed: 1700000000
            completed is not a text or null
        completed: "today"
            completed is not a time as RFC 3339 has it
        launched: {}
            launched is not a text or null
        launched: "2023-11-14"
            launched is not a time as RFC 3339 has it
        description: 1
            description is not a text or null
        progress: ["x"]
            progress is not a text or null
        percentComplete: -1
            percentComplete is not an integer from 0 to 100, or null
        percentComplete: 101
            percentComplete is not an integer from 0 to 100, or null
        percentComplete: 0.5
            percentComplete is not an integer from 0 to 100, or null
        percentComplete: "50"
            percentComplete is not an integer from 0 to 100, or null
        percentComplete: 4294967346
            percentComplete is not an integer from 0 to 100, or null
        percentComplete: 1e+300
            percentComplete is not an integer from 0 to 100, or null
        percentComplete: true
            percentComplete is not an integer from 0 to 100, or null
        messages: null
            messages is not an array
        messages: {}
            messages is not an array
        messages: [null]
            messages[0] is not an object
        messages: [{},"x",{}]
            messages[1] is not an object
        messages: [{"type":"FATAL"}]
            messages[0].type is not INFO, WARN or ERROR
        messages: [{"type":""}]
            messages[0].type is not INFO, WARN or ERROR
        messages: [{"type":"UNSPECIFIED"}]
            messages[0].type is not INFO, WARN or ERROR
        messages: [{"type":1}]
            messages[0].type is not a text or null
        messages: [{"Key":"x","key":1,"text":"x"}]
            messages[0].Key is no member of it
            messages[0].text is no member of it
            messages[0].key is not a text or null
        messages: [{"parameters":{}}]
            messages[0].parameters is not an array
        messages: [{"localizedText":"x"}]
            messages[0].localizedText is not an object
        messages: [{"localizedText":{"locale":1,"message":2,"text":3}}]
            messages[0].localizedText.text is no member of it
            messages[0].localizedText.locale is not a text or null
            messages[0].localizedText.message is not a text or null
        returns: null
            returns is not an array
        returns: "x"
            returns is not an array
        returns: [1]
            returns[0] is not an object
        returns: [{"attributeName":[],"name":{},"value":1}]
            returns[0].value is no member of it
            returns[0].name is not a text or null
            returns[0].attributeName is not a text or null
        attributes: null
            attributes is not an object
        attributes: []
            attributes is not an object
        attributes: "x"
            attributes is not an object
        extra: 1
            extra is no member of a task
        {"attributes":4,"completionStatus":1,"description":2,"extra":5,"messages":3}
            completionStatus is not a text or null
            description is not a text or null
            messages is not an array
            returns is not an array
            attributes is not an object
            extra is no member of a task
    "#]]
    .assert_eq(&table);
}

/// What is read, though it is not what is written.
#[test]
fn what_is_left_out_in_lists_is_not_set() {
    let rows = [
        ("messages", json!([{}])),
        ("messages", json!([{ "type": "warn", "localizedText": {}, "parameters": null }])),
        ("returns", json!([{}, { "name": "x" }])),
        ("completed", json!("2023-11-14T23:13:20.50+01:00")),
        ("percentComplete", json!(0)),
        ("description", json!("")),
        ("attributes", json!({ "a": -0.0, "b": 1.0, "c": 18_446_744_073_709_551_615_u64 })),
    ];
    let mut table = String::new();
    for (member, value) in rows {
        let task = read(member, value.clone()).unwrap();
        table.push_str(&format!("{member}: {value}\n    {}\n", of_task(&task)[member]));
    }
    expect![[r#"
        messages: [{}]
            [{"key":null,"localizedText":null,"parameters":[],"type":null}]
        messages: [{"localizedText":{},"parameters":null,"type":"warn"}]
            [{"key":null,"localizedText":{"locale":null,"message":null},"parameters":[],"type":"WARN"}]
        returns: [{},{"name":"x"}]
            [{"attributeName":null,"name":null},{"attributeName":null,"name":"x"}]
        completed: "2023-11-14T23:13:20.50+01:00"
            "2023-11-14T22:13:20.500Z"
        percentComplete: 0
            0
        description: ""
            ""
        attributes: {"a":-0.0,"b":1.0,"c":18446744073709551615}
            {"a":0,"b":1,"c":1.8446744073709552e+19}
    "#]]
    .assert_eq(&table);
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof!["[a-c/~]{0,3}", any::<String>()])
}

fn any_time() -> impl Strategy<Value = Option<Timestamp>> {
    let nanos = prop_oneof![Just(0), 0..1_000_000_000];
    prop::option::of((YEARS, nanos).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }))
}

fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<f64>().prop_filter("finite", |number| number.is_finite()),
        any::<i32>().prop_map(f64::from),
        Just(-0.0),
        Just(9_007_199_254_740_992.0),
        Just(9_007_199_254_740_994.0),
    ];
    let leaf = prop_oneof![
        Just(Kind::NullValue(NullValue::NullValue.into())),
        any::<bool>().prop_map(Kind::BoolValue),
        number.prop_map(Kind::NumberValue),
        any::<String>().prop_map(Kind::StringValue),
    ];
    leaf.prop_map(|kind| Value { kind: Some(kind) }).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| Value { kind: Some(Kind::ListValue(ListValue { values })) }),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| Value { kind: Some(Kind::StructValue(Struct { fields })) }),
        ]
    })
}

fn any_message() -> impl Strategy<Value = TaskMessage> {
    let localized = (any_text(), any_text()).prop_map(|(locale, message)| LocalizedText { locale, message });
    (0..=3, prop::option::of(localized), any_text(), prop::collection::vec(any_value(), 0..3)).prop_map(
        |(r#type, localized_text, key, parameters)| TaskMessage { r#type, localized_text, key, parameters },
    )
}

prop_compose! {
    fn any_return()(name in any_text(), attribute_name in any_text()) -> TaskReturn {
        TaskReturn { name, attribute_name }
    }
}

prop_compose! {
    fn any_task()(
        completion_status in 0..=5,
        (launched, completed) in (any_time(), any_time()),
        (description, progress) in (any_text(), any_text()),
        percent_complete in prop::option::of(0..=100),
        messages in prop::collection::vec(any_message(), 0..3),
        returns in prop::collection::vec(any_return(), 0..3),
        fields in prop::option::of(prop::collection::btree_map(any::<String>(), any_value(), 0..3)),
    ) -> TaskStatus {
        let attributes = fields.map(|fields| Document::from(Struct { fields }));
        TaskStatus {
            launched, completed, completion_status, description, progress, percent_complete, messages, returns,
            attributes, ..full()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The form of a task is read back as the task; and into another task, with all that can be written.
    #[test]
    fn what_is_written_is_read_back(task in any_task(), other in any_task()) {
        let form = of_task(&task);
        let mut same = task.clone();
        prop_assert_eq!(into_task(&form, &mut same), Ok(()));
        prop_assert_eq!(&same, &task);
        let mut other = other;
        prop_assert_eq!(into_task(&form, &mut other), Ok(()));
        prop_assert_eq!(of_task(&other), form);
    }
}
