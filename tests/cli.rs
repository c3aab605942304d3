//! The contract with users and scripts: exit codes, what stdout carries, JSON, help, errors.

use std::process::Stdio;

use crate::support::{Lab, NETCORD, Run};

const VERBS: [(&str, &[&str]); 25] = [
    ("none", &["--of"]),
    ("host", &["CMD"]),
    ("container", &["CMD"]),
    (
        "bridge",
        &[
            "--subnet",
            "--gateway",
            "--ip-range",
            "--mtu",
            "--ipv6",
            "--internal",
            "--isolate",
            "--no-masquerade",
            "--label",
        ],
    ),
    (
        "macvlan",
        &[
            "--parent",
            "--mode",
            "--subnet",
            "--gateway",
            "--ip-range",
            "--mtu",
            "--host-access",
            "--label",
        ],
    ),
    ("create", &["--driver", "--subnet", "--parent"]),
    (
        "attach",
        &[
            "--ip",
            "--gateway",
            "--mac",
            "--ifname",
            "--host-ifname",
            "--mtu",
            "--route",
            "--publish",
            "--name",
            "--wait",
        ],
    ),
    ("detach", &["--ifname"]),
    ("run", &["--network", "--publish", "--name", "container:TARGET"]),
    ("wait", &["--for", "--timeout", "carrier"]),
    ("publish", &["HOSTIP"]),
    ("unpublish", &["--all"]),
    ("port", &["PROTO"]),
    ("ls", &["--filter"]),
    ("ps", &["NETWORK"]),
    ("inspect", &["--commands"]),
    ("trace", &["FROM", "TO[:PORT[/PROTO]]", "--live", "--wait", "--timeout"]),
    ("rm", &["NETWORK"]),
    ("prune", &["--dry-run"]),
    ("export", &["script"]),
    ("repair", &["--check"]),
    ("reset", &["--dry-run"]),
    ("lab", &["CMD", "--hosts"]),
    ("completions", &["SHELL"]),
    ("man", &["--dir"]),
];

/// A host with `lab0`, to which `web` is attached.
fn wired() -> Lab {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord("attach lab0 web").ok();
    lab
}

fn json(run: Run) -> serde_json::Value {
    serde_json::from_str(&run.ok()).unwrap()
}

#[test]
fn every_verb_has_help_that_mentions_its_flags() {
    let lab = Lab::new();
    for (verb, flags) in VERBS {
        let help = lab.netcord(&format!("{verb} --help")).ok();
        for flag in flags.iter().chain(&["Usage: netcord", "--format", "--explain"]) {
            assert!(help.contains(flag), "`netcord {verb} --help` lacks {flag}:\n{help}");
        }
    }
    lab.netcord("--version").ok();
    lab.netcord("").exits(2);
    lab.netcord("nosuch").fails(2, &["nosuch"]);
}

#[test]
fn stdout_carries_data_only() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    for (command, wanted) in [
        ("bridge lab0 --subnet 10.7.0.0/24", "lab0"),
        ("attach lab0 web", "10.7.0.2"),
        ("attach lab0 web", "10.7.0.2"),
        ("publish web 8080:80", "0.0.0.0:8080 -> 10.7.0.2:80/tcp"),
        ("port web", "80/tcp -> 0.0.0.0:8080"),
        ("port web 80", "0.0.0.0:8080"),
        ("none empty", "/run/netns/empty"),
        ("container web", "/run/netns/web"),
        ("ls -q", "lab0"),
        ("ps -q", "web"),
        ("-q bridge lab0", ""),
        ("bridge -q lab0", ""),
    ] {
        assert_eq!(lab.netcord(command).ok(), wanted, "{command}");
    }
    lab.netcord("port web 81").fails(3, &["81/tcp"]);
}

