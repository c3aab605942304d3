use std::{pin::pin, time::Duration};

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use futures::future::poll_immediate;
use netcord::error::Kind;
use netcord_agent::store::{Claim, Event, Notice, Rival, Store};

use super::support::{
    Etcd, PLAIN, Wire, access, block_on, claim, config, connect, event, picture, put_for_a_second,
    refused, until, value,
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("outage::killed_and_frozen_nothing_is_lost", killed_and_frozen),
    ("outage::a_compaction_in_the_meantime_is_a_new_picture", a_compaction_in_the_meantime),
    ("outage::changes_of_the_meantime_arrive", changes_of_the_meantime),
    ("outage::another_endpoint_goes_on", another_endpoint_goes_on),
    ("outage::a_cluster_loses_its_leader_and_its_majority", a_cluster_loses_its_leader),
];

/// The time for an endpoint that cannot answer.
const SOON: Duration = Duration::from_secs(1);

fn is_away(event: &Event) -> bool {
    matches!(event, Event::Away(_))
}

fn is_back(event: &Event) -> bool {
    *event == Event::Back
}

fn is_peer(event: &Event) -> bool {
    matches!(event, Event::Peer(_))
}

fn killed_and_frozen() {
    let mut etcd = Etcd::new("http", &[]);
    block_on(async move {
        let store = connect(&etcd.access("/n")).await;
        store.create_config(&config(PLAIN)).await.unwrap();
        let mut client = etcd.client().await;
        client.put("/n/subnets/10.5.7.0-24", value(7), None).await.unwrap();
        let mut held = store.acquire(Claim { ttl: 2, ..claim(1) }).await.unwrap();
        let own = format!("/n/subnets/{}", held.subnets());
        let mut follow = store.follow();
        assert_eq!(picture(&mut follow).await.len(), 2);

        etcd.kill();
        event(&mut follow, is_away).await;
        etcd.start_again();
        event(&mut follow, is_back).await;
        let mut client = etcd.client().await;
        until(&mut client, &own, true).await;

        // The pings of the connection take longer than the lease lasts.
        etcd.signal("STOP");
        event(&mut follow, is_away).await;
        etcd.signal("CONT");
        event(&mut follow, is_back).await;
        let mut client = etcd.client().await;
        put_for_a_second(&mut client, "/other").await;
        until(&mut client, "/other", false).await;
        until(&mut client, &own, true).await;
        let own = client.get(own.as_str(), None).await.unwrap();
        assert_eq!(own.kvs()[0].value_str().unwrap(), value(1));
        assert!(own.kvs()[0].lease() != 0);
        assert!(held.remaining() > Duration::ZERO);
        let other = client.get("/n/subnets/10.5.7.0-24", None).await.unwrap();
        assert_eq!(other.kvs()[0].version(), 1, "nobody has written it since");
        // What the host was told at most is that it has its subnets again.
        let lost = poll_immediate(pin!(held.next())).await;
        assert!(lost.is_none_or(|notice| notice == Notice::Retaken));
    });
}

fn a_compaction_in_the_meantime() {
    // Others wait for changes that a compaction would make a new picture.
    let etcd = Etcd::new("http", &[]);
    block_on(async {
        let wire = Wire::new(&etcd).await;
        let mut client = etcd.client().await;
        for host in [1, 2] {
            let key = format!("/compact/subnets/10.5.{host}.0-24");
            client.put(key, value(host), None).await.unwrap();
        }
        let store = connect(&access(&[&wire.endpoint()], "/compact")).await;
        let mut follow = store.follow();
        assert_eq!(picture(&mut follow).await, ["10.5.1.0-24=10.0.0.1", "10.5.2.0-24=10.0.0.2"]);

        wire.cut().await;
        event(&mut follow, is_away).await;
        client.delete("/compact/subnets/10.5.1.0-24", None).await.unwrap();
        let put = client.put("/compact/subnets/10.5.3.0-24", value(3), None).await.unwrap();
        client.compact(put.header().unwrap().revision(), None).await.unwrap();
        wire.mend().await;
        event(&mut follow, is_back).await;
        assert_eq!(picture(&mut follow).await, ["10.5.2.0-24=10.0.0.2", "10.5.3.0-24=10.0.0.3"]);
        client.put("/compact/subnets/10.5.4.0-24", value(4), None).await.unwrap();
        event(&mut follow, is_peer).await;
    });
}

