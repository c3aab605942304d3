//! Veth pairs that no verb makes yet: their peers are born on the host, from where another program
//! moves them.

use std::env;

use netcord::{
    kernel::{Kernel, Outcome},
    plan::{Change, Resource, Veth},
};

use crate::support::Lab;

/// Set where the links that are made are a lab's.
const IN_A_LAB: &str = "NETCORD_TEST_VETH";

#[test]
fn the_peer_may_be_born_on_the_host() {
    let lab = Lab::new();
    let own = env::current_exe().unwrap();
    let mut command = lab.command(own.to_str().unwrap());
    command.args(["veth::on_this_host", "--exact", "--ignored", "--nocapture"]);
    let output = command.env(IN_A_LAB, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{failed}");
}

#[test]
#[ignore = "no test: what the one above runs in a lab"]
fn on_this_host() {
    if env::var_os(IN_A_LAB).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(make_and_delete()).unwrap();
}

async fn make_and_delete() -> anyhow::Result<()> {
    let mut kernel = Kernel::open()?;
    let (name, mac) = ("lab0".parse()?, "02:00:00:00:00:01".parse()?);
    kernel.apply(&Change::Create(Resource::Bridge { name, mac, mtu: 1500 })).await?;
    let veth = Change::Create(Resource::Veth(Veth {
        host: "nc1".parse()?,
        host_mac: "02:00:00:00:00:02".parse()?,
        bridge: "lab0".parse()?,
        netns: None,
        peer: "nc1p".parse()?,
        mac: "02:00:00:00:00:03".parse()?,
        mtu: 1400,
        up: true,
    }));
    let Outcome::Done(inverse) = kernel.apply(&veth).await? else { panic!("it is new") };
    assert_eq!(kernel.apply(&veth).await?, Outcome::Unchanged);
    assert!(kernel.holds(&veth).await && !kernel.holds(&inverse).await);
    let (host, peer) = (kernel.link("nc1").await?.unwrap(), kernel.link("nc1p").await?.unwrap());
    assert!(peer.is_peer_of(&host), "{peer:?}");
    assert_eq!((host.mtu, peer.mtu, peer.mac), (1400, 1400, Some("02:00:00:00:00:03".parse()?)));
    assert_eq!(kernel.apply(&inverse).await?, Outcome::Final);
    assert_eq!(kernel.link("nc1p").await?, None);
    assert_eq!(kernel.apply(&inverse).await?, Outcome::Unchanged);
    Ok(())
}
