//! What somebody at a terminal sees of a command that takes its time, and who else sees nothing.

use std::process::Child;

use crate::support::{Lab, NETCORD};

const TMUX: &str = "tmux -S /run/tmux -f /dev/null";

/// A shell in a terminal of 80 columns, with netcord in its path.
struct Terminal<'a> {
    lab: &'a Lab,
}

impl<'a> Terminal<'a> {
    #[track_caller]
    fn new(lab: &'a Lab) -> Self {
        lab.sh(&format!(
            "mkdir /run/bin; ln -s {NETCORD} /run/bin/netcord
             export PATH=/run/bin:$PATH PS1='$ ' SHELL=/bin/sh
             {TMUX} new-session -d -x 80 -y 24 sh"
        ))
        .ok();
        let terminal = Self { lab };
        terminal.shows(r"^\$");
        terminal
    }

    #[track_caller]
    fn types(&self, line: &str) -> &Self {
        self.lab.sh(&format!("{TMUX} send-keys -l '{line}'; {TMUX} send-keys Enter")).ok();
        self
    }

    #[track_caller]
    fn interrupts(&self) -> &Self {
        self.lab.sh(&format!("{TMUX} send-keys C-c")).ok();
        self
    }

    /// Waits until a line is to be seen.
    #[track_caller]
    fn shows(&self, line: &str) -> &Self {
        self.lab.until(&format!("{TMUX} capture-pane -p | grep -Eq '{line}'"));
        self
    }

    /// Empties the screen, and waits until it is.
    #[track_caller]
    fn clears(&self) {
        self.types("clear");
        self.lab.until(&format!("[ \"$({TMUX} capture-pane -p | grep -c .)\" = 1 ]"));
    }

    /// Waits until the shell asks for the next line, with these lines above and no other.
    #[track_caller]
    fn is_left_with(&self, lines: &[&str]) {
        self.shows(r"^\$$");
        let screen = self.lab.sh(&format!("{TMUX} capture-pane -pJ")).ok();
        let seen: Vec<_> = screen.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
        assert_eq!(seen, [lines, &["$"]].concat());
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.lab.sh(&format!("{TMUX} kill-server")).ok();
    }
}

/// Keeps netcord from the records until it is ended.
struct Holder<'a> {
    lab: &'a Lab,
    flock: Child,
    pid: String,
}

impl<'a> Holder<'a> {
    #[track_caller]
    fn new(lab: &'a Lab) -> Self {
        lab.netcord("bridge lab0").ok();
        let flock = lab.start(
            "echo $$ > /run/holder; exec flock -o /run/netcord/*/lock sh -c '>/run/locked; exec sleep infinity'",
        );
        lab.until("[ -e /run/locked ]");
        Self { lab, flock, pid: lab.sh("cat /run/holder").ok() }
    }

    fn lets_go(mut self) {
        self.lab.sh(&format!("kill {}", self.pid)).ok();
        self.flock.wait().unwrap();
    }
}

/// All that netcord writes to a terminal, as bytes.
#[track_caller]
fn written(lab: &Lab, environment: &str, words: &str) -> String {
    lab.sh(&format!(
        "env TERM=xterm {environment} script -qec '{NETCORD} {words}' /run/written >/dev/null || true
         sed '1d;$d' /run/written"
    ))
    .ok()
}

#[test]
fn who_holds_the_records_is_told_and_nothing_is_left_of_it() {
    let lab = Lab::new();
    let holder = Holder::new(&lab);
    let terminal = Terminal::new(&lab);
    let line = format!(
        r"^waiting for process {} \(`flock`\), which has locked the records \([0-9]+ s of 30 s\)$",
        holder.pid
    );
    terminal.types("netcord none web").shows(&line);
    holder.lets_go();
    terminal.is_left_with(&["$ netcord none web", "/run/netns/web"]);
}

#[test]
fn an_interrupted_wait_leaves_a_clean_line() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let terminal = Terminal::new(&lab);
    let command = "netcord attach lab0 web --wait";
    terminal.types(command).shows(r"^waiting for `web` to appear \([0-9] s of 30 s\)$");
    terminal.interrupts().shows(r"^\$$").types("echo code $?");
    terminal.is_left_with(&[&format!("$ {command}"), "$ echo code $?", "code 130"]);
}

#[test]
fn a_wait_says_what_is_missing() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    let terminal = Terminal::new(&lab);
    let command = "netcord wait web --for up";
    terminal.types(command).shows("^waiting for `web`: it has no link besides lo .* of 30 s");
    lab.sh("ip -n web link add eth0 type veth peer name eth0 netns db").ok();
    terminal.shows("^waiting for `web`: `eth0` is down ");
    lab.sh("ip -n web link set eth0 up").ok();
    terminal.is_left_with(&[&format!("$ {command}"), "eth0"]);
}

