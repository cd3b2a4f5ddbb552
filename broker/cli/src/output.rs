//! What commands print: text, rows as aligned columns, or JSON. No colours and no borders; a table
//! is fitted to the terminal, and left as wide as it is where there is none. All commands but `up`,
//! which has a screen of its own, print through [`print`].

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// What a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// One JSON document
    Json,
}

/// Prints what a command found.
pub(crate) struct Output {
    format: Format,
    width: Option<u16>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, width: width() }
    }

    /// A list: a row each, or an array.
    pub(crate) fn list<T: Serialize, const N: usize>(
        &self,
        header: [&str; N],
        items: &[T],
        row: impl Fn(&T) -> [String; N],
    ) -> anyhow::Result<()> {
        print(&match self.format {
            Format::Table => table(header, items.iter().map(row), self.width),
            Format::Json => serde_json::to_string_pretty(items)?,
        })
    }

    /// One thing with named properties: a row a property, or an object.
    pub(crate) fn properties<T: Serialize>(&self, thing: &T, pairs: Vec<(String, String)>) -> anyhow::Result<()> {
        print(&match self.format {
            Format::Table => table(["NAME", "VALUE"], pairs.into_iter().map(|(name, value)| [name, value]), self.width),
            Format::Json => serde_json::to_string_pretty(thing)?,
        })
    }

    /// A list below what was printed before; a program has it there already.
    pub(crate) fn list_below<T, const N: usize>(
        &self,
        header: [&str; N],
        items: &[T],
        row: impl Fn(&T) -> [String; N],
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table if !items.is_empty() => {
                print(&format!("\n{}", table(header, items.iter().map(row), self.width)))
            }
            _ => Ok(()),
        }
    }

    /// One thing of which people want to know no more than a sentence.
    pub(crate) fn sentence<T: Serialize>(&self, thing: &T, text: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Table => print(text),
            Format::Json => print(&serde_json::to_string_pretty(thing)?),
        }
    }

    /// What was done: a line, or nothing where a program reads.
    pub(crate) fn done(&self, text: &str) -> anyhow::Result<()> {
        if self.format == Format::Table { print(text) } else { Ok(()) }
    }
}

/// Prints lines. A reader that has seen enough (`| head`) is no error, and what a command still has
/// to do is done.
///
/// # Errors
/// What the system says.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints rows.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> anyhow::Result<()> {
    print(&table(header, rows, width()))
}

/// Columns of the terminal, if there is one.
fn width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    columns(io::stdout().is_terminal(), size, std::env::var("COLUMNS").ok().as_deref())
}

/// A terminal may not know how wide it is: a serial line, or one that a program made. Then
/// `COLUMNS` says it, or it has 80.
fn columns(terminal: bool, size: u16, variable: Option<&str>) -> Option<u16> {
    let environment = || variable.and_then(|text| text.parse().ok()).filter(|columns| *columns > 0);
    terminal.then(|| if size > 0 { size } else { environment().unwrap_or(80) })
}

fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Properties from pairs, in order.
pub(crate) fn pairs<const N: usize>(pairs: [(&str, String); N]) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> impl Iterator<Item = [String; 2]> {
        [["orders", "8"], ["a much longer topic name", "16"]].into_iter().map(|row| row.map(str::to_owned))
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_end() {
        assert_eq!(
            table(["TOPIC", "QUEUES"], rows(), None),
            "TOPIC                     QUEUES\norders                    8\na much longer topic name  16"
        );
        assert_eq!(table(["TOPIC"], std::iter::empty(), None), "TOPIC");
    }

    #[test]
    fn a_terminal_always_has_a_width_and_a_pipe_never() {
        assert_eq!(columns(true, 120, Some("90")), Some(120));
        assert_eq!(columns(true, 0, Some("90")), Some(90));
        assert_eq!(columns(true, 0, Some("wide")), Some(80));
        assert_eq!(columns(true, 0, None), Some(80));
        assert_eq!(columns(false, 120, Some("90")), None);
    }

    #[test]
    fn a_narrow_terminal_wraps_a_column_and_none_does_not() {
        let narrow = table(["TOPIC", "QUEUES"], rows(), Some(24));
        assert!(narrow.lines().all(|line| line.chars().count() <= 24), "{narrow}");
        assert!(narrow.lines().count() > 3);
        assert_eq!(table(["TOPIC", "QUEUES"], rows(), Some(200)), table(["TOPIC", "QUEUES"], rows(), None));
    }
}
