//! A pod to test the harness with, so that a broken cluster is told from a broken RocketMQ: it
//! needs of its surroundings what a broker does.
//!
//! It counts its starts in `/data/starts`, thus writing to its volume without root, then answers
//! one line on each connection to port 8080: `starts` with that count, any `HOST:PORT` with the
//! addresses that the name stands for.
#![allow(clippy::print_stdout, reason = "its log is what the kubelet keeps of it")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::{env, fs};

const COUNT: &str = "/data/starts";

fn main() -> io::Result<()> {
    let earlier: u32 = fs::read_to_string(COUNT).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let starts = earlier + 1;
    fs::write(COUNT, starts.to_string())?;
    println!("{} start {starts}", env::var("HOSTNAME").unwrap_or_default());
    let listener = TcpListener::bind("0.0.0.0:8080")?;
    loop {
        // A kubelet's probe connects and leaves without a word: not worth dying for.
        if let Err(error) = listener.accept().and_then(|(stream, _)| answer(stream, starts)) {
            println!("connection: {error}");
        }
    }
}

fn answer(mut stream: TcpStream, starts: u32) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    match line.trim() {
        "" => Ok(()),
        "starts" => writeln!(stream, "{starts}"),
        name => match name.to_socket_addrs() {
            Ok(addresses) => writeln!(stream, "{}", addresses.map(|a| a.to_string()).collect::<Vec<_>>().join(" ")),
            Err(error) => writeln!(stream, "error: {error}"),
        },
    }
}
