//! Expressions that pulls bring along, parsed.
//!
//! A consumer without heartbeats sends its expression with each pull. The recent ones are kept, so
//! that a pull does not parse. When there are too many, all are forgotten: clients that are still
//! there bring theirs again, and no order has to be kept.

use super::{parse, sql::Expression};
use crate::error::Rejection;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The expressions that are kept, and their bytes.
const MAX_RECENT: usize = 128;
const MAX_RECENT_BYTES: usize = 512 << 10;

/// Expressions by their text.
#[derive(Default)]
pub(crate) struct Recent {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    expressions: FxHashMap<Box<str>, Arc<Expression>>,
    bytes: usize,
}

impl Recent {
    /// The expression of this text.
    ///
    /// # Errors
    /// The text is no expression. It is not kept.
    pub(crate) fn expression(&self, text: &str) -> Result<Arc<Expression>, Rejection> {
        if let Some(known) = self.state.lock().expressions.get(text) {
            return Ok(Arc::clone(known));
        }
        let parsed = parse(text)?;
        let mut state = self.state.lock();
        if state.expressions.len() >= MAX_RECENT || state.bytes + text.len() > MAX_RECENT_BYTES {
            *state = State::default();
        }
        if state.expressions.insert(text.into(), Arc::clone(&parsed)).is_none() {
            state.bytes += text.len();
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_kept_up_to_a_number() {
        let recent = Recent::default();
        let first = recent.expression("a = '0'").unwrap();
        assert!(Arc::ptr_eq(&first, &recent.expression("a = '0'").unwrap()));
        assert!(recent.expression("a = ").is_err());
        for number in 0..10 * MAX_RECENT {
            recent.expression(&format!("a = '{number}'")).unwrap();
            assert!(recent.state.lock().expressions.len() <= MAX_RECENT);
        }
        for number in 0..20 {
            recent.expression(&format!("a = '{number}{}'", "x".repeat(60_000))).unwrap();
            assert!(recent.state.lock().bytes <= MAX_RECENT_BYTES);
        }
        assert!(!Arc::ptr_eq(&first, &recent.expression("a = '0'").unwrap()));
    }
}
