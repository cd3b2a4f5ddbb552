//! The store from outside: what it promises to those who use it, on a real file system.
//!
//! | file | what it asks |
//! |---|---|
//! | [`format`] | are the files those of Java, byte for byte |
//! | [`reading`] | what a consumer gets for which offset |
//! | [`concurrent`] | many writers and readers at once |
//! | [`checkpoint`] | how much a start reads back |
//! | [`clock`] | a system clock that steps back |
//! | [`crash`] | torn tails, damage, lost pages: what is kept, what is refused |
//! | [`model`] | random histories, crashes and power cuts included, against a plain model |
//! | [`replica`] | a log that comes from a master, and its truncation |
//! | [`followers`] | what a broker makes from the log itself |
//! | [`retention`] | what goes and what follows it |
//! | [`torn`] | every file cut short or with a damaged sector |
//! | [`single_bytes`] | which damage to a record shows in nothing |
//! | [`several_directories`] | a commit log that lies in more than one |
//! | [`offline`] | checking, printing and repairing a store from outside |
//! | [`full_disk`] | no space, and space again |

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test, and seeds are printed; helpers are tests too"
)]

mod checkpoint;
mod clock;
mod concurrent;
mod crash;
mod followers;
mod format;
mod full_disk;
mod model;
mod offline;
mod reading;
mod replica;
mod retention;
mod several_directories;
mod single_bytes;
mod support;
mod torn;
