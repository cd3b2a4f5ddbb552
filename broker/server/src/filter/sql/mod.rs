//! SQL92 expressions on the properties of a message, as Java's filter library reads them.
//!
//! | file | what |
//! |---|---|
//! | this | an expression, its limits, and the result of an evaluation |
//! | [`lexer`] | words |
//! | [`parser`] | the grammar, and where an error is |
//! | [`tree`] | the parsed form, and what may be compared |
//! | [`lookup`] | properties in a property string |
//! | [`evaluate`] | three-valued logic, comparisons |
//! | [`number`] | numbers in properties |
//!
//! An expression is parsed once. An evaluation reads the record's property string as it stands in
//! the log and allocates nothing. `tests/golden/filters.json` has what Java's library answers, for
//! expressions made by hand and at random; a test compares this module with all of it.
//!
//! Bytes of a property that are no UTF-8 are compared as they are. Java compares U+FFFD.

mod evaluate;
mod lexer;
mod lookup;
mod number;
mod parser;
#[cfg(test)]
mod tests;
mod tree;

use evaluate::{Evaluation, Slot};
use lookup::Name;
use std::fmt;
use tree::{Id, MAX_NAMES, Node};

/// The bytes of an expression. Lists of ids make the longest ones.
const MAX_LEN: usize = 64 << 10;
/// An expression with more operators is evaluated where it may take a while.
const FEW_OPERATORS: usize = 64;
/// An expression with at most so many names uses less of the stack.
const FEW_NAMES: usize = 16;

/// A parsed expression.
#[derive(Debug)]
pub struct Expression {
    nodes: Vec<Node>,
    names: Vec<Name>,
    root: Id,
    operators: usize,
    searches: usize,
    ignored_from: Option<usize>,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct ParseError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong, and what is expected.
    pub problem: String,
}

/// The same within the parser. A result with it is small, and so are the frames of the parser's
/// functions, which recurse.
type Refused = Box<ParseError>;

impl ParseError {
    fn new(column: usize, problem: impl Into<String>) -> Self {
        Self { column, problem: problem.into() }
    }
}

/// The result of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// The message matches.
    True,
    /// It does not.
    False,
    /// It does not, because a property is missing.
    Unknown,
}

/// A property is not of the type that it is compared with. The message does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property is not of the type that it is compared with")
    }
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// The text is no expression, Java's library refuses it, or it exceeds a limit.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text).map_err(|refused| *refused)
    }

    /// Whether a message with this property string matches.
    pub fn matches(&self, properties: &[u8]) -> bool {
        self.evaluate(properties) == Ok(Truth::True)
    }

    /// Evaluates the expression on a property string.
    ///
    /// # Errors
    /// A property is not of the type that it is compared with.
    pub fn evaluate(&self, properties: &[u8]) -> Result<Truth, Fault> {
        if self.names.len() <= FEW_NAMES {
            return self.run(properties, &mut [Slot::Unsearched; FEW_NAMES]);
        }
        self.run(properties, &mut [Slot::Unsearched; MAX_NAMES])
    }

    fn run<'v>(&'v self, properties: &'v [u8], slots: &mut [Slot<'v>]) -> Result<Truth, Fault> {
        Evaluation { expression: self, properties, slots }.run()
    }

    /// The column from which on the text is ignored: Java's parser stops behind a whole expression,
    /// so what follows it does nothing.
    pub fn ignored_from(&self) -> Option<usize> {
        self.ignored_from
    }

    /// The work of an evaluation, about in nanoseconds: an upper bound.
    pub(crate) fn work(&self, properties: &[u8]) -> usize {
        // A search runs over the string at some bytes a nanosecond.
        16 + self.operators * 16 + self.searches * (properties.len() / 4 + 16)
    }

    /// Whether evaluations may take so long that they belong on a blocking thread.
    pub(crate) fn is_heavy(&self) -> bool {
        self.operators > FEW_OPERATORS || self.names.len() > FEW_NAMES
    }
}
