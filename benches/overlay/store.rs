//! A real etcd with the keys of many hosts, as flannel and netcord write them.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    hosts::{WORLD, script},
    netns::within,
    process::run_with,
};

/// Its URL.
pub(crate) const URL: &str = "http://192.0.2.254:2379";
const ADDRESS: &str = "192.0.2.254:2379";
const PREFIX: &str = "/netcord/pods";
const CONFIG: &str = r#"{"Network":"10.0.0.0/9","SubnetLen":24,"Backend":{"Type":"vxlan"}}"#;

/// etcd takes at most 128 operations in one transaction.
const TRANSACTION: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);

/// An etcd that ends with its handle.
pub(crate) struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[expect(clippy::unused_self, reason = "who has it knows that it runs")]
impl Etcd {
    /// Starts one with a network of so many hosts.
    pub(crate) fn with_hosts(count: u16) -> Result<Self> {
        Self::with(CONFIG, (0..count).map(lease))
    }

    /// Starts one with a network of this configuration and these keys.
    pub(crate) fn with(config: &str, keys: impl Iterator<Item = (String, String)>) -> Result<Self> {
        script(None, "rm -rf /run/etcd")?;
        let child = within(WORLD, || {
            let mut command = Command::new("etcd");
            command.args(["--data-dir", "/run/etcd", "--log-level", "error"]);
            command.args(["--listen-client-urls", URL, "--advertise-client-urls", URL]);
            command.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().context("cannot start `etcd`")
        })?;
        let etcd = Self(child);
        let until = Instant::now() + PATIENCE;
        while etcd.put("config", config).is_err() {
            ensure!(Instant::now() < until, "etcd does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        let all: Vec<_> = keys.collect();
        for part in all.chunks(TRANSACTION) {
            let mut text = "\n".to_owned();
            for (key, value) in part {
                _ = writeln!(text, "put {PREFIX}/{key} {}", serde_json::to_string(value)?);
            }
            etcdctl(&["txn"], &(text + "\n\n"))?;
        }
        Ok(etcd)
    }

    /// Reads all keys, as a program does that does nothing else.
    pub(crate) fn read_all(&self) -> Result<()> {
        etcdctl(&["get", "--prefix", PREFIX], "").map(drop)
    }

    /// Writes the lease of one more host; returns once etcd has answered.
    pub(crate) fn put_host(&self, number: u16) -> Result<()> {
        let (key, value) = lease(number);
        self.put(&key, &value)
    }

    /// Writes a key; returns once etcd has answered.
    pub(crate) fn put(&self, key: &str, value: &str) -> Result<()> {
        let [key, value] = [format!("{PREFIX}/{key}"), value.to_owned()].map(|s| base64(&s));
        let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
        http(&format!("POST /v3/kv/put HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .map(drop)
    }

    /// The number of requests that were made to it so far.
    pub(crate) fn requests(&self) -> Result<u64> {
        let text = http("GET /metrics HTTP/1.0\r\n\r\n")?;
        let lines = text.lines().filter(|line| line.starts_with("grpc_server_started_total{"));
        let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(numbers.sum())
    }
}

/// The subnet of the host of a number.
pub(crate) fn subnet(number: u16) -> [u8; 4] {
    let [high, low] = (number + 1024).to_be_bytes();
    [10, high, low, 0]
}

/// The key and the value of a host's lease.
fn lease(number: u16) -> (String, String) {
    let [a, b, c, d] = subnet(number);
    let (high, low) = (number / 250 + 1, number % 250 + 1);
    let value = format!(
        r#"{{"PublicIP":"192.1.{high}.{low}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"82:65:fc:00:{high:02x}:{low:02x}"}}}}"#
    );
    (format!("subnets/{a}.{b}.{c}.{d}-24"), value)
}

fn etcdctl(words: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").arg(format!("--endpoints={URL}")).args(words);
    within(WORLD, || run_with(&mut command, input))
}

fn http(request: &str) -> Result<String> {
    let mut stream = within(WORLD, || Ok(TcpStream::connect(ADDRESS)?))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.lines().next().unwrap_or_default().contains(" 200 ") {
        bail!("etcd refused: {answer}");
    }
    Ok(answer)
}

/// RFC 4648, section 4.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for three in text.as_bytes().chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            coded.push(if place > three.len() { '=' } else { letter.into() });
        }
    }
    coded
}