#[test]
fn json_of_a_changing_verb_is_one_object_that_says_whether_it_changed() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    for command in [
        "bridge lab0",
        "attach lab0 web",
        "publish web 8080:80",
        "unpublish web 8080:80",
        "detach lab0 web",
        "none empty",
    ] {
        for changed in [true, false] {
            let object = json(lab.netcord(&format!("--format json {command}")));
            assert_eq!(object["schema_version"], 1, "{command}");
            assert_eq!(object["changed"], changed, "{command}: {object}");
        }
    }
    assert_eq!(json(lab.netcord("rm lab0 --format json"))["changed"], true);
}

#[test]
fn listings_are_tables_without_borders_json_or_lines_of_json() {
    let lab = Lab::new();
    for name in ["net10", "net2", "net1"] {
        lab.netcord(&format!("create -d bridge {name}")).ok();
    }
    assert_eq!(lab.netcord("ls -q").ok(), "net1\nnet2\nnet10");
    assert_eq!(lab.netcord("list -q --filter name=net2").ok(), "net2");
    let table = lab.netcord("ls").ok();
    let header: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["NETWORK", "MODE", "SUBNET", "GATEWAY", "ENDPOINTS"]);
    assert!(!table.contains(['|', '+', '\u{2500}', '\u{1b}']), "{table}");
    let ps = lab.netcord("ps").ok();
    let header: Vec<_> = ps.split_whitespace().collect();
    assert_eq!(header, ["TARGET", "NETWORK", "LINK", "ADDRESS", "PORTS", "STATE"]);
    let ps = lab.netcord("ps --wide").ok();
    let header: Vec<_> = ps.split_whitespace().collect();
    assert_eq!(
        header,
        ["TARGET", "NETWORK", "LINK", "ADDRESS", "MAC", "HOST-LINK", "PORTS", "STATE"]
    );
    assert_eq!(json(lab.netcord("ls --format json")).as_array().unwrap().len(), 3);
    let lines = lab.netcord("ls --format jsonl").ok();
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["schema_version"], 1);
    }
    lab.netcord("remove net1 net2 net10").ok();
}

#[test]
fn inspect_is_an_array_and_shows_the_good_ones() {
    let lab = wired();
    assert_eq!(json(lab.netcord("inspect")).as_array().unwrap().len(), 1);
    let run = lab.netcord("inspect lab0 nosuch web").fails(3, &["nosuch"]);
    let shown: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    assert!(lab.netcord("inspect web --commands").ok().starts_with("#!/bin/sh"));
}

#[test]
fn errors_have_a_reason_and_a_hint() {
    let lab = wired();
    let run = lab.netcord("attach lba0 web").fails(3, &["error: no network `lba0`"]);
    assert!(run.stderr.ends_with("\n\nhint: did you mean `lab0`?\n"), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    let painted = lab.netcord("--color always attach lba0 web").exits(3);
    assert!(painted.stderr.starts_with('\u{1b}'), "{}", painted.stderr);
    lab.netcord("rm lab0").fails(4, &["web", "netcord detach lab0 web"]);
    lab.netcord("bridge lab0 --subnet 10.8.0.0/24").fails(4, &["10.7.0.0/24", "10.8.0.0/24"]);
}

#[test]
fn what_is_explained_goes_to_stderr() {
    let lab = wired();
    let run = lab.netcord("--explain attach lab0 db").exits(0);
    assert_eq!(run.stdout, "10.7.0.3\n");
    assert!(run.stderr.contains("# ") && run.stderr.contains("ip link add"), "{}", run.stderr);
    let run = lab.netcord("disconnect lab0 db -v").exits(0);
    assert!(run.stdout.is_empty() && run.stderr.contains("+ ip link"), "{}", run.stderr);
    assert_eq!(lab.netcord("connect lab0 db").ok(), "10.7.0.3");
}

#[test]
fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
    let lab = wired();
    lab.sh(&format!("{NETCORD} ls >/dev/full")).fails(1, &["No space left"]);
    let mut command = lab.command(NETCORD);
    let mut child =
        command.arg("man").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let run = Run::new("netcord man, unread".into(), &child.wait_with_output().unwrap()).exits(0);
    assert_eq!(run.stderr, "");
}

