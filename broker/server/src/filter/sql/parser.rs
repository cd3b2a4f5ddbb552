//! The parser: one function for each level of precedence.
//!
//! ```text
//! condition   = and { OR and }
//! and         = equality { AND equality }
//! equality    = comparison { ( "=" | "<>" ) comparison | IS [NOT] NULL }
//! comparison  = unary { ( ">" | ">=" | "<" | "<=" ) unary
//!                     | [NOT] ( CONTAINS | STARTSWITH | ENDSWITH ) string
//!                     | [NOT] BETWEEN unary AND unary
//!                     | [NOT] IN "(" string { "," string } ")" }
//! unary       = { "+" | "-" | NOT } primary
//! primary     = string | number | TRUE | FALSE | NULL | name | "(" condition ")"
//! ```
//!
//! `NOT` binds more tightly than a comparison: `NOT a = 'x'` is `(NOT a) = 'x'`. As in Java's
//! parser, what follows a whole expression is not read, except for its first word, which must be a
//! valid word.

use super::{
    Expression, MAX_LEN, ParseError, Refused,
    lexer::{self, Kind, Lexer, Word},
    tree::{Constant, Id, MAX_DEPTH, Order, Part, Tree},
};
use memchr::memmem::Finder;

/// The longest word that an error repeats, in characters.
const MAX_SHOWN: usize = 40;

pub(super) fn parse(text: &str) -> Result<Expression, Refused> {
    if text.len() > MAX_LEN {
        let problem = format!("the expression has {} bytes, more than the {MAX_LEN} that it may have", text.len());
        return Err(Refused::new(ParseError::new(1, problem)));
    }
    let mut lexer = Lexer::new(text);
    let next = lexer.next()?;
    let mut parser = Parser { text, lexer, next, tree: Tree::default(), open: 0 };
    let begin = parser.next.at;
    let whole = parser.condition()?;
    let root = parser.made(begin, |tree| tree.condition(whole))?;
    let ignored_from = (parser.next.kind != Kind::End).then(|| lexer::column(text, parser.next.at));
    let Tree { nodes, names, operators, searches, .. } = parser.tree;
    Ok(Expression { nodes, names, root, operators, searches, ignored_from })
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    /// The word that has been read and not yet used.
    next: Word<'t>,
    tree: Tree,
    /// Parentheses that are open.
    open: usize,
}

type Parsed = Result<Id, Refused>;

impl<'t> Parser<'t> {
    fn condition(&mut self) -> Parsed {
        let begin = self.next.at;
        let first = self.and()?;
        if self.next.kind != Kind::Or {
            return Ok(first);
        }
        let mut conditions = vec![self.made(begin, |tree| tree.condition(first))?];
        while self.take(Kind::Or)? {
            let begin = self.next.at;
            let next = self.and()?;
            conditions.push(self.made(begin, |tree| tree.condition(next))?);
        }
        self.made(begin, |tree| tree.any(conditions))
    }

    fn and(&mut self) -> Parsed {
        let begin = self.next.at;
        let first = self.equality()?;
        if self.next.kind != Kind::And {
            return Ok(first);
        }
        let mut conditions = vec![self.made(begin, |tree| tree.condition(first))?];
        while self.take(Kind::And)? {
            let begin = self.next.at;
            let next = self.equality()?;
            conditions.push(self.made(begin, |tree| tree.condition(next))?);
        }
        self.made(begin, |tree| tree.all(conditions))
    }

    fn equality(&mut self) -> Parsed {
        let begin = self.next.at;
        let mut left = self.comparison()?;
        loop {
            left = match self.next.kind {
                kind @ (Kind::Equal | Kind::NotEqual) => {
                    self.advance()?;
                    let right = self.comparison()?;
                    let equal = self.made(begin, |tree| tree.equal(left, right))?;
                    self.negated(kind == Kind::NotEqual, begin, equal)?
                }
                Kind::Is => {
                    self.advance()?;
                    let not = self.take(Kind::Not)?;
                    self.expect(Kind::Null, if not { "NULL" } else { "NULL or NOT NULL" }, "IS")?;
                    let null = self.made(begin, |tree| tree.is_null(left))?;
                    self.negated(not, begin, null)?
                }
                _ => return Ok(left),
            }
        }
    }

