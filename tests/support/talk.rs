//! Who reaches whom: a server that says who it is and who called, over TCP and UDP, and clients.
//!
//! No program that is everywhere speaks UDP, so the test binary does: it runs itself inside.

#![allow(
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::zombie_processes,
    reason = "it is a program of its own, and a server ends with its host"
)]

use std::{
    env,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::{Lab, snapshot::look};

/// What to do, for [`in_a_namespace`].
const ROLE: &str = "NETCORD_TEST_TALK";

impl Lab {
    /// Serves TCP and UDP at these addresses of a namespace, or of `host`; returns once it does.
    ///
    /// The answer is `web:80 from 192.0.2.2`: whose server, at which port, and who called.
    #[track_caller]
    pub(crate) fn listen(&self, place: &str, addresses: &[&str]) {
        let role = format!("serve {place} {}", addresses.join(" "));
        let mut command = self.server(place, &role);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for address in addresses {
            let (_, port) = address.rsplit_once(':').unwrap();
            let listens = |flag| format!("ss -Hln{flag} sport = :{port} | grep -q .");
            self.until_within(place, &format!("{} && {}", listens("t"), listens("u")));
        }
    }

    /// Serves TCP and UDP at these ports of all addresses of a namespace, or of `host`.
    #[track_caller]
    pub(crate) fn serve_ports(&self, place: &str, ports: &[u16]) {
        let addresses: Vec<_> = ports.iter().map(|port| format!("[::]:{port}")).collect();
        self.listen(place, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// From this namespace, or from `host`, a call to `tcp ADDRESS:PORT`, `udp ADDRESS:PORT` or
    /// `ping ADDRESS` is answered so; a ping with nothing.
    #[track_caller]
    pub(crate) fn reaches(&self, from: &str, to: &str, answer: &str) {
        let heard = self.call(from, to, 5).map(|heard| match heard.rsplit_once(':') {
            Some((who_and_address, _port)) => who_and_address.to_owned(),
            None => heard,
        });
        assert_eq!(heard.as_deref(), Some(answer), "from `{from}`: {to}{}", self.evidence());
    }

    /// From this namespace, or from `host`, nobody answers such a call.
    #[track_caller]
    pub(crate) fn does_not_reach(&self, from: &str, to: &str) {
        assert_eq!(self.call(from, to, 1), None, "from `{from}`: {to}{}", self.evidence());
    }

    /// The whole answer to a call, with the port of who called.
    pub(crate) fn call(&self, from: &str, to: &str, seconds: u32) -> Option<String> {
        let (how, address) = to.split_once(' ').unwrap();
        let run = match how {
            "udp" => return self.send(from, 0, address, seconds),
            "tcp" => self.within(from, &format!("curl -gsS --max-time {seconds} http://{address}")),
            _ => self.within(from, &format!("ping -q -c1 -W{seconds} {address} >&2")),
        };
        (run.code == 0).then(|| run.stdout.trim().to_owned())
    }

    /// The answer to a datagram from this port: the same flow as before, if it has been used.
    pub(crate) fn send(&self, from: &str, port: u16, to: &str, seconds: u32) -> Option<String> {
        let output = self.talk(from, &format!("ask {port} {to} {seconds}")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (_, answer) = text.split_once("answer: ")?;
        answer.lines().next().map(str::to_owned)
    }

    /// Waits for a condition, a shell script that succeeds within a namespace or on `host`.
    #[track_caller]
    pub(crate) fn until_within(&self, place: &str, condition: &str) {
        match place {
            "host" => self.until(condition),
            place => self.until(&format!("ip netns exec {place} sh -euc '{condition}'")),
        }
    }

    /// A client, which ends.
    pub(super) fn talk(&self, place: &str, role: &str) -> Command {
        self.role(place, role, Self::command)
    }

    /// A server, which ends with its host.
    pub(super) fn server(&self, place: &str, role: &str) -> Command {
        self.role(place, role, Self::endless)
    }

    pub(super) fn role(&self, place: &str, role: &str, run: fn(&Self, &str) -> Command) -> Command {
        let own = env::current_exe().unwrap();
        let own = own.to_str().unwrap();
        let test = concat!(module_path!(), "::in_a_namespace");
        let test = test.split_once("::").unwrap().1;
        let mut command = match place {
            "host" => run(self, own),
            place => {
                let mut command = run(self, "ip");
                command.args(["netns", "exec", place, own]);
                command
            }
        };
        command.args([test, "--exact", "--ignored", "--nocapture"]).env(ROLE, role);
        command
    }

    /// What a reader of a failed test would look at next.
    fn evidence(&self) -> String {
        let script =
            "for t in raw filter nat; do iptables -t $t -S -v; done | grep -v '^-N'; ip -br a";
        format!("\n{}", self.sh(script).stdout)
    }
}

#[test]
#[ignore = "no test: what `Lab::server` and `Lab::talk` run"]
fn in_a_namespace() {
    plays_a_role();
}

/// Does what a [`Lab`] started this program for; returns whether one did.
pub(crate) fn plays_a_role() -> bool {
    let Ok(role) = env::var(ROLE) else { return false };
    let words: Vec<_> = role.split_whitespace().collect();
    match words.as_slice() {
        ["serve", name, addresses @ ..] => serve(name, addresses),
        ["ask", port, to, seconds] => {
            if let Some(answer) = ask(port.parse().unwrap(), to, seconds.parse().unwrap()) {
                println!("answer: {answer}");
            }
        }
        ["echo", address] => super::stream::echo(address),
        ["stream", to] => super::stream::stream(to),
        ["mirror", address] => super::beats::mirror(address),
        ["beats", to] => super::beats::beats(to),
        [look::ROLE] => look::on_request(),
        _ => panic!("{role}"),
    }
    true
}

/// Says a line that whoever reads sees at once.
pub(super) fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

fn serve(name: &str, addresses: &[&str]) {
    thread::scope(|scope| {
        for address in addresses {
            let tcp = TcpListener::bind(address).unwrap();
            let udp = UdpSocket::bind(address).unwrap();
            let at = format!("{name}:{}", udp.local_addr().unwrap().port());
            let answer = move |from: SocketAddr| {
                format!("{at} from {}:{}\n", from.ip().to_canonical(), from.port())
            };
            let also = answer.clone();
            scope.spawn(move || {
                for stream in tcp.incoming() {
                    let mut stream = stream.unwrap();
                    let Ok(from) = stream.peer_addr() else { continue };
                    // Who asks in a way that cannot be answered hears nothing.
                    let asked = stream.read(&mut [0; 4096]);
                    let page = format!("HTTP/1.0 200 OK\r\n\r\n{}", answer(from));
                    drop(asked.and_then(|_| stream.write_all(page.as_bytes())));
                }
            });
            scope.spawn(move || {
                loop {
                    let Ok((_, from)) = udp.recv_from(&mut [0; 64]) else { continue };
                    drop(udp.send_to(also(from).as_bytes(), from));
                }
            });
        }
    });
}

/// Asks five times a second: a datagram may be lost while neighbours are being found.
fn ask(port: u16, to: &str, seconds: u32) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    let any = if to.is_ipv4() { "0.0.0.0" } else { "[::]" };
    let socket = UdpSocket::bind(format!("{any}:{port}")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.connect(to).ok()?;
    for _ in 0..5 * seconds {
        // An ICMP error about the last one arrives here.
        drop(socket.send(b"?"));
        let mut answer = [0; 256];
        match socket.recv(&mut answer) {
            Ok(length) => {
                return Some(String::from_utf8_lossy(&answer[..length]).trim().to_owned());
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    None
}
