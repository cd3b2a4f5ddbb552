//! Evaluates an expression on a property string.
//!
//! Values are compared as Java's classes compare them: a property is a string, and becomes the type
//! of what it is compared with. A string that is no such number is a fault, and a fault anywhere in
//! what is evaluated means that the message does not match, whatever the rest of the expression
//! says.

use super::{
    Expression, Fault, Truth, number,
    tree::{Constant, Id, Node, Part, node},
};
use std::cmp::Ordering;

/// A value during an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'v> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'v [u8]),
}

impl<'v> Value<'v> {
    pub(super) fn of(constant: &'v Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(value) => Self::Bool(*value),
            Constant::Int(value) => Self::Int(*value),
            Constant::Long(value) => Self::Long(*value),
            Constant::Double(value) => Self::Double(*value),
            Constant::Text(text) => Self::Text(text.as_bytes()),
        }
    }
}

/// What is known of a property during an evaluation: each is searched for at most once.
#[derive(Clone, Copy)]
pub(super) enum Slot<'p> {
    Unsearched,
    Searched(Option<&'p [u8]>),
}

/// An evaluation in progress.
pub(super) struct Evaluation<'e, 'p, 's> {
    pub(super) expression: &'e Expression,
    pub(super) properties: &'p [u8],
    /// One for each name of the expression.
    pub(super) slots: &'s mut [Slot<'p>],
}

impl<'v> Evaluation<'v, 'v, '_> {
    pub(super) fn run(&mut self) -> Result<Truth, Fault> {
        Ok(match self.value(self.expression.root)? {
            Value::Bool(true) => Truth::True,
            Value::Bool(false) => Truth::False,
            _ => Truth::Unknown,
        })
    }

    fn value(&mut self, id: Id) -> Result<Value<'v>, Fault> {
        Ok(match node(&self.expression.nodes, id) {
            Node::Constant(constant) => Value::of(constant),
            Node::Property(place) => self.property(*place).map_or(Value::Null, Value::Text),
            Node::Negate(of) => match self.value(*of)? {
                Value::Int(value) => Value::Int(value.wrapping_neg()),
                Value::Long(value) => Value::Long(value.wrapping_neg()),
                Value::Double(value) => Value::Double(-value),
                _ => Value::Null,
            },
            Node::Not(of) => match self.value(*of)? {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Null,
            },
            // A property is a string and never TRUE.
            Node::Cast(of) => match self.value(*of)? {
                Value::Null => Value::Null,
                _ => Value::Bool(false),
            },
            Node::All(conditions) => self.until(conditions, false)?,
            Node::Any(conditions) => self.until(conditions, true)?,
            Node::Equal(left, right) => match (self.value(*left)?, self.value(*right)?) {
                (Value::Null, Value::Null) => Value::Bool(true),
                (Value::Null, _) => Value::Null,
                (_, Value::Null) => Value::Bool(false),
                (left, right) => Value::Bool(compare(left, right)?.is_eq()),
            },
            Node::Compare(order, left, right) => {
                let left = self.value(*left)?;
                if left == Value::Null {
                    return Ok(Value::Null);
                }
                let ordering = match (left, self.value(*right)?) {
                    (_, Value::Null) => return Ok(Value::Null),
                    // Strings have no order; two properties are compared as numbers.
                    (Value::Text(left), Value::Text(right)) => compare_doubles(double(left)?, double(right)?),
                    (left, right) => compare(left, right)?,
                };
                Value::Bool(order.holds(ordering))
            }
            Node::Has { part, of, negated } => Value::Bool(self.has(part, *of, *negated)?),
            Node::In { list, of, negated } => match self.value(*of)? {
                Value::Text(text) => {
                    let found = list.binary_search_by(|entry| entry.as_bytes().cmp(text)).is_ok();
                    Value::Bool(found != *negated)
                }
                _ => Value::Null,
            },
        })
    }

    fn property(&mut self, place: usize) -> Option<&'v [u8]> {
        match self.slots[place] {
            Slot::Searched(found) => found,
            Slot::Unsearched => {
                let found = self.expression.names[place].find(self.properties);
                self.slots[place] = Slot::Searched(found);
                found
            }
        }
    }

    /// Evaluates conditions up to the first that is `decisive`. If there is none, the result is
    /// unknown if one of them is, else the opposite.
    fn until(&mut self, conditions: &[Id], decisive: bool) -> Result<Value<'v>, Fault> {
        let mut unknown = false;
        for condition in conditions {
            match self.value(*condition)? {
                Value::Bool(value) if value == decisive => return Ok(Value::Bool(decisive)),
                Value::Bool(_) => {}
                _ => unknown = true,
            }
        }
        Ok(if unknown { Value::Null } else { Value::Bool(!decisive) })
    }

    fn has(&mut self, part: &Part, of: Id, negated: bool) -> Result<bool, Fault> {
        let wanted = match part {
            Part::Contains(finder) => finder.needle(),
            Part::StartsWith(text) | Part::EndsWith(text) => text.as_bytes(),
        };
        // An empty string is in nothing, and the operand is not even evaluated.
        if wanted.is_empty() {
            return Ok(false);
        }
        let Value::Text(text) = self.value(of)? else { return Ok(false) };
        let found = match part {
            Part::Contains(finder) => finder.find(text).is_some(),
            Part::StartsWith(_) => text.starts_with(wanted),
            Part::EndsWith(_) => text.ends_with(wanted),
        };
        Ok(found != negated)
    }
}