fn changes_of_the_meantime() {
    block_on(async {
        let etcd = Etcd::shared();
        let wire = Wire::new(etcd).await;
        let mut client = etcd.client().await;
        let store = connect(&access(&[&wire.endpoint()], "/meantime")).await;
        store.create_config(&config(PLAIN)).await.unwrap();
        let held = store.acquire(claim(1)).await.unwrap();
        let own = format!("/meantime/subnets/{}", held.subnets());
        client.put("/meantime/subnets/10.5.7.0-24", value(7), None).await.unwrap();
        let mut follow = store.follow();
        picture(&mut follow).await;

        wire.cut().await;
        event(&mut follow, is_away).await;
        // Another host takes this one's subnets as soon as its lease has ended.
        let lease = client.get(own.as_str(), None).await.unwrap().kvs()[0].lease();
        client.lease_revoke(lease).await.unwrap();
        let take = Txn::new()
            .when([Compare::create_revision(own.as_str(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(own.as_str(), value(9), None)]);
        assert!(client.txn(take).await.unwrap().succeeded());
        client.delete("/meantime/subnets/10.5.7.0-24", None).await.unwrap();
        wire.mend().await;
        assert_eq!(follow.next().await, Event::Back);
        let Event::Gone(gone) = follow.next().await else { panic!("its own lease has gone") };
        assert_eq!(gone.lease, claim(1).lease);
        let Event::Peer(peer) = follow.next().await else { panic!("the other host comes") };
        assert_eq!((peer.subnets, peer.lease), (held.subnets(), claim(9).lease));
        let Event::Gone(gone) = follow.next().await else { panic!("the peer goes") };
        assert_eq!(gone.lease, claim(7).lease);
        let mut held = held;
        let lost = tokio::time::timeout(super::support::PATIENCE, held.next()).await.unwrap();
        let to = Rival { host: Some([10, 0, 0, 9].into()), name: None };
        assert_eq!(lost, Notice::Lost { to });
        let other = client.get(own.as_str(), None).await.unwrap();
        assert_eq!(other.kvs()[0].value_str().unwrap(), value(9));
    });
}

fn a_cluster_loses_its_leader() {
    let mut etcds = Etcd::cluster();
    block_on(async move {
        let endpoints = etcds.each_ref().map(|etcd| etcd.endpoint.clone());
        let access = access(&endpoints.each_ref().map(String::as_str), "/n");
        let store = connect(&access).await;
        store.create_config(&config(PLAIN)).await.unwrap();
        let mut held = store.acquire(claim(1)).await.unwrap();
        let mut follow = store.follow();
        assert_eq!(picture(&mut follow).await.len(), 1);

        let mut leader = None;
        for (i, etcd) in etcds.iter().enumerate() {
            let status = etcd.client().await.status().await.unwrap();
            if status.leader() == status.header().unwrap().member_id() {
                leader = Some(i);
            }
        }
        etcds.swap(0, leader.expect("there is a leader"));
        let [leader, second, third] = &mut etcds;
        leader.kill();
        let other = connect(&access).await;
        let second_host = other.acquire(claim(2)).await.unwrap();
        event(&mut follow, is_peer).await;

        // One of three is no majority.
        second.signal("STOP");
        event(&mut follow, is_away).await;
        let lonely = Store::connect(&super::support::access(&[&third.endpoint], "/n"), SOON).await;
        assert_eq!(refused(lonely.map(drop)).0, Kind::Timeout);
        second.signal("CONT");
        event(&mut follow, is_back).await;
        assert!(poll_immediate(pin!(held.next())).await.is_none(), "nothing was lost");
        second_host.leave().await.unwrap();
        event(&mut follow, |event| matches!(event, Event::Gone(_))).await;
        held.leave().await.unwrap();
    });
}

fn another_endpoint_goes_on() {
    block_on(async {
        let etcd = Etcd::shared();
        let wire = Wire::new(etcd).await;
        let dead = "http://127.0.0.1:1";
        let store = connect(&access(&[dead, &wire.endpoint()], "/several")).await;
        let mut follow = store.follow();
        picture(&mut follow).await;
        let mut client = etcd.client().await;
        client.put("/several/subnets/10.5.1.0-24", value(1), None).await.unwrap();
        event(&mut follow, is_peer).await;

        let second = Wire::new(etcd).await;
        let store = connect(&access(&[&wire.endpoint(), &second.endpoint()], "/several")).await;
        let mut follow = store.follow();
        assert_eq!(picture(&mut follow).await, ["10.5.1.0-24=10.0.0.1"]);
        // It uses one of the two: cut both, one after the other.
        for (wire, host) in [(&wire, 2), (&second, 3)] {
            wire.cut().await;
            client.put("/several/subnets/10.5.2.0-24", value(host), None).await.unwrap();
            event(&mut follow, is_peer).await;
            wire.mend().await;
        }
    });
}
