//! docker's words work, and a wrong word is answered with the right one.

use crate::support::{Lab, NETCORD, Run};

/// A host with `lab0`, to which `web` is attached.
fn wired() -> Lab {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord("attach lab0 web").ok();
    lab
}

#[test]
fn dockers_spelling_does_the_same() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    for (words, wanted) in [
        ("network create lab0 --subnet 10.7.0.0/24 --attachable --scope local", "lab0"),
        ("network create -d bridge lab0", "lab0"),
        ("network connect lab0 web", "10.7.0.2"),
        ("network connect --ip 10.7.0.9 lab0 db", "10.7.0.9"),
        ("network ls -q", "lab0"),
        ("network list -q --no-trunc -a", "lab0"),
        ("network ls -q -f driver=bridge", "lab0"),
        ("network ls -q --filter driver=macvlan", ""),
        ("ps -aq", "db\nweb"),
        ("exec web cat --nosuchflag -q", ""),
        ("network disconnect -f lab0 web", ""),
        ("network disconnect lab0 web db", ""),
        ("network rm -f lab0", "lab0"),
        ("network rm --force lab0", ""),
    ] {
        let run = lab.netcord(words);
        if words.starts_with("exec") {
            // The command's own flags are the command's.
            assert!(run.code != 0 && run.stderr.contains("cat: "), "{words}: {}", run.stderr);
        } else {
            assert_eq!(run.ok(), wanted, "{words}");
        }
    }
    for name in ["lab1", "lab2"] {
        lab.netcord(&format!("network create {name}")).ok();
    }
    lab.netcord("network connect lab2 web").ok();
    let shown = lab.netcord("network inspect lab2").ok();
    assert_eq!(shown, lab.netcord("inspect lab2").ok());
    assert_eq!(lab.netcord("network prune -f").ok(), "lab1", "what has no endpoints");
    assert_eq!(lab.netcord("network prune --force").ok(), "");
    lab.netcord("prune -f").ok();
    for words in ["exec web -- ip -br link show eth0", "exec -it web ip -br link show eth0"] {
        assert!(lab.netcord(words).ok().starts_with("eth0"), "{words}");
    }
    assert_eq!(lab.netcord("exec web sh").exits(0).stdout, "");
    lab.netcord("exec nosuch true").fails(125, &["no target `nosuch`"]);
    lab.netcord("exec web nosuchprogram").exits(127);
    assert!(lab.netcord("run --rm -it --net lab2 -- ip -br a").ok().contains("eth0"));
    assert_eq!(lab.netcord("version").ok(), lab.netcord("--version").ok());
    assert_eq!(lab.netcord("help").ok(), lab.netcord("--help").ok());
    for verb in ["attach", "connect", "network", "network ls", "help"] {
        assert_eq!(
            lab.netcord(&format!("help {verb}")).ok(),
            lab.netcord(&format!("{verb} --help")).ok()
        );
    }
    lab.netcord("help atach").fails(2, &["`netcord attach`"]);
}

