//! Expressions in the Common Expression Language: what they may be, and how they see our data.
//!
//! An expression is compiled once and bounded before it ever runs: its length, its nesting (the parser's bound), and one
//! macro that is not inside another, over lists of at most [`LIST_ITEMS_MAX`].

use std::{collections::HashMap, sync::Arc};

use cel::{
    Context, IdedExpr, Program, Value,
    common::ast::{EntryExpr, Expr},
    objects::{Key, Map},
};
use prost_types::{Struct, value::Kind};

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1024;

/// The longest list that an expression with a macro is given. Data that holds a longer one fails to evaluate.
const LIST_ITEMS_MAX: usize = 1000;

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    program: Program,
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
    /// It would cost too much.
    #[error("has more than one macro (all, exists, exists_one, filter, map)")]
    TooManyMacros,
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
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first().map(|error| error.msg.clone()).unwrap_or_default();
            ExpressionError::Syntax(first)
        })?;
        let macros = count_macros(program.expression());
        if macros > 1 {
            return Err(ExpressionError::TooManyMacros);
        }
        let references = program.references();
        let unknown = references.variables().into_iter().find(|name| !variables.contains(name));
        if let Some(unknown) = unknown {
            return Err(ExpressionError::UnknownVariable(unknown.to_owned(), variables.join(", ")));
        }
        Ok(Self { program, has_macro: macros > 0, reads_metadata: source.contains("metadata") })
    }

    /// Whether free properties must be among the variables: they are costly to bring over.
    pub(super) fn reads_metadata(&self) -> bool {
        self.reads_metadata
    }

    /// Whether the expression is true. One that fails to evaluate, or gives anything but `true`, is not.
    pub(super) fn is_true(&self, variables: Vec<(&str, Value)>) -> bool {
        if self.has_macro && variables.iter().any(|(_, value)| has_long_list(value)) {
            return false;
        }
        ROOT.with(|root| {
            let mut context = root.new_inner_scope();
            for (name, value) in variables {
                context.add_variable_from_value(name, value);
            }
            matches!(self.program.execute(&context), Ok(Value::Bool(true)))
        })
    }
}

thread_local! {
    /// The standard functions. Making this is the dear part of an evaluation.
    static ROOT: Context<'static> = Context::default();
}

/// A map for an expression, of what is set.
pub(super) fn map(entries: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let entries = entries.into_iter().filter_map(|(name, value)| Some((Key::from(name), value?)));
    Value::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
}

/// Free properties as an expression sees them.
pub(super) fn from_struct(fields: &Struct) -> Value {
    let entries = fields.fields.iter().map(|(name, value)| (Key::from(name.as_str()), from_value(value)));
    Value::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
}

fn from_value(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(value)) => Value::Float(*value),
        Some(Kind::StringValue(value)) => Value::from(value.as_str()),
        Some(Kind::ListValue(list)) => Value::from(list.values.iter().map(from_value).collect::<Vec<_>>()),
        Some(Kind::StructValue(fields)) => from_struct(fields),
    }
}

fn has_long_list(value: &Value) -> bool {
    match value {
        Value::List(items) => items.len() > LIST_ITEMS_MAX || items.iter().any(has_long_list),
        Value::Map(map) => map.map.len() > LIST_ITEMS_MAX || map.map.values().any(has_long_list),
        _ => false,
    }
}

/// How many macros an expression has. Those the parser expands become comprehensions.
fn count_macros(expression: &IdedExpr) -> usize {
    let all = |expressions: &[IdedExpr]| expressions.iter().map(count_macros).sum::<usize>();
    let entries = |entries: &[cel::common::ast::IdedEntryExpr]| {
        let of_entry = |entry: &EntryExpr| match entry {
            EntryExpr::StructField(field) => count_macros(&field.value),
            EntryExpr::MapEntry(entry) => count_macros(&entry.key) + count_macros(&entry.value),
        };
        entries.iter().map(|entry| of_entry(&entry.expr)).sum::<usize>()
    };
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Call(call) => call.target.as_deref().map_or(0, count_macros) + all(&call.args),
        Expr::List(list) => all(&list.elements),
        Expr::Map(map) => entries(&map.entries),
        Expr::Struct(message) => entries(&message.entries),
        Expr::Select(select) => count_macros(&select.operand),
        Expr::Comprehension(inner) => {
            let parts =
                [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result];
            1 + parts.into_iter().map(count_macros).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: Result<bool, &str>) {
        let job = map([("team", Some(Value::from("red"))), ("priority", Some(Value::Int(3)))]);
        let outcome = Expression::compile(source, &["job"]).map(|compiled| compiled.is_true(vec![("job", job)]));
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
    fn expressions_are_bounded_before_they_run() {
        check("job.team ==", Err("is not a CEL expression"));
        check("hold.kind == 1", Err("reads \"hold\""));
        check(&format!("job.team == '{}'", "x".repeat(EXPRESSION_BYTES_MAX)), Err("longer than 1024"));
        check("[1].all(n, [2].all(m, m > n))", Err("more than one macro"));
        check("[1].all(n, n > 0) || [2].all(m, m > 0)", Err("more than one macro"));
        check(&"(".repeat(1000), Err("is not a CEL expression"));
        check(&format!("{}1{}", "[".repeat(500), "]".repeat(500)), Err("is not a CEL expression"));
    }

    #[test]
    fn a_macro_gets_no_long_list() {
        let compiled = Expression::compile("job.items.all(n, n >= 0)", &["job"]).unwrap();
        let is_true = |length: usize| {
            let items = (0..length).map(|n| Value::Int(i64::try_from(n).unwrap())).collect::<Vec<_>>();
            compiled.is_true(vec![("job", map([("items", Some(Value::from(items)))]))])
        };
        assert!(is_true(LIST_ITEMS_MAX));
        assert!(!is_true(LIST_ITEMS_MAX + 1));
    }
}
