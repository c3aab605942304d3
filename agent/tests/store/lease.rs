use std::collections::BTreeSet;

use etcd_client::{PutOptions, Txn, TxnOp};
use futures::future::join_all;
use netcord::error::Kind;
use netcord_agent::store::{Claim, Held, Notice, Rival};
use tokio::time::timeout;

use super::support::{
    Etcd, PATIENCE, PLAIN, block_on, claim, connect, dump, network, put_for_a_second, refused,
    until, value,
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("lease::twenty_hosts_at_once_get_twenty_subnets", twenty_hosts_at_once),
    ("lease::hosts_at_once_get_different_subnets_of_both_families", both_families_at_once),
    ("lease::its_key_is_flannels_and_it_is_taken_again", its_key_is_flannels),
    ("lease::it_goes_with_the_host_that_leaves", it_goes_with_the_host),
    ("lease::it_is_renewed", it_is_renewed),
    ("lease::a_lost_one_is_taken_again", a_lost_one_is_taken_again),
    ("lease::one_that_another_host_took_is_lost", one_that_another_host_took),
    ("lease::a_reservation_stays_one", a_reservation_stays_one),
    ("lease::two_hosts_with_one_address", two_hosts_with_one_address),
    ("lease::what_no_longer_fits_is_given_back", what_no_longer_fits),
];

async fn notice(held: &mut Held) -> Notice {
    timeout(PATIENCE, held.next()).await.expect("something happens")
}

fn twenty_hosts_at_once() {
    block_on(async {
        let text =
            r#"{"Network":"10.5.0.0/16","SubnetMax":"10.5.20.0","Backend":{"Type":"host-gw"}}"#;
        let store = network("/twenty", text).await;
        let join = async |host| {
            let store = connect(&Etcd::shared().access("/twenty")).await;
            store.acquire(claim(host)).await.unwrap()
        };
        let held = join_all((1..=20).map(join)).await;
        let subnets: BTreeSet<_> = held.iter().map(Held::subnets).collect();
        assert_eq!(subnets.len(), 20);
        let mut client = Etcd::shared().client().await;
        let keys = dump(&mut client, "/twenty/subnets/").await;
        assert_eq!(keys.len(), 20);
        for (held, host) in held.iter().zip(1..) {
            let own = keys.iter().find(|(name, ..)| *name == held.subnets().to_string()).unwrap();
            assert_eq!(own.1, value(host));
            assert!(own.2 != 0 && !held.is_reserved());
        }
        let (kind, message) = refused(store.acquire(claim(21)).await.map(drop));
        assert_eq!(kind, Kind::Conflict);
        let start = "10.5.0.0/16 has no free subnet /24: all 20 are used, longest by 10.0.0.";
        assert!(message.starts_with(start), "{message}");
        assert_eq!(dump(&mut client, "/twenty/").await.len(), 41, "leases, nodes, config");
    });
}

fn both_families_at_once() {
    block_on(async {
        let text = r#"{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48",
            "IPv6SubnetMax":"fd00:0:0:8::","Backend":{"Type":"host-gw"}}"#;
        let store = network("/both", text).await;
        let held = join_all((1..=8).map(|host| store.acquire(claim(host)))).await;
        let held: Vec<_> = held.into_iter().map(|held| held.unwrap().subnets()).collect();
        let ipv6: BTreeSet<_> = held.iter().map(|subnets| subnets.ipv6.unwrap()).collect();
        assert_eq!(ipv6.len(), 8);
        let ipv4: BTreeSet<_> = held.iter().map(|subnets| subnets.ipv4).collect();
        assert_eq!(ipv4.len(), 8);
        let mut client = Etcd::shared().client().await;
        assert_eq!(dump(&mut client, "/both/subnets/").await.len(), 8);
    });
}

