//! A stream of numbered probes to another host and back, and what of it is lost.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

/// The first argument of this program where it is the echo.
pub(crate) const ECHO: &str = "echo";

const PORT: u16 = 7;
const IPV4: &str = "198.51.100.1:7";
const IPV6: &str = "[2001:db8:9::1]:7";

const INTERVAL: Duration = Duration::from_millis(1);
/// Longer than any answer takes that is not lost.
const PATIENCE: Duration = Duration::from_millis(100);
/// A connection that is silent for so long is dead.
const SILENCE: Duration = Duration::from_secs(5);

/// What was lost during one move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    /// Probes of IPv4.
    pub(crate) ipv4: u32,
    /// Probes of IPv6.
    pub(crate) ipv6: u32,
    /// The TCP connection lived, and answered at the end.
    pub(crate) tcp_alive: bool,
    /// The longest that it took to answer.
    pub(crate) stall: Duration,
}

/// Probes on their way.
pub(crate) struct Probes {
    stop: Arc<AtomicBool>,
    ipv4: JoinHandle<Result<u32>>,
    ipv6: JoinHandle<Result<u32>>,
    tcp: JoinHandle<Option<Duration>>,
}

impl Probes {
    /// Starts them; returns once all are answered.
    pub(crate) fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let connection = connected()?;
        let datagrams = |to: &str| -> Result<JoinHandle<Result<u32>>> {
            let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(to).with_context(|| format!("cannot reach {to}"))?;
            let stop = Arc::clone(&stop);
            Ok(thread::spawn(move || lost(&socket, &stop)))
        };
        let (ipv4, ipv6) = (datagrams(IPV4)?, datagrams(IPV6)?);
        let tcp = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || longest_silence(connection, &stop))
        };
        thread::sleep(PATIENCE);
        Ok(Self { stop, ipv4, ipv6, tcp })
    }

    /// Ends them.
    pub(crate) fn stop(self) -> Result<Losses> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = |_| anyhow!("a probe panicked");
        let stall = self.tcp.join().map_err(ended)?;
        Ok(Losses {
            ipv4: self.ipv4.join().map_err(ended)??,
            ipv6: self.ipv6.join().map_err(ended)??,
            tcp_alive: stall.is_some(),
            stall: stall.unwrap_or(SILENCE),
        })
    }
}

/// The echo may have been started a moment ago.
fn connected() -> Result<TcpStream> {
    let until = Instant::now() + SILENCE;
    loop {
        match TcpStream::connect(IPV4) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused && Instant::now() < until => {
                thread::yield_now();
            }
            connection => return connection.context("cannot reach the echo"),
        }
    }
}

/// Sends a probe each interval; tells how many never came back.
fn lost(socket: &UdpSocket, stop: &AtomicBool) -> Result<u32> {
    socket.set_nonblocking(true)?;
    let (mut sent, mut answered) = (0_u32, 0_u32);
    let mut next = Instant::now();
    let mut buffer = [0; 8];
    let mut read = |answered: &mut u32| {
        while socket.recv(&mut buffer).is_ok() {
            *answered += 1;
        }
    };
    while !stop.load(Ordering::Relaxed) {
        // What cannot even be sent is lost too.
        drop(socket.send(&sent.to_be_bytes()));
        sent += 1;
        next += INTERVAL;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        read(&mut answered);
    }
    thread::sleep(PATIENCE);
    read(&mut answered);
    Ok(sent.saturating_sub(answered))
}

/// Sends a byte and waits for it, over and over; tells how long that took at the most, or nothing if
/// the connection died.
fn longest_silence(mut connection: TcpStream, stop: &AtomicBool) -> Option<Duration> {
    connection.set_nodelay(true).ok()?;
    connection.set_read_timeout(Some(SILENCE)).ok()?;
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        connection.write_all(&[1]).ok()?;
        connection.read_exact(&mut [0]).ok()?;
        longest = longest.max(begin.elapsed());
        thread::sleep(INTERVAL);
    }
    Some(longest)
}

/// Sends back whatever comes, over UDP and TCP, until it is killed.
pub(crate) fn echo() -> Result<()> {
    let any = SocketAddr::from(([0_u16; 8], PORT));
    let listener = TcpListener::bind(any)?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || echo_stream(connection));
        }
    });
    // An answer must come from the address that was asked.
    let ipv6 = UdpSocket::bind(IPV6)?;
    thread::spawn(move || echo_datagrams(&ipv6));
    echo_datagrams(&UdpSocket::bind(IPV4)?)
}

fn echo_datagrams(socket: &UdpSocket) -> ! {
    let mut buffer = [0; 8];
    loop {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(&buffer[..length], from));
        }
    }
}

fn echo_stream(mut connection: TcpStream) {
    drop(connection.set_nodelay(true));
    let mut buffer = [0; 8];
    while let Ok(length @ 1..) = connection.read(&mut buffer) {
        if connection.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
