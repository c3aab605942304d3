use futures::future::join_all;
use netcord::error::Kind;

use super::support::{Etcd, PLAIN, block_on, claim, config, connect, refused};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("config::who_comes_first_decides", who_comes_first_decides),
    ("config::what_is_not_flannels_is_a_conflict", what_is_not_flannels_is_a_conflict),
    ("config::without_one_nobody_joins", without_one_nobody_joins),
    ("config::one_that_nobody_uses_is_taken_back", one_that_nobody_uses),
];

fn who_comes_first_decides() {
    block_on(async {
        let store = connect(&Etcd::shared().access("/race")).await;
        assert_eq!(store.config().await.unwrap(), None);
        let offers: Vec<_> = (1..=8)
            .map(|n| {
                config(&format!(r#"{{"Network":"10.{n}.0.0/16","Backend":{{"Type":"vxlan"}}}}"#))
            })
            .collect();
        let made = join_all(offers.iter().map(|offer| store.create_config(offer))).await;
        let (made, drafts): (Vec<_>, Vec<_>) = made.into_iter().map(Result::unwrap).unzip();
        assert_eq!(drafts.iter().flatten().count(), 1);
        assert!(offers.contains(&made[0]));
        assert!(made.iter().all(|config| *config == made[0]), "{made:?}");
        assert_eq!(store.config().await.unwrap().as_ref(), Some(&made[0]));
    });
}

fn what_is_not_flannels_is_a_conflict() {
    block_on(async {
        let store = connect(&Etcd::shared().access("/alien")).await;
        let mut client = Etcd::shared().client().await;
        client.put("/alien/config", "kind: Cluster", None).await.unwrap();
        for error in [
            refused(store.config().await),
            refused(store.create_config(&config(PLAIN)).await),
            refused(store.acquire(claim(1)).await.map(drop)),
        ] {
            assert_eq!(error.0, Kind::Conflict);
            let start = "`/alien/config` is not a configuration of flannel: it is not JSON:";
            assert!(error.1.starts_with(start), "{}", error.1);
        }
        let kept = client.get("/alien/config", None).await.unwrap();
        assert_eq!(kept.kvs()[0].value(), b"kind: Cluster");
    });
}

fn without_one_nobody_joins() {
    block_on(async {
        let store = connect(&Etcd::shared().access("/empty")).await;
        let error = refused(store.acquire(claim(1)).await.map(drop));
        assert_eq!(error, (Kind::NotFound, "the store has no network at `/empty`".into()));
        let text = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}"#;
        let store = connect(&Etcd::shared().access("/ipip")).await;
        let error = refused(store.create_config(&config(text)).await);
        assert_eq!(error, (Kind::Usage, "backend `ipip` is not supported".into()));
        Etcd::shared().client().await.put("/ipip/config", text, None).await.unwrap();
        let error = refused(store.acquire(claim(1)).await.map(drop));
        let why = "the network at `/ipip` cannot be joined: backend `ipip` is not supported";
        assert_eq!(error, (Kind::Conflict, why.into()));
    });
}

fn one_that_nobody_uses() {
    block_on(async {
        let store = connect(&Etcd::shared().access("/draft")).await;
        let mut client = Etcd::shared().client().await;
        let draft = async || store.create_config(&config(PLAIN)).await.unwrap().1.unwrap();
        draft().await.take_back().await.unwrap();
        assert_eq!(store.config().await.unwrap(), None);
        // Another host has joined in between, with a lease or a reservation.
        let joined = draft().await;
        let held = store.acquire(claim(1)).await.unwrap();
        joined.take_back().await.unwrap();
        assert!(store.config().await.unwrap().is_some());
        held.leave().await.unwrap();
        client.delete("/draft/config", None).await.unwrap();
        let reserved = draft().await;
        client.put("/draft/subnets/10.5.7.0-24", "", None).await.unwrap();
        reserved.take_back().await.unwrap();
        assert!(store.config().await.unwrap().is_some());
        client.delete("/draft/subnets/10.5.7.0-24", None).await.unwrap();
        client.delete("/draft/config", None).await.unwrap();
        // Another one was written over it.
        let changed = draft().await;
        client.put("/draft/config", PLAIN, None).await.unwrap();
        changed.take_back().await.unwrap();
        assert!(store.config().await.unwrap().is_some());
    });
}
