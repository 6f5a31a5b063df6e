//! Expressions from texts of any kind.

use cel::Value;
use prost_types::{Struct, value::Kind};

use super::expression::{self, EXPRESSION_BYTES_MAX, Expression};

const VARIABLES: [&str; 3] = ["job", "step", "answer"];

/// A text is an expression or is refused; one that is taken gives the same each time, and in bounded time.
///
/// # Panics
/// Where that does not hold.
pub fn expressions(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let Ok(expression) = Expression::compile(source, &VARIABLES) else { return };
    assert!(source.len() <= EXPRESSION_BYTES_MAX);
    for size in [0, 3, 1000] {
        let evaluate = || expression.evaluate(variables(size));
        let outcome = evaluate();
        // What it says of a failure may name the members of a map, which have no order.
        assert_eq!(evaluate().ok(), outcome.ok(), "{source}");
        let again = Expression::compile(source, &VARIABLES).expect("it was taken before");
        assert_eq!(again.evaluate(variables(size)).ok(), evaluate().ok(), "{source}");
        assert_eq!(expression.is_true(variables(size)), evaluate() == Ok(true));
    }
}

/// Data of each kind, with a list of so many items.
fn variables(size: usize) -> Vec<(&'static str, Value)> {
    let value = |kind| prost_types::Value { kind: Some(kind) };
    let items = (0..size).map(|index| match index % 4 {
        0 => value(Kind::NumberValue(f64::from(u32::try_from(index).unwrap_or(u32::MAX)))),
        1 => value(Kind::StringValue(format!("item {index}"))),
        2 => value(Kind::BoolValue(index % 8 == 2)),
        _ => value(Kind::NullValue(0)),
    });
    let list = value(Kind::ListValue(prost_types::ListValue { values: items.collect() }));
    let fields = [
        ("list", list.clone()),
        ("number", value(Kind::NumberValue(2.5))),
        ("text", value(Kind::StringValue("pump".to_owned()))),
        ("flag", value(Kind::BoolValue(true))),
    ];
    let fields = Struct { fields: fields.map(|(name, value)| (name.to_owned(), value)).into() };
    vec![
        ("job", expression::from_struct(&fields)),
        ("step", expression::map([("status", Some(Value::from("READY"))), ("visit", Some(Value::Int(2)))])),
        ("answer", expression::from_value(&list)),
    ]
}
