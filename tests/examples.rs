//! The examples do what they say, and every command of the documents is one.

use std::path::Path;

use clap::Parser;

use crate::support::{Lab, NETCORD};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The scripts of a directory, but those that need docker.
fn scripts(directory: &str) -> Vec<String> {
    let scripts = std::fs::read_dir(format!("{ROOT}/{directory}")).unwrap();
    let scripts = scripts.map(|entry| entry.unwrap().path());
    let scripts = scripts.filter(|path| path.extension().is_some_and(|e| e == "sh"));
    let names = scripts.map(|path| path.display().to_string());
    let mut names: Vec<_> = names.filter(|name| !name.ends_with("docker-none.sh")).collect();
    names.sort();
    assert!(names.len() > 8, "{names:?}");
    names
}

/// Runs lessons one after the other in one lab, in which a student has begun something.
#[track_caller]
fn run_in_one_lab(lessons: &[String]) {
    let bin = NETCORD.rsplit_once('/').unwrap().0;
    let script = format!(
        "netcord bridge lab0 --subnet 10.7.0.0/24 >/run/made; netcord none red >>/run/made
         netcord attach lab0 red >>/run/made; mkdir /run/site
         state() {{ ip address; ip route; ip netns list; netcord ps; find /run; iptables-save -t nat | grep -v '^#'; }}
         touch /run/before /run/after; state >/run/before
         for lesson in {}; do
             sh $lesson >/run/said 2>&1 || {{ cat /run/said; echo failed: $lesson; exit 1; }}
         done; rm /run/said
         state >/run/after; diff /run/before /run/after",
        lessons.join(" ")
    );
    let lab = Lab::new();
    std::fs::write(lab.path("/run/all"), script).unwrap();
    lab.sh(&format!("PATH={bin}:$PATH netcord lab -- sh -euc \"$(cat /run/all)\"")).ok();
}

#[test]
fn the_lessons_follow_each_other_in_one_lab() {
    run_in_one_lab(&scripts("examples"));
}

#[test]
fn the_lessons_that_break_something_follow_each_other_in_one_lab() {
    run_in_one_lab(&scripts("examples/break-it"));
}

#[test]
fn a_paused_lesson_waits_until_somebody_has_guessed() {
    let lab = Lab::new();
    let bin = NETCORD.rsplit_once('/').unwrap().0;
    let tmux = "tmux -L pause -f /dev/null";
    let shown = |text: &str| lab.until(&format!("{tmux} capture-pane -p -S - | grep -q '{text}'"));
    let start = format!(
        "PATH={bin}:$PATH sh {ROOT}/examples/break-it/link-down.sh --pause; echo done; exec sleep infinity"
    );
    lab.sh(&format!("SHELL=/bin/sh {tmux} new-session -d -x 80 -y 24 '{start}'")).ok();
    shown("Guess, then press Enter");
    let screen = lab.sh(&format!("{tmux} capture-pane -p -S -")).ok();
    assert!(!screen.contains("link-down]"), "doctor has answered already:\n{screen}");
    lab.sh(&format!("{tmux} send-keys Enter")).ok();
    shown("link-down]");
    shown("^done");
    lab.sh(&format!("{tmux} kill-server")).ok();
}

#[test]
fn a_rust_program_wires_a_namespace() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.echo("web", "0.0.0.0:80");
    let program = Path::new(NETCORD).with_file_name("examples").join("library");
    // Again is success.
    for _ in 0..2 {
        let address = lab.sh(&program.display().to_string()).ok();
        assert!(lab.netcord("ps").ok().contains(&address), "{address}");
    }
    assert_eq!(lab.netcord("port web").ok(), "80/tcp -> 0.0.0.0:8080");
    lab.netcord("doctor").ok();
}

#[test]
fn every_command_of_the_documents_is_one() {
    let documents = std::fs::read_dir(format!("{ROOT}/docs")).unwrap();
    let documents = documents.map(|entry| entry.unwrap().path());
    let mut count = 0;
    for document in documents.chain([format!("{ROOT}/README.md").into()]) {
        if document.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&document).unwrap();
        for line in text.split("```").skip(1).step_by(2).flat_map(str::lines) {
            let Some(words) = command(line) else { continue };
            count += 1;
            if let Err(error) = netcord::cli::Cli::try_parse_from(words) {
                panic!("{}: `{line}`: {error}", document.display());
            }
        }
    }
    assert!(count > 40, "the documents show {count} commands");
}

#[test]
fn documents_name_the_packages_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for document in ["README.md", "docs/administrators.md"] {
        let text = std::fs::read_to_string(format!("{ROOT}/{document}")).unwrap();
        let packages: Vec<_> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
            .filter(|word| [".deb", ".rpm", ".tar.gz"].iter().any(|end| word.ends_with(end)))
            .filter(|word| word.starts_with("netcord"))
            .collect();
        assert!(packages.len() >= 3, "{document}: {packages:?}");
        for package in packages {
            let (_, rest) = package.split_once(['_', '-']).unwrap();
            assert!(rest.starts_with(&format!("{version}-")), "{document}: {package}");
        }
    }
}

