//! Calls containerd as the kubelet does: CRI, which is gRPC over a Unix socket. curl speaks HTTP/2, and
//! of Protocol Buffers these few messages need little.

use std::fs;

use super::EngineHost;

/// A message: its fields, encoded (<https://protobuf.dev/programming-guides/encoding/>).
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Adds a field that is a text or a message.
    pub(crate) fn with(mut self, field: u8, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.0.push(field << 3 | 2);
        self.varint(value.len());
        self.0.extend(value);
        self
    }

    /// Adds a field that is a number.
    pub(crate) fn number(mut self, field: u8, value: usize) -> Self {
        self.0.push(field << 3);
        self.varint(value);
        self
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap());
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Calls a method of the kubelet's runtime service; returns the answer's message, or the error that
/// gRPC's trailer has.
pub(crate) fn call(host: &EngineHost, method: &str, message: &Message) -> Result<Vec<u8>, String> {
    let (request, answer) = (host.path("/run/cri-request"), host.path("/run/cri-answer"));
    // Not compressed, and its length.
    let length = u32::try_from(message.0.len()).unwrap().to_be_bytes();
    fs::write(request, [&[0][..], &length, &message.0].concat()).unwrap();
    let head = host
        .sh(&format!(
            "curl -sS --http2-prior-knowledge --unix-socket /run/ctd.sock --max-time 60 -D - \
             -o /run/cri-answer -H 'content-type: application/grpc' -H 'te: trailers' \
             --data-binary @/run/cri-request http://localhost/runtime.v1.RuntimeService/{method}"
        ))
        .ok();
    let trailer = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
    };
    match trailer("grpc-status") {
        Some("0") => Ok(fs::read(answer).unwrap().split_off(5)),
        _ => Err(trailer("grpc-message").unwrap_or(&head).to_owned()),
    }
}

/// Runs the sandbox of a pod, with a port of the host that is published as its port 80; returns its ID.
pub(crate) fn run_sandbox(
    host: &EngineHost,
    name: &str,
    port: Option<usize>,
) -> Result<String, String> {
    let metadata = Message::default().with(1, name).with(2, "uid-1").with(3, "default");
    let dns = Message::default().with(1, "192.0.2.53").with(2, "lab");
    let linux = Message::default().with(1, format!("/{}", host.cgroup()));
    let config = Message::default().with(1, metadata).with(2, name).with(4, dns);
    let mapping = port.map(|port| Message::default().number(2, 80).number(3, port));
    let config = mapping.into_iter().fold(config, |config, mapping| config.with(5, mapping));
    let request = Message::default().with(1, config.with(8, linux));
    call(host, "RunPodSandbox", &request).map(|answer| first_text(&answer))
}

/// The texts of an answer's first field, if it is one of less than 128 bytes.
pub(crate) fn first_text(answer: &[u8]) -> String {
    assert_eq!(answer[0], 1 << 3 | 2, "{answer:?}");
    String::from_utf8(answer[2..2 + usize::from(answer[1])].to_vec()).unwrap()
}
