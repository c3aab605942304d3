//! The backends next to each other: what one host sends to another, how long a packet is on its way,
//! and what that costs.
//!
//! Each has two hosts of its own, made by hand, whose links take one segment at a time: on a real wire
//! there are no larger packets. All are measured in turns.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{
    hosts::{self, script},
    netns::within,
    one_packet::one_packet,
    throughput::{by_hand, median},
};

/// In the order of their hosts: the first has 1 and 2.
const BACKENDS: [&str; 4] = ["host-gw", "vxlan", "udp", ONE_PACKET];
/// A relay as flannel's, to compare with.
const ONE_PACKET: &str = "one packet a call";
const RELAY_PORT: u16 = 8285;
const PORT: u16 = 5001;
const DATAGRAM: usize = 1200;
const EXCHANGES: usize = 2000;
/// Traffic is at full speed after this time, and then measured for this long.
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_secs(1);

/// For [`carry`]: the numbers of this host and of the other.
const CARRY: &str = "NETCORD_BENCH_ONE_PACKET";

/// The figures of one backend, all medians.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    /// Gbit/s of one TCP connection, of eight, and of UDP.
    pub(crate) gbits: [f64; 3],
    /// Seconds of all processors for a gigabyte in one TCP connection.
    pub(crate) cpu: f64,
    /// The time of a round trip in microseconds.
    pub(crate) round_trip: f64,
}

/// If this process is to be a relay that handles one packet a call, is one, and does not return.
pub(crate) fn carry() -> Result<()> {
    let Ok(words) = env::var(CARRY) else { return Ok(()) };
    let (own, other) = words.split_once(' ').context("two numbers")?;
    let (own, other): (u8, u8) = (own.parse()?, other.parse()?);
    let routes = [([10, 5, other], host(other))];
    Err(one_packet("tun0", (host(own), RELAY_PORT), &routes).into())
}

/// Measures all.
pub(crate) fn measure(repeats: u16) -> Result<Vec<Backend>> {
    let numbers: Vec<_> = (1..=2 * u8::try_from(BACKENDS.len())?).collect();
    hosts::add(&numbers)?;
    let mut relays = Vec::new();
    for (backend, first) in BACKENDS.into_iter().zip((1..).step_by(2)) {
        for (own, other) in [(first, first + 1), (first + 1, first)] {
            let host = format!("h{own}");
            by_hand(backend, own, other)?;
            script(Some(&host), "ip link set dev eth0 gso_max_segs 1")?;
            relays.extend(relay(backend, own, other)?);
        }
    }
    let mut figures = vec![[const { Vec::new() }; 5]; BACKENDS.len()];
    for turn in 0..usize::from(repeats) {
        // Who is first may find a slower machine.
        for place in 0..BACKENDS.len() {
            let index = (place + turn) % BACKENDS.len();
            let from = u8::try_from(2 * index + 1)?;
            let (one, cpu) = tcp(from, from + 1, 1)?;
            let (eight, _) = tcp(from, from + 1, 8)?;
            let all = [one, eight, udp(from, from + 1)?, cpu, round_trip(from, from + 1)?];
            for (series, figure) in figures[index].iter_mut().zip(all) {
                series.push(figure);
            }
        }
    }
    for mut relay in relays {
        relay.kill()?;
        relay.wait()?;
    }
    hosts::remove(&numbers)?;
    for number in numbers {
        script(None, &format!("ip netns del c{number}"))?;
    }
    let backend = |(name, series): (_, [Vec<f64>; 5])| {
        let [one, eight, udp, cpu, round_trip] = series.map(median);
        Backend { name, gbits: [one, eight, udp], cpu, round_trip }
    };
    Ok(BACKENDS.into_iter().zip(figures).map(backend).collect())
}

fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

fn container(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 5, number, 2), port))
}

/// Starts what carries a host's packets, if the kernel does not.
fn relay(backend: &str, own: u8, other: u8) -> Result<Option<Child>> {
    let mut command = match backend {
        "udp" => {
            let mut command = Command::new(agent());
            command.args(["relay", "--link", "tun0", "--host", &host(own).to_string()]);
            command.args(["--port", &RELAY_PORT.to_string()]);
            command.args(["--subnet", &format!("10.5.{own}.0/24")]);
            command
        }
        ONE_PACKET => {
            let mut command = Command::new(env::current_exe()?);
            command.env(CARRY, format!("{own} {other}"));
            command
        }
        _ => return Ok(None),
    };
    let host = format!("h{own}");
    let mut child = within(&host, || Ok(command.stdout(Stdio::piped()).spawn()?))?;
    if backend == "udp" {
        let mut line = String::new();
        let stdout = child.stdout.take().context("its output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.contains("ready"), "the relay is not ready: {line}");
    } else {
        script(Some(&host), "until ip link show tun0 | grep -q 'state UP'; do :; done")?;
    }
    Ok(Some(child))
}

/// netcord-agent is next to netcord.
fn agent() -> PathBuf {
    let netcord =
        env::var("NETCORD_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_netcord").to_owned());
    PathBuf::from(netcord).with_file_name("netcord-agent")
}