#[test]
fn a_server_that_does_not_answer_is_waited_for_in_words() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    lab.netns(&["web"]);
    let terminal = Terminal::new(&lab);
    let command = "netcord attach lab0 web --dhcp";
    let line = r"^waiting for a DHCP server.s answer on `lab0` \([0-9] s of 10 s\)$";
    terminal.types(command).shows(line);
    terminal.shows("^error: no DHCP server answered on `lab0` within 10 seconds");
    terminal.is_left_with(&[
        &format!("$ {command}"),
        "error: no DHCP server answered on `lab0` within 10 seconds",
        "hint: see with `ip link show lab0` that it is up, or give an address with `--ip`",
    ]);
}

#[test]
fn a_packet_is_waited_for_in_words() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    lab.netns(&["web", "db"]);
    lab.netcord("attach lab0 web db").ok();
    let terminal = Terminal::new(&lab);
    let command = "netcord trace web db:80 --live --wait";
    terminal
        .types(command)
        .shows(r"^waiting for a packet from web to db:80/tcp \([0-9]+ s of 60 s\)$")
        .interrupts();
    terminal.is_left_with(&[&format!("$ {command}")]);
}

#[test]
fn a_long_plan_says_how_far_it_is() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    lab.sh("for i in $(seq 400); do ip netns add ns$i; done").ok();
    let before = lab.snapshot();
    let terminal = Terminal::new(&lab);
    let command = "netcord attach lab0 $(seq -f ns%g 400) >/dev/null";
    terminal.types(command).shows("^step [0-9]+ of [0-9]{4}: ").interrupts();
    terminal.is_left_with(&[
        &format!("$ {command}"),
        "error: interrupted: everything is as it was before",
    ]);
    before.assert_same(&lab.snapshot(), "interrupted");
    // What is typed before the screen is empty goes with the rest.
    terminal.clears();
    terminal.types(command).shows("^step [0-9]+ of [0-9]{4}: ");
    terminal.is_left_with(&[&format!("$ {command}")]);
    assert_eq!(lab.netcord("ps -q").ok().lines().count(), 400);
}

#[test]
fn a_command_has_the_terminal_for_itself() {
    let lab = Lab::new();
    let holder = Holder::new(&lab);
    let terminal = Terminal::new(&lab);
    let command = r#"netcord run --network lab0 -- sh -c "echo on; read a; echo heard \$a""#;
    terminal.types(command).shows("^waiting for process .* which has locked the records");
    holder.lets_go();
    terminal.shows("^on$").types("you");
    terminal.is_left_with(&[&format!("$ {command}"), "on", "you", "heard you"]);
    // As long as the line would take to come, and more.
    for way in ["run --network none --", "container host --", "none web --", "lab --"] {
        let drawn = written(&lab, "", &format!(r#"{way} sh -c "printf a; sleep 0.7; printf b""#));
        assert_eq!(drawn, "ab", "{way}");
    }
}

#[test]
fn what_is_quick_is_not_spoken_of() {
    let lab = Lab::new();
    // Where much else runs it may not be quick each time.
    let is_silent = |_: &u8| written(&lab, "", "none web").trim_end() == "/run/netns/web";
    assert!((0..10).any(|n| is_silent(&n)), "{}", written(&lab, "", "none web"));
}

#[test]
fn who_does_not_watch_sees_nothing() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    let wait = "--color never wait web --timeout 1";
    let error = "error: target `web` was not ready in 1 seconds";
    let is_plain = |text: &str, what: &str| {
        assert!(text.starts_with(error), "{what}: {text:?}");
        assert!(!text.contains('\u{1b}'), "{what}: {text:?}");
    };
    is_plain(&lab.netcord(wait).fails(7, &[]).stderr, "no terminal");
    is_plain(&written(&lab, "", &format!("-q {wait}")), "-q");
    is_plain(&written(&lab, "TERM=dumb", wait), "a typewriter");
    let watched = written(&lab, "", wait);
    let line = "\rwaiting for `web`: it has no link besides lo (0 s of 1 s)\u{1b}[K";
    assert!(watched.starts_with(line), "{watched:?}");
    assert!(watched.contains(&format!("\r\u{1b}[K{error}")), "{watched:?}");
    let colored = written(&lab, "", "--color always wait web --timeout 1");
    assert!(colored.starts_with("\r\u{1b}[2mwaiting"), "{colored:?}");
    let uncolored = written(&lab, "NO_COLOR=1", "wait web --timeout 1");
    assert!(uncolored.starts_with("\rwaiting"), "{uncolored:?}");
}