/// Compares values that are not NULL. What cannot be compared with a number or a truth value is
/// less.
pub(super) fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Fault> {
    use Value::{Bool, Double, Int, Long, Null, Text};
    Ok(match (left, right) {
        (Bool(left), Bool(right)) => left.cmp(&right),
        // Java casts the wrong side here, and fails.
        (Bool(_), Text(_)) => return Err(Fault),
        (Text(left), Bool(right)) => left.eq_ignore_ascii_case(b"true").cmp(&right),
        (Text(left), Text(right)) => left.cmp(right),
        (Int(left), Int(right)) => left.cmp(&right),
        (Int(left), Text(right)) => left.cmp(&number::integer(right).ok_or(Fault)?),
        (Text(left), Int(right)) => number::integer::<i32>(left).ok_or(Fault)?.cmp(&right),
        (Int(left), Long(right)) => i64::from(left).cmp(&right),
        (Long(left), Int(right)) => left.cmp(&i64::from(right)),
        (Long(left), Long(right)) => left.cmp(&right),
        (Long(left), Text(right)) => left.cmp(&number::integer(right).ok_or(Fault)?),
        (Text(left), Long(right)) => number::integer::<i64>(left).ok_or(Fault)?.cmp(&right),
        (Int(left), Double(right)) => compare_doubles(left.into(), right),
        (Double(left), Int(right)) => compare_doubles(left, right.into()),
        (Long(left), Double(right)) => compare_doubles(left as f64, right),
        (Double(left), Long(right)) => compare_doubles(left, right as f64),
        (Double(left), Double(right)) => compare_doubles(left, right),
        (Double(left), Text(right)) => compare_doubles(left, double(right)?),
        (Text(left), Double(right)) => compare_doubles(double(left)?, right),
        (Null | Bool(_) | Int(_) | Long(_) | Double(_) | Text(_), Null | Bool(_))
        | (Null | Bool(_), Int(_) | Long(_) | Double(_) | Text(_)) => Ordering::Less,
    })
}

fn double(text: &[u8]) -> Result<f64, Fault> {
    number::double(text).ok_or(Fault)
}

/// `Double.compare`: no number is greater than all, and 0.0 is greater than -0.0. The numbers come
/// from [`number::double`] and from literals, whose NaN has no sign.
fn compare_doubles(left: f64, right: f64) -> Ordering {
    left.total_cmp(&right)
}