#[test]
fn options_of_dockers_drivers_are_flags() {
    let lab = Lab::new();
    lab.neighbour("outside");
    let options = [
        "com.docker.network.driver.mtu=1400",
        "com.docker.network.bridge.enable_icc=false",
        "com.docker.network.bridge.enable_ip_masquerade=0",
        "com.docker.network.bridge.name=lab0",
        "com.docker.network.bridge.host_binding_ipv4=0.0.0.0",
    ];
    lab.netcord(&format!("network create lab0 -o {}", options.join(" --opt "))).ok();
    let object = lab.netcord("bridge lab0 --mtu 1400 --isolate --no-masquerade --format json").ok();
    assert!(object.contains("\"changed\":false"), "{object}");
    lab.netcord("create lab1 -o mtu=1300 -o com.docker.network.bridge.enable_icc=true").ok();
    let object = lab.netcord("bridge lab1 --mtu 1300 --format json").ok();
    assert!(object.contains("\"changed\":false"), "{object}");
    lab.netcord("create -d macvlan lan0 -o parent=eth0 -o macvlan_mode=private").ok();
    lab.netcord("rm lan0 lab0 lab1").ok();
    let before = lab.snapshot();
    for (option, part) in [
        ("com.docker.network.bridge.name=br9", "netcord create br9"),
        ("com.docker.network.bridge.host_binding_ipv4=127.0.0.1", "TARGET 127.0.0.1:8080:80"),
        ("com.docker.network.bridge.gateway_mode_ipv4=routed", "--no-masquerade"),
        ("com.docker.network.driver.mtu=9", "68 to 65535"),
        ("com.docker.network.bridge.enable_icc=maybe", "true or false"),
        ("com.docker.network.bridge.nosuch=1", "netcord create --help"),
        ("nosuch=1", "netcord create --help"),
    ] {
        lab.netcord(&format!("create lab9 -o {option}")).fails(2, &[option, part]);
    }
    before.assert_same(&lab.snapshot(), "after options that have no equal");
}

/// Command lines with a mistake, and what the answer has to say.
const MISTAKES: &[(&str, i32, &str)] = &[
    ("connect web lab0", 3, "the network comes first: `netcord attach lab0 web`"),
    ("publish 8080:80 web", 2, "the target comes first: `netcord publish web 8080:80`"),
    ("publish 8080 web", 2, "the target comes first: `netcord publish web 8080`"),
    ("unpublish 80/udp web", 2, "the target comes first: `netcord unpublish web 80/udp`"),
    ("port 80 web", 2, "the target comes first: `netcord port web 80`"),
    ("publish web -p 8080:80", 2, "`netcord publish web 8080:80`"),
    ("publish web --publish=8080:80", 2, "`netcord publish web 8080:80`"),
    ("publish -p 8080:80 web", 2, "`-p`"),
    ("rm web", 3, "`netcord detach lab0 web`"),
    ("attach lab0 db --net foo", 2, "`netcord attach lab0 db`"),
    ("attach db --network lab0", 2, "`netcord attach lab0 db`"),
    ("run lab0 -- true", 2, "`netcord run --network lab0 -- true`"),
    ("run true", 2, "`netcord run -- true`"),
    ("run --network lab0 true now", 2, "`netcord run --network lab0 -- true now`"),
    ("none third true", 2, "`netcord none third -- true`"),
    ("run -d -- true", 2, "`netcord none NAME -- CMD &`"),
    ("attach lab0 db --alias x", 2, "use the address"),
    ("confirm lab0", 3, "only `netcord underlay`"),
    ("attach lab0", 2, "`netcord attach <NETWORK> <TARGET>...`"),
    ("attach lab0 db --gatway none", 2, "did you mean `--gateway`?"),
    ("macvlan x --parent eth0 --mode brige", 2, "did you mean `bridge`?"),
    ("macvlan x --parent eth0 --mode x", 2, "bridge, private, vepa, passthru"),
    ("unpublish web 80 --all", 2, "exclude each other"),
    ("bridge lab1 --mtu", 2, "needs a value"),
    ("bridge lab1 --mtu 1 --mtu 2", 2, "--mtu"),
    ("ls lab0", 2, "`netcord ls --help`"),
    ("network", 2, "ls, create, rm, inspect, connect, disconnect, prune"),
    ("network creat", 2, "`netcord network create`"),
    ("network nosuch", 2, "`netcord network --help`"),
    ("network create", 2, "<NETWORK>"),
    ("--no-such-flag ls", 2, "--no-such-flag"),
];

