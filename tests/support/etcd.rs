//! A real etcd on a host of a lab, for hosts that find each other there.

use super::{Lab, Run};

/// The URL of the etcd on `world`.
pub(crate) const STORE: &str = "http://192.0.2.254:2379";

/// Its URL by IPv6.
pub(crate) const STORE_BY_IPV6: &str = "http://[2001:db8::fe]:2379";

impl Lab {
    /// Starts an etcd on `world`, the router of [`Lab::hosts`]; returns once it answers.
    #[track_caller]
    pub(crate) fn etcd(&self) -> &Self {
        drop(self.start(&format!(
            "exec nsenter --net=/run/netns/world etcd --data-dir /run/etcd --log-level error \
             --listen-client-urls {STORE},{STORE_BY_IPV6} --advertise-client-urls {STORE} \
             --listen-peer-urls http://127.0.0.1:2380"
        )));
        self.until(&etcdctl("endpoint health"));
        self
    }

    /// Runs etcdctl with these words; keys and values can be in quotes.
    #[track_caller]
    pub(crate) fn etcdctl(&self, words: &str) -> Run {
        self.sh(&etcdctl(words))
    }
}

/// The script that runs etcdctl with these words.
pub(crate) fn etcdctl(words: &str) -> String {
    format!(
        "ETCDCTL_API=3 nsenter --net=/run/netns/world etcdctl --endpoints={STORE} \
         --command-timeout=3s {words}"
    )
}