/// What stands in for docker in a host that has none.
const DOCKER: &str = r#"#!/bin/sh
case $1 in
run)
    option= name=
    for word; do [ "$option" != --name ] || name=$word; option=$word; done
    ip netns add $name; ip -n $name link set lo up; ip netns exec $name busybox httpd -p 80 -h /run
    case " $* " in *' --network=none '*) exit ;; esac
    ip link add v$name type veth peer name eth0 netns $name; ip link set v$name master docker0 up
    ip -n $name addr add 172.17.0.2/16 dev eth0; ip -n $name link set eth0 up
    ip -n $name route add default via 172.17.0.1 ;;
*) echo 'container cannot be connected to multiple networks with one of them in private mode' >&2; exit 1 ;;
esac
"#;

/// A host for the blocks of the README: that of the tour, docker's bridge, a DHCP server outside,
/// and what a block finds there that does not make it itself.
fn readme_host(block: &str) -> Lab {
    let lab = Lab::new();
    lab.sh(&format!(
        "cd /run; . {ROOT}/docs/tour/host.sh; mkdir bin
         ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
         echo '<h1>It works</h1>' >index.html
         cat >bin/docker <<'END'
{DOCKER}
END
         chmod +x bin/docker
         printf 'start 192.168.1.200\\nend 192.168.1.210\\ninterface eth0\\nlease_file /run/leases\\n' >udhcpd.conf
         printf 'pidfile /run/udhcpd.pid\\noption subnet 255.255.255.0\\noption lease 600\\n' >>udhcpd.conf
         >leases"
    ))
    .ok();
    drop(lab.start("exec ip netns exec outside busybox udhcpd -f -a 1 /run/udhcpd.conf"));
    lab.until("ip netns exec outside ss -Hlnu sport = :67 | grep -q .");
    for name in ["web", "db"] {
        let is_made =
            ["netcord none ", "--name "].iter().any(|w| block.contains(&format!("{w}{name}")));
        if !is_made && block.contains(name) {
            lab.netns(&[name]);
        }
    }
    if block.contains(" lab0") && !block.contains("bridge lab0") {
        lab.netcord("bridge lab0").ok();
    }
    lab
}

/// A block as it is pasted; what it says is refused is, and what follows `netcord lab` is typed in
/// the lab's shell.
fn pasted(block: &str) -> String {
    let lines = block
        .lines()
        .map(|line| if line.contains("# refused") { format!("! {line}") } else { line.to_owned() });
    let script = lines.collect::<Vec<_>>().join("\n");
    match script.strip_prefix("netcord lab ") {
        Some(rest) => {
            let (_, typed) = rest.split_once('\n').unwrap();
            format!("netcord lab -- sh -euc '{}'", typed.replace('\'', r"'\''"))
        }
        None => script,
    }
}

#[test]
fn every_block_of_the_readme_and_of_the_verbs_can_be_pasted() {
    let documents = [include_str!("../README.md"), include_str!("../docs/verbs.md")].concat();
    let bin = NETCORD.rsplit_once('/').unwrap().0;
    let mut played = 0;
    for block in documents.split("```").skip(1).step_by(2) {
        let (language, block) = block.split_once('\n').unwrap();
        // Sessions with their output are played by the tour.
        assert!(["sh", "console"].contains(&language), "no language: {block}");
        if language != "sh" {
            continue;
        }
        let is_projects = |line: &str| line.starts_with("./x ") || line.starts_with("cargo ");
        if block.lines().any(is_projects) {
            assert!(block.lines().all(is_projects), "{block}");
            assert!(!block.contains("cargo install") || block.contains("--locked"), "{block}");
            continue;
        }
        readme_host(block)
            .sh(&format!("export PATH={bin}:/run/bin:$PATH; cd /run\n{}", pasted(block)))
            .ok();
        played += 1;
    }
    assert!(played >= 5, "{played} blocks were pasted");
}

/// The words of a line that runs netcord, after a prompt or not, without what the shell does.
fn command(line: &str) -> Option<Vec<&str>> {
    let line = line.trim_start();
    let line = ["$ ", "# ", "lab /# ", "host2 /# ", "address=$("]
        .iter()
        .find_map(|prompt| line.strip_prefix(prompt))
        .unwrap_or(line);
    let ends = |word: &str| ["#", "&", "&&", "|"].contains(&word) || word.starts_with('>');
    let words = line.trim_end_matches(')').split_whitespace();
    let words: Vec<_> = words.take_while(|word| !ends(word)).collect();
    (words.first() == Some(&"netcord")).then_some(words)
}
