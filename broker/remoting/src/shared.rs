//! Expensive responses, made once for all callers that ask meanwhile.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};
use tokio::sync::Mutex;

/// The last response of a kind, with the number of the state that it shows. The number grows with
/// each change of the underlying data.
///
/// A caller gets a response that is at least as new as the state at the time of the call: the last
/// one, or one that is made now, on a blocking thread, one at a time. So any number of simultaneous
/// calls make at most two responses.
#[derive(Debug)]
pub struct Shared<T> {
    last: Mutex<Option<(u64, T)>>,
    asked: AtomicU64,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { last: Mutex::new(None), asked: AtomicU64::new(0) }
    }
}

impl<T: Clone + Send + 'static> Shared<T> {
    /// A response of the state `wanted` or a later one. `make` also returns the state that it read;
    /// it runs on a blocking thread.
    ///
    /// # Errors
    /// `make` panicked, or the runtime shuts down.
    pub async fn answer(&self, wanted: u64, make: impl FnOnce() -> (u64, T) + Send + 'static) -> io::Result<T> {
        let mut last = self.last.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(state, _)| *state >= wanted) {
            return Ok(answer.clone());
        }
        let (state, answer) = tokio::task::spawn_blocking(make).await.map_err(io::Error::other)?;
        *last = Some((state, answer.clone()));
        Ok(answer)
    }

    /// The same where states have no numbers: a response whose making began after this call.
    ///
    /// # Errors
    /// As [`Shared::answer`].
    pub async fn answer_made_after_call(&self, make: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let wanted = self.asked.load(SeqCst) + 1;
        let mut last = self.last.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(begun, _)| *begun >= wanted) {
            return Ok(answer.clone());
        }
        let begun = self.asked.fetch_add(1, SeqCst) + 1;
        let answer = tokio::task::spawn_blocking(make).await.map_err(io::Error::other)?;
        *last = Some((begun, answer.clone()));
        Ok(answer)
    }

    /// Makes a response for one caller, while no other one is made. It is not kept.
    ///
    /// # Errors
    /// As [`Shared::answer`].
    pub async fn answer_for_one<A: Send + 'static>(&self, make: impl FnOnce() -> A + Send + 'static) -> io::Result<A> {
        let _last = self.last.lock().await;
        tokio::task::spawn_blocking(make).await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, atomic::AtomicBool};

    #[tokio::test]
    async fn simultaneous_calls_make_at_most_two_responses() {
        let (shared, made) = (Arc::<Shared<u64>>::default(), Arc::<AtomicU64>::default());
        let ask = |wanted| {
            let (shared, made) = (Arc::clone(&shared), Arc::clone(&made));
            tokio::spawn(async move { shared.answer(wanted, move || (wanted, made.fetch_add(1, SeqCst))).await })
        };
        let asked: Vec<_> = (0..50).map(|_| ask(1)).collect();
        for answer in asked {
            assert_eq!(answer.await.unwrap().unwrap(), 0);
        }
        assert_eq!(ask(2).await.unwrap().unwrap(), 1, "a newer state");
        assert_eq!(ask(1).await.unwrap().unwrap(), 1, "newer than was asked for");

        let (later, open, before) = (Arc::<Shared<u64>>::default(), Arc::<AtomicBool>::default(), made.load(SeqCst));
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let (later, made, open) = (Arc::clone(&later), Arc::clone(&made), Arc::clone(&open));
                let make = move || {
                    while !open.load(SeqCst) {
                        std::thread::yield_now();
                    }
                    made.fetch_add(1, SeqCst)
                };
                tokio::spawn(async move { later.answer_made_after_call(make).await })
            })
            .collect();
        // All callers have asked now, and the first response is being made.
        tokio::task::yield_now().await;
        open.store(true, SeqCst);
        futures::future::join_all(asked).await;
        assert_eq!(made.load(SeqCst), before + 2);
        let before = made.load(SeqCst);
        later
            .answer_made_after_call({
                let made = Arc::clone(&made);
                move || made.fetch_add(1, SeqCst)
            })
            .await
            .unwrap();
        assert_eq!(made.load(SeqCst), before + 1, "a later question has a new answer");
    }
}
