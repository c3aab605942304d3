//! A state directory without space: nothing is added, and all can be taken away.

use crate::support::{FIREWALLS, Lab};

/// How a directory gets full: what it is mounted with, and what fills it.
const KINDS: [(&str, &str); 2] = [
    ("size=256k", "head -c 1M /dev/zero >/run/netcord/full 2>/dev/null || true"),
    (
        "nr_inodes=40",
        "touch /run/netcord/full$(seq -s ' /run/netcord/full' 60) 2>/dev/null || true",
    ),
];

/// A host whose records are in a directory that can get full.
fn host(firewall: &'static str, options: &str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    let mount =
        format!("mkdir /run/netcord; mount -t tmpfs -o mode=700,{options} tmpfs /run/netcord");
    lab.sh(&mount).ok();
    lab
}

#[test]
fn removal_needs_no_space() {
    for (firewall, (options, fill)) in
        FIREWALLS.into_iter().zip(KINDS).chain(FIREWALLS.into_iter().rev().zip(KINDS))
    {
        let lab = host(firewall, options);
        lab.netns(&["web", "db", "app"]);
        let before = lab.snapshot();
        lab.netcord("bridge lab0 --subnet 10.7.0.0/24 --subnet fd00:7::/64").ok();
        lab.netcord("bridge lab1 --subnet 10.8.0.0/24").ok();
        lab.netcord("none made").ok();
        lab.netcord("attach lab0 web -p 8080:80 -p 8081:81").ok();
        lab.netcord("attach lab0 db app made").ok();
        // It takes the default route from lab0's, whose endpoint inherits it back.
        lab.netcord("attach lab1 web --gateway 10.8.0.1").ok();
        let pid = lab.null_mode_process();
        lab.netcord(&format!("attach lab0 {pid} -p 8082:80")).ok();
        lab.sh(fill).ok();

        let whole = lab.snapshot();
        for growing in
            ["attach lab1 db", "publish db 9000-9100:9000-9100", "bridge lab2", "none other"]
        {
            // A file may have room left on its last page.
            let run = lab.netcord(growing);
            if run.code == 0 {
                let back = match growing.split(' ').next() {
                    Some("attach") => "detach lab1 db",
                    Some("publish") => "unpublish db --all",
                    Some("bridge") => "rm lab2",
                    _ => "rm other",
                };
                lab.netcord(back).ok();
                lab.sh(fill).ok();
            } else {
                run.fails(1, &["No space left", "hint: free some space"]);
            }
            whole.assert_same(&lab.snapshot(), &format!("{options}: {growing}"));
        }

        for removal in ["unpublish web 8081:81", "detach lab0 web", "detach lab0 db app made"] {
            lab.netcord(removal).ok();
            lab.sh(fill).ok();
        }
        lab.sh(&format!("kill -9 {pid}")).ok();
        lab.until("! ip -br link show type veth | grep -q 'DOWN\\|LOWERLAYERDOWN'");
        lab.until("[ $(ip -br link show type veth | wc -l) = 1 ]");
        assert!(lab.netcord("prune").ok().contains("endpoint lab0/"), "the dead are buried");
        lab.sh(fill).ok();
        for removal in ["rm lab0", "rm made"] {
            lab.netcord(removal).ok();
            lab.sh(fill).ok();
        }
        assert!(lab.netcord("reset").ok().contains("network lab1"));
        before.assert_same(&lab.snapshot(), &format!("{options}: all removed"));
        let left = "ls /run/netcord/*/ | grep -v '^lock$' || true";
        assert_eq!(lab.sh(left).ok(), "", "no space is kept for nothing");
    }
}

#[test]
fn a_read_only_directory_changes_nothing() {
    let lab = host("nftables", "size=256k");
    lab.netns(&["web", "db"]).netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    let whole = lab.snapshot();
    lab.sh("mount -o remount,ro /run/netcord").ok();
    for words in
        ["detach lab0 web", "unpublish web --all", "attach lab0 db", "rm lab0", "prune", "reset"]
    {
        lab.netcord(words).fails(1, &["Read-only file system", "hint: "]);
        whole.assert_same(&lab.snapshot(), words);
    }
    lab.netcord("ps").ok();
    lab.sh("mount -o remount,rw /run/netcord").ok();
    lab.netcord("detach lab0 web").ok();
}

#[test]
fn without_space_in_reserve_half_done_says_so() {
    let lab = host("nftables", "size=64k");
    lab.netns(&["web"]).netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    lab.sh("rm /run/netcord/*/reserve; head -c 1M /dev/zero >/run/netcord/full || true").ok();
    lab.netcord("detach lab0 web").fails(8, &["No space left", "do it again"]);
    lab.netcord("bridge lab1").fails(1, &["No space left"]);
    lab.sh("rm /run/netcord/full").ok();
    lab.netcord("detach lab0 web").ok();
    assert_eq!(lab.netcord("ps").ok().lines().count(), 1);
    lab.netcord("rm lab0").ok();
}