#[test]
fn a_dry_run_is_a_script_changes_nothing_and_needs_no_privilege() {
    let lab = wired();
    let before = lab.snapshot();
    for command in ["bridge lab1", "attach lab0 db", "publish web 8080:80", "detach lab0 web"] {
        let script = lab.netcord(&format!("--dry-run {command}")).ok();
        assert!(script.starts_with("#!/bin/sh\nset -eu\n"), "{script}");
        assert!(script.contains("\n# "), "{script}");
    }
    before.assert_same(&lab.snapshot(), "after dry runs");
    Lab::new()
        .sh(&format!("setpriv --bounding-set=-all --inh-caps=-all {NETCORD} --dry-run bridge lab0"))
        .ok();
}

#[test]
fn without_privileges_the_error_names_them() {
    let lab = Lab::new();
    let before = lab.snapshot();
    lab.sh(&format!("setpriv --bounding-set=-all --inh-caps=-all {NETCORD} bridge lab0"))
        .fails(5, &["CAP_NET_ADMIN"]);
    lab.netns(&["web"]);
    lab.sh(&format!("unshare --user {NETCORD} container web"))
        .fails(5, &["cannot enter /run/netns/web", "CAP_SYS_ADMIN"]);
    lab.sh("ip netns del web").ok();
    before.assert_same(&lab.snapshot(), "after the refusal");
}

#[test]
fn a_missing_iptables_is_named_and_nothing_changes() {
    let lab = Lab::new();
    let before = lab.snapshot();
    lab.sh("for dir in /usr/sbin /usr/local/sbin; do
            [ ! -d $dir ] || mount -t tmpfs none $dir; done")
        .ok();
    lab.netcord("--firewall iptables bridge lab0").fails(6, &["iptables", "--firewall nftables"]);
    lab.sh("umount /usr/local/sbin || true; umount /usr/sbin").ok();
    before.assert_same(&lab.snapshot(), "without iptables");
}

#[test]
fn a_command_has_its_own_exit_code_or_dockers() {
    let lab = wired();
    for (words, code) in [
        (&["container", "web", "--", "sh", "-c", "exit 7"][..], 7),
        (&["host", "--", "sh", "-c", "exit 8"], 8),
        (&["none", "empty", "--", "sh", "-c", "exit 9"], 9),
        (&["container", "web", "--", "/nosuch"], 127),
        (&["container", "web", "--", "/etc/passwd"], 126),
        (&["container", "nosuch", "--", "true"], 125),
        (&["lab", "--", "sh", "-c", "exit 7"], 7),
        (&["lab", "--", "/nosuch"], 127),
        (&["lab", "--", "sh", "-c", "kill -TERM $$"], 143),
    ] {
        lab.netcord_args(words).exits(code);
    }
}

#[test]
fn a_refused_lab_names_the_switch() {
    let lab = Lab::new();
    lab.sh("echo 0 >/proc/sys/user/max_user_namespaces").ok();
    lab.netcord("lab -- true").fails(5, &["user.max_user_namespaces is 0", "hint: "]);
}

/// What bash runs after Tab, at this word of a command line.
pub(crate) fn completion(index: usize, words: &str) -> String {
    format!(
        "_CLAP_IFS=' ' _CLAP_COMPLETE_INDEX={index} _CLAP_COMPLETE_COMP_TYPE=9 \
         _CLAP_COMPLETE_SPACE=true COMPLETE=bash {NETCORD} -- netcord {words}"
    )
}

#[test]
fn a_shell_completes_networks_and_targets() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]).netcord("bridge lab0").ok();
    let complete = |index, words| lab.sh(&completion(index, words)).ok();
    assert_eq!(complete(2, "attach l"), "lab0");
    let targets = complete(3, "attach lab0 ''");
    assert!(targets.contains("web") && targets.contains("db"), "{targets}");
}