#[test]
fn a_mistake_is_answered_in_words_with_a_hint() {
    let lab = wired();
    let before = lab.snapshot();
    let mut wrong = Vec::new();
    for (words, code, part) in MISTAKES {
        let run = lab.netcord(words);
        let (what, hint) = run.stderr.split_once("\n\nhint: ").unwrap_or_default();
        let shape = what.starts_with("error: ") && !what.contains('\n') && run.stdout.is_empty();
        let said = what.contains(part) || hint.contains(part);
        if run.code != *code || !shape || !said || hint.trim_end().contains('\n') {
            wrong.push(format!("{words}: {} (wanted {code}, {part})\n{}", run.code, run.stderr));
        }
    }
    before.assert_same(&lab.snapshot(), "after mistakes");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The error as an object.
#[track_caller]
fn object(run: &Run) -> serde_json::Value {
    let lines: Vec<_> = run.stderr.lines().collect();
    let [line] = lines[..] else { panic!("{run:?}") };
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {run:?}"))
}

#[test]
fn an_error_is_one_object_where_json_is_asked_for() {
    let lab = wired();
    for (words, exit, kind) in [
        ("--format json attach lba0 web", 3, "not_found"),
        ("attach lba0 web --format=jsonl", 3, "not_found"),
        ("-j rm lab0", 4, "conflict"),
        ("rm lab0 --json", 4, "conflict"),
        ("-j publish 8080:80 web", 2, "usage"),
        ("atach --json", 2, "usage"),
        ("graph --format json nosuch", 3, "not_found"),
        ("inspect -j nosuch", 3, "not_found"),
        ("wait -j db --timeout 0 --format json", 7, "timeout"),
        ("-j container web -- nosuchprogram", 127, "command_not_found"),
    ] {
        let run = lab.netcord(words).exits(exit);
        let object = object(&run);
        assert_eq!(object["kind"], kind, "{words}: {object}");
        assert_eq!(object["exit"], exit, "{words}: {object}");
        assert_eq!(object["schema_version"], 1, "{words}: {object}");
        assert!(object["message"].as_str().is_some_and(|m| !m.is_empty()), "{words}: {object}");
        assert!(object["hint"].is_string() || object["hint"].is_null(), "{words}: {object}");
    }
    let object = object(&lab.netcord("-j attach lba0 web"));
    assert_eq!(object["message"], "no network `lba0`");
    assert_eq!(object["hint"], "did you mean `lab0`?");
    // What follows `--` is the command's.
    let run = lab.netcord("container nosuch -- true -j --json").exits(125);
    assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    for words in ["ls -j", "ps --json", "graph -j", "doctor --json", "trace web 10.7.0.1 -j"] {
        let text = lab.netcord(words).stdout;
        serde_json::from_str::<serde_json::Value>(&text)
            .unwrap_or_else(|e| panic!("{words}: {e}: {text}"));
    }
}

#[test]
fn results_go_through_a_template() {
    let lab = wired();
    lab.netcord("bridge lab1 --subnet 10.8.0.0/24 --label tier=front --internal").ok();
    lab.netcord("publish web 8080:80").ok();
    for (words, wanted) in [
        (&["ls", "--format", "{{.Name}}"][..], "lab0\nlab1"),
        (
            &["network", "ls", "--format", "{{.ID}} {{.Driver}} {{.Scope}}"],
            "lab0 bridge local\nlab1 bridge local",
        ),
        (
            &["ls", "--format={{.Network}}: {{.Subnet}} {{.Internal}} {{.Labels}}"],
            "lab0: 10.7.0.0/24 false \nlab1: 10.8.0.0/24 true tier=front",
        ),
        (&["ls", "--format", "{{json .Name}}"], "\"lab0\"\n\"lab1\""),
        (
            &["ls", "--filter", "label=tier", "--format", "{{range .subnets}}{{.gateway}}{{end}}"],
            "10.8.0.1",
        ),
        (
            &["ls", "--format", "table {{.Name}}\\t{{.Mode}}"],
            "NAME   MODE\nlab0   bridge\nlab1   bridge",
        ),
        (
            &["ps", "--format", "{{.Names}} {{.Address}} {{.Ports}} {{.State}}"],
            "web 10.7.0.2/24 0.0.0.0:8080->80/tcp up",
        ),
        (&["ps", "--format", "{{.MAC}} {{index .addresses 0}}"], "02:42:0a:07:00:02 10.7.0.2/24"),
        (
            &["inspect", "lab0", "--format", "{{.Name}} {{(index .IPAM.Config 0).Subnet}}"],
            "lab0 10.7.0.0/24",
        ),
        (
            &["inspect", "-f", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", "lab0", "lab1"],
            "10.7.0.1\n10.8.0.1",
        ),
        (
            &[
                "inspect",
                "lab0",
                "--format",
                "{{range $name, $c := .Containers}}{{$name}} {{$c.IPv4Address}}{{end}}",
            ],
            "web 10.7.0.2/24",
        ),
        (
            &["inspect", "web", "--format", "{{range .endpoints}}{{.ifname}}{{end}} {{.kind}}"],
            "eth0 target",
        ),
        (&["inspect", "web", "-f", "{{.NetworkSettings.Networks.lab0.IPAddress}}"], "10.7.0.2"),
        (&["attach", "lab0", "web", "--format", "{{.changed}} {{len .endpoints}}"], "false 1"),
    ] {
        assert_eq!(lab.netcord_args(words).ok(), wanted, "{words:?}");
    }
    let before = lab.snapshot();
    for (words, part) in [
        (&["ls", "--format", "{{.Nmae}}"][..], ".Name"),
        (&["attach", "lab0", "db", "--format", "{{.Name"], "no template"),
        (&["ps", "--format", "{{nosuch}}"], "no template"),
        (&["ls", "--format", "nosuch"], "table, json, jsonl"),
    ] {
        lab.netcord_args(words).fails(2, &[part]);
    }
    before.assert_same(&lab.snapshot(), "after wrong templates");
    let docker = lab.netcord("network inspect lab1 --format docker").ok();
    let docker: serde_json::Value = serde_json::from_str(&docker).unwrap();
    assert_eq!(docker[0]["Driver"], "bridge");
    assert_eq!(docker[0]["Internal"], true);
    assert_eq!(docker[0]["Labels"]["tier"], "front");
    assert_eq!(docker[0]["IPAM"]["Config"][0]["Subnet"], "10.8.0.0/24");
    assert!(docker[0]["schema_version"].is_null() && docker[0]["name"].is_null(), "{docker}");
    let docker = lab.netcord("inspect web --format docker").ok();
    let docker: serde_json::Value = serde_json::from_str(&docker).unwrap();
    assert_eq!(docker[0]["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"], "8080");
}

#[test]
fn endpoints_are_filtered() {
    let lab = wired();
    lab.netcord("bridge lab1 --subnet 10.8.0.0/24").ok();
    lab.netcord("attach lab1 web db").ok();
    lab.netcord("publish web 8080:80").ok();
    for (filters, wanted) in [
        ("-f network=lab0", "web"),
        ("--filter target=db", "db"),
        ("-f name=db -f name=web", "db\nweb\nweb"),
        ("-f name=web -f network=lab1", "web"),
        ("-f state=up", "db\nweb\nweb"),
        ("-f status=down", ""),
        ("-f ip=10.8.0.3", "db"),
        ("-f publish=8080", "web"),
        ("-f publish=8080/udp", ""),
        ("lab0 -f name=db", ""),
    ] {
        assert_eq!(lab.netcord(&format!("ps -q {filters}")).ok(), wanted, "{filters}");
    }
    lab.netcord("ps --filter colour=red").fails(2, &["colour", "state"]);
    lab.netcord("ps --filter state").fails(2, &["KEY=VALUE"]);
}

#[test]
fn what_netcord_did_not_attach_is_shown_too() {
    let lab = wired();
    lab.sh("ip link add out0 type veth peer name eth7 netns db
            ip -n db addr add 10.9.0.2/24 dev eth7
            ip -n db link set eth7 up && ip link set out0 up
            ip -n db route add default via 10.9.0.1")
        .ok();
    let shown: serde_json::Value = serde_json::from_str(&lab.netcord("inspect db").ok()).unwrap();
    assert_eq!((&shown[0]["kind"], &shown[0]["netns"]), (&"target".into(), &"db".into()));
    assert_eq!(shown[0]["endpoints"], serde_json::json!([]));
    let link = &shown[0]["links"][0];
    assert_eq!((&link["name"], &link["kind"]), (&"eth7".into(), &"veth".into()), "{shown}");
    assert_eq!(link["addresses"], serde_json::json!(["10.9.0.2/24"]));
    assert_eq!(link["gateways"], serde_json::json!(["10.9.0.1"]));
    let shown: serde_json::Value = serde_json::from_str(&lab.netcord("inspect web").ok()).unwrap();
    assert_eq!(shown[0]["links"][0]["name"], "eth0");
    assert_eq!(lab.netcord("inspect db --commands").ok(), "#!/bin/sh\nset -eu");
}

#[test]
fn a_command_that_cannot_be_run_leaves_no_name() {
    let lab = Lab::new();
    let before = lab.snapshot();
    lab.netcord("none web -- nosuchprogram").fails(127, &["nosuchprogram"]);
    lab.netcord("none web -- /etc/passwd").exits(126);
    lab.netcord("run --name web -- nosuchprogram").exits(127);
    before.assert_same(&lab.snapshot(), "after programs that do not exist");
    lab.netcord("none web").ok();
    lab.netcord("none web -- nosuchprogram").exits(127);
    lab.netcord("exec web true").ok();
}

#[test]
fn without_privileges_it_says_what_it_did_not_look_at() {
    let lab = wired();
    let unprivileged = |words: &str| {
        lab.sh(&format!("setpriv --bounding-set=-all --inh-caps=-all {NETCORD} {words}"))
    };
    let run = unprivileged("doctor");
    assert!([1, 5].contains(&run.code), "{run:?}");
    assert!(run.stderr.contains("not looked at: ") && run.stderr.contains("as root"), "{run:?}");
    let empty = Lab::new();
    let run = empty
        .sh(&format!("setpriv --bounding-set=-all --inh-caps=-all {NETCORD} doctor --json"))
        .exits(5);
    assert!(!run.stdout.contains("\"unchecked\":[]"), "{run:?}");
    assert_eq!(empty.netcord("doctor").ok(), "");
    for words in ["trace web 10.7.0.1", "trace host 10.7.0.2", "wait web --timeout 0"] {
        let run = unprivileged(words).fails(5, &["CAP_", "hint: "]);
        assert!(!run.stderr.starts_with("error: Operation not permitted"), "{words}: {run:?}");
    }
}

#[test]
fn tables_and_sentences_fit_the_terminal() {
    let lab = wired();
    lab.netcord("bridge lab1 --ipv6").ok();
    lab.netcord("attach lab1 web -p 8080:80 -p 5353:53/udp").ok();
    lab.sh("ip -n web link set eth0 mtu 1400").ok();
    for (columns, words) in [
        (80, "ps"),
        (80, "ls"),
        (80, "doctor"),
        (60, "doctor"),
        (80, "graph"),
        (120, "graph"),
        (80, "trace web 10.7.0.1:80"),
        (120, "trace web 10.7.0.1:80"),
    ] {
        let shown = lab
            .sh(&format!(
                "script -qec 'stty cols {columns}; {NETCORD} --color never {words}' /dev/null"
            ))
            .stdout;
        for line in shown.lines().map(|line| line.trim_end_matches('\r')) {
            // Commands stay whole, to be copied.
            let fits = line.chars().count() <= columns || line.trim_start().starts_with("$ ");
            assert!(fits, "{words} in {columns} columns: {line}");
        }
        assert!(shown.lines().count() > 1, "{words}: {shown}");
    }
}
