//! netavark's own tests, which its crate has, against netcord in its place.

use crate::support::netavark::run;

#[test]
fn a_part_of_its_own_tests_passes() {
    run(&["001-basic", "620-bridge-mode"]).check();
}

#[test]
#[expect(clippy::print_stdout, reason = "its count is what the command is for")]
#[ignore = "takes minutes: `./x test --netavark` runs it"]
fn its_own_tests_pass_but_for_those_of_its_inside() {
    let results = run(&[
        "001-basic",
        "250-bridge-nftables",
        "300-macvlan",
        "610-bridge-vethname",
        "620-bridge-mode",
        "640-bridge-mtu",
        "700-create",
    ]);
    results.check();
    println!("{} passed, {} did not", results.passed.len(), results.failed.len());
}
