use std::{
    env,
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, Write as _},
    net::Ipv4Addr,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::{ONE_PACKET, packets::PATIENCE};

/// The device of each host.
pub(crate) const TUN: &str = "tun0";
/// flannel's port.
pub(crate) const PORT: u16 = 8285;
/// All that the relay may not use.
pub(crate) const ALL_OFF: &str = "tun,send,receive";

/// The address of a host on the wire.
pub(crate) fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

/// The address of a host's container.
pub(crate) fn container(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 5, number, 2)
}

/// Hosts on a wire. Host N has 192.0.2.N, the subnet 10.5.N.0/24, a TUN device with routes to the
/// subnets of the others, and a container.
pub(crate) struct Lab {
    id: u32,
    hosts: u8,
}

/// A relay that runs.
pub(crate) struct Relay {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

impl Lab {
    /// Makes this many hosts.
    #[track_caller]
    pub(crate) fn new(hosts: u8) -> Self {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let lab = Self { id: LABS.fetch_add(1, Ordering::Relaxed), hosts };
        let id = lab.id;
        sh(&format!("ip link add w{id} type bridge; ip link set w{id} up"));
        for number in 1..=hosts {
            let (host, container) = (lab.place('h', number), lab.place('c', number));
            sh(&format!(
                "ip netns add {host}; ip netns add {container}
                 ip link add p{id}-{number} master w{id} type veth peer name eth0 netns {host}
                 ip link set p{id}-{number} up
                 ip -n {host} link add pods type veth peer name eth0 netns {container}"
            ));
            lab.on(
                'h',
                number,
                &format!(
                    "ip link set lo up; ip link set eth0 up; ip link set pods up
                 ip addr add 192.0.2.{number}/24 dev eth0
                 ip addr add 10.5.{number}.1/24 dev pods
                 ip tuntap add dev {TUN} mode tun
                 ip link set {TUN} mtu 1472 up
                 ip addr add 10.5.{number}.0/32 dev {TUN}
                 ip route add unreachable 10.5.0.0/16
                 echo 1 >/proc/sys/net/ipv4/ip_forward
                 echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter"
                ),
            );
            lab.on(
                'c',
                number,
                &format!(
                    "ip link set lo up; ip link set eth0 mtu 1472 up
                 ip addr add 10.5.{number}.2/24 dev eth0
                 ip route add default via 10.5.{number}.1"
                ),
            );
            for other in (1..=hosts).filter(|other| *other != number) {
                lab.route("add", number, other);
            }
        }
        lab
    }

    /// Adds or deletes the route of a host to the subnet of another.
    #[track_caller]
    pub(crate) fn route(&self, verb: &str, on: u8, to: u8) {
        self.on(
            'h',
            on,
            &format!("ip route {verb} 10.5.{to}.0/24 via 192.0.2.{to} dev {TUN} onlink"),
        );
    }

    /// The namespace of a host (`h`) or a container (`c`).
    pub(crate) fn place(&self, kind: char, number: u8) -> String {
        format!("{kind}{}-{number}", self.id)
    }

    /// Runs a shell script on a host or in a container.
    #[track_caller]
    pub(crate) fn on(&self, kind: char, number: u8, script: &str) -> String {
        let output = self.command(kind, number, "sh").args(["-euc", script]).output().unwrap();
        printed(script, &output)
    }

    /// A program on a host or in a container.
    pub(crate) fn command(&self, kind: char, number: u8, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.place(kind, number))).arg(program);
        command
    }

    /// Does something on a host or in a container, in a thread of its own.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        kind: char,
        number: u8,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let netns = File::open(Path::new("/run/netns").join(self.place(kind, number))).unwrap();
        let thread = thread::spawn(move || {
            use std::os::fd::AsFd;
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(netns.as_fd(), network).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    /// The command that runs the relay of a host.
    pub(crate) fn relay_command(&self, number: u8, off: &str) -> Command {
        let mut command = self.command('h', number, env!("CARGO_BIN_EXE_netcord-agent"));
        command.args(["relay", "--link", TUN, "--host", &host(number).to_string()]);
        command.args(["--port", &PORT.to_string(), "--subnet", &format!("10.5.{number}.0/24")]);
        command.env("NETCORD_RELAY_OFF", off);
        command
    }

    /// Starts the relay of a host; it is ready.
    #[track_caller]
    pub(crate) fn relay(&self, number: u8, off: &str) -> Relay {
        let mut child = self.relay_command(number, off).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let ready = line(&mut lines);
        Relay { child, lines, ready }
    }

    /// Starts a relay that does as flannel's does.
    #[track_caller]
    pub(crate) fn one_packet(&self, own: u8, other: u8) -> OnePacket {
        let own_program = env::current_exe().unwrap();
        let mut command = self.command('h', own, own_program.to_str().unwrap());
        let child = command.env(ONE_PACKET, format!("{own} {other}")).spawn().unwrap();
        // It is attached once the device has a carrier, and then opens its socket.
        let script = format!(
            "until ip link show {TUN} | grep -q LOWER_UP && ss -Hlnu sport = :{PORT} | grep -q .
             do :; done"
        );
        self.on('h', own, &script);
        OnePacket(child)
    }

    /// Switches segmentation offload off on the wire: packets are as large there as on a real one.
    pub(crate) fn small_packets_on_the_wire(&self) {
        for number in 1..=self.hosts {
            self.on('h', number, "ip link set dev eth0 gso_max_segs 1");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mut script = String::new();
        for number in 1..=self.hosts {
            let (host, container) = (self.place('h', number), self.place('c', number));
            writeln!(script, "ip netns del {host}; ip netns del {container}").unwrap();
        }
        write!(script, "ip link del w{}", self.id).unwrap();
        let status = Command::new("sh").args(["-c", &script]).status();
        if !thread::panicking() {
            assert!(status.unwrap().success());
        }
    }
}

/// A relay like flannel's; ends when dropped.
pub(crate) struct OnePacket(Child);

impl Drop for OnePacket {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Relay {
    /// What it has counted.
    #[track_caller]
    pub(crate) fn counters(&mut self) -> Value {
        self.signal(Signal::SIGUSR1);
        line(&mut self.lines)
    }

    /// One of its counters.
    #[track_caller]
    pub(crate) fn count(&mut self, name: &str) -> u64 {
        self.counters()[name].as_u64().unwrap()
    }

    /// Repeats something until one of its counters is as large as this.
    #[track_caller]
    pub(crate) fn until(&mut self, name: &str, least: u64, mut again: impl FnMut()) {
        let began = Instant::now();
        while self.count(name) < least {
            assert!(began.elapsed() < PATIENCE, "`{name}` is not {least}: {}", self.counters());
            again();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// User and system time, in clock ticks.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Its memory in KiB at its largest.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a shell script outside of all hosts.
#[track_caller]
fn sh(script: &str) {
    printed(script, &Command::new("sh").args(["-euc", script]).output().unwrap());
}

#[track_caller]
fn line(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("the relay printed {line:?}"))
}

#[track_caller]
fn printed(script: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    String::from_utf8(output.stdout.clone()).unwrap()
}
