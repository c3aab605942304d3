//! Reads everything of a host's network that netcord could change, as the kernel's own tools print it.
//!
//! A process of the lab does that, as often as it is asked: it reads the kernel's files itself, and
//! starts as few programs as there are tools.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::support::Lab;

/// What [`on_request`] is started as.
pub(in crate::support) const ROLE: &str = "look";

/// Ends an answer.
const END: &str = "== end\n";

/// A host's own namespace, in a request.
const OWN: &str = ".";

const NAMED: &str = "/run/netns";

/// Not what stays on by promise: forwarding, and what the kernel turns with it. Those of neighbour
/// tables (neigh) come and go with their links, and netcord sets none.
const SYSCTLS_LEFT_OUT: [&str; 7] =
    ["ip_forward", "forwarding", "mc_forwarding", "flush", "netfilter", "core", "neigh"];

/// A process inside a lab that looks around when it is asked.
#[derive(Debug)]
pub(in crate::support) struct Looker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Looker {
    #[track_caller]
    pub(in crate::support) fn start(lab: &Lab) -> Self {
        let mut command = lab.server("host", ROLE);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// Everything of a host that is a named namespace, or of the lab itself; each part begins with a
    /// line `== PART`.
    #[track_caller]
    pub(in crate::support) fn look(&mut self, host: Option<&str>) -> String {
        writeln!(self.child.stdin.as_ref().unwrap(), "{}", host.unwrap_or(OWN)).unwrap();
        let mut text = String::new();
        while !text.ends_with(END) {
            let length = self.answers.read_line(&mut text).unwrap();
            assert_ne!(length, 0, "the snapshot is not whole:\n{text}");
        }
        text.truncate(text.len() - END.len());
        text
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// Answers requests until its input ends.
pub(in crate::support) fn on_request() {
    for line in io::stdin().lines() {
        let text = match line.unwrap().as_str() {
            OWN => all(),
            name => within(&Path::new(NAMED).join(name), all).unwrap(),
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(END.as_bytes())).unwrap();
        out.flush().unwrap();
    }
}

/// Runs something in a thread that has entered a namespace; the programs that it starts are there too.
#[expect(clippy::disallowed_methods, reason = "a thread of its own changes its namespace and ends")]
fn within(netns: &Path, run: fn() -> String) -> io::Result<String> {
    let file = File::open(netns)?;
    let entered = thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        Ok(run())
    });
    entered.join().unwrap()
}

fn all() -> String {
    let mut text = String::from("\n");
    let mut part = |name: &str, lines: &str| text.extend(["== ", name, "\n", lines, "\n"]);
    let batch = "link\naddr\nroute show table all\nrule\nneigh show nud permanent\n";
    part("ip", &program("ip -o -d -batch -", batch));
    part("rule", &program("ip -6 rule", ""));
    for line in program("tc qdisc show", "").lines() {
        if let ["qdisc", "clsact", _, "dev", port, ..] = *line.split(' ').collect::<Vec<_>>() {
            let filters = program(&format!("tc -d filter show dev {port} ingress"), "");
            part(&format!("filter {port}"), &filters);
        }
    }
    part("fdb", &program("bridge fdb show", ""));
    part("nft", &program("nft list ruleset", ""));
    part("iptables-save", &program("iptables-save", ""));
    part("ip6tables-save", &program("ip6tables-save", ""));
    part("sysctl", &sysctls());
    part("name", &names());
    part("record", &records());
    let mut namespaces = files(Path::new(NAMED), &[]);
    namespaces.sort();
    for path in namespaces {
        let name = path.file_name().unwrap().to_string_lossy();
        let links = || program("ip -o -batch -", "link\naddr\nroute show table all\n");
        // Whatever is no namespace has nothing in it.
        part(&format!("in {name}"), &within(&path, links).unwrap_or_default());
    }
    text
}

/// What a program prints; nothing, where this kernel or this host lacks what it is about.
fn program(words: &str, input: &str) -> String {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

fn sysctls() -> String {
    let root = Path::new("/proc/sys/net");
    let mut lines = String::new();
    // The kernel hands out each value in one piece.
    let mut value = [0; 4096];
    for path in files(root, &SYSCTLS_LEFT_OUT) {
        // Some can only be written.
        let read = File::open(&path).and_then(|mut file| file.read(&mut value));
        let length = read.unwrap_or_default();
        assert!(length < value.len(), "{} is longer", path.display());
        let text = String::from_utf8_lossy(&value[..length]);
        let name = path.strip_prefix(root).unwrap().to_string_lossy();
        for line in text.lines() {
            lines.extend(["./", &name, ":", line, "\n"]);
        }
    }
    lines
}

/// The names of namespaces: what kind of file each is, and where it leads.
fn names() -> String {
    let shown = |path: &PathBuf| {
        let mode = fs::symlink_metadata(path).map(|found| found.permissions().mode());
        let to = fs::read_link(path).unwrap_or_default();
        let name = path.file_name().unwrap().to_string_lossy();
        format!("{:o} {name} {}\n", mode.unwrap_or_default(), to.display())
    };
    files(Path::new(NAMED), &[]).iter().map(shown).collect::<Vec<_>>().concat()
}

fn records() -> String {
    let all = files(Path::new("/run/netcord"), &[]);
    let records = all.iter().filter(|path| path.extension().is_some_and(|e| e == "json"));
    records.map(|path| format!("{}\n", path.display())).collect::<Vec<_>>().concat() + &of_docker()
}

/// What docker has asked for, and the addresses that it has. Which dockerd it was may differ.
fn of_docker() -> String {
    let mut lines = String::new();
    for path in files(Path::new("/var/lib/netcord/docker"), &["lock"]) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let assigned = text.find("\"assigned\"").map_or("", |at| &text[at..]);
        lines.extend([&path.to_string_lossy(), " ", assigned, "\n"]);
    }
    lines
}

/// The files of a directory and of those below it, without some names.
fn files(directory: &Path, left_out: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if left_out.iter().any(|left_out| name == *left_out) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path, left_out)),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
    found
}
