//! `netcord watch` as a service, on a host without engines; `engines::restart` has them.

use std::path::Path;

use crate::support::{Lab, NETCORD, units};

#[test]
fn systemd_can_start_and_end_it() {
    units::verify("netcord-watch.service", Path::new(NETCORD));
    let lab = Lab::new();
    lab.netcord("--dry-run watch").fails(2, &["does not support --dry-run"]);
    let command = format!("{NETCORD} watch & echo $! >/run/pid; wait $!; echo $? >/run/code");
    drop(units::start(&lab, &format!("sh -c '{command}'")));
    // A container's end is a link's end, too: it looks, and there is nothing to do.
    lab.sh("ip link add name va type veth peer name vb; ip link del va").ok();
    lab.sh("kill $(cat /run/pid)").ok();
    lab.until("[ -e /run/code ]");
    assert_eq!(lab.sh("cat /run/code").ok(), "0");
}
