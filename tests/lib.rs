//! Tests that need more than one package. This library is empty, as Cargo wants one; the tests are
//! its targets:
//!
//! | target | what |
//! |---|---|
//! | `cluster` | our servers and our client over real sockets, in one process |
//! | `failpoints` | the same with a disk that is made slow; needs the store's feature of that name |
//! | `kubernetes` | both charts and official clients in a real Kubernetes, started by `kubernetes/run` |
//! | `house_rules` | rules about the sources themselves |
//!
//! Beside them lie `interop` (official clients as judges, programs of their own) and `golden`
//! (bytes that Java's classes wrote).
