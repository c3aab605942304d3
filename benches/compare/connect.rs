//! TCP connections from outside to a published port: somebody who accepts, and somebody who calls.
//!
//! Both are this program again, each in its namespace.

use std::{
    env,
    io::{BufRead, BufReader, Write, stdout},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_socket_linger;

use crate::{
    contender::TARGET_PORT,
    host::Target,
    netns,
    process::{run, words},
};

const ACCEPT: &str = "accept";
const CALL: &str = "call";

/// No connection takes longer that gets through.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first ones ask for neighbours.
const REHEARSALS: usize = 20;

/// Where callers are: a name in `/run/netns`.
const OUTSIDE: &str = "outside";
/// The address of the host that they call.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Does the work if this process was started for it.
pub(crate) fn serve(words: &[&str]) -> Option<Result<()>> {
    match words {
        [ACCEPT] => Some(accept()),
        [CALL, to, count] => Some(call(to, count)),
        _ => None,
    }
}

/// Who accepts connections in a target, until this is dropped.
pub(crate) struct Listener(Child);

impl Listener {
    /// Starts it; returns once it listens.
    pub(crate) fn start(target: &Target) -> Result<Self> {
        netns::within(&target.name, || {
            let mut command = Command::new(env::current_exe()?);
            let mut child = command.arg(ACCEPT).stdout(Stdio::piped()).spawn()?;
            let stdout = child.stdout.take().context("no pipe")?;
            let listener = Self(child);
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line)?;
            ensure!(!line.is_empty(), "nobody listens in `{}`", target.name);
            Ok(listener)
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Joins the host that this program is on to somebody outside.
pub(crate) fn add_outside() -> Result<()> {
    words(&format!("ip netns add {OUTSIDE}"))?;
    words(&format!("ip link add out0 type veth peer name eth0 netns {OUTSIDE}"))?;
    words(&format!("ip addr add {HOST}/24 dev out0"))?;
    words("ip link set out0 up")?;
    words(&format!("ip -n {OUTSIDE} addr add 192.0.2.2/24 dev eth0"))?;
    words(&format!("ip -n {OUTSIDE} link set eth0 up"))?;
    words(&format!("ip -n {OUTSIDE} route add default via {HOST}")).map(drop)
}

/// How long so many connections to a port of the host take from outside.
pub(crate) fn latencies(port: u16, count: u16) -> Result<Vec<Duration>> {
    latencies_to(SocketAddr::from((HOST, port)), count)
}

/// How long so many connections take that go straight to a target, by the host's routes.
pub(crate) fn direct(target: &Target, count: u16) -> Result<Vec<Duration>> {
    latencies_to(SocketAddr::from((target.address, TARGET_PORT)), count)
}

/// Fails unless somebody outside gets through to the target by this port of the host.
pub(crate) fn answers(target: &Target, port: u16) -> Result<()> {
    let listener = Listener::start(target)?;
    let result = latencies(port, 1);
    drop(listener);
    result.map(drop)
}

fn latencies_to(to: SocketAddr, count: u16) -> Result<Vec<Duration>> {
    netns::within(OUTSIDE, || {
        let mut command = Command::new(env::current_exe()?);
        let printed = run(command.args([CALL, &to.to_string(), &count.to_string()]))?;
        printed.lines().map(|line| Ok(Duration::from_nanos(line.parse()?))).collect()
    })
}

fn accept() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT))?;
    writeln!(stdout(), "ready")?;
    loop {
        drop(listener.accept());
    }
}

/// Connects over and over; prints the nanoseconds of each.
fn call(to: &str, count: &str) -> Result<()> {
    let (to, count): (SocketAddr, usize) = (to.parse()?, count.parse()?);
    let mut times = Vec::with_capacity(count);
    for number in 0..REHEARSALS + count {
        let start = Instant::now();
        // A port that nobody gets through to must fail soon; without a limit there is less to do.
        let stream = if number == 0 {
            TcpStream::connect_timeout(&to, PATIENCE)
        } else {
            TcpStream::connect(to)
        };
        let elapsed = start.elapsed();
        let stream = stream.with_context(|| format!("cannot connect to {to}"))?;
        // A reset leaves no connection waiting: thousands of those would slow the next ones down.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        if number >= REHEARSALS {
            times.push(elapsed);
        }
    }
    let mut out = stdout().lock();
    for time in times {
        writeln!(out, "{}", time.as_nanos())?;
    }
    Ok(())
}
