//! Several hosts on one wire: namespaces of a lab, each with a link `eth0`, and netcord on each.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::IpAddr,
    os::fd::AsRawFd,
    process::{Child, Stdio},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use super::{Lab, NETCORD, Run, Snapshot, frames::address_of};

/// What to capture, for [`captures_frames`].
const CAPTURE: &str = "NETCORD_TEST_CAPTURE";

impl Lab {
    /// Makes hosts `h1`, `h2`, ... on one wire: host N has `192.0.2.N/24` and `2001:db8::N/64` on
    /// `eth0`. Their router is `world`, with `.254` and `::fe`.
    #[track_caller]
    pub(crate) fn hosts(&self, count: u8) -> &Self {
        let mut script = String::from("ip link add wire type bridge; ip link set wire up\n");
        let host = |name: &str, number: u8| {
            format!(
                "ip netns add {name}; ip link add p-{name} master wire type veth peer name eth0 netns {name}
                 ip link set p-{name} up; ip -n {name} link set eth0 addrgenmode none
                 ip -n {name} link set lo up; ip -n {name} link set eth0 up
                 ip -n {name} addr add 192.0.2.{number}/24 dev eth0
                 ip -n {name} addr add fe80::{number:x}/64 nodad dev eth0
                 ip -n {name} addr add 2001:db8::{number:x}/64 nodad dev eth0\n"
            )
        };
        script += &host("world", 254);
        let routed = |number: u8| {
            let name = format!("h{number}");
            let routes = format!(
                "ip -n {name} route add default via 192.0.2.254
                 ip -n {name} -6 route add default via 2001:db8::fe\n"
            );
            host(&name, number) + &routes
        };
        script.extend((1..=count).map(routed));
        self.sh(&script).ok();
        self
    }

    /// Runs netcord with these words on a host of the wire. Names in `/run/netns` are shared.
    #[track_caller]
    pub(crate) fn on(&self, host: &str, words: &str) -> Run {
        let mut command = self.command("nsenter");
        command.arg(format!("--net=/run/netns/{host}")).arg(NETCORD);
        command.args(words.split_whitespace());
        Run::new(format!("{host}: netcord {words}"), &command.output().unwrap())
    }

    /// Everything of a host's network that netcord could change.
    #[track_caller]
    pub(crate) fn snapshot_of(&self, host: &str) -> Snapshot {
        Snapshot::of(self, Some(host))
    }

    /// Begins to capture the frames of a link of a namespace that are UDP packets to this port; they
    /// can be read once as many have come.
    #[track_caller]
    pub(crate) fn capture(&self, place: &str, link: &str, port: u16, count: usize) -> Capture {
        let own = env::current_exe().unwrap();
        let test = concat!(module_path!(), "::captures_frames").split_once("::").unwrap().1;
        let mut child = self
            .command("ip")
            .args(["netns", "exec", place, own.to_str().unwrap()])
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(CAPTURE, format!("{link} {port} {count}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let began = lines.by_ref().lines().map_while(Result::ok).any(|l| l.contains("capturing"));
        assert!(began, "the capture did not begin");
        Capture { child, lines }
    }
}

/// A capture that goes on.
pub(crate) struct Capture {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Capture {
    /// The frames, once all have come.
    #[track_caller]
    pub(crate) fn frames(mut self) -> Vec<Vec<u8>> {
        let lines = self.lines.lines().map_while(Result::ok);
        let frames =
            lines.filter_map(|line| line.split_once("frame ").map(|(_, hex)| bytes(hex))).collect();
        assert!(self.child.wait().unwrap().success(), "the frames did not come");
        frames
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// The fields of a VXLAN packet over IPv4 in Ethernet (RFC 7348).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct VxlanPacket {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) port: u16,
    pub(crate) flags: u8,
    pub(crate) vni: u32,
    pub(crate) inner_to: String,
    pub(crate) inner_from: String,
    pub(crate) inner_ethertype: u16,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
}

impl VxlanPacket {
    pub(crate) fn of(frame: &[u8]) -> Self {
        let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
        let number = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let mac = |at: usize| super::frames::shown(frame[at..at + 6].try_into().unwrap());
        Self {
            from: ip(26),
            to: ip(30),
            port: number(36),
            flags: frame[42],
            vni: u32::from_be_bytes([0, frame[46], frame[47], frame[48]]),
            inner_to: mac(50),
            inner_from: mac(56),
            inner_ethertype: number(62),
            ttl: frame[72],
            source: ip(76),
            destination: ip(80),
        }
    }
}

#[test]
#[ignore = "no test: what `Lab::capture` runs"]
#[allow(clippy::print_stdout, reason = "it is a program of its own")]
fn captures_frames() {
    let Ok(words) = env::var(CAPTURE) else { return };
    let words: Vec<_> = words.split(' ').collect();
    let (port, count): (u16, usize) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
            .unwrap();
    bind(socket.as_raw_fd(), &address_of(words[0])).unwrap();
    super::talk::say("capturing");
    let mut seen = 0;
    while seen < count {
        let mut frame = vec![0; 2048];
        let length = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()).unwrap();
        let frame = &frame[..length];
        let is_udp = frame.len() > 50 && frame[12..14] == [8, 0] && frame[23] == 17;
        if is_udp && u16::from_be_bytes([frame[36], frame[37]]) == port {
            seen += 1;
            let hex: Vec<_> = frame.iter().map(|b| format!("{b:02x}")).collect();
            println!("frame {}", hex.concat());
        }
    }
}
