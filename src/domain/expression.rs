//! Expressions in the Common Expression Language: what they may be, and how they see our data.
//!
//! An expression is compiled once and bounded before it ever runs: its length, its nesting, and one macro that is not
//! inside another and makes no list, over lists of at most [`LIST_ITEMS_MAX`] and data of at most [`DATA_BYTES_MAX`]. So
//! no evaluation costs more than milliseconds, whatever the data.
//!
//! Numbers in free data are doubles, and people compare them with integers (`answer == 2`). CEL says that numbers compare
//! by value whatever their type; the interpreter does not yet, so comparisons are handed to functions of ours that do.

use std::{
    cmp::Ordering,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use cel::{
    Context, ExecutionError, IdedExpr, Value,
    common::ast::{EntryExpr, Expr, IdedEntryExpr, operators},
    objects::{Key, Map},
    parser::Parser,
};
use prost_types::{Struct, value::Kind};

use crate::proto::Document;

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1024;

/// The deepest nesting of brackets, before parsing, and of the parsed expression: it is evaluated on the stack of whoever
/// asks.
const NESTING_MAX: usize = 20;

/// The parser takes some 100 KiB of stack for each level of nesting in a build without optimizations.
const PARSER_STACK_BYTES: usize = 64 << 20;

/// The longest list that an expression with a macro is given. Data that holds a longer one fails to evaluate.
const LIST_ITEMS_MAX: usize = 1000;

/// The most text that an expression with a macro is given: the macro could look at all of it for every item of a list.
const DATA_BYTES_MAX: usize = 16 << 10;

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    parsed: IdedExpr,
    has_macro: bool,
    reads_metadata: bool,
}

/// Why a text is not an expression we run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is too long.
    #[error("is longer than {EXPRESSION_BYTES_MAX} bytes")]
    TooLong,
    /// It is not CEL.
    #[error("is not a CEL expression: {0}")]
    Syntax(String),
    /// It would take too much stack.
    #[error("is nested more than {NESTING_MAX} deep")]
    TooDeep,
    /// It would cost too much.
    #[error("has more than one macro (all, exists, exists_one)")]
    TooManyMacros,
    /// It would take too much memory.
    #[error("has a macro that makes a list (map, filter); all, exists and exists_one do not")]
    MakesList,
    /// It makes a message, and there are none here.
    #[error("makes a message, which an expression here cannot")]
    MakesMessage,
    /// It reads what is not there.
    #[error("reads {0:?}, which is not one of {1}")]
    UnknownVariable(String, String),
}

impl Expression {
    /// Compiles an expression that may read `variables`.
    ///
    /// # Errors
    /// The text is no such expression, or one that could cost too much.
    pub fn compile(source: &str, variables: &[&str]) -> Result<Self, ExpressionError> {
        if source.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::TooLong);
        }
        if bracket_depth(source) > NESTING_MAX || source.matches('?').count() > NESTING_MAX {
            return Err(ExpressionError::TooDeep);
        }
        let mut expression = parse(source.to_owned())?;
        if depth(&expression) > NESTING_MAX {
            return Err(ExpressionError::TooDeep);
        }
        let macros = count_macros(&expression);
        if macros > 1 {
            return Err(ExpressionError::TooManyMacros);
        }
        if any(&expression, &makes_list) {
            return Err(ExpressionError::MakesList);
        }
        if any(&expression, &|part| matches!(part.expr, Expr::Struct(_))) {
            return Err(ExpressionError::MakesMessage);
        }
        if let Some(unknown) = unknown_variable(&expression, variables) {
            return Err(ExpressionError::UnknownVariable(unknown.to_owned(), variables.join(", ")));
        }
        compare_by_value(&mut expression);
        Ok(Self { parsed: expression, has_macro: macros > 0, reads_metadata: source.contains("metadata") })
    }

    /// Whether free properties must be among the variables: they are costly to bring over.
    pub(super) fn reads_metadata(&self) -> bool {
        self.reads_metadata
    }

    /// Whether the expression is true. One that fails to evaluate, or gives anything but `true`, is not.
    pub(super) fn is_true(&self, variables: Vec<(&str, Value)>) -> bool {
        self.evaluate(variables) == Ok(true)
    }

    /// What the expression gives.
    ///
    /// # Errors
    /// Why it gives neither true nor false.
    pub(super) fn evaluate(&self, variables: Vec<(&str, Value)>) -> Result<bool, String> {
        let mut bytes_left = DATA_BYTES_MAX;
        if self.has_macro && !variables.iter().all(|(_, value)| is_small(value, &mut bytes_left)) {
            return Err("its data is too much for a macro".to_owned());
        }
        ROOT.with(|root| {
            let mut context = root.new_inner_scope();
            for (name, value) in variables {
                context.add_variable_from_value(name, value);
            }
            // The interpreter has corners that panic; an expression is no reason to.
            match catch_unwind(AssertUnwindSafe(|| Value::resolve(&self.parsed, &context))) {
                Ok(Ok(Value::Bool(outcome))) => Ok(outcome),
                Ok(Ok(_)) => Err("it gives neither true nor false".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("it cannot be evaluated".to_owned()),
            }
        })
    }
}

