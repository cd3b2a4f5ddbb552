//! A parsed expression: nodes in one list, with Java's rules about what may be compared.
//!
//! A node refers only to nodes before it, and its height is bounded, so an evaluation can recurse.
//! `AND` and `OR` have any number of operands: a long chain of them is one node.

use super::{
    evaluate::{self, Value},
    lookup::Name,
};
use memchr::memmem::Finder;
use std::cmp::Ordering;

/// The height of an expression: the operators from one constant or property up to the whole. Also
/// the parentheses that are open at a place.
pub(super) const MAX_DEPTH: usize = 256;
/// The operators of an expression. An evaluation runs each of them at most once.
pub(super) const MAX_OPERATORS: usize = 4096;
/// The different properties that an expression names.
pub(super) const MAX_NAMES: usize = 256;

/// The place of a node in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u32);

/// A value that the expression contains.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Order {
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}

/// A test for a part of a string.
#[derive(Debug)]
pub(super) enum Part {
    Contains(Box<Finder<'static>>),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
}

#[derive(Debug)]
pub(super) enum Node {
    Constant(Constant),
    /// A property, by its place in the list of names.
    Property(usize),
    Negate(Id),
    Not(Id),
    /// A property in the place of a condition: false if it exists.
    Cast(Id),
    All(Vec<Id>),
    Any(Vec<Id>),
    Equal(Id, Id),
    Compare(Order, Id, Id),
    /// `negated`: the form with `NOT`. Both forms are false unless the operand is a string.
    Has {
        part: Part,
        of: Id,
        negated: bool,
    },
    /// The list is sorted.
    In {
        list: Vec<Box<str>>,
        of: Id,
        negated: bool,
    },
}

/// Makes nodes and checks their operands. Errors say what is wrong; the parser knows where.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) names: Vec<Name>,
    pub(super) operators: usize,
    /// Searches through the properties or through a value that an evaluation may do.
    pub(super) searches: usize,
    heights: Vec<u16>,
}

type Made = Result<Id, String>;

impl Tree {
    pub(super) fn constant(&mut self, constant: Constant) -> Id {
        self.push(Node::Constant(constant), 0)
    }

    pub(super) fn property(&mut self, name: &str) -> Made {
        let place = match self.names.iter().position(|known| known.is(name)) {
            Some(place) => place,
            None if self.names.len() < MAX_NAMES => {
                self.names.push(Name::new(name));
                self.searches += 1;
                self.names.len() - 1
            }
            None => return Err(format!("more than {MAX_NAMES} properties are named")),
        };
        Ok(self.push(Node::Property(place), 0))
    }

    pub(super) fn negate(&mut self, of: Id) -> Made {
        self.operator(Node::Negate(of), &[of])
    }

    pub(super) fn not(&mut self, of: Id) -> Made {
        let of = self.condition(of)?;
        self.operator(Node::Not(of), &[of])
    }

    /// The node as a condition.
    pub(super) fn condition(&mut self, of: Id) -> Made {
        match self.node(of) {
            Node::Property(_) => self.operator(Node::Cast(of), &[of]),
            _ if self.is_condition(of) => Ok(of),
            _ => Err(format!("a condition is expected, not {}", self.describe(of))),
        }
    }

    /// Conditions joined by `AND`.
    pub(super) fn all(&mut self, conditions: Vec<Id>) -> Made {
        let heights = conditions.clone();
        self.operator(Node::All(conditions), &heights)
    }

    /// Conditions joined by `OR`.
    pub(super) fn any(&mut self, conditions: Vec<Id>) -> Made {
        let heights = conditions.clone();
        self.operator(Node::Any(conditions), &heights)
    }

    pub(super) fn equal(&mut self, left: Id, right: Id) -> Made {
        for side in [left, right] {
            if let Node::Constant(Constant::Null) = self.node(side) {
                return Err("nothing is equal or unequal to NULL: write IS NULL or IS NOT NULL".to_owned());
            }
        }
        if let (Node::Constant(Constant::Bool(_)), Node::Constant(constant)) = (self.node(left), self.node(right))
            && !matches!(constant, Constant::Bool(_))
        {
            return Err(format!("TRUE and FALSE cannot be compared with {}", self.describe(right)));
        }
        self.operator(Node::Equal(left, right), &[left, right])
    }