#[test]
fn a_mistyped_verb_is_answered_with_verbs_for_people() {
    let lab = Lab::new();
    let run = lab.netcord("atach lab0 web").fails(2, &["no verb `atach`", "`netcord attach`"]);
    assert!(!run.stderr.contains("watchdog"), "{}", run.stderr);
}

#[test]
fn a_word_that_is_no_verb_never_leads_to_a_loss() {
    let lab = Lab::new();
    for (word, verb) in [("delete", "rm"), ("add", "attach"), ("up", "bridge"), ("show", "ls")] {
        lab.netcord(&format!("{word} lab0")).fails(2, &[&format!("`netcord {verb}"), "hint: "]);
    }
    for (word, verb) in [("rest", "reset"), ("detatch", "detach"), ("unpublsh", "unpublish")] {
        lab.netcord(word).fails(2, &[&format!("did you mean `netcord {verb}`?")]);
    }
    for word in [
        "delete",
        "up",
        "add",
        "start",
        "test",
        "set",
        "pub",
        "run2",
        "rename",
        "move",
        "pr",
        "r",
        "describe",
        "deattach2",
        "republish",
        "pause",
        "m",
        "rs",
        "network",
        "set-up",
        "unplug2",
    ] {
        let run = lab.netcord(word).fails(2, &[word, "hint: "]);
        for verb in ["reset", "prune", "detach", "unpublish"] {
            let offers = format!("did you mean `netcord {verb}`");
            assert!(!run.stderr.contains(&offers), "{word}: {}", run.stderr);
        }
    }
}

