//! A host of its own for a test: fresh user, mount, PID and network namespaces, private `/run`.
//! Everything in it ends with it. It needs no root.

#![expect(clippy::disallowed_types, reason = "tests run programs")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use super::{Run, Snapshot, marks, snapshot::look::Looker};

/// The program under test.
pub(crate) const NETCORD: &str = env!("CARGO_BIN_EXE_netcord");

/// What netcord does is the same with either.
pub(crate) const FIREWALLS: [&str; 2] = ["nftables", "iptables"];

/// No wait of a test is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a condition, and returns whether it came true. In between, others have the processor.
pub(crate) fn comes_true(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if condition() {
            return true;
        } else if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A fresh host.
#[derive(Debug)]
pub(crate) struct Lab {
    unshare: Child,
    /// The host lives as long as this is open.
    _stdin: ChildStdin,
    pid: u32,
    /// The firewall that netcord has to use, if one is given.
    firewall: Option<&'static str>,
    /// What `nsenter` has to be told besides the namespaces that every host has.
    enter: &'static [&'static str],
    /// Reads this host, once it has been asked to.
    looker: Mutex<Option<Looker>>,
}

/// What makes a host of a namespace. `/sys` shows the links of who mounts it.
const PREPARE: &str =
    "mount -t tmpfs tmpfs /run && mount -t sysfs sysfs /sys && mkdir -p /run/netns /run/lock &&
    ip link set lo up && echo ready && exec cat";