thread_local! {
    /// The standard functions. Making this is the dear part of an evaluation.
    static ROOT: Context<'static> = root();
}

fn root() -> Context<'static> {
    let mut context = Context::default();
    context.add_function(EQUALS, |left: Value, right: Value| left == right);
    context.add_function(NOT_EQUALS, |left: Value, right: Value| left != right);
    context.add_function(LESS, |left: Value, right: Value| compare(left, right).map(Ordering::is_lt));
    context.add_function(LESS_EQUALS, |left: Value, right: Value| compare(left, right).map(Ordering::is_le));
    context.add_function(GREATER, |left: Value, right: Value| compare(left, right).map(Ordering::is_gt));
    context
        .add_function(GREATER_EQUALS, |left: Value, right: Value| compare(left, right).map(Ordering::is_ge));
    context
}

fn compare(left: Value, right: Value) -> Result<Ordering, ExecutionError> {
    let order = left.partial_cmp(&right);
    order.ok_or(ExecutionError::ValuesNotComparable(left, right))
}

// Names that nobody can write.
const EQUALS: &str = "@equals";
const NOT_EQUALS: &str = "@not_equals";
const LESS: &str = "@less";
const LESS_EQUALS: &str = "@less_equals";
const GREATER: &str = "@greater";
const GREATER_EQUALS: &str = "@greater_equals";

/// Hands the comparisons of an expression to our functions.
fn compare_by_value(expression: &mut IdedExpr) {
    if let Expr::Call(call) = &mut expression.expr {
        let ours = match call.func_name.as_str() {
            operators::EQUALS => EQUALS,
            operators::NOT_EQUALS => NOT_EQUALS,
            operators::LESS => LESS,
            operators::LESS_EQUALS => LESS_EQUALS,
            operators::GREATER => GREATER,
            operators::GREATER_EQUALS => GREATER_EQUALS,
            other => other,
        };
        call.func_name = ours.to_owned();
    }
    parts_mut(expression).into_iter().for_each(compare_by_value);
}

/// A map for an expression, of what is set.
pub(super) fn map(entries: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let entries = entries.into_iter().filter_map(|(name, value)| Some((Key::from(name), value?)));
    Value::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
}

/// Free data as an expression sees it.
pub(super) fn from_document(document: &Document) -> Value {
    from_struct(&document.members())
}

/// Free properties as an expression sees them.
pub(super) fn from_struct(fields: &Struct) -> Value {
    let entries = fields.fields.iter().map(|(name, value)| (Key::from(name.as_str()), from_value(value)));
    Value::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
}

/// A free value as an expression sees it.
pub(super) fn from_value(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(value)) => Value::Float(*value),
        Some(Kind::StringValue(value)) => Value::from(value.as_str()),
        Some(Kind::ListValue(list)) => Value::from(list.values.iter().map(from_value).collect::<Vec<_>>()),
        Some(Kind::StructValue(fields)) => from_struct(fields),
    }
}

