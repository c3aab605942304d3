//! A real etcd on a host of a lab, for hosts that find each other there.

use super::{Lab, Run};

/// The URL of the etcd on `world`.
pub(crate) const STORE: &str = "http://192.0.2.254:2379";

/// Its URL by IPv6.
pub(crate) const STORE_BY_IPV6: &str = "http://[2001:db8::fe]:2379";

/// Makes an authority, and a certificate of `world` and one of the hosts.
const CERTIFICATES: &str = "mkdir -p /run/tls; cd /run/tls
    new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
    openssl req -x509 $new -keyout ca.key -out ca.pem -subj /CN=ca -days 2
    for name in world host; do
        openssl req $new -keyout $name.key -out $name.csr -subj /CN=$name
        echo subjectAltName=IP:192.0.2.254 |
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
                -out $name.pem -days 2 -extfile /dev/stdin
    done";

impl Lab {
    /// Starts an etcd on `world`, the router of [`Lab::hosts`]; returns once it answers.
    #[track_caller]
    pub(crate) fn etcd(&self) -> &Self {
        self.etcd_with(&format!("--listen-client-urls {STORE},{STORE_BY_IPV6}"))
    }

    /// Starts one that also answers at `https://192.0.2.254:2378`, to hosts with a certificate: with
    /// `/run/tls/ca.pem`, `host.pem` and `host.key`.
    #[track_caller]
    pub(crate) fn etcd_with_tls(&self) -> &Self {
        self.sh(CERTIFICATES).ok();
        self.etcd_with(&format!(
            "--listen-client-urls {STORE},https://192.0.2.254:2378 --client-cert-auth \
             --trusted-ca-file /run/tls/ca.pem --cert-file /run/tls/world.pem \
             --key-file /run/tls/world.key"
        ))
    }

    #[track_caller]
    fn etcd_with(&self, flags: &str) -> &Self {
        drop(self.start(&format!(
            "exec nsenter --net=/run/netns/world etcd --data-dir /run/etcd --log-level error \
             --advertise-client-urls {STORE} --listen-peer-urls http://127.0.0.1:2380 {flags}"
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