    fn negated(&mut self, not: bool, begin: usize, condition: Id) -> Parsed {
        if not { self.made(begin, |tree| tree.not(condition)) } else { Ok(condition) }
    }

    fn comparison(&mut self) -> Parsed {
        let begin = self.next.at;
        let mut left = self.unary()?;
        loop {
            let order = match self.next.kind {
                Kind::Greater => Order::Greater,
                Kind::GreaterOrEqual => Order::GreaterOrEqual,
                Kind::Less => Order::Less,
                Kind::LessOrEqual => Order::LessOrEqual,
                Kind::Not | Kind::Contains | Kind::StartsWith | Kind::EndsWith | Kind::Between | Kind::In => {
                    left = self.test(begin, left)?;
                    continue;
                }
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.unary()?;
            left = self.made(begin, |tree| tree.compare(order, left, right))?;
        }
    }

    /// A test whose operator is a word, with `NOT` before it or without.
    fn test(&mut self, begin: usize, of: Id) -> Parsed {
        let negated = self.take(Kind::Not)?;
        let operator = self.next;
        match operator.kind {
            Kind::Contains | Kind::StartsWith | Kind::EndsWith => {
                self.advance()?;
                let wanted = self.string(operator.text)?;
                let part = match operator.kind {
                    Kind::Contains => Part::Contains(Box::new(Finder::new(wanted.as_bytes()).into_owned())),
                    Kind::StartsWith => Part::StartsWith(wanted),
                    _ => Part::EndsWith(wanted),
                };
                self.made(begin, |tree| tree.has(part, of, negated))
            }
            Kind::Between => {
                self.advance()?;
                let low = self.unary()?;
                self.expect(Kind::And, "AND", "the first value of BETWEEN")?;
                let high = self.unary()?;
                self.made(begin, |tree| match negated {
                    false => tree.between(of, low, high),
                    true => tree.not_between(of, low, high),
                })
            }
            Kind::In => {
                self.advance()?;
                let list = self.list()?;
                self.made(begin, |tree| tree.is_in(list, of, negated))
            }
            _ => Err(self.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH", "NOT")),
        }
    }

    fn list(&mut self) -> Result<Vec<Box<str>>, Refused> {
        self.expect(Kind::Open, "a list in parentheses", "IN")?;
        let mut list = vec![self.string("( of a list")?];
        while self.take(Kind::Comma)? {
            list.push(self.string("a comma")?);
        }
        self.expect(Kind::Close, "a comma or )", "a string of a list")?;
        Ok(list)
    }

    /// A string; `after` names what stands before it.
    fn string(&mut self, after: &str) -> Result<Box<str>, Refused> {
        let word = self.next;
        self.expect(Kind::Text, "a string in single quotes", after)?;
        Ok(unquoted(word.text))
    }

    fn unary(&mut self) -> Parsed {
        let begin = self.next.at;
        let mut signs = Vec::new();
        while let kind @ (Kind::Plus | Kind::Minus | Kind::Not) = self.next.kind {
            if kind != Kind::Plus {
                signs.push(kind);
            }
            // A long row of signs fails here, before it takes memory.
            if signs.len() > MAX_DEPTH {
                return Err(self.lexer.error(begin, format!("more than {MAX_DEPTH} signs in a row")));
            }
            self.advance()?;
        }
        let mut operand = self.primary()?;
        for sign in signs.into_iter().rev() {
            operand = self.made(begin, |tree| match sign {
                Kind::Minus => tree.negate(operand),
                _ => tree.not(operand),
            })?;
        }
        Ok(operand)
    }

    fn primary(&mut self) -> Parsed {
        let word = self.next;
        let constant = match word.kind {
            Kind::Text => Constant::Text(unquoted(word.text)),
            Kind::Integer => self.integer(word)?,
            Kind::Fraction => self.fraction(word)?,
            Kind::True => Constant::Bool(true),
            Kind::False => Constant::Bool(false),
            Kind::Null => Constant::Null,
            Kind::Name => {
                self.advance()?;
                return self.made(word.at, |tree| tree.property(word.text));
            }
            Kind::Open => return self.parenthesis(),
            _ => return Err(self.unexpected("a property, a number, a string or a parenthesis", "this place")),
        };
        self.advance()?;
        Ok(self.tree.constant(constant))
    }

    fn parenthesis(&mut self) -> Parsed {
        let begin = self.next.at;
        if self.open == MAX_DEPTH {
            return Err(self.lexer.error(begin, format!("more than {MAX_DEPTH} parentheses are open")));
        }
        self.open += 1;
        self.advance()?;
        let inner = self.condition()?;
        if self.next.kind != Kind::Close {
            let opened = format!("the parenthesis of column {}", lexer::column(self.text, begin));
            return Err(self.unexpected("an operator or )", &opened));
        }
        self.advance()?;
        self.open -= 1;
        Ok(inner)
    }

    /// An integer, of 64 bits if 32 are not enough.
    fn integer(&self, word: Word<'t>) -> Result<Constant, Refused> {
        let digits = word.text.trim_end_matches(['l', 'L']);
        let number: i64 = digits.parse().map_err(|_| {
            self.lexer.error(word.at, format!("{} is above {}, the largest integer", shown(digits), i64::MAX))
        })?;
        Ok(i32::try_from(number).map_or(Constant::Long(number), Constant::Int))
    }

    /// A number with a point or an exponent. Java refuses zero, because it is less than the
    /// smallest positive number.
    fn fraction(&self, word: Word<'t>) -> Result<Constant, Refused> {
        let number: f64 = word.text.parse().unwrap_or(f64::INFINITY);
        let problem = match number {
            f64::INFINITY => "is above 1.7976931348623157E308, the largest number",
            0.0 => "cannot be written with a point or an exponent, or is too near to zero; write 0",
            number => return Ok(Constant::Double(number)),
        };
        Err(self.lexer.error(word.at, format!("{} {problem}", shown(word.text))))
    }

    fn advance(&mut self) -> Result<(), Refused> {
        self.next = self.lexer.next()?;
        Ok(())
    }

    /// Takes the next word if it is of this kind.
    fn take(&mut self, kind: Kind) -> Result<bool, Refused> {
        let taken = self.next.kind == kind;
        if taken {
            self.advance()?;
        }
        Ok(taken)
    }

    fn expect(&mut self, kind: Kind, wanted: &str, after: &str) -> Result<(), Refused> {
        if self.take(kind)? { Ok(()) } else { Err(self.unexpected(wanted, after)) }
    }

    /// The error that the next word is not what is wanted here.
    fn unexpected(&self, wanted: &str, after: &str) -> Refused {
        let found = match self.next.kind {
            Kind::End => "the end of the expression".to_owned(),
            _ => shown(self.next.text),
        };
        let place = if after == "this place" { "is expected".to_owned() } else { format!("is expected after {after}") };
        self.lexer.error(self.next.at, format!("{wanted} {place}, not {found}"))
    }

    /// Adds a node; its error is about the operand or operator that begins at `begin`.
    fn made(&mut self, begin: usize, make: impl FnOnce(&mut Tree) -> Result<Id, String>) -> Parsed {
        make(&mut self.tree).map_err(|problem| self.lexer.error(begin, problem))
    }
}

/// The beginning of a word.
fn shown(word: &str) -> String {
    let short: String = word.chars().take(MAX_SHOWN).collect();
    if short.len() < word.len() { format!("{short}...") } else { short }
}

/// The value of a string with its quotes.
fn unquoted(text: &str) -> Box<str> {
    text.get(1..text.len() - 1).unwrap_or_default().replace("''", "'").into()
}
