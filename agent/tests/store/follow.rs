use etcd_client::Client;
use netcord_agent::{
    flannel::Tunnel,
    store::{Event, Peer},
};

use super::support::{
    Etcd, PLAIN, block_on, claim, config, connect, event, network, picture, value,
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("follow::what_flanneld_wrote_is_a_peer", what_flanneld_wrote),
    ("follow::changes_arrive", changes_arrive),
    ("follow::what_cannot_be_read_is_skipped_by_its_name", what_cannot_be_read),
    ("follow::another_config_is_reported", another_config),
    ("follow::requests_do_not_grow_with_the_peers", requests_do_not_grow),
];

fn is_peer(event: &Event) -> bool {
    matches!(event, Event::Peer(_))
}

fn what_flanneld_wrote() {
    const CAPTURED: [(&str, &str); 4] = [
        (
            "10.5.34.0-24",
            r#"{"PublicIP":"172.31.7.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"82:65:fc:26:2c:f1"}}"#,
        ),
        ("10.5.35.0-24", r#"{"PublicIP":"172.31.7.3","PublicIPv6":null,"BackendType":"host-gw"}"#),
        ("10.5.36.0-24", r#"{"PublicIP":"172.31.7.1","PublicIPv6":null}"#),
        (
            "10.5.37.0-24&fd00:10:5:37::-64",
            r#"{"PublicIP":"172.31.7.4","PublicIPv6":"fd00::7","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"82:65:fc:26:2c:f1"},"BackendV6Data":{"VNI":1,"VtepMAC":"82:65:fc:26:2c:f2"}}"#,
        ),
    ];
    block_on(async {
        let store = network("/coreos.com/network", PLAIN).await;
        let mut client = Etcd::shared().client().await;
        for (key, value) in CAPTURED {
            client.put(format!("/coreos.com/network/subnets/{key}"), value, None).await.unwrap();
        }
        let mut follow = store.follow();
        assert_eq!(follow.next().await, Event::Config(Some(Ok(config(PLAIN)))));
        let Event::All(peers) = follow.next().await else { panic!("the peers come first") };
        let written = peers.iter().map(|peer| (peer.subnets.to_string(), peer.lease.to_json()));
        let captured = CAPTURED.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(written.collect::<Vec<_>>(), captured);
        let tunnels: Vec<_> = peers.iter().map(|peer| peer.lease.tunnel.name()).collect();
        assert_eq!(tunnels, [Some("vxlan"), Some("host-gw"), None, Some("vxlan")]);
    });
}

fn changes_arrive() {
    block_on(async {
        let store = network("/changes", PLAIN).await;
        let mut follow = store.follow();
        assert_eq!(picture(&mut follow).await, [""; 0]);
        let held = store.acquire(claim(1)).await.unwrap();
        let Event::Peer(own) = event(&mut follow, is_peer).await else { panic!("this host comes") };
        assert_eq!(
            (own.subnets, own.lease, own.is_reserved),
            (held.subnets(), claim(1).lease, false)
        );

        let mut client = Etcd::shared().client().await;
        let mac = |byte: &str| {
            format!(
                r#"{{"PublicIP":"10.0.0.7","BackendType":"vxlan","BackendData":{{"VtepMAC":"02:00:00:00:00:{byte}"}}}}"#
            )
        };
        for byte in ["01", "02"] {
            client.put("/changes/subnets/10.5.7.0-24", mac(byte), None).await.unwrap();
            let Event::Peer(Peer { lease, .. }) = event(&mut follow, is_peer).await else {
                panic!()
            };
            let Tunnel::Vxlan { mac, .. } = lease.tunnel else { panic!("{lease:?}") };
            assert_eq!(mac.octets()[5].to_string(), byte.trim_start_matches('0'));
        }
        client.delete("/changes/subnets/10.5.7.0-24", None).await.unwrap();
        let Event::Gone(gone) = follow.next().await else { panic!("the peer goes") };
        assert_eq!(gone.lease.host().to_string(), "10.0.0.7");
        held.leave().await.unwrap();
        let Event::Gone(gone) = follow.next().await else { panic!("this host goes") };
        assert_eq!(gone.lease, claim(1).lease);
    });
}

fn what_cannot_be_read() {
    block_on(async {
        let store = network("/torn", PLAIN).await;
        let mut client = Etcd::shared().client().await;
        let put = async |client: &mut Client, key: &str, value: &str| {
            client.put(format!("/torn/{key}"), value, None).await.unwrap();
        };
        put(&mut client, "subnets/10.5.1.0-24", &value(1)).await;
        put(&mut client, "subnets/10.5.2.0-24", "{}").await;
        let mut follow = store.follow();
        let skipped = |event: Event| match event {
            Event::Skipped { key, .. } => key,
            other => panic!("{other:?}"),
        };
        assert_eq!(picture(&mut follow).await, ["10.5.1.0-24=10.0.0.1"]);
        assert_eq!(skipped(follow.next().await), "/torn/subnets/10.5.2.0-24");
        // A value that was good, a key that is none, and one that only begins as leases do.
        for (key, value) in
            [("subnets/10.5.1.0-24", "\u{1b}"), ("subnets/10.5.3.0", ""), ("subnets-of-mine", "")]
        {
            put(&mut client, key, value).await;
            assert_eq!(skipped(follow.next().await), format!("/torn/{key}"));
        }
        put(&mut client, "subnets/10.5.4.0-24", &value(4)).await;
        assert!(is_peer(&follow.next().await));
        // They do not stand in the way of a host that comes.
        store.acquire(claim(5)).await.unwrap();
    });
}

fn another_config() {
    block_on(async {
        let store = network("/moved", PLAIN).await;
        let mut follow = store.follow();
        picture(&mut follow).await;
        let mut client = Etcd::shared().client().await;
        let other = r#"{"Network":"10.6.0.0/16","Backend":{"Type":"host-gw"}}"#;
        client.put("/moved/config", other, None).await.unwrap();
        assert_eq!(follow.next().await, Event::Config(Some(Ok(config(other)))));
        client.put("/moved/config", "", None).await.unwrap();
        assert!(matches!(follow.next().await, Event::Config(Some(Err(_)))));
        client.delete("/moved/config", None).await.unwrap();
        assert_eq!(follow.next().await, Event::Config(None));
    });
}

fn requests_do_not_grow() {
    let etcd = Etcd::new("http", &[]);
    block_on(async {
        let mut counts = Vec::new();
        connect(&etcd.access("/warm")).await;
        let mut client = etcd.client().await;
        for peers in [2_u16, 600] {
            let prefix = format!("/{peers}");
            for i in 0..peers {
                let key = format!("{prefix}/subnets/10.{}.{}.0-24", i / 256, i % 256);
                client.put(key, value(1), None).await.unwrap();
            }
            let before = etcd.requests();
            let store = connect(&etcd.access(&prefix)).await;
            let mut follow = store.follow();
            assert_eq!(picture(&mut follow).await.len(), usize::from(peers));
            for host in 2..9 {
                let key = format!("{prefix}/subnets/10.0.0.0-24");
                client.put(key, value(host), None).await.unwrap();
                event(&mut follow, is_peer).await;
            }
            counts.push(etcd.requests() - before);
        }
        assert!(counts[0] >= 7.0, "{counts:?}");
        assert!((counts[0] - counts[1]).abs() < 0.5, "{counts:?}");
    });
}
