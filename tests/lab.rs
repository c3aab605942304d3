//! What a test host promises: it is another one, and netcord leaves it as it was.

use crate::support::{Lab, NETCORD};

#[test]
fn the_main_job_and_back() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    let before = lab.snapshot();
    lab.netcord("bridge lab0").ok();
    let attached = lab.snapshot();
    assert_ne!(before, attached);
    lab.netcord("attach lab0 web db").ok();
    lab.netcord("publish web 8080:80").ok();
    lab.serve("web", 80);
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    lab.netcord("detach lab0 web db").ok();
    attached.assert_same(&lab.snapshot(), "after detach");
    lab.netcord("rm lab0").ok();
    before.assert_same(&lab.snapshot(), "after rm");
}

#[test]
fn a_process_in_null_mode() {
    let lab = Lab::new();
    let before = lab.snapshot();
    let pid = lab.null_mode_process();
    lab.netcord("bridge lab0").ok();
    let address = lab.netcord(&format!("attach lab0 {pid}")).ok();
    lab.sh(&format!("ping -c1 -W2 {address}")).ok();
    lab.sh(&format!("kill {pid}")).ok();
    lab.until("! ip -br link | grep -q ^nc");
    lab.netcord("rm lab0").ok();
    before.assert_same(&lab.snapshot(), "after death and rm");
}

#[test]
fn hosts_of_a_lab_are_on_one_wire_and_gone_at_exit() {
    let lab = Lab::new();
    let before = lab.snapshot();
    let script = format!(
        "on() {{ host=$1; shift; {NETCORD} container $host -- \"$@\"; }}
         on host1 ping -c1 -W2 10.0.0.4 >&2; on host3 ping -c1 -W2 10.0.0.1 >&2
         on host2 {NETCORD} bridge lab0 --subnet 10.7.0.0/24; on host2 {NETCORD} none web >&2
         on host2 {NETCORD} attach lab0 web; on host2 ping -c1 -W2 10.7.0.2 >&2
         on host1 {NETCORD} ls -q; {NETCORD} ls -q"
    );
    let run = lab.netcord_args(&["lab", "--hosts", "3", "--", "sh", "-euc", &script]);
    assert_eq!(run.ok(), "lab0\n10.7.0.2\nwire", "host2 has networks of its own");
    before.assert_same(&lab.snapshot(), "after the lab");
    lab.netcord("lab --hosts 0 -- true").exits(2);
}

#[test]
fn the_prompt_of_a_lab_says_where_one_is_and_files_of_the_user_stay_outside() {
    for (shell, enter) in [("/bin/bash", "bash"), ("/bin/sh", "sh"), ("/usr/bin/zsh", "zsh")] {
        let lab = Lab::new();
        lab.sh("mkdir /run/user; echo 'PS1=outside' | tee /run/user/.bashrc > /run/user/.zshrc")
            .ok();
        let before = lab.sh("ls -lA --time-style=full-iso /run/user").ok();
        let tmux = "tmux -L lab -f /dev/null";
        let start = format!("env HOME=/run/user SHELL={shell} {NETCORD} lab --hosts 2");
        lab.sh(&format!("SHELL=/bin/sh {tmux} new-session -d -x 80 -y 24 '{start}'")).ok();
        let shown = |text: &str| lab.until(&format!("{tmux} capture-pane -p | grep -q '{text}'"));
        let type_in = |text: &str| lab.sh(&format!("{tmux} send-keys '{text}' Enter")).ok();
        shown("^lab .*#");
        type_in(&format!("{NETCORD} container host2 -- {enter}"));
        shown("^host2 .*#");
        type_in("echo $((6 * 7))$HOME");
        shown("^42/run/home");
        type_in("exit");
        type_in("clear");
        shown("^lab .*#");
        type_in("exit");
        lab.until(&format!("! {tmux} has-session 2>/dev/null"));
        assert_eq!(lab.sh("ls -lA --time-style=full-iso /run/user").ok(), before, "{shell}");
    }
}
