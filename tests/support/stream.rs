//! A TCP connection that is never idle, to see whether it lives through something.

#![allow(
    clippy::disallowed_types,
    clippy::zombie_processes,
    reason = "it is a program of its own, and an echo ends with its host"
)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use super::Lab;

/// Longer than TCP takes to send again what was lost during a move, a few times over.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection between two places.
#[derive(Debug)]
pub(crate) struct Stream(Child);

impl Stream {
    /// Ends it; fails unless a byte came back up to the last moment.
    #[track_caller]
    pub(crate) fn lives(mut self, what: &str) {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("alive: "), "{what}: the connection died: {said}");
    }
}

impl Lab {
    /// Sends back what comes to this address of a namespace, or of `host`.
    #[track_caller]
    pub(crate) fn echo(&self, place: &str, address: &str) {
        let mut command = self.server(place, &format!("echo {address}"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (_, port) = address.rsplit_once(':').unwrap();
        self.until_within(place, &format!("ss -Hlnt sport = :{port} | grep -q ."));
    }

    /// Connects to an echo, and sends and reads a byte at a time.
    #[track_caller]
    pub(crate) fn stream(&self, from: &str, to: &str) -> Stream {
        let mut command = self.talk(from, &format!("stream {to}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // The first byte of its output says that the connection stands.
        let mut seen = Vec::new();
        let stdout = child.stdout.as_mut().unwrap();
        while !seen.ends_with(b"connected\n") {
            let mut byte = [0];
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{from} cannot connect to {to}");
            seen.push(byte[0]);
        }
        Stream(child)
    }
}

pub(super) fn echo(address: &str) {
    for connection in TcpListener::bind(address).unwrap().incoming().flatten() {
        thread::spawn(move || {
            let mut connection = connection;
            connection.set_nodelay(true).unwrap();
            let mut byte = [0];
            while connection.read_exact(&mut byte).is_ok() && connection.write_all(&byte).is_ok() {}
        });
    }
}

pub(super) fn stream(to: &str) {
    let mut connection = TcpStream::connect(to).unwrap();
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(SILENCE)).unwrap();
    super::talk::say("connected");
    // Its input ends when the test ends the stream.
    let told = thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let mut exchanges = 0_u64;
    loop {
        let last = told.is_finished();
        if connection.write_all(&[7]).is_err() || connection.read_exact(&mut [0]).is_err() {
            return;
        }
        exchanges += 1;
        if last {
            super::talk::say(&format!("alive: {exchanges} exchanges"));
            return;
        }
    }
}