/// The speed of connections, and the seconds of all processors for a gigabyte.
fn tcp(from: u8, to: u8, connections: usize) -> Result<(f64, f64)> {
    let address = container(to, PORT);
    let listener = within(&format!("c{to}"), || Ok(TcpListener::bind(address)?))?;
    let bytes = Arc::new(AtomicU64::new(0));
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..connections {
        let mut sender = within(&format!("c{from}"), || Ok(TcpStream::connect(address)?))?;
        let (mut receiver, _) = listener.accept()?;
        let (bytes, stop) = (Arc::clone(&bytes), Arc::clone(&stop));
        threads.push(thread::spawn(move || {
            let block = vec![0; 128 << 10];
            while !stop.load(Ordering::Relaxed) && sender.write_all(&block).is_ok() {}
        }));
        threads.push(thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while let Ok(read @ 1..) = receiver.read(&mut buffer) {
                bytes.fetch_add(read as u64, Ordering::Relaxed);
            }
        }));
    }
    let figures = rate(&bytes)?;
    stop.store(true, Ordering::Relaxed);
    join(threads)?;
    Ok(figures)
}

/// What arrives of datagrams that are sent as fast as it goes.
fn udp(from: u8, to: u8) -> Result<f64> {
    let address = container(to, PORT);
    let receiver = within(&format!("c{to}"), || Ok(UdpSocket::bind(address)?))?;
    let sender = within(&format!("c{from}"), || Ok(UdpSocket::bind(container(from, PORT))?))?;
    receiver.set_read_timeout(Some(WARM_UP))?;
    let (bytes, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let threads = vec![
        thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    // What has no room is lost.
                    drop(sender.send_to(&[0; DATAGRAM], address));
                }
            }
        }),
        thread::spawn({
            let bytes = Arc::clone(&bytes);
            move || {
                while let Ok(length) = receiver.recv(&mut [0; 2 * DATAGRAM]) {
                    bytes.fetch_add(length as u64, Ordering::Relaxed);
                }
            }
        }),
    ];
    let (gbits, _) = rate(&bytes)?;
    stop.store(true, Ordering::Relaxed);
    join(threads)?;
    Ok(gbits)
}

/// The median time until a datagram of one byte has come back, in microseconds.
fn round_trip(from: u8, to: u8) -> Result<f64> {
    let address = container(to, PORT);
    let echo = within(&format!("c{to}"), || Ok(UdpSocket::bind(address)?))?;
    let sender = within(&format!("c{from}"), || Ok(UdpSocket::bind(container(from, PORT))?))?;
    echo.set_read_timeout(Some(MEASURED))?;
    sender.set_read_timeout(Some(MEASURED))?;
    let thread = thread::spawn(move || {
        while let Ok((_, from)) = echo.recv_from(&mut [0]) {
            drop(echo.send_to(&[0], from));
        }
    });
    let mut times = Vec::new();
    for _ in 0..EXCHANGES {
        let start = Instant::now();
        sender.send_to(&[0], address)?;
        sender.recv(&mut [0])?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    join(vec![thread])?;
    Ok(median(times))
}

/// Gbit/s, and seconds of all processors for a gigabyte.
fn rate(bytes: &AtomicU64) -> Result<(f64, f64)> {
    thread::sleep(WARM_UP);
    let (busy, before, start) = (busy()?, bytes.load(Ordering::Relaxed), Instant::now());
    thread::sleep(MEASURED);
    let gigabytes = float(bytes.load(Ordering::Relaxed) - before)? / 1e9;
    let seconds = start.elapsed().as_secs_f64();
    let spent = float(self::busy()? - busy)? / 100.0;
    Ok((8.0 * gigabytes / seconds, spent / gigabytes))
}

/// The time in which the processors did something, in hundredths of a second.
fn busy() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .context("/proc/stat is empty")?
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // The fourth is idle, the fifth waits for a disk.
    Ok(fields.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, time)| time).sum())
}

fn float(number: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(number >> 10)?) * 1024.0 + f64::from(u32::try_from(number & 1023)?))
}

fn join(threads: Vec<JoinHandle<()>>) -> Result<()> {
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a thread panicked"))?;
    }
    Ok(())
}
