use std::{
    cell::RefCell,
    fs,
    io::Write,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use etcd_client::{Client, GetOptions, PutOptions};
use netcord::error::{Error, Kind};
use netcord_agent::{
    flannel::{Config, Lease, Tunnel},
    store::{Access, Claim, Event, Follow, Node, Store},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream as Stream},
    runtime,
    task::{JoinSet, LocalSet},
    time::timeout,
};

/// No wait of a test is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An etcd on the loopback of the tests.
#[derive(Debug)]
pub(crate) struct Etcd {
    child: Child,
    arguments: Vec<String>,
    pub(crate) endpoint: String,
}

impl Etcd {
    /// The one that most tests share, each with a prefix of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Etcd> = OnceLock::new();
        SHARED.get_or_init(|| Self::new("http", &[]))
    }

    /// Starts one; it answers some time later.
    pub(crate) fn new(scheme: &str, more: &[&str]) -> Self {
        let port = ports(1);
        Self::member(scheme, port, &[port], more)
    }

    /// Starts three that are one cluster.
    pub(crate) fn cluster() -> [Self; 3] {
        let first = ports(3);
        let all = [first, first + 2, first + 4];
        all.map(|port| Self::member("http", port, &all, &[]))
    }

    fn member(scheme: &str, port: u16, all: &[u16], more: &[&str]) -> Self {
        let peer = |port: &u16| format!("http://127.0.0.1:{}", port + 1);
        let cluster: Vec<_> = all.iter().map(|port| format!("e{port}={}", peer(port))).collect();
        let (endpoint, peer, cluster) =
            (format!("{scheme}://127.0.0.1:{port}"), peer(&port), cluster.join(","));
        // A quick election, as only then a lease can last one second.
        let mut arguments: Vec<_> = format!(
            "--name=e{port} --data-dir=/run/etcd-{port} --listen-client-urls={endpoint}
             --advertise-client-urls={endpoint} --listen-peer-urls={peer}
             --initial-advertise-peer-urls={peer} --initial-cluster={cluster}
             --heartbeat-interval=20 --election-timeout=200 --log-level=error"
        )
        .split_whitespace()
        .map(str::to_owned)
        .collect();
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Self { child: run(&arguments), arguments, endpoint }
    }

    pub(crate) fn access(&self, prefix: &str) -> Access {
        access(&[&self.endpoint], prefix)
    }

    pub(crate) fn port(&self) -> u16 {
        self.endpoint.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.access("/ready")).await;
        Client::connect([&self.endpoint], None).await.unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = run(&self.arguments);
    }

    /// Sends a signal, by the name of it.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// How many requests etcd has had.
    pub(crate) fn requests(&self) -> f64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let metrics = crate::output(stream);
        let received =
            metrics.lines().filter(|line| line.starts_with("grpc_server_msg_received_total"));
        received.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the first port of as many pairs.
fn ports(pairs: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(2400);
    NEXT.fetch_add(2 * pairs, Ordering::Relaxed)
}

fn run(arguments: &[String]) -> Child {
    Command::new("etcd")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd (etcd-server) runs")
}

pub(crate) fn access(endpoints: &[&str], prefix: &str) -> Access {
    let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
    Access { endpoints, prefix: prefix.into(), ..Access::default() }
}

/// A wire to etcd that can be cut.
pub(crate) struct Wire {
    to: u16,
    port: u16,
    ends: Rc<RefCell<JoinSet<()>>>,
}

impl Wire {
    pub(crate) async fn new(etcd: &Etcd) -> Self {
        // Not one that another program gets while the wire is cut.
        let wire = Self { to: etcd.port(), port: ports(1), ends: Rc::default() };
        wire.mend().await;
        wire
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends all connections, and refuses new ones.
    pub(crate) async fn cut(&self) {
        let mut ends = std::mem::take(&mut *self.ends.borrow_mut());
        ends.shutdown().await;
    }

    pub(crate) async fn mend(&self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let (ends, to) = (self.ends.clone(), self.to);
        self.ends.borrow_mut().spawn_local(async move {
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                ends.borrow_mut().spawn_local(async move {
                    let Ok(mut to) = Stream::connect(("127.0.0.1", to)).await else { return };
                    copy_bidirectional(&mut from, &mut to).await.ok();
                });
            }
        });
    }
}