    pub(super) fn is_null(&mut self, of: Id) -> Made {
        let null = self.constant(Constant::Null);
        self.operator(Node::Equal(of, null), &[of])
    }

    pub(super) fn compare(&mut self, order: Order, left: Id, right: Id) -> Made {
        for side in [left, right] {
            let number =
                matches!(self.node(side), Node::Constant(Constant::Int(_) | Constant::Long(_) | Constant::Double(_)));
            if !number && (matches!(self.node(side), Node::Constant(_)) || self.is_condition(side)) {
                let side = self.describe(side);
                return Err(format!("{} compares numbers and properties only, not {side}", order.sign()));
            }
        }
        self.operator(Node::Compare(order, left, right), &[left, right])
    }

    pub(super) fn between(&mut self, of: Id, low: Id, high: Id) -> Made {
        if let (Node::Constant(low), Node::Constant(high)) = (self.node(low), self.node(high))
            && let Ok(Ordering::Less) = evaluate::compare(Value::of(high), Value::of(low))
        {
            return Err("the first value of BETWEEN is greater than the second, so nothing can match".to_owned());
        }
        let both = vec![self.compare(Order::GreaterOrEqual, of, low)?, self.compare(Order::LessOrEqual, of, high)?];
        self.all(both)
    }

    pub(super) fn not_between(&mut self, of: Id, low: Id, high: Id) -> Made {
        let either = vec![self.compare(Order::Less, of, low)?, self.compare(Order::Greater, of, high)?];
        self.any(either)
    }

    pub(super) fn has(&mut self, part: Part, of: Id, negated: bool) -> Made {
        self.searches += 1;
        self.operator(Node::Has { part, of, negated }, &[of])
    }

    pub(super) fn is_in(&mut self, mut list: Vec<Box<str>>, of: Id, negated: bool) -> Made {
        if !matches!(self.node(of), Node::Property(_)) {
            return Err(format!("only a property can be IN a list, not {}", self.describe(of)));
        }
        list.sort_unstable();
        self.operator(Node::In { list, of, negated }, &[of])
    }

    fn operator(&mut self, node: Node, operands: &[Id]) -> Made {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            return Err(format!("there are more than {MAX_OPERATORS} operators"));
        }
        let height = operands.iter().map(|id| usize::from(self.heights[id.0 as usize])).max().unwrap_or_default() + 1;
        if height > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} operators depend on each other"));
        }
        Ok(self.push(node, height as u16))
    }

    fn push(&mut self, node: Node, height: u16) -> Id {
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(node);
        self.heights.push(height);
        id
    }

    fn node(&self, id: Id) -> &Node {
        node(&self.nodes, id)
    }

    /// Whether the value is true, false or unknown. Java counts `NULL` among them.
    fn is_condition(&self, id: Id) -> bool {
        match self.node(id) {
            Node::Constant(constant) => matches!(constant, Constant::Null | Constant::Bool(_)),
            Node::Property(_) | Node::Negate(_) => false,
            _ => true,
        }
    }

    fn describe(&self, id: Id) -> String {
        match self.node(id) {
            Node::Constant(Constant::Null) => "NULL".to_owned(),
            Node::Constant(Constant::Bool(value)) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
            Node::Constant(Constant::Text(_)) => "a string".to_owned(),
            Node::Constant(_) => "a number".to_owned(),
            Node::Property(place) => format!("the property {}", self.names[*place]),
            Node::Negate(_) => "a negative value".to_owned(),
            _ => "a condition".to_owned(),
        }
    }
}

/// A node of a list that its id was made for.
pub(super) fn node(nodes: &[Node], id: Id) -> &Node {
    &nodes[id.0 as usize]
}
