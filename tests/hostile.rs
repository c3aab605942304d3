//! Names and words from outside that would steer a terminal: none of them reaches it, whichever
//! verb repeats them.

use crate::support::{Lab, NETCORD};

/// Each kind, as `printf` writes it; short enough for a link's name.
const KINDS: [(&str, &str); 4] = [
    ("an escape sequence", r"e\033[31mX"),
    ("a C1 control", r"c\302\23331mX"),
    ("another direction", r"d\342\200\256X"),
    ("a bell and a delete", r"b\007\010\177X"),
];

/// What netcord and clap colour with, and how a line of progress is taken away.
const OWN: [&str; 13] = [
    "\u{1b}[1;31m",
    "\u{1b}[1;33m",
    "\u{1b}[1;36m",
    "\u{1b}[0m",
    "\u{1b}[1m",
    "\u{1b}[2m",
    "\u{1b}[32m",
    "\u{1b}[36m",
    "\u{1b}[31merror:",
    "\u{1b}[33m",
    "\u{1b}[4m",
    "\u{1b}[K",
    "\r",
];

/// A host where everything that others name is called so: links, in a target too, their aliases,
/// namespaces, processes, the comments of rules.
fn host(name: &str) -> Lab {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord("attach lab0 web db").ok();
    lab.netcord("publish web 8080:80").ok();
    lab.sh(&format!(
        r#"x="$(printf '{name}')"
        ip link add "$x" type bridge; ip link set "$x" up; ip addr add 10.6.0.1/24 dev "$x"
        ip link set "$x" alias "$(printf 'alias\n%s' "$x")"
        ip link add tap0 master "$x" up type veth peer name "$x" netns db
        ip -n web link add "$x" type bridge; ip -n web link set "$x" up
        ip -n web addr add 10.5.0.1/24 dev "$x"; ip -n web link set "$x" alias "$x"
        ip -n web route add 198.51.100.0/24 dev "$x"; ip link set lab0 mtu 1400
        ip netns add "$x"
        ip link add mine type veth peer name "$x" netns "$x"; ip link set mine up
        nft add table inet theirs
        nft add chain inet theirs forward '{{ type filter hook forward priority 0; }}'
        nft add rule inet theirs forward ip daddr 203.0.113.9 drop comment "\"$x\""
        iptables -A FORWARD -d 203.0.113.9 -m comment --comment "$x" -j DROP
        mkdir /run/bin; cp "$(command -v sleep)" "/run/bin/$x"
        unshare --net "/run/bin/$x" infinity >/dev/null 2>&1 &
        until [ "$(cat /proc/$!/comm)" = "$x" ]; do sleep 0.02; done; echo $! >/run/process
        ip link add cable type veth peer name "$x" netns $!; ip link set cable up
        ln -s "/run/netns/web" "/run/$x""#
    ))
    .ok();
    lab
}

/// Verbs that look, in all forms; and those that change or refuse something, with their talk.
const LOOKS: [&str; 26] = [
    "ls",
    "ls -q",
    "ls --format json",
    "ps",
    "ps --format jsonl",
    "inspect",
    "inspect web --commands",
    "graph",
    "graph --format dot",
    "graph --format mermaid",
    "graph --format svg",
    "graph --format svg --compact",
    "graph --format html",
    "graph --format json",
    "doctor",
    "doctor --format json",
    "doctor -v web",
    "trace web 198.51.100.9",
    "trace web 203.0.113.9",
    "trace --format json web 203.0.113.9",
    "trace --live --timeout 1 web 203.0.113.9",
    "repair --check",
    "export",
    "wait web --for route --timeout 0",
    "wait nosuch --timeout 1",
    "--dry-run reset",
];

const CHANGES: [&str; 7] = [
    "--explain bridge lab0 --subnet 10.7.0.0/24",
    "--dry-run attach lab0 PROCESS",
    "-v attach lab0 PROCESS",
    "repair",
    "prune",
    "detach lab0 PROCESS",
    "--explain reset --yes",
];

/// What is typed, with the name in the place of `X`; it is refused, in words.
const REFUSED: [&[&str]; 12] = [
    &["X"],
    &["bridge", "X"],
    &["bridge", "lab1", "--subnet", "X"],
    &["attach", "X", "web"],
    &["attach", "lab0", "X"],
    &["attach", "lab0", "pid:X"],
    &["attach", "lab0", "path:/run/X"],
    &["publish", "web", "X"],
    &["trace", "web", "X"],
    &["inspect", "X"],
    &["doctor", "X"],
    &["lab", "--X"],
];