impl Lab {
    /// Makes a fresh host.
    ///
    /// # Panics
    /// Where user namespaces are refused: a test that cannot run fails.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let user = ["--user", "--map-root-user"];
        Self::of(&user, &["--user", "--preserve-credentials"], &[PREPARE])
    }

    /// Makes a fresh host with the machine's own users, where programs of eBPF can be loaded.
    ///
    /// # Panics
    /// Without root.
    #[track_caller]
    pub(crate) fn as_root() -> Self {
        Self::of_root(&[PREPARE])
    }

    /// Makes a fresh host with the machine's own users, which takes root; `prepare`, a shell program
    /// and its arguments, says `ready` and then lives as long as its standard input is open.
    #[track_caller]
    pub(super) fn of_root(prepare: &[&str]) -> Self {
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        assert!(is_root, "this test needs root: run `./x test`, which sees to it");
        Self::of(&[], &[], prepare)
    }

    #[track_caller]
    fn of(unshare: &[&str], enter: &'static [&'static str], prepare: &[&str]) -> Self {
        let mut unshare = Command::new("unshare")
            .args(unshare)
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "--propagation", "private", "sh", "-c"])
            .args(prepare)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) runs");
        let stdin = unshare.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "namespaces can be made: see README, \"Tests\"");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let pid = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Self { unshare, _stdin: stdin, pid, firewall: None, enter, looker: Mutex::default() }
    }

    /// A fresh host where netcord uses this firewall.
    #[track_caller]
    pub(crate) fn with_firewall(firewall: &'static str) -> Self {
        let mut lab = Self::new();
        lab.firewall = Some(firewall);
        lab
    }

    /// A command that runs on this host; one that hangs ends, and the test fails.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.endless("timeout");
        command.args(["--kill-after=5", "300", program]);
        command
    }

    /// A command that runs on this host, and at the longest as long as that lives.
    pub(super) fn endless(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.pid.to_string()])
            .args(self.enter)
            .args(["--net", "--mount", "--pid", "--wd=/", "--", program])
            .env_remove("DOCKER_HOST")
            .env_remove("CONTAINER_HOST")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("NETCORD_STATE_DIR")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        command
    }

    /// Runs netcord with these words.
    #[track_caller]
    pub(crate) fn netcord(&self, words: &str) -> Run {
        self.netcord_args(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs netcord with these words, told to use this firewall.
    #[track_caller]
    pub(crate) fn netcord_on(&self, firewall: &str, words: &str) -> Run {
        let mut command = self.command(NETCORD);
        command.args(["--firewall", firewall]).args(words.split_whitespace());
        Run::new(format!("netcord --firewall {firewall} {words}"), &command.output().unwrap())
    }

    /// Runs netcord with these arguments.
    #[track_caller]
    pub(crate) fn netcord_args(&self, arguments: &[&str]) -> Run {
        let firewall = self.firewall.into_iter().flat_map(|f| ["--firewall", f]);
        let output = self.command(NETCORD).args(firewall).args(arguments).output().unwrap();
        Run::new(format!("netcord {}", arguments.join(" ")), &output)
    }

    /// Runs a shell script.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Run {
        let output = self.command("sh").args(["-euc", script]).output().unwrap();
        Run::new(script.to_owned(), &output)
    }

    /// Runs a shell program with these arguments.
    #[track_caller]
    pub(super) fn script(&self, script: &str, arguments: &[&str]) -> Run {
        let output = self.command("sh").args(["-euc", script, "sh"]).args(arguments).output();
        Run::new(script.to_owned(), &output.unwrap())
    }

    /// Runs a shell script that is read from standard input, as `netcord --dry-run ... | sh`.
    #[track_caller]
    pub(crate) fn pipe_to_sh(&self, script: &str) -> Run {
        let mut command = self.command("sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        Run::new(script.to_owned(), &child.wait_with_output().unwrap())
    }

    /// Starts a program that goes on; it ends with the host.
    #[track_caller]
    pub(crate) fn start(&self, script: &str) -> Child {
        self.endless("sh")
            .args(["-c", script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Makes namespaces with `ip netns add`.
    #[track_caller]
    pub(crate) fn netns(&self, names: &[&str]) -> &Self {
        for name in names {
            self.sh(&format!("ip netns add {name}")).ok();
        }
        self
    }

    /// A process in a fresh, empty namespace, as a container that was started with
    /// `--network=none`; returns its PID on this host.
    #[track_caller]
    pub(crate) fn null_mode_process(&self) -> u32 {
        self.sh("unshare --net sleep infinity >/dev/null 2>&1 & pid=$!
             until [ \"$(cat /proc/$pid/comm)\" = sleep ]; do sleep 0.02; done; echo $pid")
            .ok()
            .parse()
            .unwrap()
    }

    /// Serves a page, the name of the namespace, over HTTP in a namespace; returns once it answers.
    #[track_caller]
    pub(crate) fn serve(&self, netns: &str, port: u16) {
        let dir = format!("/run/www-{netns}");
        self.sh(&format!("mkdir -p {dir} && echo {netns} > {dir}/index.html && ip netns exec {netns} busybox httpd -p {port} -h {dir}")).ok();
    }

    /// Fetches a page from within a namespace, or from the host with `host`.
    #[track_caller]
    pub(crate) fn fetch(&self, from: &str, url: &str) -> Run {
        self.within(from, &format!("curl -gsS --max-time 3 {url}"))
    }

    /// Runs a shell script within a namespace, or on the host with `host`.
    #[track_caller]
    pub(crate) fn within(&self, netns: &str, script: &str) -> Run {
        let script = script.replace('\'', r"'\''");
        match netns {
            "host" => self.sh(&script.replace(r"'\''", "'")),
            netns => self.sh(&format!("ip netns exec {netns} sh -euc '{script}'")),
        }
    }

    /// Wires a neighbour of this host: another host on the wire of its link `eth0`, which gets
    /// `192.0.2.1/24` and `2001:db8::1/64`; the neighbour has .2, and is its default gateway.
    #[track_caller]
    pub(crate) fn neighbour(&self, name: &str) -> &Self {
        self.script(include_str!("sh/neighbour.sh"), &[name]).ok();
        self
    }

    /// Waits for a condition, a shell script that succeeds.
    #[track_caller]
    pub(crate) fn until(&self, condition: &str) {
        let came = comes_true(|| self.sh(condition).code == 0);
        assert!(came, "`{condition}` did not come true");
    }

    /// Makes an underlay network that must be confirmed, and does something that succeeds only before
    /// the move is undone; on a slow machine with more time. Returns the seconds that it had.
    #[track_caller]
    pub(crate) fn before_it_is_undone(&self, words: &str, act: impl Fn() -> bool) -> u64 {
        let name = words.split(' ').nth(1).unwrap();
        let in_time = [2, 8, 32].into_iter().find(|seconds| {
            self.netcord(&format!("{words} --confirm {seconds}")).ok();
            let done = act();
            if !done {
                self.until(&format!(
                    "[ ! -e /sys/class/net/{name} ] && \
                     [ -z \"$(find /run/netcord -name network-{name}.json)\" ]"
                ));
            }
            done
        });
        in_time.expect("32 seconds are enough")
    }

    /// The published ports that are in either firewall, in the words of their marks: whose, from
    /// where and where to. One that exists twice is listed twice.
    #[track_caller]
    pub(crate) fn rules_of_ports(&self) -> Vec<String> {
        let listed = |script: &str| self.sh(&format!("{script} 2>/dev/null || :")).ok();
        let saved = listed("iptables-save; ip6tables-save");
        let of_iptables = marks::comments(&saved).filter(|comment| comment.contains(" publish "));
        let mut rules = marks::published(&listed("nft list table inet netcord"));
        rules.extend(of_iptables.map(str::to_owned));
        rules.sort();
        rules
    }

    /// Everything of this host's network that netcord could change.
    #[track_caller]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::of(self, None)
    }

    /// What there is to see on this host, or on one that is a namespace of it.
    #[track_caller]
    pub(super) fn look(&self, host: Option<&str>) -> String {
        let mut looker = self.looker.lock().unwrap();
        looker.get_or_insert_with(|| Looker::start(self)).look(host)
    }

    /// A path of this host, seen from outside.
    pub(crate) fn path(&self, path: &str) -> std::path::PathBuf {
        Path::new("/proc")
            .join(self.pid.to_string())
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// The host's first process, seen from outside.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Its first process ends, and with it all others; nothing is left to clean up.
        self.unshare.kill().ok();
        self.unshare.wait().ok();
    }
}
