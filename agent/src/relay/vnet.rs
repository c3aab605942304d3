//! The header that comes before each packet of a TUN with offload (`struct virtio_net_hdr`).

/// Its length.
pub const LENGTH: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_UDP_L4: u8 = 5;
/// The sender uses ECN: only the first segment carries CWR.
const GSO_ECN: u8 = 0x80;

/// What a packet still needs. The kernel hands over several packets of a flow as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Where the checksum begins, and the offset of its field from there.
    pub checksum: Option<(u16, u16)>,
    /// The payload of each packet, and how they are to be made.
    pub segments: Option<(Kind, u16)>,
    /// The length of all headers.
    pub headers: u16,
}

/// How a large packet becomes small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP segmentation (TSO).
    Tcp,
    /// UDP segmentation (USO).
    Udp,
}

impl Offload {
    /// Reads a header; `None` if it asks for something else.
    pub fn of(bytes: [u8; LENGTH]) -> Option<Self> {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let segments = match bytes[1] & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCPV4 => Some((Kind::Tcp, word(4))),
            GSO_UDP_L4 => Some((Kind::Udp, word(4))),
            _ => return None,
        };
        let checksum = (bytes[0] & NEEDS_CHECKSUM != 0).then(|| (word(6), word(8)));
        Some(Self { checksum, segments, headers: word(2) })
    }

    /// Returns it as the kernel reads it.
    pub fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut put = |at: usize, word: u16| {
            bytes[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        };
        put(2, self.headers);
        if let Some((_, size)) = self.segments {
            put(4, size);
        }
        if let Some((start, offset)) = self.checksum {
            put(6, start);
            put(8, offset);
            bytes[0] = NEEDS_CHECKSUM;
        }
        bytes[1] = match self.segments {
            None => GSO_NONE,
            Some((Kind::Tcp, _)) => GSO_TCPV4,
            Some((Kind::Udp, _)) => GSO_UDP_L4,
        };
        bytes
    }
}