#[test]
fn reset_on_a_terminal_wants_a_word_more() {
    let lab = wired();
    lab.netcord("none third").ok();
    let before = lab.snapshot();
    let typed = |words: &str| {
        lab.sh(&format!("TERM=xterm SHELL=/bin/sh script -qec '{NETCORD} {words}' /dev/null"))
    };
    let run = typed("--color never reset").exits(2);
    for part in
        ["endpoint lab0/web", "network lab0", "name third", "error: ", "`netcord reset --yes`"]
    {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    before.assert_same(&lab.snapshot(), "after a refusal");
    assert!(typed("--dry-run reset").ok().contains("#!/bin/sh"));
    assert!(typed("reset --yes").ok().contains("network lab0"));
    // Nothing is left to ask about.
    typed("reset").ok();
    lab.netcord("bridge lab0").ok();
    assert_eq!(lab.netcord("reset").ok(), "network lab0", "a script is not asked");
}

#[test]
fn what_is_a_network_and_a_namespace_is_removed_by_its_whole_name() {
    let lab = Lab::new();
    for (make, namespace) in [("netcord none both", 0), ("ip netns add both", 4)] {
        let make = make.replace("netcord", NETCORD);
        lab.sh(&make).ok();
        lab.netcord("bridge both").ok();
        lab.netcord("rm both").fails(4, &["`both`", "network:both", "netns:both"]);
        lab.netcord("--dry-run rm both").fails(4, &["network:both, netns:both"]);
        lab.netcord("rm netns:both").exits(namespace);
        assert_eq!(lab.netcord("ls -q").ok(), "both");
        assert_eq!(lab.netcord("rm network:both").ok(), "both");
        assert_eq!(lab.netcord("ls -q").ok(), "");
        lab.sh("ip netns del both 2>/dev/null || true").ok();
    }
    // Where there is one only, its name is enough.
    lab.netcord("bridge one").ok();
    lab.netcord("none two").ok();
    assert_eq!(lab.netcord("rm one two").ok(), "one\ntwo");
    lab.netcord("bridge three").ok();
    lab.netcord("none four").ok();
    lab.netcord("rm netns:foru").fails(3, &["foru", "did you mean `four`?"]);
    lab.netcord("rm network:there").fails(3, &["there", "did you mean `three`?"]);
}

#[test]
fn words_of_the_grammar_are_no_names() {
    let lab = Lab::new();
    lab.neighbour("outside");
    let before = lab.snapshot();
    for words in [
        "bridge host",
        "bridge none",
        "create none",
        "create -d macvlan host --parent eth0",
        "macvlan none --parent eth0",
        "underlay host --parent eth0",
        "none host",
        "attach lab0 outside --name host",
        "run --name host -- true",
        "bridge container:web",
    ] {
        let run = lab.netcord(words).exits(2);
        assert!(run.stderr.starts_with("error: "), "{words}: {}", run.stderr);
    }
    before.assert_same(&lab.snapshot(), "after refusing");
    assert_eq!(lab.netcord("doctor host").stdout, lab.netcord("doctor").stdout);
}

#[test]
fn nobody_is_asked_whether_what_he_typed_is_what_he_meant() {
    let lab = wired();
    lab.sh("ln -s /run/nothing /run/netns/gone").ok();
    for words in [
        "attach lab0 gone",
        "inspect gone",
        "doctor gone",
        "detach lab0 netns:gone",
        "attach gone web",
    ] {
        let run = lab.netcord(words).fails(3, &["`gone`"]);
        assert!(!run.stderr.contains("did you mean `gone`"), "{words}: {}", run.stderr);
    }
}

#[test]
fn unpublish_takes_what_is_meant_or_says_what_there_is() {
    let lab = wired();
    let ports = || lab.rules_of_ports().len();
    let publish = |port: &str| lab.netcord(&format!("publish web {port}")).ok();
    // The host's port alone, and the target's alone, of each protocol and form.
    for (published, typed) in [
        ("8080:80", "8080"),
        ("8080:80", "80"),
        ("8080:80/udp", "8080/udp"),
        ("127.0.0.1:8080:80", "8080"),
        ("8080-8082:80-82", "8080-8082"),
        ("8080-8082:80-82", "80-82"),
        ("8080:8080", "8080"),
    ] {
        publish(published);
        assert!(ports() > 0);
        let gone = json(lab.netcord(&format!("--format json unpublish web {typed}")));
        assert_eq!(gone["changed"], true, "{published}: {typed}");
        assert_eq!(gone["ports"].as_array().unwrap().len(), 1, "{gone}");
        assert_eq!(ports(), 0, "{published}: {typed}");
    }
    // What stays open is named, and nothing is taken.
    for (published, typed) in [
        ("8080:80", "8080:81"),
        ("127.0.0.1:8080:80", "8080:80"),
        ("8080:80", "127.0.0.1:8080:80"),
        ("8080-8082:80-82", "8081"),
        ("8080-8082:80-82", "81"),
        ("8080-8082:80-82", "8081:81"),
    ] {
        publish(published);
        let there = ports();
        lab.netcord(&format!("unpublish web {typed}"))
            .fails(4, &[&format!("`netcord unpublish web {published}`")]);
        assert_eq!(ports(), there, "{published}: {typed}");
        lab.netcord(&format!("unpublish web {published}")).ok();
        assert_eq!(ports(), 0);
    }
    publish("8080:80 80:8080");
    lab.netcord("unpublish web 8080").fails(4, &["8080:80", "80:8080", "two ways"]);
    lab.netcord("unpublish web 9 8080").fails(4, &["two ways"]);
    lab.netcord("unpublish web 8080:80 80:8080").ok();
    // Of another protocol it is another port: taking one away twice is success.
    publish("53:53 53:53/udp");
    lab.netcord("unpublish web 53").ok();
    let again = lab.netcord("unpublish web 53").exits(0);
    assert!(again.stderr.contains("not published, 53:53/udp is"), "{}", again.stderr);
    lab.netcord("unpublish web --all").ok();
    publish("8080:80");
    lab.netcord("port web 8080").fails(3, &["8080/tcp", "`8080:80`"]);
}