/// Whether a value has no list that is too long, and no more text than is left.
fn is_small(value: &Value, bytes_left: &mut usize) -> bool {
    let mut fits = |bytes: usize| {
        let rest = bytes_left.checked_sub(bytes);
        *bytes_left = rest.unwrap_or(0);
        rest.is_some()
    };
    match value {
        Value::List(items) => {
            items.len() <= LIST_ITEMS_MAX && items.iter().all(|item| is_small(item, bytes_left))
        }
        Value::Map(map) => {
            map.map.len() <= LIST_ITEMS_MAX
                && map.map.keys().all(|key| fits(key.to_string().len()))
                && map.map.values().all(|value| is_small(value, bytes_left))
        }
        Value::String(text) => fits(text.len()),
        _ => true,
    }
}

/// Parses on a stack that is large enough for any text of the allowed length, and apart, for the parser panics on some.
fn parse(source: String) -> Result<IdedExpr, ExpressionError> {
    let parsing =
        thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn(move || Parser::default().parse(&source));
    let parsed = parsing.map_err(|error| ExpressionError::Syntax(error.to_string()))?.join();
    parsed.map_err(|_| ExpressionError::Syntax("the parser gave up on it".to_owned()))?.map_err(|errors| {
        let first = errors.errors.first().map(|error| error.msg.clone()).unwrap_or_default();
        ExpressionError::Syntax(first)
    })
}

fn bracket_depth(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The parts of an expression, one level down.
fn parts(expression: &IdedExpr) -> Vec<&IdedExpr> {
    fn of_entry(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
        match &entry.expr {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        }
    }
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(of_entry).collect(),
        Expr::Struct(message) => message.entries.iter().flat_map(of_entry).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Comprehension(inner) => {
            vec![&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]
        }
    }
}

/// The same, to be changed.
fn parts_mut(expression: &mut IdedExpr) -> Vec<&mut IdedExpr> {
    fn of_entry(entry: &mut IdedEntryExpr) -> Vec<&mut IdedExpr> {
        match &mut entry.expr {
            EntryExpr::StructField(field) => vec![&mut field.value],
            EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
        }
    }
    match &mut expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).collect(),
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Map(map) => map.entries.iter_mut().flat_map(of_entry).collect(),
        Expr::Struct(message) => message.entries.iter_mut().flat_map(of_entry).collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Comprehension(inner) => vec![
            &mut inner.iter_range,
            &mut inner.accu_init,
            &mut inner.loop_cond,
            &mut inner.loop_step,
            &mut inner.result,
        ],
    }
}

fn depth(expression: &IdedExpr) -> usize {
    1 + parts(expression).into_iter().map(depth).max().unwrap_or(0)
}

/// Whether something holds of any part of an expression.
fn any(expression: &IdedExpr, holds: &impl Fn(&IdedExpr) -> bool) -> bool {
    holds(expression) || parts(expression).into_iter().any(|part| any(part, holds))
}

fn makes_list(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Comprehension(inner) if matches!(inner.accu_init.expr, Expr::List(_)))
}

/// How many macros an expression has. The parser makes each a comprehension.
fn count_macros(expression: &IdedExpr) -> usize {
    let is_macro = matches!(expression.expr, Expr::Comprehension(_));
    usize::from(is_macro) + parts(expression).into_iter().map(count_macros).sum::<usize>()
}