/// No character is left that does more than to be seen; colours of netcord's own are none.
#[track_caller]
fn assert_plain(text: &str, what: &str) {
    let text = OWN.iter().fold(text.to_owned(), |text, own| text.replace(own, ""));
    let bad = |c: &char| match c {
        '\n' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    assert_eq!(text.chars().find(bad), None, "{what}: {text:?}");
}

fn on_terminal(lab: &Lab, words: &str) -> String {
    let run = lab.sh(&format!(
        "TERM=xterm SHELL=/bin/sh script -qec '{NETCORD} {words}' /dev/null </dev/null || true"
    ));
    run.ok()
}

#[test]
fn no_verb_repeats_what_steers_a_terminal() {
    for (kind, name) in KINDS {
        let lab = host(name);
        let process = lab.sh("cat /run/process").ok();
        let mut repeated = 0;
        for words in LOOKS.iter().chain(&CHANGES) {
            let words = words.replace("PROCESS", &process);
            if !words.starts_with("--explain reset") {
                assert_plain(&on_terminal(&lab, &words), &format!("{kind}: {words} on a terminal"));
            }
            let run = lab.netcord(&words);
            assert_plain(&run.stdout, &format!("{kind}: stdout of {words}"));
            assert_plain(&run.stderr, &format!("{kind}: stderr of {words}"));
            repeated += usize::from(format!("{}{}", run.stdout, run.stderr).contains(r"\u{"));
        }
        assert!(repeated > 3, "{kind}: {repeated} verbs spoke of it");
    }
}

#[test]
fn what_was_typed_is_refused_without_being_obeyed() {
    let lab = Lab::new();
    lab.netns(&["web"]).netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web").ok();
    for (kind, name) in KINDS.into_iter().chain([("a line more", r"x\nerror: y")]) {
        for arguments in REFUSED {
            let words: Vec<_> = arguments
                .iter()
                .map(|word| word.replace('X', &format!("\"$(printf '{name}')\"")))
                .collect();
            let words = words.join(" ");
            let run = lab.sh(&format!("{NETCORD} {words}"));
            assert!((1..5).contains(&run.code), "{kind}: {run:?}");
            assert!(run.stderr.starts_with("error: "), "{kind}: {run:?}");
            assert_plain(&run.stderr, kind);
            assert_eq!(run.stderr.matches("\nerror: ").count(), 0, "{kind}: {run:?}");
            let script = format!("{NETCORD} {words} 2>&1");
            lab.sh(&format!("cat >/run/typed <<'EOF'\n{script}\nEOF")).ok();
            let shown =
                lab.sh("TERM=xterm script -qec 'sh /run/typed' /dev/null </dev/null || :").ok();
            assert_plain(&shown, &format!("{kind}: {words} on a terminal"));
        }
    }
}

#[test]
fn a_shell_is_not_offered_what_would_steer_it() {
    for (kind, name) in KINDS {
        let lab = host(name);
        for words in ["attach ''", "inspect ''"] {
            let offered = lab.sh(&format!(
                "_CLAP_IFS=' ' _CLAP_COMPLETE_INDEX=2 _CLAP_COMPLETE_COMP_TYPE=9 \
                 _CLAP_COMPLETE_SPACE=true COMPLETE=bash {NETCORD} -- netcord {words}"
            ));
            let offered = offered.ok();
            assert_plain(&offered, kind);
            assert!(offered.contains("lab0"), "{offered}");
        }
    }
}

#[test]
fn a_shell_reads_a_quoted_word_back() {
    let lab = Lab::new();
    for word in [
        "plain",
        "",
        "!",
        "it's",
        "$(id) `id` ;&|",
        "a\u{1b}[31m%s\\n'\"",
        "-x\u{9b}",
        "\u{202e}é\u{7f}",
        "a\nb\tc",
    ] {
        let quoted = netcord::plan::quote(word);
        assert_plain(&quoted, word);
        assert!(!quoted.contains('\n'), "{quoted}");
        let script = format!("printf '%s.' {quoted} >/run/word");
        lab.sh(&script).ok();
        let read = std::fs::read_to_string(lab.path("/run/word")).unwrap();
        assert_eq!(read, format!("{word}."), "{quoted}");
    }
}