/// Runs a test as the agent runs its work: on one thread.
pub(crate) fn block_on(test: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(2 * PATIENCE, test).await.expect("the test ends");
    });
}

pub(crate) async fn connect(access: &Access) -> Store {
    Store::connect(access, PATIENCE).await.unwrap()
}

pub(crate) fn config(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

/// A store with this configuration.
pub(crate) async fn network(prefix: &str, text: &str) -> Store {
    let store = connect(&Etcd::shared().access(prefix)).await;
    store.create_config(&config(text)).await.unwrap();
    store
}

pub(crate) const PLAIN: &str = r#"{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}"#;

/// What the host with this number asks for.
pub(crate) fn claim(host: u8) -> Claim {
    Claim {
        lease: Lease {
            public_ip: [10, 0, 0, host].into(),
            public_ipv6: None,
            tunnel: Tunnel::HostGw,
        },
        former: None,
        ttl: 60,
        node: Node { id: format!("id-{host}"), name: format!("host{host}") },
    }
}

/// The value of a lease of the host with this number.
pub(crate) fn value(host: u8) -> String {
    claim(host).lease.to_json()
}

/// The keys that begin with a prefix, as `NAME VALUE LEASE`, with the last part of the name.
pub(crate) async fn dump(client: &mut Client, prefix: &str) -> Vec<(String, String, i64)> {
    let answer = client.get(prefix, Some(GetOptions::new().with_prefix())).await.unwrap();
    let last = |name: &str| name.rsplit_once('/').unwrap().1.to_owned();
    let kvs = answer.kvs().iter();
    kvs.map(|kv| (last(kv.key_str().unwrap()), kv.value_str().unwrap().into(), kv.lease()))
        .collect()
}

/// Puts a key that ends after a second unless it is kept alive; returns its lease.
pub(crate) async fn put_for_a_second(client: &mut Client, key: &str) -> i64 {
    let lease = client.lease_grant(1, None).await.unwrap().id();
    client.put(key, "", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    lease
}

/// Waits until a key is there or not.
pub(crate) async fn until(client: &mut Client, key: &str, is_there: bool) {
    timeout(PATIENCE, async {
        while client.get(key, None).await.unwrap().kvs().is_empty() == is_there {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the key comes or goes");
}

/// Waits for an event; others before it are skipped, but no peer without an end may go.
pub(crate) async fn event(follow: &mut Follow, is_it: impl Fn(&Event) -> bool) -> Event {
    let found = timeout(PATIENCE, async {
        loop {
            let event = follow.next().await;
            if is_it(&event) {
                return event;
            }
            let is_kept = matches!(&event, Event::Gone(peer) if peer.is_reserved);
            assert!(!is_kept, "{event:?}");
        }
    });
    found.await.expect("the event comes")
}

/// The peers of the first picture, as `KEY=HOST`.
pub(crate) async fn picture(follow: &mut Follow) -> Vec<String> {
    match event(follow, |event| matches!(event, Event::All(_))).await {
        Event::All(peers) => {
            peers.iter().map(|peer| format!("{}={}", peer.subnets, peer.lease.host())).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The kind and the message of an error.
pub(crate) fn refused<T>(result: anyhow::Result<T>) -> (Kind, String) {
    let Err(error) = result else { panic!("it is refused") };
    let own =
        error.downcast_ref::<Error>().map_or_else(|| error.to_string(), |e| e.message.clone());
    (Kind::of(&error), own)
}

pub(crate) fn write(name: &str, text: &str) -> PathBuf {
    let file = PathBuf::from("/run").join(name);
    fs::write(&file, text).unwrap();
    file
}