/// A variable that an expression reads and that neither is given to it nor bound by its macro.
fn unknown_variable<'e>(expression: &'e IdedExpr, known: &[&str]) -> Option<&'e str> {
    match &expression.expr {
        Expr::Ident(name) if !known.contains(&name.as_str()) => return Some(name),
        Expr::Comprehension(inner) => {
            let bound = [Some(&inner.iter_var), inner.iter_var2.as_ref(), Some(&inner.accu_var)];
            let bound = bound.into_iter().flatten().map(String::as_str);
            let known: Vec<&str> = known.iter().copied().chain(bound).collect();
            return parts(expression).into_iter().find_map(|part| unknown_variable(part, &known));
        }
        _ => {}
    }
    parts(expression).into_iter().find_map(|part| unknown_variable(part, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: Result<bool, &str>) {
        let job = map([("team", Some(Value::from("red"))), ("priority", Some(Value::Int(3)))]);
        let outcome =
            Expression::compile(source, &["job"]).map(|compiled| compiled.is_true(vec![("job", job)]));
        match (outcome, expected) {
            (Ok(is_true), Ok(expected)) => assert_eq!(is_true, expected, "{source}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{source}: {error}"),
            (outcome, expected) => panic!("{source}: {outcome:?}, not {expected:?}"),
        }
    }

    #[test]
    fn expressions_are_true_or_are_not() {
        check("job.team == 'red'", Ok(true));
        check("job.team == 'blue'", Ok(false));
        check("job.priority > 2 && job.team.startsWith('r')", Ok(true));
        check("has(job.due_time)", Ok(false));
        check("[1, 2, 3].exists(n, n == job.priority)", Ok(true));
        // What fails, or is no truth value, is not true.
        check("job.nothing == 1", Ok(false));
        check("job.priority / 0 == 1", Ok(false));
        check("job.priority", Ok(false));
    }

    #[test]
    fn numbers_compare_by_value() {
        let is_true = |source: &str| {
            let data = map([("two", Some(Value::Float(2.0))), ("half", Some(Value::Float(0.5)))]);
            Expression::compile(source, &["data"]).unwrap().evaluate(vec![("data", data)])
        };
        for source in [
            "data.two == 2 && 2 == data.two && data.two == 2.0 && data.two != 3",
            "data.two < 3 && data.two <= 2 && data.two > 1 && data.two >= 2 && data.half < 1 && 0 < data.half",
            "[1, 2].exists(n, n == data.two) && [data.two, 1] == [2, 1]",
            "data.two == 2u && !(data.two == '2')",
        ] {
            assert_eq!(is_true(source), Ok(true), "{source}");
        }
        assert!(is_true("data.two < 'three'").is_err());
    }

    #[test]
    fn expressions_are_bounded_before_they_run() {
        check("job.team ==", Err("is not a CEL expression"));
        check("hold.kind == 1", Err("reads \"hold\""));
        check(&format!("job.team == '{}'", "x".repeat(EXPRESSION_BYTES_MAX)), Err("longer than 1024"));
        check("[1].all(n, [2].all(m, m > n))", Err("more than one macro"));
        check("[1].map(n, n) == [1]", Err("makes a list"));
        check("[1].filter(n, n > 0) == [1]", Err("makes a list"));
        check("x{}", Err("makes a message"));
        check("[1].all(n, n > 0) || [2].all(m, m > 0)", Err("more than one macro"));
        check(&"(".repeat(1000), Err("nested more than 20 deep"));
        check(&format!("{}1{}", "[".repeat(500), "]".repeat(500)), Err("nested more than 20 deep"));
        check(&format!("{}1", "true?1:".repeat(140)), Err("nested more than 20 deep"));
        check(&format!("{}1 > 0", "1+".repeat(500)), Err("nested more than 20 deep"));
        check(&format!("job{}", ".b".repeat(500)), Err("nested more than 20 deep"));
        check(&format!("{}job.closed", "!".repeat(1000)), Ok(false));
        check(&format!("{}job.team == 'red'{}", "(".repeat(18), ")".repeat(18)), Ok(true));
        check(&format!("{}1 > 0", "1+".repeat(16)), Ok(true));
    }

    #[test]
    fn a_macro_gets_little_data() {
        let compiled = Expression::compile("job.items.all(n, n >= 0)", &["job"]).unwrap();
        let is_true = |length: usize| {
            let items = (0..length).map(|n| Value::Int(i64::try_from(n).unwrap())).collect::<Vec<_>>();
            compiled.is_true(vec![("job", map([("items", Some(Value::from(items)))]))])
        };
        assert!(is_true(LIST_ITEMS_MAX));
        let texts = Expression::compile("job.texts.exists(text, text == job.texts[0])", &["job"]).unwrap();
        let finds = |bytes: usize| {
            let list = Value::from(vec!["x".repeat(bytes).as_str()]);
            texts.is_true(vec![("job", map([("texts", Some(list))]))])
        };
        assert!(finds(DATA_BYTES_MAX / 2));
        assert!(!finds(DATA_BYTES_MAX));
        assert!(!is_true(LIST_ITEMS_MAX + 1));
    }
}