fn its_key_is_flannels() {
    block_on(async {
        let store = network("/again", PLAIN).await;
        let former = "10.5.34.0-24".parse().unwrap();
        let asked = Claim { former: Some(former), ..claim(2) };
        let held = store.acquire(asked.clone()).await.unwrap();
        assert_eq!(held.subnets(), former);
        let mut client = Etcd::shared().client().await;
        let flannels = r#"{"PublicIP":"10.0.0.2","PublicIPv6":null,"BackendType":"host-gw"}"#;
        let keys = dump(&mut client, "/again/subnets/").await;
        assert_eq!(keys[0].0, "10.5.34.0-24");
        assert_eq!(keys[0].1, flannels);
        let nodes = dump(&mut client, "/again/x-netcord/nodes/").await;
        assert_eq!((&*nodes[0].0, &*nodes[0].1), ("10.0.0.2", r#"{"id":"id-2","name":"host2"}"#));
        assert_eq!(nodes[0].2, keys[0].2, "they end together");
        // As when the host crashes: nothing is revoked.
        drop(held);
        let held = store.acquire(claim(2)).await.unwrap();
        assert_eq!(held.subnets(), former);
        assert_eq!(dump(&mut client, "/again/subnets/").await.len(), 1);
        drop(held);
        // Another host that once had them.
        let other = store.acquire(Claim { former: Some(former), ..claim(3) }).await.unwrap();
        assert_ne!(other.subnets(), former);
    });
}

fn it_goes_with_the_host() {
    block_on(async {
        let store = network("/leave", PLAIN).await;
        let held = store.acquire(claim(1)).await.unwrap();
        let remaining = held.remaining().as_secs_f64();
        assert!((30.0..=60.0).contains(&remaining), "{remaining}");
        held.leave().await.unwrap();
        let mut client = Etcd::shared().client().await;
        let left = dump(&mut client, "/leave/").await;
        assert_eq!(left.len(), 1, "only the configuration: {left:?}");
    });
}

fn it_is_renewed() {
    block_on(async {
        let store = network("/renew", PLAIN).await;
        let held = store.acquire(Claim { ttl: 1, ..claim(1) }).await.unwrap();
        let key = format!("/renew/subnets/{}", held.subnets());
        let mut client = Etcd::shared().client().await;
        let before = client.get(key.as_str(), None).await.unwrap();
        // One that nobody renews, three times.
        for _ in 0..3 {
            put_for_a_second(&mut client, "/renew/other").await;
            until(&mut client, "/renew/other", false).await;
        }
        let after = client.get(key.as_str(), None).await.unwrap();
        assert_eq!(after.kvs()[0].mod_revision(), before.kvs()[0].mod_revision(), "nobody notices");
        // A host that has gone does not renew it.
        drop(held);
        until(&mut client, &key, false).await;
    });
}

fn a_lost_one_is_taken_again() {
    block_on(async {
        let store = network("/lost", PLAIN).await;
        let mut held = store.acquire(claim(1)).await.unwrap();
        let key = format!("/lost/subnets/{}", held.subnets());
        let mut client = Etcd::shared().client().await;
        client.delete(key.as_str(), None).await.unwrap();
        assert_eq!(notice(&mut held).await, Notice::Retaken);
        let lease = client.get(key.as_str(), None).await.unwrap().kvs()[0].lease();
        assert_ne!(lease, 0);
        // The lease with all its keys.
        client.lease_revoke(lease).await.unwrap();
        assert_eq!(notice(&mut held).await, Notice::Retaken);
        let keys = dump(&mut client, "/lost/").await;
        assert_eq!(keys.len(), 3, "config, lease and node: {keys:?}");
        assert_eq!(keys[1].1, value(1));
        assert!(keys[1].2 != 0 && keys[1].2 != lease);
        held.leave().await.unwrap();
        assert_eq!(dump(&mut client, "/lost/").await.len(), 1);
    });
}

fn one_that_another_host_took() {
    block_on(async {
        let store = network("/taken", PLAIN).await;
        let mut held = store.acquire(claim(1)).await.unwrap();
        let key = format!("/taken/subnets/{}", held.subnets());
        let mut client = Etcd::shared().client().await;
        // As flanneld does, without a look.
        client.put(key.as_str(), value(9), None).await.unwrap();
        let other = Rival { host: Some([10, 0, 0, 9].into()), name: None };
        assert_eq!(notice(&mut held).await, Notice::Lost { to: other });
        assert_eq!(dump(&mut client, "/taken/subnets/").await[0].1, value(9));

        // A reservation of somebody else around it, while its own key is gone.
        let mut held =
            store.acquire(Claim { former: "10.5.34.0-24".parse().ok(), ..claim(2) }).await.unwrap();
        let swap = [
            TxnOp::delete("/taken/subnets/10.5.34.0-24", None),
            TxnOp::put("/taken/subnets/10.5.32.0-20", value(8), None),
        ];
        client.txn(Txn::new().and_then(swap)).await.unwrap();
        let other = Rival { host: Some([10, 0, 0, 8].into()), name: None };
        assert_eq!(notice(&mut held).await, Notice::Lost { to: other });
        let names = dump(&mut client, "/taken/subnets/").await;
        assert!(!names.iter().any(|(name, ..)| name == "10.5.34.0-24"), "{names:?}");
        until(&mut client, "/taken/x-netcord/nodes/10.0.0.2", false).await;
    });
}

fn a_reservation_stays_one() {
    block_on(async {
        let store = network("/reserved", PLAIN).await;
        let mut client = Etcd::shared().client().await;
        client.put("/reserved/subnets/10.5.7.0-24", value(1), None).await.unwrap();
        let held = store.acquire(claim(1)).await.unwrap();
        assert_eq!(held.subnets(), "10.5.7.0-24".parse().unwrap());
        assert!(held.is_reserved());
        let lease = |keys: &[(String, String, i64)]| keys[0].2;
        assert_eq!(lease(&dump(&mut client, "/reserved/subnets/").await), 0);
        held.leave().await.unwrap();
        assert_eq!(lease(&dump(&mut client, "/reserved/subnets/").await), 0, "it is still there");
        assert_eq!(dump(&mut client, "/reserved/x-netcord/").await, []);

        // A lease that becomes a reservation, and one again.
        let mut held = store.acquire(claim(2)).await.unwrap();
        let key = format!("/reserved/subnets/{}", held.subnets());
        client.put(key.as_str(), value(2), None).await.unwrap();
        let is_reserved = async {
            while !held.is_reserved() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, is_reserved).await.unwrap();
        client.delete(key.as_str(), None).await.unwrap();
        assert_eq!(notice(&mut held).await, Notice::Retaken);
        assert!(!held.is_reserved());
    });
}

fn two_hosts_with_one_address() {
    block_on(async {
        let store = network("/twins", PLAIN).await;
        let mut twin = claim(1);
        twin.node.id = "another".into();
        twin.node.name = "twin".into();
        let offers = futures::join!(store.acquire(claim(1)), store.acquire(twin.clone()));
        let (held, error, winner, loser) = match offers {
            (Ok(held), Err(error)) => (held, error, "host1", twin),
            (Err(error), Ok(held)) => (held, error, "twin", claim(1)),
            _ => panic!("one of them is refused"),
        };
        let (kind, message) = refused::<()>(Err(error));
        assert_eq!(kind, Kind::Conflict);
        let expected =
            format!("address 10.0.0.1 is used by another host of the network: `{winner}`");
        assert_eq!(message, expected);
        let mut client = Etcd::shared().client().await;
        assert_eq!(dump(&mut client, "/twins/subnets/").await.len(), 1);
        held.leave().await.unwrap();
        store.acquire(loser).await.unwrap();
    });
}

fn what_no_longer_fits() {
    block_on(async {
        let store = network("/unfit", PLAIN).await;
        let mut client = Etcd::shared().client().await;
        let lease = client.lease_grant(60, None).await.unwrap().id();
        let ends = || Some(PutOptions::new().with_lease(lease));
        client.put("/unfit/subnets/10.9.1.0-24", value(1), ends()).await.unwrap();
        client.put("/unfit/subnets/10.9.2.0-24", value(2), ends()).await.unwrap();
        client.put("/unfit/subnets/10.9.3.0-24", value(1), None).await.unwrap();
        let held = store.acquire(claim(1)).await.unwrap();
        let names: Vec<_> =
            dump(&mut client, "/unfit/subnets/").await.into_iter().map(|(name, ..)| name).collect();
        let own = held.subnets().to_string();
        assert!(own.starts_with("10.5."), "{own}");
        assert_eq!(names, [&*own, "10.9.2.0-24", "10.9.3.0-24"], "others and reservations stay");
    });
}
