//! The settings that a manifest carries for namesrvs and brokers, and their readers.

/// Reads settings as a process will: gives what their author should know, or what is wrong. This
/// package does not know the processes, so the program that starts the operator brings their
/// readers along.
pub type Reader = fn(&[(String, String)]) -> Result<Vec<String>, String>;

/// The readers of both kinds of processes.
#[derive(Clone, Copy, Debug)]
pub struct Readers {
    /// A namesrv's.
    pub namesrv: Reader,
    /// A broker's.
    pub broker: Reader,
}
