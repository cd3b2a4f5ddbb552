//! What the user sees: a line for each event, with its time and the name of the process or cluster,
//! and tables. Colours only where there is a terminal that wants them; a reader that has gone away
//! (`| head`) is no error.

use comfy_table::{ContentArrangement, Table, presets};
use std::io::{self, IsTerminal, Write};

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// It goes on.
    Plain,
    /// It works.
    Good,
    /// It does not.
    Bad,
}

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    colours: bool,
    width: Option<u16>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let size = terminal.then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten();
        Self {
            // https://no-color.org: set to anything but the empty text.
            colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            width: size.map(|size| size.ws_col).filter(|columns| *columns > 0),
        }
    }

    /// One event. Further lines of `text` (the end of a log, say) stand indented below.
    pub(super) fn event(&self, tone: Tone, subject: &str, text: &str) {
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let first = match (self.colours, tone) {
            (false, _) | (_, Tone::Plain) => first.to_owned(),
            (true, Tone::Good) => format!("\x1b[32m{first}\x1b[0m"),
            (true, Tone::Bad) => format!("\x1b[31m{first}\x1b[0m"),
        };
        let mut output = format!("{time}  {subject:<24}  {first}\n");
        for line in lines {
            output.push_str(&format!("            {line}\n"));
        }
        write(&output);
    }

    /// Text as it is.
    pub(super) fn print(&self, text: &str) {
        write(&format!("{text}\n"));
    }

    /// Aligned columns, fitted to the terminal if there is one.
    pub(super) fn table<const N: usize>(&self, header: [&str; N], rows: Vec<[String; N]>) {
        write(&format!("\n{}\n", table(header, rows, self.width)));
    }
}

fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>, width: Option<u16>) -> String {
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

/// One write a message, so that messages of several tasks do not mix.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
